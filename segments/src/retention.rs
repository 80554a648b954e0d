//! What is kept for how long, and which files it concerns.

use std::fmt;
use std::sync::Arc;

use tidewatch_metrics::UnixNanos;
use tidewatch_metrics::catalog::SeriesEntry;

use crate::file_meta::{FileMeta, Retained};

/// For how long rows are kept. Time is the log's.
pub trait Retention: Send + Sync + fmt::Debug {
    /// Nanoseconds of event time for which rows of the series are kept; `None` for ever.
    fn keep_nanos(&self, series: &SeriesEntry) -> Option<i64>;

    /// Everything that [`keep_nanos`](Self::keep_nanos) may answer.
    fn keeps(&self) -> &[Option<i64>];

    /// Hash of the rules: other rules are gone through again.
    fn rules(&self) -> u64;
}

/// Whether every row of the file has expired, whatever its series.
#[must_use]
pub fn is_expired(file: &FileMeta, retention: &dyn Retention, now: UnixNanos) -> bool {
    let mut keeps = retention.keeps().iter();
    keeps.all(|keep| keep.is_some_and(|keep| expires(file, keep) < now.nanos()))
}

/// Whether rows of some series have all expired since the file was last gone through.
///
/// Files that hold a day at most are gone through once for each rule, when their last row expires.
#[must_use]
pub fn has_expired_series(file: &FileMeta, retention: &dyn Retention, now: UnixNanos) -> bool {
    let done = file.retained.filter(|retained| retained.rules == retention.rules());
    let done = done.map_or(i64::MIN, |retained| retained.at.nanos());
    retention.keeps().iter().flatten().any(|keep| {
        let expires = expires(file, *keep);
        expires < now.nanos() && expires >= done
    })
}

/// The mark of a file that has been gone through.
pub(crate) fn retained(retention: &dyn Retention, now: UnixNanos) -> Option<Retained> {
    let is_limited = retention.keeps().iter().any(Option::is_some);
    is_limited.then(|| Retained { at: now, rules: retention.rules() })
}

/// The log's time after which rows of a series that is kept for `keep` are not needed.
fn expires(file: &FileMeta, keep: i64) -> i64 {
    file.time_max.nanos().saturating_add(keep)
}

/// The earliest event time of the series that is kept.
pub(crate) fn kept_from(
    retention: &dyn Retention,
    series: &Arc<SeriesEntry>,
    now: UnixNanos,
) -> Option<i64> {
    retention.keep_nanos(series).map(|keep| now.nanos().saturating_sub(keep))
}
