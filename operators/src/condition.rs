//! A condition on samples: `value|severity|score|rate OP number`.

use std::cmp::Ordering;
use std::fmt;

use tidewatch_metrics::Severity;

/// A comparison of one number of a sample, or of it and the one before, with a fixed one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Condition {
    pub(crate) subject: Subject,
    pub(crate) bound: Bound,
}

/// What a number is compared with, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bound {
    comparison: Comparison,
    /// Finite, and never -0.
    number: f64,
}

/// The number that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Value,
    Severity,
    Score,
    /// The increase per second since the sample before.
    Rate,
}

/// How it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
}

impl Condition {
    /// The condition that `text` spells; spaces are free.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (subject, rest) = Subject::ALL
            .into_iter()
            .find_map(|subject| Some((subject, text.strip_prefix(subject.name())?)))?;
        Some(Self { subject, bound: Bound::parse(rest)? })
    }

    /// Whether it holds where its subject is this number.
    pub(crate) fn holds(&self, number: f64) -> bool {
        self.bound.holds(number)
    }

    /// The least severity from which on it holds, in steps; 2^16 where it holds for none. Nothing where it is about
    /// something else, or holds for lesser severities and not for greater ones.
    pub(crate) fn least_severity(&self) -> Option<u32> {
        let is_of_severity = matches!(self.subject, Subject::Severity | Subject::Score);
        let is_upward =
            matches!(self.bound.comparison, Comparison::Greater | Comparison::GreaterOrEqual);
        if !(is_of_severity && is_upward) {
            return None;
        }
        let (mut least, mut end) = (0, u32::from(u16::MAX) + 1);
        while least < end {
            let middle = least.midpoint(end);
            let steps = u16::try_from(middle).expect("below 2^16");
            if self.holds(self.subject.of(f64::NAN, Severity::from_steps(steps), f64::NAN)) {
                end = middle;
            } else {
                least = middle + 1;
            }
        }
        Some(least)
    }
}

impl Bound {
    /// The sign and the number that `text` spells; spaces are free.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_start();
        // Longer spellings first: `>=` begins with `>`.
        let (comparison, rest) = [
            Comparison::GreaterOrEqual,
            Comparison::LessOrEqual,
            Comparison::Equal,
            Comparison::NotEqual,
            Comparison::Greater,
            Comparison::Less,
        ]
        .into_iter()
        .find_map(|comparison| Some((comparison, text.strip_prefix(comparison.sign())?)))?;
        let number: f64 = rest.trim().parse().ok()?;
        // Adding 0 turns -0 into 0, which compares the same and must be spelt the same.
        number.is_finite().then_some(Self { comparison, number: number + 0.0 })
    }

    /// Whether a number is on its side.
    pub(crate) fn holds(&self, number: f64) -> bool {
        let order = number.partial_cmp(&self.number);
        match self.comparison {
            Comparison::Greater => order == Some(Ordering::Greater),
            Comparison::GreaterOrEqual => {
                matches!(order, Some(Ordering::Greater | Ordering::Equal))
            }
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Comparison::Equal => order == Some(Ordering::Equal),
            Comparison::NotEqual => order != Some(Ordering::Equal),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.subject.name(), self.bound)
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.comparison.sign(), self.number)
    }
}

impl Subject {
    const ALL: [Self; 4] = [Self::Value, Self::Severity, Self::Score, Self::Rate];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Severity => "severity",
            Self::Score => "score",
            Self::Rate => "rate",
        }
    }

    /// The number of a sample, given what has become of its rate.
    pub(crate) fn of(self, value: f64, severity: Severity, rate: f64) -> f64 {
        match self {
            Self::Value => value,
            Self::Severity => f64::from(severity.to_f32()),
            Self::Score => f64::from(severity.score()),
            Self::Rate => rate,
        }
    }
}

impl Comparison {
    const fn sign(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(when: &str, value: f64, steps: u16) -> bool {
        let condition = Condition::parse(when).unwrap();
        condition.holds(condition.subject.of(value, Severity::from_steps(steps), 2.0 * value))
    }

    #[test]
    fn every_comparison_holds_on_its_side_of_the_bound_and_only_there() {
        for (sign, below, at, above) in [
            (">", false, false, true),
            (">=", false, true, true),
            ("<", true, false, false),
            ("<=", true, true, false),
            ("==", false, true, false),
            ("!=", true, false, true),
        ] {
            let when = format!("value {sign} -2.5");
            let found = [-3.0, -2.5, 0.0].map(|value| holds(&when, value, 0));
            assert_eq!(found, [below, at, above], "{when}");
        }
    }

    #[test]
    fn severity_and_score_are_compared_as_they_are_stored() {
        assert!(!holds("severity > 6", 0.0, 384) && holds("severity > 6", 0.0, 385));
        assert!(holds("score == 0.5", 0.0, 256) && !holds("score>0.5", 0.0, 256));
        assert!(holds("rate == 3", 1.5, 0) && !holds("rate > 3", 1.5, 0));
    }

    #[test]
    fn the_least_severity_is_the_first_of_all_that_hold() {
        for when in [
            "severity > 6",
            "severity >= 6",
            "severity >= 6.005",
            "severity > -1",
            "severity > 1023.98",
            "severity >= 1e9",
            "score > 0.6",
            "score >= 0.5",
            "score >= 0",
            "score > 1",
        ] {
            let condition = Condition::parse(when).unwrap();
            let number =
                |steps: u16| condition.subject.of(f64::NAN, Severity::from_steps(steps), f64::NAN);
            let first = (0..=u16::MAX).position(|steps| condition.holds(number(steps)));
            let first = u32::try_from(first.unwrap_or(1 << 16)).unwrap();
            assert_eq!(condition.least_severity(), Some(first), "{when}");
        }
        for when in ["severity < 6", "severity == 6", "score != 0.5", "value > 6", "rate >= 6"] {
            assert_eq!(Condition::parse(when).unwrap().least_severity(), None, "{when}");
        }
    }

    #[test]
    fn spellings_meet_in_one_canonical_form() {
        for text in ["severity>=6", " severity  >= 6.0 ", "severity >=6e0"] {
            assert_eq!(Condition::parse(text).unwrap().to_string(), "severity >= 6", "{text}");
        }
        assert_eq!(Condition::parse("value<-0").unwrap().to_string(), "value < 0");
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in [
            "",
            "value",
            "value >",
            "value > x",
            "value > nan",
            "value > inf",
            "rates > 1",
            "rate",
            "> 6",
            "value => 1",
            "value > 1 2",
            "severity 6",
            "values > 1",
            "value >> 1",
        ] {
            assert_eq!(Condition::parse(text), None, "{text}");
        }
    }
}
