//! How many series there may be, and what a refusal tells about those that there are.

use std::fmt;
use std::sync::Arc;

use crate::SeriesKey;

/// How many series a catalog takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Counted bytes of all series.
    pub bytes_max: u64,
    /// Series in all.
    pub series_max: usize,
    /// Series of one database.
    pub per_database_max: usize,
    /// Series of one metric.
    pub per_metric_max: usize,
}

impl SeriesLimits {
    /// No limits.
    pub const NONE: Self = Self {
        bytes_max: u64::MAX,
        series_max: usize::MAX,
        per_database_max: usize::MAX,
        per_metric_max: usize::MAX,
    };
}

/// Bytes that a series takes outside of the catalog: in operators, indices and caches.
#[derive(Clone)]
pub struct SeriesCosts(Arc<dyn Fn(&SeriesKey) -> u64 + Send + Sync>);

impl SeriesCosts {
    /// As `bytes` says of each series; it is asked once per new series, by many threads.
    #[must_use]
    pub fn new(bytes: impl Fn(&SeriesKey) -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(bytes))
    }

    pub(crate) fn of(&self, key: &SeriesKey) -> u64 {
        (self.0)(key)
    }
}

impl Default for SeriesCosts {
    fn default() -> Self {
        Self::new(|_| 0)
    }
}

impl fmt::Debug for SeriesCosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeriesCosts").finish_non_exhaustive()
    }
}

/// A limit that a new series would pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeriesLimit {
    /// The memory for series.
    Memory,
    /// The number of series in all.
    Series(usize),
    /// The number of series of a database.
    Database(usize),
    /// The number of series of a metric.
    Metric(usize),
}

impl SeriesLimit {
    /// All names, in the order of the variants.
    pub const NAMES: [&str; 4] = ["memory", "series", "database", "metric"];

    /// The name, as instruments have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        let [memory, series, database, metric] = Self::NAMES;
        match self {
            Self::Memory => memory,
            Self::Series(_) => series,
            Self::Database(_) => database,
            Self::Metric(_) => metric,
        }
    }
}

/// The label of a metric with the most values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelValues {
    /// The label's key.
    pub key: String,
    /// Its different values.
    pub values: u64,
    /// Whether that is their exact number.
    pub is_exact: bool,
}

/// A metric and what its series differ by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricSize {
    /// The metric's name.
    pub metric: String,
    /// Its series.
    pub series: usize,
    /// Its label with the most values; none where it has no labels.
    pub label: Option<LabelValues>,
}

/// Why a new series was refused, and what there is in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesRefused {
    /// The limit.
    pub limit: SeriesLimit,
    /// The database.
    pub db: String,
    /// The metric of the refused series, or where that would have been new, the one with the most series of
    /// the database; none where the database has no series.
    pub size: Option<MetricSize>,
    /// Whether the refused series is of another metric than `size`, one that has no series.
    pub is_new_metric: bool,
}

impl fmt::Display for SeriesRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "series refused: ")?;
        match self.limit {
            SeriesLimit::Memory => {
                write!(f, "the memory for series is used up (limits.memory_bytes_max)")?;
            }
            SeriesLimit::Series(max) => {
                write!(f, "there are as many series as may be (limits.series_max = {max})")?;
            }
            SeriesLimit::Database(max) => write!(
                f,
                "database {:?} has as many series as it may have \
                 (limits.series_per_database_max = {max})",
                self.db
            )?,
            SeriesLimit::Metric(max) => write!(
                f,
                "the metric has as many series as it may have (limits.series_per_metric_max = {max})"
            )?,
        }
        let Some(size) = &self.size else { return Ok(()) };
        if self.is_new_metric {
            write!(f, ": the metric is new; most series of its database has")?;
        } else {
            write!(f, ":")?;
        }
        let series = Grouped(u64::try_from(size.series).unwrap_or(u64::MAX));
        let has = if self.is_new_metric { ", with" } else { " has" };
        write!(f, " metric {:?}{has} {series} series", size.metric)?;
        let Some(label) = &size.label else { return Ok(()) };
        write!(f, ", its label {:?} has ", label.key)?;
        if label.is_exact {
            write!(f, "{} values", Grouped(label.values))
        } else {
            write!(f, "about {} values", Grouped(about(label.values)))
        }
    }
}

/// Two digits count where a number is an estimate.
fn about(number: u64) -> u64 {
    let unit = 10_u64.pow(number.checked_ilog10().unwrap_or(0).saturating_sub(1));
    number.saturating_add(unit / 2) / unit * unit
}

/// A number in groups of three digits.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (place, digit) in digits.char_indices() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                write!(f, ",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_limit_the_metric_and_the_label() {
        let label =
            LabelValues { key: "request_id".to_owned(), values: 1_203_456, is_exact: false };
        let metric = "http_requests".to_owned();
        let size = MetricSize { metric, series: 1_234_567, label: Some(label) };
        let refused = SeriesRefused {
            limit: SeriesLimit::Memory,
            db: "default".to_owned(),
            size: Some(size.clone()),
            is_new_metric: false,
        };
        assert_eq!(
            refused.to_string(),
            "series refused: the memory for series is used up (limits.memory_bytes_max): metric \
             \"http_requests\" has 1,234,567 series, its label \"request_id\" has about 1,200,000 values"
        );
        let size = MetricSize { series: 12, label: None, ..size };
        let limit = SeriesLimit::Database(12);
        let refused = SeriesRefused { limit, size: Some(size), is_new_metric: true, ..refused };
        assert_eq!(
            refused.to_string(),
            "series refused: database \"default\" has as many series as it may have \
             (limits.series_per_database_max = 12): the metric is new; most series of its database \
             has metric \"http_requests\", with 12 series"
        );
    }

    #[test]
    fn estimates_are_told_with_two_digits() {
        for (number, told) in
            [(0, 0), (7, 7), (99, 99), (2_049, 2_000), (2_050, 2_100), (999_999, 1_000_000)]
        {
            assert_eq!(about(number), told);
        }
    }
}
