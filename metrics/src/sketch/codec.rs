//! A sketch as bytes.
//!
//! Format 1:
//! ```text
//! version    u8 = 1
//! excluded   varint: NaN and infinities
//! buckets    varint: number of those in use
//! and where that is not 0:
//! min, max   f64 LE, f64 LE
//! buckets    in ascending order, each: distance varint, count varint (at least 1)
//! ```
//!
//! A varint has 7 bits per byte, the lowest first, and the highest bit of each byte but the last set. A
//! distance is that to the index before, less 1; the first bucket's is the index itself, zigzag coded (0, -1, 1, -2, ...
//! become 0, 1, 2, 3, ...). Equal sketches have equal bytes.

#![deny(clippy::indexing_slicing)]

use crate::sketch::Sketch;
use crate::sketch::bucket::{BUCKETS_MAX, Bucket};

/// Version of the bytes.
pub const SKETCH_FORMAT: u8 = 1;
/// Bytes that a bucket takes at least.
const BUCKET_BYTES_MIN: usize = 2;

impl Sketch {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.buckets.len() * 3);
        out.push(SKETCH_FORMAT);
        put_varint(&mut out, self.excluded);
        put_varint(&mut out, self.buckets.len() as u64);
        if !self.buckets.is_empty() {
            out.extend_from_slice(&self.min.to_le_bytes());
            out.extend_from_slice(&self.max.to_le_bytes());
        }
        let mut before: Option<i64> = None;
        for (bucket, count) in &self.buckets {
            let index = i64::from(bucket.index());
            let distance = match before {
                None => ((index << 1) ^ (index >> 63)).cast_unsigned(),
                Some(before) => (index - before - 1).cast_unsigned(),
            };
            put_varint(&mut out, distance);
            put_varint(&mut out, *count);
            before = Some(index);
        }
        out
    }

    /// The sketch of these bytes; `None` where they are those of no sketch.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = bytes;
        let [version] = take::<1>(&mut bytes)?;
        if version != SKETCH_FORMAT {
            return None;
        }
        let excluded = take_varint(&mut bytes)?;
        let buckets = usize::try_from(take_varint(&mut bytes)?).ok()?;
        let mut sketch = Self { excluded, ..Self::default() };
        if buckets > 0 {
            sketch.min = f64::from_le_bytes(take(&mut bytes)?);
            sketch.max = f64::from_le_bytes(take(&mut bytes)?);
            sketch.take_buckets(buckets, &mut bytes)?;
        }
        bytes.is_empty().then_some(sketch)
    }

    fn take_buckets(&mut self, buckets: usize, bytes: &mut &[u8]) -> Option<()> {
        if buckets > BUCKETS_MAX.min(bytes.len() / BUCKET_BYTES_MIN) {
            return None;
        }
        self.buckets.reserve_exact(buckets);
        let mut before: Option<i64> = None;
        for _ in 0..buckets {
            let distance = take_varint(bytes)?;
            let index = match before {
                None => (distance >> 1).cast_signed() ^ -(distance & 1).cast_signed(),
                Some(before) => {
                    before.checked_add(i64::try_from(distance).ok()?)?.checked_add(1)?
                }
            };
            let count = take_varint(bytes).filter(|count| *count > 0)?;
            self.buckets.push((Bucket::from_index(index)?, count));
            self.count = self.count.checked_add(count)?;
            before = Some(index);
        }
        let ends = self.buckets.first().zip(self.buckets.last());
        let ((first, _), (last, _)) = ends?;
        let plain = |end: f64| end.is_finite() && (end != 0.0 || end.is_sign_positive());
        let fit = plain(self.min) && plain(self.max) && self.min <= self.max;
        (fit && Bucket::of(self.min) == *first && Bucket::of(self.max) == *last).then_some(())
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn put_varint(out: &mut Vec<u8>, value: u64) {
    let mut rest = value;
    loop {
        let [low, ..] = (rest & 0x7f).to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Takes a varint; one that is longer than it need be is none.
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let [byte] = take::<1>(bytes)?;
        let low = u64::from(byte & 0x7f);
        if low.leading_zeros() < shift {
            return None;
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            return (byte != 0 || shift == 0).then_some(value);
        }
    }
    None
}
