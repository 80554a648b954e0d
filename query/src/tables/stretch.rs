//! The unusual samples of several series within a time range, and what lies between them.
//!
//! Rows come in any order, from segments and heads whose times overlap. Unusual ones are few, so
//! they are collected first; then the calm ones are held against them:
//!
//! ```text
//! series      . . ! ! . ! . . . ! !        ! high: severity at least the level; . calm
//! calm_after      - a   b         -        the first calm sample before the next high one
//! calm_before     the first calm sample before the first high one, if there is any
//! ```
//!
//! Only samples that were scored count: those in order, and late ones with a severity, which a new
//! time base has. A value that is no number is scored nowhere.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use tidewatch_metrics::{Flags, Severity};

use crate::scan::{Columns, PartRows, Rows, Scan, ScanRequest, Superseded};
use crate::tables::context::QueryContext;
use crate::tables::series_names::SeriesNames;

/// The least severity of an anomaly, 4, in steps of 1/64.
///
/// It is the level of single dashboards for both channels, since the severity of the channel
/// `deviation` is 0.8 of what it says, of which 5 is the level. Detectors take it for an anomaly too.
pub(crate) const HIGH_STEPS: u16 = 4 * 64;

/// A sample whose severity is high.
#[derive(Clone, Copy, Debug)]
pub(crate) struct High {
    pub(crate) place: u32,
    pub(crate) time: i64,
    pub(crate) severity: Severity,
    pub(crate) flags: Flags,
    /// The first calm sample after this one and before the next high one of the series.
    pub(crate) calm_after: Option<i64>,
}

/// The high samples of one series within a stretch; perhaps none.
#[derive(Clone, Debug)]
pub(crate) struct SeriesHighs {
    pub(crate) place: u32,
    pub(crate) highs: Range<usize>,
    /// The first calm sample before the first high one; without high ones the first of all.
    pub(crate) calm_before: Option<i64>,
}

/// The high samples of several series within a time range.
#[derive(Debug)]
pub(crate) struct Stretch {
    /// By place and time, one of each moment.
    pub(crate) highs: Vec<High>,
    /// By place.
    pub(crate) series: Vec<SeriesHighs>,
    _memory: MemoryReservation,
}

/// Where rows are read from.
#[derive(Debug)]
pub(crate) struct ScoredRows<'a> {
    pub(crate) context: &'a QueryContext,
    pub(crate) names: &'a SeriesNames,
    pub(crate) task: &'a TaskContext,
}

/// One scored sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scored {
    pub(crate) place: u32,
    pub(crate) time: i64,
    severity: Severity,
    flags: Flags,
}

impl Scored {
    pub(crate) fn is_high(self) -> bool {
        self.severity.steps() >= HIGH_STEPS
    }
}

impl ScoredRows<'_> {
    /// Gives batches of the scored rows of these series at these times to `take`, in any order.
    pub(crate) fn read(
        &self,
        places: &[u32],
        times: RangeInclusive<i64>,
        mut take: impl FnMut(&[Scored]) -> Result<()>,
    ) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let request = ScanRequest {
            index: self.names.index_of(places),
            metrics: Some(self.names.metrics_of(places)),
            times,
            columns: Columns::ALL,
            // What superseded another row was not scored.
            superseded: Superseded::Shown,
            rollups: false,
            latest: None,
            threads: 1,
        };
        let progress = Arc::clone(&self.context.progress);
        let scan = Arc::new(Scan::plan(&self.context.snapshot, request, progress)?);
        let mut batch = Vec::new();
        for part in 0..scan.parts.len() {
            let mut rows = PartRows::new(Arc::clone(&scan), part, self.task);
            while let Some(rows) = rows.next()? {
                batch.clear();
                batch.extend((0..rows.len()).filter_map(|row| scored(&rows, row)));
                take(&batch)?;
            }
        }
        Ok(())
    }

    fn memory(&self) -> MemoryReservation {
        MemoryConsumer::new("anomalies").register(self.task.memory_pool())
    }
}

fn scored(rows: &Rows, row: usize) -> Option<Scored> {
    let severity = Severity::from_steps(rows.severities[row]);
    let flags = Flags::from_bits(rows.flags[row]);
    let is_scored = !flags.is_late() || severity > Severity::ZERO;
    let (place, time) = (rows.places[row], rows.times[row]);
    (is_scored && rows.values[row].is_finite()).then_some(Scored { place, time, severity, flags })
}

impl Stretch {
    /// The high samples of all series, without those that have none.
    pub(crate) fn of_all(rows: &ScoredRows<'_>, times: &RangeInclusive<i64>) -> Result<Self> {
        let mut stretch = Self::highs(rows, &rows.names.places(), times)?;
        let mut places: Vec<u32> = stretch.highs.iter().map(|high| high.place).collect();
        places.dedup();
        stretch.calms(rows, &places, times)?;
        Ok(stretch)
    }

    /// The high samples of these series, in ascending order; of each it is said what there is.
    pub(crate) fn of(
        rows: &ScoredRows<'_>,
        places: &[u32],
        times: &RangeInclusive<i64>,
    ) -> Result<Self> {
        let mut stretch = Self::highs(rows, places, times)?;
        stretch.calms(rows, places, times)?;
        Ok(stretch)
    }

    fn highs(rows: &ScoredRows<'_>, places: &[u32], times: &RangeInclusive<i64>) -> Result<Self> {
        let memory = rows.memory();
        let mut highs: Vec<High> = Vec::new();
        rows.read(places, times.clone(), |batch| {
            // A vector that grows holds up to twice its length.
            let needed = 2 * (highs.len() + batch.len()) * size_of::<High>();
            if memory.size() < needed {
                memory.try_resize(needed)?;
            }
            highs.extend(batch.iter().filter(|row| row.is_high()).map(|row| High {
                place: row.place,
                time: row.time,
                severity: row.severity,
                flags: row.flags,
                calm_after: None,
            }));
            Ok(())
        })?;
        // Twice scored in two time bases: the greater severity counts.
        let place = |high: &High| (high.place, high.time);
        highs.sort_unstable_by_key(|high| (place(high), high.severity, high.flags.bits()));
        highs.dedup_by(|next, kept| {
            let is_same = place(next) == place(kept);
            if is_same {
                *kept = *next;
            }
            is_same
        });
        Ok(Self { highs, series: Vec::new(), _memory: memory })
    }

    /// Finds the calm samples between the high ones.
    fn calms(
        &mut self,
        rows: &ScoredRows<'_>,
        places: &[u32],
        times: &RangeInclusive<i64>,
    ) -> Result<()> {
        let mut start = 0;
        for place in places {
            let end = start + self.highs[start..].partition_point(|high| high.place <= *place);
            self.series.push(SeriesHighs { place: *place, highs: start..end, calm_before: None });
            start = end;
        }
        rows.read(places, times.clone(), |batch| {
            for row in batch.iter().filter(|row| !row.is_high()) {
                self.calm(row.place, row.time);
            }
            Ok(())
        })
    }

    fn calm(&mut self, place: u32, time: i64) {
        let Ok(at) = self.series.binary_search_by_key(&place, |series| series.place) else {
            return;
        };
        let series = &mut self.series[at];
        let highs = &mut self.highs[series.highs.clone()];
        let after = highs.partition_point(|high| high.time < time);
        if highs.get(after).is_some_and(|high| high.time == time) {
            return;
        }
        let calm = match after.checked_sub(1) {
            Some(before) => &mut highs[before].calm_after,
            None => &mut series.calm_before,
        };
        *calm = Some(calm.map_or(time, |known| known.min(time)));
    }
}
