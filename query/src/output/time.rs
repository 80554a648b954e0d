//! Times as RFC 3339 in UTC.

use std::io::Write;

const DAY_SECONDS: i64 = 86_400;

/// Writes the time `seconds` and `nanos` after the Unix epoch, the fraction only if it is not zero.
pub(crate) fn write_time(out: &mut Vec<u8>, seconds: i64, nanos: u32) {
    write_date(out, seconds.div_euclid(DAY_SECONDS));
    out.push(b'T');
    write_clock(out, seconds.rem_euclid(DAY_SECONDS), nanos);
    out.push(b'Z');
}

/// Writes the date `days` after the Unix epoch.
///
/// From days to the calendar by eras of 400 years that begin in March. Source: Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
pub(crate) fn write_date(out: &mut Vec<u8>, days: i64) {
    let shifted = i128::from(days) + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    write_text(out, format_args!("{year:04}-{month:02}-{day:02}"));
}

/// Writes a time of the day.
pub(crate) fn write_clock(out: &mut Vec<u8>, second: i64, nanos: u32) {
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    write_text(out, format_args!("{hour:02}:{minute:02}:{:02}", second % 60));
    if nanos > 0 {
        let from = out.len();
        write_text(out, format_args!(".{nanos:09}"));
        let zeros = out[from..].iter().rev().take_while(|digit| **digit == b'0').count();
        out.truncate(out.len() - zeros);
    }
}

/// Appends text to bytes.
pub(crate) fn write_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes all bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(nanos: i64) -> String {
        let mut out = Vec::new();
        let rest = u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap();
        write_time(&mut out, nanos.div_euclid(1_000_000_000), rest);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_fraction_is_written_only_if_it_is_not_zero() {
        assert_eq!(time(1_704_067_200_000_000_000), "2024-01-01T00:00:00Z");
        assert_eq!(time(1_704_067_200_250_000_000), "2024-01-01T00:00:00.25Z");
        assert_eq!(time(1_704_067_200_000_000_001), "2024-01-01T00:00:00.000000001Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(time(i64::MIN), "1677-09-21T00:12:43.145224192Z");
        assert_eq!(time(i64::MAX), "2262-04-11T23:47:16.854775807Z");
    }

    #[test]
    fn dates_follow_one_another_through_two_leap_centuries() {
        let lengths =
            |leap: bool| [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut day = -25_567; // 1900-01-01
        for year in 1900..2101 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            for (month, days) in (1..).zip(lengths(leap)) {
                for of_month in 1..=days {
                    let mut out = Vec::new();
                    write_date(&mut out, day);
                    let expected = format!("{year:04}-{month:02}-{of_month:02}");
                    assert_eq!(String::from_utf8(out).unwrap(), expected);
                    day += 1;
                }
            }
        }
    }
}
