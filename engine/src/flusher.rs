//! Frozen heads on their way into segments.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tidewatch_env::{Clock, Disk};
use tidewatch_metrics::{SeriesCatalog, Slot};
use tidewatch_segments::{
    Events, Flush, FrozenHead, Head, Manifest, Published, SegmentsInstruments, SlotSet, WindowRow,
    commit_deletes, flush,
};

use crate::EngineError;
use crate::config::EngineConfig;
use crate::dispatch::shard_of;
use crate::idempotency::Idempotency;
use crate::letters::Unfiled;
use crate::limits::FROZEN_HEADS_MAX;
use crate::shard::{Shard, ShardShared};

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
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    shards: usize,
    shared: ShardShared,
    keys: Arc<Idempotency>,
    /// Held by whoever makes the next version of the manifest.
    commits: Arc<Mutex<()>>,
    instruments: SegmentsInstruments,
}

impl SegmentWriter {
    /// Writes the segments of an engine's data directory.
    pub(crate) fn new(
        config: &EngineConfig,
        disk: &Arc<dyn Disk>,
        (shared, keys): (&ShardShared, &Arc<Idempotency>),
        commits: &Arc<Mutex<()>>,
        instruments: SegmentsInstruments,
    ) -> Self {
        Self {
            disk: Arc::clone(disk),
            dir: config.segments_dir(),
            shards: config.shards,
            shared: shared.clone(),
            keys: Arc::clone(keys),
            commits: Arc::clone(commits),
            instruments,
        }
    }

    /// Writes one frozen head, and the alerts, deliveries, keys and letters so far, once the log has them durably.
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
        if !self.shared.progress.wait_durable(frozen.head.last_lsn, timeout) {
            return Ok(false);
        }
        let committing = self.commits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let manifest = self.shared.published.manifest();
        let tail = self.shared.outbox.tail(manifest.events_lsn());
        let heads = [Arc::clone(&frozen.head)];
        let started = self.shared.clock.monotonic();
        let keys = self.keys.tail(manifest.keys_lsn(), started);
        let windows = self.unfiled_windows(&manifest);
        let letters = self.unfiled_letters(&manifest);
        let flushed = flush(
            &self.disk,
            &self.dir,
            &manifest,
            &Flush {
                frozen: &heads,
                slots: slots_of(frozen.shard, self.shards),
                catalog: &self.shared.catalog,
                events: Events {
                    alerts: &tail.alerts,
                    deliveries: &tail.deliveries,
                    last_lsn: tail.last_lsn,
                    keys: &keys,
                    windows: &windows,
                    letters: &letters.letters,
                    letter_marks: &letters.marks,
                    letters_lsn: letters.lsn,
                },
                now: self.shared.progress.log_time(),
            },
        )?;
        let seconds = self.shared.clock.monotonic().saturating_sub(started).as_secs_f64();
        self.instruments.count(&flushed, seconds);
        if !keys.is_empty() {
            self.keys.filed(started);
        }
        // Readers that took a snapshot before still find the rows of the last flush in memory.
        self.shared.outbox.forget(manifest.events_lsn());
        self.filed_waiting(&manifest, &flushed.manifest);
        self.shared.published.commit_flush(frozen.shard, &heads, flushed.manifest);
        drop(committing);
        Ok(true)
    }

    /// Writes closed windows and letters alone, where so many wait, or a checkpoint waits for windows.
    ///
    /// # Errors
    /// What the disk reports; they may be written again then.
    pub(crate) fn file_waiting(&self) -> Result<(), EngineError> {
        if !self.shared.windows.wants_file() && !self.shared.letters.wants_file() {
            return Ok(());
        }
        let committing = self.commits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let manifest = self.shared.published.manifest();
        let windows = self.unfiled_windows(&manifest);
        let letters = self.unfiled_letters(&manifest);
        if windows.is_empty() && letters.letters.is_empty() {
            return Ok(());
        }
        let started = self.shared.clock.monotonic();
        let flushed = flush(
            &self.disk,
            &self.dir,
            &manifest,
            &Flush {
                frozen: &[],
                slots: SlotSet::default(),
                catalog: &self.shared.catalog,
                events: Events {
                    windows: &windows,
                    letters: &letters.letters,
                    letter_marks: &letters.marks,
                    letters_lsn: letters.lsn,
                    ..Events::default()
                },
                now: self.shared.progress.log_time(),
            },
        )?;
        let seconds = self.shared.clock.monotonic().saturating_sub(started).as_secs_f64();
        self.instruments.count(&flushed, seconds);
        self.filed_waiting(&manifest, &flushed.manifest);
        self.shared.published.commit_files(flushed.manifest);
        drop(committing);
        Ok(())
    }

    /// Closed windows that `manifest` names no file of.
    fn unfiled_windows(&self, manifest: &Manifest) -> Vec<Arc<WindowRow>> {
        // DURABILITY: a file may not hold windows of a tick that a crash could take from the log.
        let durable = self.shared.progress.durable();
        let windows = self.shared.windows.tail(manifest.windows_lsn(), durable);
        windows.expect("only what an earlier version names is forgotten")
    }

    /// Letters and marks that `manifest` names no file of.
    fn unfiled_letters(&self, manifest: &Manifest) -> Unfiled {
        // DURABILITY: as with windows.
        let durable = self.shared.progress.durable();
        self.shared.letters.unfiled(manifest.letters_lsn(), durable)
    }

    fn filed_waiting(&self, before: &Manifest, now: &Manifest) {
        // Readers that took a snapshot before still find the windows and letters of the last file in memory.
        self.shared.windows.forget_up_to(before.windows_lsn());
        self.shared.windows.filed(now.windows_lsn());
        self.shared.letters.forget_up_to(before.letters_lsn());
        self.shared.letters.filed(now.letters_lsn());
    }

    /// Names deletes in the manifest, which every shard has heard of, and forgets those that have
    /// nothing left to hide.
    ///
    /// # Errors
    /// What the disk reports; it may be tried again then.
    pub(crate) fn name_deletes(&self) -> Result<(), EngineError> {
        let reached = self.shared.progress.applied().min(self.shared.progress.durable());
        let committing = self.commits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut due = self.shared.deletes.pending();
        due.retain(|delete| delete.lsn <= reached);
        let manifest = self.shared.published.manifest();
        if due.is_empty() && manifest.deletes().is_empty() {
            return Ok(());
        }
        let unflushed = self.shared.published.oldest_unflushed();
        let place = (&self.disk, self.dir.as_path());
        if let Some(next) = commit_deletes(place, &manifest, &due, unflushed)? {
            self.shared.published.commit_files(next);
        }
        if let Some(last) = due.last() {
            self.shared.deletes.named(last.lsn);
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
