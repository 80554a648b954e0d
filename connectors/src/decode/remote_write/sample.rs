//! Samples, which both versions write the same way.
//!
//! ```text
//! Sample = 1: value double | 2: timestamp int64, milliseconds | 3: start timestamp int64 (2.0)
//! ```
//!
//! What is left out is 0.
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::EventTime;

use crate::decode::item_errors::ItemReason;
use crate::decode::precision::Precision;
use crate::decode::series_batch::{SeriesBatch, SeriesError, SeriesOptions};
use crate::decode::wire::{Malformed, Value, Wire};

/// Takes a sample of the series `number`, or notes why it is refused.
#[inline]
pub(super) fn take(
    mut message: Wire<'_>,
    number: u32,
    options: &SeriesOptions,
    out: &mut SeriesBatch,
) -> Result<(), SeriesError> {
    let (mut value, mut millis, mut start) = (0.0, 0, 0);
    while let Some(field) = message.next()? {
        match (field.number, field.value) {
            (1, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Value::Varint(bits)) => millis = bits.cast_signed(),
            (3, Value::Varint(bits)) => start = bits,
            (1..=2, _) => return Err(Malformed { at: field.at }.into()),
            _ => {}
        }
    }
    if start != 0 {
        out.extras_mut().start_times += 1;
    }
    let time = Precision::Milliseconds.scale(millis).ok_or(ItemReason::TimeOutOfRange);
    let checked = time.and_then(|time: EventTime| options.check_time(time).map(|()| time));
    match checked {
        Ok(_) if out.rows() >= options.samples_max => Err(SeriesError::TooManySamples {
            samples_max: options.samples_max,
            received: out.rows() + 1,
        }),
        Ok(time) => {
            out.push_row(time, value);
            Ok(())
        }
        Err(reason) => {
            out.errors_mut().push(number, reason, 1);
            Ok(())
        }
    }
}
