//! `[[detect]]`

use std::collections::BTreeMap;

use tidewatch_operators::limits::MIN_SAMPLES_MAX;
use tidewatch_operators::{
    DetectConfig, DetectRule, Direction, Model, RuleSet, SeriesKind, TimeZone, time_zone_names,
};
use toml::{Table, Value};

use crate::config::hint::nearest;
use crate::config::rules::label;
use crate::config::section::{Bounds, Findings, Section, entries};

/// What `model` may be.
const MODEL: &str = "\"light\", \"novelty\", \"deviation\", \"auto\", \"mad\", \"holt_winters\", \"half_space_trees\" or \"anomstack\"";
/// What `detection_direction` may be.
const DIRECTION: &str = "\"both\", \"above\" or \"below\"";
/// What `kind` may be.
const KIND: &str = "\"auto\", \"gauge\" or \"counter\"";
/// What `time_zone` may be.
const TIME_ZONE: &str = "a name of the IANA database, such as \"Europe/Berlin\"";
/// What `data_range` may be.
const RANGE: &str = "two numbers, the lesser first; inf and -inf leave an end open";

/// Reads all entries in their order, and puts those that are good into `rules`.
pub(crate) fn read_detection(root: &mut Table, rules: RuleSet, findings: &mut Findings) -> RuleSet {
    let tables = entries(root, "detect", "detect", findings);
    let mut detects = Vec::with_capacity(tables.len());
    let mut zones = BTreeMap::new();
    for (index, table) in tables.into_iter().enumerate() {
        let label = label("detect", None, index);
        detects.extend(read_entry(Section::entry(label, "detect", table, findings), &mut zones));
    }
    match rules.with_detection(detects) {
        Ok(rules) => rules,
        Err(errors) => {
            for error in errors {
                findings.problem(&format!("detect[{}]", error.rule), error.problem.to_string());
            }
            RuleSet::default()
        }
    }
}

/// `zones` are those that entries before have named: a zone takes milliseconds to compile, and kilobytes.
fn read_entry(
    mut section: Section<'_>,
    zones: &mut BTreeMap<String, TimeZone>,
) -> Option<DetectRule> {
    let mut config = DetectConfig {
        matchers: section.texts("match", "{ metric = \"x\", label = \"~ y.*\" }"),
        ..DetectConfig::default()
    };
    if section.has("model") {
        let model = section.parsed("model", "", MODEL, |name| name.parse::<Model>().ok());
        config.model = model.unwrap_or_default();
    } else {
        section.required("model", MODEL);
    }
    let direction = |name: &str| name.parse::<Direction>().ok();
    let direction = section.parsed("detection_direction", "both", DIRECTION, direction);
    config.direction = direction.unwrap_or_default();
    section.distance("min_dev_from_expected", &mut config.min_deviation);
    config.range = read_range(&mut section);
    let mut min_samples = 0;
    let bounds = Bounds { min: 0, max: u64::from(MIN_SAMPLES_MAX), zero: None };
    section.number("min_samples", &mut min_samples, &bounds);
    config.min_samples = u32::try_from(min_samples).unwrap_or(u32::MAX);
    let kind = section.parsed("kind", "auto", KIND, |name| name.parse::<SeriesKind>().ok());
    config.kind = kind.unwrap_or_default();
    config.time_zone = read_time_zone(&mut section, zones);
    let rule = match DetectRule::new(&config) {
        Ok(rule) => Some(rule),
        Err(found) => {
            for (key, problem) in found {
                section.problem(&key, problem.to_string());
            }
            None
        }
    };
    section.finish();
    rule
}

fn read_time_zone(section: &mut Section<'_>, zones: &mut BTreeMap<String, TimeZone>) -> TimeZone {
    let name = section.parsed("time_zone", "UTC", TIME_ZONE, |name| Some(name.to_owned()));
    let Some(name) = name else { return TimeZone::UTC };
    if let Some(zone) = zones.get(&name) {
        return zone.clone();
    }
    match name.parse::<TimeZone>() {
        Ok(zone) => {
            zones.insert(name, zone.clone());
            zone
        }
        Err(error) => {
            // A hint takes what stands behind the last point for the name, and what stands before for its place.
            let known: Vec<String> = time_zone_names().map(|name| name.replace('/', ".")).collect();
            let meant = nearest(&name.replace('/', ".").replace(' ', "_"), &known);
            let meant = meant.map(|meant| format!("; did you mean {}?", meant.replace('.', "/")));
            let hint = meant.unwrap_or_default();
            section.problem("time_zone", format!("is unknown: {error}{hint}"));
            TimeZone::UTC
        }
    }
}

fn read_range(section: &mut Section<'_>) -> Option<[f64; 2]> {
    let (is_given, problems) = (section.has("data_range"), section.problem_count());
    let range = <[f64; 2]>::try_from(section.list("data_range", RANGE, number)).ok();
    if is_given && range.is_none() && section.problem_count() == problems {
        section.problem("data_range", format!("must be {RANGE}"));
    }
    range
}

/// Whole numbers are numbers as well.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => number.to_string().parse().ok(),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}
