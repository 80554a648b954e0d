//! Conducts messages of a partition: as `ingest.rs` does with a body, but the record has their offsets, and there
//! is one whatever they hold. Letters are messages that come once more, and whose offsets are stored already.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewatch_connectors::decode::{
    Messages, Precision, SeriesOptions, Taken, decode_line_messages, decode_series_messages,
};
use tidewatch_metrics::series::check_database;
use tidewatch_metrics::{EventTime, SampleBatch, UnixNanos};
use tidewatch_segments::Letter;

use crate::EngineError;
use crate::admission::Permit;
use crate::committer::Origin;
use crate::ingest::{Done, Durability, Ingest, LineReport, Routed, Terms};
use crate::ingest_series::report_items;
use crate::lane::Lane;
use crate::letters::{KeptLetters, LetterClaim, Letters};
use crate::limits::{LETTER_BYTES_MAX, LETTER_REASON_BYTES_MAX, RECORD_LETTERS_BYTES_MAX};
use crate::line_cache::Registrations;
use crate::sources::SourceClaim;

/// Of a message whose series are refused behind so many others that theirs are not kept one by one.
const REASON_NOT_KEPT: &str = "its series are refused, as are those of many messages before it";

/// Messages of a partition. They are answered when they are synced.
#[derive(Debug)]
pub struct SourceWrite<'a> {
    /// The database.
    pub db: &'a str,
    /// The messages; none is fine where their batch has offsets.
    pub messages: Messages<'a>,
    /// Covers their bytes.
    pub permit: Permit,
    /// The right to store them, and none of them before.
    pub claim: SourceClaim,
    /// What is done with messages of which something is refused.
    pub bad: OnBad,
}

/// What is done with messages of which something is refused; what is good of them is stored.
#[derive(Clone, Debug)]
pub enum OnBad {
    /// They are kept here, whole, in the record of their offsets.
    Keep(Arc<Letters>),
    /// They are counted.
    Skip,
    /// Nothing is stored, of no message.
    Refuse,
}

/// Messages that were letters. They are answered when they are synced; where something of one is refused, nothing is
/// stored.
#[derive(Debug)]
pub(crate) struct LetterWrite<'a> {
    /// The database.
    pub(crate) db: &'a str,
    /// The messages, one at least.
    pub(crate) messages: Messages<'a>,
    /// Covers their bytes.
    pub(crate) permit: Permit,
    /// The right to end the letters, in the order of the messages.
    pub(crate) claim: LetterClaim,
}

/// What became of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceReport {
    /// How many of them the record has: the first ones. More would be too much for one record.
    pub messages: usize,
    /// Samples that are stored.
    pub samples: u64,
    /// Messages of which something was refused, in their order.
    pub bad: Vec<BadMessage>,
    /// Whether a record was handed to the log; otherwise `done` is not called.
    pub appended: bool,
}

/// A message of which something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadMessage {
    /// Its place in the batch, from 0.
    pub message: usize,
    /// Why.
    pub reason: String,
}

/// Messages as columns, and their rows by shard.
#[derive(Debug)]
struct Decoded {
    taken: Taken,
    report: LineReport,
    parts: Vec<SampleBatch>,
    fresh: Registrations,
    is_lines: bool,
}

impl Ingest {
    /// Takes messages of a source. There is always a record, also without any sample: it says how far the
    /// partition is stored. `done` is called when it is synced.
    ///
    /// # Errors
    /// What refuses all of it; `done` is not called then, and nothing is stored.
    pub fn write_source(
        &self,
        write: SourceWrite<'_>,
        done: Done,
    ) -> Result<SourceReport, EngineError> {
        check_database(write.db).map_err(|error| EngineError::Database(Box::new(error)))?;
        let received = self.clock.now();
        self.conduct_messages(&mut self.lanes.take(), write, received, done)
    }

