//! Line protocol: known answers, refusals, limits, and damaged bodies. The comparison with the other parser is beside.

use tidewatch_metrics::limits::METRIC_BYTES_MAX;

use super::*;
use crate::decode::line_key::{series_labels, unescape_field};
use crate::decode::oracle::line_protocol::{DEFAULT_TIME, check_promises, options};

#[path = "line_protocol_oracle_tests.rs"]
mod oracle;

fn decoded_with(body: impl AsRef<[u8]>, options: &LineOptions) -> LineBatch {
    let mut batch = LineBatch::new();
    decode(body.as_ref(), options, &mut batch).expect("within the limits");
    check_promises(body.as_ref(), options, &batch);
    batch
}

fn decoded(body: impl AsRef<[u8]>) -> LineBatch {
    decoded_with(body, &options())
}

/// One line in words, to compare with what is expected.
fn told(body: &[u8], batch: &LineBatch) -> Vec<String> {
    let line = |line: usize| {
        let key = series_labels(batch.keys()[line].of(body)).expect("an accepted key");
        let rows = batch.samples_of(line);
        let field = |row: usize| {
            format!("{}={}", unescape_field(batch.fields()[row].of(body)), batch.values()[row])
        };
        let fields = rows.map(field).collect::<Vec<_>>().join(" ");
        let (number, time) = (batch.line_numbers()[line], batch.times()[line].nanos());
        format!("{number}: {} {:?} {fields} @{time}", key.measurement, key.labels)
    };
    (0..batch.lines()).map(line).collect()
}

#[test]
fn every_kind_of_value_is_read() {
    let body = b"cpu,host=a,dc=eu idle=99.5,n=3i,u=7u,up=t,down=FALSE,e=-1.5e-3,s=\"x, y=\\\" \\\\\" 17\n\
                 # a comment, with \"quotes\nmem free=1\r\n\r\n  \t\n disk,a=b  x=2  9  \nstrings s=\"\",t=\"a\nb\"\nlast f=0";
    let batch = decoded(body);
    assert_eq!(
        told(body, &batch),
        [
            "1: cpu [(\"dc\", \"eu\"), (\"host\", \"a\")] idle=99.5 n=3 u=7 up=1 down=0 e=-0.0015 @17",
            "3: mem [] free=1 @42",
            "6: disk [(\"a\", \"b\")] x=2 @9",
            "9: last [] f=0 @42",
        ]
    );
    assert!(batch.errors().is_empty());
    assert_eq!((batch.lines_accepted(), batch.strings_dropped()), (5, 3));
}

#[test]
fn a_refused_line_leaves_nothing_and_harms_no_other() {
    let body = b"a f=1 1\nb f=1,g=x 2\n\xff\nc f=1,g=2 3\nd\ne f=1 4";
    let batch = decoded(body);
    assert_eq!(told(body, &batch), ["1: a [] f=1 @1", "4: c [] f=1 g=2 @3", "6: e [] f=1 @4"]);
    let errors = batch.errors().first().iter();
    let errors: Vec<_> = errors.map(|e| (e.line_number, e.reason, e.original(body))).collect();
    assert_eq!(
        errors,
        [
            (2, LineReason::InvalidValue, &b"b f=1,g=x 2"[..]),
            (3, LineReason::MissingFields, b"\xff"),
            (5, LineReason::MissingFields, b"d"),
        ]
    );
    assert_eq!(batch.errors().first()[0].to_string(), "invalid field value at byte 9");
}

