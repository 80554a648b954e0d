//! `io.prometheus.write.v2.Request` of remote write 2.0.
//!
//! ```text
//! Request    = 4: symbol …, the first one empty  | 5: TimeSeries …
//! TimeSeries = 1: references to symbols, name and value by turns, packed or not
//!            | 2: Sample … | 3: Histogram … | 4: Exemplar … | 5: Metadata | 6: created timestamp
//! ```
//!
//! A series is known by the hashes of its symbols, since the references mean something else in every body.
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::limits::{BATCH_ROWS_MAX, SERIES_LABELS_MAX};
use twox_hash::XxHash3_128;

use crate::decode::item_errors::ItemReason;
use crate::decode::line_batch::Span;
use crate::decode::remote_write::{named, sample};
use crate::decode::series_batch::{
    ItemKey, SeriesBatch, SeriesError, SeriesForm, SeriesNames, SeriesOptions,
};
use crate::decode::wire::{Field, Malformed, Value, Wire};

/// Symbols of one body.
const SYMBOLS_MAX: usize = BATCH_ROWS_MAX;
/// References of one series: those of its labels, as many empty ones, and the name.
const REFERENCES_MAX: usize = 4 * SERIES_LABELS_MAX + 2;
/// Bytes of a symbol's hash.
const HASH_BYTES: usize = 16;

const REFERENCES: u64 = 1;
const SAMPLE: u64 = 2;
const HISTOGRAM: u64 = 3;
const EXEMPLAR: u64 = 4;
const METADATA: u64 = 5;
const CREATED: u64 = 6;

