//! What people set about a detector, whatever its model.

use std::fmt;
use std::str::FromStr;

use tidewatch_metrics::Severity;

use crate::light::Expectation;
use crate::series_kind::SeriesKind;
use crate::tail::SEVERITY_MAX;
use crate::time_zone::TimeZone;

/// Which side of the expectation is unusual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both sides.
    #[default]
    Both,
    /// What is above the expectation.
    Above,
    /// What is below it.
    Below,
}

/// A name that no [`Direction`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no direction \"{name}\": it is one of both, above, below")]
pub struct DirectionError {
    name: String,
}

/// Values that the data can have, ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataRange {
    /// The least one; minus infinity where there is no bound.
    pub low: f64,
    /// The greatest one; infinity where there is no bound.
    pub high: f64,
}

/// What becomes of the severities of a model.
///
/// ```text
/// value outside of the data range:              100, whatever else is set
/// one of the first min_samples samples:         0
/// value on the other side of the expectation:   0
/// |value - expected| < min_deviation:           0
/// else:                                         what the model says
/// ```
///
/// A value outside of the range is no sample for the model: it neither scores nor learns it, counts it, or
/// goes on in time with it. It has the greatest severity because it was said that data has no such values; so every
/// level is passed. The other knobs change what is put out and nothing of what is learnt, but for the kind, which says
/// what of the values is looked at, and the time zone, which says what hour it is. A sample of which nothing is expected is on no side.
#[derive(Clone, Debug, PartialEq)]
pub struct Knobs {
    /// Which side is unusual.
    pub direction: Direction,
    /// In the unit of the values, at least 0 and finite.
    pub min_deviation: f64,
    /// Which values there can be; none for all finite ones.
    pub range: Option<DataRange>,
    /// Samples of the series, since its model began, that only teach. The models' own burn-in holds beside it.
    pub min_samples: u32,
    /// What the values are, for novelty, deviation and auto.
    pub kind: SeriesKind,
    /// By whose clocks the hours of the day and of the week are told, for models that know any.
    pub time_zone: TimeZone,
}

impl Direction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Both, Self::Above, Self::Below];

    /// The name in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Above => "above",
            Self::Below => "below",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Direction {
    type Err = DirectionError;

    fn from_str(name: &str) -> Result<Self, DirectionError> {
        let direction = Self::ALL.into_iter().find(|direction| direction.name() == name);
        direction.ok_or_else(|| DirectionError { name: name.to_owned() })
    }
}

impl DataRange {
    /// Whether data can have the value.
    #[must_use]
    pub fn holds(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

impl Default for Knobs {
    fn default() -> Self {
        Self::NONE
    }
}

impl Knobs {
    /// Nothing is set.
    pub const NONE: Self = Self {
        direction: Direction::Both,
        min_deviation: 0.0,
        range: None,
        min_samples: 0,
        kind: SeriesKind::Auto,
        time_zone: TimeZone::UTC,
    };

    /// What is put out for a value that data cannot have, and the range as the band; none for other values.
    pub(crate) fn judge_range(&self, value: f64) -> Option<(Severity, Expectation)> {
        let range = self.range.filter(|range| !range.holds(value))?;
        let band = Expectation { expected: f64::NAN, lower: range.low, upper: range.high };
        Some((Severity::from_f32(SEVERITY_MAX), band))
    }

    /// What is put out for a value that the model, which had seen `samples`, gave this severity.
    pub(crate) fn temper(
        &self,
        severity: Severity,
        value: f64,
        expectation: &Expectation,
        samples: u32,
    ) -> Severity {
        let distance = value - expectation.expected;
        let other_side = match self.direction {
            Direction::Both => false,
            Direction::Above => distance < 0.0,
            Direction::Below => distance > 0.0,
        };
        let near = distance.abs() < self.min_deviation;
        if samples < self.min_samples || other_side || near { Severity::ZERO } else { severity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Expectation = Expectation { expected: 10.0, lower: 8.0, upper: 12.0 };

    const FIVE: Severity = Severity::from_steps(320);

    fn is_told(knobs: &Knobs, value: f64, samples: u32) -> bool {
        knobs.temper(FIVE, value, &EXPECTED, samples) == FIVE
    }

    #[test]
    fn the_wrong_side_what_is_near_and_the_first_samples_have_no_severity() {
        let above = Knobs { direction: Direction::Above, ..Knobs::NONE };
        let below = Knobs { direction: Direction::Below, ..Knobs::NONE };
        let far = Knobs { min_deviation: 3.0, ..Knobs::NONE };
        let patient = Knobs { min_samples: 7, ..Knobs::NONE };
        for (knobs, value, samples, told) in [
            (&Knobs::NONE, 10.0, 0, true),
            (&above, 10.5, 0, true),
            (&above, 9.5, 0, false),
            (&above, 10.0, 0, true),
            (&below, 10.5, 0, false),
            (&below, 9.5, 0, true),
            (&far, 12.9, 0, false),
            (&far, 7.1, 0, false),
            (&far, 13.0, 0, true),
            (&far, -f64::MAX, 0, true),
            (&patient, 99.0, 6, false),
            (&patient, 99.0, 7, true),
        ] {
            let is_told = is_told(knobs, value, samples);
            assert_eq!(is_told, told, "{knobs:?}, {value}, {samples}");
        }
        let all = Knobs { direction: Direction::Above, min_deviation: 3.0, ..Knobs::NONE };
        let unknown = all.temper(FIVE, 1.0, &Expectation::NONE, 0);
        assert_eq!(unknown, FIVE, "what is not expected is on no side");
    }

    #[test]
    fn what_data_cannot_be_is_an_anomaly_with_the_range_as_its_band() {
        let range = DataRange { low: 0.0, high: f64::INFINITY };
        let knobs = Knobs { range: Some(range), direction: Direction::Above, ..Knobs::NONE };
        assert!(knobs.judge_range(0.0).is_none() && knobs.judge_range(f64::MAX).is_none());
        let (severity, band) = knobs.judge_range(-0.001).unwrap();
        assert_eq!((severity.to_f32(), band.lower, band.upper), (100.0, 0.0, f64::INFINITY));
        assert!(band.expected.is_nan());
        assert!(Knobs::NONE.judge_range(-f64::MAX).is_none());
    }

    #[test]
    fn names_lead_back_to_their_direction() {
        for direction in Direction::ALL {
            assert_eq!(direction.to_string().parse(), Ok(direction));
        }
        let error = "up".parse::<Direction>().expect_err("there is none");
        assert!(error.to_string().contains("\"up\""));
    }
}
