//! How the KPIs of the AIOps challenge are judged.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Range};

use tidewatch_metrics::Severity;

use crate::curve::{Gains, best};

/// Rows behind the first one of a window in which an alarm is in time.
const DELAY_ROWS: usize = 7;
/// Healthy rows whose alarms are one false alarm.
const BUCKET_ROWS: usize = 30;

/// What alarms of some severity find, and what they find wrongly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Found {
    /// Windows that are hit.
    windows: f64,
    /// Windows that are hit in time.
    windows_in_time: f64,
    /// Rows of these.
    rows_in_time: f64,
    /// Buckets of healthy rows that hold an alarm.
    buckets: f64,
    /// Healthy rows that are an alarm.
    healthy_rows: f64,
}

impl AddAssign for Found {
    fn add_assign(&mut self, other: Self) {
        self.windows += other.windows;
        self.windows_in_time += other.windows_in_time;
        self.rows_in_time += other.rows_in_time;
        self.buckets += other.buckets;
        self.healthy_rows += other.healthy_rows;
    }
}

/// What is counted as right and as wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Windows hit at all, and buckets of healthy rows.
    Event,
    /// Windows hit in time, and buckets of healthy rows.
    EventInTime,
    /// The rows of windows hit in time, and healthy rows: the challenge's own.
    RowsInTime,
}

/// One or several files' part of the figures, at every level.
///
/// A window is a run of labelled rows. An alarm is a row whose severity is at least the level, which is above 0.
///
/// ```text
/// F1 = 2 TP / (2 TP + FP + FN)                     one level over all series, the best of all, for each measure
/// event F1          TP: windows with an alarm;      FN: the others;        FP: buckets with an alarm
/// delay-7 F1        TP: rows of windows in time;    FN: rows of others;    FP: healthy rows that are an alarm
/// delay-7 event F1  TP: windows in time;            FN: the others;        FP: buckets with an alarm
/// ```
///
/// In time is an alarm in the window's first 8 rows, indices start to start + 7, as far as the window goes; later
/// alarms in the window are neither right nor wrong. Buckets are cut per series from each run of healthy rows, 30
/// rows each from the run's begin, the last one shorter; a bucket counts once. Rows without a value and late rows are rows with severity 0.
/// The delay-7 F1 counts rows, as the challenge does (a window in time is found with all of its rows, else it is
/// missed with all of them): counted in windows it could never be above the event F1.
///
/// Source: the AIOps challenge (2018), "KPI anomaly detection", its evaluation; event F1 counts what people are told: one window, one alarm. Costs O(n) a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct KpiTally {
    found: Gains<Found>,
    windows: f64,
    labelled_rows: f64,
}

impl KpiTally {
    /// The part of one file; `windows` are in order and apart.
    pub(crate) fn new(severities: &[Severity], windows: &[Range<usize>]) -> Self {
        let mut tally = Self::default();
        let mut behind = 0;
        for window in windows {
            tally.healthy(&severities[behind..window.start]);
            tally.labelled(&severities[window.clone()]);
            behind = window.end;
        }
        tally.healthy(&severities[behind..]);
        tally
    }

    /// Adds another file's part.
    pub(crate) fn add(&mut self, other: &Self) {
        self.found.add_all(&other.found);
        self.windows += other.windows;
        self.labelled_rows += other.labelled_rows;
    }

    /// Whether there is a window, so that a figure says something.
    pub(crate) fn is_labelled(&self) -> bool {
        self.windows > 0.0
    }

    /// The best level and its F1, 0 to 1. The level is none where nothing is severe, or no alarm is right.
    pub(crate) fn best(&self, measure: Measure) -> (Option<f32>, f64) {
        let loud = self.found.sums().take_while(|(level, _)| *level > Severity::ZERO);
        match best(loud.map(|(level, found)| (level, self.f1(found, measure)))) {
            Some((level, f1)) if f1 > 0.0 => (Some(level.to_f32()), f1),
            Some(_) | None => (None, 0.0),
        }
    }

    /// The F1 of alarms from `level` on; none is silence. A level of 0 or less takes every row that has a severity.
    pub(crate) fn at(&self, level: Option<f32>, measure: Measure) -> f64 {
        let least = Severity::from_steps(1).to_f32();
        let found = level.map_or_else(Found::default, |level| self.found.at(level.max(least)));
        self.f1(found, measure)
    }

    fn f1(&self, found: Found, measure: Measure) -> f64 {
        let (right, wanted, wrong) = match measure {
            Measure::Event => (found.windows, self.windows, found.buckets),
            Measure::EventInTime => (found.windows_in_time, self.windows, found.buckets),
            Measure::RowsInTime => (found.rows_in_time, self.labelled_rows, found.healthy_rows),
        };
        // TP + FN is all that is wanted.
        if right > 0.0 { 2.0 * right / (right + wrong + wanted) } else { 0.0 }
    }

    fn labelled(&mut self, rows: &[Severity]) {
        let length = rows.len() as f64;
        self.windows += 1.0;
        self.labelled_rows += length;
        self.found.add(peak(rows), Found { windows: 1.0, ..Found::default() });
        let early = peak(rows.get(..=DELAY_ROWS).unwrap_or(rows));
        let in_time = Found { windows_in_time: 1.0, rows_in_time: length, ..Found::default() };
        self.found.add(early, in_time);
    }

    fn healthy(&mut self, rows: &[Severity]) {
        for bucket in rows.chunks(BUCKET_ROWS) {
            self.found.add(peak(bucket), Found { buckets: 1.0, ..Found::default() });
        }
        for severity in rows {
            self.found.add(*severity, Found { healthy_rows: 1.0, ..Found::default() });
        }
    }
}

fn peak(rows: &[Severity]) -> Severity {
    rows.iter().copied().max().unwrap_or_default()
}

/// The area below precision over recall of one series' rows, 0 to 1; none where no row is labelled.
///
/// ```text
/// AUC-PR = sum over levels, from the highest to 0, of (recall - recall of the level before) * precision
/// ```
///
/// Rows of equal severity are one level; at level 0 every row is an alarm. This is the average precision,
/// without interpolation. Source: Davis and Goadrich, "The relationship between precision-recall and ROC curves" (2006).
pub(crate) fn average_precision(severities: &[Severity], windows: &[Range<usize>]) -> Option<f64> {
    let wanted: usize = windows.iter().map(ExactSizeIterator::len).sum();
    if wanted == 0 {
        return None;
    }
    let mut by_level: BTreeMap<Severity, (u64, u64)> = BTreeMap::new();
    for severity in severities {
        by_level.entry(*severity).or_default().0 += 1;
    }
    for severity in windows.iter().flat_map(|window| &severities[window.clone()]) {
        by_level.entry(*severity).or_default().1 += 1;
    }
    let (mut alarms, mut right, mut area) = (0, 0, 0.0);
    for (rows, labelled) in by_level.values().rev() {
        alarms += rows;
        right += labelled;
        area += *labelled as f64 / wanted as f64 * (right as f64 / alarms as f64);
    }
    Some(area)
}

#[cfg(test)]
#[path = "kpi_tests.rs"]
mod tests;
