//! Where axes have lines, and what is written there.

use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};

use crate::picture::columns::Span;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Steps of time that people count in.
const STEPS: [i64; 25] = [
    1_000_000,
    10_000_000,
    100_000_000,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    3 * DAY,
    4 * DAY,
    5 * DAY,
    7 * DAY,
    14 * DAY,
];
/// The same in months.
const MONTHS: [u32; 9] = [1, 2, 3, 6, 12, 24, 60, 120, 600];
/// Lines across a picture, at most.
const TIMES_MAX: usize = 9;
const MONTHS_MAX: i64 = 12;
/// Lines up a picture, about.
const VALUES: f64 = 7.0;
/// Units of large numbers.
const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];

/// A moment, and up to two lines about it: the second one where the day or the year is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeTick {
    pub(super) nanos: i64,
    pub(super) text: String,
    pub(super) below: String,
}

/// Whole minutes, hours, days or months of the span, UTC.
pub(super) fn time_ticks(span: Span) -> Vec<TimeTick> {
    let step = STEPS.into_iter().find(|step| {
        let whole = i128::from(span.to) - i128::from(span.from);
        whole / i128::from(*step) < TIMES_MAX as i128
    });
    let (times, step) = match step {
        Some(step) => (regular(span, step), step),
        None => (months(span), 31 * DAY),
    };
    let (main, second) = match step {
        step if step < SECOND => ("%H:%M:%S%.3f", "%b %-d, %Y"),
        step if step < MINUTE => ("%H:%M:%S", "%b %-d, %Y"),
        step if step < DAY => ("%H:%M", "%b %-d, %Y"),
        step if step <= 14 * DAY => ("%b %-d", "%Y"),
        _ => ("%b", "%Y"),
    };
    let mut before = String::new();
    let tick = |nanos: i64| {
        let time = DateTime::from_timestamp_nanos(nanos);
        let below = time.format(second).to_string();
        let changed = below != before;
        before.clone_from(&below);
        let below = if changed { below } else { String::new() };
        TimeTick { nanos, text: time.format(main).to_string(), below }
    };
    times.into_iter().map(tick).collect()
}

fn regular(span: Span, step: i64) -> Vec<i64> {
    let first = i128::from(span.from).div_euclid(step.into()) + 1;
    let first = if span.from.rem_euclid(step) == 0 { first - 1 } else { first };
    let times = (0..).map(|index| (first + index) * i128::from(step));
    let within = times.take_while(|time| *time <= i128::from(span.to)).take(TIMES_MAX + 1);
    within.filter_map(|time| i64::try_from(time).ok()).collect()
}

fn months(span: Span) -> Vec<i64> {
    let date = |nanos: i64| DateTime::from_timestamp_nanos(nanos).date_naive();
    let (from, to) = (date(span.from), date(span.to));
    let month = |date: NaiveDate| i64::from(date.year()) * 12 + i64::from(date.month());
    let fits = |step: &u32| (month(to) - month(from)) / i64::from(*step) <= MONTHS_MAX;
    let step = MONTHS.into_iter().find(fits).unwrap_or(600);
    let first = NaiveDate::from_ymd_opt(from.year(), 1, 1);
    let dates = std::iter::successors(first, |date| date.checked_add_months(Months::new(step)));
    let nanos = |date: NaiveDate| -> Option<i64> {
        DateTime::<Utc>::from_naive_utc_and_offset(date.and_hms_opt(0, 0, 0)?, Utc)
            .timestamp_nanos_opt()
    };
    let times = dates.take_while(|date| *date <= to).filter_map(nanos);
    times.filter(|time| *time >= span.from && *time <= span.to).collect()
}

