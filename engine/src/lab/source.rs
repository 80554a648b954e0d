//! A partition of messages, outside of the disk that fails: whoever reads it finds every message again.

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

/// What a message says: some are no line, but a sample in JSON.
pub(super) fn message(offset: u64) -> String {
    let (time, value) = content(offset);
    match is_line(offset) {
        true => format!("feed,part=3 value={value} {time}\n"),
        false => format!(
            "{{\"metric\":\"feed\",\"time\":{time},\"value\":{value},\"labels\":{{\"part\":\"3\"}}}}\n"
        ),
    }
}

/// Whether a message is stored as it comes; others are kept as letters.
pub(super) fn is_line(offset: u64) -> bool {
    offset % 11 != 4
}

/// What is stored of a message once it is read as what it is.
pub(super) fn row(offset: u64) -> SentRow {
    let labels = vec![("part".to_owned(), "3".to_owned())];
    sent_row("feed", "value", labels, content(offset))
}

/// Whether the rows of the series come from messages.
pub(super) fn has(series: SeriesId) -> bool {
    static KNOWN: OnceLock<SeriesId> = OnceLock::new();
    *KNOWN.get_or_init(|| row(0).series) == series
}

/// Every message has a value of its own.
fn content(offset: u64) -> (i64, f64) {
    let number = i32::try_from(offset).expect("scripts are short");
    (BEGIN_NANOS + i64::from(number) * STEP, 50.0 + f64::from(number) / 1_024.0)
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
