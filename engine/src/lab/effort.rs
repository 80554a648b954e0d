//! How much of what is possible a run tries.

use crate::lab::outcome::Outcome;

/// How much of what is possible a run tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// A crash before every operation of a script, and samples of all other outcomes.
    #[default]
    Sampled,
    /// Every outcome at every operation.
    Every,
}

impl Effort {
    /// Of so many operations, one gets this outcome, where points of it are made while a run goes on.
    pub(super) fn one_in(self, outcome: Outcome) -> u64 {
        match (self, outcome) {
            (Self::Sampled, Outcome::After) => 12,
            (Self::Sampled, Outcome::Torn) => 6,
            _ => 1,
        }
    }

    /// Of so many operations, one begins a time without space; `None`: some lots of a script.
    pub(super) fn window_every(self) -> Option<usize> {
        match self {
            Self::Sampled => None,
            Self::Every => Some(7),
        }
    }
}
