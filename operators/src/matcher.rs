//! Which series a rule is about.

use regex::{Regex, RegexBuilder};
use tidewatch_metrics::SeriesKey;

use crate::limits::{MATCHER_BYTES_MAX, REGEX_PROGRAM_BYTES_MAX};
use crate::rule_error::RuleProblem;

/// The key that stands for the metric's name.
pub(crate) const METRIC: &str = "metric";

/// A condition on one label; a label that a series does not have is the empty text.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) operator: Operator,
    pub(crate) text: String,
    /// `^(?:text)$` where the operator is about expressions.
    regex: Option<Regex>,
}

/// How the label is compared. The order is that of the canonical text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Like,
    NotLike,
}

impl Operator {
    pub(crate) const ALL: [Self; 4] = [Self::Equal, Self::NotEqual, Self::Like, Self::NotLike];

    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Like => "~",
            Self::NotLike => "!~",
        }
    }
}

impl Matcher {
    /// The matcher of a label with a pattern as its user writes it.
    pub(crate) fn parse(label: &str, pattern: &str) -> Result<Self, RuleProblem> {
        if label.is_empty() {
            return Err(RuleProblem::EmptyLabel);
        }
        if label.len().max(pattern.len()) > MATCHER_BYTES_MAX {
            return Err(RuleProblem::MatcherBytes { bytes: label.len().max(pattern.len()) });
        }
        let spelt = |operator: &Operator| {
            Some((*operator, pattern.strip_prefix(operator.sign())?.strip_prefix(' ')?))
        };
        let (operator, text) = match Operator::ALL.iter().find_map(spelt) {
            Some((operator, text)) => (operator, text.trim()),
            None if pattern.starts_with(['~', '=']) || is_negation(pattern) => {
                return Err(RuleProblem::OperatorSpace { text: pattern.to_owned() });
            }
            None => (Operator::Equal, pattern),
        };
        let regex = match operator {
            Operator::Equal | Operator::NotEqual => None,
            Operator::Like | Operator::NotLike => Some(
                RegexBuilder::new(&format!("^(?:{text})$"))
                    .size_limit(REGEX_PROGRAM_BYTES_MAX)
                    .dfa_size_limit(REGEX_PROGRAM_BYTES_MAX)
                    .build()
                    .map_err(|error| RuleProblem::Regex { error })?,
            ),
        };
        Ok(Self { label: label.to_owned(), operator, text: text.to_owned(), regex })
    }

    /// The pattern that [`Matcher::parse`] takes to the same matcher.
    pub(crate) fn pattern(&self) -> String {
        format!("{} {}", self.operator.sign(), self.text)
    }

    /// Whether the series is meant.
    pub(crate) fn matches(&self, key: &SeriesKey) -> bool {
        self.allows(label_of(key, &self.label))
    }

    /// Whether what has this text as the label's value is meant.
    pub(crate) fn allows(&self, found: &str) -> bool {
        let same = match &self.regex {
            Some(regex) => regex.is_match(found),
            None => found == self.text,
        };
        same == matches!(self.operator, Operator::Equal | Operator::Like)
    }
}

/// A label of a series, or its metric's name; the empty text where it does not have the label.
pub(crate) fn label_of<'a>(key: &'a SeriesKey, label: &str) -> &'a str {
    if label == METRIC {
        return key.metric();
    }
    let labels = key.labels();
    let place = labels.binary_search_by(|(known, _)| known.as_str().cmp(label));
    place.ok().and_then(|place| labels.get(place)).map_or("", |(_, value)| value)
}

fn is_negation(pattern: &str) -> bool {
    pattern.starts_with("!=") || pattern.starts_with("!~")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(label: &str, pattern: &str) -> bool {
        let labels = [("host", "web-1"), ("region", "eu-west")];
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let key = SeriesKey::new("default", "cpu", "user", labels).unwrap();
        Matcher::parse(label, pattern).unwrap().matches(&key)
    }

    #[test]
    fn every_operator_selects_as_documented() {
        for (label, pattern, expected) in [
            ("metric", "cpu_user", true),
            ("metric", "cpu", false),
            ("host", "web-1", true),
            ("host", "= web-1", true),
            ("host", "!= web-1", false),
            ("host", "!= canary", true),
            ("region", "~ eu-.*", true),
            ("region", "~ eu", false),
            ("region", "~ us-.*|eu-.*", true),
            ("region", "!~ eu-.*", false),
            ("region", "!~ us", true),
        ] {
            assert_eq!(matches(label, pattern), expected, "{label} {pattern}");
        }
    }

    #[test]
    fn a_label_that_is_absent_is_the_empty_text() {
        for (pattern, expected) in
            [("", true), ("x", false), ("!= canary", true), ("~ .*", true), ("~ .+", false)]
        {
            assert_eq!(matches("instance", pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn patterns_that_cannot_be_meant_are_refused() {
        let refuse = |label: &str, pattern: &str| Matcher::parse(label, pattern).unwrap_err();
        for pattern in ["~eu-.*", "!=canary", "!~x", "=x"] {
            assert!(matches!(refuse("l", pattern), RuleProblem::OperatorSpace { .. }), "{pattern}");
        }
        assert!(matches!(refuse("l", "~ ("), RuleProblem::Regex { .. }));
        assert!(matches!(refuse("l", "~ (a{500}){500}"), RuleProblem::Regex { .. }), "too large");
        assert!(matches!(refuse("", "x"), RuleProblem::EmptyLabel));
        let long = "x".repeat(MATCHER_BYTES_MAX + 1);
        assert!(matches!(refuse("l", &long), RuleProblem::MatcherBytes { .. }));
    }
}
