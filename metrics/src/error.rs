//! Why the data model refuses something.

use crate::limits::{
    DATABASE_BYTES_MAX, LABEL_KEY_BYTES_MAX, LABEL_VALUE_BYTES_MAX, METRIC_BYTES_MAX,
    METRIC_LABEL_KEYS_MAX, SERIES_KEY_BYTES_MAX, SERIES_LABELS_MAX,
};

/// Why a series cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// A database name that is reserved or has a bad form.
    #[error(
        "database {name:?} is refused: a name has 1 to {DATABASE_BYTES_MAX} bytes without control \
         characters, and \"tidewatch\" and \"information_schema\" are reserved"
    )]
    Database {
        /// The name as it came.
        name: String,
    },
    /// An empty or over-long metric name.
    #[error("a metric name of {bytes} bytes is refused: it must have 1 to {METRIC_BYTES_MAX}")]
    MetricName {
        /// Bytes of the name.
        bytes: usize,
    },
    /// An empty or over-long label key.
    #[error("a label key of {bytes} bytes is refused: it must have 1 to {LABEL_KEY_BYTES_MAX}")]
    LabelKey {
        /// Bytes of the key.
        bytes: usize,
    },
    /// An over-long label value.
    #[error(
        "the value of label {key:?} has {bytes} bytes, at most {LABEL_VALUE_BYTES_MAX} are taken"
    )]
    LabelValue {
        /// The label's key.
        key: String,
        /// Bytes of the value.
        bytes: usize,
    },
    /// The same key twice.
    #[error("label {key:?} is given twice")]
    DuplicateLabel {
        /// The label's key.
        key: String,
    },
    /// Too many labels on one series.
    #[error("{count} labels, at most {SERIES_LABELS_MAX} are taken")]
    Labels {
        /// Labels given.
        count: usize,
    },
    /// All names together are too long.
    #[error("names and labels of {bytes} bytes together, at most {SERIES_KEY_BYTES_MAX} are taken")]
    SeriesKey {
        /// Bytes in canonical form.
        bytes: usize,
    },
    /// Two pairs of measurement and field that give one metric name.
    #[error(
        "metric {metric:?} already stands for measurement {measurement:?}: another pair of \
         measurement and field would get the same name"
    )]
    NameTaken {
        /// The metric's name.
        metric: String,
        /// The measurement that has it.
        measurement: String,
    },
    /// The metric has its full number of label keys.
    #[error("label {key:?} would be key {} of metric {metric:?}", METRIC_LABEL_KEYS_MAX + 1)]
    MetricLabelKeys {
        /// The metric's name.
        metric: String,
        /// The key that is too many.
        key: String,
    },
    /// A new series would pass a limit.
    #[error("{0}")]
    SeriesRefused(Box<crate::SeriesRefused>),
    /// Two different series with the same 128-bit hash.
    #[error("series {id} has the hash of another series")]
    HashCollision {
        /// The shared identity.
        id: Box<crate::SeriesId>,
    },
}
