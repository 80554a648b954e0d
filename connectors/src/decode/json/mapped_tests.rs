use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidewatch_env::Rng;

use super::*;
use crate::decode::json::{LabelPlace, MapError, MapSpec, MetricPlace, PathError, ValuePlace};
use crate::decode::mutation::{below, inputs, mutate, pick};
use crate::decode::precision::Precision;
use crate::decode::time::parse_date_time;
use crate::decode::{Incoming, MessageBatch, MessageFormat, Messages, decode_series_messages};

/// When all messages were sent.
const SENT: EventTime = EventTime::new(77);

fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned())).collect()
}

/// Everything at a path of its own, within one another.
fn spec() -> MapSpec {
    MapSpec {
        time: Some("meta.at".to_owned()),
        time_unit: None,
        metric: Some(MetricPlace::Path("meta.sensor".to_owned())),
        value: Some(ValuePlace::Path("data.reading.v".to_owned())),
        labels: Some(LabelPlace::Object("tags".to_owned())),
    }
}

/// A constant metric, several values, single labels, the time in milliseconds.
fn wide_spec() -> MapSpec {
    MapSpec {
        time: Some("at".to_owned()),
        time_unit: Some(Precision::Milliseconds),
        metric: Some(MetricPlace::Constant("w".to_owned())),
        value: Some(ValuePlace::Named(named(&[("t", "data.t"), ("u", "u")]))),
        labels: Some(LabelPlace::Paths(named(&[("host", "meta.\"host.name\""), ("n", "meta.n")]))),
    }
}

/// What a row, or why there is none, is: metric, labels, nanoseconds and value.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    metric: String,
    labels: BTreeMap<String, String>,
    time: i64,
    value: f64,
}

/// The rows of a message, of which some have no good names, and why others were refused.
#[derive(Clone, Debug, Default, PartialEq)]
struct Outcome {
    rows: Vec<Result<Told, ItemReason>>,
    refused: Vec<ItemReason>,
}

fn batch_of(spec: &MapSpec, payload: &[u8]) -> (MessageBatch, SeriesBatch) {
    let format = MessageFormat::mapped(JsonMap::new(spec).unwrap());
    let mut batch = MessageBatch::with_keys(format);
    let good = br#"{"meta":{"sensor":"s"},"data":{"reading":{"v":1},"t":2}}"#;
    for (offset, payload) in (0..).zip([good, payload, good]) {
        batch.push(
            offset,
            Incoming { payload, key: Some(b"\xff\""), time: Some(SENT), labels: None },
        );
    }
    let mut out = SeriesBatch::new();
    let messages = Messages { batch: &batch, count: 3 };
    let taken = decode_series_messages(messages, &SeriesOptions::default(), &mut out);
    let of = |number| (0..out.items()).filter(|item| out.numbers()[*item] == number).count();
    assert_eq!((taken.messages, of(0), of(2)), (3, 1, 1), "the others are taken");
    assert_eq!(taken.bad, if out.errors().total() > 0 { vec![1] } else { vec![] });
    (batch, out)
}

fn by_us(spec: &MapSpec, payload: &[u8]) -> Outcome {
    let (batch, out) = batch_of(spec, payload);
    let mut outcome = Outcome::default();
    for item in (0..out.items()).filter(|item| out.numbers()[*item] == 1) {
        let row = out.rows_of(item).start;
        outcome.rows.push(out.names(batch.bytes(), item).map(|names| Told {
            metric: names.metric,
            labels: names.labels.into_iter().collect(),
            time: out.times()[row].nanos(),
            value: out.values()[row],
        }));
    }
    outcome.refused = out.errors().first().iter().map(|error| error.reason).collect();
    outcome
}

