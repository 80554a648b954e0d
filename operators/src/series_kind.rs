//! What a series' values are.

use std::fmt;
use std::str::FromStr;

/// What a series' values are, as far as it is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SeriesKind {
    /// The first samples tell.
    #[default]
    Auto,
    /// A level, which goes up and down: it is looked at as it is.
    Gauge,
    /// A sum that only grows, and begins again when its process does: it is looked at by its rate.
    Counter,
}

/// A name that no [`SeriesKind`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no kind \"{name}\": it is one of auto, gauge, counter")]
pub struct SeriesKindError {
    name: String,
}

impl SeriesKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Gauge, Self::Counter];

    /// The name in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Gauge => "gauge",
            Self::Counter => "counter",
        }
    }
}

impl fmt::Display for SeriesKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SeriesKind {
    type Err = SeriesKindError;

    fn from_str(name: &str) -> Result<Self, SeriesKindError> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| SeriesKindError { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_kind() {
        for kind in SeriesKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "sum".parse::<SeriesKind>().expect_err("there is none");
        assert!(error.to_string().contains("\"sum\""));
    }
}
