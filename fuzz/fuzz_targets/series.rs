//! Any bytes as JSON and as remote write: no panic, and what is accepted can be used.
//!
//! The first byte chooses the form and the options, the others are the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch_connectors::decode::json::metrics_of;
use tidewatch_connectors::decode::remote_write::{unpack, unpacked_len};
use tidewatch_connectors::decode::{SeriesBatch, SeriesForm, SeriesOptions, decode_series};
use tidewatch_metrics::EventTime;

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    let form = match choice & 3 {
        0 => SeriesForm::Luminate,
        1 => SeriesForm::JsonLines,
        2 => SeriesForm::RemoteWrite1,
        _ => SeriesForm::RemoteWrite2,
    };
    let options = SeriesOptions {
        time_max: (choice & 4 != 0).then_some(EventTime::new(1 << 60)),
        samples_max: if choice & 8 == 0 { 1_000_000 } else { 5 },
        strict: choice & 16 != 0,
        ..SeriesOptions::default()
    };
    if unpacked_len(body).is_ok_and(|bytes| bytes < 1 << 24) {
        unpack(body).ok();
    }
    let mut batch = SeriesBatch::new();
    if decode_series(form, body, &options, &mut batch).is_err() {
        assert_eq!((batch.items(), batch.rows()), (0, 0));
        return;
    }
    assert!(batch.rows() <= options.samples_max);
    let mut rows = 0;
    for item in 0..batch.items() {
        let range = batch.rows_of(item);
        assert!(range.start == rows && range.start < range.end);
        rows = range.end;
        if let Ok(names) = batch.names(body, item) {
            assert!(!names.metric.is_empty());
        }
    }
    assert_eq!(rows, batch.rows());
    if form == SeriesForm::Luminate || form == SeriesForm::JsonLines {
        let refused: Vec<u32> = batch.errors().first().iter().map(|error| error.item).collect();
        assert_eq!(metrics_of(form, body, &refused, 10).len(), refused.len());
    }
});
