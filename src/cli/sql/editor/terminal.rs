//! The terminal that a line is typed in.

use std::io::{self, Stdin, Stdout, Write};

use termion::input::{Keys, TermRead};
use termion::raw::IntoRawMode;

use crate::cli::sql::editor::history::History;
use crate::cli::sql::editor::line::{Assist, Line, Step};
use crate::cli::sql::editor::screen::{Picture, columns, picture};

/// Lines of words to choose from.
const CHOICES_LINES_MAX: usize = 12;

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// A whole text.
    Text(String),
    /// A text that was given up.
    Nothing,
    /// The end of the input.
    End,
}

/// Reads what is typed in a terminal. Between two texts the terminal is as it was.
pub(crate) struct Editor {
    keys: Keys<Stdin>,
    output: Stdout,
    history: History,
}

impl Editor {
    /// On standard input and output, which are a terminal.
    pub(crate) fn new(history: History) -> Self {
        Self { keys: io::stdin().keys(), output: io::stdout(), history }
    }

    /// Reads one text, and keeps it in the history. Its further lines follow `more`.
    ///
    /// # Errors
    /// If the terminal cannot be read, written, or asked for single keys.
    pub(crate) fn read(
        &mut self,
        prompts: (&str, &str),
        assist: &mut dyn Assist,
    ) -> io::Result<Typed> {
        let mut output = self.output.lock().into_raw_mode()?;
        let mut line = Line::default();
        let mut shown = draw(&mut *output, prompts, &line, &Picture::default())?;
        let typed = loop {
            let Some(key) = self.keys.next().transpose()? else { break Typed::End };
            let step = line.key(key, self.history.entries(), assist);
            match step {
                Step::Changed => shown = draw(&mut *output, prompts, &line, &shown)?,
                Step::Clear => {
                    write!(output, "{}{}", termion::clear::All, termion::cursor::Goto(1, 1))?;
                    shown = draw(&mut *output, prompts, &line, &Picture::default())?;
                }
                Step::Choices(words) => {
                    leave(&mut *output, &shown)?;
                    let words = columns(&words, size().0, CHOICES_LINES_MAX);
                    output.write_all(words.as_bytes())?;
                    shown = draw(&mut *output, prompts, &line, &Picture::default())?;
                }
                Step::Done(text) => break Typed::Text(text),
                Step::Interrupted => break Typed::Nothing,
                Step::End => break Typed::End,
            }
        };
        // ORDER: the terminal is as it was before whoever looks can know that the text was taken, so
        // that Ctrl-C is a signal from then on.
        drop(output);
        if let Typed::Text(text) = &typed {
            // Without its file, the history lasts as long as the command.
            self.history.add(text).ok();
        }
        leave(&mut self.output, &shown)?;
        Ok(typed)
    }
}

/// Columns and rows of the terminal; usual ones where it does not tell.
pub(crate) fn size() -> (usize, usize) {
    match termion::terminal_size() {
        Ok((columns, rows)) if columns > 0 && rows > 0 => (columns.into(), rows.into()),
        _ => (80, 24),
    }
}

/// Draws the line over what was shown of it.
fn draw(
    output: &mut dyn Write,
    prompts: (&str, &str),
    line: &Line,
    shown: &Picture,
) -> io::Result<Picture> {
    let searching = line.wanted().map(|wanted| format!("(search: {wanted}) "));
    let prompts = searching.as_deref().map_or(prompts, |prompt| (prompt, "- "));
    let buffer = line.buffer();
    let picture = picture(prompts, (buffer.text(), buffer.at()), size());
    let mut text = String::new();
    if shown.row > 0 {
        text.push_str(&format!("\x1b[{}A", shown.row));
    }
    text.push_str("\r\x1b[J");
    text.push_str(&picture.rows.join("\r\n"));
    let below = picture.rows.len().saturating_sub(picture.row + 1);
    if below > 0 {
        text.push_str(&format!("\x1b[{below}A"));
    }
    text.push('\r');
    if picture.column > 0 {
        text.push_str(&format!("\x1b[{}C", picture.column));
    }
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(picture)
}

/// Goes to the line behind what is shown.
fn leave(output: &mut dyn Write, shown: &Picture) -> io::Result<()> {
    let below = shown.rows.len().saturating_sub(shown.row + 1);
    if below > 0 {
        write!(output, "\x1b[{below}B")?;
    }
    output.write_all(b"\r\n")?;
    output.flush()
}
