//! Looking at eight or sixteen bytes at once, in safe code without intrinsics.
//!
//! Where eight bytes are flagged in the top bits of their lanes of a `u64`, a carry can only reach lanes above
//! a flagged one, so that the lowest flag, the only one used, is always exact.
#![deny(clippy::indexing_slicing)]

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The eight bytes at `start`, the first one lowest; `None` near the end.
#[inline]
pub(crate) fn load8(bytes: &[u8], start: usize) -> Option<u64> {
    bytes.get(start..)?.first_chunk::<8>().map(|chunk| u64::from_le_bytes(*chunk))
}

/// The first position from `start` whose byte ends or interrupts a name; the length if there is none.
///
/// Interrupting are space, comma, backslash and control bytes, and `=` if `STOP_AT_EQUALS`.
#[inline]
pub(crate) fn name_end<const STOP_AT_EQUALS: bool>(bytes: &[u8], start: usize) -> usize {
    first_stop(bytes, start, name_stop::<STOP_AT_EQUALS>)
}

/// The first position from `start` whose byte `stop` gives 1 for, and not 0; the length if there is none.
#[inline(always)]
pub(crate) fn first_stop(bytes: &[u8], start: usize, stop: impl Fn(u8) -> u8) -> usize {
    let mut pos = start;
    while let Some(chunk) = bytes.get(pos..).and_then(<[u8]>::first_chunk::<16>) {
        let mut stops = [0; 16];
        for (flag, byte) in stops.iter_mut().zip(chunk) {
            *flag = stop(*byte);
        }
        let stops = u128::from_le_bytes(stops);
        if stops != 0 {
            return pos + (stops.trailing_zeros() / 8) as usize;
        }
        pos += 16;
    }
    let tail = bytes.get(pos..).unwrap_or_default();
    tail.iter().position(|byte| stop(*byte) != 0).map_or(bytes.len(), |offset| pos + offset)
}

/// 1 for a byte that ends or interrupts a name, else 0.
///
/// Written as differences and minima, which the compiler turns into a few vector instructions for
/// sixteen bytes; comparisons it does not.
#[inline]
fn name_stop<const STOP_AT_EQUALS: bool>(byte: u8) -> u8 {
    let mut away = (byte ^ b',').min(byte ^ b'\\').min(byte ^ 0x7f).min(byte.saturating_sub(b' '));
    if STOP_AT_EQUALS {
        away = away.min(byte ^ b'=');
    }
    1_u8.saturating_sub(away)
}

/// How many of the eight bytes, from the first on, are decimal digits.
#[inline]
pub(crate) fn digit_run(chunk: u64) -> usize {
    let values = chunk ^ (ONES * 0x30);
    lane((values.wrapping_add(ONES * 0x76) | values) & HIGHS)
}

/// The number that the first `digits` (1 to 8) bytes of the chunk write.
#[inline]
pub(crate) fn digits_value(chunk: u64, digits: usize) -> u64 {
    // The missing leading digits are shifted in as zeros.
    value_of_lanes((chunk ^ (ONES * 0x30)) << (64 - 8 * digits))
}

/// The number that eight digits write.
#[inline]
pub(crate) fn eight_digits(chunk: u64) -> u64 {
    value_of_lanes(chunk ^ (ONES * 0x30))
}

/// Source: Lemire, "Quickly parsing eight digits" (2022): pairs, then fours, then eight.
#[inline]
fn value_of_lanes(values: u64) -> u64 {
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let low = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let high = ((pairs >> 16) & PAIRS).wrapping_mul(1 + (10_000 << 32));
    low.wrapping_add(high) >> 32
}

/// The lowest flagged lane; 8 if there is none.
#[inline]
const fn lane(flags: u64) -> usize {
    (flags.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive_end(bytes: &[u8], start: usize, equals: bool) -> usize {
        let stops = |b: &u8| b.is_ascii_control() || b" ,\\".contains(b) || (equals && *b == b'=');
        bytes[start..].iter().position(stops).map_or(bytes.len(), |n| start + n)
    }

    proptest! {
        #[test]
        fn many_bytes_at_once_find_what_one_by_one_finds(
            bytes in proptest::collection::vec(
                prop_oneof![4 => 0x21_u8..0x7f, 1 => any::<u8>()], 0..60),
            start in 0_usize..20,
        ) {
            let start = start.min(bytes.len());
            prop_assert_eq!(name_end::<true>(&bytes, start), naive_end(&bytes, start, true));
            prop_assert_eq!(name_end::<false>(&bytes, start), naive_end(&bytes, start, false));
        }

        #[test]
        fn digits_are_counted_and_valued(number in 0_u64..100_000_000, tail in any::<[u8; 8]>()) {
            let text = number.to_string();
            let mut bytes = text.clone().into_bytes();
            bytes.extend_from_slice(&tail);
            let chunk = load8(&bytes, 0).expect("eight bytes at least");
            let expected = bytes.iter().take(8).take_while(|b| b.is_ascii_digit()).count();
            prop_assert_eq!(digit_run(chunk), expected);
            prop_assert_eq!(digits_value(chunk, text.len()), number);
            let eight = load8(format!("{number:08}").as_bytes(), 0).expect("eight bytes");
            prop_assert_eq!(eight_digits(eight), number);
        }
    }
}
