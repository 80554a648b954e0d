//! Letters are read again, as the messages of their source are at that time, or dropped.
//!
//! What becomes of a letter is in the record of its samples, so a letter is replayed once, whatever ends the process
//! and however often it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, SendTimeoutError, bounded};
use tidewatch_connectors::decode::{Incoming, MessageBatch, MessageFormat, Messages};
use tidewatch_metrics::EventTime;
use tidewatch_segments::{LetterEnd, LetterId, LetterRow, read_letters};

use crate::committer::{Append, CommitterMessage, Origin};
use crate::ingest::Done;
use crate::ingest_messages::LetterWrite;
use crate::letters::{LetterClaim, LetterRefusal};
use crate::limits::SOURCE_RECORD_BYTES_MAX;
use crate::record::{KIND_ENDED_LETTERS, SamplesHead, encode_samples};
use crate::{Ack, Engine, EngineError};

/// Bytes of letters that are in hand at a time.
const IN_HAND_BYTES_MAX: usize = 8 << 20;

/// How the messages of a source are read.
#[derive(Clone, Debug)]
pub struct LetterReading {
    /// The database of their samples.
    pub db: String,
    /// What they hold.
    pub format: MessageFormat,
    /// Whether samples get labels from messages' headers, which letters do not keep.
    pub needs_headers: bool,
}

/// What has become of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetterFate {
    /// It has come to this end.
    Ended(LetterEnd),
    /// It had come to this end before.
    HadEnded(LetterEnd),
    /// Something of it is refused still; it stays open.
    Refused(String),
    /// Only its first bytes were kept; it stays open.
    Cut,
    /// No source of its name is configured; it stays open.
    NoSource,
    /// Its samples would lack labels that come from headers, which are not kept; it stays open.
    NeedsHeaders,
    /// Somebody else is about to do something with it.
    InHand,
    /// There is no such letter, or it has expired.
    Unknown,
}

/// What has become of letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LettersTold {
    /// Of each letter that was asked for.
    pub fates: BTreeMap<LetterId, LetterFate>,
    /// Samples that were stored.
    pub samples: u64,
}

impl Engine {
    /// Reads letters again and stores their samples; those of which something is refused stay as they are. `reading`
    /// tells how messages of a source are read, and gives nothing for a source that is not configured.
    ///
    /// Returns when what is stored is durable. Each record waits for `timeout` at most.
    ///
    /// # Errors
    /// What keeps the engine from storing, and damage of files of letters. Letters before may be replayed then; to ask
    /// again does them no harm.
    pub fn replay_letters(
        &self,
        letters: &[LetterId],
        reading: &dyn Fn(&str) -> Option<LetterReading>,
        timeout: Duration,
    ) -> Result<LettersTold, EngineError> {
        self.some_letters(letters, |some, told| {
            let mut by_source: BTreeMap<Arc<str>, Vec<LetterRow>> = BTreeMap::new();
            for row in some {
                by_source.entry(Arc::clone(&row.source)).or_default().push(row);
            }
            for (source, mut rows) in by_source {
                let Some(reading) = reading(&source) else {
                    let fates = rows.iter().map(|row| (row.id(), LetterFate::NoSource));
                    told.fates.extend(fates);
                    continue;
                };
                if reading.needs_headers {
                    let fates = rows.iter().map(|row| (row.id(), LetterFate::NeedsHeaders));
                    told.fates.extend(fates);
                    continue;
                }
                let cut = rows.extract_if(.., |row| row.letter.is_cut());
                told.fates.extend(cut.map(|row| (row.id(), LetterFate::Cut)));
                self.replay_rows(&reading, rows, timeout, told)?;
            }
            Ok(())
        })
    }

    /// Drops letters: nobody wants them.
    ///
    /// # Errors
    /// As [`Engine::replay_letters`].
    pub fn drop_letters(
        &self,
        letters: &[LetterId],
        timeout: Duration,
    ) -> Result<LettersTold, EngineError> {
        self.some_letters(letters, |some, told| {
            let ids: Vec<_> = some.iter().map(LetterRow::id).collect();
            let (claim, refused) = self.letters().claim(&ids, LetterEnd::Dropped);
            told.refused(&refused);
            let ids: Vec<_> = claim.marks().iter().map(|mark| mark.id).collect();
            if !ids.is_empty() {
                self.append_drop(claim, timeout)?;
                told.ended(&ids, LetterEnd::Dropped);
            }
            Ok(())
        })
    }

    /// Hands the letters to `visit`, so many at a time as may be in hand.
    fn some_letters(
        &self,
        letters: &[LetterId],
        mut visit: impl FnMut(Vec<LetterRow>, &mut LettersTold) -> Result<(), EngineError>,
    ) -> Result<LettersTold, EngineError> {
        let mut wanted: BTreeSet<LetterId> = letters.iter().copied().collect();
        let mut told = LettersTold::default();
        while !wanted.is_empty() {
            let found = self.find_letters(&wanted)?;
            if found.is_empty() {
                break;
            }
            for row in &found {
                wanted.remove(&row.id());
            }
            visit(found, &mut told)?;
        }
        told.fates.extend(wanted.into_iter().map(|id| (id, LetterFate::Unknown)));
        Ok(told)
    }

