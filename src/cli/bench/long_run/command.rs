//! The command: a server, its load, and what is held against each other afterwards.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_env::{Clock, RealClock};
use tidewatch_metrics::EventTime;
use tidewatch_metrics::time::NANOS_PER_SECOND;

use crate::cli::bench::child::ServerChild;
use crate::cli::bench::command::{Scratch, write};
use crate::cli::bench::long_run::figures::Figures;
use crate::cli::bench::long_run::load::{Sent, send};
use crate::cli::bench::long_run::sums::{Compared, HourSums};
use crate::cli::bench::long_run::watch::{Seen, ask, instrument, watch};
use crate::cli::error::CliError;
use crate::cli::generate::{Generator, GeneratorConfig};
use crate::cli::progress::Progress;
use crate::cli::stop::Stop;

const DAY_SECONDS: u64 = 86_400;
/// Between two looks whether merges go on.
const SETTLE_LOOK: Duration = Duration::from_secs(3);
/// Merges are waited for at most so long.
const SETTLE_MAX: Duration = Duration::from_mins(15);

/// `tidewatch bench long-run`
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LongRunArgs {
    /// Days of samples, which end now
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_650))]
    days: u64,
    /// Number of series
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    series: u32,
    /// Seconds between two samples of a series
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    interval: u64,
    /// The disk's budget
    #[arg(long, default_value = "2GB")]
    disk_bytes_max: String,
    /// Another setting of the server, section.key=value; may be repeated
    #[arg(long, value_name = "SETTING")]
    set: Vec<String>,
    /// Where to write all figures as one JSON document
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the data directory is made: it chooses the disk [default: the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the load, and puts out the figures.
///
/// # Errors
/// If the server does not run, refuses, or has an answer that is not what was generated.
pub(crate) fn long_run(args: &LongRunArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let scratch = Scratch::new(&args.dir.clone().unwrap_or_else(std::env::temp_dir))?;
    let mut settings = vec![format!("storage.disk_bytes_max={}", args.disk_bytes_max)];
    settings.extend(args.set.iter().cloned());
    let server = ServerChild::start_with(scratch.dir(), "long-run", &settings)?;
    let steps = args.days * DAY_SECONDS / args.interval;
    let progress = Progress::count(steps * u64::from(args.series), "samples");
    let (clock, stop, sent) = (RealClock::new(), Stop::default(), Arc::new(Sent::new()));
    let generator = generator(args, steps, clock.now().nanos());
    let address = server.address();
    let (loaded, seen, load_seconds) = std::thread::scope(|scope| {
        let watching = || watch(server.data_dir(), server.process(), address, &sent, &stop);
        let watching = scope.spawn(watching);
        let started = clock.monotonic();
        let loaded = send(generator, steps, address, &sent, &progress);
        let took = clock.monotonic().saturating_sub(started);
        stop.stop();
        let seen = watching.join().expect("the watch does not panic");
        (loaded, seen, took.as_secs_f64())
    });
    progress.finish();
    loaded?;
    let started = clock.monotonic();
    let disk_bytes_settling = settle(address, &server, &clock)?;
    let settle_seconds = clock.monotonic().saturating_sub(started).as_secs_f64();
    let mut figures = figures(address, &sent, &seen)?;
    figures.load_seconds = load_seconds;
    figures.settle_seconds = settle_seconds;
    figures.disk_bytes_max = seen.disk_bytes_max.max(disk_bytes_settling);
    figures.disk_bytes_budget =
        crate::config::units::parse_bytes(&args.disk_bytes_max).unwrap_or(0);
    out.write_all(figures.text().as_bytes()).map_err(CliError::output)?;
    if let Some(file) = &args.json {
        write(&figures, file)?;
    }
    if figures.hours_wrong > 0 {
        let source = format!("{} hours differ from what was generated", figures.hours_wrong);
        return Err(CliError::Internal { action: "answering exactly", source: source.into() });
    }
    Ok(())
}

/// The last step is before `now`.
fn generator(args: &LongRunArgs, steps: u64, now: i64) -> Generator {
    let interval = i64::try_from(args.interval).unwrap_or(1) * NANOS_PER_SECOND;
    let steps = i64::try_from(steps).unwrap_or(1);
    let start = (now - steps * interval).div_euclid(interval) * interval;
    Generator::new(GeneratorConfig {
        series: usize::try_from(args.series).unwrap_or(1),
        start: EventTime::new(start),
        interval_nanos: interval,
        seed: 1,
    })
}

/// Waits until merges have come to an end; gives the most that the disk held meanwhile.
fn settle(address: SocketAddr, server: &ServerChild, clock: &RealClock) -> Result<u64, CliError> {
    let (until, pause) = (clock.monotonic() + SETTLE_MAX, Stop::default());
    let (mut merged, mut quiet, mut most) = (-1.0, 0, 0);
    while quiet < 3 && clock.monotonic() < until {
        most = most.max(server.disk_bytes());
        let now = instrument(address, "tidewatch_segments_merged_bytes_total")?;
        let is_busy = server.is_merging();
        quiet = if (now - merged).abs() < 0.5 && !is_busy { quiet + 1 } else { 0 };
        merged = now;
        pause.wait(SETTLE_LOOK);
    }
    Ok(most)
}

fn figures(address: SocketAddr, sent: &Sent, seen: &Seen) -> Result<Figures, CliError> {
    let (sums, _) = sent.sums();
    let mut end = Compared::default();
    for metric in sums.metrics() {
        let csv = ask(address, &HourSums::statement(metric))?;
        end.add(sums.compare(metric, &csv, i64::MAX));
    }
    let number = |sql: &str| -> Result<u64, CliError> {
        let csv = ask(address, sql)?;
        Ok(csv.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or(0))
    };
    let of_samples = "FROM tidewatch.segments WHERE kind = 'samples'";
    let (samples, busy) = sent.counts();
    let tenths = (1..=10).filter_map(|tenth| {
        let at = (seen.memory.len() * tenth / 10).checked_sub(1)?;
        seen.memory.get(at).map(|(_, bytes)| *bytes)
    });
    Ok(Figures {
        samples,
        busy,
        load_seconds: 0.0,
        settle_seconds: 0.0,
        disk_bytes_budget: 0,
        disk_bytes_max: 0,
        flushed_bytes: instrument(address, "tidewatch_segments_flushed_bytes_total")?,
        merged_bytes: instrument(address, "tidewatch_segments_merged_bytes_total")?,
        rows_erased: instrument(address, "tidewatch_segments_rows_erased_total")?,
        rows_kept: number("SELECT count(*) FROM tidewatch.samples")?,
        segments: number(&format!("SELECT count(*) {of_samples}"))?,
        segment_bytes: number(&format!("SELECT sum(bytes) {of_samples}"))?,
        resident_bytes: tenths.collect(),
        questions: seen.questions,
        unanswered: seen.unanswered,
        hours_exact: seen.compared.exact + end.exact,
        hours_wrong: seen.compared.wrong + end.wrong,
        end_hours: [end.exact, end.partial, end.gone],
    })
}
