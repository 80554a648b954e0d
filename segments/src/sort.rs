//! The order of rows in a segment: database, metric, series, time, arrival.

use tidewatch_metrics::{SeriesCatalog, SeriesRef};

use crate::chunk::ChunkView;
use crate::error::SegmentsError;
use crate::file_meta::MetricName;
use crate::limits::CHUNK_ROWS;
use crate::view::HeadView;

/// Rows of one or several views, in the order of their arrival, by position.
///
/// A position is the chunk's index times [`CHUNK_ROWS`] plus the row in the chunk; the last chunk
/// of every view may have fewer rows, so positions have gaps.
#[derive(Debug)]
pub(crate) struct RowSource {
    chunks: Vec<ChunkView>,
}

/// The rows of one series: `order[start..end]`.
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

/// Positions of all rows in the order of a segment.
#[derive(Debug)]
pub(crate) struct SortedRows {
    pub(crate) order: Vec<u32>,
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

    pub(crate) fn place(&self, position: u32) -> (&ChunkView, usize) {
        let position = position as usize;
        (&self.chunks[position / CHUNK_ROWS], position % CHUNK_ROWS)
    }

    fn time(&self, position: u32) -> i64 {
        let (chunk, row) = self.place(position);
        chunk.time(row)
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
    /// Sorts by counting: rows per series, then each row to its series' place.
    ///
    /// Rows of a series arrive in order but for late ones, so that a series is rarely sorted.
    ///
    /// # Errors
    /// [`SegmentsError::UnknownSeries`].
    pub(crate) fn of(source: &RowSource, catalog: &SeriesCatalog) -> Result<Self, SegmentsError> {
        let rows = source.rows();
        let mut counts = source.count();
        let mut sorted = Self { order: vec![0; rows], runs: Vec::new(), metrics: Vec::new() };
        let known = sorted.lay_out(&mut counts, catalog);
        if known != rows {
            return Err(SegmentsError::UnknownSeries { rows: rows - known });
        }
        let mut next = counts;
        for (index, chunk) in source.chunks.iter().enumerate() {
            let base = u32::try_from(index * CHUNK_ROWS).expect("a head has fewer than 2^32 rows");
            for (position, series) in (base..).zip(chunk.series()) {
                let place = &mut next[series.index()];
                sorted.order[*place as usize] = position;
                *place += 1;
            }
        }
        sorted.sort_runs(source);
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

    fn sort_runs(&mut self, source: &RowSource) {
        let mut keys: Vec<(i64, u32)> = Vec::new();
        for run in &self.runs {
            let order = &mut self.order[run.start..run.end];
            keys.clear();
            keys.extend(order.iter().map(|position| (source.time(*position), *position)));
            // Positions ascend, so that the pair keeps the order of arrival at equal times.
            if !keys.is_sorted() {
                keys.sort_unstable();
                for (place, (_, position)) in order.iter_mut().zip(&keys) {
                    *place = *position;
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "sort_tests.rs"]
mod tests;
