//! The order of rows in a segment: database, metric, series, time, arrival.

use tidewatch_metrics::{SeriesCatalog, SeriesRef};

use crate::chunk::{ChunkView, Rating};
use crate::error::SegmentsError;
use crate::file_meta::MetricName;
use crate::view::HeadView;

/// Rows of one or several views, in the order of their arrival.
#[derive(Debug)]
pub(crate) struct RowSource {
    chunks: Vec<ChunkView>,
}

/// One row, whose series is that of its run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowCells {
    pub(crate) time: i64,
    pub(crate) value: f64,
    pub(crate) rating: Rating,
}

/// The rows of one series: `rows[start..end]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeriesRun {
    pub(crate) series: SeriesRef,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The runs of one metric: `runs[start..end]`.
#[derive(Debug)]
pub(crate) struct MetricRuns {
    pub(crate) name: MetricName,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// All rows in the order of a segment.
#[derive(Debug)]
pub(crate) struct SortedRows {
    pub(crate) rows: Vec<RowCells>,
    pub(crate) runs: Vec<SeriesRun>,
    pub(crate) metrics: Vec<MetricRuns>,
}

impl RowSource {
    /// The rows of views in the order of the log.
    pub(crate) fn new(views: &[HeadView]) -> Self {
        Self { chunks: views.iter().flat_map(HeadView::chunks).cloned().collect() }
    }

    pub(crate) fn chunks(&self) -> &[ChunkView] {
        &self.chunks
    }

    pub(crate) fn rows(&self) -> usize {
        self.chunks.iter().map(ChunkView::rows).sum()
    }

    /// Rows per series, by reference.
    fn count(&self) -> Vec<u32> {
        let mut counts: Vec<u32> = Vec::new();
        for chunk in &self.chunks {
            for series in chunk.series() {
                if counts.len() <= series.index() {
                    counts.resize(series.index() + 1, 0);
                }
                counts[series.index()] += 1;
            }
        }
        counts
    }
}

impl SortedRows {
    /// Sorts by counting: rows per series, then each row to its series' place. Rows are read as they
    /// lie and written once, so that each one misses the cache once.
    ///
    /// Rows of a series arrive in order but for late ones, so that a series is rarely sorted.
    ///
    /// # Errors
    /// [`SegmentsError::UnknownSeries`].
    pub(crate) fn of(source: &RowSource, catalog: &SeriesCatalog) -> Result<Self, SegmentsError> {
        let rows = source.rows();
        let mut counts = source.count();
        let mut sorted = Self { rows: Vec::new(), runs: Vec::new(), metrics: Vec::new() };
        let known = sorted.lay_out(&mut counts, catalog);
        if known != rows {
            return Err(SegmentsError::UnknownSeries { rows: rows - known });
        }
        sorted.rows.resize(rows, RowCells::default());
        let mut next = counts;
        for chunk in &source.chunks {
            let cells = chunk.times().zip(chunk.values()).zip(chunk.ratings());
            for (series, ((time, value), rating)) in chunk.series().zip(cells) {
                let place = &mut next[series.index()];
                sorted.rows[*place as usize] = RowCells { time, value, rating };
                *place += 1;
            }
        }
        for run in &sorted.runs {
            let rows = &mut sorted.rows[run.start..run.end];
            // In the order of arrival at equal times.
            if !rows.is_sorted_by_key(|row| row.time) {
                rows.sort_by_key(|row| row.time);
            }
        }
        Ok(sorted)
    }

    /// Gives each series its place in the order and replaces its count by the place's start.
    fn lay_out(&mut self, counts: &mut [u32], catalog: &SeriesCatalog) -> usize {
        let mut start = 0_usize;
        catalog.visit_metrics(|db, metric, series| {
            let first_run = self.runs.len();
            for series in series {
                let Some(count) = counts.get_mut(series.index()).filter(|count| **count > 0) else {
                    continue;
                };
                let end = start + *count as usize;
                *count = u32::try_from(start).expect("a head has fewer than 2^32 rows");
                self.runs.push(SeriesRun { series: *series, start, end });
                start = end;
            }
            if self.runs.len() > first_run {
                let name = MetricName { db: db.to_owned(), metric: metric.to_owned() };
                self.metrics.push(MetricRuns { name, start: first_run, end: self.runs.len() });
            }
        });
        start
    }
}

#[cfg(test)]
#[path = "sort_tests.rs"]
mod tests;
