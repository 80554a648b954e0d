//! Line protocol: what its batch promises, and each line beside the crate `influxdb-line-protocol`.

use influxdb_line_protocol::{FieldValue, ParsedLine, parse_lines};
use tidewatch_metrics::EventTime;
use tidewatch_metrics::limits::{
    EXACT_INTEGER_MAX, LABEL_KEY_BYTES_MAX, LABEL_VALUE_BYTES_MAX, METRIC_BYTES_MAX,
    SERIES_LABELS_MAX,
};
use twox_hash::XxHash3_128;

use crate::decode::{
    DecodeError, LineBatch, LineError, LineOptions, LineReason, Precision, decode, series_labels,
    unescape_field,
};

/// Nanoseconds of a line without a time.
pub(crate) const DEFAULT_TIME: i64 = 42;
/// Where limits are narrow.
const FEW_BYTES: usize = 40;
const FEW_SAMPLES: usize = 3;
const TIME_MAX: EventTime = EventTime::new(1_800_000_000_000_000_000);
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// What both parsers say about one line.
#[derive(Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) measurement: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) fields: Vec<(String, u64)>,
    pub(crate) time: i64,
}

pub(crate) fn options() -> LineOptions {
    LineOptions { default_time: EventTime::new(DEFAULT_TIME), key_seed: 7, ..Default::default() }
}

/// The batch keeps its promises, narrow limits hold, and each line that has a line to itself is read as by the
/// crate.
pub(crate) fn check(body: &[u8]) {
    let mut batch = LineBatch::new();
    decode(body, &options(), &mut batch).expect("within the limits");
    check_promises(body, &options(), &batch);
    check_few(body, &batch);
    for line in body.split(|byte| *byte == b'\n') {
        if let Ok(line) = std::str::from_utf8(line) {
            check_line(line);
        }
    }
}

/// What the documents of `LineBatch` and `LineErrors` promise, for any input.
pub(crate) fn check_promises(body: &[u8], options: &LineOptions, batch: &LineBatch) {
    assert_eq!(batch.keys().len(), batch.lines());
    assert_eq!(batch.key_hashes().len(), batch.lines());
    assert_eq!(batch.times().len(), batch.lines());
    assert_eq!(batch.first_samples().len(), batch.lines());
    assert_eq!(batch.line_numbers().len(), batch.lines());
    assert_eq!(batch.fields().len(), batch.samples());
    assert!(batch.line_numbers().is_sorted_by(|a, b| a < b));
    assert!(batch.values().iter().all(|value| value.is_finite()));
    assert!(batch.fields().iter().all(|field| !field.of(body).is_empty()));
    let mut samples = 0;
    for line in 0..batch.lines() {
        let rows = batch.samples_of(line);
        assert_eq!(rows.start, samples, "rows follow each other");
        assert!(!rows.is_empty());
        samples = rows.end;
        let key = batch.keys()[line].of(body);
        let hash = XxHash3_128::oneshot_with_seed(options.key_seed, key);
        assert_eq!(batch.key_hashes()[line], hash);
        assert!(series_labels(key).is_ok(), "{:?}", String::from_utf8_lossy(key));
        assert!(batch.times()[line] > EventTime::MIN);
    }
    assert_eq!(samples, batch.samples());
    for error in batch.errors().first() {
        assert!(!error.original(body).is_empty(), "{error:?}");
        assert!(error.line.start <= error.at);
        assert!(error.to_string().contains(" at byte "));
    }
}

/// A line as sent.
#[derive(Clone, Debug, PartialEq)]
struct Line<'a> {
    number: u32,
    key: &'a [u8],
    /// Fields, and the bits of their values.
    samples: Vec<(&'a [u8], u64)>,
    /// Nanoseconds.
    time: i64,
}

fn lines<'a>(body: &'a [u8], batch: &LineBatch) -> Vec<Line<'a>> {
    let line = |line: usize| {
        let sample = |row: usize| (batch.fields()[row].of(body), batch.values()[row].to_bits());
        Line {
            number: batch.line_numbers()[line],
            key: batch.keys()[line].of(body),
            samples: batch.samples_of(line).map(sample).collect(),
            time: batch.times()[line].nanos(),
        }
    };
    (0..batch.lines()).map(line).collect()
}

/// Each limit and unit takes away or changes what it is for, and nothing else.
fn check_few(body: &[u8], whole: &LineBatch) {
    let shown = || String::from_utf8_lossy(body).into_owned();
    let mut few = LineBatch::new();
    let limited = LineOptions { samples_max: FEW_SAMPLES, ..options() };
    let decoded = decode(body, &limited, &mut few);
    if whole.samples() > FEW_SAMPLES {
        assert_eq!(decoded, Err(DecodeError::TooManySamples { samples_max: FEW_SAMPLES }));
        assert_eq!((few.lines(), few.errors().total()), (0, 0), "{:?}", shown());
    } else {
        assert_eq!(lines(body, &few), lines(body, whole), "{:?}", shown());
    }
    let short = LineOptions { line_bytes_max: FEW_BYTES, ..options() };
    decode(body, &short, &mut few).expect("within the limits");
    check_promises(body, &short, &few);
    let given = |batch: &LineBatch| batch.lines_accepted() + batch.errors().total();
    assert_eq!(given(&few), given(whole), "{:?}", shown());
    let all = lines(body, whole);
    let mut others = all.iter();
    let mut kept = lines(body, &few).into_iter();
    assert!(kept.all(|line| others.any(|other| *other == line)), "{:?}", shown());
    let seconds = LineOptions {
        precision: Precision::Seconds,
        default_time: EventTime::new(DEFAULT_TIME * NANOS_PER_SECOND),
        time_max: Some(TIME_MAX),
        ..options()
    };
    decode(body, &seconds, &mut few).expect("within the limits");
    let mut expected = all;
    expected.retain_mut(|line| {
        let scaled = line.time.checked_mul(NANOS_PER_SECOND);
        line.time = scaled.unwrap_or(i64::MAX);
        scaled.is_some_and(|time| time <= TIME_MAX.nanos())
    });
    assert_eq!(lines(body, &few), expected, "{:?}", shown());
}