#[test]
fn each_reason_is_met_by_its_line() {
    let long = format!("{} f=1", "m".repeat(METRIC_BYTES_MAX));
    let tags = (0..65).fold("m".to_owned(), |line, i| format!("{line},t{i}=v")) + " f=1";
    for (line, reason) in [
        ("m f=1\u{1}", LineReason::InvalidValue),
        ("m\u{1} f=1", LineReason::ControlByte),
        ("m f\u{0}=1", LineReason::ControlByte),
        ("m\\", LineReason::TrailingBackslash),
        (",a=b f=1", LineReason::EmptyMeasurement),
        ("m,a f=1", LineReason::MissingTagValue),
        ("m,=a f=1", LineReason::EmptyTagKey),
        ("m,a= f=1", LineReason::EmptyTagValue),
        ("m,a=b,a=c f=1", LineReason::DuplicateTag),
        (tags.as_str(), LineReason::TooManyTags),
        ("m", LineReason::MissingFields),
        ("m,a=b   ", LineReason::MissingFields),
        ("m =1", LineReason::EmptyFieldKey),
        ("m f", LineReason::MissingFieldValue),
        ("m f=", LineReason::MissingFieldValue),
        ("m f=,g=1", LineReason::MissingFieldValue),
        ("m f=1,", LineReason::MissingFieldValue),
        ("m f=1, g=2", LineReason::MissingFieldValue),
        (long.as_str(), LineReason::MetricTooLong),
        ("m f=tr", LineReason::InvalidValue),
        ("m f=1.5i", LineReason::InvalidValue),
        ("m f=\"a\"b", LineReason::InvalidValue),
        ("m f=NaN", LineReason::NotFinite),
        ("m f=-inf", LineReason::NotFinite),
        ("m f=1e999", LineReason::NotFinite),
        ("m f=9007199254740993i", LineReason::IntegerTooLarge),
        ("m f=\"abc", LineReason::UnclosedString),
        ("m f=1 x", LineReason::InvalidTime),
        ("m f=1 1.5", LineReason::InvalidTime),
        ("m f=1 1 2", LineReason::InvalidTime),
        ("m f=1 9223372036854775808", LineReason::TimeOutOfRange),
        ("m f=1 -9223372036854775808", LineReason::TimeOutOfRange),
    ] {
        let batch = decoded(line);
        let found: Vec<_> = batch.errors().first().iter().map(|error| error.reason).collect();
        assert_eq!((found, batch.samples()), (vec![reason], 0), "{line:?}");
        let counted = batch.errors().by_reason().find(|(r, _)| *r == reason);
        assert_eq!(counted, Some((reason, 1)), "{line:?}");
    }
}

#[test]
fn bytes_that_are_not_utf8_refuse_their_line_only() {
    let body = b"m,a=\xff f=1 1\nm f\xfe=1 2\nm f=1,s=\"\xfd\" 3\nm,a=\xc3\xa4 f=1 4";
    let batch = decoded(body);
    assert_eq!(told(body, &batch), ["4: m [(\"a\", \"\u{e4}\")] f=1 @4"]);
    let errors: Vec<_> = batch.errors().first().iter().map(|e| (e.reason, e.at)).collect();
    let not_utf8 = LineReason::NotUtf8;
    assert_eq!(errors, [(not_utf8, 4), (not_utf8, 15), (not_utf8, 30)]);
}

#[test]
fn nothing_inside_a_string_of_a_refused_line_becomes_a_line() {
    let body = b"m bad=x,s=\"text\ninjected f=1 1\n\" 2\nm f=1 3\nm s=\"open\ninjected f=1 1\n";
    let batch = decoded(body);
    assert_eq!(told(body, &batch), ["4: m [] f=1 @3"]);
    let errors: Vec<_> = batch.errors().first().iter().map(|e| (e.line_number, e.reason)).collect();
    assert_eq!(errors, [(1, LineReason::InvalidValue), (5, LineReason::UnclosedString)]);
}

#[test]
fn units_scale_times_and_the_future_has_an_end() {
    let seconds = LineOptions { precision: Precision::Seconds, ..options() };
    let bounded = LineOptions { time_max: Some(EventTime::new(10_000_000_000)), ..seconds };
    let body = b"m f=1 10\nm f=1 11\nm f=1 9999999999999\nm f=1\nm f=1 -3";
    let times = |options| {
        let batch = decoded_with(body, options);
        batch.times().iter().map(|time| time.nanos()).collect::<Vec<_>>()
    };
    assert_eq!(times(&seconds), [10_000_000_000, 11_000_000_000, DEFAULT_TIME, -3_000_000_000]);
    assert_eq!(times(&bounded), [10_000_000_000, DEFAULT_TIME, -3_000_000_000]);
    let batch = decoded_with(body, &bounded);
    let reasons: Vec<_> = batch.errors().first().iter().map(|error| error.reason).collect();
    assert_eq!(reasons, [LineReason::TimeInFuture, LineReason::TimeOutOfRange]);
}

