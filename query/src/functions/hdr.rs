//! Histograms in the format V2 of HdrHistogram, deflated, as its logs and tools have them.
//!
//! ```text
//! cookie     u32 BE = 0x1c849314
//! length     u32 BE   of the rest, a zlib stream of:
//!   cookie     u32 BE = 0x1c849313
//!   length     u32 BE   of counts
//!   offset     i32 BE = 0    normalizing index offset
//!   digits     i32 BE = 3    significant value digits
//!   lowest     i64 BE = 1    lowest discernible value
//!   highest    i64 BE        highest trackable value
//!   ratio      f64 BE = 1    integer to double conversion
//!   counts     a varint each, zigzag coded: how many values the next place has, or,
//!              negative, of how many places in a row nothing was counted
//! ```
//!
//! A varint has 7 bits per byte, the lowest first, and the highest bit of each byte but the last set; a ninth byte
//! has 8 bits. With 3 digits, values below 2,048 have a place each, and those of every further power of two share 1,024.
//!
//! Source: HdrHistogram's `AbstractHistogram.encodeIntoByteBuffer`, version 2.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// The greatest value that is exported: beyond it, neighbours of `f64` are further apart than 1.
pub(crate) const VALUE_MAX: u64 = 1 << 53;

const COOKIE: u32 = 0x1c84_9313;
const COOKIE_DEFLATED: u32 = 0x1c84_9314;
const DIGITS: u32 = 3;
/// Bits of a value that tell places apart: 2,048 are enough for three digits.
const SUB_BITS: u32 = 11;
const HALF: usize = 1 << (SUB_BITS - 1);

/// The bytes of a histogram of `(value, count)` in ascending order of the values.
///
/// Values are at most [`VALUE_MAX`]; `None` where a place has more than 2^63 - 1 of them.
pub(crate) fn deflated(counts: &[(u64, u64)]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    put_u32(&mut out, COOKIE_DEFLATED);
    put_u32(&mut out, 0);
    let plain = plain(counts)?;
    let mut encoder = ZlibEncoder::new(&mut out, Compression::default());
    let written = encoder.write_all(&plain).and_then(|()| encoder.finish().map(|_| ()));
    written.expect("memory takes all bytes");
    let length = out.len() - 8;
    put_length(&mut out, length);
    Some(out)
}

/// The same before it is deflated.
fn plain(counts: &[(u64, u64)]) -> Option<Vec<u8>> {
    let highest = counts.last().map_or(0, |(value, _)| *value);
    let mut out = Vec::new();
    put_u32(&mut out, COOKIE);
    put_u32(&mut out, 0);
    put_u32(&mut out, 0);
    put_u32(&mut out, DIGITS);
    put_u64(&mut out, 1);
    // The format asks for twice the lowest value at least.
    put_u64(&mut out, highest.max(2));
    put_u64(&mut out, 1.0_f64.to_bits());
    let header = out.len();
    let mut places = Places::default();
    for (value, count) in counts {
        places.add(place(*value), *count, &mut out);
    }
    places.finish(&mut out)?;
    let length = out.len() - header;
    put_length(&mut out, length);
    Some(out)
}

/// Places as they are put out.
#[derive(Debug, Default)]
struct Places {
    /// The place after the last one that was put out.
    next: usize,
    /// The place at work and its count.
    open: Option<(usize, u64)>,
    has_too_many: bool,
}

impl Places {
    fn add(&mut self, place: usize, count: u64, out: &mut Vec<u8>) {
        match &mut self.open {
            Some((open, sum)) if *open == place => *sum = sum.saturating_add(count),
            _ => {
                self.put(out);
                self.open = Some((place, count));
            }
        }
    }

    fn put(&mut self, out: &mut Vec<u8>) {
        let Some((place, count)) = self.open.take() else { return };
        let gap = i64::try_from(place - self.next).expect("there are few places");
        if gap > 0 {
            put_varint(out, -gap);
        }
        match i64::try_from(count) {
            Ok(count) => put_varint(out, count),
            Err(_) => self.has_too_many = true,
        }
        self.next = place + 1;
    }

    fn finish(mut self, out: &mut Vec<u8>) -> Option<()> {
        self.put(out);
        (!self.has_too_many).then_some(())
    }
}

/// The place of a value among the counts.
fn place(value: u64) -> usize {
    let significant = u64::BITS - (value | ((1 << SUB_BITS) - 1)).leading_zeros();
    let octave = significant - SUB_BITS;
    let sub = usize::try_from(value >> octave).expect("eleven bits are left");
    (octave as usize * HALF) + sub
}

fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    for _ in 0..8 {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
    let [last, ..] = rest.to_le_bytes();
    out.push(last);
}

#[expect(clippy::big_endian_bytes, reason = "the order of the format")]
fn be(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&be(number));
}

#[expect(clippy::big_endian_bytes, reason = "the order of the format")]
fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// Puts a length behind the cookie.
fn put_length(out: &mut [u8], length: usize) {
    let length = u32::try_from(length).expect("there are fewer than 60,000 places");
    out[4..8].copy_from_slice(&be(length));
}

#[cfg(test)]
#[path = "hdr_tests.rs"]
mod tests;
