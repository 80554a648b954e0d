//! Shards without threads: each record is applied where it is handed over.

use std::sync::Arc;

use tidewatch_metrics::Lsn;

use crate::deletes::DeleteRecord;
use crate::dispatch::{Dispatch, RulesInForce};
use crate::flusher::FrozenShard;
use crate::hashes::Hashes;
use crate::priming::ShardPrimed;
use crate::record::TickRecord;
use crate::shard::{Shard, ShardRows};

/// Shards in the caller's thread, for what reads a stopped directory and for simulations.
#[derive(Debug)]
pub(crate) struct InlineDispatch {
    pub(crate) shards: Vec<Shard>,
    pub(crate) hashes: Arc<Hashes>,
    /// Heads that deletes froze; nobody else has them.
    pub(crate) frozen: Vec<FrozenShard>,
}

impl Dispatch for InlineDispatch {
    fn shards(&self) -> usize {
        self.shards.len()
    }

    fn rows(&mut self, shard: usize, rows: ShardRows) {
        self.shards[shard].step(&rows);
    }

    fn tick(&mut self, lsn: Lsn, tick: TickRecord) {
        for shard in &mut self.shards {
            if let Some(hash) = shard.tick(lsn, tick) {
                self.hashes.add(lsn, hash);
            }
        }
    }

    fn rules(&mut self, lsn: Lsn, rules: &RulesInForce) {
        for shard in &mut self.shards {
            shard.set_rules(lsn, rules);
        }
    }

    fn delete(&mut self, lsn: Lsn, delete: &DeleteRecord) {
        for shard in &mut self.shards {
            shard.delete(lsn, delete);
            let head = shard.freeze().map(|head| FrozenShard { shard: shard.index(), head });
            self.frozen.extend(head);
        }
    }

    fn primed(&mut self, shard: usize, primed: ShardPrimed) {
        self.shards[shard].prime(&primed);
    }

    fn advance(&mut self, lsn: Lsn) {
        for shard in &mut self.shards {
            shard.advance(lsn);
        }
    }
}