/// The same by way of a tree; `None` where it has no place for the numbers of the message.
fn by_tree(spec: &MapSpec, payload: &[u8]) -> Option<Outcome> {
    let refused = |reason| Some(Outcome { rows: Vec::new(), refused: vec![reason] });
    if payload.is_empty() {
        return refused(ItemReason::BadMessage);
    }
    if std::str::from_utf8(payload).is_err() {
        return refused(ItemReason::NotUtf8);
    }
    let root: Value = match serde_json::from_slice(payload) {
        Ok(root) => root,
        Err(error) if error.to_string().contains("out of range") => return None,
        Err(_) => return refused(ItemReason::BadJson),
    };
    let samples = match &root {
        Value::Array(samples) => samples.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut outcome = Outcome::default();
    for sample in samples {
        match of_sample(spec, sample)? {
            Ok(rows) => outcome.rows.extend(rows),
            Err(reason) => outcome.refused.push(reason),
        }
    }
    Some(outcome)
}

type Rows = Vec<Result<Told, ItemReason>>;

fn of_sample(spec: &MapSpec, sample: &Value) -> Option<Result<Rows, ItemReason>> {
    let at = |path: &str| {
        let names = super::super::path::names_of(path).unwrap();
        let found = names.iter().try_fold(sample, |value, name| value.as_object()?.get(name));
        found.filter(|value| !value.is_null())
    };
    let time = spec.time.as_deref().and_then(at);
    if time.is_some_and(Value::is_f64) {
        // The tree has no place for all digits of it.
        return None;
    }
    Some(rows_of(spec, sample, time, &at))
}

fn rows_of<'a>(
    spec: &MapSpec,
    sample: &Value,
    time: Option<&Value>,
    at: &dyn Fn(&str) -> Option<&'a Value>,
) -> Result<Rows, ItemReason> {
    sample.as_object().ok_or(ItemReason::NotAnObject)?;
    let metric = match spec.metric.as_ref().unwrap() {
        MetricPlace::Constant(name) => name.clone(),
        MetricPlace::Path(path) => match at(path).ok_or(ItemReason::MissingName)? {
            Value::String(name) if name.is_empty() => return Err(ItemReason::MissingName),
            Value::String(name) => name.clone(),
            _ => return Err(ItemReason::NameNotText),
        },
    };
    let unit = spec.time_unit.unwrap_or(Precision::Auto);
    let time = match time {
        None => SENT,
        Some(Value::String(text)) => {
            parse_date_time(text.as_bytes()).map_err(|fault| match fault {
                crate::decode::time::TimeFault::Invalid => ItemReason::InvalidTime,
                crate::decode::time::TimeFault::OutOfRange => ItemReason::TimeOutOfRange,
            })?
        }
        Some(Value::Number(number)) => {
            let time = number.as_i64().and_then(|number| unit.scale(number));
            time.ok_or(ItemReason::TimeOutOfRange)?
        }
        Some(_) => return Err(ItemReason::InvalidTime),
    };
    let labels = labels_of(spec, at)?;
    let values = match spec.value.as_ref().unwrap() {
        ValuePlace::Path(path) => vec![(metric, at(path))],
        ValuePlace::Named(named) => {
            named.iter().map(|(name, path)| (format!("{metric}_{name}"), at(path))).collect()
        }
    };
    let mut rows = Vec::new();
    for (metric, value) in values {
        let Some(value) = value else { continue };
        let value = value.as_f64().ok_or(ItemReason::ValueNotNumber)?;
        rows.push(labels.clone().and_then(|labels| {
            let mut names = std::iter::once(&metric).chain(labels.keys());
            if names.any(|name| name.chars().any(char::is_control)) {
                return Err(ItemReason::ControlByte);
            }
            Ok(Told { metric: metric.clone(), labels, time: time.nanos(), value })
        }));
    }
    if rows.is_empty() { Err(ItemReason::MissingValue) } else { Ok(rows) }
}

/// Refused with the sample, or with the names of its series.
fn labels_of<'a>(
    spec: &MapSpec,
    at: &dyn Fn(&str) -> Option<&'a Value>,
) -> Result<Result<BTreeMap<String, String>, ItemReason>, ItemReason> {
    let scalar = |value: &Value| match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => Err(ItemReason::LabelNotScalar),
    };
    match spec.labels.as_ref().unwrap() {
        LabelPlace::Object(path) => match at(path) {
            None => Ok(Ok(BTreeMap::new())),
            Some(Value::Object(members)) => {
                let labels = members.iter().map(|(key, value)| Ok((key.clone(), scalar(value)?)));
                Ok(labels.collect())
            }
            Some(_) => Err(ItemReason::LabelsNotObject),
        },
        LabelPlace::Paths(paths) => {
            let found = paths.iter().filter_map(|(key, path)| Some((key.clone(), at(path)?)));
            let labels = found.map(|(key, value)| Ok((key, scalar(value)?)));
            labels.collect::<Result<_, _>>().map(Ok)
        }
    }
}

