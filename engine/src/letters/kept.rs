//! The letters that no file has yet, and what was done with any.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewatch_env::Disk;
use tidewatch_metrics::{Lsn, UnixNanos};
use tidewatch_segments::{
    FileKind, Letter, LetterEnd, LetterId, LetterMark, LetterMarkRow, LetterRow, LettersInMemory,
    Manifest, read_marks,
};

use crate::EngineError;
use crate::feeds::Feeds;
use crate::instruments::LetterInstruments;
use crate::letters::claim::{LetterClaim, LetterRefusal};
use crate::limits::{LETTERS_FILE_BYTES_MAX, LETTERS_FILED_BYTES, LETTERS_WAITING_BYTES_MAX};
use crate::record::SamplesRecord;
use crate::sources::SourceOffsets;

/// Dead letters. What it says of them depends on the log alone.
#[derive(Debug, Default)]
pub struct Letters {
    state: Mutex<State>,
    feeds: Arc<Feeds>,
    instruments: LetterInstruments,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of the log; some of the first ones may be in files already.
    rows: VecDeque<Arc<LetterRow>>,
    marks: VecDeque<LetterMarkRow>,
    /// Of all letters that are not gone.
    ends: Arc<BTreeMap<LetterId, LetterEnd>>,
    in_hand: BTreeSet<LetterId>,
    /// Of letters that are in no file.
    bytes: usize,
    /// Letters and marks of records up to this one are in files.
    filed: Lsn,
    /// Letters of records up to this one are no longer here.
    forgotten: Lsn,
}

/// Letters and marks that are to go into files: all of records up to `lsn` that are in none.
#[derive(Debug, Default)]
pub(crate) struct Unfiled {
    /// Letters in the order of the log.
    pub(crate) letters: Vec<Arc<LetterRow>>,
    /// Marks in the order of the log.
    pub(crate) marks: Vec<LetterMarkRow>,
    /// The last record of either.
    pub(crate) lsn: Lsn,
}

/// Where letters come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LetterPlace<'a> {
    /// The record that holds them.
    pub(crate) lsn: Lsn,
    /// The messages of that record.
    pub(crate) offsets: &'a SourceOffsets,
    /// When they came.
    pub(crate) received: UnixNanos,
}

/// Letters of a record that is not durable yet.
#[derive(Debug)]
pub(crate) struct KeptLetters {
    pub(crate) letters: Arc<Letters>,
    pub(crate) received: UnixNanos,
    /// In the order of their offsets.
    pub(crate) kept: Vec<Letter>,
}

impl Letters {
    /// A start: what was done with letters, as files have it.
    ///
    /// # Errors
    /// Damage, and what the disk reports.
    pub(crate) fn load(
        disk: &dyn Disk,
        dir: &Path,
        manifest: &Manifest,
        feeds: Arc<Feeds>,
    ) -> Result<Self, EngineError> {
        let mut ends = BTreeMap::new();
        for file in manifest.files_of(FileKind::LetterMarks) {
            read_marks(disk, dir, file, |row| {
                ends.insert(row.mark.id, row.mark.end);
            })?;
        }
        let filed = manifest.letters_lsn();
        let state = State { ends: Arc::new(ends), filed, forgotten: filed, ..State::default() };
        let instruments = LetterInstruments::default();
        Ok(Self { state: Mutex::new(state), feeds, instruments })
    }

