//! `[[percentiles]]`

use std::time::Duration;

use tidewatch_operators::PercentilesConfig;
use tidewatch_operators::limits::{WINDOW_NANOS_MAX, WINDOW_NANOS_MIN};
use toml::{Table, Value};

use crate::config::rules::label;
use crate::config::section::{Findings, Section, entries};
use crate::config::units::parse_duration;

/// What windows wait for late rows, where nothing is said.
const LATENESS: Duration = Duration::from_secs(30);
/// How long windows can be amended, where nothing is said.
const KEEP: Duration = Duration::from_mins(10);
/// What `window` and `slide` may be.
const WINDOW: &str = "a time with its unit between 1s and 1d";

/// Reads all entries in their order, those whose keys have the right types.
pub(crate) fn read_percentiles(
    root: &mut Table,
    findings: &mut Findings,
) -> Vec<PercentilesConfig> {
    let tables = entries(root, "percentiles", "percentiles", findings);
    let mut all = Vec::with_capacity(tables.len());
    for (index, table) in tables.into_iter().enumerate() {
        let name = table.get("name").and_then(Value::as_str);
        let label = label("percentiles", name, index);
        all.extend(read_entry(Section::entry(label, "percentiles", table, findings)));
    }
    all
}

/// One entry, ready for the operators' own checks.
fn read_entry(mut section: Section<'_>) -> Option<PercentilesConfig> {
    let problems = section.problem_count();
    let name = section.required("name", "a text that no other percentiles have");
    let matchers = section.texts("match", "{ label = \"x\", other = \"!= y\", third = \"~ z.*\" }");
    let by = section.list("by", "a list of labels", |value| value.as_str().map(str::to_owned));
    let window = section.required("window", WINDOW);
    let window = duration(&mut section, "window", window);
    let slide = section.parsed("slide", "", WINDOW, |text| Some(text.to_owned()));
    let slide = slide.map(|slide| duration(&mut section, "slide", Some(slide)));
    let quantiles = section.list("quantiles", "a list of numbers from 0 to 1", number);
    let longest = u64::try_from(WINDOW_NANOS_MAX).expect("a bound is positive");
    let bounds = Duration::ZERO..=Duration::from_nanos(longest);
    let (mut lateness, mut keep) = (LATENESS, KEEP);
    section.duration("lateness", &mut lateness, &bounds);
    section.duration("keep", &mut keep, &bounds);
    let good = section.problem_count() == problems;
    section.finish();
    good.then(|| PercentilesConfig {
        name: name.unwrap_or_default(),
        matchers,
        by,
        window_nanos: nanos(window),
        slide_nanos: nanos(slide.unwrap_or(window)),
        quantiles,
        lateness_nanos: nanos(lateness),
        keep_nanos: nanos(keep),
    })
}

/// A time that was given as a text; 0 where it has a problem.
fn duration(section: &mut Section<'_>, key: &str, text: Option<String>) -> Duration {
    let Some(text) = text else { return Duration::ZERO };
    let longest = u128::from(WINDOW_NANOS_MAX.unsigned_abs());
    let shortest = u128::from(WINDOW_NANOS_MIN.unsigned_abs());
    let time = parse_duration(&text);
    let time = time.filter(|time| (shortest..=longest).contains(&time.as_nanos()));
    if time.is_none() {
        section.problem(key, format!("is {text:?}, but must be {WINDOW}"));
    }
    time.unwrap_or_default()
}

/// Whole numbers are numbers as well.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(0) => Some(0.0),
        Value::Integer(1) => Some(1.0),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).expect("the bound fits 63 bits")
}
