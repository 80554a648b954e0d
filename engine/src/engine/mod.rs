//! The engine as a whole: opens, runs its threads, stops.

mod health;
mod start;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use tidewatch_env::{Clock, Disk};
use tidewatch_metrics::{EventTime, Lsn, SeriesCatalog};
use tidewatch_segments::{
    CompactionInstruments, EventFile, MetricName, Published, SegmentsInstruments, Snapshot,
    TailPlace, TailRows,
};
use tidewatch_sinks::{CourierWatch, SinkInstruments};
use tidewatch_wal::{ArchiveInstruments, WalInstruments, WalSegmentInfo};
use tracing::{info, warn};

use crate::EngineError;
use crate::budget::{Budget, BudgetDisk};
use crate::committer::{Append, CommitterMessage};
use crate::compactor::Suspects;
use crate::config::EngineConfig;
use crate::data_dir::DataDir;
use crate::deletes::{DeleteRecord, Deletes};
use crate::feeds::FeedCourier;
use crate::flusher::Flusher;
use crate::hashes::Hashes;
use crate::idempotency::Idempotency;
use crate::ingest::Ingest;
use crate::instruments::{OutboxInstruments, ShardInstruments};
use crate::letters::Letters;
use crate::limits::{COMMIT_QUEUE_MAX, SHARD_QUEUE_MAX};
use crate::opened::Opened;
use crate::outbox::Outbox;
use crate::progress::Progress;
use crate::record::KIND_DELETE;
use crate::recovery::{RecoveryState, Replay};
use crate::retention::RetentionInForce;
use crate::salvage::{Salvage, SalvageReport};
use crate::sources::{Sources, StoredOffsets};
use crate::threads::{ChannelDispatch, Gate, Notary, PanicGuard, ShardMessage, join};
use crate::windows::Windows;

/// Time that a shard or the committer gets for one answer while the engine stops.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Time for all that is done in an orderly stop; what it does not suffice for, the next start replays.
const STOP_MAX: Duration = Duration::from_secs(6);

/// The committer's thread.
const COMMITTER: &str = "committer";
/// The thread that looks after segments.
const COMPACTOR: &str = "compactor";
/// The thread that replays the log, and makes checkpoints afterwards.
const REPLAY: &str = "replay";

pub use health::{EngineHealth, SinkTrouble};
#[cfg(any(test, feature = "lab"))]
pub(crate) use start::delivery_row;

/// The doors to the world, and whom to tell when the engine must end.
#[derive(Clone)]
pub struct EngineHome {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// A number that clients cannot know, another one at each start.
    pub seed: u64,
    /// Called once when the log or a shard has failed: the process must end within a second.
    pub fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for EngineHome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineHome").field("disk", &self.disk).finish_non_exhaustive()
    }
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    ingest: Ingest,
    catalog: Arc<SeriesCatalog>,
    published: Arc<Published>,
    progress: Arc<Progress>,
    outbox: Arc<Outbox>,
    windows: Arc<Windows>,
    letters: Arc<Letters>,
    keys: Arc<Idempotency>,
    sources: Arc<Sources>,
    hashes: Arc<Hashes>,
    flusher: Arc<Flusher>,
    deletes: Arc<Deletes>,
    suspects: Arc<Suspects>,
    retention: Arc<RetentionInForce>,
    force_merges: Arc<AtomicBool>,
    wal_segments: Arc<Mutex<Vec<WalSegmentInfo>>>,
    shards: Vec<Sender<ShardMessage>>,
    queue: Sender<CommitterMessage>,
    stop: Arc<AtomicBool>,
    recovered: Arc<AtomicBool>,
    closing: Arc<AtomicBool>,
    /// Set first of all in a stop: detectors learn no more from stored rows.
    ends_priming: Arc<AtomicBool>,
    /// Ends when no more checkpoints will be made.
    checkpoints: Mutex<Option<Receiver<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// How sinks fare, in the order of the configuration.
    sinks: Vec<CourierWatch>,
    /// What sends rows to topics.
    feeds: Vec<FeedCourier>,
    instruments: EngineInstruments,
    home: EngineHome,
    salvaged: Option<SalvageReport>,
    _data_dir: DataDir,
}

/// What the engine's parts count.
#[derive(Debug, Default)]
struct EngineInstruments {
    wal: WalInstruments,
    archive: ArchiveInstruments,
    shard: ShardInstruments,
    committer: crate::instruments::CommitterInstruments,
    checkpoints: crate::instruments::CheckpointInstruments,
    outbox: OutboxInstruments,
    segments: SegmentsInstruments,
    compaction: CompactionInstruments,
    sinks: SinkInstruments,
}

