//! `dead_letters-<version>.parquet`: messages of which something was refused.
//!
//! ```text
//! source, topic utf8 · partition u32 · topic_id utf8 (32 hex digits), nullable · offset u64 ·
//! time timestamp(ns, UTC), nullable · received timestamp(ns, UTC) · reason utf8 · payload binary ·
//! key binary, nullable · bytes u64 · lsn u64
//! ```
//!
//! These are the columns of `tidewatch.dlq` without `state`. A file has all letters of its records, in the order of
//! the log.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, StringArray, TimestampNanosecondArray, UInt32Array,
    UInt64Array,
};
use arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimeUnit, TimestampNanosecondType, UInt32Type, UInt64Type,
};
use arrow::record_batch::RecordBatch;
use tidewatch_env::Disk;
use tidewatch_metrics::{EventTime, Lsn, UnixNanos};

use crate::error::SegmentsError;
use crate::events::{EventFile, text, time_field, times};
use crate::file_meta::{FileKind, FileMeta};
use crate::group_builder::UTC;
use crate::letters::{Letter, LetterId, LetterRow};
use crate::output::Output;
use crate::series_file::{plain_meta, properties};

/// Letters of one row group, and of one batch.
const GROUP_LETTERS: usize = 4_096;
/// Bytes of letters after which a row group ends.
const GROUP_BYTES: usize = 8 << 20;

/// The columns of a file of letters.
#[must_use]
pub fn letters_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into()));
    Arc::new(Schema::new(vec![
        Field::new("source", DataType::Utf8, false),
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::UInt32, false),
        Field::new("topic_id", DataType::Utf8, true),
        Field::new("offset", DataType::UInt64, false),
        Field::new("time", time, true),
        time_field("received"),
        Field::new("reason", DataType::Utf8, false),
        Field::new("payload", DataType::Binary, false),
        Field::new("key", DataType::Binary, true),
        Field::new("bytes", DataType::UInt64, false),
        Field::new("lsn", DataType::UInt64, false),
    ]))
}

/// Letters as a batch of [`letters_schema`].
///
/// # Panics
/// Never: the columns are those of the schema.
#[must_use]
pub fn letters_batch(rows: &[Arc<LetterRow>]) -> RecordBatch {
    let letters = || rows.iter().map(|row| &row.letter);
    let topic_ids = rows.iter().map(|row| (row.topic_id != 0).then(|| hex(row.topic_id)));
    let sent = letters().map(|letter| letter.time.map(EventTime::nanos));
    let columns: Vec<ArrayRef> = vec![
        text(rows.iter().map(|row| row.source.to_string())),
        text(rows.iter().map(|row| row.topic.to_string())),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.partition))),
        Arc::new(StringArray::from_iter(topic_ids)),
        Arc::new(UInt64Array::from_iter_values(letters().map(|letter| letter.offset))),
        Arc::new(sent.collect::<TimestampNanosecondArray>().with_timezone(UTC)),
        times(rows.iter().map(|row| row.received.nanos())),
        text(letters().map(|letter| letter.reason.to_string())),
        Arc::new(BinaryArray::from_iter_values(letters().map(|letter| &*letter.payload))),
        Arc::new(BinaryArray::from_iter(letters().map(|letter| letter.key.as_deref()))),
        Arc::new(UInt64Array::from_iter_values(letters().map(|letter| letter.bytes))),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.lsn.get()))),
    ];
    RecordBatch::try_new(letters_schema(), columns).expect("the columns are those of the schema")
}

/// Cuts letters into parts that are batches of a bounded size.
pub fn letter_groups(rows: &[Arc<LetterRow>]) -> impl Iterator<Item = &[Arc<LetterRow>]> {
    let mut left = rows;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = left.iter().take(GROUP_LETTERS).take_while(|row| {
            let fits = bytes < GROUP_BYTES;
            bytes += row.letter.size();
            fits
        });
        let (group, rest) = left.split_at(fitting.count());
        left = rest;
        (!group.is_empty()).then_some(group)
    })
}

