//! What an anomaly looks like.

/// What an anomaly looks like, as far as it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnomalyKind {
    /// Nothing is said: there is no anomaly, or nothing that a detector has to do with.
    #[default]
    None,
    /// Above what was expected.
    Spike,
    /// Below what was expected.
    Drop,
    /// On one side of what was expected for a while.
    LevelShift,
    /// On both sides of what was expected by turns.
    VarianceChange,
    /// The last value again and again.
    Flatline,
    /// For a while usual for another hour of the day, and not for this one.
    SeasonalBreak,
    /// A value that data was said not to have.
    OutOfRange,
    /// No sample for too long.
    StoppedReporting,
}

impl AnomalyKind {
    /// All that a sample can be.
    pub const OF_SAMPLES: [Self; 7] = [
        Self::Spike,
        Self::Drop,
        Self::LevelShift,
        Self::VarianceChange,
        Self::Flatline,
        Self::SeasonalBreak,
        Self::OutOfRange,
    ];

    /// The kind with this code; an unknown code is `None`.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Spike,
            2 => Self::Drop,
            3 => Self::LevelShift,
            4 => Self::VarianceChange,
            5 => Self::Flatline,
            6 => Self::SeasonalBreak,
            7 => Self::OutOfRange,
            8 => Self::StoppedReporting,
            _ => Self::None,
        }
    }

    /// The code that is stored: 3 bits of what a sample can be, 4 of all.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Spike => 1,
            Self::Drop => 2,
            Self::LevelShift => 3,
            Self::VarianceChange => 4,
            Self::Flatline => 5,
            Self::SeasonalBreak => 6,
            Self::OutOfRange => 7,
            Self::StoppedReporting => 8,
        }
    }

    /// The name in SQL, alerts and labels; none where nothing is said.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Spike => Some("spike"),
            Self::Drop => Some("drop"),
            Self::LevelShift => Some("level_shift"),
            Self::VarianceChange => Some("variance_change"),
            Self::Flatline => Some("flatline"),
            Self::SeasonalBreak => Some("seasonal_break"),
            Self::OutOfRange => Some("out_of_range"),
            Self::StoppedReporting => Some("stopped_reporting"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lead_back_to_their_kind_and_others_nowhere() {
        for code in 0..=8 {
            assert_eq!(AnomalyKind::from_code(code).code(), code);
        }
        assert_eq!(AnomalyKind::from_code(9), AnomalyKind::None);
        for kind in AnomalyKind::OF_SAMPLES {
            assert!(kind.code() < 8 && kind.name().is_some());
        }
    }
}
