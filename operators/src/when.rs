//! What a rule waits for.

use std::fmt;

use crate::condition::Condition;
use crate::patience::Patience;

/// The condition of a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum When {
    /// A number of each sample.
    Number(Condition),
    /// No sample for a while.
    Absent(Patience),
}

impl When {
    /// What `text` spells; spaces are free.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let absent = || Patience::parse(text).map(Self::Absent);
        Condition::parse(text).map(Self::Number).or_else(absent)
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(condition) => condition.fmt(f),
            Self::Absent(patience) => patience.fmt(f),
        }
    }
}
