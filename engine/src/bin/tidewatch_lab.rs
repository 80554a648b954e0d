//! `tidewatch-lab`: the crash laboratory of the engine, for as many points as are asked for.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use tidewatch_engine::lab::{
    Effort, Failure, LabConfig, LabReport, Outcome, Plant, find, parse_point, repeat, run,
};
use tidewatch_env::{Clock, RealClock};

const USAGE: &str = "\
The crash laboratory: crashes the engine on a simulated disk, and lets the disk fail.

  tidewatch-lab [--points N] [--seed S] [--threads N] [--sampled] [--json]
  tidewatch-lab --repeat SEED[:POINT:OUTCOME]
  tidewatch-lab --plants [--seed S]

  --points N      points at least, 1000000 where nothing is said
  --seed S        the first script, 0
  --threads N     as many as there are processors
  --sampled       less of each script and more scripts, as in the tests
  --json          the report as JSON
  --repeat PLACE  one script, or one point as a failure tells it
  --plants        plants bugs, one after the other, and tells what notices them

Exit code 0: no promise was broken and nothing was left out; 1: otherwise; 2: an option is wrong.
";
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(5);
/// Scripts in which a planted bug must be found.
const PLANT_SCRIPTS: u64 = 64;

/// What is asked for.
#[derive(Clone, Debug)]
struct Options {
    config: LabConfig,
    json: bool,
    task: Task,
}

#[derive(Clone, Copy, Debug)]
enum Task {
    Run,
    Repeat(u64, Option<(u64, Outcome)>),
    Plants,
    Help,
}

/// Tells how far it is, not too often.
#[derive(Debug)]
struct Progress {
    clock: RealClock,
    points: u64,
    told: Mutex<Duration>,
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            tell(&format!("{problem}; see tidewatch-lab --help"));
            return ExitCode::from(2);
        }
    };
    let done = match options.task {
        Task::Run => run_all(&options),
        Task::Repeat(seed, point) => repeat_one(seed, point),
        Task::Plants => plants(options.config.seed),
        Task::Help => io::stdout().write_all(USAGE.as_bytes()).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("could not write the report: {error}"));
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let (points, effort) = (1_000_000, Effort::Every);
        let config = LabConfig { seed: 0, scripts: 1, points, threads, effort };
        let mut options = Self { config, json: false, task: Task::Run };
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--points" => options.config.points = number(&arg, &value()?)?,
                "--seed" => options.config.seed = number(&arg, &value()?)?,
                "--threads" => {
                    let threads = number(&arg, &value()?)?.clamp(1, 1_024);
                    options.config.threads = usize::try_from(threads).unwrap_or(1);
                }
                "--sampled" => options.config.effort = Effort::Sampled,
                "--json" => options.json = true,
                "--plants" => options.task = Task::Plants,
                "--repeat" => {
                    let place = value()?;
                    let parsed = parse_point(&place);
                    let (seed, point) = parsed.ok_or_else(|| format!("{place} is no point"))?;
                    options.task = Task::Repeat(seed, point);
                }
                "--help" | "-h" => options.task = Task::Help,
                other => return Err(format!("{other} is no option")),
            }
        }
        Ok(options)
    }
}

fn number(option: &str, text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|_error| format!("{option} needs a number, not {text}"))
}

fn run_all(options: &Options) -> io::Result<bool> {
    let clock = RealClock::new();
    let progress =
        Progress { clock, points: options.config.points, told: Mutex::new(Duration::ZERO) };
    let report = run(&options.config, &|points| progress.tell(points));
    let seconds = progress.clock.monotonic().as_secs_f64();
    let mut out = io::stdout().lock();
    if options.json {
        writeln!(out, "{}", json(&report, seconds))?;
    } else {
        write!(out, "{}", report.tally)?;
        writeln!(out, "{seconds:.1} s")?;
        for gap in report.gaps.iter().filter(|_| report.failure.is_none()) {
            writeln!(out, "performed, and never brought about: {gap}")?;
        }
    }
    if let Some(failure) = &report.failure {
        tell(&failed(failure));
    }
    Ok(report.failure.is_none() && report.gaps.is_empty())
}

fn repeat_one(seed: u64, point: Option<(u64, Outcome)>) -> io::Result<bool> {
    match repeat(seed, point) {
        Ok(tally) => {
            writeln!(io::stdout(), "{} points, no promise was broken", tally.points)?;
            Ok(true)
        }
        Err(failure) => {
            tell(&failed(&failure));
            Ok(false)
        }
    }
}

fn plants(seed: u64) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    let mut all_found = true;
    writeln!(out, "{:<42} {:<12} where", "planted bug", "noticed by")?;
    for plant in Plant::all() {
        match find(plant, seed, PLANT_SCRIPTS) {
            Some(failure) => {
                let layer = failure.finding.layer.name();
                writeln!(out, "{:<42} {layer:<12} {}", plant.told(), place(&failure))?;
            }
            None => {
                all_found = false;
                writeln!(out, "{:<42} NOT NOTICED", plant.told())?;
            }
        }
    }
    Ok(all_found)
}

fn failed(failure: &Failure) -> String {
    let place = place(failure);
    format!("a promise was broken: {failure}\nto repeat it: tidewatch-lab --repeat {place}")
}

fn place(failure: &Failure) -> String {
    match failure.point {
        None => failure.seed.to_string(),
        Some((point, outcome)) => format!("{}:{point}:{}", failure.seed, outcome.name()),
    }
}

fn json(report: &LabReport, seconds: f64) -> String {
    let mut tried = Vec::new();
    for file_op in report.tally.performed() {
        for outcome in Outcome::ALL {
            let count = report.tally.tried(file_op, outcome);
            if count > 0 {
                tried.push(format!(
                    "{{\"file\":{},\"operation\":\"{:?}\",\"outcome\":\"{}\",\"count\":{count}}}",
                    quoted(file_op.0),
                    file_op.1,
                    outcome.name()
                ));
            }
        }
    }
    let failure = report.failure.as_ref().map_or("null".to_owned(), |failure| {
        let (at, layer) = (quoted(&place(failure)), failure.finding.layer.name());
        let told = quoted(&failure.finding.told);
        format!("{{\"at\":{at},\"layer\":\"{layer}\",\"told\":{told}}}")
    });
    let gaps: Vec<_> = report.gaps.iter().map(|gap| quoted(gap)).collect();
    format!(
        "{{\"points\":{},\"scripts\":{},\"clock_jumps\":{},\"seconds\":{seconds:.1},\
         \"failure\":{failure},\"never_faulted\":[{}],\"tried\":[{}]}}",
        report.tally.points,
        report.tally.scripts,
        report.tally.jumps,
        gaps.join(","),
        tried.join(",")
    )
}

/// A text as JSON has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if u32::from(control) < 0x20 => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

impl Progress {
    fn tell(&self, points: u64) {
        let now = self.clock.monotonic();
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now.saturating_sub(*told) < PROGRESS {
            return;
        }
        *told = now;
        let rate =
            points.saturating_mul(1_000) / u64::try_from(now.as_millis()).unwrap_or(1).max(1);
        let left = self.points.saturating_sub(points) / rate.max(1);
        tell(&format!("{points} points, {rate} points/s, {left} s left"));
    }
}

fn tell(text: &str) {
    // Whoever closes standard error wants no word.
    drop(writeln!(io::stderr(), "{text}"));
}
