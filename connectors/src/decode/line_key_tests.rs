//! Keys as sent and as meant.

use super::*;

fn parsed(raw: &str) -> Result<(String, Vec<(String, String)>), LineReason> {
    series_labels(raw.as_bytes()).map(|key| (key.measurement, key.labels))
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn escapes_are_taken_out_and_tags_are_sorted() {
    for (raw, measurement, labels) in [
        ("cpu", "cpu", owned(&[])),
        ("cpu,b=2,a=1", "cpu", owned(&[("a", "1"), ("b", "2")])),
        ("c\\ p\\,u,a\\=b=c\\,d\\ e\\=f", "c p,u", owned(&[("a=b", "c,d e=f")])),
        ("c=p,a=b=c", "c=p", owned(&[("a", "b=c")])),
        ("c\\=p\\n,k\\n=C:\\\\dir\\x", "c\\=p\\n", owned(&[("k\\n", "C:\\dir\\x")])),
        ("\u{b0}C,st\u{e4}dte=K\u{f6}ln", "\u{b0}C", owned(&[("st\u{e4}dte", "K\u{f6}ln")])),
        ("\"q\",a=\"b\"", "\"q\"", owned(&[("a", "\"b\"")])),
    ] {
        assert_eq!(parsed(raw), Ok((measurement.to_owned(), labels)), "{raw}");
    }
    assert_eq!(unescape_field(b"plain"), Cow::Borrowed("plain"));
    assert_eq!(unescape_field(b"a\\ b\\=c\\,d\\\\e\\f"), "a b=c,d\\e\\f");
}

#[test]
fn what_is_no_key_is_refused_with_its_reason() {
    for (raw, reason) in [
        ("", LineReason::EmptyMeasurement),
        (",a=b", LineReason::EmptyMeasurement),
        ("m,", LineReason::MissingTagValue),
        ("m,a", LineReason::MissingTagValue),
        ("m,a,b=c", LineReason::MissingTagValue),
        ("m,=b", LineReason::EmptyTagKey),
        ("m,a=", LineReason::EmptyTagValue),
        ("m,a=,b=c", LineReason::EmptyTagValue),
        ("m,a=b,", LineReason::MissingTagValue),
        ("m\\", LineReason::TrailingBackslash),
        ("m\\\\,a=b", LineReason::TrailingBackslash),
        ("m,a=b\\\\", LineReason::TrailingBackslash),
        ("m\u{0},a=b", LineReason::ControlByte),
        ("m,a=\u{7f}", LineReason::ControlByte),
        ("m,a\\\t=b", LineReason::ControlByte),
        ("m,a=b\rc", LineReason::ControlByte),
        ("m,a=1,a=2", LineReason::DuplicateTag),
        ("m,b=1,a=2,b=3", LineReason::DuplicateTag),
        ("m,a\\x=1,b=2,a\\\\x=3", LineReason::DuplicateTag),
        ("m,service_one=1,service_two=2,service_one=3", LineReason::DuplicateTag),
        ("m,a=b f=1", LineReason::MissingFields),
    ] {
        assert_eq!(parsed(raw), Err(reason), "{raw:?}");
    }
    assert_eq!(series_labels(b"m,a=\xff"), Err(LineReason::NotUtf8));
}

#[test]
fn unsorted_keys_with_a_common_beginning_are_no_duplicates() {
    let raw = "m,service_b=1,service_a=2,service=3,ser=4,s=5";
    assert_eq!(parsed(raw).map(|(_, labels)| labels.len()), Ok(5));
}

#[test]
fn limits_count_bytes_as_meant_and_hold_exactly() {
    let tag = |key: usize, value: usize| format!("m,{}={}", "k".repeat(key), "v".repeat(value));
    assert!(parsed(&tag(LABEL_KEY_BYTES_MAX, LABEL_VALUE_BYTES_MAX)).is_ok());
    assert_eq!(parsed(&tag(LABEL_KEY_BYTES_MAX + 1, 1)), Err(LineReason::TagKeyTooLong));
    assert_eq!(parsed(&tag(1, LABEL_VALUE_BYTES_MAX + 1)), Err(LineReason::TagValueTooLong));
    let escaped = format!("m,{}=v", "\\ ".repeat(LABEL_KEY_BYTES_MAX));
    assert!(parsed(&escaped).is_ok(), "escapes do not count");

    let tags = |count: usize| (0..count).fold("m".to_owned(), |key, i| format!("{key},k{i}=v"));
    assert_eq!(parsed(&tags(SERIES_LABELS_MAX)).map(|(_, l)| l.len()), Ok(SERIES_LABELS_MAX));
    assert_eq!(parsed(&tags(SERIES_LABELS_MAX + 1)), Err(LineReason::TooManyTags));

    let long = (0..8).fold("m".to_owned(), |key, i| format!("{key},k{i}={}", "v".repeat(4_000)));
    assert_eq!(parsed(&long), Err(LineReason::SeriesTooLong));
    assert!(metric_name_fits(&[b'm'; METRIC_BYTES_MAX - 2], b"f"));
    assert!(!metric_name_fits(&[b'm'; METRIC_BYTES_MAX - 1], b"f"));
    assert!(metric_name_fits(&[b'm'; METRIC_BYTES_MAX], b"value"), "value is not in the name");
}

#[test]
fn every_key_that_is_accepted_is_accepted_by_the_data_model() {
    let label = |i: usize| format!(",k{i}={}", "v".repeat(470));
    let key = (0..SERIES_LABELS_MAX).map(label).fold("m".repeat(500), |key, tag| key + &tag);
    let ParsedKey { measurement, labels } = series_labels(key.as_bytes()).expect("within limits");
    let db = "d".repeat(DATABASE_BYTES_MAX);
    let series = tidewatch_metrics::SeriesKey::new(&db, &measurement, &"f".repeat(523), labels);
    assert!(series.is_ok(), "{:?}", series.map(|_| ()));
}
