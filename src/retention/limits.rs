//! What can be said of metrics.

use tidewatch_metrics::limits::{DATABASE_BYTES_MAX, METRIC_BYTES_MAX};

/// The longest time in days; for ever is said by nothing.
pub(crate) const DAYS_MAX: u16 = 365;
/// Metrics of which something is said.
pub(crate) const METRICS_MAX: usize = 10_000;
/// Bytes of one of them in the file.
pub(crate) const ENTRY_BYTES_MAX: usize = 14 + DATABASE_BYTES_MAX + METRIC_BYTES_MAX;
/// Bytes of the file.
pub(crate) const FILE_BYTES_MAX: usize = 20 + METRICS_MAX * ENTRY_BYTES_MAX;
