//! What all shards together had put out at a tick.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use tidewatch_metrics::Lsn;
use tidewatch_operators::OutputHash;

use crate::record::OutputHashRecord;

/// Sums the shards' output hashes of the ticks that ask for one.
#[derive(Debug)]
pub(crate) struct Hashes {
    shards: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: BTreeMap<Lsn, (usize, OutputHash)>,
    complete: Vec<OutputHashRecord>,
}

impl Hashes {
    /// For `shards` shards.
    #[must_use]
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards, state: Mutex::default() }
    }

    /// A shard has passed the tick `at`.
    pub(crate) fn add(&self, at: Lsn, hash: OutputHash) {
        let mut state = self.lock();
        let (count, sum) = state.open.entry(at).or_default();
        *count += 1;
        *sum = added(*sum, hash);
        if *count == self.shards {
            let hash = *sum;
            state.open.remove(&at);
            state.complete.push(OutputHashRecord { at, hash });
        }
    }

    /// Takes the ticks that all shards have passed.
    #[must_use]
    pub(crate) fn take_complete(&self) -> Vec<OutputHashRecord> {
        std::mem::take(&mut self.lock().complete)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What two sets of series together had put out.
pub(crate) fn added(one: OutputHash, two: OutputHash) -> OutputHash {
    OutputHash {
        samples: one.samples.wrapping_add(two.samples),
        severities: one.severities.wrapping_add(two.severities),
        alerts: one.alerts.wrapping_add(two.alerts),
    }
}
