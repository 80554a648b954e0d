//! Models as they are named on the command line.

use tidewatch_eval::Model;

/// The model of series for which none is named.
pub(crate) const DEFAULT_MODEL: Model = Model::Light;

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

/// Reads `all` or the name of a model.
pub(super) fn parse_model_name(name: &str) -> Result<ModelName, String> {
    if name == "all" { Ok(ModelName::All) } else { parse_model(name).map(ModelName::One) }
}

/// Reads the name of a model.
pub(crate) fn parse_model(name: &str) -> Result<Model, String> {
    name.parse().map_err(|error: tidewatch_eval::ModelError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_once_and_without_a_name_the_default_one_is_meant() {
        let light = parse_model_name("light").unwrap();
        assert_eq!(light, ModelName::One(Model::Light));
        assert_eq!(ModelName::models(&[light, light]), [Model::Light]);
        assert_eq!(ModelName::models(&[light, ModelName::All]), Model::ALL);
        assert_eq!(ModelName::models(&[]), [DEFAULT_MODEL]);
        let unknown = parse_model_name("heavy").unwrap_err();
        assert!(
            unknown.starts_with("there is no model \"heavy\": it is one of light"),
            "{unknown}"
        );
    }
}
