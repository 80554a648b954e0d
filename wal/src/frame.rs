//! One record in a file of the log.
//!
//! frame, at a multiple of 8 bytes, all integers little-endian:
//!    0  payload length:      u32   in bytes, without the padding
//!    4  payload crc32c:      u32
//!    8  LSN:                 u64   one more than the frame before
//!   16  previous synced LSN: u64   the durable LSN when this frame was appended; less than the LSN
//!   24  epoch:               u64   as in the segment's header
//!   32  kind:                u8    0..16 the log's own (1 = mark, 2 = gap), 16.. the callers'
//!   33  reserved:            [u8; 3] zeros
//!   36  header crc32c:       u32   of bytes 0..36
//!   40  payload, then zeros to the next multiple of 8
//!
//! A gap stands for the records from its LSN to the one in its payload, u64, which are missing; the
//! frame behind it has the LSN after that one.

#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::Lsn;

use crate::limits::LSN_MAX;

/// Length of a frame header.
pub(crate) const FRAME_HEADER_BYTES: usize = 40;

/// Frames and their payloads start at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;

/// Where in a frame header the epoch stands.
pub(crate) const EPOCH_OFFSET: usize = 24;

/// Where in a frame header the LSN stands.
pub(crate) const LSN_OFFSET: usize = 8;

const CHECKED_BYTES: usize = FRAME_HEADER_BYTES - 4;

/// What stands before a payload.
///
/// Invariant: `previous_synced < lsn`, and `lsn` is at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) payload_bytes: u32,
    pub(crate) payload_crc: u32,
    pub(crate) lsn: Lsn,
    pub(crate) previous_synced: Lsn,
    pub(crate) epoch: u64,
    pub(crate) kind: u8,
}

impl FrameHeader {
    pub(crate) fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        assert!(self.previous_synced < self.lsn, "a record is durable after it was appended");
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let kind = u32::from(self.kind);
        let fields = [
            self.payload_bytes.to_le_bytes(),
            self.payload_crc.to_le_bytes(),
            low(self.lsn.get()),
            high(self.lsn.get()),
            low(self.previous_synced.get()),
            high(self.previous_synced.get()),
            low(self.epoch),
            high(self.epoch),
            kind.to_le_bytes(),
        ];
        for (place, field) in bytes.chunks_exact_mut(4).zip(fields) {
            place.copy_from_slice(&field);
        }
        let (checked, crc) = bytes.split_at_mut(CHECKED_BYTES);
        crc.copy_from_slice(&crc32c::crc32c(checked).to_le_bytes());
        bytes
    }

    /// The header at the start of `bytes`; `None` if there is no valid one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, _) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>()?;
        let (checked, crc) = header.split_last_chunk::<4>()?;
        let mut fields = Fields(checked);
        let decoded = Self {
            payload_bytes: fields.u32()?,
            payload_crc: fields.u32()?,
            lsn: Lsn::new(fields.u64()?),
            previous_synced: Lsn::new(fields.u64()?),
            epoch: fields.u64()?,
            kind: u8::try_from(fields.u32()?).ok()?,
        };
        let valid = crc32c::crc32c(checked) == u32::from_le_bytes(*crc)
            && decoded.lsn.get() <= LSN_MAX
            && decoded.previous_synced < decoded.lsn;
        valid.then_some(decoded)
    }

    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> u64 {
        frame_bytes(u64::from(self.payload_bytes))
    }
}

/// Takes little-endian integers from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn u32(&mut self) -> Option<u32> {
        let (field, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*field))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        let (field, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*field))
    }
}

/// Bytes of a frame with a payload of this length: the next multiple of 8.
pub(crate) fn frame_bytes(payload_bytes: u64) -> u64 {
    (FRAME_HEADER_BYTES as u64 + payload_bytes).next_multiple_of(ALIGNMENT as u64)
}

/// The checksum of a payload that lies in parts.
///
/// Whoever builds a payload can compute this on its own thread and spare the committer the pass.
#[must_use]
pub fn payload_crc(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

fn low(number: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = number.to_le_bytes();
    [a, b, c, d]
}

fn high(number: u64) -> [u8; 4] {
    let [.., a, b, c, d] = number.to_le_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            payload_bytes: 5,
            payload_crc: payload_crc(&[b"ti", b"de!"]),
            lsn: Lsn::new(0x0102_0304_0506_0708),
            previous_synced: Lsn::new(9),
            epoch: 0x1112_1314_1516_1718,
            kind: 16,
        }
    }

    #[test]
    fn the_bytes_of_a_header_stand_as_documented() {
        let bytes = header().encode();
        assert_eq!(bytes[0..4], [5, 0, 0, 0]);
        assert_eq!(bytes[4..8], crc32c::crc32c(b"tide!").to_le_bytes());
        assert_eq!(bytes[8..16], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[16..24], [9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[24..32], [0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11]);
        assert_eq!(bytes[32..36], [16, 0, 0, 0]);
        assert_eq!(bytes[36..40], crc32c::crc32c(&bytes[..36]).to_le_bytes());
    }

    #[test]
    fn a_torn_header_is_no_header() {
        let bytes = header().encode();
        assert_eq!(FrameHeader::decode(&bytes), Some(header()));
        for cut in 0..FRAME_HEADER_BYTES {
            assert_eq!(FrameHeader::decode(&bytes[..cut]), None, "cut at {cut}");
            let mut torn = [0; FRAME_HEADER_BYTES];
            torn[..cut].copy_from_slice(&bytes[..cut]);
            assert_eq!(FrameHeader::decode(&torn), None, "zeros from {cut}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            let mut bytes = header().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&bytes), None, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            payload_bytes: u32, payload_crc: u32, lsn in 1..=LSN_MAX, back in 1..=LSN_MAX,
            epoch: u64, kind: u8,
        ) {
            let previous_synced = Lsn::new(lsn.saturating_sub(back));
            let lsn = Lsn::new(lsn);
            let header =
                FrameHeader { payload_bytes, payload_crc, lsn, previous_synced, epoch, kind };
            prop_assert_eq!(FrameHeader::decode(&header.encode()), Some(header));
            prop_assert_eq!(header.frame_bytes() % 8, 0);
        }

        #[test]
        fn any_bytes_can_be_decoded_without_a_panic(bytes: Vec<u8>) {
            prop_assert_eq!(FrameHeader::decode(&bytes), None);
        }
    }
}
