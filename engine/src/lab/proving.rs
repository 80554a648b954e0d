//! Shards that tell at every record what their operators have come to.

use std::sync::Arc;

use tidewatch_metrics::{Lsn, UnixNanos};
use tidewatch_operators::OutputHash;
use tidewatch_sinks::Message;

use crate::deletes::DeleteRecord;
use crate::dispatch::{Dispatch, RulesInForce};
use crate::hashes::added;
use crate::inline::InlineDispatch;
use crate::lab::world::SharedWorld;
use crate::outbox::Outbox;
use crate::priming::ShardPrimed;
use crate::progress::Progress;
use crate::record::{TickRecord, TransitionRecord};
use crate::shard::{Shard, ShardRows};
use crate::windows::Windows;

/// What the operators of all shards have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) state: u64,
    pub(super) output: OutputHash,
    /// Hash of all windows, and of the rules on them.
    pub(super) windows: u64,
}

/// Shards that prove at every record what they have come to.
#[derive(Debug)]
pub(super) struct Proving {
    pub(super) inner: InlineDispatch,
    pub(super) windows: Arc<Windows>,
    /// The last one before a start's own record is what replay has come to.
    pub(super) proofs: Vec<(Lsn, Proof)>,
    /// Before this record some slots, or the windows, are where a checkpoint left them, and others are not.
    pub(super) from: Lsn,
    /// Whether every record is proven, or only where the log advances.
    pub(super) each: bool,
    /// Where transitions are taken from as soon as they fire, if that bug is planted.
    pub(super) early: Option<(Arc<Outbox>, SharedWorld)>,
}

impl Proving {
    pub(super) fn proof(&self) -> Proof {
        let state = self.inner.shards.iter().map(Shard::state_hash).fold(0, u64::wrapping_add);
        let outputs = self.inner.shards.iter().map(Shard::output_hash);
        let windows = self.windows.encode().state_hash;
        Proof { state, output: outputs.fold(OutputHash::default(), added), windows }
    }

    fn prove(&mut self, lsn: Lsn) {
        if lsn >= self.from {
            let proof = self.proof();
            self.proofs.push((lsn, proof));
        }
    }
}

impl Dispatch for Proving {
    fn shards(&self) -> usize {
        self.inner.shards()
    }

    fn rows(&mut self, shard: usize, rows: ShardRows) {
        let lsn = rows.lsn;
        self.inner.rows(shard, rows);
        if let Some((outbox, world)) = &self.early {
            tell_early(outbox, world, lsn);
        }
        if self.each {
            self.prove(lsn);
        }
    }

    fn tick(&mut self, lsn: Lsn, tick: TickRecord) {
        self.inner.tick(lsn, tick);
        if let Some((outbox, world)) = &self.early {
            tell_early(outbox, world, lsn);
        }
        if self.each {
            self.prove(lsn);
        }
    }

    fn rules(&mut self, lsn: Lsn, rules: &RulesInForce) {
        self.inner.rules(lsn, rules);
        if self.each {
            self.prove(lsn);
        }
    }

    fn delete(&mut self, lsn: Lsn, delete: &DeleteRecord) {
        self.inner.delete(lsn, delete);
    }

    fn primed(&mut self, shard: usize, primed: ShardPrimed) {
        self.inner.primed(shard, primed);
    }

    fn advance(&mut self, lsn: Lsn) {
        self.inner.advance(lsn);
        self.prove(lsn);
    }
}

/// What the planted bug does: the transitions of a record are told before it is durable.
fn tell_early(outbox: &Outbox, world: &SharedWorld, lsn: Lsn) {
    let durable = Progress::new(1);
    durable.set_durable(lsn, UnixNanos::default());
    for record in outbox.take_releasable(&durable) {
        let TransitionRecord { transition, times, .. } = record;
        if transition.kind.is_delivered() && !transition.historical {
            world.lock().receive(&Message { transition, times });
        }
    }
}
