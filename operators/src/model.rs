//! Which detector scores a series.

use std::fmt;
use std::str::FromStr;

/// A detector, by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Model {
    /// The light detector: 248 bytes, for every series.
    #[default]
    Light,
    /// Far from anything seen before.
    Novelty,
    /// Far from what was forecast.
    Deviation,
    /// Novelty and deviation together.
    Auto,
    /// Distance from the median of a trailing window, in median absolute deviations.
    Mad,
    /// Distance from level, trend and season.
    HoltWinters,
    /// How empty the part of space is that the last samples lie in.
    HalfSpaceTrees,
    /// Anomstack's default: principal components and nearest neighbours.
    Anomstack,
}

/// A name that no [`Model`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no model \"{name}\": it is one of {}", Model::names())]
pub struct ModelError {
    name: String,
}

impl Model {
    /// All models, ours first, the least of them first.
    pub const ALL: [Self; 8] = [
        Self::Light,
        Self::Novelty,
        Self::Deviation,
        Self::Auto,
        Self::Mad,
        Self::HoltWinters,
        Self::HalfSpaceTrees,
        Self::Anomstack,
    ];

    /// The name in configuration, commands and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Novelty => "novelty",
            Self::Deviation => "deviation",
            Self::Auto => "auto",
            Self::Mad => "mad",
            Self::HoltWinters => "holt_winters",
            Self::HalfSpaceTrees => "half_space_trees",
            Self::Anomstack => "anomstack",
        }
    }

    /// The names of all of them, as a message lists them.
    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Whether it learns what a series does at which hour; the others see an order of values alone.
    pub(crate) const fn knows_hours(self) -> bool {
        match self {
            Self::Light | Self::Novelty | Self::Deviation | Self::Auto | Self::HoltWinters => true,
            Self::Mad | Self::HalfSpaceTrees | Self::Anomstack => false,
        }
    }

    /// The number in stored bytes.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Light => 0,
            Self::Novelty => 1,
            Self::Deviation => 2,
            Self::Auto => 3,
            Self::Mad => 4,
            Self::HoltWinters => 5,
            Self::HalfSpaceTrees => 6,
            Self::Anomstack => 7,
        }
    }

    /// The model of a number in stored bytes.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.code() == code)
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Model {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        let model = Self::ALL.into_iter().find(|model| model.name() == name);
        model.ok_or_else(|| ModelError { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_lead_back_to_their_model_and_others_nowhere() {
        for model in Model::ALL {
            assert_eq!(model.to_string().parse(), Ok(model));
            assert_eq!(Model::from_code(model.code()), Some(model));
        }
        assert_eq!(Model::from_code(8), None);
        let error = "Auto".parse::<Model>().expect_err("names are in lower case");
        assert!(error.to_string().starts_with("there is no model \"Auto\""));
    }
}
