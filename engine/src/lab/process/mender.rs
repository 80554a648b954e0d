//! Somebody has mended how the partition is read, and has its letters replayed.

use tidewatch_connectors::decode::{Incoming, MessageBatch, MessageForm, Messages};
use tidewatch_segments::{LetterEnd, LetterRow, LettersInMemory, SegmentsError, read_letters};

use super::Process;
use crate::EngineError;
use crate::ingest::Done;
use crate::ingest_messages::LetterWrite;
use crate::lab::finding::Layer;
use crate::lab::world::Mended;

/// Letters that are replayed at a time.
const LETTERS_MAX: usize = 3;

/// A letter as `tidewatch.dlq` shows it.
pub(in crate::lab) type Shown = (LetterRow, Option<LetterEnd>);

impl Process {
    /// The first open letters are read in another form and stored.
    pub(in crate::lab) fn mend(&mut self) -> Result<(), EngineError> {
        self.machine.phase("mend");
        let mut letters = self.letters()?;
        letters.retain(|(_, end)| end.is_none());
        letters.truncate(LETTERS_MAX);
        let ids: Vec<_> = letters.iter().map(|(row, _)| row.id()).collect();
        let (claim, refused) = self.shared.letters.claim(&ids, LetterEnd::Replayed);
        if !refused.is_empty() {
            let told = format!("letters are open and not free: {refused:?}");
            self.machine.world.lock().break_promise(Layer::Ledger, told);
        }
        if claim.marks().is_empty() {
            return Ok(());
        }
        let mut batch = MessageBatch::new(MessageForm::Json);
        for (number, (row, _)) in (0..).zip(&letters) {
            batch.push(number, Incoming { payload: &row.letter.payload, ..Incoming::default() });
        }
        let bytes = u64::try_from(batch.bytes().len()).unwrap_or(u64::MAX);
        let write = LetterWrite {
            db: "default",
            messages: Messages { batch: &batch, count: batch.len() },
            permit: self.ingest.admit(bytes)?,
            claim,
        };
        let offsets = letters.iter().map(|(row, _)| row.letter.offset).collect();
        let report = self.ingest.write_letters(write, self.mended(offsets))?;
        if !report.appended {
            let told = format!("letters are refused: {report:?}");
            self.machine.world.lock().break_promise(Layer::Conduct, told);
        }
        self.commit()
    }

    /// Every letter, as files and memory show it together.
    pub(in crate::lab) fn letters(&self) -> Result<Vec<Shown>, SegmentsError> {
        let manifest = self.shared.published.manifest();
        let durable = self.shared.progress.durable();
        let memory = self.shared.letters.tail(manifest.letters_lsn(), durable);
        let Some(LettersInMemory { rows, ends }) = memory else {
            let told = "letters are neither in memory nor in files";
            self.machine.world.lock().break_promise(Layer::Query, told);
            return Ok(Vec::new());
        };
        let mut letters = Vec::new();
        for file in self.shared.published.letters().iter() {
            letters.extend(read_letters(file, |_, _| true)?);
        }
        letters.extend(rows.iter().map(|row| LetterRow::clone(row)));
        let shown = letters.into_iter().map(|row| {
            let end = ends.get(&row.id()).copied();
            (row, end)
        });
        Ok(shown.collect())
    }

    fn mended(&self, offsets: Vec<u64>) -> Done {
        let world = self.machine.world.clone();
        Box::new(move |ack| match ack {
            Ok(crate::Ack { lsn }) => world.lock().mended.push(Mended { lsn, offsets }),
            Err(error) => world.lock().refuse_messages(&error),
        })
    }
}
