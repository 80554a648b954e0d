//! A condition on windows: `percentile("NAME", q) OP number`.

use std::fmt;

use crate::canonical::{quoted, unquote};
use crate::condition::Bound;

/// A comparison of a quantile of each window with a fixed number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QuantileCondition {
    /// The name of the percentiles whose windows they are.
    pub(crate) percentiles: String,
    /// From 0 to 1 where the rule was checked.
    pub(crate) quantile: f64,
    pub(crate) bound: Bound,
}

impl QuantileCondition {
    /// The condition that `text` spells; spaces are free.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.trim().strip_prefix("percentile")?.trim_start().strip_prefix('(')?;
        let mut rest = rest.trim_start();
        let percentiles = unquote(&mut rest)?;
        let rest = rest.trim_start().strip_prefix(',')?;
        let (quantile, bound) = rest.split_once(')')?;
        // Adding 0 turns -0 into 0, which must be spelt the same.
        let quantile = quantile.trim().parse::<f64>().ok()? + 0.0;
        Some(Self { percentiles, quantile, bound: Bound::parse(bound)? })
    }

    /// Whether the quantile is one.
    pub(crate) fn is_good(&self) -> bool {
        (0.0..=1.0).contains(&self.quantile)
    }

    /// What is compared, as the rule spells it.
    pub(crate) fn subject(&self) -> String {
        format!("percentile({}, {})", quoted(&self.percentiles), self.quantile)
    }
}

impl fmt::Display for QuantileCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.subject(), self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_meet_in_one_canonical_form() {
        for text in
            [r#"percentile("latency", 0.99) > 250"#, r#" percentile ( "latency" ,0.990 )>2.5e2 "#]
        {
            let condition = QuantileCondition::parse(text).unwrap();
            assert_eq!(condition.to_string(), r#"percentile("latency", 0.99) > 250"#, "{text}");
        }
        let odd = QuantileCondition::parse(r#"percentile("a \"b\", c)", -0) != -1"#).unwrap();
        assert_eq!((odd.percentiles.as_str(), odd.quantile.to_bits()), (r#"a "b", c)"#, 0));
        assert_eq!(QuantileCondition::parse(&odd.to_string()), Some(odd));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in [
            "",
            "percentile",
            r#"percentile("latency") > 1"#,
            r#"percentile("latency", x) > 1"#,
            r#"percentile("latency", 0.5)"#,
            r#"percentile("latency", 0.5) > inf"#,
            r#"percentile("latency", 0.5 > 1"#,
            r#"percentile(latency, 0.5) > 1"#,
            r#"percentiles("latency", 0.5) > 1"#,
            r#"percentile("latency, 0.5) > 1"#,
        ] {
            assert_eq!(QuantileCondition::parse(text), None, "{text}");
        }
        for (q, is_good) in
            [("0", true), ("1", true), ("1.1", false), ("-0.1", false), ("nan", false)]
        {
            let text = format!("percentile(\"l\", {q}) > 1");
            assert_eq!(QuantileCondition::parse(&text).unwrap().is_good(), is_good, "{q}");
        }
    }
}
