//! How a series is scored.

use crate::detect::Knobs;
use crate::model::Model;

/// How a series is scored: the first `[[detect]]` that matches it, or the default, the light model without knobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detection {
    /// The detector.
    pub model: Model,
    /// What becomes of its severities.
    pub knobs: Knobs,
}

impl Detection {
    /// A model without knobs.
    #[must_use]
    pub const fn by(model: Model) -> Self {
        Self { model, knobs: Knobs::NONE }
    }
}