/// Writes letters, which are in the order of the log, to `file` in `dir`; durable once `dir` is synced.
pub(crate) fn write_letters(
    disk: &dyn Disk,
    dir: &Path,
    file: String,
    rows: &[Arc<LetterRow>],
) -> Result<FileMeta, SegmentsError> {
    let mut output = Output::create(disk, dir, file, letters_schema(), properties())?;
    for group in letter_groups(rows) {
        output.write_group(&letters_batch(group))?;
    }
    let lsns = || rows.iter().map(|row| row.lsn);
    let range = (lsns().min().unwrap_or_default(), lsns().max().unwrap_or_default());
    let written = output.finish(Vec::new())?;
    let mut meta = plain_meta(FileKind::DeadLetters, written, rows.len() as u64, range);
    let received = || rows.iter().map(|row| EventTime::new(row.received.nanos()));
    meta.time_min = received().min().unwrap_or_default();
    meta.time_max = received().max().unwrap_or_default();
    Ok(meta)
}

/// Reads the letters of a file that `is_wanted`, which is told each one's bytes.
///
/// # Errors
/// [`SegmentsError::Corrupt`], and what the disk or the format's library reports.
pub fn read_letters(
    file: &EventFile,
    mut is_wanted: impl FnMut(LetterId, usize) -> bool,
) -> Result<Vec<LetterRow>, SegmentsError> {
    let mut found = Vec::new();
    for batch in file.read()? {
        let rows = rows_of(&batch, &mut is_wanted);
        found.extend(rows.ok_or_else(|| file.corrupt("a letter has no form of letters"))?);
    }
    Ok(found)
}

fn rows_of(
    batch: &RecordBatch,
    is_wanted: &mut dyn FnMut(LetterId, usize) -> bool,
) -> Option<Vec<LetterRow>> {
    let text = |name| batch.column_by_name(name)?.as_string_opt::<i32>();
    let binary = |name| batch.column_by_name(name)?.as_binary_opt::<i32>();
    let count = |name| batch.column_by_name(name)?.as_primitive_opt::<UInt64Type>();
    let time = |name| batch.column_by_name(name)?.as_primitive_opt::<TimestampNanosecondType>();
    let partitions = batch.column_by_name("partition")?.as_primitive_opt::<UInt32Type>()?;
    let (sources, topics, ids) = (text("source")?, text("topic")?, text("topic_id")?);
    let (offsets, lsns, bytes) = (count("offset")?, count("lsn")?, count("bytes")?);
    let (sent, received, reasons) = (time("time")?, time("received")?, text("reason")?);
    let (payloads, keys) = (binary("payload")?, binary("key")?);
    let wanted = (0..batch.num_rows()).filter(|row| {
        let id = LetterId { lsn: Lsn::new(lsns.value(*row)), offset: offsets.value(*row) };
        is_wanted(id, payloads.value(*row).len())
    });
    let rows = wanted.map(|row| {
        let id = ids.is_valid(row).then(|| u128::from_str_radix(ids.value(row), 16).ok());
        let letter = Letter {
            offset: offsets.value(row),
            time: sent.is_valid(row).then(|| EventTime::new(sent.value(row))),
            reason: reasons.value(row).into(),
            payload: payloads.value(row).into(),
            key: keys.is_valid(row).then(|| keys.value(row).into()),
            bytes: bytes.value(row),
        };
        Some(LetterRow {
            lsn: Lsn::new(lsns.value(row)),
            source: sources.value(row).into(),
            topic: topics.value(row).into(),
            partition: partitions.value(row),
            topic_id: id.map_or(Some(0), |id| id)?,
            received: UnixNanos::new(received.value(row)),
            letter,
        })
    });
    rows.collect()
}

fn hex(id: u128) -> String {
    format!("{id:032x}")
}

#[cfg(test)]
#[path = "letters_file_tests.rs"]
mod tests;
