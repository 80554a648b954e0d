use tidewatch_metrics::EventTime;

use crate::decode::json::metrics_of;
use crate::decode::{
    ItemReason, SeriesBatch, SeriesError, SeriesForm, SeriesOptions, decode_series,
};

const LUMINATE: SeriesForm = SeriesForm::Luminate;
const LINES: SeriesForm = SeriesForm::JsonLines;

fn decoded(form: SeriesForm, body: &str, options: &SeriesOptions) -> SeriesBatch {
    let mut batch = SeriesBatch::new();
    decode_series(form, body.as_bytes(), options, &mut batch).expect(body);
    batch
}

fn error(form: SeriesForm, body: &str) -> SeriesError {
    let mut batch = SeriesBatch::new();
    decode_series(form, body.as_bytes(), &SeriesOptions::default(), &mut batch).expect_err(body)
}

fn time_of(text: &str) -> Result<i64, ItemReason> {
    let body = format!("{{\"metric\":\"m\",\"time\":{text},\"value\":1}}");
    let batch = decoded(LINES, &body, &SeriesOptions::default());
    let refused = batch.errors().first().first().map(|error| error.reason);
    refused.map_or_else(|| Ok(batch.times()[0].nanos()), Err)
}

#[test]
fn times_are_taken_in_every_unit_and_their_fractions_are_exact() {
    for (text, nanos) in [
        ("1700000000", 1_700_000_000_000_000_000),
        ("1700000000123", 1_700_000_000_123_000_000),
        ("1700000000123456", 1_700_000_000_123_456_000),
        ("1700000000123456789", 1_700_000_000_123_456_789),
        ("1700000000.123456789", 1_700_000_000_123_456_789),
        ("1700000000.1234567899", 1_700_000_000_123_456_789),
        ("1700000000123.5", 1_700_000_000_123_500_000),
        ("1700000000123456.5", 1_700_000_000_123_456_500),
        ("1700000000123456789.9", 1_700_000_000_123_456_789),
        ("-0.5", -500_000_000),
        ("-1.25", -1_250_000_000),
        ("0", 0),
        ("\"2023-11-14T22:13:20Z\"", 1_700_000_000_000_000_000),
        ("\"2023-11-14T23:13:20.5+01:00\"", 1_700_000_000_500_000_000),
        ("\"2023-11-14\\u005422:13:20Z\"", 1_700_000_000_000_000_000),
    ] {
        assert_eq!(time_of(text), Ok(nanos), "{text}");
    }
    for (text, reason) in [
        ("null", ItemReason::MissingTime),
        ("true", ItemReason::InvalidTime),
        ("1e9", ItemReason::InvalidTime),
        ("1.5e3", ItemReason::InvalidTime),
        ("\"yesterday\"", ItemReason::InvalidTime),
        ("\"9999-01-01T00:00:00Z\"", ItemReason::TimeOutOfRange),
        ("99999999999999999999", ItemReason::TimeOutOfRange),
        ("-9223372036854775808", ItemReason::TimeOutOfRange),
    ] {
        assert_eq!(time_of(text), Err(reason), "{text}");
    }
}

#[test]
fn each_refused_sample_has_its_place_and_its_reason_and_the_others_are_taken() {
    let body = r#"{"metrics":[
        {"name":"a","timestamp":1,"value":1.5,"dimensions":{"k":"v"}},
        {"timestamp":1,"value":1},
        {"name":"","timestamp":1,"value":1},
        {"name":7,"timestamp":1,"value":1},
        {"name":"a","value":1},
        {"name":"a","timestamp":1},
        {"name":"a","timestamp":1,"value":"1"},
        {"name":"a","timestamp":1,"value":1e400},
        {"name":"a","timestamp":1,"value":1,"dimensions":[]},
        {"name":"a","timestamp":1,"value":1,"dimensions":{"k":1}},
        17,
        {"name":"b","timestamp":2,"value":-3,"dimensions":null}
    ]}"#;
    let batch = decoded(LUMINATE, body, &SeriesOptions::default());
    let reasons: Vec<_> = batch.errors().first().iter().map(|e| (e.item, e.reason)).collect();
    let expected = [
        (1, ItemReason::MissingName),
        (2, ItemReason::MissingName),
        (3, ItemReason::NameNotText),
        (4, ItemReason::MissingTime),
        (5, ItemReason::MissingValue),
        (6, ItemReason::ValueNotNumber),
        (7, ItemReason::NotFinite),
        (8, ItemReason::LabelsNotObject),
        (9, ItemReason::LabelNotText),
        (10, ItemReason::NotAnObject),
    ];
    assert_eq!(reasons, expected);
    assert_eq!((batch.numbers(), batch.values()), (&[0, 11][..], &[1.5, -3.0][..]));
    let names = batch.names(body.as_bytes(), 0).unwrap();
    assert_eq!((names.metric.as_str(), names.labels.len()), ("a", 1));
    let told = metrics_of(LUMINATE, body.as_bytes(), &[0, 1, 4, 10, 11], 10);
    assert_eq!(told, ["a", "", "a", "", "b"]);
}

