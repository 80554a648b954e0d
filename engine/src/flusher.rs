//! Frozen heads on their way into segments.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tidewatch_env::{Clock, Disk};
use tidewatch_metrics::{SeriesCatalog, Slot};
use tidewatch_segments::{
    Events, Flush, FrozenHead, Head, Manifest, Published, SegmentsInstruments, SlotSet,
    commit_deletes, flush,
};

use crate::EngineError;
use crate::deletes::Deletes;
use crate::dispatch::shard_of;
use crate::idempotency::Idempotency;
use crate::limits::FROZEN_HEADS_MAX;
use crate::outbox::Outbox;
use crate::progress::Progress;
use crate::shard::Shard;

/// The queue between shards that freeze their heads and the thread that writes segments.
#[derive(Debug)]
pub(crate) struct Flusher {
    queue: Mutex<VecDeque<FrozenShard>>,
    changed: Condvar,
    clock: Arc<dyn Clock>,
    shards: usize,
}

/// A frozen head and the shard that it came from.
#[derive(Clone, Debug)]
pub(crate) struct FrozenShard {
    pub(crate) shard: usize,
    pub(crate) head: Arc<FrozenHead>,
}

impl Flusher {
    pub(crate) fn new(clock: Arc<dyn Clock>, shards: usize) -> Self {
        Self { queue: Mutex::default(), changed: Condvar::new(), clock, shards }
    }

    pub(crate) fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Freezes the shard's head and queues it. Never blocks: what waits here is bounded by the door,
    /// which is shut while [`Flusher::is_behind`].
    pub(crate) fn take(&self, shard: &mut Shard) {
        if let Some(head) = shard.freeze() {
            let mut queue = self.lock();
            queue.push_back(FrozenShard { shard: shard.index(), head });
            drop(queue);
            self.changed.notify_all();
        }
    }

    /// Whether so much waits that no more samples should be taken.
    pub(crate) fn is_behind(&self) -> bool {
        self.lock().len() > self.shards * FROZEN_HEADS_MAX
    }

    /// The oldest frozen head; it stays in the queue until [`Flusher::done`].
    pub(crate) fn next(&self, timeout: Duration) -> Option<FrozenShard> {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |q| q.is_empty());
        waited.unwrap_or_else(std::sync::PoisonError::into_inner).0.front().cloned()
    }

    /// The oldest frozen head is in a segment.
    pub(crate) fn done(&self) {
        drop(self.lock().pop_front());
        self.changed.notify_all();
    }

    /// Waits until nothing waits here; `false` when the time is over.
    pub(crate) fn wait_empty(&self, timeout: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |q| !q.is_empty());
        waited.unwrap_or_else(std::sync::PoisonError::into_inner).0.is_empty()
    }

    /// Lets the thread look whether it shall stop.
    pub(crate) fn wake(&self) {
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<FrozenShard>> {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Writes frozen heads to segments. Not a thread: each call is one flush.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) published: Arc<Published>,
    pub(crate) catalog: Arc<SeriesCatalog>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) keys: Arc<Idempotency>,
    pub(crate) instruments: SegmentsInstruments,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shards: usize,
    pub(crate) deletes: Arc<Deletes>,
    /// Held by whoever makes the next version of the manifest.
    pub(crate) commits: Arc<Mutex<()>>,
}

impl SegmentWriter {
    /// Writes one frozen head, and the alerts, deliveries and keys so far, once the log has them durably.
    ///
    /// `false` when the log did not get so far within `timeout`.
    ///
    /// # Errors
    /// What the disk reports; the head may be written again then.
    pub(crate) fn write(
        &self,
        frozen: &FrozenShard,
        timeout: Duration,
    ) -> Result<bool, EngineError> {
        // DURABILITY: a segment may not hold rows that a crash could take from the log.
        if !self.progress.wait_durable(frozen.head.last_lsn, timeout) {
            return Ok(false);
        }
        let committing = self.commits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let manifest = self.published.manifest();
        let tail = self.outbox.tail(manifest.events_lsn());
        let heads = [Arc::clone(&frozen.head)];
        let started = self.clock.monotonic();
        let keys = self.keys.tail(manifest.keys_lsn(), started);
        let flushed = flush(
            &self.disk,
            &self.dir,
            &manifest,
            &Flush {
                frozen: &heads,
                slots: slots_of(frozen.shard, self.shards),
                catalog: &self.catalog,
                events: Events {
                    alerts: &tail.alerts,
                    deliveries: &tail.deliveries,
                    last_lsn: tail.last_lsn,
                    keys: &keys,
                },
                now: self.progress.log_time(),
            },
        )?;
        let seconds = self.clock.monotonic().saturating_sub(started).as_secs_f64();
        self.instruments.count(&flushed, seconds);
        if !keys.is_empty() {
            self.keys.filed(started);
        }
        // Readers that took a snapshot before still find the rows of the last flush in memory.
        self.outbox.forget(manifest.events_lsn());
        self.published.commit_flush(frozen.shard, &heads, flushed.manifest);
        drop(committing);
        Ok(true)
    }

    /// Names deletes in the manifest, which every shard has heard of, and forgets those that have
    /// nothing left to hide.
    ///
    /// # Errors
    /// What the disk reports; it may be tried again then.
    pub(crate) fn name_deletes(&self) -> Result<(), EngineError> {
        let reached = self.progress.applied().min(self.progress.durable());
        let committing = self.commits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut due = self.deletes.pending();
        due.retain(|delete| delete.lsn <= reached);
        let manifest = self.published.manifest();
        if due.is_empty() && manifest.deletes().is_empty() {
            return Ok(());
        }
        let unflushed = self.published.oldest_unflushed();
        let place = (&self.disk, self.dir.as_path());
        if let Some(next) = commit_deletes(place, &manifest, &due, unflushed)? {
            self.published.commit_files(next);
        }
        if let Some(last) = due.last() {
            self.deletes.named(last.lsn);
        }
        drop(committing);
        Ok(())
    }
}

/// The slots that a shard owns.
fn slots_of(shard: usize, shards: usize) -> SlotSet {
    (0..=255).map(Slot).filter(|slot| shard_of(*slot, shards) == shard).collect()
}

/// Empty heads for `shards` shards, and what readers see of them and of the segments.
pub(crate) fn publish(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    manifest: Manifest,
    catalog: &Arc<SeriesCatalog>,
    shards: usize,
) -> (Vec<Head>, Arc<Published>) {
    let (heads, shared): (Vec<_>, Vec<_>) = (0..shards).map(|_| Head::new()).unzip();
    let catalog = Arc::clone(catalog);
    let published = Published::new(Arc::clone(disk), dir, catalog, manifest, shared);
    (heads, Arc::new(published))
}