#[test]
fn the_limit_of_a_line_holds_to_the_byte_and_the_rest_goes_on() {
    for end in ["\n", "\r\n"] {
        for (bytes, accepted) in [(20, 2), (21, 1), (22, 1), (23, 1), (40, 1)] {
            let long = format!("m f={}", "1".repeat(bytes - 4));
            let body = format!("{long}{end}m f=2{end}");
            let limited = LineOptions { line_bytes_max: 20, ..options() };
            let batch = decoded_with(&body, &limited);
            assert_eq!(batch.lines(), accepted, "{bytes} bytes, {end:?}");
            let refused =
                batch.errors().first().iter().map(|e| (e.reason, e.original(body.as_bytes())));
            let expected = (accepted == 1).then_some((LineReason::LineTooLong, long.as_bytes()));
            assert!(refused.eq(expected), "{bytes} bytes, {end:?}");
        }
    }
    let body = format!("m s=\"{}\" 1\nm f=1 2\n", "x\n".repeat(50));
    let batch = decoded_with(&body, &LineOptions { line_bytes_max: 20, ..options() });
    assert_eq!(told(body.as_bytes(), &batch), ["52: m [] f=1 @2"]);
}

#[test]
fn too_many_samples_refuse_the_body_and_leave_the_batch_empty() {
    let mut batch = LineBatch::new();
    let body = b"m a=1,b=2 1\nbad\nm a=1 2\n";
    let limited = |samples_max| LineOptions { samples_max, ..options() };
    assert_eq!(decode(body, &limited(3), &mut batch), Ok(()));
    assert_eq!(batch.samples(), 3);
    let error = decode(body, &limited(2), &mut batch);
    assert_eq!(error, Err(DecodeError::TooManySamples { samples_max: 2 }));
    assert_eq!((batch.samples(), batch.lines(), batch.errors().total()), (0, 0, 0));
}

#[test]
fn a_reused_batch_holds_the_last_body_alone() {
    let mut batch = LineBatch::new();
    for body in [&b"a x=1,y=2 1\nbad\ns t=\"\""[..], b"b z=3 2", b""] {
        decode(body, &options(), &mut batch).expect("within the limits");
        let fresh = decoded(body);
        assert_eq!(told(body, &batch), told(body, &fresh));
        assert_eq!(batch.errors().total(), fresh.errors().total());
        assert_eq!(batch.strings_dropped(), fresh.strings_dropped());
    }
}

#[test]
fn hostile_bodies_take_linear_time() {
    // Quadratic time would be 10^13 steps.
    for piece in
        ["m f=\"", "m f=x\"\n", "m,a=\\", "\\\n", "m s=\"\\\"\n", "m f=1,", ",,,=", "#\n", "m \n"]
    {
        let body = piece.repeat(4_000_000 / piece.len());
        let batch = decoded_with(&body, &LineOptions { line_bytes_max: 1_000, ..options() });
        assert_eq!(batch.samples(), 0, "{piece:?}");
    }
}

const SAMPLE: &[u8] = b"cpu,host=a\\ b,dc=eu idle=99.5,n=3i,up=t,s=\"x\\\"\ny\" 1700000000000000000\r\n# c\nm\\,x f\\==-1.5e3 9\n";

#[test]
fn every_truncation_and_every_flipped_byte_is_survived() {
    for cut in 0..SAMPLE.len() {
        decoded(&SAMPLE[..cut]);
    }
    for at in 0..SAMPLE.len() {
        for byte in 0..=u8::MAX {
            let mut body = SAMPLE.to_vec();
            body[at] = byte;
            decoded(body);
        }
    }
}

#[test]
fn two_hundred_thousand_damaged_bodies_are_survived() {
    const PIECES: [&[u8]; 16] = [
        b"\\",
        b"\"",
        b",",
        b"=",
        b" ",
        b"\n",
        b"\r\n",
        b"#",
        b"\xff",
        b"\0",
        b"9999999999",
        b"i",
        b"1e9",
        b"nan",
        b"=\"",
        b"\xc3\xa4",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits") % n
    };
    let mut batch = LineBatch::new();
    let mut accepted = 0;
    for _ in 0..200_000 {
        let mut body = SAMPLE.to_vec();
        for _ in 0..=below(4) {
            let from = below(body.len() + 1);
            let to = (from + below(4)).min(body.len());
            body.splice(from..to, PIECES[below(PIECES.len())].iter().copied());
        }
        let limits = LineOptions { line_bytes_max: 60 + below(40), ..options() };
        decode(&body, &limits, &mut batch).expect("few samples");
        check_promises(&body, &limits, &batch);
        accepted += batch.lines_accepted();
    }
    assert!(accepted > 100_000, "most damage leaves a line whole: {accepted}");
}
