//! One series as it stands in a file.

use tidewatch_metrics::EventTime;

/// Rows of one series in the order of their file: row `i` is `(times[i], values[i])`.
///
/// Invariant: all columns have the same length. Times need not be sorted; a value is NaN where the row has none.
#[derive(Clone, Debug, Default)]
pub struct Series {
    times: Vec<EventTime>,
    values: Vec<f64>,
    /// All times as they are written, one behind the other.
    texts: String,
    /// Where they end.
    ends: Vec<usize>,
}

impl Series {
    /// Appends a row; `text` is its time as it is written.
    pub fn push(&mut self, time: EventTime, value: f64, text: &str) {
        self.times.push(time);
        self.values.push(value);
        self.texts.push_str(text);
        self.ends.push(self.texts.len());
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The times.
    #[must_use]
    pub fn times(&self) -> &[EventTime] {
        &self.times
    }

    /// The values; NaN where a row has none.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The time of a row as it is written; empty where there is no such row.
    #[must_use]
    pub fn time_text(&self, row: usize) -> &str {
        let begin = row.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let end = self.ends.get(row).copied().unwrap_or_default();
        self.texts.get(begin.unwrap_or_default()..end).unwrap_or_default()
    }
}
