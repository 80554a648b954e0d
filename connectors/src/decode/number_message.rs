//! A message of a partition that is one number: its key is the metric's name, its time the sample's.
//!
//! ```text
//! message = blanks number blanks       number = -? digits (. digits)? ((e|E) (+|-)? digits)?
//! ```
#![deny(clippy::indexing_slicing)]

use twox_hash::XxHash3_128;

use crate::decode::item_errors::ItemReason;
use crate::decode::json::skip_space;
use crate::decode::line_errors::LineReason;
use crate::decode::messages::One;
use crate::decode::number::field_number;
use crate::decode::series_batch::{ItemKey, SeriesBatch, SeriesNames, SeriesOptions};

/// The number in the message.
///
/// # Errors
/// Why there is no sample in it.
pub(crate) fn decode_message(
    message: &One<'_>,
    options: &SeriesOptions,
    out: &mut SeriesBatch,
) -> Result<(), ItemReason> {
    let value = value(message.bytes, message.start)?;
    let name = message.key.filter(|key| key.len > 0).ok_or(ItemReason::MissingKey)?;
    let time = message.time.ok_or(ItemReason::MissingTime)?;
    options.check_time(time)?;
    let hash = XxHash3_128::oneshot_with_seed(options.key_seed, name.of(message.bytes));
    let first_row = out.rows();
    out.push_row(time, value);
    let key = ItemKey { name, ..ItemKey::default() };
    out.push_item(message.number, key, hash, first_row);
    Ok(())
}

fn value(bytes: &[u8], start: usize) -> Result<f64, ItemReason> {
    let number = field_number(bytes, skip_space(bytes, start)).map_err(|reason| match reason {
        LineReason::NotFinite => ItemReason::NotFinite,
        _ => ItemReason::ValueNotNumber,
    })?;
    // A field of line protocol may end with the mark of an integer.
    let last = number.end.checked_sub(1).and_then(|last| bytes.get(last));
    let is_plain = last.is_some_and(u8::is_ascii_digit);
    let is_alone = skip_space(bytes, number.end) == bytes.len();
    if is_plain && is_alone { Ok(number.value) } else { Err(ItemReason::ValueNotNumber) }
}

/// The name that a key is.
pub(crate) fn names(key: &[u8]) -> Result<SeriesNames, ItemReason> {
    let metric = std::str::from_utf8(key).map_err(|_not_utf8| ItemReason::KeyNotUtf8)?;
    let names = SeriesNames { metric: metric.to_owned(), labels: Vec::new() };
    names.check()?;
    Ok(names)
}

#[cfg(test)]
#[path = "number_message_tests.rs"]
mod tests;
