//! How the Numenta Anomaly Benchmark judges.

use std::ops::{AddAssign, Range};

use tidewatch_metrics::Severity;

use crate::curve::{Gains, best};

/// The share of a series that only teaches, and the rows that this is at most a share of.
const PROBATION_SHARE: f64 = 0.15;
const PROBATION_ROWS_MAX: f64 = 5_000.0;
/// A false alarm this many windows behind the last one costs all that it can.
const FAR_WINDOWS: f64 = 3.0;

/// What a benchmark's profile says of right and wrong alarms; a window that is hit in its first row gains 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Profile {
    /// What a window without an alarm costs.
    missed: f64,
    /// What a false alarm far from any window costs.
    false_alarm: f64,
}

impl Profile {
    pub(crate) const STANDARD: Self = Self { missed: 1.0, false_alarm: 0.11 };
    pub(crate) const LOW_FALSE_POSITIVES: Self = Self { missed: 1.0, false_alarm: 0.22 };
    pub(crate) const LOW_FALSE_NEGATIVES: Self = Self { missed: 2.0, false_alarm: 0.11 };
}

/// What samples of some severity add to the score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Gain {
    /// The sum over alarms outside of windows, each between -1 and 1.
    false_alarms: f64,
    /// The sum over windows of the best place of an alarm in it, each between 0 and 1.
    places: f64,
    /// Windows that are hit.
    hits: f64,
}

impl AddAssign for Gain {
    fn add_assign(&mut self, other: Self) {
        self.false_alarms += other.false_alarms;
        self.places += other.places;
        self.hits += other.hits;
    }
}

/// A file's part of the score, or that of several, at every level.
///
/// With rows `i`, `n` of them, windows of `w` rows that end at row `l`, and `s(x) = 2 / (1 + exp(5 x)) - 1`:
///
/// ```text
/// rows that count     i >= min(floor(0.15 n), 750)
/// in a window         place(i) = s(-(l - i + 1) / w) / s(-1)      only the best alarm of a window counts
/// outside of windows  false(i) = s((i - l) / (w - 1))             behind the window that ended last;
///                                -1 from 3 (w - 1) rows behind it, and before the first window
/// raw    = sum over hit windows of place - missed * windows not hit + false_alarm * sum of false(i) over alarms
/// none   = the same without any alarm      perfect = 1 for every window
/// score  = 100 (raw - none) / (perfect - none)
/// ```
///
/// An alarm is a row whose onset severity is at least the level. The best level is the one with the greatest
/// raw score over all files, the highest of equal ones, for each profile on its own.
///
/// Source: Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms: the Numenta Anomaly Benchmark"
/// (2015), and the benchmark's own scorer, version 1.1, where the paper leaves room: a window that lies within the rows
/// that do not count cannot be missed, but is still part of `perfect`. Costs O(n + windows) a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct NabTally {
    gains: Gains<Gain>,
    /// All windows.
    windows: f64,
    /// Windows with a row that counts.
    reachable: f64,
}

impl NabTally {
    /// The part of one file; `onsets` has the onset severity of every row, and `windows` are in order and apart.
    pub(crate) fn new(onsets: &[Severity], windows: &[Range<usize>]) -> Self {
        let mut tally = Self { windows: count(windows.len()), ..Self::default() };
        let counted = probation_rows(onsets.len());
        let mut rows = 0..onsets.len();
        let mut before: Option<&Range<usize>> = None;
        for window in windows {
            tally.outside(onsets, rows.start.max(counted)..window.start, before);
            tally.inside(onsets, window, counted);
            rows.start = window.end;
            before = Some(window);
        }
        tally.outside(onsets, rows.start.max(counted)..rows.end, before);
        tally
    }

    /// Adds another file's part.
    pub(crate) fn add(&mut self, other: &Self) {
        self.gains.add_all(&other.gains);
        self.windows += other.windows;
        self.reachable += other.reachable;
    }

    /// Whether there is a window, so that a score says something.
    pub(crate) fn is_labelled(&self) -> bool {
        self.windows > 0.0
    }

    /// The best level and its score, 0 to 100 and below. The level is none where silence scores best; it scores 0.
    pub(crate) fn best(&self, profile: Profile) -> (Option<f32>, f64) {
        let raw = self.gains.sums().map(|(level, sum)| (level, self.raw(sum, profile)));
        let silence = self.raw(Gain::default(), profile);
        match best(raw) {
            Some((level, raw)) if raw >= silence => {
                (Some(level.to_f32()), self.normalized(raw, profile))
            }
            Some(_) | None => (None, 0.0),
        }
    }

    /// The score of alarms from `level` on; none is silence.
    pub(crate) fn at(&self, level: Option<f32>, profile: Profile) -> f64 {
        let sum = level.map_or_else(Gain::default, |level| self.gains.at(level));
        self.normalized(self.raw(sum, profile), profile)
    }

    fn raw(&self, sum: Gain, profile: Profile) -> f64 {
        sum.places - profile.missed * (self.reachable - sum.hits)
            + profile.false_alarm * sum.false_alarms
    }

    fn normalized(&self, raw: f64, profile: Profile) -> f64 {
        let silence = self.raw(Gain::default(), profile);
        let perfect = self.windows;
        if perfect > silence { 100.0 * (raw - silence) / (perfect - silence) } else { 0.0 }
    }

    /// Rows outside of windows, behind the window `before`.
    fn outside(&mut self, onsets: &[Severity], rows: Range<usize>, before: Option<&Range<usize>>) {
        for row in rows {
            let false_alarms = before.map_or(-1.0, |window| {
                let distance = count(row + 1 - window.end) / (count(window.len()) - 1.0);
                if distance > FAR_WINDOWS { -1.0 } else { sigmoid(distance) }
            });
            self.gains.add(onsets[row], Gain { false_alarms, ..Gain::default() });
        }
    }

    /// The rows of a window that count: as the level falls, an earlier row becomes its best alarm.
    fn inside(&mut self, onsets: &[Severity], window: &Range<usize>, counted: usize) {
        let mut reached: Option<f64> = None;
        let first = window.start.max(counted);
        self.reachable += if first < window.end { 1.0 } else { 0.0 };
        let mut risen: Vec<(Severity, usize)> = Vec::new();
        for (row, onset) in onsets.iter().enumerate().take(window.end).skip(first) {
            // Later rows that are not more severe never are the best alarm.
            if risen.last().is_none_or(|(severity, _)| onset > severity) {
                risen.push((*onset, row));
            }
        }
        for (severity, row) in risen.into_iter().rev() {
            let place = place(row, window);
            let hits = if reached.is_none() { 1.0 } else { 0.0 };
            let places = place - reached.unwrap_or_default();
            self.gains.add(severity, Gain { false_alarms: 0.0, places, hits });
            reached = Some(place);
        }
    }
}

/// Rows at the begin of a file that do not count.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 750")]
fn probation_rows(rows: usize) -> usize {
    let share = (PROBATION_SHARE * count(rows)).floor();
    share.min(PROBATION_SHARE * PROBATION_ROWS_MAX) as usize
}

/// What an alarm in this row of a window is worth: 1 in its first row, little in its last.
fn place(row: usize, window: &Range<usize>) -> f64 {
    sigmoid(-count(window.end - row) / count(window.len())) / sigmoid(-1.0)
}

fn sigmoid(x: f64) -> f64 {
    2.0 / (1.0 + (5.0 * x).exp()) - 1.0
}

fn count(rows: usize) -> f64 {
    rows as f64
}

#[cfg(test)]
#[path = "nab_tests.rs"]
mod tests;
