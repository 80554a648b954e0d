//! Dates and times as text: RFC 3339, and the same with a space and without a zone (then UTC).
//!
//! ```text
//! YYYY-MM-DD ("T" | "t" | " ") HH:MM:SS [ "." digits ] [ "Z" | "z" | ("+"|"-") HH ":" MM ]
//! ```
//!
//! Proleptic Gregorian calendar. Fraction digits beyond nanoseconds are checked and cut off. There is no
//! second 60: Unix time has no place for it.
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::EventTime;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const FRACTION_DIGITS: usize = 9;

/// Why text is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeFault {
    /// It is not written like a time, or names a day or hour that does not exist.
    #[error("not a valid time")]
    Invalid,
    /// It lies outside of what 64 bits of nanoseconds can hold: 1677-09-21 to 2262-04-11.
    #[error("time beyond the range of nanoseconds")]
    OutOfRange,
}

/// The time that `text` names.
///
/// # Errors
/// Says whether the text or its range is at fault.
pub fn parse_date_time(text: &[u8]) -> Result<EventTime, TimeFault> {
    let mut rest = text;
    let fields = date_time(&mut rest).ok_or(TimeFault::Invalid)?;
    let nanos = fraction(&mut rest).ok_or(TimeFault::Invalid)?;
    let offset_seconds = zone(rest).ok_or(TimeFault::Invalid)?;
    let seconds = fields - offset_seconds;
    let nanos = i128::from(seconds) * NANOS_PER_SECOND + i128::from(nanos);
    match i64::try_from(nanos) {
        Ok(nanos) if nanos > EventTime::MIN.nanos() => Ok(EventTime::new(nanos)),
        _ => Err(TimeFault::OutOfRange),
    }
}