    /// Takes letters. `done` is called when they are synced.
    ///
    /// # Errors
    /// What refuses all of it; `done` is not called then, and nothing is stored.
    pub(crate) fn write_letters(
        &self,
        write: LetterWrite<'_>,
        done: Done,
    ) -> Result<SourceReport, EngineError> {
        check_database(write.db).map_err(|error| EngineError::Database(Box::new(error)))?;
        let received = self.clock.now();
        self.conduct_letters(&mut self.lanes.take(), write, received, done)
    }

    fn conduct_messages(
        &self,
        lane: &mut Lane,
        write: SourceWrite<'_>,
        received: UnixNanos,
        done: Done,
    ) -> Result<SourceReport, EngineError> {
        let SourceWrite { db, mut messages, permit, mut claim, bad } = write;
        let (decoded, mut told, letters) = loop {
            let decoded = self.decode_messages(lane, (messages, db), received);
            let told = told(&decoded);
            let OnBad::Keep(_) = bad else { break (decoded, told, Vec::new()) };
            match letters_of(messages, &told.bad) {
                Ok(letters) => break (decoded, told, letters),
                // The others make a record of their own.
                Err(fitting) => messages.count = fitting,
            }
        };
        check_taken(messages, &decoded)?;
        if matches!(bad, OnBad::Refuse) && !told.bad.is_empty() {
            return Ok(told);
        }
        let offsets = messages.batch.offsets_of(decoded.taken.messages);
        if let Some((_, last)) = offsets {
            claim.end_with(last);
        }
        if let (OnBad::Keep(kept_by), false) = (bad, letters.is_empty()) {
            claim.keep(KeptLetters { letters: kept_by, received, kept: letters });
        }
        let origin = Origin::Source(claim);
        self.append_messages(lane, decoded, (origin, received, permit), done)?;
        told.appended = true;
        Ok(told)
    }

    fn conduct_letters(
        &self,
        lane: &mut Lane,
        write: LetterWrite<'_>,
        received: UnixNanos,
        done: Done,
    ) -> Result<SourceReport, EngineError> {
        let LetterWrite { db, messages, permit, mut claim } = write;
        let decoded = self.decode_messages(lane, (messages, db), received);
        check_taken(messages, &decoded)?;
        let mut told = told(&decoded);
        if !told.bad.is_empty() {
            return Ok(told);
        }
        claim.keep_first(decoded.taken.messages);
        let origin = Origin::Letters(claim);
        self.append_messages(lane, decoded, (origin, received, permit), done)?;
        told.appended = true;
        Ok(told)
    }

    fn append_messages(
        &self,
        lane: &Lane,
        decoded: Decoded,
        (origin, received, permit): (Origin, UnixNanos, Permit),
        done: Done,
    ) -> Result<(), EngineError> {
        let Decoded { mut report, parts, mut fresh, is_lines, .. } = decoded;
        if is_lines {
            let refused = report.lines_rejected - lane.lines.errors().total();
            self.instruments.observe(&lane.lines);
            self.instruments.observe_series_refused(refused);
        } else {
            let refused = report.lines_rejected - lane.series.errors().total();
            self.instruments.observe_series(&lane.series, refused);
        }
        fresh.sort_by_key(|(series, _)| *series);
        fresh.dedup_by_key(|(series, _)| *series);
        self.cardinality.observe(None, fresh.len(), &lane.refusals);
        let terms = Terms { durability: Durability::Synced, permit, claim: None };
        let routed = Routed { parts, fresh, received, origin: Some(origin) };
        self.append(routed, terms, &mut report, done)
    }

