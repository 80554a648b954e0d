//! Which series are meant, outside of rules.

use tidewatch_metrics::SeriesKey;

use crate::limits::MATCHERS_MAX;
use crate::matcher::Matcher;
use crate::rule_error::RuleProblem;

/// Conditions on labels, all of which a series must meet.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

impl Selector {
    /// The selector of these labels and patterns: `x`, `!= x`, `~ expression` or `!~ expression`.
    ///
    /// # Errors
    /// The first label whose pattern is not one of these, and what is wrong with it.
    pub fn new(patterns: &[(String, String)]) -> Result<Self, (String, RuleProblem)> {
        if patterns.len() > MATCHERS_MAX {
            let problem = RuleProblem::TooManyMatchers { count: patterns.len() };
            return Err((String::new(), problem));
        }
        let parse = |(label, pattern): &(String, String)| {
            Matcher::parse(label, pattern).map_err(|problem| (label.clone(), problem))
        };
        let mut matchers = patterns.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        matchers.sort_by_cached_key(|m| (m.label.clone(), m.operator, m.text.clone()));
        Ok(Self { matchers })
    }

    /// Whether the series is meant.
    #[must_use]
    pub fn matches(&self, key: &SeriesKey) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(key))
    }
}

impl std::fmt::Display for Selector {
    /// Equal for equal conditions, in whatever order they were given.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |matcher: &Matcher| format!("{} {}", matcher.label, matcher.pattern());
        f.write_str(&self.matchers.iter().map(text).collect::<Vec<_>>().join(", "))
    }
}
