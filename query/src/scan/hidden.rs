//! Rows that deletes hide.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tidewatch_segments::{FileMeta, HeadView, MetricName, Snapshot};

/// Rows of one segment or head that deletes hide; usually none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hidden(Arc<[HiddenRows]>);

/// Rows of some series and times.
#[derive(Clone, Debug)]
struct HiddenRows {
    /// References in ascending order.
    series: Arc<[u32]>,
    times: RangeInclusive<i64>,
}

/// The deletes that concern a scan, with the series that they are about.
#[derive(Debug)]
pub(crate) struct ScanDeletes<'a> {
    snapshot: &'a Snapshot,
    /// In the order of the snapshot's deletes; those that do not concern the scan have no series.
    series: Vec<Arc<[u32]>>,
}

impl<'a> ScanDeletes<'a> {
    /// The deletes of `snapshot` that concern `metrics`; all metrics if `None`.
    pub(crate) fn new(snapshot: &'a Snapshot, metrics: Option<&BTreeSet<MetricName>>) -> Self {
        let series = snapshot.deletes().map(|delete| {
            if metrics.is_some_and(|metrics| !metrics.contains(&delete.metric)) {
                return Arc::default();
            }
            let view = snapshot.catalog.metric(&delete.metric.db, &delete.metric.metric);
            let series = view.iter().flat_map(|view| view.series.iter());
            let mut series: Vec<u32> = series.map(|(series, _)| series.0).collect();
            series.sort_unstable();
            series.into()
        });
        Self { snapshot, series: series.collect() }
    }

    /// What is hidden of a segment.
    pub(crate) fn of_segment(&self, meta: &FileMeta) -> Hidden {
        let deletes = self.snapshot.deletes().zip(&self.series);
        let rows = deletes.filter(|(delete, series)| !series.is_empty() && delete.applies_to(meta));
        Hidden(rows.map(|(delete, series)| HiddenRows::new(&delete.times(), series)).collect())
    }

    /// What is hidden of a head: all rows of a growing one are later than every delete.
    pub(crate) fn of_head(&self, head: &HeadView) -> Hidden {
        let Some(last) = head.frozen_at() else { return Hidden::default() };
        let deletes = self.snapshot.deletes().zip(&self.series);
        let rows = deletes.filter(|(delete, series)| !series.is_empty() && delete.reaches(last));
        Hidden(rows.map(|(delete, series)| HiddenRows::new(&delete.times(), series)).collect())
    }
}

impl HiddenRows {
    fn new(times: &RangeInclusive<tidewatch_metrics::EventTime>, series: &Arc<[u32]>) -> Self {
        let times = times.start().nanos()..=times.end().nanos();
        Self { series: Arc::clone(series), times }
    }
}

impl Hidden {
    /// Whether nothing is hidden.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Times of which rows are hidden.
    pub(crate) fn times(&self) -> impl Iterator<Item = RangeInclusive<i64>> + '_ {
        self.0.iter().map(|rows| rows.times.clone())
    }

    /// Whether this row is hidden.
    pub(crate) fn hides(&self, series: u32, time: i64) -> bool {
        self.0
            .iter()
            .any(|rows| rows.times.contains(&time) && rows.series.binary_search(&series).is_ok())
    }
}
