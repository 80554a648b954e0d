//! In which unit a source writes its times.

use tidewatch_metrics::EventTime;

/// The write interfaces, which name their units differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteApi {
    /// `/write` of InfluxDB 1.
    V1,
    /// `/api/v2/write` of InfluxDB 2.
    V2,
    /// `/api/v3/write_lp` of InfluxDB 3.
    V3,
}

/// The unit of numeric times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Nanoseconds.
    #[default]
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
    /// Told for each time by its magnitude, as InfluxDB 3 does: below 5 * 10^9 seconds, below
    /// 5 * 10^12 milliseconds, below 5 * 10^15 microseconds, else nanoseconds.
    Auto,
}

impl Precision {
    /// The unit that `text` names in this interface; `None` for a name that it does not know.
    #[must_use]
    pub fn parse(api: WriteApi, text: &str) -> Option<Self> {
        let shared = match text {
            "ns" => Some(Self::Nanoseconds),
            "us" => Some(Self::Microseconds),
            "ms" => Some(Self::Milliseconds),
            "s" => Some(Self::Seconds),
            _ => None,
        };
        let own = match (api, text) {
            (WriteApi::V1, "n") | (WriteApi::V3, "n" | "nanosecond") => Some(Self::Nanoseconds),
            (WriteApi::V1, "u" | "\u{b5}" | "\u{3bc}") | (WriteApi::V3, "u" | "microsecond") => {
                Some(Self::Microseconds)
            }
            (WriteApi::V1, "m") => Some(Self::Minutes),
            (WriteApi::V1, "h") => Some(Self::Hours),
            (WriteApi::V3, "millisecond") => Some(Self::Milliseconds),
            (WriteApi::V3, "second") => Some(Self::Seconds),
            (WriteApi::V3, "auto") => Some(Self::Auto),
            _ => None,
        };
        shared.or(own)
    }

    /// The unit's name, whichever of them a client used.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Minutes => "m",
            Self::Hours => "h",
            Self::Auto => "auto",
        }
    }

    /// The time that `number` of this unit is; `None` beyond the range of [`EventTime`].
    #[inline]
    #[must_use]
    pub const fn scale(self, number: i64) -> Option<EventTime> {
        let nanos = match self {
            Self::Nanoseconds => Some(number),
            Self::Microseconds => number.checked_mul(1_000),
            Self::Milliseconds => number.checked_mul(1_000_000),
            Self::Seconds => number.checked_mul(1_000_000_000),
            Self::Minutes => number.checked_mul(60_000_000_000),
            Self::Hours => number.checked_mul(3_600_000_000_000),
            Self::Auto => return Self::Auto.of(number).scale(number),
        };
        match nanos {
            Some(nanos) if nanos > EventTime::MIN.nanos() => Some(EventTime::new(nanos)),
            _ => None,
        }
    }

    /// The unit of `number`: this one, unless it is told by the magnitude.
    pub(crate) const fn of(self, number: i64) -> Self {
        if !matches!(self, Self::Auto) {
            return self;
        }
        match number.unsigned_abs() / 1_000_000_000 {
            0..5 => Self::Seconds,
            5..5_000 => Self::Milliseconds,
            5_000..5_000_000 => Self::Microseconds,
            _ => Self::Nanoseconds,
        }
    }

    /// Decimal digits between this unit and nanoseconds, as far as it is told by a magnitude.
    pub(crate) const fn fraction_digits(self) -> usize {
        match self {
            Self::Seconds => 9,
            Self::Milliseconds => 6,
            Self::Microseconds => 3,
            Self::Nanoseconds | Self::Minutes | Self::Hours | Self::Auto => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interface_knows_its_own_names() {
        let known = |api, names: &[&str]| {
            let all =
                "ns us ms s n u \u{b5} m h auto nanosecond microsecond millisecond second NS ";
            for name in all.split(' ') {
                let found = Precision::parse(api, name).is_some();
                assert_eq!(found, names.contains(&name), "{api:?} {name:?}");
            }
        };
        known(WriteApi::V1, &["ns", "us", "ms", "s", "n", "u", "\u{b5}", "m", "h"]);
        known(WriteApi::V2, &["ns", "us", "ms", "s"]);
        let words = ["auto", "nanosecond", "microsecond", "millisecond", "second"];
        known(WriteApi::V3, &[&["ns", "us", "ms", "s", "n", "u"][..], &words].concat());
    }

    #[test]
    fn auto_tells_the_unit_of_today_by_its_magnitude() {
        let nanos = 1_700_000_000_000_000_000;
        for number in [1_700_000_000, 1_700_000_000_000, 1_700_000_000_000_000, nanos] {
            assert_eq!(Precision::Auto.scale(number), Some(EventTime::new(nanos)));
        }
        assert_eq!(Precision::Auto.scale(-1), Some(EventTime::new(-1_000_000_000)));
        assert_eq!(Precision::Auto.scale(4_999_999_999), Precision::Seconds.scale(4_999_999_999));
        assert_eq!(
            Precision::Auto.scale(5_000_000_000),
            Precision::Milliseconds.scale(5_000_000_000)
        );
    }

    #[test]
    fn times_beyond_the_range_are_none() {
        assert_eq!(Precision::Hours.scale(i64::MAX / 1_000), None);
        assert_eq!(Precision::Seconds.scale(9_223_372_037), None);
        assert_eq!(Precision::Nanoseconds.scale(i64::MIN), None, "the mark before every sample");
        assert_eq!(Precision::Auto.scale(i64::MIN), None);
        assert_eq!(Precision::Minutes.scale(2), Some(EventTime::new(120_000_000_000)));
    }
}
