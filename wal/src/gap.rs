//! Records that are missing, and the frame that says so.
//!
//! A gap is a frame of the log's own, of kind 2, in a file of version 2. Its LSN is that of the first
//! missing record, its payload that of the last one, u64 little-endian; the frame behind it has the
//! LSN after that.

#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::Lsn;

use crate::frame::{FrameHeader, payload_crc};
use crate::limits::{KIND_GAP, LSN_MAX};

const GAP_PAYLOAD_BYTES: u32 = 8;

/// Records that are missing from the log.
///
/// Invariant: `from` is at least 1, and `to` at least `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// The first one.
    pub from: Lsn,
    /// The last one.
    pub to: Lsn,
}

impl Gap {
    /// How many records.
    #[must_use]
    pub fn records(&self) -> u64 {
        (self.to.get() + 1).saturating_sub(self.from.get())
    }
}

/// The whole frame that states a gap.
pub(crate) fn encode_gap(gap: Gap, epoch: u64) -> Vec<u8> {
    let Gap { from, to } = gap;
    assert!(from <= to, "a gap has a record");
    let payload = to.get().to_le_bytes();
    let header = FrameHeader {
        payload_bytes: GAP_PAYLOAD_BYTES,
        payload_crc: payload_crc(&[&payload]),
        lsn: from,
        previous_synced: Lsn::ZERO,
        epoch,
        kind: KIND_GAP,
    };
    [&header.encode()[..], &payload].concat()
}

/// The last missing record, as the payload of a gap at `from` tells it.
pub(crate) fn decode_gap(from: Lsn, payload: &[u8]) -> Option<Lsn> {
    let to = Lsn::new(u64::from_le_bytes(payload.try_into().ok()?));
    (from <= to && to.get() <= LSN_MAX).then_some(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_gap_stand_as_documented() {
        let gap = Gap { from: Lsn::new(7), to: Lsn::new(300) };
        let bytes = encode_gap(gap, 5);
        assert_eq!((bytes.len(), bytes[32]), (48, 2));
        assert_eq!(bytes[40..48], [44, 1, 0, 0, 0, 0, 0, 0]);
        let header = FrameHeader::decode(&bytes).unwrap();
        assert_eq!((header.lsn, header.frame_bytes(), header.epoch), (gap.from, 48, 5));
        assert_eq!(decode_gap(gap.from, &bytes[40..]), Some(gap.to));
        assert_eq!(gap.records(), 294);
    }

    #[test]
    fn a_gap_that_ends_before_it_begins_or_has_another_length_is_none() {
        for payload in [&[6, 0, 0, 0, 0, 0, 0, 0][..], &[7, 0, 0, 0], &[0xff; 8], &[7; 9]] {
            assert_eq!(decode_gap(Lsn::new(7), payload), None, "{payload:?}");
        }
    }
}
