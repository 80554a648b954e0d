//! Runs of samples that stand still, and how unusual a long one is.

use crate::numeric::narrow;
use crate::state::SeriesState;

/// A sample that moves less than this share of the scale is still.
const STILL: f32 = 0.01;
/// A run this much longer than the longest one is looked at, with this exponent.
const RATIO: f32 = 1.5;
const EXPONENT: f32 = 4.0;
/// Runs that count by themselves. Most series of NAB stand still now and then: auto has 72.0 there with all runs, 75.9 with
/// those of 6 and more, 78.3 with these, 78.8 without; KPI is the same with all of them.
const LONG_RUN: f32 = 8.0;
/// A run of this many samples and seconds is the new normal.
const ACCEPT_SAMPLES: u16 = 48;
const ACCEPT_SECONDS: f32 = 8.0 * 3_600.0;
/// Runs this short happen to every series.
pub(crate) const LONGEST_START: u16 = 2;
/// Movements before still runs mean anything.
const MOVES_MIN: u32 = 20;

/// Whether a sample is where the one before it was.
pub(crate) fn is_still(s: &SeriesState, x: f64) -> bool {
    narrow(x - s.last_value).abs() <= STILL * s.near.scale
}

/// Takes the next sample into the run, or ends it.
pub(crate) fn count_run(s: &mut SeriesState, still: bool) {
    if still {
        s.run = s.run.saturating_add(1);
        let seconds = f32::from(s.run) * s.interval;
        if s.run == u16::MAX || (s.run >= ACCEPT_SAMPLES && seconds >= ACCEPT_SECONDS) {
            s.run_longest = s.run_longest.max(s.run);
        }
    } else {
        s.run_longest = s.run_longest.max(s.run);
        s.run = 0;
        s.moves = s.moves.saturating_add(1);
    }
}

/// Whether the samples stand still for longer than ever, in a series that moves.
pub(crate) fn is_long_still(s: &SeriesState) -> bool {
    f32::from(s.run) >= RATIO * f32::from(s.run_longest) && s.moves >= MOVES_MIN
}

/// `s3` of the [light detector](crate::light::Light): of a run that is longer than ever.
#[inline]
pub(crate) fn run_severity(s: &SeriesState) -> f32 {
    if is_long_still(s) { long_run_severity(s) } else { 0.0 }
}

#[cold]
fn long_run_severity(s: &SeriesState) -> f32 {
    let (run, longest) = (f32::from(s.run), f32::from(s.run_longest));
    count_severity(s.moves) + EXPONENT * libm::log10f(run / longest)
}

/// Of something that did not happen in `count` trials.
#[expect(clippy::cast_precision_loss, reason = "a logarithm of it is taken")]
pub(crate) fn count_severity(count: u32) -> f32 {
    libm::log10f(count as f32 + 1.0)
}

/// Looks at runs alone, for a detector that sees to everything else: their severity where it is at least 8. The scale stays
/// what it was.
pub(crate) fn score_run(s: &mut SeriesState, x: f64) -> f32 {
    let still = is_still(s, x);
    count_run(s, still);
    s.last_value = x;
    s.samples = s.samples.saturating_add(1);
    let severity = run_severity(s);
    if severity >= LONG_RUN { severity } else { 0.0 }
}