fn told(metric: &str, labels: &[(&str, &str)], time: i64, value: f64) -> Result<Told, ItemReason> {
    Ok(Told { metric: metric.to_owned(), labels: named(labels).into_iter().collect(), time, value })
}

#[test]
fn samples_are_where_the_paths_lead() {
    let payload = br#"{"x":[{}],"meta":{"sensor":"t\u00e9mp","at":"2026-11-20T12:00:00Z","v":9},
        "tags":{"host":"a","rack":7,"up":true,"none":null,"f":1.50},"data":{"reading":{"v":-2.5}}} "#;
    let labels = [("host", "a"), ("rack", "7"), ("up", "true"), ("none", ""), ("f", "1.50")];
    let row = told("t\u{e9}mp", &labels, 1_795_176_000_000_000_000, -2.5);
    assert_eq!(by_us(&spec(), payload).rows, [row]);
    let payload = br#"[{"at":1500,"data":{"t":1},"meta":{"host.name":"h","n":false}},
        {"data":{"t":2,"t":3}},{"at":0.25,"data":4,"u":4,"meta":null}]"#;
    let rows = [
        told("w_t", &[("host", "h"), ("n", "false")], 1_500_000_000, 1.0),
        told("w_t", &[], SENT.nanos(), 3.0),
        told("w_u", &[], 250_000, 4.0),
    ];
    assert_eq!(by_us(&wide_spec(), payload), Outcome { rows: rows.into(), refused: vec![] });
}

#[test]
fn several_values_are_metrics_of_their_own() {
    let value = ValuePlace::Named(named(&[("temperature", "t"), ("humidity", "h")]));
    let mut spec = MapSpec { value: Some(value), ..MapSpec::default() };
    let payload = br#"[{"t":1,"h":2},{"h":3,"t":null}]"#;
    let rows = |prefix: &str| {
        [("temperature", 1.0), ("humidity", 2.0), ("humidity", 3.0)]
            .map(|(name, value)| told(&format!("{prefix}{name}"), &[], SENT.nanos(), value))
    };
    let format = |spec: &MapSpec| JsonMap::new(spec).map(MessageFormat::mapped).unwrap();
    let outcome = |spec: &MapSpec| {
        let mut batch = MessageBatch::new(format(spec));
        batch.push(0, Incoming { payload, key: None, time: Some(SENT), labels: None });
        let mut out = SeriesBatch::new();
        let messages = Messages { batch: &batch, count: 1 };
        decode_series_messages(messages, &SeriesOptions::default(), &mut out);
        let names: Vec<_> = (0..out.items()).map(|item| out.names(&[], item).unwrap()).collect();
        let hashes = out.key_hashes();
        assert!(hashes[1] == hashes[2] && hashes[0] != hashes[1]);
        names
            .into_iter()
            .zip(out.values().to_vec())
            .map(|(names, value)| told(&names.metric, &[], SENT.nanos(), value))
            .collect::<Vec<_>>()
    };
    assert_eq!(outcome(&spec), rows(""));
    spec.metric = Some(MetricPlace::Constant("weather".to_owned()));
    assert_eq!(outcome(&spec), rows("weather_"));
}

