//! Any bytes: no panic, and what is accepted can be used.
//!
//! The first byte chooses the options, the others are the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch_connectors::decode::{
    LineBatch, LineOptions, Precision, decode, series_labels, unescape_field,
};
use tidewatch_metrics::EventTime;

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    let precision = match choice & 3 {
        0 => Precision::Nanoseconds,
        1 => Precision::Seconds,
        2 => Precision::Hours,
        _ => Precision::Auto,
    };
    let options = LineOptions {
        precision,
        default_time: EventTime::new(7),
        time_max: (choice & 4 != 0).then_some(EventTime::new(1 << 60)),
        line_bytes_max: if choice & 8 == 0 { 1 << 20 } else { 40 },
        samples_max: if choice & 16 == 0 { 1_000_000 } else { 5 },
        ..LineOptions::default()
    };
    let mut batch = LineBatch::new();
    if decode(body, &options, &mut batch).is_err() {
        assert_eq!((batch.lines(), batch.samples()), (0, 0));
        return;
    }
    assert!(batch.samples() <= options.samples_max);
    let mut samples = 0;
    for line in 0..batch.lines() {
        let rows = batch.samples_of(line);
        assert!(rows.start == samples && rows.start < rows.end);
        samples = rows.end;
        let key = series_labels(batch.keys()[line].of(body)).expect("an accepted key is a key");
        assert!(key.labels.is_sorted_by(|a, b| a.0 < b.0));
        assert!(batch.times()[line] > EventTime::MIN);
        for row in rows {
            assert!(batch.values()[row].is_finite());
            assert!(!unescape_field(batch.fields()[row].of(body)).is_empty());
        }
    }
    assert_eq!(samples, batch.samples());
    assert!(batch.errors().first().iter().all(|error| !error.original(body).is_empty()));
});
