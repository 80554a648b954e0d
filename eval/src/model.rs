//! The detectors that can be judged.

use std::str::FromStr;

use tidewatch_operators::SeriesDetector;

/// A detector by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// What every series has: docs/decisions/0007-light-detector.md.
    Light,
}

/// A name that no [`Model`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no model \"{name}\": it is one of light")]
pub struct ModelError {
    name: String,
}

impl Model {
    /// All models, in the order of a table.
    pub const ALL: [Self; 1] = [Self::Light];

    /// The name on the command line and in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
        }
    }
}

impl FromStr for Model {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|model| model.name() == name);
        found.ok_or_else(|| ModelError { name: name.to_owned() })
    }
}

/// The detector of a series that begins.
#[must_use]
pub fn detector(model: Model) -> SeriesDetector {
    match model {
        Model::Light => SeriesDetector::default(),
    }
}
