//! The detectors that can be judged.

use std::fmt;
use std::str::FromStr;

use tidewatch_operators::SeriesDetector;

/// A detector by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Model {
    /// What every series has: docs/decisions/0007-light-detector.md.
    #[default]
    Light,
}

/// A name that no model has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no model \"{0}\"")]
pub struct UnknownModel(String);

impl Model {
    /// All of them, in the order of a table.
    pub const ALL: &'static [Self] = &[Self::Light];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
        }
    }

    /// The detector of a series that begins.
    #[must_use]
    pub fn detector(self) -> SeriesDetector {
        match self {
            Self::Light => SeriesDetector::default(),
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Model {
    type Err = UnknownModel;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().copied().find(|model| model.name() == name);
        found.ok_or_else(|| UnknownModel(name.to_owned()))
    }
}
