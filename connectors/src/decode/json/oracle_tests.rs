//! JSON samples against the crate `serde_json`, on good bodies and damaged ones.

use tidewatch_env::Rng;
use tidewatch_metrics::EventTime;

use crate::decode::mutation::{below, inputs, mutate, pick};
use crate::decode::oracle::json::{by_us, check};
use crate::decode::precision::Precision;
use crate::decode::{
    ItemReason, SeriesBatch, SeriesError, SeriesForm, SeriesOptions, decode_series,
};

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

/// As many samples as a client sends them: alike, but for their digits.
fn samples(rng: &mut Rng, names: [&str; 3], count: u32) -> Vec<String> {
    let mut samples = Vec::new();
    let are_alike = rng.below(2) == 0;
    for number in 0..count {
        let mut out = String::new();
        match samples.first().map(String::as_str) {
            Some(first) if are_alike => {
                out.extend(first.chars().map(|c| match c.to_digit(10) {
                    Some(digit @ 1..) => char::from_digit(1 + (digit + number) % 9, 10).unwrap(),
                    _ => c,
                }));
            }
            _ => sample(rng, names, &mut out),
        }
        samples.push(out);
    }
    samples
}

fn body(rng: &mut Rng, form: SeriesForm) -> String {
    let mut out = String::new();
    let count = u32::try_from(rng.below(5)).unwrap();
    if form == SeriesForm::JsonLines {
        for sample in samples(rng, ["metric", "time", "labels"], count) {
            out.push_str(&sample);
            out.push_str(pick(rng, &["\n", "\r\n", "\n\n", " \n"]));
        }
        return out;
    }
    out.push_str(pick(rng, &["{", "{\"v\":{\"metrics\":[]},", " {\n"]));
    out.push_str("\"metrics\":[");
    out.push_str(&samples(rng, ["name", "timestamp", "dimensions"], count).join(","));
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
            check(form, &bytes);
        }
        mutate(&mut rng, &mut bytes, b"{}[]\",:\\u0eE-+.19 \n\xff");
        check(form, &bytes);
    }
}

#[test]
fn nesting_is_bounded_as_the_crate_bounds_it() {
    for depth in 100..140 {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        check(SeriesForm::Luminate, format!("{{\"x\":{nested},\"metrics\":[1]}}").as_bytes());
        check(SeriesForm::Luminate, format!("{{\"metrics\":[{nested}]}}").as_bytes());
        check(SeriesForm::JsonLines, format!("{{\"x\":{nested}}}\n").as_bytes());
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
            let value = samples[&0].as_ref().ok().map(|told| told.value.to_bits());
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