/// A body of [`SeriesForm::RemoteWrite2`].
pub(crate) fn decode(
    body: &[u8],
    options: &SeriesOptions,
    out: &mut SeriesBatch,
) -> Result<(), SeriesError> {
    debug_assert_eq!(out.form(), SeriesForm::RemoteWrite2);
    symbols(body, options, out)?;
    let mut request = Wire::new(body);
    let mut number = 0;
    while let Some(field) = request.next()? {
        match (field.number, field.value) {
            (5, Value::Bytes(start)) => {
                series(&request, &field, start, Item { number, options }, out)?;
                number = number.saturating_add(1);
            }
            (5, _) => return Err(Malformed { at: field.at }.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Finds and hashes the symbols, which may stand behind the series.
fn symbols(body: &[u8], options: &SeriesOptions, out: &mut SeriesBatch) -> Result<(), SeriesError> {
    let mut request = Wire::new(body);
    while let Some(field) = request.next()? {
        match (field.number, field.value) {
            (4, Value::Bytes(start)) => {
                if out.symbols.len() >= SYMBOLS_MAX {
                    return Err(SeriesError::TooManySymbols { symbols_max: SYMBOLS_MAX });
                }
                let symbol = request.between(start, field.end);
                let hash = XxHash3_128::oneshot_with_seed(options.key_seed, symbol);
                out.symbols.push(field.span(start));
                out.symbol_hashes.push(hash);
            }
            (4, _) => return Err(Malformed { at: field.at }.into()),
            _ => {}
        }
    }
    match out.symbols.first() {
        Some(first) if first.len > 0 => Err(SeriesError::FirstSymbol),
        _ => Ok(()),
    }
}

/// Which series is read, and how.
#[derive(Clone, Copy)]
struct Item<'a> {
    number: u32,
    options: &'a SeriesOptions,
}

#[inline]
fn series(
    request: &Wire<'_>,
    whole: &Field,
    start: usize,
    item: Item<'_>,
    out: &mut SeriesBatch,
) -> Result<(), SeriesError> {
    let mut message = request.inner(start, whole);
    let (first_row, mut histograms, mut created) = (out.rows(), 0, 0);
    let mut labels = Ok(());
    out.scratch.clear();
    while let Some(field) = message.next()? {
        match (field.number, field.value) {
            (REFERENCES, Value::Bytes(start)) => {
                let mut references = message.inner(start, &field);
                while let Some(reference) = references.next_packed()? {
                    labels = labels.and_then(|()| refer(reference, out));
                }
            }
            (REFERENCES, Value::Varint(reference)) => {
                labels = labels.and_then(|()| refer(reference, out));
            }
            (SAMPLE, Value::Bytes(start)) => {
                sample::take(message.inner(start, &field), item.number, item.options, out)?;
            }
            (HISTOGRAM, Value::Bytes(_)) => histograms += 1,
            (EXEMPLAR, Value::Bytes(_)) => out.extras_mut().exemplars += 1,
            (METADATA, Value::Bytes(_)) => out.extras_mut().metadata += 1,
            (CREATED, Value::Varint(time)) => created = time,
            (REFERENCES..=CREATED, _) => return Err(Malformed { at: field.at }.into()),
            _ => {}
        }
    }
    if created != 0 {
        out.extras_mut().start_times += 1;
    }
    if histograms > 0 {
        out.extras_mut().histograms += histograms;
        out.errors_mut().push(item.number, ItemReason::Histogram, histograms);
    }
    if labels.is_ok() && !out.scratch.len().is_multiple_of(2 * HASH_BYTES) {
        labels = Err(ItemReason::MalformedLabel);
    }
    if let Err(reason) = labels {
        let rows = out.retract(first_row);
        if rows > 0 {
            out.errors_mut().push(item.number, reason, rows);
        }
        return Ok(());
    }
    let hash = XxHash3_128::oneshot_with_seed(item.options.key_seed, &out.scratch);
    let key = ItemKey { name: whole.span(start), ..ItemKey::default() };
    out.push_item(item.number, key, hash, first_row);
    Ok(())
}

/// Adds the hash of the symbol to those of the series.
#[inline]
fn refer(reference: u64, out: &mut SeriesBatch) -> Result<(), ItemReason> {
    if out.scratch.len() >= REFERENCES_MAX * HASH_BYTES {
        return Err(ItemReason::TooManyLabels);
    }
    let symbol = place_of(reference).and_then(|symbol| out.symbol_hashes.get(symbol));
    let hash = symbol.copied().ok_or(ItemReason::UnknownSymbol)?;
    out.scratch.extend_from_slice(&hash.to_le_bytes());
    Ok(())
}

/// References are 32 bits; what a varint has beyond them does not count.
#[inline]
fn place_of(reference: u64) -> Option<usize> {
    usize::try_from(reference & u64::from(u32::MAX)).ok()
}

/// The names that the references of a series stand for.
pub(crate) fn names(
    series: &[u8],
    body: &[u8],
    symbols: &[Span],
) -> Result<SeriesNames, ItemReason> {
    let malformed = |_: Malformed| ItemReason::MalformedLabel;
    let mut texts = Vec::new();
    let mut text = |reference: u64| {
        let symbol = place_of(reference).and_then(|symbol| symbols.get(symbol));
        let bytes = symbol.ok_or(ItemReason::UnknownSymbol)?.of(body);
        let text = std::str::from_utf8(bytes).map_err(|_not_utf8| ItemReason::NotUtf8)?;
        texts.push(text.to_owned());
        Ok::<(), ItemReason>(())
    };
    let mut message = Wire::new(series);
    while let Some(field) = message.next().map_err(malformed)? {
        match (field.number, field.value) {
            (REFERENCES, Value::Varint(reference)) => text(reference)?,
            (REFERENCES, Value::Bytes(start)) => {
                let mut references = message.inner(start, &field);
                while let Some(reference) = references.next_packed().map_err(malformed)? {
                    text(reference)?;
                }
            }
            _ => {}
        }
    }
    let mut labels = Vec::with_capacity(texts.len() / 2);
    let mut texts = texts.into_iter();
    while let Some((name, value)) = texts.next().zip(texts.next()) {
        labels.push((name, value));
    }
    named(labels)
}