impl Engine {
    /// Opens the data directory and its log and starts the threads. Blocks until writes are taken;
    /// the log is replayed meanwhile, and queries wait for that.
    ///
    /// # Errors
    /// [`EngineError::InUse`], damage, and what the disk reports.
    pub fn open(
        config: &EngineConfig,
        mut home: EngineHome,
        data_dir: DataDir,
        state: &Arc<RecoveryState>,
    ) -> Result<Self, EngineError> {
        let budget = Arc::new(Budget::new(config.disk_bytes_max));
        home.disk = Arc::new(BudgetDisk::new(home.disk, Arc::clone(&budget)));
        let instruments = EngineInstruments::default();
        let counted = (instruments.shard.clone(), instruments.outbox.clone());
        let salvage = config.salvage.then(|| Salvage::run(config, &home.disk, &*home.clock));
        let mut salvage = salvage.transpose()?;
        let mut opened = Opened::new(config, &home.disk, &home.clock, counted)?;
        if let Some(salvage) = &mut salvage {
            salvage.pass(&mut opened);
        }
        let channels = opened.shards.iter().map(|_| bounded(SHARD_QUEUE_MAX));
        let (senders, receivers): (Vec<_>, Vec<_>) = channels.unzip();
        let (queue, commits) = bounded(COMMIT_QUEUE_MAX);
        let mut engine = Self {
            ingest: Ingest::new(
                Arc::clone(&opened.shared.catalog),
                queue.clone(),
                Arc::clone(&home.clock),
                config.shards,
                config.ingest.clone(),
            ),
            catalog: Arc::clone(&opened.shared.catalog),
            published: Arc::clone(&opened.shared.published),
            progress: Arc::clone(&opened.shared.progress),
            outbox: Arc::clone(&opened.shared.outbox),
            windows: Arc::clone(&opened.shared.windows),
            letters: Arc::clone(&opened.shared.letters),
            keys: Arc::clone(&opened.keys),
            sources: Arc::clone(&opened.sources),
            hashes: Arc::new(Hashes::new(config.shards)),
            flusher: Arc::new(Flusher::new(Arc::clone(&home.clock), config.shards)),
            deletes: Arc::clone(&opened.shared.deletes),
            suspects: Arc::default(),
            retention: Arc::clone(&config.retention),
            force_merges: Arc::default(),
            wal_segments: Arc::default(),
            shards: senders.clone(),
            queue,
            stop: Arc::default(),
            recovered: Arc::default(),
            closing: Arc::default(),
            ends_priming: Arc::default(),
            checkpoints: Mutex::default(),
            threads: Mutex::default(),
            sinks: Vec::new(),
            feeds: Vec::new(),
            instruments,
            home,
            salvaged: None,
            _data_dir: data_dir,
        };
        engine.start_shards(std::mem::take(&mut opened.shards), receivers, config)?;
        let shares = engine.compactor_shares(&budget);
        engine.start_flusher(config, &opened.shared, &shares.commits)?;
        engine.start_compactor(config, &opened.shared, shares)?;
        let log = engine.open_log(config, &opened)?;
        if let Some(salvage) = salvage {
            engine.salvaged = salvage.finish(&log.left_out)?;
        }
        let told = (&engine.hashes, state);
        let replay = Replay::new(config, &engine.home.disk, &opened, &log, told)?;
        engine.start_feeds(&opened.shared)?;
        engine.start_priming(config, &opened.shared)?;
        let rounds = engine.rounds(config, opened, (&log, budget))?;
        let dispatch = ChannelDispatch::new(senders);
        engine.start_committer(log, Gate::closed(dispatch.clone()), commits, config.idle_mark)?;
        engine.start_outbox(config)?;
        engine.start_replay(replay, dispatch, rounds)?;
        Ok(engine)
    }

    /// The door for samples.
    #[must_use]
    pub fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    /// Keys under which requests are stored once.
    #[must_use]
    pub fn idempotency(&self) -> &Arc<Idempotency> {
        &self.keys
    }

    /// Gives the right to store messages of a source.
    #[must_use]
    pub fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    /// How far the partitions of sources are stored, durably: whoever reads one goes on from there.
    #[must_use]
    pub fn offsets(&self) -> Vec<StoredOffsets> {
        self.sources.offsets()
    }

    /// What the start had to leave out, if it was told to salvage and there was damage.
    #[must_use]
    pub fn salvaged(&self) -> Option<&SalvageReport> {
        self.salvaged.as_ref()
    }

    /// Transitions on their way out.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The windows of percentiles, and those that have closed and that no file holds.
    #[must_use]
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// Dead letters that no file holds, and what was done with any.
    #[must_use]
    pub fn letters(&self) -> &Arc<Letters> {
        &self.letters
    }