    /// Puts the instruments into `registry`.
    pub(crate) fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        self.instruments.register(registry);
    }

    /// A start: the log holds this record.
    pub(crate) fn restore(&self, lsn: Lsn, record: &SamplesRecord) {
        let mut state = self.lock();
        if let Some(offsets) = &record.source {
            let place = LetterPlace { lsn, offsets, received: record.received };
            let rows = place.rows(record.letters.iter().cloned());
            self.feeds.push_letters(lsn, &rows);
            if lsn > state.filed {
                state.take(rows);
            }
        }
        if lsn > state.filed {
            state.mark(lsn, &record.marks);
        }
    }

    /// The committer: these letters are in the log, durably, behind all that were told of before.
    pub(crate) fn hold(&self, place: LetterPlace<'_>, letters: Vec<Letter>) {
        let count = |letters: usize| u64::try_from(letters).unwrap_or(u64::MAX);
        self.instruments.taken.inc_by(count(letters.len()));
        let cut = letters.iter().filter(|letter| letter.is_cut());
        self.instruments.cut.inc_by(count(cut.count()));
        let rows = place.rows(letters.into_iter());
        self.feeds.push_letters(place.lsn, &rows);
        self.lock().take(rows);
    }

    /// The committer: letters have come to their end by a record that is durable.
    pub(crate) fn mark(&self, lsn: Lsn, marks: &[LetterMark]) {
        for mark in marks {
            match mark.end {
                LetterEnd::Replayed => self.instruments.replayed.inc(),
                LetterEnd::Dropped => self.instruments.dropped.inc(),
            };
        }
        self.lock().mark(lsn, marks);
    }

    /// Asks for the right to do something with letters. Gives it for those of `ids` that are neither ended nor in
    /// hand, and tells why not for the others.
    pub(crate) fn claim(
        self: &Arc<Self>,
        ids: &[LetterId],
        end: LetterEnd,
    ) -> (LetterClaim, Vec<(LetterId, LetterRefusal)>) {
        let mut state = self.lock();
        let (mut free, mut refused) = (Vec::new(), Vec::new());
        for id in ids {
            match state.ends.get(id).copied() {
                Some(end) => refused.push((*id, LetterRefusal::Ended(end))),
                None if !state.in_hand.insert(*id) => refused.push((*id, LetterRefusal::InHand)),
                None => free.push(*id),
            }
        }
        drop(state);
        (LetterClaim::new(self, &free, end), refused)
    }

    pub(super) fn release(&self, marks: &[LetterMark]) {
        let mut state = self.lock();
        for mark in marks {
            state.in_hand.remove(&mark.id);
        }
    }

    /// Letters of records behind `after`, up to `upto`, and what was done with any; `None` where some of them are no
    /// longer here, but in files.
    #[must_use]
    pub fn tail(&self, after: Lsn, upto: Lsn) -> Option<LettersInMemory> {
        let state = self.lock();
        if after < state.forgotten {
            return None;
        }
        let rows = state.rows.iter().filter(|row| after < row.lsn && row.lsn <= upto);
        Some(LettersInMemory { rows: rows.cloned().collect(), ends: Arc::clone(&state.ends) })
    }

    /// Those of the letters that are here, in the order of the log.
    pub(crate) fn find(&self, wanted: &BTreeSet<LetterId>) -> Vec<Arc<LetterRow>> {
        let state = self.lock();
        let found = state.rows.iter().filter(|row| wanted.contains(&row.id()));
        found.cloned().collect()
    }

    /// What of records behind `after`, up to `upto`, is to go into files: whole records, and not too much at a time.
    pub(crate) fn unfiled(&self, after: Lsn, upto: Lsn) -> Unfiled {
        let state = self.lock();
        let (mut bytes, mut last) = (0, after);
        let mut letters = Vec::new();
        let mut end = upto;
        for row in state.rows.iter().filter(|row| after < row.lsn && row.lsn <= upto) {
            if bytes >= LETTERS_FILE_BYTES_MAX && row.lsn > last {
                end = last;
                break;
            }
            bytes += row.letter.size();
            last = row.lsn;
            letters.push(Arc::clone(row));
        }
        let marks = state.marks.iter().filter(|row| after < row.lsn && row.lsn <= end);
        let marks: Vec<_> = marks.copied().collect();
        let lsn = marks.last().map_or(last, |row| row.lsn.max(last));
        Unfiled { letters, marks, lsn }
    }

    /// Letters and marks of records up to `upto` are in files: nobody asks for them here.
    pub(crate) fn forget_up_to(&self, upto: Lsn) {
        let mut state = self.lock();
        while state.rows.pop_front_if(|row| row.lsn <= upto).is_some() {}
        while state.marks.pop_front_if(|row| row.lsn <= upto).is_some() {}
        state.forgotten = state.forgotten.max(upto);
    }

    /// Files have all letters and marks of records up to `filed`.
    pub(crate) fn filed(&self, filed: Lsn) {
        let mut state = self.lock();
        state.filed = state.filed.max(filed);
        let unfiled = state.rows.iter().rev().take_while(|row| row.lsn > state.filed);
        state.bytes = unfiled.map(|row| row.letter.size()).sum();
    }

    /// Whether letters should be put into a file without waiting for a head.
    pub(crate) fn wants_file(&self) -> bool {
        self.lock().bytes >= LETTERS_FILED_BYTES
    }

    /// Whether so much waits for a file that no more messages should be taken.
    pub(crate) fn is_behind(&self) -> bool {
        self.lock().bytes > LETTERS_WAITING_BYTES_MAX
    }

    /// The first record behind `after` with a letter or a mark.
    pub(crate) fn first_after(&self, after: Lsn) -> Option<Lsn> {
        let state = self.lock();
        let letter = state.rows.iter().map(|row| row.lsn).find(|lsn| *lsn > after);
        let mark = state.marks.iter().map(|row| row.lsn).find(|lsn| *lsn > after);
        letter.into_iter().chain(mark).min()
    }

    /// A file with letters of records up to `upto` is gone, `letters` of them.
    pub(crate) fn expire(&self, upto: Lsn, letters: u64) {
        self.instruments.expired.inc_by(letters);
        let mut state = self.lock();
        if state.ends.first_key_value().is_some_and(|(first, _)| first.lsn <= upto) {
            Arc::make_mut(&mut state.ends).retain(|id, _| id.lsn > upto);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LetterPlace<'_> {
    fn rows(&self, letters: impl Iterator<Item = Letter>) -> Vec<Arc<LetterRow>> {
        let Self { lsn, offsets, received } = *self;
        let partition = offsets.partition();
        let mut names = None;
        let rows = letters.map(|letter| {
            let (source, topic) = names
                .get_or_insert_with(|| -> (Arc<str>, Arc<str>) {
                    (partition.source().into(), partition.topic().into())
                })
                .clone();
            let (partition, topic_id) = (partition.partition(), offsets.topic_id());
            Arc::new(LetterRow { lsn, source, topic, partition, topic_id, received, letter })
        });
        rows.collect()
    }
}

impl State {
    fn take(&mut self, rows: Vec<Arc<LetterRow>>) {
        self.bytes += rows.iter().map(|row| row.letter.size()).sum::<usize>();
        self.rows.extend(rows);
    }

    fn mark(&mut self, lsn: Lsn, marks: &[LetterMark]) {
        if marks.is_empty() {
            return;
        }
        let ends = Arc::make_mut(&mut self.ends);
        for mark in marks {
            ends.insert(mark.id, mark.end);
            self.marks.push_back(LetterMarkRow { lsn, mark: *mark });
        }
    }
}

impl KeptLetters {
    /// Their record is durable.
    pub(crate) fn hold(self, lsn: Lsn, offsets: &SourceOffsets) {
        let received = self.received;
        self.letters.hold(LetterPlace { lsn, offsets, received }, self.kept);
    }
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
