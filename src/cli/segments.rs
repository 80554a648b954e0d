//! `tidewatch segments`: looks at the segments of a data directory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use tidewatch_env::{Disk, RealDisk};
use tidewatch_metrics::EventTime;
use tidewatch_segments::{FileMeta, SegmentsError};

use crate::cli::error::CliError;
use crate::cli::wal::table;

/// What `ls` shows of a file.
const COLUMNS: [&str; 9] =
    ["file", "kind", "rows", "late_rows", "bytes", "first_lsn", "last_lsn", "time_min", "time_max"];

/// `tidewatch segments`
#[derive(Debug, clap::Subcommand)]
#[command(about = "Look at the segments of a data directory")]
pub(crate) enum SegmentsCommand {
    /// List the files that the manifest names
    Ls {
        /// The data directory
        dir: PathBuf,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Read the manifest and every file that it names, and check them; exit code 5 if one is damaged
    Verify {
        /// The data directory
        dir: PathBuf,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command. Nothing is changed.
///
/// # Errors
/// If a file is damaged or cannot be read.
pub(crate) fn run(command: &SegmentsCommand, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        SegmentsCommand::Ls { dir, json } => ls(dir, *json, out),
        SegmentsCommand::Verify { dir, json } => verify(dir, *json, out),
    }
}

fn ls(dir: &Path, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let files = tidewatch_segments::list(&RealDisk, &dir.join("segments"));
    let files = files.map_err(|error| failed(error, dir))?;
    let rows: Vec<Value> = files.iter().map(|file| row(file)).collect();
    let text = if json { format!("{}\n", Value::Array(rows)) } else { table(&COLUMNS, &rows) };
    out.write_all(text.as_bytes()).map_err(CliError::output)
}

fn row(file: &FileMeta) -> Value {
    json!({
        "file": file.file, "kind": file.kind.name(), "rows": file.rows,
        "late_rows": file.late_rows, "bytes": file.bytes,
        "first_lsn": file.first_lsn.get(), "last_lsn": file.last_lsn.get(),
        "time_min": time(file, file.time_min), "time_max": time(file, file.time_max),
    })
}

fn time(file: &FileMeta, time: EventTime) -> Value {
    if file.kind != tidewatch_segments::FileKind::Samples {
        return Value::Null;
    }
    let time = DateTime::from_timestamp_nanos(time.nanos());
    json!(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

fn verify(dir: &Path, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let report = tidewatch_segments::verify(&disk, &dir.join("segments"));
    let text = if json {
        let document = serde_json::to_value(&report).map_err(|error| CliError::Internal {
            action: "writing the report",
            source: error.into(),
        })?;
        format!("{document}\n")
    } else {
        let mut text = format!("{} rows, up to record {}\n", report.records, report.last_lsn);
        for problem in &report.problems {
            text.push_str(&format!(
                "{} at byte {}: {}\n",
                problem.file, problem.offset, problem.message
            ));
        }
        text
    };
    out.write_all(text.as_bytes()).map_err(CliError::output)?;
    match report.problems.first() {
        None => Ok(()),
        Some(problem) => Err(CliError::Corrupt {
            path: dir.join("segments").join(&problem.file),
            problem: problem.message.clone(),
        }),
    }
}

fn failed(error: SegmentsError, dir: &Path) -> CliError {
    match error {
        SegmentsError::Io { action, path, source } => {
            CliError::File { action, path, source: source.into() }
        }
        error => CliError::Corrupt { path: dir.to_owned(), problem: crate::http::chain(&error) },
    }
}
