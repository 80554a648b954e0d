//! JSON samples against the crate `serde_json`, on good bodies and damaged ones.

use std::collections::BTreeMap;

use serde_json::Value;
use tidewatch_env::Rng;
use tidewatch_metrics::EventTime;

use crate::decode::mutation::{below, inputs, mutate, pick};
use crate::decode::precision::Precision;
use crate::decode::time::parse_date_time;
use crate::decode::{
    ItemReason, SeriesBatch, SeriesError, SeriesForm, SeriesOptions, decode_series,
};

/// What both say about a sample.
#[derive(Clone, Debug)]
struct Told {
    metric: String,
    labels: BTreeMap<String, String>,
    time: i64,
    value: f64,
}

/// A sample by its number, or that it is refused.
type Samples = BTreeMap<u32, Option<Told>>;

fn by_us(form: SeriesForm, body: &[u8]) -> Result<Samples, SeriesError> {
    let mut batch = SeriesBatch::new();
    decode_series(form, body, &SeriesOptions::default(), &mut batch)?;
    let mut samples = Samples::new();
    for error in batch.errors().first() {
        assert!(samples.insert(error.item, None).is_none(), "refused twice");
    }
    for item in 0..batch.items() {
        let rows = batch.rows_of(item);
        assert_eq!(rows.len(), 1);
        let told = batch.names(body, item).ok().map(|names| Told {
            metric: names.metric,
            labels: names.labels.into_iter().collect(),
            time: batch.times()[rows.start].nanos(),
            value: batch.values()[rows.start],
        });
        assert!(samples.insert(batch.numbers()[item], told).is_none(), "taken twice");
    }
    Ok(samples)
}

/// The same by way of a tree. `Err` for what is no JSON, `Ok(None)` for JSON of another shape.
fn by_serde(form: SeriesForm, body: &[u8]) -> Result<Option<Samples>, serde_json::Error> {
    if form == SeriesForm::JsonLines {
        let lines = (0..).zip(body.split(|byte| *byte == b'\n'));
        let lines = lines.filter(|(_, line)| !line.iter().all(|byte| b" \t\r".contains(byte)));
        let samples: Samples = lines
            .map(|(number, line)| {
                let told = match serde_json::from_slice(line) {
                    Ok(value) => told(&value, ["metric", "time", "labels"]),
                    // The tree has no place for such numbers: what we say is looked at elsewhere.
                    Err(error) if error.to_string().contains("out of range") => return Err(error),
                    Err(_) => None,
                };
                Ok((number, told))
            })
            .collect::<Result<_, _>>()?;
        return Ok(Some(samples).filter(|samples| !samples.is_empty()));
    }
    let root: Value = serde_json::from_slice(body)?;
    let Some(Value::Array(metrics)) = root.get("metrics") else { return Ok(None) };
    if metrics.is_empty() {
        return Ok(None);
    }
    let names = ["name", "timestamp", "dimensions"];
    Ok(Some((0..).zip(metrics).map(|(number, item)| (number, told(item, names))).collect()))
}

fn told(sample: &Value, [name, time, labels]: [&str; 3]) -> Option<Told> {
    let metric = sample.get(name)?.as_str()?.to_owned();
    let labels = match sample.get(labels) {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(Value::Object(members)) => {
            let texts =
                members.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
            texts.collect::<Option<_>>()?
        }
        Some(_) => return None,
    };
    let has_control = |text: &str| text.chars().any(char::is_control);
    if metric.is_empty() || has_control(&metric) || labels.keys().any(|key| has_control(key)) {
        return None;
    }
    let time = match sample.get(time)? {
        Value::String(text) => parse_date_time(text.as_bytes()).ok()?.nanos(),
        Value::Number(number) if number.is_i64() => {
            Precision::Auto.scale(number.as_i64()?)?.nanos()
        }
        Value::Number(number) if number.is_f64() => float_time(number.as_f64()?)?,
        _ => return None,
    };
    Some(Told { metric, labels, time, value: sample.get("value")?.as_f64()? })
}

/// The time of a number with a fraction, as near as a float comes to it.
fn float_time(number: f64) -> Option<i64> {
    let scale = match number.abs() {
        size if size < 5e9 => 1e9,
        size if size < 5e12 => 1e6,
        size if size < 5e15 => 1e3,
        _ => 1.0,
    };
    let nanos = number * scale;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    (nanos.abs() < 9.2e18).then_some(nanos as i64)
}

