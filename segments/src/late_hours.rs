//! The hours that hold late rows: only they pay for de-duplication.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidewatch_metrics::EventTime;

use crate::limits::LATE_HOURS_MAX;

/// Nanoseconds of an hour.
pub(crate) const HOUR_NANOS: i64 = 3_600_000_000_000;

/// Hours since the Unix epoch that hold late rows, or all of them once they are too many to list.
///
/// Invariant: at most [`LATE_HOURS_MAX`] hours are listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateHours {
    /// These hours.
    Listed(BTreeSet<i64>),
    /// Any hour may hold late rows.
    All,
}

impl Default for LateHours {
    fn default() -> Self {
        Self::NONE
    }
}

impl LateHours {
    /// No late row.
    pub const NONE: Self = Self::Listed(BTreeSet::new());

    /// The hour that holds `time`: hours since the Unix epoch, rounded down.
    #[must_use]
    pub const fn hour_of(time: EventTime) -> i64 {
        time.nanos().div_euclid(HOUR_NANOS)
    }

    /// Adds the hour of a late row.
    pub fn insert(&mut self, time: EventTime) {
        self.insert_hour(Self::hour_of(time));
    }

    /// Adds all hours of `other`.
    pub fn extend(&mut self, other: &Self) {
        match other {
            Self::All => *self = Self::All,
            Self::Listed(hours) => hours.iter().for_each(|hour| self.insert_hour(*hour)),
        }
    }

    /// Whether no hour holds late rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Listed(hours) if hours.is_empty())
    }

    /// Whether the hour may hold late rows.
    #[must_use]
    pub fn contains(&self, hour: i64) -> bool {
        match self {
            Self::Listed(hours) => hours.contains(&hour),
            Self::All => true,
        }
    }

    fn insert_hour(&mut self, hour: i64) {
        if let Self::Listed(hours) = self {
            hours.insert(hour);
            if hours.len() > LATE_HOURS_MAX {
                *self = Self::All;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_rounded_down_also_before_the_epoch() {
        assert_eq!(LateHours::hour_of(EventTime::new(HOUR_NANOS - 1)), 0);
        assert_eq!(LateHours::hour_of(EventTime::new(-1)), -1);
        assert_eq!(LateHours::hour_of(EventTime::MIN), -2_562_048);
    }

    #[test]
    fn beyond_the_cap_every_hour_counts_as_late() {
        let mut hours = LateHours::NONE;
        for hour in 0..=i64::try_from(LATE_HOURS_MAX).unwrap() {
            assert!(!hours.contains(-1), "at hour {hour}");
            hours.insert(EventTime::new(hour * HOUR_NANOS));
        }
        assert_eq!(hours, LateHours::All);
        assert!(hours.contains(-1));
    }
}
