//! `tidewatch replay --verify`: the log through the operators again.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tidewatch_engine::{DataDir, Verdict, VerifyConfig, VerifyReport, verify};
use tidewatch_env::{Clock, Disk, RealClock, RealDisk};

use crate::cli::error::CliError;
use crate::cli::progress::Progress;
use crate::cli::service::start_error;

const EXAMPLES: &str = "\
Examples:
  tidewatch replay --verify ./tidewatch-data
  tidewatch replay --verify ./tidewatch-data --shards 7 --rechunk 42 --json

The directory must be stopped. Compared are the output hashes that the live run logged (every million
samples and at a clean stop), the state that it logged with every checkpoint, the severities in
segments, and the transitions in the log. What left the log is read from archive/, as far back as
replay.keep says.
Exit code 7: something differs; 8: written by operators of another version.";

/// `tidewatch replay`
#[derive(Clone, Debug, clap::Args)]
#[command(about = "Run the log through the operators again and compare", after_help = EXAMPLES)]
pub(crate) struct ReplayArgs {
    /// The stopped data directory whose live results are compared
    #[arg(long, value_name = "DIR", required = true)]
    verify: PathBuf,
    /// Shards of the replay
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    shards: u16,
    /// Cut the samples into other batches, by this seed
    #[arg(long, value_name = "SEED")]
    rechunk: Option<u64>,
    /// Put out the report as one JSON document
    #[arg(long)]
    json: bool,
}

/// Replays and compares.
///
/// # Errors
/// If something differs or cannot be compared, and what is wrong with the directory.
pub(crate) fn run(args: &ReplayArgs, out: &mut dyn Write) -> Result<(), CliError> {
    crate::logs::start("warn");
    let dir = &args.verify;
    let clock = RealClock::new();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let failed = |error: tidewatch_engine::EngineError| start_error(error.into(), dir);
    let lock = lock_stopped(&disk, dir)?;
    let config = VerifyConfig { shards: usize::from(args.shards), rechunk: args.rechunk };
    let progress = Progress::records();
    let report = verify(&disk, dir, config, |_| progress.advance(1)).map_err(failed)?;
    progress.finish();
    drop(lock);
    let seconds = clock.monotonic().as_secs_f64();
    let text = if args.json { as_json(&report, seconds) } else { as_text(&report, seconds) };
    out.write_all(text.as_bytes()).map_err(CliError::output)?;
    match report.result {
        Verdict::Identical => Ok(()),
        Verdict::Different => Err(CliError::ReplayDiffers {
            first_difference: report.first_difference.unwrap_or_default(),
        }),
        Verdict::NotComparable => Err(CliError::NotComparable {
            reason: "the log was written by operators of another version".to_owned(),
        }),
    }
}

/// Takes a directory that must be there and stopped.
pub(crate) fn lock_stopped(disk: &Arc<dyn Disk>, dir: &Path) -> Result<DataDir, CliError> {
    fs::metadata(dir.join("wal")).map_err(|source| CliError::File {
        action: "read the data directory",
        path: dir.to_owned(),
        source: source.into(),
    })?;
    DataDir::lock(&**disk, dir).map_err(|error| start_error(error.into(), dir))
}

fn as_json(report: &VerifyReport, seconds: f64) -> String {
    let mut document = json!(report);
    document["seconds"] = json!(seconds);
    format!("{document}\n")
}

fn as_text(report: &VerifyReport, seconds: f64) -> String {
    let result = match report.result {
        Verdict::Identical => "identical",
        Verdict::Different => "different",
        Verdict::NotComparable => "not comparable",
    };
    format!(
        "{result}: records {} to {}, {} samples replayed in {seconds:.1} s\n\
         compared: {} severities, {} transitions, {} states of slots\nstate hash {}\n",
        report.from_lsn,
        report.to_lsn,
        report.samples,
        report.severities_compared,
        report.alerts_compared,
        report.states_compared,
        report.state_hash
    )
}
