//! Times and values of JSON samples.
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::EventTime;

use crate::decode::item_errors::ItemReason;
use crate::decode::json::grammar::{Syntax, has_leading_zero, number_end, skip_value};
use crate::decode::number::{field_number, signed};
use crate::decode::precision::Precision;
use crate::decode::time::{TimeFault, parse_date_time};

/// The value at `at` and the position behind it.
#[inline]
pub(super) fn value(
    bytes: &[u8],
    at: usize,
    depth: usize,
) -> Result<(Result<f64, ItemReason>, usize), Syntax> {
    match bytes.get(at) {
        Some(b'0'..=b'9' | b'-') => {}
        Some(b'n') => return Ok((Err(ItemReason::MissingValue), skip_value(bytes, at, depth)?)),
        _ => return Ok((Err(ItemReason::ValueNotNumber), skip_value(bytes, at, depth)?)),
    }
    let first = at + usize::from(bytes.get(at) == Some(&b'-'));
    if let Ok(number) = field_number(bytes, at) {
        // A field of line protocol may end with the mark of an integer.
        let is_plain = number.end.checked_sub(1).and_then(|last| bytes.get(last));
        if is_plain.is_some_and(u8::is_ascii_digit) && !has_leading_zero(bytes, first) {
            return Ok((Ok(number.value), number.end));
        }
    }
    let end = number_end(bytes, at)?;
    let text = bytes.get(at..end).unwrap_or_default();
    match fast_float2::parse::<f64, _>(text) {
        Ok(number) if number.is_finite() => Ok((Ok(number), end)),
        _ => Ok((Err(ItemReason::NotFinite), end)),
    }
}

/// The time that a date with its time names.
pub(crate) fn time_of_text(text: &[u8]) -> Result<EventTime, ItemReason> {
    parse_date_time(text).map_err(|fault| match fault {
        TimeFault::Invalid => ItemReason::InvalidTime,
        TimeFault::OutOfRange => ItemReason::TimeOutOfRange,
    })
}

/// The time that the number at `start..end` is: with [`Precision::Auto`] its unit is told by the magnitude of its
/// whole part.
///
/// A fraction is of that unit, exact and cut off at nanoseconds. Exponents are refused: nobody writes times so.
#[inline]
pub(crate) fn time_of_number(
    bytes: &[u8],
    start: usize,
    end: usize,
    unit: Precision,
) -> Result<EventTime, ItemReason> {
    let whole = signed(bytes, start).ok_or(ItemReason::InvalidTime)?;
    let number = whole.value.ok_or(ItemReason::TimeOutOfRange)?;
    let unit = unit.of(number);
    let time = unit.scale(number).ok_or(ItemReason::TimeOutOfRange)?;
    if whole.end == end {
        return Ok(time);
    }
    let fraction = bytes.get(whole.end + 1..end).unwrap_or_default();
    if bytes.get(whole.end) != Some(&b'.') || !fraction.iter().all(u8::is_ascii_digit) {
        return Err(ItemReason::InvalidTime);
    }
    let padded = fraction.iter().copied().chain(std::iter::repeat(b'0'));
    let digits = padded.take(unit.fraction_digits());
    let nanos = digits.fold(0, |nanos, digit| nanos * 10 + i64::from(digit - b'0'));
    let is_negative = bytes.get(start) == Some(&b'-');
    let nanos = time.nanos().checked_add(if is_negative { -nanos } else { nanos });
    let nanos = nanos.filter(|nanos| *nanos > EventTime::MIN.nanos());
    nanos.map(EventTime::new).ok_or(ItemReason::TimeOutOfRange)
}
