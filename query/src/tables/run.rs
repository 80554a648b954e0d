//! Runs of samples whose severity is high, each with its peak.
//!
//! A run begins at a high sample whose scored neighbour before it is calm (or is not there), and
//! ends at the first calm one after it. Where only runs that begin within a time range are asked
//! for, rows beyond it are read as far as they decide something: back to the neighbour of a series'
//! first high sample, and on to the end of its last run, in steps that grow.

use std::ops::RangeInclusive;

use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use tidewatch_metrics::AnomalyKind;

use crate::tables::stretch::{High, Scored, ScoredRows, SeriesHighs, Stretch};

/// How far beyond a range is looked at first.
const STEP_NANOS: i64 = 3_600_000_000_000;
/// How much farther each time.
const STEP_GROWTH: i64 = 4;

/// A maximal run of high samples of one series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// The place of the series.
    pub(crate) place: u32,
    /// The first high sample.
    pub(crate) started: i64,
    /// The first calm sample after it; none while there is none.
    pub(crate) ended: Option<i64>,
    /// The first of the samples with the greatest severity.
    pub(crate) peak: High,
    /// What the last sample that says so says that it looks like: it knows the most.
    pub(crate) kind: AnomalyKind,
}

/// Runs by place and time.
#[derive(Debug)]
pub(crate) struct Runs {
    runs: Vec<Run>,
    _memory: MemoryReservation,
}

impl Runs {
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// At most `count` runs, from this one on.
    pub(crate) fn part(&self, from: usize, count: usize) -> &[Run] {
        &self.runs[from..self.len().min(from + count)]
    }
}

/// All runs that begin at one of these times.
pub(crate) fn runs(rows: &ScoredRows<'_>, started: &RangeInclusive<i64>) -> Result<Runs> {
    let memory = MemoryConsumer::new("anomalies").register(rows.task.memory_pool());
    if started.is_empty() {
        return Ok(Runs { runs: Vec::new(), _memory: memory });
    }
    let stretch = Stretch::of_all(rows, started)?;
    memory.try_grow(stretch.highs.len() * size_of::<Run>())?;
    let begun_before = begun_before(rows, &stretch, *started.start())?;
    let mut runs: Vec<Run> = Vec::with_capacity(stretch.highs.len());
    for series in &stretch.series {
        let of_series = runs.len();
        let highs = &stretch.highs[series.highs.clone()];
        highs.iter().for_each(|high| add(&mut runs, of_series, high));
        if begun_before.binary_search(&series.place).is_ok() {
            runs.remove(of_series);
        }
    }
    go_on(rows, &mut runs, *started.end())?;
    Ok(Runs { runs, _memory: memory })
}

/// Adds a high sample to the last run of its series, which begin at `of_series`, or begins one.
fn add(runs: &mut Vec<Run>, of_series: usize, high: &High) {
    match runs.get_mut(of_series..).and_then(<[Run]>::last_mut) {
        Some(run) if run.ended.is_none() => run.extend(high),
        _ => runs.push(Run {
            place: high.place,
            started: high.time,
            ended: high.calm_after,
            peak: *high,
            kind: high.flags.kind(),
        }),
    }
}

impl Run {
    /// Takes the next high sample of the series, before which there is no calm one.
    fn extend(&mut self, high: &High) {
        self.ended = high.calm_after;
        if high.severity > self.peak.severity {
            self.peak = *high;
        }
        let kind = high.flags.kind();
        if kind != AnomalyKind::None {
            self.kind = kind;
        }
    }
}

/// The series, in ascending order, whose first run in the stretch began before its first time.
fn begun_before(rows: &ScoredRows<'_>, stretch: &Stretch, first: i64) -> Result<Vec<u32>> {
    let is_open = |series: &&SeriesHighs| series.calm_before.is_none();
    let mut asked: Vec<u32> = stretch.series.iter().filter(is_open).map(|s| s.place).collect();
    let mut begun = Vec::new();
    let (mut end, mut step) = (first.checked_sub(1), STEP_NANOS);
    while let Some(last) = end.filter(|_| !asked.is_empty()) {
        let from = last.saturating_sub(step);
        // The latest sample of each series; of two at the same time, the high one.
        let mut latest: Vec<Option<(i64, bool)>> = vec![None; asked.len()];
        rows.read(&asked, from..=last, |batch| {
            for row in batch {
                if let Ok(at) = asked.binary_search(&row.place) {
                    latest[at] = latest[at].max(Some((row.time, Scored::is_high(*row))));
                }
            }
            Ok(())
        })?;
        let found = asked.iter().zip(&latest);
        begun.extend(found.clone().filter(|(_, of)| matches!(of, Some((_, true)))).map(|f| *f.0));
        asked = found.filter(|(_, of)| of.is_none()).map(|(place, _)| *place).collect();
        (end, step) = (from.checked_sub(1), step.saturating_mul(STEP_GROWTH));
    }
    begun.sort_unstable();
    Ok(begun)
}

/// Follows the runs that have not ended by the last time to their ends.
fn go_on(rows: &ScoredRows<'_>, runs: &mut [Run], last: i64) -> Result<()> {
    let (mut start, mut step) = (last.checked_add(1), STEP_NANOS);
    while let Some(from) = start {
        // At most one of a series: its last one.
        let open: Vec<usize> = (0..runs.len()).filter(|at| runs[*at].ended.is_none()).collect();
        if open.is_empty() {
            break;
        }
        let places: Vec<u32> = open.iter().map(|at| runs[*at].place).collect();
        let to = from.saturating_add(step);
        let stretch = Stretch::of(rows, &places, &(from..=to))?;
        for (at, series) in open.into_iter().zip(&stretch.series) {
            runs[at].ended = series.calm_before;
            for high in &stretch.highs[series.highs.clone()] {
                if runs[at].ended.is_some() {
                    break;
                }
                runs[at].extend(high);
            }
        }
        (start, step) = (to.checked_add(1), step.saturating_mul(STEP_GROWTH));
    }
    Ok(())
}
