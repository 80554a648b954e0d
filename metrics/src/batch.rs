//! Samples in columns.

use crate::{EventTime, SeriesRef};

/// A batch in columns: row `i` is `(series[i], times[i], values[i])`.
///
/// Invariant: all columns have the same length; `times` need not be sorted.
#[derive(Clone, Debug, Default)]
pub struct SampleBatch {
    series: Vec<SeriesRef>,
    times: Vec<EventTime>,
    values: Vec<f64>,
}

impl SampleBatch {
    /// An empty batch with room for `rows`.
    #[must_use]
    pub fn with_capacity(rows: usize) -> Self {
        Self {
            series: Vec::with_capacity(rows),
            times: Vec::with_capacity(rows),
            values: Vec::with_capacity(rows),
        }
    }

    /// The batch of these columns.
    ///
    /// # Panics
    /// When the columns differ in length, which is a bug of the caller.
    #[must_use]
    pub fn from_columns(series: Vec<SeriesRef>, times: Vec<EventTime>, values: Vec<f64>) -> Self {
        assert!(series.len() == times.len() && times.len() == values.len(), "equal columns");
        Self { series, times, values }
    }

    /// Appends one row.
    pub fn push(&mut self, series: SeriesRef, time: EventTime, value: f64) {
        self.series.push(series);
        self.times.push(time);
        self.values.push(value);
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Bytes of memory that the columns have.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.series.capacity() * size_of::<SeriesRef>()
            + self.times.capacity() * size_of::<EventTime>()
            + self.values.capacity() * size_of::<f64>()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// The series of each row.
    #[must_use]
    pub fn series(&self) -> &[SeriesRef] {
        &self.series
    }

    /// The event time of each row.
    #[must_use]
    pub fn times(&self) -> &[EventTime] {
        &self.times
    }

    /// The value of each row.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}
