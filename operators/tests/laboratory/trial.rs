//! A detector on a generated series.

use tidewatch_metrics::{AnomalyKind, Severity};
use tidewatch_operators::{Detection, Knobs, Model, SeriesDetector};

use crate::life::{CLOCKS_ARE_SET, Case, DAY};

/// The fleets' level.
pub(crate) const LEVEL: Severity = Severity::from_steps(6 * 64);

/// What a detector said of a series.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Onsets of at least 6: in the first two weeks, and before the event after them.
    pub(crate) early: u32,
    pub(crate) healthy: u32,
    /// From the begin of the event to its first severity above 6, in seconds.
    pub(crate) found: Option<i64>,
    /// Samples while the event is on, and how many of them are above 6.
    pub(crate) on: u32,
    pub(crate) above: u32,
    /// How often the severity goes from 6 or less to more than 6, from the begin of the event on.
    pub(crate) alerts: u32,
    /// From the begin of the event to the last severity above 6, in seconds.
    pub(crate) last: Option<i64>,
    /// How many of them are of each kind, by its code, and of which one the last one is.
    pub(crate) kinds: [u32; 8],
    pub(crate) kind: AnomalyKind,
    /// The greatest severity of the event.
    pub(crate) greatest: Severity,
    /// Onsets of at least 6 later than 24 hours after the event's begin.
    pub(crate) after: u32,
}

/// Runs a model over a series.
pub(crate) fn run(model: Model, case: Case) -> Outcome {
    let mut detector = SeriesDetector::new(model);
    let mut outcome = Outcome::default();
    let mut was_above = false;
    for sample in case.samples() {
        let Some(judged) = detector.observe(sample.time, sample.value) else { continue };
        let since = sample.since;
        let onset = u32::from(judged.onset_severity() >= LEVEL);
        if since < 0 {
            let is_early = since < (14 - case.day) * DAY;
            *(if is_early { &mut outcome.early } else { &mut outcome.healthy }) += onset;
            continue;
        }
        let above = judged.severity > LEVEL;
        if case.is_on(since) {
            outcome.on += 1;
            outcome.above += u32::from(above);
            if above {
                outcome.kind = judged.kind();
                outcome.kinds[usize::from(outcome.kind.code())] += 1;
            }
            outcome.greatest = outcome.greatest.max(judged.severity);
        }
        if above {
            outcome.found = outcome.found.or(Some(since));
            outcome.last = Some(since);
            outcome.alerts += u32::from(!was_above);
        }
        was_above = above;
        outcome.after += if since >= DAY { onset } else { 0 };
    }
    outcome
}

/// What a detector said of an office in the two days since the clocks were set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AfterClocks {
    /// Onsets of at least 6.
    pub(crate) onsets: u32,
    pub(crate) greatest: Severity,
    /// From what was expected to what the office does, without the noise; the mean.
    pub(crate) off: f64,
}

/// Runs a model over an office's series, by the hours of a time zone.
pub(crate) fn run_office(model: Model, zone: &str, case: Case) -> AfterClocks {
    let knobs = Knobs { time_zone: zone.parse().expect("a name of a zone"), ..Knobs::NONE };
    let mut detector = SeriesDetector::tuned(&Detection { model, knobs });
    let (mut after, mut count) = (AfterClocks::default(), 0.0);
    for sample in case.samples() {
        let at = sample.since + case.day * DAY + 9 * 3_600;
        let Some(judged) = detector.observe(sample.time, sample.value) else { continue };
        if !(CLOCKS_ARE_SET..CLOCKS_ARE_SET + 2 * DAY).contains(&at) {
            continue;
        }
        after.onsets += u32::from(judged.onset_severity() >= LEVEL);
        after.greatest = after.greatest.max(judged.severity);
        after.off += (judged.expected - case.office(at)).abs();
        count += 1.0;
    }
    after.off /= count;
    after
}
