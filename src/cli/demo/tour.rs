//! Three statements and their answers.

use std::sync::Arc;

use crate::cli::client::Client;
use crate::cli::demo::story::Story;
use crate::cli::error::CliError;
use crate::cli::query::{Format, Statement, ask};

/// A statement and what it asks in words.
#[derive(Clone, Copy, Debug)]
struct Stop {
    title: &'static str,
    sql: &'static str,
}

const STOPS: [Stop; 3] = [
    Stop {
        title: "This machine: the last value of every metric, with how unusual it was at worst",
        sql: "\
SELECT metric, last_value(value ORDER BY time) AS last, round(avg(value), 2) AS average,
       round(max(severity), 1) AS worst, count(*) AS samples
FROM tidewatch.samples WHERE metric LIKE 'machine_%' GROUP BY metric ORDER BY metric",
    },
    Stop {
        title: "The alerts that fired, with what was expected instead",
        sql: "\
SELECT onset, metric, round(severity, 1) AS severity, round(value, 1) AS value, round(expected, 1) AS expected,
       round(lower, 1) AS lower, round(upper, 1) AS upper
FROM tidewatch.alerts WHERE transition = 'firing' AND NOT historical ORDER BY event",
    },
    Stop {
        title: "The most unusual minutes of two days, out of every sample of a metric",
        sql: "\
SELECT date_trunc('minute', time) AS minute, host, count(*) AS samples, round(avg(value), 1) AS average,
       round(max(severity), 1) AS worst
FROM requests_per_second GROUP BY minute, host ORDER BY worst DESC, minute LIMIT 5",
    },
];

/// Asks the statements as any client would.
#[derive(Debug)]
pub(crate) struct Tour {
    client: Arc<Client>,
}

impl Tour {
    /// A tour of the server behind `client`.
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    /// Asks and shows.
    ///
    /// # Errors
    /// If the server refuses a statement, or the story cannot be told.
    pub(crate) fn run(&self, story: &mut Story<'_>) -> Result<(), CliError> {
        for stop in &STOPS {
            let statement = Statement {
                sql: stop.sql.to_owned(),
                db: "default".to_owned(),
                format: Format::Pretty,
                timeout: None,
            };
            let mut table = Vec::new();
            ask(&self.client, &statement, &mut table)?;
            story.answer(stop.title, stop.sql, &String::from_utf8_lossy(&table))?;
        }
        Ok(())
    }
}
