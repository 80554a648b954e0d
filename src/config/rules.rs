//! `[[rule]]`, and together with them `[[percentiles]]` and `[[detect]]`

use std::time::Duration;

use tidewatch_operators::limits::{BUDGET_MAX, RULE_DURATION_NANOS_MAX};
use tidewatch_operators::{RuleConfig, RuleError, RuleProblem, RuleSet};
use toml::{Table, Value};

use crate::config::detect::read_detection;
use crate::config::percentiles::read_percentiles;
use crate::config::section::{Findings, Section, entries};

/// Reads and checks all rules, percentiles and detection; empty if one has a problem.
pub(crate) fn read_rules(root: &mut Table, findings: &mut Findings) -> RuleSet {
    let tables = entries(root, "rule", "rule", findings);
    let mut rules = Vec::with_capacity(tables.len());
    for (index, table) in tables.into_iter().enumerate() {
        let name = table.get("name").and_then(Value::as_str);
        let label = label("rule", name, index);
        rules.extend(read_rule(Section::entry(label, "rule", table, findings)));
    }
    let problems = findings.problems.len();
    let percentiles = read_percentiles(root, findings);
    let all_are_read = findings.problems.len() == problems;
    let rules = match RuleSet::with_percentiles(&rules, &percentiles) {
        Ok(rules) => rules,
        Err(errors) => {
            // Percentiles that have a problem of their own are not unknown.
            let is_told = |error: &&RuleError| {
                all_are_read || !matches!(error.problem, RuleProblem::UnknownPercentiles { .. })
            };
            for error in errors.iter().filter(is_told) {
                let label = label(error.list, Some(&error.rule), 0);
                findings.problem(&format!("{label}.{}", error.key), error.problem.to_string());
            }
            RuleSet::default()
        }
    };
    read_detection(root, rules, findings)
}

/// A rule whose keys have the right types, ready for its own checks.
fn read_rule(mut section: Section<'_>) -> Option<RuleConfig> {
    let problems = section.problem_count();
    let name = section.required("name", "a text that no other rule has").unwrap_or_default();
    let matchers = section.texts("match", "{ label = \"x\", other = \"!= y\", third = \"~ z.*\" }");
    let when = section.required(
        "when",
        "\"value\", \"severity\", \"score\" or \"rate\", then > >= < <= == != and a number; \
         or \"absent\", alone or with > and seconds; or percentile(\"NAME\", Q), then as the first ones",
    );
    let longest = u64::try_from(RULE_DURATION_NANOS_MAX).expect("a bound is positive");
    let bounds = Duration::ZERO..=Duration::from_nanos(longest);
    let (mut hold, mut keep_firing) = (Duration::ZERO, Duration::ZERO);
    section.duration("for", &mut hold, &bounds);
    section.duration("keep_firing", &mut keep_firing, &bounds);
    let budget = section.positive("budget", BUDGET_MAX);
    let priority = section.parsed("priority", "", "a text", |text| Some(text.to_owned()));
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).expect("the bound fits 63 bits");
    let good = section.problem_count() == problems;
    section.finish();
    good.then(|| RuleConfig {
        name,
        matchers,
        when: when.unwrap_or_default(),
        for_nanos: nanos(hold),
        keep_firing_nanos: nanos(keep_firing),
        budget,
        priority: priority.unwrap_or_default(),
    })
}

/// What problems call an entry: by its name, or by its place, counted from 1.
pub(crate) fn label(list: &str, name: Option<&str>, index: usize) -> String {
    match name {
        Some(name) => format!("{list}.{:?}", name.chars().take(80).collect::<String>()),
        None => format!("{list}[{}]", index + 1),
    }
}
