//! Letters and marks in records, fields as in [`record`](crate::record):
//!
//! ```text
//! letters  count u32, at least 1, each:
//!            offset u64, has u8 (1 = time, 2 = key), time i64 where it has one, reason text, bytes u64,
//!            u32 length, payload; u32 length, key where it has one
//! marks    count u32, at least 1, each: letter's record u64, offset u64, end u8 (1 = replayed, 2 = dropped)
//! ```
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{EventTime, Lsn};
use tidewatch_segments::{Letter, LetterEnd, LetterId, LetterMark};

use crate::sources::SourceOffsets;

const HAS_TIME: u8 = 1;
const HAS_KEY: u8 = 2;

/// Appends letters, unless there are none.
pub(crate) fn put_letters(out: &mut FieldWriter, letters: &[Letter]) {
    if letters.is_empty() {
        return;
    }
    out.count(letters.len());
    for letter in letters {
        out.u64(letter.offset);
        let has_time = if letter.time.is_some() { HAS_TIME } else { 0 };
        out.u8(has_time | if letter.key.is_some() { HAS_KEY } else { 0 });
        if let Some(time) = letter.time {
            out.i64(time.nanos());
        }
        out.text(&letter.reason);
        out.u64(letter.bytes);
        out.blob(&letter.payload);
        if let Some(key) = &letter.key {
            out.blob(key);
        }
    }
}

/// Takes the letters of messages with these offsets, where there are any.
pub(crate) fn take_letters(
    fields: &mut FieldReader<'_>,
    offsets: &SourceOffsets,
) -> Option<Vec<Letter>> {
    if fields.remaining() == 0 {
        return Some(Vec::new());
    }
    let mut letters: Vec<Letter> = Vec::new();
    for _ in 0..fields.count().filter(|count| *count > 0)? {
        let letter = take_letter(fields)?;
        let is_behind = letters.last().is_none_or(|last| last.offset < letter.offset);
        let is_within = (offsets.first()..=offsets.last()).contains(&letter.offset);
        letters.push(Some(letter).filter(|_| is_behind && is_within)?);
    }
    Some(letters)
}

fn take_letter(fields: &mut FieldReader<'_>) -> Option<Letter> {
    let (offset, has) = (fields.u64()?, fields.u8()?);
    if has & !(HAS_TIME | HAS_KEY) != 0 {
        return None;
    }
    let time = if has & HAS_TIME == 0 { None } else { Some(EventTime::new(fields.i64()?)) };
    let (reason, bytes) = (fields.text()?.into(), fields.u64()?);
    let payload = fields.blob()?.into();
    let key = if has & HAS_KEY == 0 { None } else { Some(fields.blob()?.into()) };
    Some(Letter { offset, time, reason, payload, key, bytes })
}

/// Appends marks.
pub(crate) fn put_marks(out: &mut FieldWriter, marks: &[LetterMark]) {
    out.count(marks.len());
    for mark in marks {
        out.u64(mark.id.lsn.get());
        out.u64(mark.id.offset);
        out.u8(mark.end.code());
    }
}

/// Takes marks.
pub(crate) fn take_marks(fields: &mut FieldReader<'_>) -> Option<Vec<LetterMark>> {
    let marks = (0..fields.count().filter(|count| *count > 0)?).map(|_| {
        let id = LetterId { lsn: Lsn::new(fields.u64()?), offset: fields.u64()? };
        Some(LetterMark { id, end: LetterEnd::from_code(fields.u8()?)? })
    });
    marks.collect()
}
