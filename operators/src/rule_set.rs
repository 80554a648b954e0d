//! All rules in force.

use crate::limits::RULES_MAX;
use crate::rule::Rule;
use crate::rule_error::{RuleError, RuleProblem, RuleTextError};
use crate::{RuleConfig, canonical};

/// Checked rules in the order of their names, which are unique. The default is none.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

impl RuleSet {
    /// Checks rules; their order does not matter.
    ///
    /// # Errors
    /// All problems at once, in the order of the rules given.
    #[expect(clippy::needless_pass_by_value, reason = "the configuration is spent here")]
    pub fn new(configs: Vec<RuleConfig>) -> Result<Self, Vec<RuleError>> {
        let mut errors = Vec::new();
        if let Some(first) = configs.get(RULES_MAX) {
            let problem = RuleProblem::TooManyRules { count: configs.len() };
            return Err(vec![RuleError { rule: first.name.clone(), key: "name".into(), problem }]);
        }
        let mut rules = Vec::with_capacity(configs.len());
        let mut names = std::collections::BTreeSet::new();
        for config in &configs {
            rules.extend(Rule::compile(config, &mut errors));
            if !names.insert(&config.name) {
                errors.push(RuleError {
                    rule: config.name.clone(),
                    key: "name".into(),
                    problem: RuleProblem::DuplicateName,
                });
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        rules.sort_by(|a: &Rule, b: &Rule| a.name.cmp(&b.name));
        Ok(Self { rules })
    }

    /// The text that is logged: equal for equal rules, whatever their order and spelling.
    #[must_use]
    pub fn canonical_text(&self) -> String {
        self.rules.iter().map(|rule| rule.text.as_str()).collect()
    }

    /// The rules of a canonical text.
    ///
    /// # Errors
    /// [`RuleTextError`] says which line, or which rule.
    pub fn from_canonical_text(text: &str) -> Result<Self, RuleTextError> {
        Self::new(canonical::parse(text)?).map_err(RuleTextError::Rules)
    }

    /// Number of rules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

#[cfg(test)]
#[path = "rule_set_tests.rs"]
mod tests;
