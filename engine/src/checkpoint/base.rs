//! Where a replay begins: at a checkpoint, or at the first record.

use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{Lsn, Slot, Subject};

use crate::checkpoint::index::CheckpointIndex;
use crate::committer::LogPosition;

/// What the replay of a log builds on, and which of its records it must pass over for that.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// The first record that is needed.
    pub(crate) replay_from: Lsn,
    /// The log's position after a record.
    pub(crate) position: (Lsn, LogPosition),
    /// The start whose rules are in force in the state.
    start: Lsn,
    covered: Box<[Lsn; SLOTS]>,
    covered_max: Lsn,
    /// The record of which the windows of percentiles are.
    windows: Lsn,
    /// Whether the state is what all records before stand for.
    pub(crate) is_exact: bool,
}

impl Base {
    /// The beginning of the log.
    pub(crate) fn first() -> Self {
        Self {
            replay_from: Lsn::new(1),
            position: (Lsn::ZERO, LogPosition::default()),
            start: Lsn::ZERO,
            covered: Box::new([Lsn::ZERO; SLOTS]),
            covered_max: Lsn::ZERO,
            windows: Lsn::ZERO,
            is_exact: true,
        }
    }

    /// Windows as of this record, and nothing else.
    #[cfg(test)]
    pub(crate) fn with_windows(windows: Lsn) -> Self {
        Self { windows, ..Self::first() }
    }

    /// A slot as of this record, and nothing else.
    #[cfg(test)]
    pub(crate) fn with_slot(slot: Slot, lsn: Lsn) -> Self {
        let mut base = Self { covered_max: lsn, ..Self::first() };
        base.covered[usize::from(slot.0)] = lsn;
        base
    }

    /// Empty state before the record `from`, although there were earlier ones.
    pub(crate) fn without_state(from: Lsn) -> Self {
        Self { replay_from: from, is_exact: false, ..Self::first() }
    }

    /// A checkpoint.
    pub(crate) fn of(index: &CheckpointIndex) -> Self {
        let mut covered = Box::new([Lsn::ZERO; SLOTS]);
        for (known, entry) in covered.iter_mut().zip(&index.slots) {
            *known = entry.lsn;
        }
        Self {
            replay_from: index.replay_from,
            position: index.position,
            start: index.start.0,
            covered,
            covered_max: index.greatest_lsn(),
            // Without percentiles there are none since the start whose rules are in force.
            windows: index.windows.map_or(index.start.0, |windows| windows.lsn),
            is_exact: true,
        }
    }

    /// Per slot the record up to which the state has its rows.
    pub(crate) fn covered(&self) -> &[Lsn; SLOTS] {
        &self.covered
    }

    /// The last record of which anything in the state is.
    #[cfg(any(test, feature = "lab"))]
    pub(crate) fn reached(&self) -> Lsn {
        self.covered_max.max(self.windows)
    }

    /// Whether the state may have rows of the record.
    pub(crate) fn covers_some(&self, lsn: Lsn) -> bool {
        lsn <= self.covered_max
    }

    /// Whether the state has the record's rows of the slot.
    pub(crate) fn covers(&self, slot: Slot, lsn: Lsn) -> bool {
        lsn <= self.covered[usize::from(slot.0)]
    }

    /// Whether the state has what the record did to alerts of the subject.
    pub(crate) fn covers_alerts(&self, subject: Subject, lsn: Lsn) -> bool {
        match subject {
            Subject::Series(series) => self.covers(series.slot(), lsn),
            Subject::Group(_) => lsn <= self.windows,
        }
    }

    /// Whether the state has the rules of the start at this record.
    pub(crate) fn has_rules_of(&self, start: Lsn) -> bool {
        start <= self.start
    }
}
