//! Tables and columns for completion, asked for when they are first needed.

use std::collections::BTreeMap;
use std::time::Duration;

use tidewatch_env::{Clock, RealClock};

use crate::cli::query::{Format, Statement};
use crate::cli::sql::backend::Backend;
use crate::cli::sql::grid::Grid;
use crate::cli::sql::interrupts::Interrupts;
use crate::cli::sql::words::{keywords, quoted, tables, wants_table, word_start};

/// Tables that are completed.
const TABLES_MAX: usize = 5_000;
/// Tables whose columns are remembered.
const DESCRIBED_MAX: usize = 200;
/// A statement for completion must not keep anybody waiting.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What is known is asked for again after this.
const FRESH: Duration = Duration::from_mins(1);

/// Columns to choose from; the editor counts choices in 16 bits.
const COLUMNS_MAX: usize = 10_000;

/// All tables that may be meant.
const TABLES: &str = "SELECT table_schema, table_name FROM information_schema.tables \
     ORDER BY table_schema, table_name";

/// What a word may become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Completion {
    /// Where the word begins.
    pub(crate) start: usize,
    /// What may stand there instead.
    pub(crate) words: Vec<String>,
}

/// What is known of the tables.
#[derive(Debug)]
pub(crate) struct Schema {
    clock: RealClock,
    asked: Option<Duration>,
    tables: Vec<String>,
    columns: BTreeMap<String, Vec<String>>,
}

impl Schema {
    /// Nothing is known yet.
    pub(crate) fn new() -> Self {
        let (tables, columns) = (Vec::new(), BTreeMap::new());
        Self { clock: RealClock::new(), asked: None, tables, columns }
    }

    /// What the word before the cursor may become. Names that cannot be asked for are left out, and
    /// asked for again the next time.
    pub(crate) fn complete(
        &mut self,
        (text, at): (&str, usize),
        (backend, db): (&mut Backend, &str),
    ) -> Completion {
        let now = self.clock.monotonic();
        if self.asked.is_none_or(|asked| now.saturating_sub(asked) > FRESH)
            && let Some(tables) = all_tables(backend, db)
        {
            self.asked = Some(now);
            self.columns.clear();
            self.tables = tables;
        }
        let start = word_start(text, at);
        let typed = text.get(start..at).unwrap_or_default();
        let before = text.get(..start).unwrap_or_default();
        let lower = typed.to_lowercase();
        // Names are what clients wrote: control characters would steer the terminal.
        let begins = |name: &&String| {
            name.to_lowercase().starts_with(&lower) && !name.contains(char::is_control)
        };
        let mut words: Vec<String> = Vec::new();
        if wants_table(before) {
            words.extend(self.tables.iter().filter(begins).cloned());
            return Completion { start, words };
        }
        for table in tables(text) {
            let columns = self.columns_of(table, (&mut *backend, db));
            words.extend(columns.iter().filter(begins).cloned());
        }
        words.sort();
        words.dedup();
        words.truncate(COLUMNS_MAX);
        if !typed.is_empty() {
            words.extend(keywords(typed));
        }
        Completion { start, words }
    }

    fn columns_of(&mut self, table: &str, (backend, db): (&mut Backend, &str)) -> &[String] {
        let is_known = self.columns.contains_key(table);
        if !is_known
            && self.columns.len() < DESCRIBED_MAX
            && let Some(grid) = ask(backend, db, &format!("DESCRIBE {table}"))
        {
            let names =
                grid.column("column_name").into_iter().flat_map(|column| grid.cells(column));
            self.columns.insert(table.to_owned(), names.map(quoted).collect());
        }
        self.columns.get(table).map_or(&[], Vec::as_slice)
    }
}

fn all_tables(backend: &mut Backend, db: &str) -> Option<Vec<String>> {
    let grid = ask(backend, db, &format!("{TABLES} LIMIT {TABLES_MAX}"))?;
    let named = grid.rows.iter().filter_map(|row| match row.as_slice() {
        [schema, name] if schema == db => Some(quoted(name)),
        [schema, name] => Some(format!("{}.{}", quoted(schema), quoted(name))),
        _ => None,
    });
    Some(named.collect())
}

/// The answer, if there is one.
fn ask(backend: &mut Backend, db: &str, sql: &str) -> Option<Grid> {
    let statement = Statement {
        sql: sql.to_owned(),
        db: db.to_owned(),
        format: Format::Csv,
        timeout: Some(TIMEOUT),
    };
    // The terminal reads single keys: Ctrl-C is one of them, and no interrupt.
    let answer = backend.ask(&statement, &Interrupts::default());
    answer.ok().map(|answer| Grid::from_csv(&answer.body))
}
