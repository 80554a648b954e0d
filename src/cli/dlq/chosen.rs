//! Which letters a command is about.

use std::time::Duration;

use serde_json::Value;

use crate::cli::rows::{Asker, literal};
use crate::cli::since::{is_since, parse_since};

/// A letter as people name it: its record and its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LetterName {
    pub(super) lsn: u64,
    pub(super) offset: u64,
}

/// Some of the letters.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Chosen {
    /// Only those of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only those of this topic
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Only those that came at most so long ago, such as 90m or 24h [default: all]
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Duration>,
    /// Only those with this reason
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Chosen {
    /// Conditions of SQL.
    pub(super) fn conditions(&self) -> Vec<String> {
        let named = [("source", &self.source), ("topic", &self.topic), ("reason", &self.reason)];
        let named = named.into_iter().filter_map(|(column, name)| {
            name.as_ref().map(|name| format!("{column} = {}", literal(name)))
        });
        let since = self.since.map(|since| is_since("received", since));
        named.chain(since).collect()
    }
}

/// Conditions as a clause.
pub(super) fn clause(conditions: &[String]) -> String {
    match conditions.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", conditions.join(" AND ")),
    }
}

/// The letter that a row is.
pub(super) fn name_of(row: &Value) -> Option<LetterName> {
    Some(LetterName { lsn: row["lsn"].as_u64()?, offset: row["offset"].as_u64()? })
}

impl std::fmt::Display for LetterName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.lsn, self.offset)
    }
}

/// Reads a letter's name.
pub(super) fn parse_letter(text: &str) -> Result<LetterName, String> {
    let named = text.split_once(':').and_then(|(lsn, offset)| {
        Some(LetterName { lsn: lsn.parse().ok()?, offset: offset.parse().ok()? })
    });
    named.ok_or_else(|| "a letter is its record and its offset, such as 4711:120".to_owned())
}

/// Names letters, some thousand at a time, in the order of the log.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    asker: &'a Asker,
    conditions: Vec<String>,
    last: Option<LetterName>,
}

/// Letters that are named at a time.
const PAGE_LETTERS: usize = 10_000;

impl<'a> Pages<'a> {
    /// The open letters among the chosen ones.
    pub(super) fn of_open(asker: &'a Asker, chosen: &Chosen) -> Self {
        let mut conditions = chosen.conditions();
        conditions.push("state = 'open'".to_owned());
        Self { asker, conditions, last: None }
    }

    /// How many there are.
    ///
    /// # Errors
    /// If the server is not reached.
    pub(super) fn count(&self) -> Result<u64, crate::cli::error::CliError> {
        let clause = clause(&self.conditions);
        let rows = self.asker.rows(format!("SELECT count(*) AS n FROM tidewatch.dlq {clause}"))?;
        Ok(rows.first().and_then(|row| row["n"].as_u64()).unwrap_or_default())
    }

    /// The next ones behind those that were named; none where there are no more.
    ///
    /// # Errors
    /// If the server is not reached.
    pub(super) fn next(&mut self) -> Result<Vec<LetterName>, crate::cli::error::CliError> {
        let mut conditions = self.conditions.clone();
        if let Some(LetterName { lsn, offset }) = self.last {
            let behind = format!("(lsn > {lsn} OR (lsn = {lsn} AND \"offset\" > {offset}))");
            conditions.push(behind);
        }
        let rows = self.asker.rows(format!(
            "SELECT lsn, \"offset\" FROM tidewatch.dlq {} ORDER BY lsn, \"offset\" LIMIT {PAGE_LETTERS}",
            clause(&conditions)
        ))?;
        let names: Vec<_> = rows.iter().filter_map(name_of).collect();
        self.last = names.last().copied().or(self.last);
        Ok(names)
    }
}