#[test]
fn a_bad_line_touches_no_other_and_blank_ones_only_count() {
    let body = "{\"metric\":\"a\",\"time\":1,\"value\":1}\n\n \r\n{\"metric\":\n\
                {\"metric\":\"b\",\"time\":1,\"value\":2} x\n{\"metric\":\"c\",\"time\":1,\"value\":3}";
    let batch = decoded(LINES, body, &SeriesOptions::default());
    let reasons: Vec<_> = batch.errors().first().iter().map(|e| (e.item, e.reason)).collect();
    assert_eq!(reasons, [(3, ItemReason::BadJson), (4, ItemReason::BadJson)]);
    assert_eq!((batch.numbers(), batch.values()), (&[0, 5][..], &[1.0, 3.0][..]));
    assert_eq!(metrics_of(LINES, body.as_bytes(), &[3, 4, 5], 10), ["", "", "c"]);
    let mut bytes = body.as_bytes().to_vec();
    bytes.extend_from_slice(b"\n{\"metric\":\"\xff\",\"time\":1,\"value\":3}");
    let mut batch = SeriesBatch::new();
    decode_series(LINES, &bytes, &SeriesOptions::default(), &mut batch).unwrap();
    assert_eq!((batch.rows(), batch.errors().first()[2].reason), (2, ItemReason::NotUtf8));
}

#[test]
fn a_body_of_another_shape_is_refused_as_a_whole() {
    for body in ["[]", "1", "\"metrics\"", "{}", "{\"metrics\":{}}", "{\"metrics\":null}"] {
        assert_eq!(error(LUMINATE, body), SeriesError::NoMetrics, "{body}");
    }
    for body in ["", " ", "{", "{\"metrics\":[}", "{\"metrics\":[{}]} x", "{\"metrics\":[{},]}"] {
        assert!(matches!(error(LUMINATE, body), SeriesError::Json { .. }), "{body}");
    }
    assert_eq!(error(LUMINATE, "{\"metrics\":[]}"), SeriesError::Empty);
    assert_eq!(error(LUMINATE, "{\"metrics\":[1],\"metrics\":[2]}"), SeriesError::MetricsTwice);
    assert_eq!(error(LINES, "\n \n"), SeriesError::Empty);
    assert_eq!(error(LUMINATE, "{\"metrics\":1x}"), SeriesError::Json { at: 12 });
}

#[test]
fn too_many_samples_are_counted_and_refused() {
    let options = SeriesOptions { samples_max: 3, ..SeriesOptions::default() };
    let sample = "{\"name\":\"a\",\"timestamp\":1,\"value\":1}";
    let line = "{\"metric\":\"a\",\"time\":1,\"value\":1}\n";
    for count in 1..8 {
        let batch = format!("{{\"metrics\":[{}]}}", vec![sample; count].join(","));
        for (form, body) in [(LUMINATE, batch), (LINES, line.repeat(count))] {
            let mut out = SeriesBatch::new();
            let result = decode_series(form, body.as_bytes(), &options, &mut out);
            let too_many = SeriesError::TooManySamples { samples_max: 3, received: count };
            let expected = if count > 3 { Err(too_many) } else { Ok(()) };
            assert_eq!((result, out.rows()), (expected, if count > 3 { 0 } else { count }));
        }
    }
}