/// Whether both say the same, with the little that the oracle's floats leave open.
fn check(seed: u64, form: SeriesForm, body: &[u8]) {
    let shown = || format!("SEED={seed} {form:?} {:?}", String::from_utf8_lossy(body));
    let (ours, theirs) = (by_us(form, body), by_serde(form, body));
    let theirs = match theirs {
        Err(error) if error.to_string().contains("out of range") => return,
        Err(_) => {
            assert!(matches!(ours, Err(SeriesError::Json { .. })), "{ours:?} {}", shown());
            return;
        }
        Ok(theirs) => theirs,
    };
    let ours = match (ours, theirs.as_ref()) {
        (Err(SeriesError::MetricsTwice), _) if form == SeriesForm::Luminate => return,
        (Err(SeriesError::NoMetrics | SeriesError::Empty), None) => return,
        (Ok(ours), Some(_)) => ours,
        (ours, _) => panic!("{ours:?} {}", shown()),
    };
    let theirs = theirs.unwrap_or_default();
    assert_eq!(ours.len(), theirs.len(), "{}", shown());
    for ((number, ours), (other, theirs)) in ours.iter().zip(&theirs) {
        assert_eq!(number, other, "{}", shown());
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            // Times with an exponent, and floats at the end of the range, are the only ones that differ.
            let is_odd_time = theirs.as_ref().is_some_and(|theirs| {
                body.iter().any(|byte| b"eE".contains(byte)) || theirs.time.unsigned_abs() > 9 << 60
            });
            assert!(ours.is_none() == theirs.is_none() || is_odd_time, "{number} {}", shown());
            continue;
        };
        assert_eq!((&ours.metric, &ours.labels), (&theirs.metric, &theirs.labels), "{}", shown());
        let (time, value) = (ours.time.abs_diff(theirs.time), (ours.value - theirs.value).abs());
        assert!(time < 4_096, "{} and {}: {}", ours.time, theirs.time, shown());
        assert!(value <= 4e-16 * theirs.value.abs(), "{ours:?} {theirs:?} {}", shown());
    }
}

fn space(rng: &mut Rng, out: &mut String) {
    if rng.below(6) == 0 {
        out.push_str(pick(rng, &[" ", "  ", "\t", "\r"]));
    }
}

fn text(rng: &mut Rng, out: &mut String) {
    out.push('"');
    for _ in 0..rng.below(6) {
        out.push_str(pick(
            rng,
            &[
                "a",
                "cpu",
                "host-1.example",
                "\u{e9}",
                "\u{1f600}",
                "\\n",
                "\\\"",
                "\\\\",
                "\\/",
                "\\u00e9",
                "\\ud83d\\ude00",
                "\\u000a",
                " ",
                ":",
                "{",
                "}",
                ",",
            ],
        ));
    }
    out.push('"');
}

fn time(rng: &mut Rng, out: &mut String) {
    let seconds = 1_700_000_000 + rng.below(1_000_000);
    match rng.below(8) {
        0 => out.push_str(&format!("{seconds}")),
        1 => out.push_str(&format!("{seconds}{:03}", rng.below(1_000))),
        2 => out.push_str(&format!("{seconds}{:06}", rng.below(1_000_000))),
        3 => out.push_str(&format!("{seconds}{:09}", rng.below(1_000_000_000))),
        4 => out.push_str(&format!("{seconds}.{:06}", rng.below(1_000_000))),
        5 => out.push_str(&format!("{seconds}{:03}.5", rng.below(1_000))),
        6 => out.push_str("\"2026-11-20T12:00:00.25+01:00\""),
        _ => {
            out.push_str(pick(rng, &["-5", "0", "\"now\"", "null", "1e9", "18446744073709551615"]));
        }
    }
}

fn value(rng: &mut Rng, out: &mut String) {
    match rng.below(6) {
        0 => out.push_str(&format!("{}", rng.below(100_000))),
        1 | 2 => out.push_str(&format!("{}.{:02}", rng.below(1_000), rng.below(100))),
        3 => out.push_str(&format!("-{}e-{}", rng.below(1_000), rng.below(300))),
        4 => out.push_str(&format!("{:?}", f64::from_bits(rng.next_u64() >> 2))),
        _ => out.push_str(pick(rng, &["null", "true", "\"1\"", "[1]", "{}", "-0", "0.0"])),
    }
}

fn labels(rng: &mut Rng, out: &mut String) {
    if rng.below(12) == 0 {
        out.push_str(pick(rng, &["null", "[]", "{\"a\":1}", "{\"a\":{\"b\":[]}}", "7"]));
        return;
    }
    out.push('{');
    for label in 0..rng.below(4) {
        if label > 0 {
            out.push(',');
        }
        space(rng, out);
        text(rng, out);
        out.push(':');
        space(rng, out);
        text(rng, out);
    }
    out.push('}');
}

