//! JSON samples beside the crate `serde_json`: what is taken, and why the others are refused.

use std::collections::BTreeMap;

use serde_json::Value;
use tidewatch_metrics::limits::SERIES_LABELS_MAX;

use crate::decode::precision::Precision;
use crate::decode::time::{TimeFault, parse_date_time};
use crate::decode::{
    ItemReason, SeriesBatch, SeriesError, SeriesForm, SeriesOptions, decode_series,
};

/// What both say about a sample.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) metric: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Nanoseconds.
    pub(crate) time: i64,
    pub(crate) value: f64,
}

/// A sample by its number, or why it is refused.
pub(crate) type Samples = BTreeMap<u32, Result<Told, ItemReason>>;

pub(crate) fn by_us(form: SeriesForm, body: &[u8]) -> Result<Samples, SeriesError> {
    let mut batch = SeriesBatch::new();
    decode_series(form, body, &SeriesOptions::default(), &mut batch)?;
    let mut samples = Samples::new();
    for error in batch.errors().first() {
        assert!(samples.insert(error.item, Err(error.reason)).is_none(), "refused twice");
    }
    for item in 0..batch.items() {
        let rows = batch.rows_of(item);
        assert_eq!(rows.len(), 1);
        let told = batch.names(body, item).map(|names| Told {
            metric: names.metric,
            labels: names.labels.into_iter().collect(),
            time: batch.times()[rows.start].nanos(),
            value: batch.values()[rows.start],
        });
        assert!(samples.insert(batch.numbers()[item], told).is_none(), "taken twice");
    }
    Ok(samples)
}

/// What the tree says about a sample.
struct TreeSample {
    told: Result<Told, ItemReason>,
    /// Its time where that is no integer: as near as a float comes to it. The `told` one is then 0.
    near_time: Option<f64>,
}

/// By their numbers; `None` where the tree has no place for the numbers in a sample.
type TreeSamples = BTreeMap<u32, Option<TreeSample>>;

/// The same by way of a tree. `Ok(None)` for JSON of another shape.
fn by_tree(form: SeriesForm, body: &[u8]) -> Result<Option<TreeSamples>, serde_json::Error> {
    if form == SeriesForm::JsonLines {
        let lines = (0..).zip(body.split(|byte| *byte == b'\n'));
        let lines = lines.filter(|(_, line)| !line.iter().all(|byte| b" \t\r".contains(byte)));
        let samples: TreeSamples = lines.map(|(number, line)| (number, of_line(line))).collect();
        return Ok(Some(samples).filter(|samples| !samples.is_empty()));
    }
    let root: Value = serde_json::from_slice(body)?;
    let Some(Value::Array(metrics)) = root.get("metrics") else { return Ok(None) };
    let names = ["name", "timestamp", "dimensions"];
    let samples = (0..).zip(metrics).map(|(number, item)| (number, Some(of_value(item, names))));
    Ok(Some(samples.collect()).filter(|_| !metrics.is_empty()))
}

fn of_line(line: &[u8]) -> Option<TreeSample> {
    let refused = |reason| Some(TreeSample { told: Err(reason), near_time: None });
    if std::str::from_utf8(line).is_err() {
        return refused(ItemReason::NotUtf8);
    }
    match serde_json::from_slice(line) {
        Ok(value) => Some(of_value(&value, ["metric", "time", "labels"])),
        Err(error) if is_beyond_the_tree(&error) => None,
        Err(_) => refused(ItemReason::BadJson),
    }
}

/// The tree has no place for such numbers: what we say of them is looked at by other tests.
fn is_beyond_the_tree(error: &serde_json::Error) -> bool {
    error.to_string().contains("out of range")
}

fn of_value(sample: &Value, names: [&str; 3]) -> TreeSample {
    let time = sample.get(names[1]).filter(|time| time.is_f64());
    TreeSample { told: told(sample, names), near_time: time.and_then(Value::as_f64) }
}

/// In the order in which faults are looked for: the first one counts.
fn told(sample: &Value, [name, time, labels]: [&str; 3]) -> Result<Told, ItemReason> {
    let sample = sample.as_object().ok_or(ItemReason::NotAnObject)?;
    let metric = match sample.get(name) {
        None | Some(Value::Null) => return Err(ItemReason::MissingName),
        Some(Value::String(text)) if text.is_empty() => return Err(ItemReason::MissingName),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err(ItemReason::NameNotText),
    };
    let time = match sample.get(time) {
        None | Some(Value::Null) => return Err(ItemReason::MissingTime),
        Some(Value::String(text)) => time_of_text(text)?,
        Some(Value::Number(number)) if number.is_f64() => 0,
        Some(Value::Number(number)) => {
            let time = number.as_i64().and_then(|number| Precision::Auto.scale(number));
            time.ok_or(ItemReason::TimeOutOfRange)?.nanos()
        }
        Some(_) => return Err(ItemReason::InvalidTime),
    };
    let labels = match sample.get(labels) {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(Value::Object(members)) => {
            let texts =
                members.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
            texts.collect::<Option<_>>().ok_or(ItemReason::LabelNotText)?
        }
        Some(_) => return Err(ItemReason::LabelsNotObject),
    };
    let value = match sample.get("value") {
        None | Some(Value::Null) => return Err(ItemReason::MissingValue),
        Some(value) => value.as_f64().ok_or(ItemReason::ValueNotNumber)?,
    };
    let mut names = std::iter::once(&metric).chain(labels.keys());
    if names.any(|name| name.chars().any(char::is_control)) {
        return Err(ItemReason::ControlByte);
    }
    Ok(Told { metric, labels, time, value })
}

