//! Conducts `tidewatch write`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use clap::ValueEnum;
use tidewatch_connectors::decode::{CsvOptions, Precision, WriteApi};
use tidewatch_env::{Clock, RealClock};

use crate::cli::client::{Client, Post, ServerArgs, query_value, refusal};
use crate::cli::error::CliError;
use crate::cli::progress::Progress;
use crate::cli::stop::Stop;
use crate::cli::write::csv_lines::LinePrefix;
use crate::cli::write::source::{Batch, Form, Source};
use crate::cli::write::summary::Summary;

/// Files that are sent at the same time, one request of each in flight.
const FILES_AT_ONCE_MAX: usize = 4;
/// One request, which the server may take its time to sync.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Notes about rejected rows that are shown.
const NOTES_MAX: usize = 20;

const EXAMPLES: &str = "\
Examples:
  # Line protocol from a file, and from another program
  tidewatch write metrics.lp
  printf 'cpu,host=a value=0.7\\n' | tidewatch write -

  # A CSV file with the columns timestamp and value; the metric is named cpu, after the file
  tidewatch write --label host=a cpu.csv

  # JSON: a document with an array of metrics, and a sample per line
  tidewatch write metrics.json samples.ndjson

  # Other columns, another database, and the figures as JSON
  tidewatch write --time-column t --value-column v --metric load --db lab --json run-*.csv

A row is a line of line protocol, a row of CSV, or a sample in JSON. Files may be compressed with gzip.
Exit code 3: the server was not reached; 4: rows were rejected (the others are stored).";

/// `tidewatch write`
#[derive(Clone, Debug, clap::Args)]
#[command(about = "Send files to a running server", after_help = EXAMPLES)]
pub(crate) struct WriteArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// How the files are written [default: by the name: .csv, .json, .ndjson or .jsonl, also with .gz
    /// behind it, else lp]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Unit of times that are numbers [default: ns for lp; for csv told by their size]
    #[arg(long, value_enum)]
    precision: Option<Unit>,
    /// The database; it is made by its first write
    #[arg(long, default_value = "default")]
    db: String,
    /// CSV: the metric [default: the file's name without its extension]
    #[arg(long)]
    metric: Option<String>,
    /// CSV: a label of all rows, as key=value; can be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// CSV: the column of the times; times without a zone are UTC
    #[arg(long, default_value = "timestamp")]
    time_column: String,
    /// CSV: the column of the values
    #[arg(long, default_value = "value")]
    value_column: String,
    /// Rows of one request
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_rows: u32,
    /// When the server answers: taken into memory, survives a killed process, survives a power cut
    /// [default: synced]
    #[arg(long, value_enum)]
    durability: Option<Level>,
    /// Put out the figures as one JSON document
    #[arg(long)]
    json: bool,
    /// Files, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Influx line protocol
    Lp,
    /// A document {"metrics":[{"name","timestamp","value","dimensions"}]}
    Json,
    /// A sample per line: {"metric","time","value","labels"}
    Ndjson,
    /// One series per file: a column of times and one of values
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Unit {
    Ns,
    Us,
    Ms,
    S,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Lp => "line protocol",
            Self::Json | Self::Ndjson => "JSON",
            Self::Csv => "CSV",
        }
    }
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Us => "us",
            Self::Ms => "ms",
            Self::S => "s",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    Accepted,
    Written,
    Synced,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Written => "written",
            Self::Synced => "synced",
        }
    }
}

/// Sends the files and puts out what it came to, also where it ends early.
///
/// # Errors
/// If a file cannot be read, the server is not reached, or it refuses something.
pub(crate) fn run(args: &WriteArgs, out: &mut dyn std::io::Write) -> Result<(), CliError> {
    let clock = RealClock::new();
    let stop = Arc::new(Stop::default());
    let client = Client::new(&args.server, Arc::clone(&stop))?;
    let jobs = jobs(args)?;
    let progress = Progress::bytes(bytes(&args.files));
    let next = AtomicUsize::new(0);
    let state = Mutex::new(State::default());
    let sending =
        Sending { args, client: &client, progress: &progress, stop: &stop, state: &state };
    std::thread::scope(|scope| {
        for _ in 0..jobs.len().min(FILES_AT_ONCE_MAX) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    sending.file(job);
                }
            });
        }
    });
    progress.finish();
    let mut state = state.into_inner().expect("a thread that panics ends the command");
    state.summary.set_time(clock.monotonic());
    state.summary.write(args.json, out)?;
    match state.failure {
        Some(failure) => Err(failure),
        None => state.summary.verdict(),
    }
}

/// A file and how to send it.
#[derive(Clone, Debug)]
struct Job {
    file: PathBuf,
    form: Form,
    /// Path and query of the requests.
    path: String,
}

/// What the threads share and change.
#[derive(Debug, Default)]
struct State {
    summary: Summary,
    failure: Option<CliError>,
    notes: usize,
}

/// What the threads share.
#[derive(Debug)]
struct Sending<'a> {
    args: &'a WriteArgs,
    client: &'a Client,
    progress: &'a Progress,
    stop: &'a Stop,
    state: &'a Mutex<State>,
}