#[test]
fn what_does_not_match_tells_where() {
    for (payload, text) in [
        (r#"{"data":{"reading":{"v":1}}}"#, "metric name is missing at meta.sensor"),
        (r#"{"meta":{"sensor":5}}"#, "metric name is not a string at meta.sensor"),
        (r#"{"meta":{"sensor":"s","at":"noon"}}"#, "invalid timestamp at meta.at"),
        (r#"{"meta":{"sensor":"s"},"tags":[]}"#, "labels are not an object at tags"),
        (r#"{"meta":{"sensor":"s"},"data":{"reading":[1]}}"#, "value is missing at data.reading.v"),
        (
            r#"{"meta":{"sensor":"s"},"data":{"reading":{"v":"1"}}}"#,
            "value is not a number at data.reading.v",
        ),
        (
            r#"{"meta":{"sensor":"s"},"data":{"reading":{"v":1e999}}}"#,
            "value is not a finite number at data.reading.v",
        ),
        (
            r#"{"meta":{"sensor":"s"},"data":{"reading":{"v":1}},"data":{"reading":{}}}"#,
            "value is missing at data.reading.v",
        ),
        ("[1]", "not a JSON object"),
        (r#"{"meta":{"#, "not valid JSON"),
    ] {
        let (_, out) = batch_of(&spec(), payload.as_bytes());
        let errors: Vec<_> = out.errors().first().iter().map(|error| out.explain(error)).collect();
        assert_eq!(errors, [text], "{payload}");
    }
    let payload = br#"{"meta":{"host.name":[]},"data":{"t":1}}"#;
    let (_, out) = batch_of(&wide_spec(), payload);
    let text = out.explain(&out.errors().first()[0]);
    assert_eq!(
        text,
        "value of a label is neither a text nor a number nor a boolean at meta.\"host.name\""
    );
}

#[test]
fn a_map_that_cannot_be_used_says_why() {
    let with = |change: &dyn Fn(&mut MapSpec)| {
        let mut spec = spec();
        change(&mut spec);
        JsonMap::new(&spec).map(drop)
    };
    let path = |key, path: &str, source| Err(MapError::Path { key, path: path.to_owned(), source });
    assert_eq!(with(&|_| {}), Ok(()));
    assert_eq!(with(&|spec| spec.value = None), Err(MapError::Missing { key: "value" }));
    assert_eq!(with(&|spec| spec.metric = None), Err(MapError::Missing { key: "metric" }));
    assert_eq!(
        with(&|spec| spec.time = Some("a..b".to_owned())),
        path("time", "a..b", PathError::EmptyName)
    );
    assert_eq!(
        with(&|spec| spec.labels = Some(LabelPlace::Paths(named(&[("a", "b\"")])))),
        path("labels", "b\"", PathError::Quotes)
    );
    let none = Some(MetricPlace::Constant(String::new()));
    let name = Err(MapError::Name { key: "metric", name: String::new() });
    assert_eq!(with(&|spec| spec.metric.clone_from(&none)), name);
    let none = Err(MapError::Count { key: "value", found: 0, max: 64 });
    assert_eq!(with(&|spec| spec.value = Some(ValuePlace::Named(Vec::new()))), none);
}

#[test]
fn a_message_with_too_many_samples_is_refused_as_a_whole() {
    let mut batch = MessageBatch::new(MessageFormat::mapped(JsonMap::new(&spec()).unwrap()));
    let sample = r#"{"meta":{"sensor":"s"},"data":{"reading":{"v":1}}}"#;
    for (offset, count) in (0..).zip([2, 3, 1]) {
        let payload = format!("[{}]", vec![sample; count].join(","));
        batch.push(
            offset,
            Incoming { payload: payload.as_bytes(), key: None, time: Some(SENT), labels: None },
        );
    }
    let options = SeriesOptions { samples_max: 2, ..SeriesOptions::default() };
    let mut out = SeriesBatch::new();
    let taken = decode_series_messages(Messages { batch: &batch, count: 3 }, &options, &mut out);
    assert_eq!((taken.bad, out.numbers()), (vec![1], &[0, 0, 2][..]));
    assert_eq!(out.errors().first()[0].reason, ItemReason::TooManySamples);
}

#[test]
fn a_message_whose_names_take_too_much_memory_is_refused_as_a_whole() {
    let metric = MetricPlace::Constant("m".repeat(256));
    let spec = MapSpec { metric: Some(metric), time: None, labels: None, ..spec() };
    let mut batch = MessageBatch::new(MessageFormat::mapped(JsonMap::new(&spec).unwrap()));
    let sample = "{\"data\":{\"reading\":{\"v\":1}}},";
    let fitting = MESSAGE_NAMES_BYTES_MAX / (256 + 5);
    for (offset, count) in (0..).zip([1, fitting + 1, fitting]) {
        let samples = sample.repeat(count);
        let payload = format!("[{}]", samples.trim_end_matches(','));
        batch.push(
            offset,
            Incoming { payload: payload.as_bytes(), key: None, time: Some(SENT), labels: None },
        );
    }
    let mut out = SeriesBatch::new();
    let messages = Messages { batch: &batch, count: 3 };
    let taken = decode_series_messages(messages, &SeriesOptions::default(), &mut out);
    assert_eq!((taken.bad, out.rows()), (vec![1], 1 + fitting));
    assert_eq!(out.errors().first()[0].reason, ItemReason::NamesTooLong);
}

/// An object as the specs ask for, mostly.
fn sample(rng: &mut Rng) -> Value {
    let scalars = [
        json!("a"),
        json!(5),
        json!(true),
        json!(null),
        json!("\u{e9}\n"),
        json!({"x": 1}),
        json!([]),
    ];
    let scalar = |rng: &mut Rng| {
        let most = if rng.below(4) == 0 { scalars.len() } else { 4 };
        scalars[below(rng, most)].clone()
    };
    let times = [
        json!("2026-11-20T12:00:00Z"),
        json!(1_700_000_000),
        json!(null),
        json!("x"),
        json!(i64::MAX),
        json!(true),
    ];
    let time = |rng: &mut Rng| {
        let most = if rng.below(4) == 0 { times.len() } else { 3 };
        times[below(rng, most)].clone()
    };
    let mut sample = json!({"x": {"data": [1, {"v": 2}]}});
    for path in [
        "meta.at",
        "meta.sensor",
        "meta.host.name",
        "meta.n",
        "data.reading.v",
        "data.t",
        "tags.a",
        "tags.b",
        "at",
        "u",
    ] {
        if rng.below(8) == 0 {
            continue;
        }
        let value = match path {
            "meta.at" | "at" => time(rng),
            "meta.sensor" => json!(pick(rng, &["s", "t", "s\u{e9}\"\\"])),
            "data.reading.v" | "data.t" | "u" => json!(1.5),
            _ => scalar(rng),
        };
        let value = if rng.below(20) == 0 { scalar(rng) } else { value };
        match path.split_once('.') {
            Some(("data", "reading.v")) => sample["data"]["reading"] = json!({"v": value}),
            Some((outer, inner)) => sample[outer][inner] = value,
            None => sample[path] = value,
        }
    }
    if rng.below(10) == 0 {
        sample["data"] = json!(4.5);
    }
    sample
}

/// Numbers of labels are kept as they were written, which the tree does not remember.
fn is_same(ours: &Outcome, theirs: &Outcome) -> bool {
    let same_labels = |ours: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>| {
        let number = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_number);
        let same = |(one, other): (&String, &String)| {
            one == other || number(one).is_some_and(|one| Some(one) == number(other))
        };
        ours.keys().eq(theirs.keys()) && ours.values().zip(theirs.values()).all(same)
    };
    let same = |(ours, theirs): (&Result<Told, ItemReason>, &Result<Told, ItemReason>)| {
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                (&ours.metric, ours.time) == (&theirs.metric, theirs.time)
                    && same_labels(&ours.labels, &theirs.labels)
                    && (ours.value - theirs.value).abs() <= 4e-16 * theirs.value.abs()
            }
            // One of several labels of the same key is what cannot be one.
            (Err(ItemReason::LabelNotScalar), _) => true,
            (ours, theirs) => ours == theirs,
        }
    };
    ours.refused == theirs.refused
        && ours.rows.len() == theirs.rows.len()
        && ours.rows.iter().zip(&theirs.rows).all(same)
}

#[test]
fn good_and_damaged_messages_are_read_as_a_tree_reads_them() {
    let (mut rows, mut refused) = (0, 0);
    for seed in 0..inputs() / 4 {
        let mut rng = Rng::from_seed(seed);
        let spec = [spec(), wide_spec()][below(&mut rng, 2)].clone();
        let samples: Vec<_> = (0..rng.below(3)).map(|_| sample(&mut rng)).collect();
        let value = if samples.len() == 1 { samples[0].clone() } else { json!(samples) };
        let mut payload = value.to_string().into_bytes();
        for is_damaged in [false, true] {
            if is_damaged {
                mutate(&mut rng, &mut payload, b"\"\\{}[],:. \n0\xff");
            }
            let ours = by_us(&spec, &payload);
            let Some(theirs) = by_tree(&spec, &payload) else { continue };
            let shown = String::from_utf8_lossy(&payload);
            let is_cut_off = theirs.refused == [ItemReason::BadJson]
                && ours.rows.is_empty()
                && ours.refused.last() == Some(&ItemReason::BadJson);
            assert!(
                is_cut_off || is_same(&ours, &theirs),
                "SEED={seed} {shown}\n{ours:?}\n{theirs:?}"
            );
            rows += ours.rows.iter().filter(|row| row.is_ok()).count();
            refused += ours.refused.len();
        }
    }
    assert!(rows > 100 && refused > 100, "{rows} rows, {refused} refused");
}
