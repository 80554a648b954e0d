use proptest::prelude::*;

use super::*;
use crate::decode::{
    Incoming, MessageBatch, MessageForm, Messages, SeriesBatch, SeriesOptions,
    decode_series_messages,
};
use tidewatch_metrics::EventTime;

const TIME: EventTime = EventTime::new(77);

/// The sample of one message: its metric and value.
fn read(key: Option<&[u8]>, payload: &[u8]) -> Result<(String, f64), ItemReason> {
    let mut batch = MessageBatch::new(MessageForm::Number);
    batch.push(5, Incoming { payload, key, time: Some(TIME), labels: None });
    let mut out = SeriesBatch::new();
    let messages = Messages { batch: &batch, count: 1 };
    let taken = decode_series_messages(messages, &SeriesOptions::default(), &mut out);
    if let Some(error) = out.errors().first().first() {
        assert_eq!((taken.bad, out.rows(), error.item), (vec![0], 0, 0));
        return Err(error.reason);
    }
    assert_eq!((taken.bad, out.times()), (vec![], &[TIME][..]));
    let names = out.names(batch.bytes(), 0)?;
    assert_eq!(names.labels, []);
    Ok((names.metric, out.values()[0]))
}

#[test]
fn a_message_is_a_number_whose_key_is_its_metric() {
    for (text, value) in [
        ("1", 1.0_f64),
        (" -2.5\r\n", -2.5),
        ("\t6.02e23 ", 6.02e23),
        ("1E-3", 1e-3),
        ("-0", -0.0),
        ("007", 7.0),
        ("18446744073709551616", 18_446_744_073_709_552_000.0),
    ] {
        let read = read(Some("h\u{f6}he".as_bytes()), text.as_bytes());
        let (metric, found) = read.unwrap_or_else(|reason| panic!("{text}: {reason:?}"));
        assert_eq!((&*metric, found.to_bits()), ("h\u{f6}he", value.to_bits()), "{text}");
    }
}

#[test]
fn what_is_no_number_or_has_no_name_tells_why() {
    use ItemReason::{BadMessage, ControlByte, KeyNotUtf8, MissingKey, NotFinite, ValueNotNumber};
    for (key, payload, reason) in [
        (Some(&b"m"[..]), &b""[..], BadMessage),
        (Some(b"m"), b"  ", ValueNotNumber),
        (Some(b"m"), b"1 2", ValueNotNumber),
        (Some(b"m"), b"1i", ValueNotNumber),
        (Some(b"m"), b"9007199254740993u", ValueNotNumber),
        (Some(b"m"), b"+1", ValueNotNumber),
        (Some(b"m"), b".5", ValueNotNumber),
        (Some(b"m"), b"5.", ValueNotNumber),
        (Some(b"m"), b"0x10", ValueNotNumber),
        (Some(b"m"), b"1\xff", ValueNotNumber),
        (Some(b"m"), b"NaN", NotFinite),
        (Some(b"m"), b"-Infinity", NotFinite),
        (Some(b"m"), b"1e999", NotFinite),
        (None, b"1", MissingKey),
        (Some(b""), b"1", MissingKey),
        (Some(b"m\xff"), b"1", KeyNotUtf8),
        (Some(b"m\n"), b"1", ControlByte),
    ] {
        let shown = String::from_utf8_lossy(payload);
        assert_eq!(read(key, payload), Err(reason), "{key:?} {shown}");
    }
}

#[test]
fn times_are_the_messages_and_keep_within_the_bounds() {
    let read = |time| {
        let mut batch = MessageBatch::new(MessageForm::Number);
        batch.push(5, Incoming { payload: b"1", key: Some(b"m"), time, labels: None });
        let options = SeriesOptions { time_max: Some(TIME), ..SeriesOptions::default() };
        let mut out = SeriesBatch::new();
        decode_series_messages(Messages { batch: &batch, count: 1 }, &options, &mut out);
        out.errors().first().first().map(|error| error.reason)
    };
    assert_eq!(read(Some(TIME)), None);
    assert_eq!(read(Some(EventTime::new(78))), Some(ItemReason::TimeInFuture));
    assert_eq!(read(None), Some(ItemReason::MissingTime));
}

#[test]
fn keys_hash_as_they_differ_and_not_as_the_same_text_does_in_json() {
    let mut batch = MessageBatch::new(MessageForm::Number);
    for (offset, key) in (0..).zip([&b"a"[..], b"b", b"a"]) {
        batch.push(
            offset,
            Incoming { payload: b"1", key: Some(key), time: Some(TIME), labels: None },
        );
    }
    let mut out = SeriesBatch::new();
    let messages = Messages { batch: &batch, count: 3 };
    decode_series_messages(messages, &SeriesOptions::default(), &mut out);
    let hashes = out.key_hashes();
    assert!(hashes[0] == hashes[2] && hashes[0] != hashes[1]);
}

/// What the standard library reads, of the forms that are taken.
fn by_std(payload: &str) -> Option<f64> {
    let text = payload.trim_matches([' ', '\t', '\r', '\n']);
    let digits = text.strip_prefix('-').unwrap_or(text);
    let begins_and_ends = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.ends_with(|c: char| c.is_ascii_digit());
    let point = digits.find('.').and_then(|point| digits.as_bytes().get(point + 1));
    let is_plain = begins_and_ends && point.is_none_or(u8::is_ascii_digit);
    text.parse().ok().filter(|value: &f64| is_plain && value.is_finite())
}

proptest! {
    #[test]
    fn any_text_is_read_as_the_standard_library_reads_it(
        payload in "[ \t\n]?[-+]?[0-9]{0,20}[.]?[0-9]{0,20}([eE][-+]?[0-9]{1,3})?[ iu\r]?",
    ) {
        let ours = read(Some(b"m"), payload.as_bytes()).ok().map(|(_, value)| value.to_bits());
        prop_assert_eq!(ours, by_std(&payload).map(f64::to_bits));
    }

    #[test]
    fn no_bytes_panic(payload in prop::collection::vec(any::<u8>(), 0..40), key in any::<Vec<u8>>()) {
        let ours = read(Some(&key), &payload).ok().map(|(_, value)| value.to_bits());
        let theirs = std::str::from_utf8(&payload).ok().and_then(by_std);
        prop_assert!(ours.is_none() || ours == theirs.map(f64::to_bits));
    }
}