impl Sending<'_> {
    /// Sends one file; the first failure of all ends the command.
    fn file(&self, job: &Job) {
        if self.stop.is_stopped() {
            return;
        }
        match self.batches(job) {
            Ok(()) => {}
            Err(failure) => {
                let mut state = self.state();
                state.failure = state.failure.take().or(Some(failure));
                drop(state);
                self.stop.stop();
            }
        }
    }

    fn batches(&self, job: &Job) -> Result<(), CliError> {
        let rows_max = usize::try_from(self.args.batch_rows).expect("a u32 is a usize here");
        let rows_max = rows_max.min(job.form.rows_max());
        let mut source = Source::open(&job.file, &job.form, self.progress)?;
        let mut body = Vec::new();
        while !self.stop.is_stopped() {
            let batch = source.next(rows_max, &mut body).map_err(|source| CliError::File {
                action: "read",
                path: job.file.clone(),
                source,
            })?;
            let Some(batch) = batch else {
                self.state().summary.end_file();
                return Ok(());
            };
            self.state().summary.refuse(batch.refused);
            for note in &batch.notes {
                self.note(&job.file, note);
            }
            if batch.rows > 0 {
                self.send(job, &batch, &body)?;
            }
        }
        Ok(())
    }

    fn send(&self, job: &Job, batch: &Batch, body: &[u8]) -> Result<(), CliError> {
        let durability = self.args.durability.map(|level| ("Tidewatch-Durability", level.name()));
        let response = self.client.post(&Post {
            path: &job.path,
            content_type: job.form.content_type(),
            headers: durability.as_slice(),
            body,
            timeout: REQUEST_TIMEOUT,
        })?;
        let status = response.status();
        // A refusal that counts its rows is about rows; any other one is about the request.
        let partial = status == 400 && response.headers().contains_key("tidewatch-rejected");
        if !status.is_success() && !partial {
            return Err(self.client.refused(response));
        }
        let rejected = self.state().summary.answered(batch.rows, response.headers());
        if rejected > 0 {
            let message = refusal(response);
            let note = match batch.first_line {
                Some(1) => message,
                Some(line) if job.form.is_json() => {
                    format!("{message} (counted from {line}, where the batch begins)")
                }
                Some(line) => format!("{message} (lines are counted from line {line} of the file)"),
                None => format!("{message} (lines are rows of a batch, refused ones left out)"),
            };
            self.note(&job.file, &note);
        }
        Ok(())
    }

    fn note(&self, file: &Path, note: &str) {
        let mut state = self.state();
        state.notes += 1;
        let notes = state.notes;
        drop(state);
        if notes <= NOTES_MAX {
            self.progress.note(&format!("{}: {note}", file.display()));
        } else if notes == NOTES_MAX + 1 {
            self.progress.note("further rejected rows are only counted");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a thread that panics ends the command")
    }
}

/// What is to be done, or all that contradicts it.
fn jobs(args: &WriteArgs) -> Result<Vec<Job>, CliError> {
    let usage = |problem: String| CliError::Usage { problem };
    let mut seen = BTreeSet::new();
    let mut jobs = Vec::with_capacity(args.files.len());
    for file in &args.files {
        if file.as_os_str() == "-" && !seen.insert(file) {
            return Err(usage("standard input (-) is given twice".to_owned()));
        }
        let format = args.format.unwrap_or_else(|| format_of(file));
        let form = match format {
            Format::Csv => csv_form(args, file)?,
            _ if args.metric.is_some() || !args.labels.is_empty() => {
                let problem = format!(
                    "--metric and --label are for CSV, but {} is read as {}; \
                     --format csv says otherwise",
                    file.display(),
                    format.name()
                );
                return Err(usage(problem));
            }
            Format::Json | Format::Ndjson if args.precision.is_some() => {
                let problem = format!(
                    "--precision is for line protocol and CSV, but {} is read as {}, whose times \
                     tell their unit by their size",
                    file.display(),
                    format.name()
                );
                return Err(usage(problem));
            }
            Format::Lp => Form::Lines,
            Format::Json => Form::Json,
            Format::Ndjson => Form::JsonLines,
        };
        let unit = match (format, args.precision) {
            (Format::Lp, Some(unit)) => unit,
            _ => Unit::Ns,
        };
        let db = query_value(&args.db);
        let path = match format {
            Format::Lp | Format::Csv => format!("/write?db={db}&precision={}", unit.name()),
            Format::Json | Format::Ndjson => format!("/api/v1/write?db={db}"),
        };
        jobs.push(Job { file: file.clone(), form, path });
    }
    Ok(jobs)
}

fn csv_form(args: &WriteArgs, file: &Path) -> Result<Form, CliError> {
    let usage = |problem: String| CliError::Usage { problem };
    let metric = match &args.metric {
        Some(metric) => metric.clone(),
        None => stem(file).ok_or_else(|| {
            usage(format!("--metric is needed: \"{}\" gives no name", file.display()))
        })?,
    };
    let prefix = LinePrefix::new(&args.db, &metric, &args.labels)
        .map_err(|error| usage(format!("\"{}\" cannot be sent: {error}", file.display())))?;
    let precision = match args.precision {
        Some(unit) => Precision::parse(WriteApi::V1, unit.name()).expect("the units are shared"),
        None => Precision::Auto,
    };
    let (time_column, value_column) = (args.time_column.clone(), args.value_column.clone());
    Ok(Form::Csv { options: CsvOptions { time_column, value_column, precision }, prefix })
}

fn format_of(file: &Path) -> Format {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match Path::new(name).extension().and_then(std::ffi::OsStr::to_str) {
        Some("csv") => Format::Csv,
        Some("json") => Format::Json,
        Some("ndjson" | "jsonl") => Format::Ndjson,
        _ => Format::Lp,
    }
}

/// The file's name without its extension, and without `.gz` before.
fn stem(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let stem = Path::new(name).file_stem()?.to_str()?;
    (stem != "-").then(|| stem.to_owned())
}

/// The size of all files; `None` if one has none, as a pipe.
fn bytes(files: &[PathBuf]) -> Option<u64> {
    let sizes = files.iter().map(|file| {
        let metadata = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
        Some(metadata.len())
    });
    sizes.sum()
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("a label is key=value, such as host=web-1".to_owned()),
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
