//! One rule, checked and compiled.

use tidewatch_metrics::SeriesKey;
use twox_hash::XxHash3_128;

use crate::RuleConfig;
use crate::budget::Budget;
use crate::canonical;
use crate::limits::{
    MATCHERS_MAX, PRIORITY_BYTES_MAX, RULE_DURATION_NANOS_MAX, RULE_NAME_BYTES_MAX,
};
use crate::matcher::Matcher;
use crate::percentile::{GroupKey, PercentilesRule};
use crate::rule_error::{RuleError, RuleProblem};
use crate::when::When;

/// A rule as the pipeline uses it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    /// In canonical order.
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) when: When,
    pub(crate) for_nanos: i64,
    pub(crate) keep_firing_nanos: i64,
    pub(crate) budget: Option<Budget>,
    pub(crate) priority: String,
    /// The canonical text and its xxh3-128.
    pub(crate) text: String,
    pub(crate) hash: u128,
    /// The first 16 hex digits of the hash.
    pub(crate) version: String,
}

impl Rule {
    /// Checks a rule; puts every problem into `errors`.
    pub(crate) fn compile(config: &RuleConfig, errors: &mut Vec<RuleError>) -> Option<Self> {
        let before = errors.len();
        let mut refuse = |key: String, problem: RuleProblem| {
            errors.push(RuleError { list: "rule", rule: config.name.clone(), key, problem });
        };
        if config.name.is_empty() || !is_plain(&config.name, RULE_NAME_BYTES_MAX) {
            refuse("name".to_owned(), RuleProblem::Name);
        }
        if !is_plain(&config.priority, PRIORITY_BYTES_MAX) {
            refuse("priority".to_owned(), RuleProblem::Priority);
        }
        for (key, nanos) in [("for", config.for_nanos), ("keep_firing", config.keep_firing_nanos)] {
            if !(0..=RULE_DURATION_NANOS_MAX).contains(&nanos) {
                refuse(key.to_owned(), RuleProblem::Duration { nanos });
            }
        }
        let matchers = compile_matchers(&config.matchers, &mut refuse);
        let Some(when) = When::parse(&config.when) else {
            refuse("when".to_owned(), RuleProblem::When { text: config.when.clone() });
            return None;
        };
        if when.quantile().is_some_and(|condition| !condition.is_good()) {
            refuse("when".to_owned(), RuleProblem::Quantile { text: config.when.clone() });
        }
        let budget = config.budget.map(|budget| Budget::new(budget, when.number()));
        let budget = budget.transpose().unwrap_or_else(|problem| {
            refuse("budget".to_owned(), problem);
            None
        });
        if errors.len() > before {
            return None;
        }
        let mut rule = Self {
            name: config.name.clone(),
            matchers,
            when,
            for_nanos: config.for_nanos,
            keep_firing_nanos: config.keep_firing_nanos,
            budget,
            priority: config.priority.clone(),
            text: String::new(),
            hash: 0,
            version: String::new(),
        };
        rule.text = canonical::text_of(&rule);
        rule.hash = XxHash3_128::oneshot(rule.text.as_bytes());
        rule.version = format!("{:016x}", rule.hash >> 64);
        Some(rule)
    }

    /// Whether the rule is about the series. A rule on windows is about none.
    pub(crate) fn matches(&self, key: &SeriesKey) -> bool {
        self.when.quantile().is_none() && self.matchers.iter().all(|matcher| matcher.matches(key))
    }
}

impl Rule {
    /// What keeps the rule from being about groups of these percentiles, by the key of its configuration.
    pub(crate) fn window_problems(
        &self,
        of: &PercentilesRule,
    ) -> impl Iterator<Item = (String, RuleProblem)> {
        let ungrouped = self.matchers.iter().filter(|matcher| !of.by.contains(&matcher.label));
        ungrouped.filter_map(|matcher| {
            let problem = match of.fixed(&matcher.label) {
                None => RuleProblem::NotGroupedBy { percentiles: Box::from(&*of.name) },
                Some(fixed) if !matcher.allows(fixed) => {
                    RuleProblem::Contradiction { fixed: fixed.into() }
                }
                Some(_) => return None,
            };
            Some((format!("match.{}", matcher.label), problem))
        })
    }

    /// Whether the rule, which is about these percentiles, is about the group.
    pub(crate) fn matches_group(&self, of: &PercentilesRule, key: &GroupKey) -> bool {
        self.matchers.iter().all(|matcher| {
            let labels = of.by.iter().zip(&key.values);
            let mut values = labels.filter(|(label, _)| **label == matcher.label);
            // A label by which nothing is grouped has a value that the matcher allows: that was checked.
            values.all(|(_, value)| matcher.allows(value))
        })
    }
}

/// Matchers in canonical order; every problem goes to `refuse` with its key.
pub(crate) fn compile_matchers(
    patterns: &[(String, String)],
    refuse: &mut impl FnMut(String, RuleProblem),
) -> Vec<Matcher> {
    let count = patterns.len();
    if count > MATCHERS_MAX {
        refuse("match".to_owned(), RuleProblem::TooManyMatchers { count });
    }
    let mut matchers = Vec::new();
    for (label, pattern) in patterns.iter().take(MATCHERS_MAX) {
        match Matcher::parse(label, pattern) {
            Ok(matcher) => matchers.push(matcher),
            Err(problem) => refuse(format!("match.{label}"), problem),
        }
    }
    let order = |m: &Matcher| (m.label.clone(), m.operator, m.text.clone());
    matchers.sort_by_cached_key(order);
    matchers.dedup_by_key(|m| order(m));
    matchers
}

pub(crate) fn is_plain(text: &str, bytes_max: usize) -> bool {
    text.len() <= bytes_max && !text.chars().any(char::is_control)
}
