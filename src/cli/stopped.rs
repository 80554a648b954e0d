//! Statements to a data directory that no server works on.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use tidewatch_query::{Format, QueryAnswer, QueryEngine, QueryRequest};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::assemble::stopped_query;
use crate::cli::error::CliError;
use crate::cli::progress::Progress;
use crate::cli::query::Statement;
use crate::cli::service::{internal, start_error};
use crate::config::Config;

/// A data directory that no server works on, locked as long as this lives.
#[derive(Debug)]
pub(crate) struct StoppedData {
    data_dir: PathBuf,
    query: QueryEngine,
    runtime: Runtime,
}

impl StoppedData {
    /// Opens a directory, read-only, and replays what its segments do not hold.
    ///
    /// # Errors
    /// What is wrong with the directory.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, CliError> {
        crate::logs::start("warn");
        let missing = |source: std::io::Error| CliError::File {
            action: "read the data directory",
            path: data_dir.to_owned(),
            source: source.into(),
        };
        fs::metadata(data_dir.join("wal")).map_err(missing)?;
        let progress = Progress::records();
        let query = stopped_query(&Config::default(), data_dir.to_owned(), |_| progress.advance(1));
        progress.finish();
        let query = query.map_err(|error| start_error(error, data_dir))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| internal("starting threads", source))?;
        Ok(Self { data_dir: data_dir.to_owned(), query, runtime })
    }

    /// Answers a statement, unless it is cancelled before.
    ///
    /// # Errors
    /// What is wrong with the statement; [`CliError::Interrupted`].
    pub(crate) fn answer(
        &self,
        statement: &Statement,
        cancelled: &Notify,
    ) -> Result<QueryAnswer, CliError> {
        let format = Format::from_name(statement.format.name());
        let request = QueryRequest {
            sql: statement.sql.clone(),
            db: statement.db.clone(),
            format: format.expect("both know the same formats"),
            timeout: statement.timeout,
        };
        let answer = self.runtime.block_on(async {
            tokio::select! {
                answer = self.query.execute(request) => Some(answer),
                () = cancelled.notified() => None,
            }
        });
        answer.ok_or(CliError::Interrupted)?.map_err(|error| CliError::Refused {
            url: self.data_dir.display().to_string(),
            status: crate::http::ApiError::from(&error).status.as_u16(),
            message: crate::http::chain(&error),
        })
    }
}

/// Answers one statement from a data directory that no server works on.
///
/// # Errors
/// What is wrong with the directory or the statement.
pub(crate) fn answer_locally(
    data_dir: &Path,
    statement: &Statement,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let answer = StoppedData::open(data_dir)?.answer(statement, &Notify::new())?;
    out.write_all(&answer.body).map_err(CliError::output)
}
