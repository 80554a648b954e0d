//! A partition of messages, outside of the disk that fails: whoever reads it finds every message again.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::OnceLock;

use tidewatch_metrics::SeriesId;

use crate::lab::script::{BEGIN_NANOS, SentRow, sent_row};
use crate::sources::{SourceOffsets, SourcePartition};

const TOPIC_ID: u128 = 0x7469_6465;
/// Between the times of two messages, in nanoseconds.
const STEP: i64 = 700_000_000;

/// The partition.
pub(super) fn partition() -> SourcePartition {
    SourcePartition::new("lab", "feed", 3).expect("the names are short")
}

/// These messages, as their reader tells the engine of them.
pub(super) fn offsets(messages: &Range<u64>) -> SourceOffsets {
    let offsets = (messages.start, messages.end.saturating_sub(1));
    SourceOffsets::new(partition(), TOPIC_ID, offsets).expect("a batch has messages")
}

/// The lines of these messages.
pub(super) fn body(messages: &Range<u64>) -> String {
    let mut body = String::new();
    for offset in messages.clone() {
        match content(offset) {
            Some((time, value)) => writeln!(body, "feed,part=3 value={value} {time}"),
            None => writeln!(body, "message {offset} is no line"),
        }
        .expect("writing to memory does not fail");
    }
    body
}

/// What is stored of a message; `None` where it is no line.
pub(super) fn row(offset: u64) -> Option<SentRow> {
    let labels = vec![("part".to_owned(), "3".to_owned())];
    content(offset).map(|content| sent_row("feed", "value", labels, content))
}

/// Whether the rows of the series come from messages.
pub(super) fn has(series: SeriesId) -> bool {
    static KNOWN: OnceLock<Option<SeriesId>> = OnceLock::new();
    *KNOWN.get_or_init(|| row(0).map(|row| row.series)) == Some(series)
}

/// Every message has a value of its own.
fn content(offset: u64) -> Option<(i64, f64)> {
    let number = i32::try_from(offset).expect("scripts are short");
    (offset % 11 != 4)
        .then(|| (BEGIN_NANOS + i64::from(number) * STEP, 50.0 + f64::from(number) / 1_024.0))
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