fn time_of_text(text: &str) -> Result<i64, ItemReason> {
    match parse_date_time(text.as_bytes()) {
        Ok(time) => Ok(time.nanos()),
        Err(TimeFault::Invalid) => Err(ItemReason::InvalidTime),
        Err(TimeFault::OutOfRange) => Err(ItemReason::TimeOutOfRange),
    }
}

/// Both take the same samples and refuse the others for the same reasons, but for the little that the tree's
/// floats leave open.
pub(crate) fn check(form: SeriesForm, body: &[u8]) {
    let shown = || format!("{form:?} {:?}", String::from_utf8_lossy(body));
    let (ours, theirs) = (by_us(form, body), by_tree(form, body));
    let theirs = match theirs {
        Err(error) if is_beyond_the_tree(&error) => return,
        Err(_) => {
            assert!(matches!(ours, Err(SeriesError::Json { .. })), "{ours:?} {}", shown());
            return;
        }
        Ok(theirs) => theirs,
    };
    let (ours, theirs) = match (ours, theirs) {
        (Err(SeriesError::MetricsTwice), _) if form == SeriesForm::Luminate => return,
        (Err(SeriesError::NoMetrics | SeriesError::Empty), None) => return,
        (Ok(ours), Some(theirs)) => (ours, theirs),
        (ours, _) => panic!("{ours:?} {}", shown()),
    };
    assert!(ours.keys().eq(theirs.keys()), "{:?} {}", ours.keys(), shown());
    for ((number, ours), theirs) in ours.iter().zip(theirs.values()) {
        let Some(theirs) = theirs else { continue };
        let same = is_same(ours, theirs) || is_left_open(ours, theirs, body);
        assert!(same, "{number}: {ours:?} {:?} {}", theirs.told, shown());
    }
}

fn is_same(ours: &Result<Told, ItemReason>, theirs: &TreeSample) -> bool {
    match (ours, &theirs.told) {
        (Ok(ours), Ok(told)) => {
            let same_time = match theirs.near_time {
                Some(number) => near_nanos(number).is_none_or(|nanos| {
                    // A float of 2^33 seconds is as coarse as this.
                    (nanos - ours.time as f64).abs() < 4_096.0
                }),
                None => ours.time == told.time,
            };
            // Floats are not read exactly by the crate as it is built here.
            let tolerance = (4e-16 * told.value.abs()).max(f64::from_bits(1));
            let same_value = (ours.value - told.value).abs() <= tolerance;
            (&ours.metric, &ours.labels) == (&told.metric, &told.labels) && same_time && same_value
        }
        (Err(ours), Err(theirs)) => ours == theirs,
        _ => false,
    }
}

/// The nanoseconds of a time with a fraction; `None` where its float does not tell its unit.
fn near_nanos(number: f64) -> Option<f64> {
    let size = number.abs();
    let units = [(5e9, 1e9), (5e12, 1e6), (5e15, 1e3)];
    if units.iter().any(|(end, _)| (size / end - 1.0).abs() < 1e-9) {
        return None;
    }
    let unit = units.iter().find(|(end, _)| size < *end);
    Some(number * unit.map_or(1.0, |(_, nanos)| *nanos))
}

/// What only we refuse: times with an exponent, times at the end of the range, labels beyond any use, and labels
/// of which one is no text, though it comes again as one.
fn is_left_open(ours: &Result<Told, ItemReason>, theirs: &TreeSample, body: &[u8]) -> bool {
    let has_exponent =
        || body.windows(2).any(|pair| pair[0].is_ascii_digit() && b"eE".contains(&pair[1]));
    match (ours, theirs.near_time) {
        (Err(ItemReason::InvalidTime), Some(_)) => has_exponent(),
        (Err(ItemReason::TimeOutOfRange), Some(number)) => {
            near_nanos(number).is_none_or(|nanos| nanos.abs() > 9.2e18) || has_exponent()
        }
        (Err(ItemReason::LabelNotText), _) => theirs.told.as_ref().map_or(true, |told| {
            let repeats = |key: &String| body_has_twice(body, format!("{key:?}").as_bytes());
            told.labels.keys().any(repeats) || body.contains(&b'\\')
        }),
        (Err(ItemReason::TooManyLabels), _) => {
            body.iter().filter(|byte| **byte == b':').count() > 2 * SERIES_LABELS_MAX
        }
        _ => false,
    }
}

fn body_has_twice(body: &[u8], piece: &[u8]) -> bool {
    memchr::memmem::find_iter(body, piece).nth(1).is_some()
}