    fn decode_messages(
        &self,
        lane: &mut Lane,
        (messages, db): (Messages<'_>, &str),
        received: UnixNanos,
    ) -> Decoded {
        let mut fresh = Registrations::new();
        let text = (messages.batch.bytes(), db);
        let Some(form) = messages.batch.format().series_form() else {
            let options = self.line_options(db, Precision::Nanoseconds, received);
            let mut taken = decode_line_messages(messages, &options, &mut lane.lines);
            let mut report = self.report_lines(&lane.lines);
            let parts = self.route(lane, text, &mut fresh, &mut report);
            note_refused(&mut taken, lane.refused.iter().map(|number| number - 1));
            let report = in_samples(report, &parts);
            return Decoded { taken, report, parts, fresh, is_lines: true };
        };
        // A time before 1970 is what a producer without a clock writes; Kafka's own times know none.
        let time_min = Some(EventTime::new(0));
        let options = SeriesOptions { time_min, ..self.series_options(db, form, received) };
        let mut taken = decode_series_messages(messages, &options, &mut lane.series);
        let mut report = report_items(&lane.series);
        let parts = self.route_series(lane, text, &mut fresh, &mut report);
        note_refused(&mut taken, lane.refused.iter().copied());
        let report = in_samples(report, &parts);
        Decoded { taken, report, parts, fresh, is_lines: false }
    }
}

/// A schema that was known a moment ago may be forgotten for others; it is asked for again.
fn check_taken(messages: Messages<'_>, decoded: &Decoded) -> Result<(), EngineError> {
    let is_stuck = messages.count.min(messages.batch.len()) > 0 && decoded.taken.messages == 0;
    if is_stuck {
        return Err(EngineError::Overloaded { retry_after_s: 1 });
    }
    Ok(())
}

/// Messages whose series were refused are bad, too.
fn note_refused(taken: &mut Taken, refused: impl Iterator<Item = u32>) {
    taken.bad.extend(refused);
    taken.bad.sort_unstable();
    taken.bad.dedup();
}

/// A line has several samples; here samples are counted.
fn in_samples(report: LineReport, parts: &[SampleBatch]) -> LineReport {
    let samples = parts.iter().map(SampleBatch::len).sum::<usize>();
    LineReport { lines_accepted: u64::try_from(samples).unwrap_or(u64::MAX), ..report }
}

fn told(decoded: &Decoded) -> SourceReport {
    let Decoded { taken, report, .. } = decoded;
    let mut reasons: BTreeMap<u32, &str> = BTreeMap::new();
    for refused in &report.refused {
        reasons.entry(refused.line_number).or_insert(&refused.message);
    }
    let bad = taken.bad.iter().map(|message| BadMessage {
        message: usize::try_from(*message).unwrap_or(usize::MAX),
        reason: reasons.get(&(message + 1)).copied().unwrap_or(REASON_NOT_KEPT).to_owned(),
    });
    SourceReport {
        messages: taken.messages,
        samples: report.lines_accepted,
        bad: bad.collect(),
        appended: false,
    }
}

/// The bad ones of `messages` as letters; where they are too much for one record, how many messages are not.
fn letters_of(messages: Messages<'_>, bad: &[BadMessage]) -> Result<Vec<Letter>, usize> {
    let (mut letters, mut bytes) = (Vec::new(), 0);
    for bad in bad {
        let letter = letter_of(messages, bad);
        bytes += letter.size();
        if bytes > RECORD_LETTERS_BYTES_MAX && bad.message > 0 {
            return Err(bad.message);
        }
        letters.push(letter);
    }
    Ok(letters)
}

fn letter_of(messages: Messages<'_>, bad: &BadMessage) -> Letter {
    let (batch, at) = (messages.batch, bad.message);
    let first =
        |bytes: &[u8]| -> Box<[u8]> { bytes.iter().take(LETTER_BYTES_MAX).copied().collect() };
    let mut reason = bad.reason.clone();
    reason.truncate(reason.floor_char_boundary(LETTER_REASON_BYTES_MAX));
    Letter {
        offset: batch.offset_of(at).unwrap_or_default(),
        time: batch.time_of(at),
        reason: reason.into(),
        payload: first(batch.payload_of(at).unwrap_or_default()),
        key: batch.key_of(at).map(first),
        bytes: batch.whole_bytes_of(at),
    }
}

#[cfg(test)]
#[path = "ingest_messages_tests.rs"]
mod tests;