/// Round numbers between `low` and `high`, with what is written there.
pub(super) fn value_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let rough = high / VALUES - low / VALUES;
    if !(rough.is_finite() && rough > 0.0) {
        return vec![(low, number(low, 0))];
    }
    let power = rough.log10().floor();
    let unit = 10_f64.powf(power);
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|it| it * unit).find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let first = (low / step).ceil();
    let ticks = (0..12_u8).map(|index| (first + f64::from(index)) * step);
    let ticks: Vec<f64> = ticks.take_while(|tick| *tick <= high).collect();
    let largest = low.abs().max(high.abs());
    let (scale, suffix) = scale_of(largest);
    let digits = digits_behind(step / scale);
    let text = |tick: f64| {
        if tick.abs() < step / 2.0 {
            "0".to_owned()
        } else if !(1e-4..1e15).contains(&largest) {
            format!("{tick:.2e}")
        } else {
            number(tick / scale, digits) + suffix
        }
    };
    ticks.into_iter().map(|tick| (tick, text(tick))).collect()
}

/// The unit that leaves few digits; thousands are counted from ten of them on.
fn scale_of(largest: f64) -> (f64, &'static str) {
    UNITS.into_iter().find(|(unit, _)| largest >= *unit && largest >= 1e4).unwrap_or((1.0, ""))
}

/// Digits that tell numbers apart which differ by `step`.
fn digits_behind(step: f64) -> usize {
    (0..12_u8)
        .find(|digits| {
            let shown = step * 10_f64.powi(i32::from(*digits));
            (shown - shown.round()).abs() < 1e-6 * shown && shown > 0.5
        })
        .map_or(12, usize::from)
}

fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    // A rounded -0.0 is 0.
    if text.trim_start_matches('-').chars().all(|c| matches!(c, '0' | '.')) {
        text.replace('-', "")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(from: i64, to: i64) -> Vec<String> {
        let ticks = time_ticks(Span { from: from * SECOND, to: to * SECOND });
        ticks.into_iter().map(|tick| format!("{}/{}", tick.text, tick.below)).collect()
    }

    #[test]
    fn times_are_whole_and_the_day_is_told_where_it_changes() {
        // 2014-04-01 00:00:00 is 1,396,310,400.
        let from = 1_396_310_400;
        let hours = texts(from + 3_600, from + 30 * 3_600);
        assert_eq!(hours[0], "06:00/Apr 1, 2014");
        assert_eq!(hours[3..], ["00:00/Apr 2, 2014", "06:00/"]);
        assert_eq!(texts(from, from + 14 * 86_400)[..3], ["Apr 2/2014", "Apr 4/", "Apr 6/"]);
        let months = texts(from, from + 300 * 86_400);
        assert_eq!(months[0], "Apr/2014");
        assert!(months.contains(&"Jan/2015".to_owned()), "{months:?}");
        assert_eq!(texts(from, from + 3)[1], "00:00:01/");
        for span in [1, 60, 3_600, 86_400, 86_400 * 40, 86_400 * 365, 86_400 * 36_500] {
            let count = texts(from - span, from).len();
            assert!((1..=18).contains(&count), "{count} in {span} s");
        }
    }

    #[test]
    fn the_ends_of_time_have_ticks() {
        let ticks = time_ticks(Span { from: i64::MIN + 1, to: i64::MAX });
        assert!(!ticks.is_empty() && ticks.len() < 20, "{}", ticks.len());
    }

    #[test]
    fn values_are_round_and_large_ones_have_units() {
        let texts = |low: f64, high: f64| -> Vec<String> {
            value_ticks(low, high).into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(texts(0.0, 1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(-30.0, 31.0), ["-30", "-20", "-10", "0", "10", "20", "30"]);
        assert_eq!(texts(0.0, 2_600_000.0), ["0", "0.5M", "1.0M", "1.5M", "2.0M", "2.5M"]);
        assert_eq!(texts(0.0, 40_000_000.0), ["0", "10M", "20M", "30M", "40M"]);
        assert_eq!(texts(1_000.0, 1_001.0)[..2], ["1000.0", "1000.2"]);
        assert_eq!(texts(5.0, 5.0), ["5"]);
        assert!(!texts(f64::MIN, f64::MAX).is_empty());
        assert_eq!(texts(0.0, 1e-9).len(), 6);
    }
}
