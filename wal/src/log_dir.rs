//! The names in the log's directory.
//!
//! ```text
//! wal-<first LSN, 20 digits>.log   a WAL segment
//! spare-<number>.wal               a file ready to become one
//! spare-<number>.wal.tmp           a spare that is being filled
//! ```

use std::path::Path;
use std::sync::Arc;

use tidewatch_env::Disk;
use tidewatch_metrics::Lsn;

use crate::error::WalError;
use crate::limits::LSN_MAX;

/// What was found in the directory; files with other names are left alone.
#[derive(Debug, Default)]
pub(crate) struct LogDir {
    /// By LSN.
    pub(crate) segments: Vec<SegmentFile>,
    pub(crate) spares: Vec<SpareFile>,
    /// Spares whose filling did not end.
    pub(crate) unfinished: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    pub(crate) name: Arc<str>,
    pub(crate) first_lsn: Lsn,
}

#[derive(Clone, Debug)]
pub(crate) struct SpareFile {
    pub(crate) name: String,
    pub(crate) number: u64,
}

impl LogDir {
    pub(crate) fn scan(disk: &dyn Disk, dir: &Path) -> Result<Self, WalError> {
        let mut found = Self::default();
        for name in disk.list(dir).map_err(WalError::io("list", dir))? {
            if let Some(first_lsn) = segment_lsn(&name) {
                found.segments.push(SegmentFile { name: name.into(), first_lsn });
            } else if let Some(number) = spare_number(&name) {
                found.spares.push(SpareFile { name, number });
            } else if name.strip_suffix(".tmp").and_then(spare_number).is_some() {
                found.unfinished.push(name);
            }
        }
        found.segments.sort_unstable_by_key(|segment| segment.first_lsn);
        Ok(found)
    }

    /// How many of the oldest segments hold nothing from `from` on.
    pub(crate) fn segments_below(&self, from: Lsn) -> usize {
        self.segments.partition_point(|segment| segment.first_lsn <= from).saturating_sub(1)
    }

    /// Refuses a log that begins after `from`, or is empty although there were records before it.
    ///
    /// Zero stands for the oldest record, whichever that is.
    pub(crate) fn check_begin(&self, from: Lsn) -> Result<(), WalError> {
        match self.segments.first() {
            Some(oldest) if from > Lsn::ZERO && oldest.first_lsn > from => {
                Err(WalError::Missing { from, first: oldest.first_lsn })
            }
            None if from > Lsn::ZERO.next() => {
                Err(WalError::Missing { from, first: Lsn::ZERO.next() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

pub(crate) fn segment_name(first_lsn: Lsn) -> String {
    format!("wal-{:020}.log", first_lsn.get())
}

pub(crate) fn spare_name(number: u64) -> String {
    format!("spare-{number}.wal")
}

pub(crate) fn unfinished_name(number: u64) -> String {
    format!("spare-{number}.wal.tmp")
}

fn segment_lsn(name: &str) -> Option<Lsn> {
    let number = digits(name.strip_prefix("wal-")?.strip_suffix(".log")?, 20)?;
    (1..=LSN_MAX).contains(&number).then_some(Lsn::new(number))
}

fn spare_number(name: &str) -> Option<u64> {
    decimal(name.strip_prefix("spare-")?.strip_suffix(".wal")?).filter(|&n| n <= LSN_MAX)
}

/// A number of exactly this many digits.
pub(crate) fn digits(text: &str, count: usize) -> Option<u64> {
    decimal(text).filter(|_| text.len() == count)
}

/// Digits only: `parse` would take a sign.
fn decimal(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_written_are_read_and_others_left_alone() {
        assert_eq!(segment_lsn(&segment_name(Lsn::new(42))), Some(Lsn::new(42)));
        assert_eq!(spare_number(&spare_name(3)), Some(3));
        for name in [
            "wal-42.log",
            "wal-+0000000000000000042.log",
            "wal-00000000000000000000.log",
            "wal-99999999999999999999.log",
            "wal-18446744073709551615.log",
            "spare-.wal",
            "LOCK",
        ] {
            assert_eq!((segment_lsn(name), spare_number(name)), (None, None), "{name}");
        }
    }
}
