//! What stands somewhere in a record.
#![deny(clippy::indexing_slicing)]

use std::io::Write as _;

use tidewatch_metrics::EventTime;

use crate::decode::item_errors::ItemReason;
use crate::decode::json::{time_of_number, time_of_text};
use crate::decode::line_batch::Span;
use crate::decode::precision::Precision;

/// Bytes of an unscaled decimal that is read: 38 digits.
const DECIMAL_BYTES_MAX: usize = 16;
/// Digits behind the point of a decimal that is read.
const DECIMAL_SCALE_MAX: u32 = 64;

/// A value, or where it stands in the message.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Found {
    /// Nothing, or null.
    #[default]
    Nothing,
    /// A text; nobody has asked yet whether it is UTF-8.
    Text(Span),
    /// A symbol of an enumeration of the schema.
    Symbol { of: u32, index: u32 },
    /// A whole number.
    Signed(i64),
    /// One without a sign.
    Unsigned(u64),
    /// A number.
    Double(f64),
    /// One of 32 bits.
    Single(f32),
    /// True or false.
    Flag(bool),
    /// A time, which says its unit itself.
    Time(EventTime),
    /// A time beyond the range of nanoseconds.
    TimeBeyond,
    /// A decimal: a whole number, big-endian, with so many digits behind the point.
    Decimal { whole: Span, scale: u32 },
    /// A record or a map of the schema.
    Members { of: u32, within: Span },
    /// The entries of a field of a message that is a map.
    Entries { of: u32, field: u32, within: Span },
    /// Something that is neither a scalar nor has members.
    Other,
}

impl Found {
    /// It as the value of a sample.
    pub(crate) fn value(self, bytes: &[u8]) -> Result<f64, ItemReason> {
        #[expect(clippy::cast_precision_loss, reason = "values are rounded to 64 bits of float")]
        let value = match self {
            Self::Signed(number) => number as f64,
            Self::Unsigned(number) => number as f64,
            Self::Double(number) => number,
            Self::Single(number) => f64::from(number),
            Self::Decimal { whole, scale } => {
                let text = decimal(whole.of(bytes), scale).ok_or(ItemReason::ValueNotNumber)?;
                fast_float2::parse(text).map_err(|_error| ItemReason::ValueNotNumber)?
            }
            _ => return Err(ItemReason::ValueNotNumber),
        };
        if value.is_finite() { Ok(value) } else { Err(ItemReason::NotFinite) }
    }

    /// It as the time of a sample; `unit` is that of numbers which do not say theirs.
    pub(crate) fn time(
        self,
        bytes: &[u8],
        unit: Precision,
        scratch: &mut Vec<u8>,
    ) -> Result<EventTime, ItemReason> {
        match self {
            Self::Time(time) => Ok(time),
            Self::TimeBeyond => Err(ItemReason::TimeOutOfRange),
            Self::Text(text) => time_of_text(text.of(bytes)),
            Self::Signed(number) => unit.of(number).scale(number).ok_or(ItemReason::TimeOutOfRange),
            Self::Unsigned(_) | Self::Double(_) | Self::Single(_) | Self::Decimal { .. } => {
                scratch.clear();
                self.print(bytes, scratch).ok_or(ItemReason::InvalidTime)?;
                time_of_number(scratch, 0, scratch.len(), unit)
            }
            _ => Err(ItemReason::InvalidTime),
        }
    }

    /// Prints a number, a flag or a time; `None` for everything else.
    pub(crate) fn print(self, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let printed = match self {
            Self::Signed(number) => write!(out, "{number}"),
            Self::Unsigned(number) => write!(out, "{number}"),
            Self::Double(number) => write!(out, "{number}"),
            Self::Single(number) => write!(out, "{number}"),
            Self::Flag(flag) => write!(out, "{flag}"),
            Self::Time(time) => write!(out, "{}", time.nanos()),
            Self::Decimal { whole, scale } => {
                out.write_all(decimal(whole.of(bytes), scale)?.as_bytes())
            }
            _ => return None,
        };
        printed.expect("a vector takes all bytes");
        Some(())
    }
}

/// A decimal with its point; `None` where it has more digits than are read.
fn decimal(whole: &[u8], scale: u32) -> Option<String> {
    let scale = usize::try_from(scale).ok().filter(|_| scale <= DECIMAL_SCALE_MAX)?;
    let sign = if whole.first().is_some_and(|first| first & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; DECIMAL_BYTES_MAX];
    let start = DECIMAL_BYTES_MAX.checked_sub(whole.len())?;
    wide.get_mut(start..)?.copy_from_slice(whole);
    // Avro writes decimals in this order.
    let number = wide.iter().fold(0_i128, |number, byte| (number << 8) | i128::from(*byte));
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
    let (before, behind) = digits.split_at_checked(digits.len() - scale)?;
    let minus = if number < 0 { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    Some(format!("{minus}{before}{point}{behind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_whole_numbers_with_a_point() {
        for (whole, scale, text) in [
            (&[][..], 0, "0"),
            (&[0x7b], 0, "123"),
            (&[0x7b], 2, "1.23"),
            (&[0x7b], 5, "0.00123"),
            (&[0x85], 1, "-12.3"),
            (&[0xff, 0x38], 2, "-2.00"),
            (&[0x80, 0, 0, 0, 0, 0, 0, 0, 0], 0, "-2361183241434822606848"),
        ] {
            assert_eq!(decimal(whole, scale).unwrap(), text, "{whole:?} {scale}");
        }
        assert_eq!(decimal(&[0; 17], 0), None);
        assert_eq!(decimal(&[1], 65), None);
    }

    #[test]
    fn times_are_taken_as_json_takes_them_unless_they_say_their_unit() {
        let seconds = 1_700_000_000_i64;
        let time = |found: Found, unit| {
            found.time(b"2023-11-14T22:13:20.25Z", unit, &mut Vec::new()).map(EventTime::nanos)
        };
        let whole = seconds * 1_000_000_000;
        assert_eq!(time(Found::Signed(seconds), Precision::Auto), Ok(whole));
        assert_eq!(time(Found::Signed(seconds * 1_000), Precision::Auto), Ok(whole));
        assert_eq!(time(Found::Unsigned(1_700), Precision::Milliseconds), Ok(1_700_000_000));
        assert_eq!(time(Found::Double(1_700_000_000.25), Precision::Auto), Ok(whole + 250_000_000));
        let text = Found::Text(Span::between(0, 23));
        assert_eq!(time(text, Precision::Seconds), Ok(whole + 250_000_000));
        let own = Found::Time(EventTime::new(7));
        assert_eq!(time(own, Precision::Seconds), Ok(7));
        for bad in [Found::Double(f64::NAN), Found::Double(f64::INFINITY), Found::Flag(true)] {
            assert_eq!(time(bad, Precision::Auto), Err(ItemReason::InvalidTime), "{bad:?}");
        }
        let far = Found::Unsigned(u64::MAX);
        assert_eq!(time(far, Precision::Auto), Err(ItemReason::TimeOutOfRange));
    }
}
