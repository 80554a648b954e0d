//! Models as they are named on the command line.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use tidewatch_eval::Model;

use crate::assemble::DEFAULT_MODEL;

/// The name of all models together.
const ALL: &str = "all";

/// One model, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelName {
    /// Every model that there is.
    All,
    /// This one.
    One(Model),
}

impl ModelName {
    /// The models that are meant, each once, in the order in which they are named; the default one where none is.
    pub(super) fn models(names: &[Self]) -> Vec<Model> {
        let named = names.iter().flat_map(|name| match name {
            Self::All => Model::ALL.to_vec(),
            Self::One(model) => vec![*model],
        });
        let mut models: Vec<Model> = Vec::new();
        for model in named {
            if !models.contains(&model) {
                models.push(model);
            }
        }
        if models.is_empty() { vec![DEFAULT_MODEL] } else { models }
    }
}

/// Reads the name of a model or `all`, and lists them in help and completions.
pub(super) fn model_name_parser() -> impl TypedValueParser<Value = ModelName> {
    let names = Model::ALL.into_iter().map(Model::name).chain([ALL]);
    PossibleValuesParser::new(names).try_map(|name| match name.as_str() {
        ALL => Ok(ModelName::All),
        name => name.parse::<Model>().map(ModelName::One),
    })
}

/// Reads the name of a model, and lists them in help and completions.
pub(crate) fn model_parser() -> impl TypedValueParser<Value = Model> {
    PossibleValuesParser::new(Model::ALL.map(Model::name)).try_map(|name| name.parse::<Model>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_once_and_without_a_name_the_default_one_is_meant() {
        let light = ModelName::One(Model::Light);
        assert_eq!(ModelName::models(&[light, light]), [Model::Light]);
        assert_eq!(ModelName::models(&[light, ModelName::All]), Model::ALL);
        assert_eq!(ModelName::models(&[]), [DEFAULT_MODEL]);
    }
}
