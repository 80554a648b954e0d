//! Which view of a series called a sample unusual.

/// The detector's channel that gave a sample its severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Channel {
    /// None: the severity is 0.
    #[default]
    None,
    /// Far from what the forecast expected.
    Deviation,
    /// Far from anything seen before.
    Novelty,
    /// A value that data was said not to have.
    Range,
}

impl Channel {
    /// The channel with this code; an unknown code is `None`.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Deviation,
            2 => Self::Novelty,
            3 => Self::Range,
            _ => Self::None,
        }
    }

    /// The code that is stored: 3 bits.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Deviation => 1,
            Self::Novelty => 2,
            Self::Range => 3,
        }
    }

    /// The name in SQL and alerts; empty for `None`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Deviation => "deviation",
            Self::Novelty => "novelty",
            Self::Range => "range",
        }
    }
}
