//! Plays scripts until there are points enough.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidewatch_env::{DiskOp, Rng};

use crate::lab::campaign::{Campaign, Failure};
use crate::lab::crashes::{Wanted, crash};
use crate::lab::effort::Effort;
use crate::lab::faults::fail;
use crate::lab::outcome::Outcome;
use crate::lab::plant::Plant;
use crate::lab::tally::Tally;

/// Times without space of a script, where they are sampled: one of so many has no end.
const WINDOWS: usize = 4;

/// What a laboratory is to do.
#[derive(Clone, Copy, Debug)]
pub struct LabConfig {
    /// The first script.
    pub seed: u64,
    /// Scripts at least.
    pub scripts: u64,
    /// Points at least.
    pub points: u64,
    /// Threads, at least 1.
    pub threads: usize,
    /// How much of each script is tried.
    pub effort: Effort,
}

/// What a laboratory has found.
#[derive(Clone, Debug)]
pub struct LabReport {
    /// What was tried.
    pub tally: Tally,
    /// The first failure, by script and point.
    pub failure: Option<Failure>,
    /// What the engine performs and no point has brought about, in words.
    pub gaps: Vec<String>,
}

/// Threads at work.
struct Work<'a> {
    config: &'a LabConfig,
    next: AtomicU64,
    stop: AtomicBool,
    report: Mutex<(Tally, Option<Failure>)>,
    progress: &'a (dyn Fn(u64) + Sync),
}

/// Plays scripts as `config` says; `progress` is told the number of points from time to time.
#[must_use]
pub fn run(config: &LabConfig, progress: &(dyn Fn(u64) + Sync)) -> LabReport {
    let next = AtomicU64::new(config.seed);
    let (stop, report) = (AtomicBool::new(false), Mutex::default());
    let work = Work { config, next, stop, report, progress };
    std::thread::scope(|scope| {
        for _ in 0..config.threads.max(1) {
            scope.spawn(|| work.run());
        }
    });
    work.fill_gaps();
    let report = work.report.into_inner();
    let (tally, failure) = report.unwrap_or_else(PoisonError::into_inner);
    let gaps = tally.gaps().into_iter();
    let gaps = gaps.map(|((kind, op), outcome, _)| format!("{} {op:?} of {kind}", outcome.name()));
    LabReport { gaps: gaps.collect(), tally, failure }
}

/// Repeats a point, or all that is sampled of a script.
///
/// # Errors
/// The failure that it comes to.
pub fn repeat(seed: u64, point: Option<(u64, Outcome)>) -> Result<Tally, Failure> {
    let campaign = Arc::new(Campaign::new(seed)?);
    match point {
        None => script(&campaign, Effort::Sampled, &|_| true),
        Some((point, outcome)) if outcome.is_fault() => {
            let failed = fail(&campaign, Plant::Nothing, (point, outcome));
            failed.map_err(|finding| campaign.failure(point, outcome, finding))
        }
        Some((point, outcome)) => {
            let (tally, failure) = crash(&campaign, Plant::Nothing, Wanted::One(point, outcome));
            failure.map_or(Ok(tally), Err)
        }
    }
}

/// What the laboratory says of an engine with this bug, in scripts from `seed` on.
#[must_use]
pub fn find(plant: Plant, seed: u64, scripts: u64) -> Option<Failure> {
    (seed..seed.saturating_add(scripts)).find_map(|seed| {
        let campaign = match Campaign::planted(seed, plant) {
            Ok(campaign) => Arc::new(campaign),
            Err(failure) => return Some(failure),
        };
        if plant != Plant::RetryAfterEio {
            return crash(&campaign, plant, Wanted::Many(Effort::Sampled)).1;
        }
        let ops = campaign.ops.iter().zip(1..);
        let mut syncs = ops.filter(|(op, _)| op.file_op == ("log file", DiskOp::Sync));
        syncs.find_map(|(_, point)| {
            let failed = fail(&campaign, plant, (point, Outcome::Eio));
            failed.err().map(|finding| campaign.failure(point, Outcome::Eio, finding))
        })
    })
}

