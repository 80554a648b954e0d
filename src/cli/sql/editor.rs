//! The lines that are typed in a terminal, until they are whole statements.

use std::cell::RefCell;
use std::fmt;
use std::io::ErrorKind;
use std::rc::Rc;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{FileHistory, History};
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Helper};

use crate::cli::error::{Cause, CliError};
use crate::cli::service::internal;
use crate::cli::sql::backend::Backend;
use crate::cli::sql::history::{ENTRIES_MAX, HistoryFile};
use crate::cli::sql::schema::{Completion, Schema};
use crate::cli::sql::split::is_whole;

/// Bytes that can be typed before they are whole: what the server takes as a statement.
pub(crate) const TEXT_BYTES_MAX: usize = 64 * 1_024;

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Whole statements and commands.
    Text(String),
    /// Nothing to act on: it was given up.
    Nothing,
    /// Nothing to act on, and why.
    Useless(String),
    /// The end of the input.
    End,
}

/// Reads what is typed in a terminal. Between two texts the terminal is as it was.
pub(crate) struct Editor {
    lines: rustyline::Editor<Typing, FileHistory>,
    file: Option<HistoryFile>,
    /// Stands before the first line of a text, and before its further ones.
    prompts: [String; 2],
}

impl Editor {
    /// On standard input and output, which are a terminal.
    ///
    /// # Errors
    /// If the terminal cannot be used.
    pub(crate) fn new(typing: Typing, file: Option<HistoryFile>) -> Result<Self, CliError> {
        let prompts = [format!("{}=> ", typing.db), format!("{}-> ", typing.db)];
        let history = FileHistory::with_config(&config());
        let mut lines = rustyline::Editor::with_history(config(), history)
            .map_err(|error| internal("asking the terminal", cause(error)))?;
        lines.set_helper(Some(typing));
        Ok(Self { lines, file, prompts })
    }

    /// Reads what was typed in earlier commands.
    ///
    /// # Errors
    /// Why that could not be read; the editor can be used all the same.
    pub(crate) fn remember(&mut self) -> Result<(), CliError> {
        let Some(file) = &self.file else { return Ok(()) };
        let loaded = file.load(self.lines.history_mut());
        if loaded.is_err() && file.exists() {
            // What can be neither read nor set aside is not written either.
            self.file = None;
        }
        loaded
    }

    /// Reads lines until they are whole, and keeps them as one entry of the history.
    ///
    /// # Errors
    /// If the terminal cannot be read, written, or asked for single keys.
    pub(crate) fn read(&mut self) -> Result<Typed, CliError> {
        let [first, further] = &self.prompts;
        let mut text = String::new();
        loop {
            if let Some(typing) = self.lines.helper_mut() {
                typing.before.clone_from(&text);
            }
            let line = match self.lines.readline(if text.is_empty() { first } else { further }) {
                Ok(line) => line,
                Err(ReadlineError::Eof) => return Ok(Typed::End),
                Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => {
                    return Ok(Typed::Nothing);
                }
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                    return Ok(Typed::Useless("what was typed is no UTF-8".to_owned()));
                }
                Err(error) => return Err(internal("reading the terminal", cause(error))),
            };
            if text.len() + line.len() >= TEXT_BYTES_MAX {
                let why = format!(
                    "what was typed is longer than {TEXT_BYTES_MAX} bytes: put it into a file and \
                     use `tidewatch sql < FILE`"
                );
                return Ok(Typed::Useless(why));
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&line);
            if is_whole(&text) {
                break;
            }
        }
        let (history, entry) = (self.lines.history_mut(), text.trim_end());
        let kept = match &self.file {
            Some(file) => file.keep(history, entry),
            None => history.add(entry).map(|_| ()),
        };
        // Without its file, the history lasts as long as the command.
        kept.ok();
        Ok(Typed::Text(text))
    }
}

impl fmt::Debug for Editor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Editor").field("file", &self.file).finish_non_exhaustive()
    }
}

/// How lines are edited.
pub(crate) fn config() -> Config {
    Config::builder()
        .max_history_size(ENTRIES_MAX)
        .expect("a history in memory takes any size")
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build()
}

/// What is behind an error; the one of the system tells by itself what it is.
pub(crate) fn cause(error: ReadlineError) -> Cause {
    match error {
        ReadlineError::Io(error) => error.into(),
        error => error.into(),
    }
}

/// What is known while a line is typed.
#[derive(Debug)]
pub(crate) struct Typing {
    schema: RefCell<Schema>,
    backend: Rc<RefCell<Backend>>,
    db: String,
    /// The lines of the text that are done.
    before: String,
}

impl Typing {
    /// Nothing is typed yet; `backend` tells of the tables of `db`.
    pub(crate) fn new(backend: Rc<RefCell<Backend>>, db: String) -> Self {
        Self { schema: RefCell::new(Schema::new()), backend, db, before: String::new() }
    }
}

impl Completer for Typing {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> Result<(usize, Vec<String>), ReadlineError> {
        let text = format!("{}\n{line}", self.before);
        let begin = text.len() - line.len();
        let mut backend = self.backend.borrow_mut();
        let Completion { start, words } =
            self.schema.borrow_mut().complete((&text, begin + at), (&mut backend, &self.db));
        // A word does not go on behind a line break.
        Ok((start.saturating_sub(begin), words))
    }
}

impl Hinter for Typing {
    type Hint = String;
}

impl Highlighter for Typing {}

impl Validator for Typing {}

impl Helper for Typing {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::ServerArgs;
    use crate::cli::fake_server::{Answer, FakeServer};

    #[test]
    fn words_are_completed_from_the_lines_before_as_well() {
        let tables = "table_schema,table_name\ndefault,cpu\nlab,http.requests\ndefault,\u{1b}c\n";
        let answers = [
            (504, "{}"),
            (200, tables),
            (504, "{}"),
            (200, "column_name\nhost\nhostname\nvalue\n"),
        ];
        let answers = answers.map(|(status, answer)| Answer::new(status, answer));
        let server = FakeServer::start(answers.to_vec());
        let backend = Backend::server(&ServerArgs::at(server.url().to_owned())).unwrap();
        let backend = Rc::new(RefCell::new(backend));
        let mut typing = Typing::new(backend, "default".to_owned());
        let history = FileHistory::with_config(&config());
        let mut complete = |before: &str, line: &str| {
            typing.before = before.to_owned();
            typing.complete(line, line.len(), &Context::new(&history)).unwrap()
        };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(complete("", "SEL"), (0, words(&["SELECT"])));
        assert_eq!(complete("SELECT 1", "FROM "), (5, words(&["cpu", "lab.\"http.requests\""])));
        assert_eq!(complete("SELECT 1 FROM", "").1.len(), 2, "a line break is a blank");
        let begin = "SELECT 1\nFROM cpu";
        assert_eq!(complete(begin, "WHERE ho"), (6, words(&[])), "the server is too slow");
        assert_eq!(complete(begin, "WHERE ho"), (6, words(&["host", "hostname"])));
        assert_eq!(complete(begin, "WHERE hostn"), (6, words(&["hostname"])));
        assert_eq!(server.requests().len(), 4, "what is known is not asked for again");
    }
}
