//! Who may store messages of a partition: one batch at a time, and none twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewatch_metrics::Lsn;
use tidewatch_segments::Letter;

use crate::EngineError;
use crate::letters::KeptLetters;
use crate::limits::SOURCE_PARTITIONS_MAX;
use crate::sources::offsets::{SourceOffsets, SourcePartition};
use crate::sources::stored::StoredOffsets;

/// How far the partitions of all sources are stored. What it says of them depends on the log alone.
#[derive(Debug, Default)]
pub struct Sources {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stored: BTreeMap<SourcePartition, StoredOffsets>,
    /// Partitions of which a batch is in hand.
    in_hand: BTreeSet<SourcePartition>,
}

/// The right to store a batch of messages. Dropped before its record is durable, it leaves the partition
/// as it was.
#[derive(Debug)]
pub struct SourceClaim {
    sources: Arc<Sources>,
    offsets: SourceOffsets,
    /// Those of the messages that are kept as letters.
    letters: Option<KeptLetters>,
}

impl Sources {
    /// Asks for the right to store these messages.
    ///
    /// # Errors
    /// [`EngineError::OffsetsStored`] where some of them are stored already: the caller leaves those out.
    /// [`EngineError::SourceInHand`] while another batch of the partition has no outcome yet, and
    /// [`EngineError::TooManySources`] for one partition too many.
    pub fn claim(self: &Arc<Self>, offsets: SourceOffsets) -> Result<SourceClaim, EngineError> {
        let mut state = self.lock();
        let partition = offsets.partition();
        if state.in_hand.contains(partition) {
            return Err(EngineError::SourceInHand);
        }
        match state.stored.get(partition) {
            Some(stored)
                if stored.topic_id() == offsets.topic_id()
                    && offsets.first() < stored.next_offset() =>
            {
                let (first, next) = (offsets.first(), stored.next_offset());
                return Err(EngineError::OffsetsStored { first, next });
            }
            Some(_) => {}
            None => {
                let fresh = state.in_hand.iter().filter(|other| !state.stored.contains_key(other));
                if state.stored.len() + fresh.count() >= SOURCE_PARTITIONS_MAX {
                    return Err(EngineError::TooManySources { limit: SOURCE_PARTITIONS_MAX });
                }
            }
        }
        state.in_hand.insert(partition.clone());
        drop(state);
        Ok(SourceClaim { sources: Arc::clone(self), offsets, letters: None })
    }

    /// How far every partition is stored, durably, in the order of their names.
    #[must_use]
    pub fn offsets(&self) -> Vec<StoredOffsets> {
        self.lock().stored.values().cloned().collect()
    }

    /// A start: what a checkpoint says.
    pub(crate) fn restore(&self, offsets: &[StoredOffsets]) {
        let mut state = self.lock();
        let known = offsets.iter().map(|stored| (stored.partition.clone(), stored.clone()));
        state.stored = known.collect();
    }

    /// These messages are in the log, durably, in the record `lsn` behind all that were told of before.
    pub(crate) fn hold(&self, offsets: &SourceOffsets, lsn: Lsn) {
        let mut state = self.lock();
        match state.stored.get_mut(offsets.partition()) {
            Some(stored) => stored.extend(offsets, lsn),
            None => {
                let partition = offsets.partition().clone();
                state.stored.insert(partition, StoredOffsets::new(offsets, lsn));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SourceClaim {
    /// The messages.
    #[must_use]
    pub fn offsets(&self) -> &SourceOffsets {
        &self.offsets
    }

    /// Leaves out the messages behind `last`, for which there is no room in the record.
    pub(crate) fn end_with(&mut self, last: u64) {
        self.offsets.end_with(last);
    }

    /// Some of the messages are kept as letters.
    pub(crate) fn keep(&mut self, letters: KeptLetters) {
        self.letters = Some(letters);
    }

    /// Those of the messages that are kept as letters.
    pub(crate) fn letters(&self) -> &[Letter] {
        self.letters.as_ref().map_or(&[], |letters| &letters.kept)
    }

    /// Their record is durable.
    pub(crate) fn hold(mut self, lsn: Lsn) {
        if let Some(letters) = self.letters.take() {
            letters.hold(lsn, &self.offsets);
        }
        // ORDER: before the claim ends, or the next batch could be the same one.
        self.sources.hold(&self.offsets, lsn);
    }
}

impl Drop for SourceClaim {
    fn drop(&mut self) {
        self.sources.lock().in_hand.remove(self.offsets.partition());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(partition: u32, topic_id: u128, first: u64, last: u64) -> SourceOffsets {
        let partition = SourcePartition::new("kafka", "metrics", partition).unwrap();
        SourceOffsets::new(partition, topic_id, (first, last)).unwrap()
    }

    #[test]
    fn no_message_is_stored_twice_and_a_topic_that_is_made_anew_begins_anew() {
        let sources = Arc::new(Sources::default());
        sources.claim(offsets(1, 7, 0, 9)).unwrap().hold(Lsn::new(1));
        for first in [0, 9] {
            let refused = sources.claim(offsets(1, 7, first, 20)).unwrap_err();
            let EngineError::OffsetsStored { next: 10, .. } = refused else {
                panic!("{refused:?}")
            };
        }
        sources.claim(offsets(2, 7, 0, 3)).unwrap().hold(Lsn::new(2));
        // Messages may be missing in between.
        sources.claim(offsets(1, 7, 12, 12)).unwrap().hold(Lsn::new(3));
        sources.claim(offsets(1, 8, 0, 4)).unwrap().hold(Lsn::new(4));
        let next = |stored: &StoredOffsets| (stored.topic_id(), stored.next_offset());
        assert_eq!(sources.offsets().iter().map(next).collect::<Vec<_>>(), [(8, 5), (7, 4)]);
    }

    #[test]
    fn a_batch_waits_for_the_one_before_and_one_that_is_not_stored_leaves_no_trace() {
        let sources = Arc::new(Sources::default());
        let first = sources.claim(offsets(1, 7, 0, 9)).unwrap();
        assert!(matches!(sources.claim(offsets(1, 7, 10, 19)), Err(EngineError::SourceInHand)));
        sources.claim(offsets(2, 7, 0, 9)).unwrap();
        drop(first);
        assert_eq!(sources.offsets(), []);
        sources.claim(offsets(1, 7, 0, 9)).unwrap().hold(Lsn::new(1));
        sources.claim(offsets(1, 7, 10, 19)).unwrap();
    }

    #[test]
    fn there_are_only_so_many_partitions_and_known_ones_go_on() {
        let sources = Arc::new(Sources::default());
        let limit = u32::try_from(SOURCE_PARTITIONS_MAX).unwrap();
        let known: Vec<_> = (1..limit)
            .map(|number| StoredOffsets::new(&offsets(number, 7, 0, 0), Lsn::new(1)))
            .collect();
        sources.restore(&known);
        let last = sources.claim(offsets(limit, 7, 0, 0)).unwrap();
        let one_more = || sources.claim(offsets(0, 7, 0, 0));
        assert!(matches!(one_more(), Err(EngineError::TooManySources { .. })), "one is in hand");
        last.hold(Lsn::new(2));
        assert!(matches!(one_more(), Err(EngineError::TooManySources { .. })));
        sources.claim(offsets(1, 7, 1, 1)).unwrap().hold(Lsn::new(3));
    }
}