/// Days from 1970-01-01 to this day; `None` for a day that does not exist.
///
/// Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013), `days_from_civil`: years begin in March,
/// so that the leap day comes last, and are counted in eras of 400 years, which have 146,097 days.
#[must_use]
pub fn days_from_civil(year: u16, month: u8, day: u8) -> Option<i64> {
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    let (month, day) = (i64::from(month), i64::from(day));
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

const fn days_in_month(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Seconds since the epoch of the date and the time of day, as if in UTC.
fn date_time(rest: &mut &[u8]) -> Option<i64> {
    let century = two_digits(rest)?;
    let year = u16::from(century) * 100 + u16::from(two_digits(rest)?);
    byte(rest, b"-")?;
    let month = two_digits(rest)?;
    byte(rest, b"-")?;
    let day = two_digits(rest)?;
    byte(rest, b"Tt ")?;
    let hour = two_digits(rest)?;
    byte(rest, b":")?;
    let minute = two_digits(rest)?;
    byte(rest, b":")?;
    let second = two_digits(rest)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let time_of_day = i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    Some(days_from_civil(year, month, day)? * SECONDS_PER_DAY + time_of_day)
}

/// Nanoseconds of the fraction, 0 if there is none.
fn fraction(rest: &mut &[u8]) -> Option<u32> {
    if byte(rest, b".").is_none() {
        return Some(0);
    }
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(FRACTION_DIGITS);
    let nanos = padded.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    (count > 0).then_some(nanos)
}

/// Seconds that the zone is ahead of UTC.
fn zone(rest: &[u8]) -> Option<i64> {
    let mut rest = rest;
    let sign = match rest.first() {
        None => return Some(0),
        Some(b'Z' | b'z') => return (rest.len() == 1).then_some(0),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return None,
    };
    byte(&mut rest, b"+-")?;
    let hours = two_digits(&mut rest)?;
    byte(&mut rest, b":")?;
    let minutes = two_digits(&mut rest)?;
    let valid = hours <= 23 && minutes <= 59 && rest.is_empty();
    valid.then_some(sign * (i64::from(hours) * 3_600 + i64::from(minutes) * 60))
}

fn two_digits(rest: &mut &[u8]) -> Option<u8> {
    let ([tens, ones], tail) = rest.split_first_chunk::<2>()?;
    *rest = tail;
    let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
    digits.then(|| (tens - b'0') * 10 + (ones - b'0'))
}

fn byte(rest: &mut &[u8], any_of: &[u8]) -> Option<()> {
    let (first, tail) = rest.split_first()?;
    any_of.contains(first).then(|| *rest = tail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nanos(text: &str) -> Result<i64, TimeFault> {
        parse_date_time(text.as_bytes()).map(EventTime::nanos)
    }

    #[test]
    fn known_dates_have_their_known_numbers() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29 23:59:59", 951_868_799),
            ("2015-02-26 21:42:53", 1_424_986_973),
            ("2026-11-20t12:00:00z", 1_795_176_000),
            ("1969-12-31 23:59:59", -1),
            ("1900-03-01T00:00:00+00:00", -2_203_891_200),
            ("2024-01-01T05:30:00+05:30", 1_704_067_200),
            ("2023-12-31T16:00:00-08:00", 1_704_067_200),
        ] {
            assert_eq!(nanos(text), Ok(seconds * 1_000_000_000), "{text}");
        }
        assert_eq!(nanos("1970-01-01 00:00:00.5"), Ok(500_000_000));
        assert_eq!(nanos("1970-01-01 00:00:00.1234567899Z"), Ok(123_456_789));
        assert_eq!(nanos("1969-12-31 23:59:59.999999999"), Ok(-1));
    }

    #[test]
    fn the_ends_of_the_range_are_exact() {
        assert_eq!(nanos("2262-04-11T23:47:16.854775807Z"), Ok(i64::MAX));
        assert_eq!(nanos("2262-04-11T23:47:16.854775808Z"), Err(TimeFault::OutOfRange));
        assert_eq!(nanos("1677-09-21T00:12:43.145224193Z"), Ok(i64::MIN + 1));
        assert_eq!(nanos("1677-09-21T00:12:43.145224192Z"), Err(TimeFault::OutOfRange));
        assert_eq!(nanos("0000-01-01T00:00:00Z"), Err(TimeFault::OutOfRange));
        assert_eq!(nanos("9999-12-31T23:59:59Z"), Err(TimeFault::OutOfRange));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2024",
            "2024-01-01",
            "2023-02-29 00:00:00",
            "1900-02-29 00:00:00",
            "2024-13-01 00:00:00",
            "2024-00-01 00:00:00",
            "2024-01-00 00:00:00",
            "2024-04-31 00:00:00",
            "2024-01-01 24:00:00",
            "2024-01-01 00:60:00",
            "2024-01-01 00:00:60",
            "2024-01-01_00:00:00",
            "2024-01-01 00:00:00.",
            "2024-01-01 00:00:00ZZ",
            "2024-01-01 00:00:00+5:30",
            "2024-01-01 00:00:00+24:00",
            "2024-01-01 00:00:00+05:30x",
            "+024-01-01 00:00:00",
            "2024-01-01 00:00:00 UTC",
        ] {
            assert_eq!(nanos(text), Err(TimeFault::Invalid), "{text}");
        }
    }

    #[test]
    fn days_follow_each_other_for_ten_thousand_years() {
        let mut expected = days_from_civil(0, 1, 1).expect("a day");
        assert_eq!(expected, -719_528);
        for year in 0..=9_999 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month) {
                    assert_eq!(days_from_civil(year, month, day), Some(expected));
                    expected += 1;
                }
            }
        }
        assert_eq!(expected, 2_932_897, "the day after 9999-12-31");
    }

    /// The inverse, from the same source as the function under test.
    fn civil_from_days(days: i64) -> (i64, i64, i64) {
        let shifted = days + 719_468;
        let (era, doe) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let shifted_month = (5 * doy + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * shifted_month + 2) / 5 + 1)
    }

    proptest! {
        #[test]
        fn every_time_comes_back(number in (i64::MIN + 1)..=i64::MAX, offset in -1_439_i64..=1_439) {
            let local = i128::from(number) + i128::from(offset) * 60 * NANOS_PER_SECOND;
            let seconds = i64::try_from(local.div_euclid(NANOS_PER_SECOND)).expect("in range");
            let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
            let second = seconds.rem_euclid(SECONDS_PER_DAY);
            let text = format!(
                "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}{}{:02}:{:02}",
                second / 3_600, second / 60 % 60, second % 60, local.rem_euclid(NANOS_PER_SECOND),
                if offset < 0 { '-' } else { '+' }, offset.abs() / 60, offset.abs() % 60,
            );
            prop_assert_eq!(nanos(&text), Ok(number), "{}", text);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(time) = parse_date_time(&bytes) {
                prop_assert!(time > EventTime::MIN);
            }
        }
    }
}
