//! The command, in a terminal and without one.

use std::cell::RefCell;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;

use crate::cli::error::CliError;
use crate::cli::query::{AskArgs, STATEMENT_BYTES_MAX};
use crate::cli::sql::backend::Backend;
use crate::cli::sql::editor::{Editor, Typed, Typing};
use crate::cli::sql::history::HistoryFile;
use crate::cli::sql::interrupts::Interrupts;
use crate::cli::sql::shell::{Flow, Settings, Shell};
use crate::cli::sql::split::{Cut, Piece, cut};

const EXAMPLES: &str = "\
Examples:
  # In a terminal: statements end with ;  and \\? tells the commands
  tidewatch sql
  default=> SELECT time, value, severity FROM cpu WHERE time > now() - INTERVAL '1 hour';
  default=> \\plot value
  default=> \\d cpu

  # Statements from a file; the first one that is refused ends it
  tidewatch sql --format csv < report.sql

  # A data directory that no server works on
  tidewatch sql --data-dir ./tidewatch-data

Tab completes, Ctrl-R searches what was asked before, Ctrl-C cancels the statement that runs, at the
server too. What was asked is kept in $XDG_STATE_HOME/tidewatch/sql_history, for its owner alone; a
statement that begins with a blank is not.
Exit code 3: the server was not reached; 4: a statement from a file was refused.";

/// `tidewatch sql`
#[derive(Clone, Debug, clap::Args)]
#[command(about = "Ask one SQL statement after the other", after_help = EXAMPLES)]
pub(crate) struct SqlArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// Neither read nor keep what was asked before
    #[arg(long)]
    no_history: bool,
}

/// Runs the command to the end of its input.
///
/// # Errors
/// Without a terminal, the first refusal; else what keeps it from reading or writing at all.
pub(crate) fn run(args: &SqlArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let AskArgs { server, data_dir, format, db, timeout } = &args.ask;
    format.check_text("`tidewatch query` writes it to a file")?;
    let backend = match data_dir {
        Some(data_dir) => Backend::stopped(data_dir)?,
        None => Backend::server(server)?,
    };
    let backend = Rc::new(RefCell::new(backend));
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let settings = Settings {
        db: db.clone(),
        timeout: *timeout,
        format: *format,
        is_terminal,
        ..Settings::default()
    };
    if is_terminal {
        let history = HistoryFile::of_user().filter(|_| !args.no_history);
        let mut editor = Editor::new(Typing::new(Rc::clone(&backend), db.clone()), history)?;
        let mut shell = Shell::new(backend, Interrupts::watch()?, settings, out);
        return converse(&mut shell, &mut editor);
    }
    let mut shell = Shell::new(backend, Interrupts::default(), settings, out);
    read_all(&mut shell, &mut std::io::stdin().lock())
}

fn converse(shell: &mut Shell<'_>, editor: &mut Editor) -> Result<(), CliError> {
    shell.greet()?;
    if let Err(error) = editor.remember() {
        shell.note(&error.report().unwrap_or_default())?;
    }
    loop {
        let text = match editor.read()? {
            Typed::Text(text) => text,
            Typed::Nothing => continue,
            Typed::Useless(why) => {
                shell.note(&why)?;
                continue;
            }
            Typed::End => return Ok(()),
        };
        let mut rest = text.as_str();
        while let Cut::Whole(piece, length) = cut(rest) {
            rest = rest.get(length..).unwrap_or_default();
            match shell.act(&piece) {
                Ok(Flow::On) => {}
                Ok(Flow::End) => return Ok(()),
                Err(error) if error.exit_code() == 0 => return Err(error),
                Err(error) => {
                    shell.tell(&error, &piece)?;
                    // What was typed behind a statement that failed may depend on it.
                    break;
                }
            }
        }
    }
}

/// Acts on all of `input`; the last statement needs no `;`.
fn read_all(shell: &mut Shell<'_>, input: &mut dyn BufRead) -> Result<(), CliError> {
    let mut text = String::new();
    let mut line = 1;
    loop {
        // Room for a statement and for what stands before it.
        let read = (&mut *input).take(STATEMENT_BYTES_MAX).read_line(&mut text);
        let read = read.map_err(|source| CliError::File {
            action: "read statements from",
            path: PathBuf::from("-"),
            source: source.into(),
        })?;
        while let Cut::Whole(piece, length) = cut(&text) {
            if act(shell, &piece, first_line(&text, line))? == Flow::End {
                return Ok(());
            }
            line += text.get(..length).unwrap_or_default().matches('\n').count();
            text.drain(..length);
        }
        if cut(&text) == Cut::Blank {
            line += text.matches('\n').count();
            text.clear();
        }
        if read == 0 && !text.is_empty() {
            let piece = Piece::Statement(text.trim().to_owned());
            act(shell, &piece, first_line(&text, line))?;
        }
        if read == 0 {
            return Ok(());
        }
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > 2 * STATEMENT_BYTES_MAX {
            let problem =
                format!("the statement of line {line} is longer than {STATEMENT_BYTES_MAX} bytes");
            return Err(CliError::Usage { problem });
        }
    }
}

/// The line that the first sign of `text` stands in, where `text` begins in `line`.
fn first_line(text: &str, line: usize) -> usize {
    let blanks = text.len() - text.trim_start().len();
    line + text.get(..blanks).unwrap_or_default().matches('\n').count()
}

fn act(shell: &mut Shell<'_>, piece: &Piece, line: usize) -> Result<Flow, CliError> {
    let acted = shell.act(piece);
    if let Err(error) = &acted
        && error.exit_code() != 0
    {
        shell.note(&format!("line {line}:"))?;
        if let Some(place) = Shell::place(error, piece) {
            shell.note(&place)?;
        }
    }
    acted
}
