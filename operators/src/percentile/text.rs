//! The canonical text of percentiles: what the log holds, behind that of the rules.
//!
//! ```text
//! percentiles "latency"
//! match "metric" "= latency_ms"
//! by "service"
//! window 60000000000
//! slide 60000000000
//! quantiles 0.5 0.99
//! lateness 30000000000
//! keep 600000000000
//! ```
//!
//! As that of the rules: in the order of names, durations in nanoseconds, quantiles ascending and with the
//! fewest digits that tell them apart; labels stay in the order given.

use crate::canonical::{Lines, line, quoted};
use crate::percentile::PercentilesRule;
use crate::{PercentilesConfig, RuleTextError};

/// What the text of each begins with.
pub(crate) const FIRST: &str = "percentiles ";

/// The canonical text of one.
pub(crate) fn text_of(rule: &PercentilesRule) -> String {
    let mut out = String::with_capacity(200);
    line(&mut out, "percentiles", &[&quoted(&rule.name)]);
    for matcher in &rule.matchers {
        line(&mut out, "match", &[&quoted(&matcher.label), &quoted(&matcher.pattern())]);
    }
    for label in &rule.by {
        line(&mut out, "by", &[&quoted(label)]);
    }
    line(&mut out, "window", &[&rule.window_nanos]);
    line(&mut out, "slide", &[&rule.slide_nanos]);
    let quantiles: Vec<String> = rule.quantiles.iter().map(ToString::to_string).collect();
    line(&mut out, "quantiles", &[&quantiles.join(" ")]);
    line(&mut out, "lateness", &[&rule.lateness_nanos]);
    line(&mut out, "keep", &[&rule.keep_nanos]);
    out
}

/// The percentiles that a canonical text spells, before they are checked; `first` is the number of its first line,
/// from 0.
pub(crate) fn parse(text: &str, first: usize) -> Result<Vec<PercentilesConfig>, RuleTextError> {
    let mut lines = Lines::new(text, first);
    let mut all = Vec::new();
    while !lines.is_empty() {
        let mut config =
            PercentilesConfig { name: lines.quoted(FIRST)?, ..PercentilesConfig::default() };
        while lines.next_is("match ") {
            config.matchers.push(lines.quoted_pair("match ")?);
        }
        while lines.next_is("by ") {
            config.by.push(lines.quoted("by ")?);
        }
        config.window_nanos = lines.number("window ")?;
        config.slide_nanos = lines.number("slide ")?;
        config.quantiles = lines.numbers("quantiles ")?;
        config.lateness_nanos = lines.number("lateness ")?;
        config.keep_nanos = lines.number("keep ")?;
        all.push(config);
    }
    Ok(all)
}