    /// Files of dead letters.
    pub(crate) fn letter_files(&self) -> Arc<[Arc<EventFile>]> {
        self.published.letters()
    }

    /// Where records are handed over.
    pub(crate) fn committer(&self) -> &Sender<CommitterMessage> {
        &self.queue
    }

    /// All series.
    #[must_use]
    pub fn catalog(&self) -> &Arc<SeriesCatalog> {
        &self.catalog
    }

    /// The last durable record.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.progress.durable()
    }

    /// The last record that all shards have applied.
    #[must_use]
    pub fn applied(&self) -> Lsn {
        self.progress.applied()
    }

    /// Whether the log is replayed, so that queries see all of it.
    #[must_use]
    pub fn is_recovered(&self) -> bool {
        self.recovered.load(Ordering::Acquire)
    }

    /// Whether flushes are so far behind that no samples should be taken.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.flusher.is_behind() || self.windows.is_behind() || self.letters.is_behind()
    }

    /// The log's files, as they were within the last moments.
    #[must_use]
    pub fn wal_segments(&self) -> Vec<WalSegmentInfo> {
        self.wal_segments.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// What a query sees that starts now: all that is acknowledged, and nothing that is not durable.
    ///
    /// `None` when the shards did not come so far within `timeout`.
    #[must_use]
    pub fn snapshot(&self, timeout: Duration) -> Option<Snapshot> {
        loop {
            let fence = self.progress.durable();
            if !self.progress.wait_visible(fence, timeout) {
                return None;
            }
            // Under a flood of small records the marks of this fence may be gone: a later one will do.
            if let Some(snapshot) = self.published.snapshot(fence) {
                return Some(snapshot);
            }
        }
    }

    /// What has become visible since `place`, up to all that is acknowledged; a new place begins here.
    ///
    /// `None` when the shards did not come so far within `timeout`. Costs nothing where nobody calls it.
    #[must_use]
    pub fn tail(&self, place: &mut TailPlace, timeout: Duration) -> Option<TailRows> {
        let fence = self.progress.durable();
        if !self.progress.wait_visible(fence, timeout) {
            return None;
        }
        self.published.tail(place, fence)
    }

    /// Puts what the engine counts into `registry`.
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        self.ingest.register(registry);
        self.keys.register(registry);
        self.letters.register(registry);
        self.instruments.wal.register(registry);
        self.instruments.archive.register(registry);
        self.instruments.shard.register(registry);
        self.instruments.committer.register(registry);
        self.instruments.checkpoints.register(registry);
        self.instruments.outbox.register(registry);
        self.instruments.segments.register(registry);
        self.instruments.compaction.register(registry);
        self.instruments.sinks.register(registry);
    }

    /// Hash of all operator state; equal for equal logs, whatever the number of shards.
    #[must_use]
    pub fn state_hash(&self) -> u64 {
        let asked = self.shards.iter().filter_map(|shard| {
            let (answer, answered) = bounded(1);
            shard.send(ShardMessage::StateHash(answer)).ok()?;
            answered.recv_timeout(ANSWER_MAX).ok()
        });
        asked.fold(0, u64::wrapping_add)
    }

    /// Freezes all heads and waits until they are in segments; `false` when that takes longer.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> bool {
        for shard in &self.shards {
            let (answer, answered) = bounded(1);
            if shard.send(ShardMessage::Freeze(answer)).is_err()
                || answered.recv_timeout(timeout).is_err()
            {
                return false;
            }
        }
        self.flusher.wait_empty(timeout)
    }

    /// Hides the rows of a metric and a range of event times that were written before, and has them
    /// removed. Returns the record of the log, durable, once queries no longer see them.
    ///
    /// # Errors
    /// [`EngineError::Closed`], [`EngineError::Overloaded`], a full log, and [`EngineError::Late`] when it takes longer than `timeout`: it will
    /// still be done then.
    pub fn delete(
        &self,
        metric: MetricName,
        (from, to): (EventTime, EventTime),
        timeout: Duration,
    ) -> Result<Lsn, EngineError> {
        let record = DeleteRecord { received: self.home.clock.now(), metric, from, to };
        let (answer, answered) = bounded(1);
        let done = Box::new(move |ack: Result<crate::Ack, EngineError>| drop(answer.send(ack)));
        let note = Append {
            delete: Some(Box::new(record.clone())),
            ..Append::note(KIND_DELETE, record.encode(), done)
        };
        let sent = self.queue.send_timeout(CommitterMessage::Append(note), timeout);
        sent.map_err(|error| match error {
            SendTimeoutError::Timeout(_) => EngineError::Overloaded { retry_after_s: 1 },
            SendTimeoutError::Disconnected(_) => EngineError::Closed,
        })?;
        let ack = answered.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => EngineError::Late,
            RecvTimeoutError::Disconnected => EngineError::Closed,
        })??;
        if self.deletes.wait(ack.lsn, timeout) { Ok(ack.lsn) } else { Err(EngineError::Late) }
    }

    /// Has neighbouring segments merged that would wait for more, in the background.
    pub fn compact(&self) {
        self.force_merges.store(true, Ordering::Release);
        let threads = self.lock_threads();
        let compactor = threads.iter().find(|thread| thread.thread().name() == Some(COMPACTOR));
        compactor.into_iter().for_each(|compactor| compactor.thread().unpark());
    }

    /// For how long samples are kept, and where that is changed.
    #[must_use]
    pub fn retention(&self) -> &RetentionInForce {
        &self.retention
    }

    /// Somebody could not read this file of a segment: it is looked at, and if it is damaged, queries go on
    /// without it.
    pub fn report_damage(&self, path: &Path) {
        self.suspects.add(path);
    }

    /// Stops: what was taken is flushed as far as time allows, the output hash is logged, threads end.
    ///
    /// Nobody may write any more.
    pub fn stop(&self) {
        let until = self.home.clock.monotonic() + STOP_MAX;
        self.ends_priming.store(true, Ordering::Release);
        let left = || until.saturating_sub(self.home.clock.monotonic());
        // What a replay that is not over has come to is not what the log stands for.
        let recovered = self.is_recovered();
        if recovered {
            self.log_output_hash(left());
        }
        if !self.flush(left()) {
            warn!("not everything was flushed in time; the next start replays it");
        }
        if recovered {
            self.checkpoint(left());
        }
        self.stop.store(true, Ordering::Release);
        self.feeds.iter().for_each(FeedCourier::note);
        self.flusher.wake();
        drop(self.queue.send(CommitterMessage::Stop));
        self.progress.close();
        self.deletes.close();
        let threads = std::mem::take(&mut *self.lock_threads());
        threads.iter().for_each(|thread| thread.thread().unpark());
        let hands_over =
            |thread: &JoinHandle<()>| matches!(thread.thread().name(), Some(COMMITTER | REPLAY));
        let (first, others): (Vec<_>, Vec<_>) = threads.into_iter().partition(hands_over);
        join(first);
        // ORDER: after the committer and replay, which hand records to the shards to their ends.
        for shard in &self.shards {
            drop(shard.send(ShardMessage::Stop));
        }
        join(others);
        info!(durable = %self.durable(), "engine stopped");
    }

    /// A tick that asks for an output hash, and the hash behind it.
    fn log_output_hash(&self, timeout: Duration) {
        let (answer, answered) = bounded(1);
        let done = Box::new(move |ack: Result<crate::Ack, EngineError>| drop(answer.send(ack)));
        if self.queue.send(CommitterMessage::Tick(done)).is_err() {
            return;
        }
        let Ok(Ok(tick)) = answered.recv_timeout(timeout) else { return };
        if self.progress.wait_visible(tick.lsn, timeout / 3) && self.notary().note_all() {
            let end = Lsn::new(tick.lsn.get() + 1);
            if !self.progress.wait_durable(end, timeout / 3) {
                warn!("the output hash was not logged in time");
            }
        }
    }

    fn notary(&self) -> Notary {
        Notary {
            outbox: Arc::clone(&self.outbox),
            hashes: Arc::clone(&self.hashes),
            progress: Arc::clone(&self.progress),
            queue: self.queue.clone(),
        }
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), EngineError> {
        let thread = self.thread(name, run)?;
        self.lock_threads().push(thread);
        Ok(())
    }

    /// A thread whose panic ends the process; the caller joins it.
    pub(crate) fn thread(
        &self,
        name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<()>, EngineError> {
        let guard = PanicGuard { fatal: Arc::clone(&self.home.fatal), name: name.to_owned() };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let guard = guard;
            run();
            drop(guard);
        });
        thread.map_err(|source| EngineError::Io {
            action: "start the thread",
            path: PathBuf::from(name),
            source: Arc::new(source),
        })
    }

    fn lock_threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Makes a last checkpoint, so that the next start has little to replay, as far as time allows.
    fn checkpoint(&self, timeout: Duration) {
        self.closing.store(true, Ordering::Release);
        for thread in &*self.lock_threads() {
            thread.thread().unpark();
        }
        let mut checkpoints =
            self.checkpoints.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(ended) = checkpoints.take()
            && ended.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout)
        {
            warn!("the last checkpoint was not made in time; the next start replays more");
        }
    }
}
