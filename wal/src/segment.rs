//! One file of the log.
//!
//! segment header, at the file's start, all integers little-endian:
//!    0  magic:        [u8; 8]  "TIDEWAL\n"
//!    8  version:      u32      1; 2 where a frame states a gap
//!   12  reserved:     u32      0
//!   16  first LSN:    u64      of the first frame, also in the file's name
//!   24  epoch:        u64      not 0; changes with every use of the file
//!   32  file length:  u64      in bytes, when the file was put to use
//!   40  reserved:     [u8; 20] zeros
//!   60  crc32c:       u32      of bytes 0..60
//!   64  frames; after the last one zeros, or what an earlier use of the file left
//!
//! A header is synced before its file gets the name `wal-<first LSN, 20 digits>.log`, so a file of
//! that name always has one.

#![deny(clippy::indexing_slicing)]

use std::sync::Arc;

use tidewatch_metrics::Lsn;

use crate::error::{Damage, WalError};
use crate::frame::Fields;
use crate::limits::LSN_MAX;

/// Length of a segment header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;

/// The version of a file without gaps.
const FORMAT_VERSION: u32 = 1;

/// The version of a file with gaps, and the newest that can be read: releases that know no gaps
/// must refuse it.
const GAPS_VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"TIDEWAL\n";
const CHECKED_BYTES: usize = SEGMENT_HEADER_BYTES - 4;

/// One file of the log, as `wal ls` and SQL show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalSegmentInfo {
    /// The file's name in the log's directory.
    pub file: Arc<str>,
    /// The first LSN it can hold.
    pub first_lsn: Lsn,
    /// The last LSN it holds; one less than `first_lsn` if it is empty.
    pub last_lsn: Lsn,
    /// The file's length.
    pub bytes: u64,
    /// Whether it can still grow.
    pub state: SegmentState,
}

/// Whether a WAL segment takes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// Records are appended to it.
    Active,
    /// It is complete.
    Sealed,
}

/// What stands at the start of a WAL segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) first_lsn: Lsn,
    pub(crate) epoch: u64,
    pub(crate) file_bytes: u64,
    /// Whether frames of the file may state that records are missing.
    pub(crate) has_gaps: bool,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let version = u64::from(if self.has_gaps { GAPS_VERSION } else { FORMAT_VERSION });
        let fields = [
            MAGIC,
            version.to_le_bytes(),
            self.first_lsn.get().to_le_bytes(),
            self.epoch.to_le_bytes(),
            self.file_bytes.to_le_bytes(),
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
    /// `Corrupt` if there is no valid one, `Version` if it is newer than this release.
    pub(crate) fn decode(bytes: &[u8], file: &str) -> Result<Self, WalError> {
        let damaged = || WalError::corrupt(file, 0, Damage::SegmentHeader);
        let header = bytes.first_chunk::<SEGMENT_HEADER_BYTES>().ok_or_else(damaged)?;
        let (checked, crc) = header.split_last_chunk::<4>().ok_or_else(damaged)?;
        if crc32c::crc32c(checked) != u32::from_le_bytes(*crc) {
            return Err(damaged());
        }
        let fields = checked.strip_prefix(&MAGIC).ok_or_else(damaged)?;
        let mut fields = Fields(fields);
        let found = fields.u32().ok_or_else(damaged)?;
        if found > GAPS_VERSION {
            let supported = GAPS_VERSION;
            return Err(WalError::Version { file: file.into(), found, supported });
        }
        Self::decode_fields(&mut fields, found == GAPS_VERSION).ok_or_else(damaged)
    }

    fn decode_fields(fields: &mut Fields<'_>, has_gaps: bool) -> Option<Self> {
        fields.u32().filter(|&reserved| reserved == 0)?;
        let first_lsn = Lsn::new(fields.u64()?);
        let (epoch, file_bytes) = (fields.u64()?, fields.u64()?);
        let header = Self { first_lsn, epoch, file_bytes, has_gaps };
        let valid = (1..=LSN_MAX).contains(&first_lsn.get()) && header.epoch != 0;
        valid.then_some(header)
    }
}

/// The LSN before this one.
pub(crate) fn before(lsn: Lsn) -> Lsn {
    Lsn::new(lsn.get().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        first_lsn: Lsn::new(7),
        epoch: 0x0102,
        file_bytes: 1 << 20,
        has_gaps: false,
    };

    #[test]
    fn the_bytes_of_a_header_stand_as_documented() {
        let bytes = HEADER.encode();
        assert_eq!(bytes[0..8], *b"TIDEWAL\n");
        assert_eq!(bytes[8..16], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..24], [7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[24..32], [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[32..40], [0, 0, 16, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[40..60], [0; 20]);
        assert_eq!(bytes[60..64], crc32c::crc32c(&bytes[..60]).to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes, "f").unwrap(), HEADER);
    }

    #[test]
    fn a_file_with_gaps_is_of_a_version_that_former_releases_refuse() {
        let header = SegmentHeader { has_gaps: true, ..HEADER };
        assert_eq!(header.encode()[8..16], [2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(SegmentHeader::decode(&header.encode(), "f").unwrap(), header);
    }

    #[test]
    fn a_torn_or_flipped_header_is_damage() {
        let whole = HEADER.encode();
        for at in 0..SEGMENT_HEADER_BYTES {
            assert!(SegmentHeader::decode(&whole[..at], "f").is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut flipped = whole;
                flipped[at] ^= 1 << bit;
                let decoded = SegmentHeader::decode(&flipped, "f");
                assert!(
                    matches!(decoded, Err(WalError::Corrupt { offset: 0, .. })),
                    "bit {bit} of byte {at}: {decoded:?}"
                );
            }
        }
    }

    #[test]
    fn a_newer_version_is_refused_with_its_number() {
        let mut bytes = HEADER.encode();
        bytes[8] = 3;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        let refused = SegmentHeader::decode(&bytes, "wal-7.log").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "WAL segment wal-7.log has format version 3; this release reads up to 2"
        );
    }
}
