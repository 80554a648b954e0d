//! `tidewatch wal`: looks into the log of a data directory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tidewatch_engine::record::{LogRecord, SamplesRecord, decode};
use tidewatch_env::RealDisk;
use tidewatch_metrics::Lsn;
use tidewatch_wal::{KIND_CALLER_MIN, KIND_GAP, StatedGap, WalError, WalReader};

use crate::cli::error::CliError;

/// What `ls` shows of a file.
const COLUMNS: [&str; 5] = ["file", "first_lsn", "last_lsn", "records", "bytes"];
/// Where files lie that left the log, and how their names end.
const ARCHIVE: &str = "archive";
const ARCHIVED_END: &str = ".arc";
/// Samples of one record that `dump` shows.
const SAMPLES_SHOWN: usize = 5;

/// `tidewatch wal`
#[derive(Debug, clap::Subcommand)]
#[command(about = "Look into the log of a data directory, and into its archive")]
pub(crate) enum WalCommand {
    /// Read every record and check it; exit code 5 if one is damaged
    Verify {
        /// The data directory
        dir: PathBuf,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// List the files of the log with their records
    Ls {
        /// The data directory
        dir: PathBuf,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Print records, one JSON document per line
    #[command(after_help = "Example:\n  tidewatch wal dump ./tidewatch-data --from 100 --limit 10")]
    Dump {
        /// The data directory
        dir: PathBuf,
        /// The first record; the oldest that is kept if it is not given
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "LSN")]
        from: u64,
        /// How many records
        #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
        limit: u64,
    },
}

/// Runs the command. Nothing is changed; the server may be running.
///
/// # Errors
/// If the log is damaged or cannot be read.
pub(crate) fn run(command: &WalCommand, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        WalCommand::Verify { dir, json } => verify(dir, *json, out),
        WalCommand::Ls { dir, json } => ls(dir, *json, out),
        WalCommand::Dump { dir, from, limit } => dump(dir, Lsn::new(*from), *limit, out),
    }
}

fn verify(dir: &Path, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let (wal, archive) = (dir.join("wal"), dir.join(ARCHIVE));
    let archived = tidewatch_wal::verify_archive(&RealDisk, &archive, &wal);
    let mut report = archived.map_err(|e| failed(e, dir))?;
    let log = tidewatch_wal::verify(&RealDisk, &wal).map_err(|e| failed(e, dir))?;
    report.records += log.records;
    report.last_lsn = report.last_lsn.max(log.last_lsn);
    report.gaps.extend(log.gaps);
    report.problems.extend(log.problems);
    let problems: Vec<Value> = report
        .problems
        .iter()
        .map(|p| json!({ "file": p.file, "offset": p.offset, "message": p.message }))
        .collect();
    let gaps: Vec<Value> = report.gaps.iter().map(gap).collect();
    let text = if json {
        let document = json!({
            "ok": report.ok(), "records": report.records, "last_lsn": report.last_lsn.get(),
            "gaps": gaps, "problems": problems,
        });
        format!("{document}\n")
    } else {
        let mut text = format!("{} records, the last one is {}\n", report.records, report.last_lsn);
        for StatedGap { gap, file, offset } in &report.gaps {
            let (from, to) = (gap.from, gap.to);
            text.push_str(&format!(
                "{file} at byte {offset}: a salvage left out records {from} to {to}\n"
            ));
        }
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
            path: path_of(dir, &problem.file),
            problem: problem.message.clone(),
        }),
    }
}

fn gap(stated: &StatedGap) -> Value {
    let StatedGap { gap, file, offset } = stated;
    json!({ "from_lsn": gap.from.get(), "to_lsn": gap.to.get(), "file": file, "offset": offset })
}

/// A file of the log as `ls` shows it.
struct FileLine {
    file: String,
    first: Lsn,
    last: Lsn,
    records: u64,
}

fn ls(dir: &Path, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let mut reader = open(dir, Lsn::ZERO)?;
    let mut files: Vec<FileLine> = Vec::new();
    while let Some(record) = reader.next_record().map_err(|e| failed(e, dir))? {
        let records = u64::from(record.kind != KIND_GAP);
        match files.last_mut() {
            Some(file) if file.file == record.file => {
                file.last = record.last_lsn;
                file.records += records;
            }
            _ => files.push(FileLine {
                file: record.file.to_owned(),
                first: record.lsn,
                last: record.last_lsn,
                records,
            }),
        }
    }
    let rows = files.iter().map(|file| {
        let bytes = std::fs::metadata(path_of(dir, &file.file)).map_or(0, |m| m.len());
        json!({
            "file": file.file, "first_lsn": file.first.get(), "last_lsn": file.last.get(),
            "records": file.records, "bytes": bytes,
        })
    });
    let rows: Vec<Value> = rows.collect();
    let text = if json { format!("{}\n", Value::Array(rows)) } else { table(&COLUMNS, &rows) };
    out.write_all(text.as_bytes()).map_err(CliError::output)
}

/// JSON objects as a table for people, with these keys as columns.
pub(crate) fn table(columns: &[&str], rows: &[Value]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(columns);
    for row in rows {
        table.add_row(columns.iter().map(|column| match &row[column] {
            // Names come from whoever writes: they must not steer the terminal.
            Value::String(text) => text.replace(char::is_control, " "),
            Value::Null => String::new(),
            other => other.to_string(),
        }));
    }
    format!("{table}\n")
}

