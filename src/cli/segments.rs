//! `tidewatch segments`: looks at the segments of a data directory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use tidewatch_engine::{EngineConfig, EngineError, Stopped};
use tidewatch_env::{Clock, Disk, RealClock, RealDisk};
use tidewatch_metrics::EventTime;
use tidewatch_segments::{FileMeta, SegmentsError};

use crate::cli::access::AccessArgs;
use crate::cli::client::{Client, Post, ServerArgs};
use crate::cli::error::CliError;
use crate::cli::progress::Progress;
use crate::cli::query::{Format, Statement, ask};
use crate::cli::replay::lock_stopped;
use crate::cli::service::start_error;
use crate::cli::stop::Stop;
use crate::cli::wal::table;

/// What `ls` shows of a file.
const COLUMNS: [&str; 10] = [
    "file",
    "kind",
    "tier",
    "rows",
    "late_rows",
    "bytes",
    "first_lsn",
    "last_lsn",
    "time_min",
    "time_max",
];

/// `tidewatch segments`
#[derive(Debug, clap::Subcommand)]
#[command(about = "Look at the segments of a data directory, and merge them")]
pub(crate) enum SegmentsCommand {
    /// List the files that the manifest names
    Ls {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        access: AccessArgs,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Merge neighbouring segments now that would wait for more; on a running server in the background
    Compact {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        access: AccessArgs,
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

/// A stopped data directory, or a running server.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Place {
    /// The data directory, whose server is stopped
    dir: Option<PathBuf>,
    /// A running server, such as http://127.0.0.1:8850
    #[arg(long)]
    url: Option<String>,
}

impl Place {
    /// The running server.
    fn server(&self, access: &AccessArgs) -> ServerArgs {
        ServerArgs { url: self.url.clone().unwrap_or_default(), access: access.clone() }
    }
}

/// Runs the command.
///
/// # Errors
/// If a file is damaged or cannot be read.
pub(crate) fn run(command: &SegmentsCommand, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        SegmentsCommand::Ls { place, access, json } => match &place.dir {
            Some(dir) => ls(dir, *json, out),
            None => ls_running(&place.server(access), *json, out),
        },
        SegmentsCommand::Compact { place, access, json } => match &place.dir {
            Some(dir) => compact(dir, *json, out),
            None => compact_running(&place.server(access), *json, out),
        },
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

/// What a running server's table of segments says.
fn ls_running(server: &ServerArgs, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let statement = Statement {
        sql: format!(
            "SELECT {} FROM tidewatch.segments ORDER BY last_lsn, file",
            COLUMNS.join(", ")
        ),
        db: "default".to_owned(),
        format: if json { Format::Json } else { Format::Pretty },
        timeout: None,
    };
    ask(&client(server)?, &statement, out)
}

/// Merges in a stopped directory until there is nothing left to merge.
fn compact(dir: &Path, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    crate::logs::start("warn");
    let (disk, clock): (Arc<dyn Disk>, Arc<dyn Clock>) =
        (Arc::new(RealDisk), Arc::new(RealClock::new()));
    let engine_failed = |error: EngineError| start_error(error.into(), dir);
    let lock = lock_stopped(&disk, dir)?;
    let config = EngineConfig::new(dir.to_owned());
    let before = tidewatch_segments::list(&*disk, &dir.join("segments"));
    let rows: u64 = before.map_err(|e| failed(e, dir))?.iter().map(|file| file.rows).sum();
    let progress = Progress::count(rows, "rows");
    let stopped = Stopped::open(&config, &disk, &clock, lock, |_| {}).map_err(engine_failed)?;
    let mut watch = |rows| progress.advance(rows);
    let merges = stopped.compact(&config, (&disk, &clock), &mut watch).map_err(engine_failed)?;
    progress.finish();
    drop(stopped);
    let files = tidewatch_segments::list(&*disk, &dir.join("segments"));
    let files = files.map_err(|error| failed(error, dir))?;
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let text = if json {
        format!("{}\n", json!({ "merges": merges, "files": files.len(), "bytes": bytes }))
    } else {
        format!("{merges} merges; {} files of {bytes} bytes now\n", files.len())
    };
    out.write_all(text.as_bytes()).map_err(CliError::output)
}

fn compact_running(server: &ServerArgs, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let client = client(server)?;
    let response = client.post(&Post {
        path: "/api/v1/admin/compact",
        content_type: "application/json",
        headers: &[],
        body: &[],
        timeout: Duration::from_secs(30),
    })?;
    if !response.status().is_success() {
        return Err(client.refused(response));
    }
    let text = if json {
        format!("{}\n", json!({ "started": true }))
    } else {
        format!(
            "merging in the background; tidewatch segments ls --url {} shows how far it is\n",
            server.url
        )
    };
    out.write_all(text.as_bytes()).map_err(CliError::output)
}

fn client(server: &ServerArgs) -> Result<Client, CliError> {
    Client::new(server, Arc::new(Stop::default()))
}

fn row(file: &FileMeta) -> Value {
    json!({
        "file": file.file, "kind": file.kind.name(), "tier": file.tier, "rows": file.rows,
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
