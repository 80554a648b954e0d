//! `[[retention]]`

use std::time::Duration;

use tidewatch_operators::Selector;
use toml::Table;

use crate::config::load::keeps;
use crate::config::rules::label;
use crate::config::section::{Findings, Section, entries};
use crate::config::units::parse_duration;

/// What `keep` may be.
const KEEP: &str = "a time with its unit of at most 36500d, or \"0s\" for ever";

/// Reads all entries in their order: which series, and for how long their samples are kept.
pub(crate) fn read_retention(
    root: &mut Table,
    findings: &mut Findings,
) -> Vec<(Selector, Duration)> {
    let tables = entries(root, "retention", "retention", findings);
    let mut rules = Vec::with_capacity(tables.len());
    for (index, table) in tables.into_iter().enumerate() {
        let label = label("retention", None, index);
        let mut section = Section::entry(label, "retention", table, findings);
        let matchers = section.texts("match", "{ metric = \"x\", label = \"~ y.*\" }");
        let keep = section.required("keep", KEEP);
        let parsed = keep.as_deref().and_then(parse_duration);
        let parsed = parsed.filter(|keep| keeps().contains(keep));
        if let Some(keep) = keep.filter(|_| parsed.is_none()) {
            section.problem("keep", format!("is {keep:?}, but must be {KEEP}"));
        }
        let keep = parsed.unwrap_or_default();
        match Selector::new(&matchers) {
            Ok(selector) => rules.push((selector, keep)),
            Err((key, problem)) => section.problem(&format!("match.{key}"), problem.to_string()),
        }
        section.finish();
    }
    rules
}