#[test]
fn equal_names_have_equal_hashes_and_others_have_others() {
    let lines = [
        ("a", r#"{"k":"v"}"#),
        ("a", r#"{"k":"w"}"#),
        ("b", r#"{"k":"v"}"#),
        ("a", "{}"),
        ("a", "null"),
        (r#"{\"k\":\"v\"}"#, "null"),
    ];
    let line = |(name, labels): &(&str, &str)| {
        format!("{{\"metric\":\"{name}\",\"time\":1,\"value\":1,\"labels\":{labels}}}\n")
    };
    let body: String = lines.iter().chain(&lines).map(line).collect();
    let batch = decoded(LINES, &body, &SeriesOptions { key_seed: 9, ..SeriesOptions::default() });
    let hashes = batch.key_hashes();
    assert_eq!(hashes[..6], hashes[6..]);
    let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), 6);
    let other = decoded(LINES, &body, &SeriesOptions { key_seed: 8, ..SeriesOptions::default() });
    assert_ne!(hashes[0], other.key_hashes()[0], "the seed counts");
}

/// Why names are refused; `None` where they are taken.
fn names(form: SeriesForm, name: &str, labels: &str, strict: bool) -> Option<ItemReason> {
    let body = if form == LUMINATE {
        format!(
            "{{\"metrics\":[{{\"name\":\"{name}\",\"timestamp\":1,\"value\":1,\"dimensions\":{labels}}}]}}"
        )
    } else {
        format!("{{\"metric\":\"{name}\",\"time\":1,\"value\":1,\"labels\":{labels}}}")
    };
    let batch = decoded(form, &body, &SeriesOptions { strict, ..SeriesOptions::default() });
    batch.names(body.as_bytes(), 0).err()
}

#[test]
fn luminates_own_limits_hold_where_they_are_asked_for_and_only_there() {
    let many = |count: usize| {
        let labels: Vec<_> = (0..count).map(|label| format!("\"k{label}\":\"v\"")).collect();
        format!("{{{}}}", labels.join(","))
    };
    let long = |bytes: usize| "x".repeat(bytes);
    let cases = [
        (long(256), "{}".to_owned(), None),
        (long(257), "{}".to_owned(), Some(ItemReason::StrictName)),
        ("a.b".to_owned(), "{}".to_owned(), Some(ItemReason::StrictName)),
        ("9a".to_owned(), "{}".to_owned(), Some(ItemReason::StrictName)),
        ("_a".to_owned(), many(20), None),
        ("a".to_owned(), many(21), Some(ItemReason::StrictLabels)),
        ("a".to_owned(), "{\"k-1\":\"v\"}".to_owned(), Some(ItemReason::StrictKey)),
        ("a".to_owned(), format!("{{\"{}\":\"v\"}}", long(129)), Some(ItemReason::StrictKey)),
        ("a".to_owned(), "{\"_tenant_id\":\"v\"}".to_owned(), Some(ItemReason::StrictReservedKey)),
        ("a".to_owned(), "{\"k\":\"\"}".to_owned(), Some(ItemReason::StrictValue)),
        ("a".to_owned(), format!("{{\"k\":\"{}\"}}", long(257)), Some(ItemReason::StrictValue)),
        ("a".to_owned(), "{\"k\":\"a\\u0001\"}".to_owned(), Some(ItemReason::StrictValue)),
        ("a".to_owned(), "{\"k\":\"a\\tb\"}".to_owned(), None),
    ];
    for (name, labels, reason) in &cases {
        assert_eq!(names(LUMINATE, name, labels, true), *reason, "{name} {labels}");
        assert_eq!(names(LUMINATE, name, labels, false), None, "{name} {labels}");
        assert_eq!(names(LINES, name, labels, true), None, "{name} {labels}");
    }
    assert_eq!(names(LINES, "a\\nb", "{}", false), Some(ItemReason::ControlByte));
    assert_eq!(
        names(LINES, "github.owner/repo:stars-x", "{\"k\\u0000\":\"\"}", false),
        Some(ItemReason::ControlByte)
    );
    assert_eq!(names(LINES, "github.owner/repo:stars-x", "{\"k\":\"a\\nb\"}", false), None);
}

#[test]
fn times_beyond_the_bounds_are_refused_by_their_reason() {
    let options = SeriesOptions {
        time_min: Some(EventTime::new(5_000_000_000)),
        time_max: Some(EventTime::new(9_000_000_000)),
        ..SeriesOptions::default()
    };
    let body: String =
        (3..12).map(|time| format!("{{\"metric\":\"m\",\"time\":{time},\"value\":1}}\n")).collect();
    let batch = decoded(LINES, &body, &options);
    let reasons: Vec<_> = batch.errors().first().iter().map(|e| (e.item, e.reason)).collect();
    let (old, future) = (ItemReason::TimeTooOld, ItemReason::TimeInFuture);
    assert_eq!(reasons, [(0, old), (1, old), (7, future), (8, future)]);
    assert_eq!(batch.rows(), 5);
}
