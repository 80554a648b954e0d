//! The retention file: `retention` in the data directory.
//!
//! ```text
//! magic     8 bytes   "TIDEKEEP"
//! version   u32 LE    1
//! count     u32 LE    number of metrics, at most 10,000
//! metrics, in byte order of database and name:
//!   days        u16 LE  1 to 365
//!   applied     i64 LE  nanoseconds since 1970
//!   db_len      u16 LE  1 to 128
//!   metric_len  u16 LE  1 to 1,024
//!   db          db_len bytes of UTF-8
//!   metric      metric_len bytes of UTF-8
//! crc32c    u32 LE    of everything before
//! ```
//!
//! It is replaced as a whole, durably. A greater version is refused.

#![deny(clippy::indexing_slicing)]

use std::collections::BTreeMap;

use tidewatch_metrics::UnixNanos;
use tidewatch_metrics::limits::{DATABASE_BYTES_MAX, METRIC_BYTES_MAX};
use tidewatch_segments::MetricName;

use crate::retention::book::Kept;
use crate::retention::limits::{DAYS_MAX, FILE_BYTES_MAX, METRICS_MAX};
use crate::sealed_file::{FileKind, Input, Unreadable};

/// The file's name in the data directory.
pub(crate) const FILE_NAME: &str = "retention";

/// The format.
pub(crate) const KIND: FileKind = FileKind {
    noun: "retention file",
    magic: *b"TIDEKEEP",
    version: 1,
    bytes_max: FILE_BYTES_MAX as u64,
};

/// The bytes of a file with these metrics.
///
/// # Panics
/// If there are more metrics, or longer names, than a file holds: the book checks both.
pub(crate) fn encode(metrics: &BTreeMap<MetricName, Kept>) -> Vec<u8> {
    assert!(metrics.len() <= METRICS_MAX, "a book has at most METRICS_MAX metrics");
    let count = u32::try_from(metrics.len()).expect("a book has at most METRICS_MAX metrics");
    KIND.seal(count, |bytes| {
        for (name, kept) in metrics {
            assert!(is_name(name) && is_days(kept.days), "who says something checks both");
            bytes.extend_from_slice(&kept.days.to_le_bytes());
            bytes.extend_from_slice(&kept.applied.nanos().to_le_bytes());
            for text in [&name.db, &name.metric] {
                let length = u16::try_from(text.len()).expect("the lengths of names were checked");
                bytes.extend_from_slice(&length.to_le_bytes());
            }
            bytes.extend_from_slice(name.db.as_bytes());
            bytes.extend_from_slice(name.metric.as_bytes());
        }
    })
}

/// The metrics in a file's bytes.
///
/// # Errors
/// If any byte is not what this release would have written.
pub(crate) fn decode(bytes: &[u8]) -> Result<BTreeMap<MetricName, Kept>, Unreadable> {
    let (count, mut input) = KIND.unseal(bytes)?;
    let mut metrics = BTreeMap::new();
    for _ in 0..count {
        let (name, kept) = metric(&mut input)?;
        if !is_name(&name) || !is_days(kept.days) {
            return Err(Unreadable::Damaged("it has a metric as nobody could have said it"));
        }
        if metrics.len() == METRICS_MAX {
            return Err(Unreadable::Damaged("it has too many metrics"));
        }
        if metrics.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return Err(Unreadable::Damaged("its metrics are not in order"));
        }
        metrics.insert(name, kept);
    }
    input.end()?;
    Ok(metrics)
}

fn is_name(name: &MetricName) -> bool {
    (1..=DATABASE_BYTES_MAX).contains(&name.db.len())
        && (1..=METRIC_BYTES_MAX).contains(&name.metric.len())
}

fn is_days(days: u16) -> bool {
    (1..=DAYS_MAX).contains(&days)
}

fn metric(input: &mut Input<'_>) -> Result<(MetricName, Kept), Unreadable> {
    let days = u16::from_le_bytes(*input.chunk()?);
    let applied = UnixNanos::new(i64::from_le_bytes(*input.chunk()?));
    let db = usize::from(u16::from_le_bytes(*input.chunk()?));
    let metric = usize::from(u16::from_le_bytes(*input.chunk()?));
    let name =
        MetricName { db: input.text(db)?.to_owned(), metric: input.text(metric)?.to_owned() };
    Ok((name, Kept { days, applied }))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
