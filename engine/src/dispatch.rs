//! From the log's order to the shards: by channels in the process, directly in a simulation.

use std::sync::Arc;

use tidewatch_metrics::{Lsn, UnixNanos};
use tidewatch_operators::RuleSet;

use crate::deletes::DeleteRecord;
use crate::priming::ShardPrimed;
use crate::record::TickRecord;
use crate::shard::ShardRows;

/// The rules that are in force from a record on.
#[derive(Clone, Debug)]
pub struct RulesInForce {
    /// The rules.
    pub rules: Arc<RuleSet>,
    /// When the start that brought them was.
    pub received: UnixNanos,
    /// Alerts whose event is older than this at reception are historical.
    pub alerts_max_age_nanos: i64,
}

/// Hands records to shards in the log's order.
pub trait Dispatch {
    /// Number of shards.
    fn shards(&self) -> usize;

    /// Rows for one shard.
    fn rows(&mut self, shard: usize, rows: ShardRows);

    /// A tick for all shards.
    fn tick(&mut self, lsn: Lsn, tick: TickRecord);

    /// Rules for all shards.
    fn rules(&mut self, lsn: Lsn, rules: &RulesInForce);

    /// Rows of earlier records are to be hidden: no head holds rows of records on both sides of `lsn`.
    fn delete(&mut self, lsn: Lsn, delete: &DeleteRecord);

    /// What detectors of one shard have learnt from stored rows.
    fn primed(&mut self, shard: usize, primed: ShardPrimed);

    /// Everything up to `lsn` has been handed over.
    fn advance(&mut self, lsn: Lsn);
}

/// The shard that owns a slot.
#[must_use]
pub fn shard_of(slot: tidewatch_metrics::Slot, shards: usize) -> usize {
    // Contiguous ranges of slots, so that the segments of one shard name few ranges.
    usize::from(slot.0) * shards / tidewatch_metrics::series::SLOTS
}

#[cfg(test)]
mod tests {
    use tidewatch_metrics::Slot;

    use super::*;

    #[test]
    fn every_shard_owns_a_fair_range_of_slots() {
        for shards in [1, 2, 3, 7, 64, 256] {
            let mut owned = vec![0_usize; shards];
            for slot in 0..=255 {
                owned[shard_of(Slot(slot), shards)] += 1;
            }
            let (least, most) = (owned.iter().min(), owned.iter().max());
            assert!(most.zip(least).is_some_and(|(m, l)| m - l <= 1), "{shards}: {owned:?}");
        }
    }
}
