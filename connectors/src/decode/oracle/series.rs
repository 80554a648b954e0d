//! What must hold of every body of samples by series, whatever its form.

use std::collections::BTreeMap;

use tidewatch_metrics::EventTime;

use crate::decode::json::{metrics_of, samples_of};
use crate::decode::{
    ItemReason, SeriesBatch, SeriesError, SeriesForm, SeriesNames, SeriesOptions, decode_series,
};

/// Samples of a body where the limit is narrow.
const FEW_SAMPLES: usize = 2;
/// The bounds of times where they are narrow: seconds about today.
const TIME_MIN: EventTime = EventTime::new(1_600_000_000_000_000_000);
const TIME_MAX: EventTime = EventTime::new(1_800_000_000_000_000_000);

/// What the document of `SeriesBatch` promises; and that limits, bounds and strictness take away what they are for
/// and nothing else.
pub(crate) fn check(form: SeriesForm, body: &[u8]) {
    let shown = || format!("{form:?} {:?}", String::from_utf8_lossy(body));
    let mut batch = SeriesBatch::new();
    let free = SeriesOptions::default();
    let decoded = decode_series(form, body, &free, &mut batch);
    if decoded.is_err() {
        assert_eq!((batch.items(), batch.rows(), batch.errors().total()), (0, 0, 0), "{}", shown());
        return;
    }
    check_columns(&batch, body);
    check_names(&batch, body);
    if matches!(form, SeriesForm::Luminate | SeriesForm::JsonLines) {
        check_places(&batch, body);
    }
    check_bounds(&batch, body);
    check_few(&batch, body);
    let rows = rows(&batch);
    let reused = decode_series(form, body, &free, &mut batch);
    assert!(reused == decoded && rows == self::rows(&batch), "reused: {}", shown());
}

/// Number, nanoseconds and bits of each row.
fn rows(batch: &SeriesBatch) -> Vec<(u32, i64, u64)> {
    let of_item = |item: usize| {
        let rows = batch.rows_of(item);
        let row = move |row: usize| {
            (batch.numbers()[item], batch.times()[row].nanos(), batch.values()[row].to_bits())
        };
        rows.map(row)
    };
    (0..batch.items()).flat_map(of_item).collect()
}

fn check_columns(batch: &SeriesBatch, body: &[u8]) {
    assert_eq!(batch.key_hashes().len(), batch.items());
    assert_eq!(batch.numbers().len(), batch.items());
    assert_eq!(batch.times().len(), batch.rows());
    assert!(batch.numbers().is_sorted_by(|one, next| one < next), "{body:02x?}");
    assert!(batch.times().iter().all(|time| *time > EventTime::MIN), "{body:02x?}");
    let mut next = 0;
    for item in 0..batch.items() {
        let rows = batch.rows_of(item);
        assert!(rows.start == next && rows.start < rows.end, "{rows:?} {body:02x?}");
        next = rows.end;
    }
    assert_eq!(next, batch.rows(), "{body:02x?}");
    let counted: u64 = batch.errors().by_reason().map(|(_, samples)| samples).sum();
    assert_eq!(counted, batch.errors().total());
    assert!(batch.errors().first().len() as u64 <= counted, "{body:02x?}");
}

/// Equal hashes are equal names, and strictness refuses some of them.
fn check_names(batch: &SeriesBatch, body: &[u8]) {
    let mut strict = SeriesBatch::new();
    let options = SeriesOptions { strict: true, ..SeriesOptions::default() };
    decode_series(batch.form(), body, &options, &mut strict).expect("strictness is asked per name");
    assert_eq!(rows(&strict), rows(batch), "{body:02x?}");
    let mut known: BTreeMap<u128, Result<SeriesNames, ItemReason>> = BTreeMap::new();
    for (item, hash) in batch.key_hashes().iter().enumerate() {
        let names = batch.names(body, item);
        let strictly = strict.names(body, item);
        assert!(strictly.is_err() || strictly == names, "{item} {body:02x?}");
        if let Ok(names) = &names {
            assert!(!names.metric.is_empty(), "{item} {body:02x?}");
        }
        let first = known.entry(*hash).or_insert_with(|| names.clone());
        assert_eq!(*first, names, "{item} {body:02x?}");
    }
}

/// Every sample of JSON is in its place, taken or refused, and is named alike whoever asks.
fn check_places(batch: &SeriesBatch, body: &[u8]) {
    let refused = batch.errors().first().iter().map(|error| error.item);
    let mut numbers: Vec<u32> = batch.numbers().iter().copied().chain(refused).collect();
    numbers.sort_unstable();
    if batch.form() == SeriesForm::Luminate {
        let samples = samples_of(body).expect("the body was decoded");
        let given = u32::try_from(samples.len()).unwrap();
        assert!(numbers.iter().copied().eq(0..given), "{numbers:?} of {given}: {body:02x?}");
        assert!(samples.is_sorted_by(|one, next| one.end < next.start), "{body:02x?}");
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?} {body:02x?}");
    for (item, name) in metrics_of(batch.form(), body, batch.numbers(), 9).into_iter().enumerate() {
        if let Ok(names) = batch.names(body, item) {
            assert_eq!(name, names.metric.chars().take(9).collect::<String>(), "{body:02x?}");
        }
    }
    assert_eq!(metrics_of(batch.form(), body, &numbers, 9).len(), numbers.len());
}

/// Bounds refuse the rows beyond them, and no others.
fn check_bounds(batch: &SeriesBatch, body: &[u8]) {
    let bounds = SeriesOptions {
        time_min: Some(TIME_MIN),
        time_max: Some(TIME_MAX),
        ..SeriesOptions::default()
    };
    let mut bounded = SeriesBatch::new();
    decode_series(batch.form(), body, &bounds, &mut bounded).expect("bounds are per sample");
    let mut within = rows(batch);
    let taken = within.len();
    within.retain(|(_, nanos, _)| (TIME_MIN.nanos()..=TIME_MAX.nanos()).contains(nanos));
    assert_eq!(rows(&bounded), within, "{body:02x?}");
    let beyond = u64::try_from(taken - within.len()).unwrap();
    assert_eq!(bounded.errors().total(), batch.errors().total() + beyond, "{body:02x?}");
}

/// A narrow limit refuses the body as a whole, or changes nothing.
fn check_few(batch: &SeriesBatch, body: &[u8]) {
    let options = SeriesOptions { samples_max: FEW_SAMPLES, ..SeriesOptions::default() };
    let mut few = SeriesBatch::new();
    match decode_series(batch.form(), body, &options, &mut few) {
        Ok(()) => {
            assert_eq!(rows(&few), rows(batch), "{body:02x?}");
            assert!(few.rows() <= FEW_SAMPLES, "{body:02x?}");
        }
        Err(SeriesError::TooManySamples { samples_max, received }) => {
            assert!(samples_max == FEW_SAMPLES && received > FEW_SAMPLES, "{body:02x?}");
            assert_eq!((few.rows(), few.errors().total()), (0, 0), "{body:02x?}");
            let given = batch.rows() as u64 + batch.errors().total();
            assert!(given > FEW_SAMPLES as u64, "{given} samples: {body:02x?}");
        }
        Err(error) => panic!("{error}: {body:02x?}"),
    }
}
