//! Acts on statements and commands.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tidewatch_env::{Clock, RealClock};

use crate::cli::error::CliError;
use crate::cli::query::{Format, Statement};
use crate::cli::sql::backend::{Answer, Backend};
use crate::cli::sql::grid::Grid;
use crate::cli::sql::interrupts::Interrupts;
use crate::cli::sql::meta::{HELP, Meta};
use crate::cli::sql::pager;
use crate::cli::sql::place::pointed;
use crate::cli::sql::plot::{curves, draw};
use crate::cli::sql::split::Piece;
use crate::cli::terminal::size;

/// What `\d` asks.
const TABLES: &str = "SELECT table_schema AS db, table_name AS \"table\" \
     FROM information_schema.tables WHERE table_schema <> 'information_schema' \
     ORDER BY db, \"table\"";
/// Columns of a plot where there is no terminal.
const PLOT_WIDTH: usize = 100;

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// There may be.
    On,
    /// The user has enough.
    End,
}

/// How statements are asked and shown.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The default database.
    pub(crate) db: String,
    /// The longest time of a statement.
    pub(crate) timeout: Option<Duration>,
    /// How rows are written.
    pub(crate) format: Format,
    /// Whether somebody looks at a terminal.
    pub(crate) is_terminal: bool,
    /// A line per column.
    pub(crate) is_expanded: bool,
    /// Whether it is told how long statements take.
    pub(crate) is_timed: bool,
    /// Whether long results are paged.
    pub(crate) is_paged: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            db: "default".to_owned(),
            timeout: None,
            format: Format::Pretty,
            is_terminal: false,
            is_expanded: false,
            is_timed: false,
            is_paged: true,
        }
    }
}

/// Acts on statements and commands.
pub(crate) struct Shell<'a> {
    backend: Rc<RefCell<Backend>>,
    interrupts: Interrupts,
    settings: Settings,
    clock: RealClock,
    /// The last result, where its format has cells.
    last: Option<Grid>,
    out: &'a mut dyn Write,
}

impl<'a> Shell<'a> {
    /// One that asks `backend` and writes to `out`.
    pub(crate) fn new(
        backend: Rc<RefCell<Backend>>,
        interrupts: Interrupts,
        settings: Settings,
        out: &'a mut dyn Write,
    ) -> Self {
        Self { backend, interrupts, settings, clock: RealClock::new(), last: None, out }
    }

