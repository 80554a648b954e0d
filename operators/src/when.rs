//! What a rule waits for.

use std::fmt;

use crate::condition::Condition;
use crate::patience::Patience;
use crate::quantile::QuantileCondition;

/// The condition of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum When {
    /// A number of each sample.
    Number(Condition),
    /// No sample for a while.
    Absent(Patience),
    /// A percentile of each window.
    Quantile(QuantileCondition),
}

impl When {
    /// What `text` spells; spaces are free.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let absent = || Patience::parse(text).map(Self::Absent);
        let quantile = || QuantileCondition::parse(text).map(Self::Quantile);
        Condition::parse(text).map(Self::Number).or_else(absent).or_else(quantile)
    }

    /// The condition on samples, if it is one.
    pub(crate) fn number(&self) -> Option<&Condition> {
        match self {
            Self::Number(condition) => Some(condition),
            Self::Absent(_) | Self::Quantile(_) => None,
        }
    }

    /// The condition on windows, if it is one.
    pub(crate) fn quantile(&self) -> Option<&QuantileCondition> {
        match self {
            Self::Quantile(condition) => Some(condition),
            Self::Number(_) | Self::Absent(_) => None,
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(condition) => condition.fmt(f),
            Self::Absent(patience) => patience.fmt(f),
            Self::Quantile(condition) => condition.fmt(f),
        }
    }
}