fn sample(rng: &mut Rng, names: [&str; 3], out: &mut String) {
    if rng.below(20) == 0 {
        out.push_str(pick(rng, &["1", "null", "[]", "\"x\"", "{}", "[[{\"name\":1}]]"]));
        return;
    }
    let mut members: Vec<u64> = (0..4).filter(|_| rng.below(12) > 0).collect();
    if rng.below(4) == 0 {
        members.push(4 + rng.below(3));
    }
    for last in (1..members.len()).rev() {
        members.swap(last, below(rng, last + 1));
    }
    out.push('{');
    for (index, member) in members.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        space(rng, out);
        match member {
            0 => out.push_str(&format!("\"{}\":", names[0])),
            1 => out.push_str(&format!("\"{}\":", names[1])),
            2 => out.push_str("\"value\" : "),
            3 => out.push_str(&format!("\"{}\":", names[2])),
            4 => out.push_str("\"unit\":[{\"x\":[null,true,-1.5e+3]},\"\"]"),
            5 => out.push_str("\"val\\u0075e\":7"),
            _ => out.push_str("\"\":false"),
        }
        match member {
            0 => text(rng, out),
            1 => time(rng, out),
            2 => value(rng, out),
            3 => labels(rng, out),
            _ => {}
        }
        space(rng, out);
    }
    out.push('}');
}

fn body(rng: &mut Rng, form: SeriesForm) -> String {
    let mut out = String::new();
    let count = rng.below(5);
    if form == SeriesForm::JsonLines {
        for _ in 0..count {
            sample(rng, ["metric", "time", "labels"], &mut out);
            out.push_str(pick(rng, &["\n", "\r\n", "\n\n", " \n"]));
        }
        return out;
    }
    out.push_str(pick(rng, &["{", "{\"v\":{\"metrics\":[]},", " {\n"]));
    out.push_str("\"metrics\":[");
    for number in 0..count {
        if number > 0 {
            out.push(',');
        }
        sample(rng, ["name", "timestamp", "dimensions"], &mut out);
    }
    out.push_str(pick(rng, &["]}", "]\n}\n", "],\"x\":1}"]));
    out
}

#[test]
fn good_and_damaged_bodies_are_read_as_serde_json_reads_them() {
    for seed in 0..inputs() {
        let mut rng = Rng::from_seed(seed);
        let form = [SeriesForm::Luminate, SeriesForm::JsonLines][below(&mut rng, 2)];
        let mut bytes = body(&mut rng, form).into_bytes();
        if seed % 4 == 0 {
            check(seed, form, &bytes);
        }
        mutate(&mut rng, &mut bytes, b"{}[]\",:\\u0eE-+.19 \n\xff");
        check(seed, form, &bytes);
    }
}

#[test]
fn nesting_is_bounded_as_the_crate_bounds_it() {
    for depth in 100..140 {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        check(0, SeriesForm::Luminate, format!("{{\"x\":{nested},\"metrics\":[1]}}").as_bytes());
        check(0, SeriesForm::Luminate, format!("{{\"metrics\":[{nested}]}}").as_bytes());
        check(0, SeriesForm::JsonLines, format!("{{\"x\":{nested}}}\n").as_bytes());
    }
    let deep = format!("{{\"metrics\":{}", "[".repeat(1 << 20));
    assert!(matches!(by_us(SeriesForm::Luminate, deep.as_bytes()), Err(SeriesError::Json { .. })));
}

#[test]
fn numbers_of_every_form_are_what_the_standard_library_reads() {
    let mut rng = Rng::from_seed(5);
    for _ in 0..20_000 {
        let number = f64::from_bits(rng.next_u64());
        if !number.is_finite() {
            continue;
        }
        for text in [format!("{number:?}"), format!("{number:e}"), format!("{}", rng.next_u64())] {
            let body = format!("{{\"metric\":\"m\",\"time\":1,\"value\":{text}}}");
            let samples = by_us(SeriesForm::JsonLines, body.as_bytes()).unwrap();
            let value = samples[&0].as_ref().map(|told| told.value.to_bits());
            assert_eq!(value, Some(text.parse::<f64>().unwrap().to_bits()), "{text}");
        }
    }
    for text in ["1e999", "-1e999", "1".repeat(400).as_str()] {
        let body = format!("{{\"metric\":\"m\",\"time\":1,\"value\":{text}}}");
        let mut batch = SeriesBatch::new();
        let options = SeriesOptions::default();
        decode_series(SeriesForm::JsonLines, body.as_bytes(), &options, &mut batch).unwrap();
        assert_eq!(batch.errors().first()[0].reason, ItemReason::NotFinite, "{text}");
    }
    assert_eq!(Precision::Auto.scale(1), Some(EventTime::new(1_000_000_000)));
}