    /// The first lines in a terminal.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn greet(&mut self) -> Result<(), CliError> {
        let version = env!("CARGO_PKG_VERSION");
        self.put(&format!("tidewatch {version}: statements end with ;  \\? for help, \\q to end\n"))
    }

    /// Acts on a statement or a command.
    ///
    /// # Errors
    /// If it is refused, nobody answers, or the result cannot be written.
    pub(crate) fn act(&mut self, piece: &Piece) -> Result<Flow, CliError> {
        match piece {
            Piece::Statement(sql) => self.statement(sql)?,
            Piece::Command(text) => {
                let meta = Meta::parse(text).map_err(|problem| CliError::Usage { problem })?;
                return self.meta(meta);
            }
        }
        Ok(Flow::On)
    }

    fn meta(&mut self, meta: Meta) -> Result<Flow, CliError> {
        let settings = &mut self.settings;
        let said = match meta {
            Meta::Quit => return Ok(Flow::End),
            Meta::Help => HELP.to_owned(),
            Meta::Tables => return self.inform(TABLES),
            Meta::Describe(table) => return self.inform(&format!("DESCRIBE {table}")),
            Meta::Plot(columns) => self.plot(&columns)?,
            Meta::Timing(wanted) => turned("times", &mut settings.is_timed, wanted),
            Meta::Expanded(wanted) => {
                turned("a line per column", &mut settings.is_expanded, wanted)
            }
            Meta::Pager(wanted) => turned("the pager", &mut settings.is_paged, wanted),
            Meta::Format(wanted) => {
                settings.format = wanted.unwrap_or(settings.format);
                format!("format: {}\n", settings.format.name())
            }
        };
        self.put(&said)?;
        Ok(Flow::On)
    }

    /// Shows a result that is not asked for itself, and so is not the last one.
    fn inform(&mut self, sql: &str) -> Result<Flow, CliError> {
        let last = self.last.take();
        let shown = self.statement(sql);
        self.last = last;
        shown.map(|()| Flow::On)
    }

    fn plot(&self, columns: &[String]) -> Result<String, CliError> {
        let usage = |problem: String| CliError::Usage { problem };
        let Some(grid) = &self.last else {
            let problem =
                "there is no result to plot: ask a statement, with \\format pretty or csv";
            return Err(usage(problem.to_owned()));
        };
        let (curves, left_out) = curves(grid, columns).map_err(usage)?;
        let width = if self.settings.is_terminal { size().0 } else { PLOT_WIDTH };
        let mut text = draw(&curves, width);
        if left_out > 0 {
            text.push_str(&format!("{left_out} more lines are not shown: choose some by WHERE\n"));
        }
        Ok(text)
    }

    fn statement(&mut self, sql: &str) -> Result<(), CliError> {
        let settings = &self.settings;
        let has_cells = matches!(settings.format, Format::Pretty | Format::Csv);
        let format = if has_cells { Format::Csv } else { settings.format };
        let (db, timeout) = (settings.db.clone(), settings.timeout);
        let statement = Statement { sql: sql.to_owned(), db, format, timeout };
        let begin = self.clock.monotonic();
        let answer = self.backend.borrow_mut().ask(&statement, &self.interrupts)?;
        let took = self.clock.monotonic().saturating_sub(begin);
        let grid = has_cells.then(|| Grid::from_csv(&answer.body));
        let shown = match &grid {
            Some(grid) if self.settings.format == Format::Pretty => self.shown(grid),
            _ => ended(answer.body.clone()),
        };
        self.last = grid;
        self.show(&shown)?;
        if self.settings.is_timed {
            self.put(&told_time(took, &answer))?;
        }
        Ok(())
    }

    fn shown(&self, grid: &Grid) -> String {
        let mut text = match self.settings.is_expanded {
            true => grid.expanded(),
            false => grid.table(),
        };
        if self.settings.is_terminal {
            text.push_str(&format!("{}\n", grid.count()));
        }
        text
    }

    /// Through the pager, where there is a terminal and it is too small.
    fn show(&mut self, text: &str) -> Result<(), CliError> {
        let is_paged = self.settings.is_terminal && self.settings.is_paged;
        if is_paged && pager::is_long(text, size()) {
            self.out.flush().map_err(CliError::output)?;
            if pager::page(text).map_err(CliError::output)? {
                return Ok(());
            }
        }
        self.put(text)
    }

    fn put(&mut self, text: &str) -> Result<(), CliError> {
        self.out.write_all(text.as_bytes()).map_err(CliError::output)?;
        self.out.flush().map_err(CliError::output)
    }

    /// Tells an error after which it goes on.
    ///
    /// # Errors
    /// If the result so far cannot be written.
    pub(crate) fn tell(&mut self, error: &CliError, piece: &Piece) -> Result<(), CliError> {
        if let Some(place) = Self::place(error, piece) {
            self.note(&place)?;
        }
        self.note(&error.report().unwrap_or_default())
    }

    /// A line on standard error, behind the results so far.
    ///
    /// # Errors
    /// If the results cannot be written.
    pub(crate) fn note(&mut self, line: &str) -> Result<(), CliError> {
        self.out.flush().map_err(CliError::output)?;
        // Where standard error is closed, the exit code has to do.
        drop(writeln!(std::io::stderr(), "{line}"));
        Ok(())
    }

    /// Where in a statement the error is, if it tells.
    pub(crate) fn place(error: &CliError, piece: &Piece) -> Option<String> {
        match (error, piece) {
            (CliError::Refused { message, .. }, Piece::Statement(sql)) => pointed(message, sql),
            _ => None,
        }
    }
}

fn turned(what: &str, is_on: &mut bool, wanted: Option<bool>) -> String {
    *is_on = wanted.unwrap_or(!*is_on);
    format!("{what}: {}\n", if *is_on { "on" } else { "off" })
}

/// With a line end.
fn ended(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn told_time(took: Duration, answer: &Answer) -> String {
    let milliseconds = took.as_secs_f64() * 1_000.0;
    match &answer.stats {
        Value::Null => format!("{milliseconds:.1} ms\n"),
        stats => format!(
            "{milliseconds:.1} ms, {} of them at work, {} rows read\n",
            stats["ms"], stats["rows_scanned"]
        ),
    }
}
