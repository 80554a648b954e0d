//! `prometheus.WriteRequest` of remote write 1.0.
//!
//! ```text
//! WriteRequest = 1: TimeSeries … | 3: MetricMetadata …
//! TimeSeries   = 1: Label …      | 2: Sample …  | 3: Exemplar …  | 4: Histogram …
//! Label        = 1: name         | 2: value
//! ```
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::limits::SERIES_LABELS_MAX;
use twox_hash::XxHash3_128;

use crate::decode::item_errors::ItemReason;
use crate::decode::messages::One;
use crate::decode::remote_write::{named, sample};
use crate::decode::series_batch::{
    ItemKey, SeriesBatch, SeriesError, SeriesForm, SeriesNames, SeriesOptions,
};
use crate::decode::wire::{Field, Malformed, Value, Wire};

const LABEL: u64 = 1;
const SAMPLE: u64 = 2;
const EXEMPLAR: u64 = 3;
const HISTOGRAM: u64 = 4;

/// A body of [`SeriesForm::RemoteWrite1`].
pub(crate) fn decode(
    body: &[u8],
    options: &SeriesOptions,
    out: &mut SeriesBatch,
) -> Result<(), SeriesError> {
    debug_assert_eq!(out.form(), SeriesForm::RemoteWrite1);
    let mut request = Wire::new(body);
    let mut number = 0;
    while let Some(field) = request.next()? {
        match (field.number, field.value) {
            (1, Value::Bytes(start)) => {
                series(&request, &field, start, Item { number, options }, out)?;
                number = number.saturating_add(1);
            }
            (3, Value::Bytes(_)) => out.extras_mut().metadata += 1,
            (1 | 3, _) => return Err(Malformed { at: field.at }.into()),
            _ => {}
        }
    }
    Ok(())
}

/// A message of a partition: its series all have the message's number.
pub(crate) fn decode_message(
    message: &One<'_>,
    options: &SeriesOptions,
    out: &mut SeriesBatch,
) -> Result<(), SeriesError> {
    let One { bytes, start, number, .. } = *message;
    let mut request = Wire::within(bytes, start);
    while let Some(field) = request.next()? {
        match (field.number, field.value) {
            (1, Value::Bytes(start)) => {
                series(&request, &field, start, Item { number, options }, out)?;
            }
            (3, Value::Bytes(_)) => out.extras_mut().metadata += 1,
            (1 | 3, _) => return Err(Malformed { at: field.at }.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Which series is read, and how.
#[derive(Clone, Copy)]
struct Item<'a> {
    number: u32,
    options: &'a SeriesOptions,
}

/// The labels of a series: mostly one piece of the body.
#[derive(Clone, Copy, Default)]
struct Labels {
    start: usize,
    end: usize,
    is_scattered: bool,
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
    let mut labels = Labels::default();
    let (first_row, mut histograms) = (out.rows(), 0);
    while let Some(field) = message.next()? {
        match (field.number, field.value) {
            (LABEL, Value::Bytes(_)) => {
                if labels.end == 0 {
                    labels.start = field.at;
                }
                labels.is_scattered |= labels.end != 0 && labels.end != field.at;
                labels.end = field.end;
            }
            (SAMPLE, Value::Bytes(start)) => {
                sample::take(message.inner(start, &field), item.number, item.options, out)?;
            }
            (EXEMPLAR, Value::Bytes(_)) => out.extras_mut().exemplars += 1,
            (HISTOGRAM, Value::Bytes(_)) => histograms += 1,
            (LABEL..=HISTOGRAM, _) => return Err(Malformed { at: field.at }.into()),
            _ => {}
        }
    }
    if histograms > 0 {
        out.extras_mut().histograms += histograms;
        out.errors_mut().push(item.number, ItemReason::Histogram, histograms);
    }
    let seed = item.options.key_seed;
    let hash = if labels.is_scattered {
        let mut message = request.inner(start, whole);
        out.scratch.clear();
        while let Some(field) = message.next()? {
            if field.number == LABEL {
                out.scratch.extend_from_slice(message.between(field.at, field.end));
            }
        }
        XxHash3_128::oneshot_with_seed(seed, &out.scratch)
    } else {
        XxHash3_128::oneshot_with_seed(seed, message.between(labels.start, labels.end))
    };
    let key = ItemKey { name: whole.span(start), ..ItemKey::default() };
    out.push_item(item.number, key, hash, first_row);
    Ok(())
}

/// The names in the labels of a series.
pub(crate) fn names(series: &[u8]) -> Result<SeriesNames, ItemReason> {
    let malformed = |_: Malformed| ItemReason::MalformedLabel;
    let mut labels = Vec::new();
    let mut message = Wire::new(series);
    while let Some(field) = message.next().map_err(malformed)? {
        if let (LABEL, Value::Bytes(start)) = (field.number, field.value) {
            labels.push(label(message.inner(start, &field))?);
            if labels.len() > 2 * SERIES_LABELS_MAX {
                return Err(ItemReason::TooManyLabels);
            }
        }
    }
    named(labels)
}

fn label(mut message: Wire<'_>) -> Result<(String, String), ItemReason> {
    let malformed = |_: Malformed| ItemReason::MalformedLabel;
    let (mut name, mut value) = (String::new(), String::new());
    while let Some(field) = message.next().map_err(malformed)? {
        let place = match field.number {
            1 => &mut name,
            2 => &mut value,
            _ => continue,
        };
        let Value::Bytes(start) = field.value else { return Err(ItemReason::MalformedLabel) };
        let text = std::str::from_utf8(message.between(start, field.end));
        text.map_err(|_not_utf8| ItemReason::NotUtf8)?.clone_into(place);
    }
    Ok((name, value))
}
