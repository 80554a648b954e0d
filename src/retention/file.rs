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
use crate::retention::limits::{DAYS_MAX, METRICS_MAX};

/// The file's name in the data directory.
pub(crate) const FILE_NAME: &str = "retention";
/// The newest version of the format.
pub(crate) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"TIDEKEEP";

/// What is wrong with a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// A check failed.
    Damaged(&'static str),
    /// A later release wrote it, in this format.
    Newer(u32),
}

/// The bytes of a file with these metrics.
///
/// # Panics
/// If there are more metrics, or longer names, than a file holds: the book checks both.
pub(crate) fn encode(metrics: &BTreeMap<MetricName, Kept>) -> Vec<u8> {
    assert!(metrics.len() <= METRICS_MAX, "a book has at most METRICS_MAX metrics");
    let count = u32::try_from(metrics.len()).expect("a book has at most METRICS_MAX metrics");
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
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
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The metrics in a file's bytes.
///
/// # Errors
/// If any byte is not what this release would have written.
pub(crate) fn decode(bytes: &[u8]) -> Result<BTreeMap<MetricName, Kept>, Unreadable> {
    const SHORT: Unreadable = Unreadable::Damaged("it ends too early");
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(SHORT)?;
    if magic != MAGIC {
        return Err(Unreadable::Damaged("it does not begin as a retention file does"));
    }
    let (version, _) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    match u32::from_le_bytes(*version) {
        VERSION => {}
        0 => return Err(Unreadable::Damaged("its version is 0")),
        newer => return Err(Unreadable::Newer(newer)),
    }
    let (checked, checksum) = bytes.split_last_chunk::<4>().ok_or(SHORT)?;
    if crc32c::crc32c(checked) != u32::from_le_bytes(*checksum) {
        return Err(Unreadable::Damaged("its checksum is wrong"));
    }
    let mut input = Input(checked.get(12..).ok_or(SHORT)?);
    let count = u32::from_le_bytes(*input.chunk().ok_or(SHORT)?);
    let mut metrics = BTreeMap::new();
    for _ in 0..count {
        let (name, kept) = input.metric().ok_or(SHORT)?;
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
    if !input.0.is_empty() {
        return Err(Unreadable::Damaged("something follows its last metric"));
    }
    Ok(metrics)
}

fn is_name(name: &MetricName) -> bool {
    (1..=DATABASE_BYTES_MAX).contains(&name.db.len())
        && (1..=METRIC_BYTES_MAX).contains(&name.metric.len())
}

fn is_days(days: u16) -> bool {
    (1..=DAYS_MAX).contains(&days)
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(chunk)
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(std::str::from_utf8(text).ok()?.to_owned())
    }

    fn metric(&mut self) -> Option<(MetricName, Kept)> {
        let days = u16::from_le_bytes(*self.chunk()?);
        let applied = UnixNanos::new(i64::from_le_bytes(*self.chunk()?));
        let db = usize::from(u16::from_le_bytes(*self.chunk()?));
        let metric = usize::from(u16::from_le_bytes(*self.chunk()?));
        let name = MetricName { db: self.text(db)?, metric: self.text(metric)? };
        Some((name, Kept { days, applied }))
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
