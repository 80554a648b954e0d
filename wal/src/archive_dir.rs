//! The names in the archive's directory.
//!
//! ```text
//! wal-<first LSN, 20 digits>-<last LSN, 20 digits>-<time, 19 digits>-<raw bytes, 10 digits>.arc
//! wal-<first LSN, 20 digits>.arc.tmp     one that is being written
//! ```
//!
//! The time is that of the log at the segment's end, in nanoseconds since 1970; the raw bytes are
//! those that the file unpacks to. So a listing needs no reading.

use std::path::Path;
use std::sync::Arc;

use tidewatch_env::Disk;
use tidewatch_metrics::{Lsn, UnixNanos};

use crate::error::WalError;
use crate::limits::{LSN_MAX, SEGMENT_BYTES_MAX};
use crate::log_dir::digits;

/// One file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedSegment {
    /// The file's name in the archive's directory.
    pub file: Arc<str>,
    /// Its first record.
    pub first_lsn: Lsn,
    /// Its last record; at least the first.
    pub last_lsn: Lsn,
    /// The log's time at its end.
    pub time: UnixNanos,
    /// The file's length.
    pub bytes: u64,
    /// The length of what it unpacks to.
    pub raw_bytes: u64,
}

/// What was found in the directory; files with other names are left alone.
#[derive(Debug, Default)]
pub(crate) struct ArchiveDir {
    /// By LSN.
    pub(crate) segments: Vec<ArchivedSegment>,
    /// Files whose writing did not end.
    pub(crate) unfinished: Vec<String>,
}

impl ArchiveDir {
    /// Lists the directory; one that does not exist is an empty archive.
    pub(crate) fn scan(disk: &dyn Disk, dir: &Path) -> Result<Self, WalError> {
        let mut found = Self::default();
        if !disk.exists(dir).map_err(WalError::io("look for", dir))? {
            return Ok(found);
        }
        for name in disk.list(dir).map_err(WalError::io("list", dir))? {
            if let Some(mut segment) = parse(&name) {
                let path = dir.join(&name);
                segment.bytes = disk.len(&path).map_err(WalError::io("measure", &path))?;
                found.segments.push(segment);
            } else if is_unfinished(&name) {
                found.unfinished.push(name);
            }
        }
        found.segments.sort_unstable_by_key(|segment| segment.first_lsn);
        Ok(found)
    }
}

/// The name of a finished file; times before 1970 count as 1970.
pub(crate) fn archived_name(first: Lsn, last: Lsn, time: UnixNanos, raw_bytes: u64) -> String {
    let (first, last, time) = (first.get(), last.get(), time.nanos().max(0));
    format!("wal-{first:020}-{last:020}-{time:019}-{raw_bytes:010}.arc")
}

pub(crate) fn unfinished_archived_name(first: Lsn) -> String {
    format!("wal-{:020}.arc.tmp", first.get())
}

/// What a name says; the file's length is not known from it.
fn parse(name: &str) -> Option<ArchivedSegment> {
    let mut fields = name.strip_prefix("wal-")?.strip_suffix(".arc")?.split('-');
    let first = digits(fields.next()?, 20)?;
    let last = digits(fields.next()?, 20)?;
    let time = i64::try_from(digits(fields.next()?, 19)?).ok()?;
    let raw_bytes = digits(fields.next()?, 10)?;
    let valid = fields.next().is_none()
        && (1..=last).contains(&first)
        && last <= LSN_MAX
        && raw_bytes <= SEGMENT_BYTES_MAX;
    valid.then(|| ArchivedSegment {
        file: name.into(),
        first_lsn: Lsn::new(first),
        last_lsn: Lsn::new(last),
        time: UnixNanos::new(time),
        bytes: 0,
        raw_bytes,
    })
}

fn is_unfinished(name: &str) -> bool {
    let middle = name.strip_prefix("wal-").and_then(|rest| rest.strip_suffix(".arc.tmp"));
    middle.and_then(|middle| digits(middle, 20)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_written_are_read_and_others_left_alone() {
        let time = UnixNanos::new(i64::MAX);
        let name = archived_name(Lsn::new(7), Lsn::new(LSN_MAX), time, SEGMENT_BYTES_MAX);
        let parsed = parse(&name).unwrap();
        assert_eq!((parsed.first_lsn, parsed.last_lsn), (Lsn::new(7), Lsn::new(LSN_MAX)));
        assert_eq!((parsed.time, parsed.raw_bytes, &*parsed.file), (time, 1 << 30, &*name));
        assert!(is_unfinished(&unfinished_archived_name(Lsn::new(7))));
        for name in [
            "wal-00000000000000000007.log",
            "wal-00000000000000000007.arc",
            "wal-00000000000000000007-00000000000000000006-0000000000000000000-0000000064.arc",
            "wal-00000000000000000000-00000000000000000006-0000000000000000000-0000000064.arc",
            "wal-00000000000000000007-00000000000000000008-9999999999999999999-0000000064.arc",
            "wal-00000000000000000007-00000000000000000008-0000000000000000000-9999999999.arc",
            "wal-00000000000000000007-00000000000000000008-0000000000000000000-0000000064-1.arc",
            "wal-7-8-0-64.arc",
        ] {
            assert_eq!((parse(name), is_unfinished(name)), (None, false), "{name}");
        }
    }

    #[test]
    fn a_time_before_1970_counts_as_1970() {
        let name = archived_name(Lsn::new(1), Lsn::new(2), UnixNanos::new(-5), 64);
        assert_eq!(parse(&name).unwrap().time, UnixNanos::new(0));
    }
}
