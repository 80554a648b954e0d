//! The stored rows of some series, in order.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

use tidewatch_metrics::{EventTime, Flags, SeriesRef};
use tidewatch_operators::Primer;
use tidewatch_segments::{
    Delete, HeadColumns, HeadView, MetricName, Predicate, Projection, Segment, SegmentColumns,
    SegmentsError, Snapshot,
};

/// Rows after which the caller is asked whether to go on: the slowest model takes 10,000 a second.
const PACE_ROWS: usize = 1_024;
/// What is read of a segment.
const COLUMNS: Projection =
    Projection { series: true, time: true, value: true, severity: false, flags: true };

/// A series that is taught.
#[derive(Debug)]
pub(crate) struct Learner {
    pub(crate) series: SeriesRef,
    /// Index of the series' metric in the batch's.
    metric: usize,
    pub(crate) primer: Primer,
    /// Rows of other times do not teach.
    pub(crate) times: RangeInclusive<EventTime>,
}

/// Series that are taught at the same time.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// In ascending order of the references, once it is [sorted](Batch::sort).
    pub(crate) learners: Vec<Learner>,
    /// In the order of a segment.
    metrics: Vec<MetricName>,
}

/// Where rows come from and who hears of it.
pub(crate) struct Reading<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// Told how many rows have taught since its last call; `false` gives up.
    pub(crate) pace: &'a mut dyn FnMut(u64) -> bool,
    /// Told of a file that cannot be read. The others teach all the same.
    pub(crate) unread: &'a mut dyn FnMut(&Path, &SegmentsError),
}

/// The caller gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp;

/// One row.
#[derive(Clone, Copy, Debug)]
struct Cells {
    time: i64,
    value: f64,
    flags: u8,
}

/// Times of one metric of the batch that a delete hides.
type HiddenTimes = (usize, RangeInclusive<i64>);

impl Batch {
    /// Takes a series behind those that it has, in the order of a segment.
    pub(crate) fn push(
        &mut self,
        (series, metric): (SeriesRef, &MetricName),
        primer: Primer,
        times: RangeInclusive<EventTime>,
    ) {
        if self.metrics.last() != Some(metric) {
            self.metrics.push(metric.clone());
        }
        let metric = self.metrics.len() - 1;
        self.learners.push(Learner { series, metric, primer, times });
    }

    /// After the last series.
    pub(crate) fn sort(&mut self) {
        self.learners.sort_unstable_by_key(|learner| learner.series);
    }

    /// Where a series has its learner.
    pub(crate) fn find(&self, series: SeriesRef) -> Option<usize> {
        self.learners.binary_search_by_key(&series, |learner| learner.series).ok()
    }

    /// Teaches all rows of the snapshot that were in order, as far as a learner has not had them.
    ///
    /// Rows in order have ascending times in the order of the log, which is that of the segments, and of heads behind
    /// them. So nothing is sorted, and each file is read from front to back.
    pub(crate) fn read(&mut self, reading: &mut Reading<'_>) -> Result<(), GivenUp> {
        let Some(predicate) = self.predicate() else { return Ok(()) };
        let snapshot = reading.snapshot;
        for segment in snapshot.segments.iter() {
            if segment.meta().overlaps(&predicate.times) {
                let applies = |delete: &Delete| delete.applies_to(segment.meta());
                let hidden = self.hidden(snapshot, applies);
                self.read_segment(segment, &predicate, &hidden, reading)?;
            }
        }
        for head in &snapshot.heads {
            let reaches = |delete: &Delete| head.frozen_at().is_some_and(|at| delete.reaches(at));
            let hidden = self.hidden(snapshot, reaches);
            self.read_head(head, &predicate.times, &hidden, reading)?;
        }
        Ok(())
    }

    /// What the learners want together.
    fn predicate(&self) -> Option<Predicate> {
        // Of a series that fell silent weeks ago nothing is wanted once it was read.
        let wanted =
            || self.learners.iter().filter(|learner| learner.from() <= *learner.times.end());
        let from = wanted().map(Learner::from).min()?;
        let to = wanted().map(|learner| *learner.times.end()).max()?;
        let metrics: BTreeSet<MetricName> = self.metrics.iter().cloned().collect();
        Some(Predicate { metrics: Some(metrics), times: from..=to })
    }

    fn hidden(&self, snapshot: &Snapshot, applies: impl Fn(&Delete) -> bool) -> Vec<HiddenTimes> {
        let deletes = snapshot.deletes().filter(|delete| applies(delete));
        let hidden = deletes.filter_map(|delete| {
            let metric = self.metrics.binary_search(&delete.metric).ok()?;
            Some((metric, delete.from.nanos()..=delete.to.nanos()))
        });
        hidden.collect()
    }

