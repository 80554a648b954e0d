//! Room for full detectors.

use tidewatch_metrics::Slot;
use tidewatch_metrics::series::SLOTS;

use crate::RuleSet;
use crate::full::FullDetector;
use crate::model::Model;

/// What full detectors take of each slot's share of memory.
///
/// Bytes are counted, not measured: each detector takes all that its model can come to keep. Each slot has a share
/// of its own, rather than all series one: a slot is in one shard, however many there are, and meets its series in
/// the order of the log. So who gets a full detector is a function of the log alone.
#[derive(Debug)]
pub(crate) struct Room {
    /// Bytes for each slot.
    limit: u64,
    /// Bytes taken in each slot; empty while there are none.
    taken: Vec<u64>,
}

impl Default for Room {
    fn default() -> Self {
        Self { limit: u64::MAX, taken: Vec::new() }
    }
}

impl Room {
    /// All that `rules` give, none of it taken.
    pub(crate) fn of(rules: &RuleSet) -> Self {
        Self { limit: rules.detector_bytes().unwrap_or(u64::MAX), taken: Vec::new() }
    }

    /// Whether it can be used up at all.
    pub(crate) fn is_limited(&self) -> bool {
        self.limit < u64::MAX
    }

    /// Whether a detector of a model fits into what is left to a slot. The light one always does.
    pub(crate) fn fits(&self, slot: Slot, model: Model) -> bool {
        let taken = self.taken.get(usize::from(slot.0)).copied().unwrap_or(0);
        model == Model::Light || taken.saturating_add(bytes(model)) <= self.limit
    }

    /// Takes what a detector of a model needs, whether it fits or not.
    pub(crate) fn take(&mut self, slot: Slot, model: Model) {
        if model == Model::Light {
            return;
        }
        self.taken.resize(SLOTS, 0);
        let taken = &mut self.taken[usize::from(slot.0)];
        *taken = taken.saturating_add(bytes(model));
    }
}

fn bytes(model: Model) -> u64 {
    u64::try_from(FullDetector::heap_bytes_max(model)).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