/// A line without line ends in it is accepted by both and read alike, or refused by both, or the difference is
/// one that the head of `line_protocol.rs` lists.
pub(crate) fn check_line(line: &str) {
    let mut batch = LineBatch::new();
    decode(line.as_bytes(), &options(), &mut batch).expect("within the limits");
    let ours = batch.errors().first().first();
    // The crate takes no CR before a line end, and spaces at the end only after a time. Of a line that begins
    // with blanks it takes quotes in the measurement for a string's.
    let plain = line.strip_suffix('\r').unwrap_or(line).trim_end_matches(' ');
    match (parse_lines(plain.trim_start_matches([' ', '\t'])).next(), ours) {
        (None, ours) => assert!(ours.is_none() && batch.lines_accepted() == 0, "{line:?}"),
        (Some(Err(_)), ours) => assert!(ours.is_some(), "only we accept {line:?}"),
        (Some(Ok(theirs)), Some(ours)) => {
            assert!(is_deliberate(ours, line, &theirs), "we refuse {line:?}: {ours}");
        }
        (Some(Ok(theirs)), None) => {
            let mut expected = vec![by_the_crate(&theirs)];
            expected.retain(|line| !line.fields.is_empty());
            assert_eq!(by_us(line.as_bytes(), &batch), expected, "{line:?}");
        }
    }
}

pub(crate) fn by_the_crate(line: &ParsedLine<'_>) -> Told {
    let tags = line.series.tag_set.iter().flatten();
    let mut labels: Vec<_> = tags.map(|(k, v)| (k.to_string(), v.to_string())).collect();
    labels.sort_unstable();
    let fields = line.field_set.iter().filter_map(|(name, value)| {
        let value = match value {
            FieldValue::I64(value) => *value as f64,
            FieldValue::U64(value) => *value as f64,
            FieldValue::F64(value) => *value,
            FieldValue::Boolean(value) => f64::from(u8::from(*value)),
            FieldValue::String(_) => return None,
        };
        Some((name.to_string(), value.to_bits()))
    });
    let fields = fields.collect();
    let time = line.timestamp.unwrap_or(DEFAULT_TIME);
    Told { measurement: line.series.measurement.to_string(), labels, fields, time }
}

pub(crate) fn by_us(body: &[u8], batch: &LineBatch) -> Vec<Told> {
    let line = |line: usize| {
        let key = series_labels(batch.keys()[line].of(body)).expect("an accepted key");
        let field = |row: usize| {
            let name = unescape_field(batch.fields()[row].of(body)).into_owned();
            (name, batch.values()[row].to_bits())
        };
        Told {
            measurement: key.measurement,
            labels: key.labels,
            fields: batch.samples_of(line).map(field).collect(),
            time: batch.times()[line].nanos(),
        }
    };
    (0..batch.lines()).map(line).collect()
}

/// Whether the head of `line_protocol.rs` lists this refusal of a line that the crate accepts.
fn is_deliberate(ours: &LineError, text: &str, line: &ParsedLine<'_>) -> bool {
    let mut tags = line.series.tag_set.iter().flatten();
    let comma_in_field = || line.field_set.iter().any(|(key, _)| key.contains(','));
    let behind_the_only_field =
        || line.field_set.len() == 1 && text.as_bytes()[..ours.at as usize].ends_with(b",");
    let has_control = || text.contains(|c: char| c.is_ascii_control());
    match ours.reason {
        LineReason::ControlByte => has_control(),
        LineReason::MissingTagValue => tags.any(|(key, _)| key.contains(',')),
        LineReason::MissingFieldValue => comma_in_field() || behind_the_only_field(),
        LineReason::TrailingBackslash if has_control() => true,
        LineReason::TrailingBackslash => tags.any(|(key, _)| key.contains(',')) || comma_in_field(),
        LineReason::DuplicateTag => {
            let mut keys: Vec<_> = tags.map(|(key, _)| key.as_str()).collect();
            keys.sort_unstable();
            keys.windows(2).any(|pair| pair[0] == pair[1])
        }
        LineReason::IntegerTooLarge => line.field_set.iter().any(|(_, value)| match value {
            FieldValue::I64(value) => value.unsigned_abs() > EXACT_INTEGER_MAX,
            FieldValue::U64(value) => *value > EXACT_INTEGER_MAX,
            _ => false,
        }),
        LineReason::NotFinite => {
            let infinite = |value: &_| matches!(value, FieldValue::F64(v) if v.is_infinite());
            line.field_set.iter().any(|(_, value)| infinite(value))
        }
        LineReason::TimeOutOfRange => line.timestamp == Some(i64::MIN),
        LineReason::TooManyTags => tags.count() > SERIES_LABELS_MAX,
        LineReason::TagKeyTooLong => tags.any(|(key, _)| key.len() > LABEL_KEY_BYTES_MAX),
        LineReason::TagValueTooLong => tags.any(|(_, value)| value.len() > LABEL_VALUE_BYTES_MAX),
        LineReason::MetricTooLong => {
            let mut fields = line.field_set.iter().map(|(key, _)| key.len());
            fields.any(|bytes| line.series.measurement.len() + 1 + bytes > METRIC_BYTES_MAX)
        }
        _ => false,
    }
}