    fn read_segment(
        &mut self,
        segment: &Segment,
        predicate: &Predicate,
        hidden: &[HiddenTimes],
        reading: &mut Reading<'_>,
    ) -> Result<(), GivenUp> {
        let file = Path::new(&segment.meta().file);
        let reader = match segment.reader() {
            Ok(reader) => reader,
            Err(error) => {
                (reading.unread)(file, &error);
                return Ok(());
            }
        };
        let mut columns = SegmentColumns::default();
        for group in reader.row_groups(predicate) {
            if !self.has_any_of(reader.series_range(group)) {
                continue;
            }
            if let Err(error) = reader.read(group, COLUMNS, &mut columns) {
                (reading.unread)(file, &error);
                return Ok(());
            }
            self.read_columns(&columns, hidden, reading.pace)?;
        }
        Ok(())
    }

    /// Whether a row group with series of this range may have rows of a learner.
    fn has_any_of(&self, range: Option<RangeInclusive<u32>>) -> bool {
        let Some(range) = range else { return true };
        let first = self.learners.partition_point(|learner| learner.series.0 < *range.start());
        self.learners.get(first).is_some_and(|learner| learner.series.0 <= *range.end())
    }

    fn read_columns(
        &mut self,
        columns: &SegmentColumns,
        hidden: &[HiddenTimes],
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), GivenUp> {
        let (Some(series), Some(times), Some(values), Some(flags)) =
            (&columns.series_ref, &columns.time, &columns.value, &columns.flags)
        else {
            return Ok(());
        };
        let (series, times) = (&series.values()[..], &times.values()[..]);
        let (values, flags) = (&values.values()[..], &flags.values()[..]);
        let mut start = 0;
        for run in series.chunk_by(|a, b| a == b) {
            let end = start + run.len();
            if let Some(learner) = self.find(SeriesRef(run[0])) {
                let learner = &mut self.learners[learner];
                for piece in (start..end).step_by(PACE_ROWS) {
                    let mut taught = 0;
                    for row in piece..end.min(piece + PACE_ROWS) {
                        let (time, value) = (times[row], values[row]);
                        let cells = Cells { time, value, flags: flags[row] };
                        taught += u64::from(learner.teach(cells, hidden));
                    }
                    go_on(pace, taught)?;
                }
            }
            start = end;
        }
        Ok(())
    }

    fn read_head(
        &mut self,
        head: &HeadView,
        times: &RangeInclusive<EventTime>,
        hidden: &[HiddenTimes],
        reading: &mut Reading<'_>,
    ) -> Result<(), GivenUp> {
        let mut columns = HeadColumns::default();
        for chunk in head.chunks() {
            if chunk.time_max() < *times.start() || *times.end() < chunk.time_min() {
                continue;
            }
            for piece in (0..chunk.rows()).step_by(PACE_ROWS) {
                columns.clear();
                chunk.copy(piece..chunk.rows().min(piece + PACE_ROWS), &mut columns);
                let mut taught = 0;
                for (row, series) in columns.series.iter().enumerate() {
                    let Some(learner) = self.find(SeriesRef(*series)) else { continue };
                    let (time, value) = (columns.times[row], columns.values[row]);
                    let cells = Cells { time, value, flags: columns.flags[row] };
                    taught += u64::from(self.learners[learner].teach(cells, hidden));
                }
                go_on(reading.pace, taught)?;
            }
        }
        Ok(())
    }
}

impl Learner {
    /// The first time that it has not had.
    fn from(&self) -> EventTime {
        let next = EventTime::new(self.primer.last_time().nanos().saturating_add(1));
        next.max(*self.times.start())
    }

    /// Takes a row; returns whether it teaches.
    fn teach(&mut self, cells: Cells, hidden: &[HiddenTimes]) -> bool {
        let Cells { time: nanos, value, flags } = cells;
        let time = EventTime::new(nanos);
        // Rows of a new time base that lies before the old one are late as well: they do not teach.
        let is_late = Flags::from_bits(flags).is_late();
        if is_late || time <= self.primer.last_time() || !self.times.contains(&time) {
            return false;
        }
        let is = |(metric, times): &HiddenTimes| *metric == self.metric && times.contains(&nanos);
        if hidden.iter().any(is) {
            return false;
        }
        self.primer.observe(time, value);
        true
    }
}

fn go_on(pace: &mut dyn FnMut(u64) -> bool, taught: u64) -> Result<(), GivenUp> {
    if pace(taught) { Ok(()) } else { Err(GivenUp) }
}
