//! The canonical text of detection: what the log holds, behind that of rules and percentiles.
//!
//! ```text
//! detect "auto"
//! match "metric" "= latency_ms"
//! direction above
//! min_dev_from_expected 5
//! data_range 0 inf
//! min_samples 100
//! kind counter
//! time_zone "Europe/Berlin"
//! ```
//!
//! As that of the rules, but in the order given, because the first match counts. What is not set has no line, so that a knob
//! of a later release changes no text of an earlier one. Numbers have the fewest digits that tell them apart. What a time zone is
//! stands before all `[[detect]]`, see [`time_zone::text`](crate::time_zone::text).

use crate::DetectConfig;
use crate::RuleTextError;
use crate::canonical::{Lines, line, quoted};
use crate::detect::{DataRange, Detection, Direction};
use crate::matcher::Matcher;
use crate::series_kind::SeriesKind;
use crate::time_zone::TimeZone;

/// What the text of each begins with.
pub(crate) const FIRST: &str = "detect ";

/// The canonical text of one.
pub(super) fn text_of(matchers: &[Matcher], detection: &Detection) -> String {
    let mut out = String::with_capacity(120);
    line(&mut out, "detect", &[&quoted(detection.model.name())]);
    for matcher in matchers {
        line(&mut out, "match", &[&quoted(&matcher.label), &quoted(&matcher.pattern())]);
    }
    let knobs = &detection.knobs;
    if knobs.direction != Direction::Both {
        line(&mut out, "direction", &[&knobs.direction]);
    }
    if knobs.min_deviation > 0.0 {
        line(&mut out, "min_dev_from_expected", &[&knobs.min_deviation]);
    }
    if let Some(DataRange { low, high }) = knobs.range {
        line(&mut out, "data_range", &[&low, &high]);
    }
    if knobs.min_samples > 0 {
        line(&mut out, "min_samples", &[&knobs.min_samples]);
    }
    if knobs.kind != SeriesKind::Auto {
        line(&mut out, "kind", &[&knobs.kind]);
    }
    if !knobs.time_zone.is_utc() {
        line(&mut out, "time_zone", &[&quoted(knobs.time_zone.name())]);
    }
    out
}

/// What a canonical text spells, before it is checked; `zones` are those that stand before it, and `first` is the number of its
/// first line, from 0.
pub(crate) fn parse(
    text: &str,
    zones: &[TimeZone],
    first: usize,
) -> Result<Vec<DetectConfig>, RuleTextError> {
    let zone = |name: &str| zones.iter().find(|zone| quoted(zone.name()) == name).cloned();
    let mut lines = Lines::new(text, first);
    let mut all = Vec::new();
    while !lines.is_empty() {
        let model =
            lines.parsed(FIRST, |rest| rest.strip_prefix('"')?.strip_suffix('"')?.parse().ok())?;
        let mut config = DetectConfig { model, ..DetectConfig::default() };
        while lines.next_is("match ") {
            config.matchers.push(lines.quoted_pair("match ")?);
        }
        if lines.next_is("direction ") {
            config.direction = lines.parsed("direction ", |rest| rest.parse().ok())?;
        }
        if lines.next_is("min_dev_from_expected ") {
            config.min_deviation =
                lines.parsed("min_dev_from_expected ", |rest| rest.parse().ok())?;
        }
        if lines.next_is("data_range ") {
            config.range = Some(lines.parsed("data_range ", |rest| {
                let (low, high) = rest.split_once(' ')?;
                Some([low.parse().ok()?, high.parse().ok()?])
            })?);
        }
        if lines.next_is("min_samples ") {
            config.min_samples = lines.parsed("min_samples ", |rest| rest.parse().ok())?;
        }
        if lines.next_is("kind ") {
            config.kind = lines.parsed("kind ", |rest| rest.parse().ok())?;
        }
        if lines.next_is("time_zone ") {
            config.time_zone = lines.parsed("time_zone ", zone)?;
        }
        all.push(config);
    }
    Ok(all)
}
