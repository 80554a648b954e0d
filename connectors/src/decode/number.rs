//! Numbers as text: decimal floats and integers, bit for bit what `str::parse::<f64>` gives.
//!
//! A mantissa of at most 2^53 with at most 22 fraction digits is exact as a float, as is the power
//! of ten, so that one division rounds correctly (Clinger, "How to read floating point numbers
//! accurately", 1990). Everything else goes to `fast_float2`.
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::limits::EXACT_INTEGER_MAX;

use crate::decode::line_errors::LineReason;
use crate::decode::scan::{digit_run, digits_value, eight_digits, load8};

/// Digits that fit into a `u64` whatever they are.
const EXACT_DIGITS_MAX: usize = 19;

const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

const POWERS_OF_TEN_U64: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// A value and the position after its last byte.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Parsed<T> {
    pub(crate) value: T,
    pub(crate) end: usize,
}

/// The number of a field: `-? digits (. digits)? ((e|E) (+|-)? digits)?`, or `-? digits i`, or `digits u`.
///
/// Does not look at what follows. Refuses what is not finite and integers beyond 2^53.
#[inline]
pub(crate) fn field_number(bytes: &[u8], start: usize) -> Result<Parsed<f64>, LineReason> {
    let negative = bytes.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let whole = digits(bytes, first, 0);
    if whole.end == first {
        return Err(not_a_number(bytes, start));
    }
    let (mantissa, fraction_digits) = match bytes.get(whole.end) {
        Some(b'.') => {
            let fraction = digits(bytes, whole.end + 1, whole.value);
            if fraction.end == whole.end + 1 {
                return Err(LineReason::InvalidValue);
            }
            (fraction, fraction.end - whole.end - 1)
        }
        Some(b'i' | b'u') => return integer(bytes, start, whole),
        _ => (whole, 0),
    };
    let plain = !matches!(bytes.get(mantissa.end), Some(b'e' | b'E'))
        && mantissa.value <= EXACT_INTEGER_MAX
        && mantissa.end - first <= EXACT_DIGITS_MAX;
    match POWERS_OF_TEN.get(fraction_digits) {
        Some(power) if plain => {
            let value = mantissa.value as f64 / power;
            Ok(Parsed { value: if negative { -value } else { value }, end: mantissa.end })
        }
        _ => general_float(bytes, start, mantissa.end),
    }
}

/// An integer that must fit into an `i64`: `-? digits`. `None` for no digits; `Some(None)` beyond the range.
#[inline]
pub(crate) fn signed(bytes: &[u8], start: usize) -> Option<Parsed<Option<i64>>> {
    let negative = bytes.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let magnitude = digits(bytes, first, 0);
    if magnitude.end == first {
        return None;
    }
    let value = if magnitude.end - first > EXACT_DIGITS_MAX {
        long_signed(bytes.get(start..magnitude.end).unwrap_or_default())
    } else if negative {
        0_i64.checked_sub_unsigned(magnitude.value)
    } else {
        i64::try_from(magnitude.value).ok()
    };
    Some(Parsed { value, end: magnitude.end })
}

/// More digits than a `u64` is sure to hold: out of range unless they begin with zeros.
#[cold]
fn long_signed(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `before` followed by the digits from `start` on, modulo 2^64.
#[inline]
fn digits(bytes: &[u8], start: usize, before: u64) -> Parsed<u64> {
    let mut value = before;
    let mut end = start;
    while let Some(chunk) = load8(bytes, end) {
        let run = digit_run(chunk);
        if run == 8 {
            value = value.wrapping_mul(100_000_000).wrapping_add(eight_digits(chunk));
            end += 8;
            continue;
        }
        let Some(power) = POWERS_OF_TEN_U64.get(run).filter(|_| run > 0) else {
            return Parsed { value, end };
        };
        value = value.wrapping_mul(*power).wrapping_add(digits_value(chunk, run));
        return Parsed { value, end: end + run };
    }
    while let Some(digit) = bytes.get(end).map(|byte| byte.wrapping_sub(b'0')).filter(|d| *d < 10) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        end += 1;
    }
    Parsed { value, end }
}

#[inline]
fn integer(bytes: &[u8], start: usize, whole: Parsed<u64>) -> Result<Parsed<f64>, LineReason> {
    let negative = bytes.get(start) == Some(&b'-');
    if negative && bytes.get(whole.end) == Some(&b'u') {
        return Err(LineReason::InvalidValue);
    }
    let text = bytes.get(start + usize::from(negative)..whole.end).unwrap_or_default();
    let leading_zeros = || text.iter().take_while(|byte| **byte == b'0').count();
    let fits = text.len() <= EXACT_DIGITS_MAX || text.len() - leading_zeros() <= EXACT_DIGITS_MAX;
    if !fits || whole.value > EXACT_INTEGER_MAX {
        return Err(LineReason::IntegerTooLarge);
    }
    // Integers have one zero: "-0i" is 0, not the float -0.0.
    let value = whole.value as f64;
    let value = if negative && whole.value != 0 { -value } else { value };
    Ok(Parsed { value, end: whole.end + 1 })
}

#[cold]
fn general_float(
    bytes: &[u8],
    start: usize,
    mantissa_end: usize,
) -> Result<Parsed<f64>, LineReason> {
    let mut end = mantissa_end;
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let signed = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
        let first = end + 1 + usize::from(signed);
        end = digits(bytes, first, 0).end;
        if end == first {
            return Err(LineReason::InvalidValue);
        }
    }
    let text = bytes.get(start..end).unwrap_or_default();
    match fast_float2::parse::<f64, _>(text) {
        Ok(value) if value.is_finite() => Ok(Parsed { value, end }),
        Ok(_) => Err(LineReason::NotFinite),
        Err(_) => Err(LineReason::InvalidValue),
    }
}

/// Why text without digits at its start is no number: the words for "not finite" have a reason of their own.
#[cold]
fn not_a_number(bytes: &[u8], start: usize) -> LineReason {
    let text = bytes.get(start..).unwrap_or_default();
    let word = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let begins = |name: &[u8]| word.get(..3).is_some_and(|head| head.eq_ignore_ascii_case(name));
    if begins(b"nan") || begins(b"inf") { LineReason::NotFinite } else { LineReason::InvalidValue }
}

#[cfg(test)]
#[path = "number_tests.rs"]
mod tests;
