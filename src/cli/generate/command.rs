//! `tidewatch gen`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidewatch_connectors::decode::time::parse_date_time;
use tidewatch_env::{Clock, RealClock};
use tidewatch_metrics::EventTime;
use tidewatch_metrics::time::NANOS_PER_SECOND;

use crate::cli::error::CliError;
use crate::cli::generate::anomaly::{Window, plan};
use crate::cli::generate::generator::{Generator, GeneratorConfig};
use crate::cli::generate::labels;
use crate::cli::generate::output::{Format, TextForm};
use crate::cli::progress::Progress;
use crate::config::units::parse_duration;

/// Text is handed on in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  # An hour of 100 series, into a running server
  tidewatch gen --series 100 --samples 360 | tidewatch write -

  # Two days with 12 labelled anomalies, the same on every machine
  tidewatch gen --series 40 --samples 17280 --seed 7 --end 2026-01-03T00:00:00Z \\
      --anomalies 12 --labels-out truth.csv > series.lp

There are four metrics per host: active_sessions and requests_per_second follow the day, latency_ms has
bursts, cpu_percent wanders between 0 and 100. Labels: host, region, service. Anomalies lie in the second
half of the time: spike, drop, level_shift, variance_change, seasonal_break, flatline in turn.";

/// `tidewatch gen`
#[derive(Clone, Debug, clap::Args)]
#[command(about = "Generate series that look real, with labelled anomalies", after_help = EXAMPLES)]
pub(crate) struct GenArgs {
    /// Number of series
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    series: u32,
    /// Samples of each series
    #[arg(long, default_value_t = 360, value_parser = clap::value_parser!(u64).range(1..))]
    samples: u64,
    /// Time between two samples of a series
    #[arg(long, default_value = "10s", value_parser = parse_interval)]
    interval: Duration,
    /// Where all random numbers come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How samples are written
    #[arg(long, value_enum, default_value_t = Format::Lp)]
    format: Format,
    /// The time of the first sample, such as 2026-01-01T00:00:00Z
    #[arg(long, value_parser = parse_time, conflicts_with = "end")]
    start: Option<EventTime>,
    /// The time at which the samples end, which is the time of no sample [default: now]
    #[arg(long, value_parser = parse_time)]
    end: Option<EventTime>,
    /// Anomalies to inject
    #[arg(long, default_value_t = 0, value_name = "K", value_parser = clap::value_parser!(u32).range(..=100_000))]
    anomalies: u32,
    /// Where to write series, kind, start and end of the anomalies: CSV, or JSON for names in .json
    #[arg(long, value_name = "FILE")]
    labels_out: Option<PathBuf>,
}

/// Puts out the samples, and writes the labels.
///
/// # Errors
/// If the times do not fit into 64 bits, or something cannot be written.
pub(crate) fn run(args: &GenArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let mut generator = generator(args, &RealClock::new())?;
    if let Some(file) = &args.labels_out {
        write_labels(&generator, file)?;
    }
    let mut form = TextForm::new(args.format, generator.series());
    let progress = Progress::count(args.samples.saturating_mul(args.series.into()), "samples");
    let mut values = Vec::with_capacity(generator.series().len());
    let mut text = form.header().to_owned();
    for _ in 0..args.samples {
        let time = generator.step(&mut values);
        form.push_step(time, &values, &mut text);
        if text.len() >= PIECE_BYTES {
            out.write_all(text.as_bytes()).map_err(CliError::output)?;
            text.clear();
        }
        progress.advance(args.series.into());
    }
    out.write_all(text.as_bytes()).map_err(CliError::output)?;
    progress.finish();
    out.flush().map_err(CliError::output)
}

/// The generator that the arguments describe, with its anomalies.
fn generator(args: &GenArgs, clock: &dyn Clock) -> Result<Generator, CliError> {
    let too_long = || CliError::Usage {
        problem: "--samples and --interval reach beyond the range of times, 1677 to 2262"
            .to_owned(),
    };
    let interval_nanos = i64::try_from(args.interval.as_nanos()).ok().ok_or_else(too_long)?;
    let samples = i64::try_from(args.samples).ok().ok_or_else(too_long)?;
    let length = samples.checked_mul(interval_nanos).ok_or_else(too_long)?;
    let start = match args.start {
        Some(start) => start.nanos(),
        None => {
            // Now, on a whole second: times that people can read.
            let now = clock.now().nanos().div_euclid(NANOS_PER_SECOND) * NANOS_PER_SECOND;
            let end = args.end.map_or(now, EventTime::nanos);
            end.checked_sub(length).ok_or_else(too_long)?
        }
    };
    let end = start.checked_add(length).ok_or_else(too_long)?;
    let series = usize::try_from(args.series).expect("a u32 is a usize here");
    let start = EventTime::new(start);
    let mut generator =
        Generator::new(GeneratorConfig { series, start, interval_nanos, seed: args.seed });
    let from = EventTime::new(start.nanos() + samples / 2 * interval_nanos);
    let window = Window { from, to: EventTime::new(end), interval_nanos };
    let count = usize::try_from(args.anomalies).expect("a u32 is a usize here");
    for anomaly in plan(count, series, window, args.seed) {
        generator.inject(anomaly);
    }
    if generator.injected().len() < count {
        let problem = format!(
            "--anomalies {count} do not fit: only {} find room; more --samples or --series do",
            generator.injected().len()
        );
        return Err(CliError::Usage { problem });
    }
    Ok(generator)
}

