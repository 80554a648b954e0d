//! One file of the archive.
//!
//! archive header, at the file's start, all integers little-endian:
//!    0  magic:        [u8; 8]  "TIDEARC\n"
//!    8  version:      u32      1
//!   12  body crc32c:  u32      of all bytes from 64 on
//!   16  first LSN:    u64
//!   24  last LSN:     u64
//!   32  time:         i64      of the log at the end, nanoseconds since 1970, not negative
//!   40  raw bytes:    u64      what the body unpacks to, at most 1 GiB
//!   48  reserved:     [u8; 12] zeros
//!   60  crc32c:       u32      of bytes 0..60
//!   64  body: one zstd frame with a content checksum, to the end of the file
//!
//! The body unpacks to the WAL segment up to the end of its records. First and last LSN, time and
//! raw bytes are also in the file's name.

#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::{Lsn, UnixNanos};

use crate::archive_dir::{ArchivedSegment, archived_name};
use crate::error::{Damage, WalError};
use crate::frame::Fields;
use crate::limits::{LSN_MAX, SEGMENT_BYTES_MAX};
use crate::segment::SEGMENT_HEADER_BYTES;

/// Length of an archive header.
pub(crate) const ARCHIVE_HEADER_BYTES: usize = 64;

/// The version that is written, and the newest that can be read.
pub(crate) const ARCHIVE_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"TIDEARC\n";
const CHECKED_BYTES: usize = ARCHIVE_HEADER_BYTES - 4;

/// What stands at the start of an archived segment.
///
/// Invariant: `1 <= first_lsn <= last_lsn`, `time` is not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArchiveHeader {
    pub(crate) body_crc: u32,
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    pub(crate) time: UnixNanos,
    pub(crate) raw_bytes: u64,
}

impl ArchiveHeader {
    pub(crate) fn encode(&self) -> [u8; ARCHIVE_HEADER_BYTES] {
        let mut bytes = [0; ARCHIVE_HEADER_BYTES];
        let head = u64::from(ARCHIVE_VERSION) | u64::from(self.body_crc) << 32;
        let fields = [
            MAGIC,
            head.to_le_bytes(),
            self.first_lsn.get().to_le_bytes(),
            self.last_lsn.get().to_le_bytes(),
            self.time.nanos().to_le_bytes(),
            self.raw_bytes.to_le_bytes(),
        ];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field);
        }
        let (checked, crc) = bytes.split_at_mut(CHECKED_BYTES);
        crc.copy_from_slice(&crc32c::crc32c(checked).to_le_bytes());
        bytes
    }

    /// The header at the start of `bytes`, of the file with this name.
    ///
    /// # Errors
    /// `Corrupt` if there is no valid one or it contradicts the name, `Version` if it is newer than
    /// this release.
    pub(crate) fn decode(bytes: &[u8], segment: &ArchivedSegment) -> Result<Self, WalError> {
        let file = &*segment.file;
        let damaged = || WalError::corrupt(file, 0, Damage::ArchiveHeader);
        let header = bytes.first_chunk::<ARCHIVE_HEADER_BYTES>().ok_or_else(damaged)?;
        let (checked, crc) = header.split_last_chunk::<4>().ok_or_else(damaged)?;
        if crc32c::crc32c(checked) != u32::from_le_bytes(*crc) {
            return Err(damaged());
        }
        let mut fields = Fields(checked.strip_prefix(&MAGIC).ok_or_else(damaged)?);
        let found = fields.u32().ok_or_else(damaged)?;
        if found > ARCHIVE_VERSION {
            let supported = ARCHIVE_VERSION;
            return Err(WalError::Version { file: file.into(), found, supported });
        }
        let header = Self::decode_fields(&mut fields).ok_or_else(damaged)?;
        if header.name() != file {
            return Err(WalError::corrupt(file, 0, Damage::SegmentName));
        }
        Ok(header)
    }

    pub(crate) fn name(&self) -> String {
        archived_name(self.first_lsn, self.last_lsn, self.time, self.raw_bytes)
    }

    fn decode_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let header = Self {
            body_crc: fields.u32()?,
            first_lsn: Lsn::new(fields.u64()?),
            last_lsn: Lsn::new(fields.u64()?),
            time: UnixNanos::new(i64::try_from(fields.u64()?).ok()?),
            raw_bytes: fields.u64()?,
        };
        let valid = (1..=header.last_lsn.get()).contains(&header.first_lsn.get())
            && header.last_lsn.get() <= LSN_MAX
            && (SEGMENT_HEADER_BYTES as u64..=SEGMENT_BYTES_MAX).contains(&header.raw_bytes);
        valid.then_some(header)
    }
}

#[cfg(test)]
#[path = "archive_file_tests.rs"]
mod tests;