    /// Some of the letters, in the order of the log; none where there are none of them.
    fn find_letters(&self, wanted: &BTreeSet<LetterId>) -> Result<Vec<LetterRow>, EngineError> {
        let mut bytes = 0;
        let mut found: BTreeMap<LetterId, LetterRow> = BTreeMap::new();
        // ORDER: memory first. What goes into a file in between is in both.
        for row in self.letters().find(wanted) {
            if bytes < IN_HAND_BYTES_MAX {
                bytes += row.letter.size();
                found.insert(row.id(), LetterRow::clone(&row));
            }
        }
        for file in self.letter_files().iter() {
            let (first, last) = (file.meta().first_lsn, file.meta().last_lsn);
            let from = LetterId { lsn: first, offset: 0 };
            let upto = LetterId { lsn: last, offset: u64::MAX };
            if bytes >= IN_HAND_BYTES_MAX || wanted.range(from..=upto).next().is_none() {
                continue;
            }
            let rows = read_letters(file, |id, size| {
                let is_due = bytes < IN_HAND_BYTES_MAX && wanted.contains(&id);
                let is_new = is_due && !found.contains_key(&id);
                bytes += if is_new { size } else { 0 };
                is_new
            })?;
            found.extend(rows.into_iter().map(|row| (row.id(), row)));
        }
        Ok(found.into_values().collect())
    }

    fn replay_rows(
        &self,
        reading: &LetterReading,
        mut rows: Vec<LetterRow>,
        timeout: Duration,
        told: &mut LettersTold,
    ) -> Result<(), EngineError> {
        while !rows.is_empty() {
            if self.is_behind() {
                return Err(EngineError::Overloaded { retry_after_s: 1 });
            }
            let ids: Vec<_> = rows.iter().map(LetterRow::id).collect();
            let (claim, refused) = self.letters().claim(&ids, LetterEnd::Replayed);
            told.refused(&refused);
            rows.retain(|row| !refused.iter().any(|(id, _)| *id == row.id()));
            let batch = batch_of(reading, &rows);
            let count = batch.first_within(SOURCE_RECORD_BYTES_MAX);
            if count == 0 {
                break;
            }
            let clock = &self.ingest().clock;
            let count = batch.ready_of(count, &|| clock.monotonic());
            let count = count.map_err(|trouble| EngineError::Schemas(Box::new(trouble)))?;
            let mut permit = self.ingest().admit(1)?;
            permit.cover(u64::try_from(batch.bytes_of(count)).unwrap_or(u64::MAX));
            let messages = Messages { batch: &batch, count };
            let (done, answered) = answer();
            let write = LetterWrite { db: &reading.db, messages, permit, claim };
            let report = self.ingest().write_letters(write, done)?;
            if report.appended {
                wait(&answered, timeout)?;
                let replayed = rows.drain(..report.messages.min(rows.len()));
                let ids: Vec<_> = replayed.map(|row| row.id()).collect();
                told.ended(&ids, LetterEnd::Replayed);
                told.samples += report.samples;
                continue;
            }
            for bad in report.bad.into_iter().rev() {
                let row = rows.remove(bad.message);
                told.fates.insert(row.id(), LetterFate::Refused(bad.reason));
            }
        }
        Ok(())
    }

    fn append_drop(&self, claim: LetterClaim, timeout: Duration) -> Result<(), EngineError> {
        let (done, answered) = answer();
        let received = self.ingest().clock.now();
        let payload = encode_samples(SamplesHead::Letters(claim.marks()), received, &[], &[]);
        let append = Append {
            origin: Some(Box::new(Origin::Letters(claim))),
            ..Append::note(KIND_ENDED_LETTERS, payload, done)
        };
        let sent = self.committer().send_timeout(CommitterMessage::Append(append), timeout);
        sent.map_err(|error| match error {
            SendTimeoutError::Timeout(_) => EngineError::Overloaded { retry_after_s: 1 },
            SendTimeoutError::Disconnected(_) => EngineError::Closed,
        })?;
        wait(&answered, timeout)
    }
}

impl LettersTold {
    fn ended(&mut self, ids: &[LetterId], end: LetterEnd) {
        self.fates.extend(ids.iter().map(|id| (*id, LetterFate::Ended(end))));
    }

    fn refused(&mut self, refused: &[(LetterId, LetterRefusal)]) {
        let fates = refused.iter().map(|(id, refusal)| match refusal {
            LetterRefusal::Ended(end) => (*id, LetterFate::HadEnded(*end)),
            LetterRefusal::InHand => (*id, LetterFate::InHand),
        });
        self.fates.extend(fates);
    }
}

/// The letters as messages, numbered from 0. One without a time has that of its reception.
fn batch_of(reading: &LetterReading, rows: &[LetterRow]) -> MessageBatch {
    let mut batch = MessageBatch::with_keys(reading.format.clone());
    for (number, row) in (0..).zip(rows) {
        let received = EventTime::new(row.received.nanos());
        let message = Incoming {
            payload: &row.letter.payload,
            key: row.letter.key.as_deref(),
            time: Some(row.letter.time.unwrap_or(received)),
            labels: None,
        };
        batch.push(number, message);
    }
    batch
}

/// How the committer answers, and where its answer comes.
fn answer() -> (Done, Receiver<Result<Ack, EngineError>>) {
    let (answer, answered) = bounded(1);
    (Box::new(move |ack| drop(answer.send(ack))), answered)
}

fn wait(
    answered: &Receiver<Result<Ack, EngineError>>,
    timeout: Duration,
) -> Result<(), EngineError> {
    let ack = answered.recv_timeout(timeout).map_err(|error| match error {
        RecvTimeoutError::Timeout => EngineError::Late,
        RecvTimeoutError::Disconnected => EngineError::Closed,
    })?;
    ack.map(drop)
}