fn write_labels(generator: &Generator, file: &Path) -> Result<(), CliError> {
    let json = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let text = if json { labels::to_json(generator) } else { labels::to_csv(generator) };
    std::fs::write(file, text).map_err(|error| CliError::File {
        action: "write",
        path: file.to_owned(),
        source: error.into(),
    })
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|interval| !interval.is_zero())
        .ok_or_else(|| "an interval has its unit, such as 10s, 500ms or 5m".to_owned())
}

fn parse_time(text: &str) -> Result<EventTime, String> {
    parse_date_time(text.as_bytes()).map_err(|fault| format!("{fault}; write 2026-01-01T00:00:00Z"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tidewatch_env::SimClock;
    use tidewatch_metrics::UnixNanos;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: GenArgs,
    }

    fn parse(words: &[&str]) -> GenArgs {
        let words = std::iter::once("gen").chain(words.iter().copied());
        Command::try_parse_from(words).expect("good arguments").args
    }

    fn generate(words: &[&str]) -> String {
        let mut out = Vec::new();
        run(&parse(words), &mut out).expect("good arguments");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_samples_end_where_they_are_told_to() {
        let words = ["--series", "2", "--samples", "3", "--interval", "1m", "--format", "csv"];
        let rows = |more: &[&str]| -> Vec<String> {
            let text = generate(&[&words[..], more].concat());
            text.lines().skip(1).map(|row| row.split(',').next().unwrap().to_owned()).collect()
        };
        let expected = ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"];
        let expected: Vec<_> = expected.iter().flat_map(|time| [*time, *time]).collect();
        assert_eq!(rows(&["--start", "2026-01-01T00:00:00Z"]), expected);
        assert_eq!(rows(&["--end", "2026-01-01T00:03:00Z"]), expected);
    }

    #[test]
    fn without_an_end_the_samples_are_recent() {
        let clock = SimClock::new(UnixNanos::new(1_760_000_000_900_000_000));
        let mut generator = generator(&parse(&["--samples", "6"]), &clock).unwrap();
        assert_eq!(
            generator.step(&mut Vec::new()),
            EventTime::new((1_760_000_000 - 60) * NANOS_PER_SECOND)
        );
    }

    #[test]
    fn labels_tell_what_was_injected() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("truth.csv");
        let end = ["--end", "2026-01-03T00:00:00Z", "--seed", "9", "--samples", "2000"];
        let healthy = generate(&end);
        let words = ["--anomalies", "12", "--labels-out", file.to_str().unwrap()];
        let disturbed = generate(&[&end[..], &words].concat());
        let labels = std::fs::read_to_string(&file).unwrap();
        assert_eq!(labels.lines().count(), 13, "{labels}");
        let series: std::collections::BTreeSet<_> =
            labels.lines().skip(1).map(|row| row.split('"').nth(1).unwrap()).collect();
        let mut changed = 0;
        for (before, after) in healthy.lines().zip(disturbed.lines()) {
            if before != after {
                changed += 1;
                let name = after.split(' ').next().unwrap();
                assert!(series.contains(name), "{after} is not labelled");
            }
        }
        assert!(changed > 400, "{changed}");
    }

    #[test]
    fn times_beyond_the_range_and_too_many_anomalies_are_refused() {
        let clock = SimClock::new(UnixNanos::new(1_760_000_000_000_000_000));
        for words in [
            &["--samples", "99999999999", "--interval", "1d"][..],
            &["--start", "2262-01-01T00:00:00Z", "--samples", "9999", "--interval", "1d"],
            &["--samples", "10", "--anomalies", "5"],
        ] {
            assert_eq!(generator(&parse(words), &clock).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }
}