fn dump(dir: &Path, from: Lsn, limit: u64, out: &mut dyn Write) -> Result<(), CliError> {
    let mut reader = open(dir, from)?;
    let mut shown = 0;
    while let Some(record) = reader.next_record().map_err(|e| failed(e, dir))? {
        if shown == limit {
            break;
        }
        shown += 1;
        let mut document = json!({
            "lsn": record.lsn.get(), "kind": record.kind, "bytes": record.payload.len(),
            "file": record.file, "offset": record.offset,
        });
        if record.kind == KIND_GAP {
            document["gap"] = json!({ "to_lsn": record.last_lsn.get() });
        } else if record.kind < KIND_CALLER_MIN {
            document["mark"] = json!(true);
        } else if let Some(record) = decode(record.kind, record.payload) {
            describe(&record, &mut document);
        }
        writeln!(out, "{document}").map_err(CliError::output)?;
    }
    Ok(())
}

fn describe(record: &LogRecord, document: &mut Value) {
    match record {
        LogRecord::Samples(samples) => describe_samples(samples, document),
        LogRecord::Start(start) => {
            document["start"] = json!({
                "version": start.version, "operators": start.operators,
                "time": start.time.nanos(), "rules": start.rules, "sinks": start.sinks,
            });
        }
        LogRecord::Tick(tick) => {
            document["tick"] =
                json!({ "time": tick.time.nanos(), "rows": tick.rows, "hashed": tick.hashed });
        }
        LogRecord::Transition(record) => {
            document["transition"] = json!({
                "key": record.transition.dedupe_key(), "rule": record.transition.rule,
                "cause": record.cause.get(), "reason": record.transition.reason,
            });
        }
        LogRecord::Delivery(row) => {
            document["delivery"] = json!({
                "key": format!("{}:{}", row.key, row.transition.name()), "sink": row.sink,
                "attempt": row.attempt, "outcome": row.outcome, "status": row.status,
            });
        }
        LogRecord::Checkpoint(record) => {
            let slots = record.slots.iter().map(|mark| mark.lsn.get());
            document["checkpoint"] = json!({
                "number": record.number, "least_lsn": slots.clone().min(),
                "greatest_lsn": slots.max(),
            });
        }
        LogRecord::Delete(record) => {
            document["delete"] = json!({
                "db": record.metric.db, "metric": record.metric.metric,
                "from": record.from.nanos(), "to": record.to.nanos(),
            });
        }
        LogRecord::Feed(record) => {
            document["feed"] = json!({ "feed": record.tag, "upto_lsn": record.upto.get() });
        }
        LogRecord::Primed(record) => {
            let bytes: usize = record.states.iter().map(|primed| primed.state.len()).sum();
            document["primed"] = json!({ "series": record.states.len(), "bytes": bytes });
        }
        LogRecord::OutputHash(record) => {
            document["output_hash"] = json!({
                "at": record.at.get(), "samples": record.hash.samples,
                "severities": record.hash.severities, "alerts": record.hash.alerts,
            });
        }
    }
}

fn describe_samples(samples: &SamplesRecord, document: &mut Value) {
    let rows = samples
        .parts
        .iter()
        .flat_map(|part| part.series().iter().zip(part.times()).zip(part.values()));
    let first = rows.clone().take(SAMPLES_SHOWN).map(|((series, time), value)| {
        json!({ "series": series.0, "time": time.nanos(), "value": value })
    });
    let registered = samples.registrations.iter().map(|(series, key)| {
        json!({ "series": series.0, "db": key.db(), "metric": key.metric(),
                "labels": key.labels() })
    });
    document["samples"] = json!({
        "received": samples.received.nanos(),
        "rows": rows.count(),
        "first": first.collect::<Vec<_>>(),
        "registered": registered.collect::<Vec<_>>(),
    });
    if let Some(source) = &samples.source {
        let partition = source.partition();
        document["source"] = json!({
            "source": partition.source(), "topic": partition.topic(),
            "partition": partition.partition(),
            "topic_id": format!("{:032x}", source.topic_id()),
            "first": source.first(), "last": source.last(),
        });
    }
    if let Some(key) = &samples.key {
        document["idempotency_key"] = json!({
            "db": *key.db, "key": *key.key, "request": format!("{:032x}", key.request),
        });
    }
}

/// The log with its archive before it.
fn open(dir: &Path, from: Lsn) -> Result<WalReader, CliError> {
    let (wal, archive) = (dir.join("wal"), dir.join(ARCHIVE));
    let opened = WalReader::open_with_archive(Arc::new(RealDisk), &wal, &archive, from);
    opened.map_err(|e| failed(e, dir))
}

/// Where a file of log or archive lies.
fn path_of(dir: &Path, file: &str) -> PathBuf {
    let inside = if file.ends_with(ARCHIVED_END) { ARCHIVE } else { "wal" };
    dir.join(inside).join(file)
}

fn failed(error: WalError, dir: &Path) -> CliError {
    match error {
        WalError::Io { action, path, source } => {
            CliError::File { action, path, source: source.into() }
        }
        error => CliError::Corrupt { path: dir.to_owned(), problem: error.to_string() },
    }
}
