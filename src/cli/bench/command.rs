//! `tidewatch bench`, and its command `ingest`

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::cli::bench::bodies::BodyFormat;
use crate::cli::bench::case::CaseName;
use crate::cli::bench::compare::compare;
use crate::cli::bench::floor;
use crate::cli::bench::long_run::{LongRunArgs, long_run};
use crate::cli::bench::machine::Machine;
use crate::cli::bench::process::Process;
use crate::cli::bench::questdb::QuestDb;
use crate::cli::bench::report::Report;
use crate::cli::bench::rounds::{Plan, ROUNDS, measure};
use crate::cli::error::CliError;
use crate::cli::progress::Progress;

/// How folders of benchmarks are called, before the number of their process.
const SCRATCH_PREFIX: &str = "tidewatch-bench-";

const EXAMPLES: &str = "\
Examples:
  tidewatch bench ingest
  tidewatch bench ingest --seconds 60 --json now.json --compare before.json
  tidewatch bench ingest --case p4 --format json
  tidewatch bench ingest --case p1 --peer questdb=http://127.0.0.1:9000 --peer-pid 4711

Starts servers of its own on data directories of its own, which it removes. Every write is acknowledged
after its fdatasync and scored; the client runs on the same cores. Afterwards count and sum of all
values must be what was acknowledged, or the exit code is 1. No figure makes it fail.";

/// `tidewatch bench`
#[derive(Clone, Debug, clap::Subcommand)]
#[command(about = "Measure on this machine")]
pub(crate) enum BenchCommand {
    /// Writes over HTTP, and the floor that the disk sets
    #[command(after_help = EXAMPLES)]
    Ingest(IngestArgs),
    /// A month of a fleet in some minutes, on a small disk: is what is kept exact?
    LongRun(LongRunArgs),
}

/// `tidewatch bench ingest`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct IngestArgs {
    /// Seconds of load on each server in each case, in five rounds
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Where to write all figures as one JSON document
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The document of an earlier run, to print the ratios to it
    #[arg(long, value_name = "OLD")]
    compare: Option<PathBuf>,
    /// Measure only this case; may be repeated [default: all]
    #[arg(long, value_enum, value_name = "CASE")]
    case: Vec<CaseName>,
    /// The protocol of all cases [default: line protocol, and remote write in p4]
    #[arg(long, value_enum)]
    format: Option<BodyFormat>,
    /// A server to measure in the same run with the same requests; questdb is known
    #[arg(long, value_name = "NAME=URL")]
    peer: Vec<String>,
    /// The process of a peer, in the order of the peers, for its CPU-seconds
    #[arg(long, value_name = "PID")]
    peer_pid: Vec<u32>,
    /// Where data directories are made: it chooses the disk [default: the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Measures, puts out the table, and writes the document.
///
/// # Errors
/// If a server does not run, refuses, or does not hold what it acknowledged.
pub(crate) fn run(command: &BenchCommand, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        BenchCommand::Ingest(args) => ingest(args, out),
        BenchCommand::LongRun(args) => long_run(args, out),
    }
}

fn ingest(args: &IngestArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let peers = peers(&args.peer, &args.peer_pid)?;
    let old = args.compare.as_deref().map(read).transpose()?;
    let scratch = Scratch::new(&args.dir.clone().unwrap_or_else(std::env::temp_dir))?;
    let machine = Machine::this(&scratch.dir);
    let cases = if args.case.is_empty() {
        vec![CaseName::P1, CaseName::P2, CaseName::Small, CaseName::P4]
    } else {
        args.case.clone()
    };
    let cases = cases.into_iter().map(CaseName::case);
    let cases: Vec<_> =
        cases.map(|case| args.format.map_or(case, |format| case.in_format(format))).collect();
    let servers = |peers_too: bool| if peers_too { 1 + peers.len() } else { 1 };
    let turns: usize = cases.iter().map(|case| servers(case.peers)).sum();
    let rounds = u64::try_from(turns).expect("a handful of turns") * u64::from(ROUNDS);
    let progress = Progress::count(rounds, "rounds");
    if machine.is_memory_backed() {
        progress.note("a sync costs nothing here: --dir can name a folder on a disk");
    }
    let floor = floor::measure(&scratch.dir)?;
    let plan = Plan {
        load: Duration::from_secs(args.seconds),
        parent: &scratch.dir,
        peers: &peers,
        progress: &progress,
    };
    let mut outcomes = Vec::new();
    for case in &cases {
        outcomes.extend(measure(case, &plan)?);
    }
    progress.finish();
    let report = Report::new(machine, floor, outcomes);
    out.write_all(report.text().as_bytes()).map_err(CliError::output)?;
    if let Some(old) = old {
        out.write_all(compare(&report, &old).as_bytes()).map_err(CliError::output)?;
    }
    if let Some(file) = &args.json {
        write(&report, file)?;
    }
    match report.incomplete() {
        None => Ok(()),
        Some(outcome) => Err(CliError::Internal {
            action: "holding all that was acknowledged",
            source: format!(
                "{} acknowledged {} samples in case {} and holds {}, or others",
                outcome.target, outcome.sent_samples, outcome.case, outcome.stored_samples
            )
            .into(),
        }),
    }
}

