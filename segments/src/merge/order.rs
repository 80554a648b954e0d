//! The place of each series in the order of a segment.

use tidewatch_metrics::{SeriesCatalog, SeriesRef};

use crate::file_meta::MetricName;

/// All series of the catalog in the order of a segment: database, metric, reference.
///
/// Takes 4 bytes per series and the metrics' names.
#[derive(Debug)]
pub(crate) struct SeriesOrder {
    /// Place of each series by its reference; [`UNKNOWN`] where the reference stands for none.
    places: Vec<u32>,
    metrics: Vec<Metric>,
}

#[derive(Debug)]
struct Metric {
    name: MetricName,
    /// Place after the metric's last series.
    end: u32,
}

const UNKNOWN: u32 = u32::MAX;

impl SeriesOrder {
    pub(crate) fn of(catalog: &SeriesCatalog) -> Self {
        let mut places = vec![UNKNOWN; catalog.refs_end()];
        let mut metrics = Vec::new();
        let mut place = 0;
        catalog.visit_metrics(|db, metric, series| {
            for series in series {
                // A series that was registered since `places` was made is in no segment yet.
                if let Some(known) = places.get_mut(series.index()) {
                    *known = place;
                    place += 1;
                }
            }
            let name = MetricName { db: db.to_owned(), metric: metric.to_owned() };
            metrics.push(Metric { name, end: place });
        });
        Self { places, metrics }
    }

    /// The place of a series; `None` where the catalog does not have it.
    pub(crate) fn place(&self, series: SeriesRef) -> Option<u32> {
        self.places.get(series.index()).copied().filter(|place| *place != UNKNOWN)
    }

    /// The index of the metric of the series at `place`.
    pub(crate) fn metric(&self, place: u32) -> usize {
        self.metrics.partition_point(|metric| metric.end <= place)
    }

    /// The name of the metric with this index.
    pub(crate) fn name(&self, metric: usize) -> &MetricName {
        &self.metrics[metric].name
    }
}