impl Work<'_> {
    fn run(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if self.is_enough(seed) {
                return;
            }
            let played = Campaign::new(seed).and_then(|campaign| {
                let campaign = Arc::new(campaign);
                script(&campaign, self.config.effort, &|tally| self.go_on(tally))
            });
            if let Err(failure) = played {
                self.fail(failure);
            }
        }
    }

    /// Takes in what was tried; `false` when it is enough.
    fn go_on(&self, tally: Tally) -> bool {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.0.add(tally);
        (self.progress)(report.0.points);
        !self.stop.load(Ordering::Relaxed)
    }

    fn is_enough(&self, seed: u64) -> bool {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let scripts = seed.saturating_sub(self.config.seed);
        report.0.points >= self.config.points && scripts >= self.config.scripts
    }

    fn fail(&self, failure: Failure) {
        self.stop.store(true, Ordering::Relaxed);
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |failure: &Failure| (failure.seed, failure.point);
        if report.1.as_ref().is_none_or(|known| place(&failure) < place(known)) {
            report.1 = Some(failure);
        }
    }

    /// What chance has left out is tried where it was first performed.
    fn fill_gaps(&self) {
        let gaps = {
            let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
            if report.1.is_some() { Vec::new() } else { report.0.gaps() }
        };
        for (_, outcome, (seed, point)) in gaps {
            match repeat(seed, Some((point, outcome))) {
                Ok(tally) => drop(self.go_on(tally)),
                Err(failure) => self.fail(failure),
            }
        }
    }
}

/// Tries a script; `told` gets what was tried and says whether to go on.
fn script(
    campaign: &Arc<Campaign>,
    effort: Effort,
    told: &dyn Fn(Tally) -> bool,
) -> Result<Tally, Failure> {
    let mut all = campaign.tally();
    told(all.clone());
    let (tally, failure) = crash(campaign, Plant::Nothing, Wanted::Many(effort));
    all.add(tally.clone());
    let mut goes_on = told(tally);
    if let Some(failure) = failure {
        return Err(failure);
    }
    for (point, outcome) in faults(campaign, effort) {
        if !goes_on {
            break;
        }
        let failed = fail(campaign, Plant::Nothing, (point, outcome));
        let tally = failed.map_err(|finding| campaign.failure(point, outcome, finding))?;
        all.add(tally.clone());
        goes_on = told(tally);
    }
    Ok(all)
}

/// Where the device fails, and how.
fn faults(campaign: &Campaign, effort: Effort) -> Vec<(u64, Outcome)> {
    let mut rng = Rng::from_seed(!campaign.seed);
    let faults = [Outcome::Eio, Outcome::EioOn, Outcome::Enospc, Outcome::Short];
    let mut chosen = Vec::new();
    match effort {
        Effort::Sampled => {
            for (file_op, point) in campaign.one_each(rng.next_u64()) {
                let fitting = faults.iter().filter(|outcome| outcome.fits(file_op.1));
                let fitting: Vec<_> = fitting.collect();
                let lot = rng.below(u64::try_from(fitting.len()).unwrap_or(1));
                chosen.push((point, *fitting[usize::try_from(lot).unwrap_or_default()]));
            }
        }
        Effort::Every => {
            for (op, point) in campaign.ops.iter().zip(1..) {
                let fitting = faults.iter().filter(|outcome| outcome.fits(op.file_op.1));
                chosen.extend(fitting.map(|outcome| (point, *outcome)));
            }
        }
    }
    let running = || campaign.ops.iter().zip(1..).filter(|(op, _)| op.phase != "start");
    let count = running().count();
    let growing: Vec<u64> = running()
        .filter(|(op, _)| op.file_op == ("log spare", DiskOp::SetLen))
        .map(|(_, point)| point)
        .collect();
    let running: Vec<u64> = running().map(|(_, point)| point).collect();
    let lots = effort.window_every().map_or(WINDOWS, |every| count / every);
    for lot in 0..lots {
        // Where the log needs another file, and anywhere.
        let points = if rng.below(2) == 0 { &growing } else { &running };
        let at = rng.below(u64::try_from(points.len()).unwrap_or(1).max(1));
        let Some(point) = points.get(usize::try_from(at).unwrap_or_default()) else { continue };
        let is_last = lot % WINDOWS == WINDOWS - 1;
        chosen.push((*point, if is_last { Outcome::FullOn } else { Outcome::Window }));
    }
    chosen
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, point, finding } = self;
        match point {
            None => write!(f, "SEED={seed} TIDEWATCH_LAB={seed}: {finding}"),
            Some((point, outcome)) => {
                let outcome = outcome.name();
                write!(f, "SEED={seed} TIDEWATCH_LAB={seed}:{point}:{outcome}: {finding}")
            }
        }
    }
}

/// A point as [`Failure`] tells it: `seed`, or `seed:point:outcome`.
#[must_use]
pub fn parse_point(text: &str) -> Option<(u64, Option<(u64, Outcome)>)> {
    let mut parts = text.split(':');
    let seed = parts.next()?.parse().ok()?;
    let point = match (parts.next(), parts.next()) {
        (None, _) => None,
        (Some(point), outcome) => {
            let outcome = outcome.map_or(Some(Outcome::Before), Outcome::parse)?;
            Some((point.parse().ok()?, outcome))
        }
    };
    parts.next().is_none().then_some((seed, point))
}
