//! Who may do something with letters: one at a time, and nobody twice.

use std::sync::Arc;

use tidewatch_metrics::Lsn;
use tidewatch_segments::{LetterEnd, LetterId, LetterMark};

use crate::letters::kept::Letters;

/// Why nothing is done with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LetterRefusal {
    /// It has come to its end before.
    Ended(LetterEnd),
    /// Somebody else is about to do something with it.
    InHand,
}

/// The right to end letters. Dropped before its record is durable, it leaves them as they were.
#[derive(Debug)]
pub struct LetterClaim {
    letters: Arc<Letters>,
    marks: Vec<LetterMark>,
}

impl LetterClaim {
    pub(super) fn new(letters: &Arc<Letters>, ids: &[LetterId], end: LetterEnd) -> Self {
        let marks = ids.iter().map(|id| LetterMark { id: *id, end }).collect();
        Self { letters: Arc::clone(letters), marks }
    }

    /// What its record says of the letters.
    #[must_use]
    pub fn marks(&self) -> &[LetterMark] {
        &self.marks
    }

    /// Gives up all letters but the first ones.
    pub(crate) fn keep_first(&mut self, letters: usize) {
        let given_up = self.marks.split_off(letters.min(self.marks.len()));
        self.letters.release(&given_up);
    }

    /// Their record is durable.
    pub(crate) fn hold(self, lsn: Lsn) {
        // ORDER: before the claim ends, or somebody could do the same again.
        self.letters.mark(lsn, &self.marks);
    }
}

impl Drop for LetterClaim {
    fn drop(&mut self) {
        self.letters.release(&self.marks);
    }
}