fn peers(named: &[String], pids: &[u32]) -> Result<Vec<QuestDb>, CliError> {
    if pids.len() > named.len() {
        let problem = "--peer-pid is given more often than --peer".to_owned();
        return Err(CliError::Usage { problem });
    }
    let pids = pids.iter().map(|pid| Some(Process::new(*pid))).chain(std::iter::repeat(None));
    let peers = named.iter().zip(pids).map(|(peer, process)| match peer.split_once('=') {
        Some(("questdb", url)) => QuestDb::new(url, process),
        Some(_) | None => Err(CliError::Usage {
            problem: format!("--peer {peer}: questdb=http://127.0.0.1:9000 is an example of one"),
        }),
    });
    peers.collect()
}

fn read(file: &Path) -> Result<Report, CliError> {
    let failed = |source: crate::cli::error::Cause| CliError::File {
        action: "read the figures in",
        path: file.to_owned(),
        source,
    };
    let text = fs::read_to_string(file).map_err(|error| failed(error.into()))?;
    serde_json::from_str(&text).map_err(|error| failed(error.into()))
}

pub(crate) fn write(report: &impl Serialize, file: &Path) -> Result<(), CliError> {
    let mut text = serde_json::to_string_pretty(report).expect("plain figures are always JSON");
    text.push('\n');
    fs::write(file, text).map_err(|error| CliError::File {
        action: "write",
        path: file.to_owned(),
        source: error.into(),
    })
}

/// A folder of our own; removed when dropped, and by the next run where this one is killed.
#[derive(Debug)]
pub(crate) struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    /// A new folder in `parent`.
    pub(crate) fn new(parent: &Path) -> Result<Self, CliError> {
        remove_abandoned(parent);
        let dir = parent.join(format!("{SCRATCH_PREFIX}{}", std::process::id()));
        let made = fs::create_dir_all(parent).and_then(|()| fs::create_dir(&dir));
        made.map_err(|source| CliError::File {
            action: "create the folder",
            path: dir.clone(),
            source: source.into(),
        })?;
        Ok(Self { dir })
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Removes what killed runs left behind: it may be gigabytes.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(SCRATCH_PREFIX)?.parse().ok());
        if pid.is_some_and(|pid| Process::new(pid).cpu_seconds().is_none()) {
            // What cannot be removed harms nobody.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_named_with_their_address() {
        let named = |text: &str| vec![text.to_owned()];
        let found = peers(&named("questdb=http://127.0.0.1:9000"), &[7]).unwrap();
        assert_eq!(found[0].process(), Some(Process::new(7)));
        for wrong in ["questdb", "other=http://127.0.0.1:1", "questdb=elsewhere"] {
            assert_eq!(peers(&named(wrong), &[]).unwrap_err().exit_code(), 2, "{wrong}");
        }
        assert_eq!(peers(&[], &[7]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_folder_of_our_own_is_gone_afterwards_and_so_are_those_of_killed_runs() {
        let parent = tempfile::tempdir().unwrap();
        let of = |owner: &str| parent.path().join("new").join(format!("tidewatch-bench-{owner}"));
        let (killed, other) = (of(&u32::MAX.to_string()), of("x"));
        fs::create_dir_all(&killed).unwrap();
        fs::create_dir_all(&other).unwrap();
        let scratch = Scratch::new(&parent.path().join("new")).unwrap();
        let dir = scratch.dir.clone();
        fs::write(dir.join("x"), "x").unwrap();
        drop(scratch);
        assert!(!dir.exists() && !killed.exists() && other.exists());
    }
}
