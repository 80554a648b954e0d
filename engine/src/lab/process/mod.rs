//! The engine's process without its threads: every loop is a step that the script calls.

mod clients;
mod config;
mod mender;
mod reader;
mod upkeep;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use tidewatch_env::{Clock, Disk, Rng, SimClock};
use tidewatch_metrics::{Lsn, Slot, UnixNanos};
use tidewatch_segments::{CompactionInstruments, SegmentsInstruments, Snapshot};
use tidewatch_sinks::{
    DeliveryOutcome, DeliveryReport, Message, Outcome, QueueLimits, RetryPolicy, Schedule, Verdict,
};
use tidewatch_wal::{ArchiveInstruments, Preallocator, WalError, WalHome, WalInstruments};

use crate::EngineError;
use crate::checkpoint::{Archiver, CheckpointRecord, Checkpointer, Round};
use crate::committer::{Append, Committer, CommitterMessage, Standing};
use crate::compactor::{Compactor, CompactorShares};
use crate::config::EngineConfig;
use crate::data_dir::DataDir;
use crate::dispatch::shard_of;
use crate::engine::delivery_row;
use crate::flusher::{FrozenShard, SegmentWriter};
use crate::hashes::Hashes;
use crate::idempotency::Idempotency;
use crate::ingest::Ingest;
use crate::inline::InlineDispatch;
use crate::instruments::{CheckpointInstruments, OutboxInstruments, ShardInstruments};
use crate::lab::finding::Layer;
use crate::lab::plant::Plant;
use crate::lab::proving::{Proof, Proving};
use crate::lab::script::{Life, Request};
use crate::lab::world::{SharedWorld, World};
use crate::opened::Opened;
use crate::record::{KIND_CHECKPOINT, KIND_OUTPUT_HASH, OutputHashRecord};
use crate::recovery::{OpenLog, RecoveryState, Replay};
use crate::shard::ShardShared;
use crate::sources::Sources;
use crate::threads::Notary;

pub(super) use config::config;

pub(super) const DATA_DIR: &str = "/data";
const SINK: &str = "pager";
const QUEUE_MAX: usize = 1_024;
/// Steps of the outbox in which all is delivered: of six attempts, three at least succeed.
const SETTLE_STEPS_MAX: usize = 2_000;
/// Slots of a checkpoint that are stored before clients write once more.
const SLOTS_BEFORE_WRITES: u8 = 100;

/// Where a process runs.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<SimClock>,
    pub(super) world: SharedWorld,
    pub(super) seed: u64,
    /// Plants a bug: clients who ask for `synced` are answered when their record is written.
    pub(super) acks_early: bool,
    /// Plants a bug: the receiver is told as soon as a transition fires.
    pub(super) alerts_early: bool,
    /// Plants a bug: checkpoints do not say how far in the log their states are.
    pub(super) forgets_lsn: bool,
    /// Plants a bug: neither files nor checkpoints are told of idempotency keys.
    pub(super) forgets_keys: bool,
    /// Plants a bug: checkpoints do not say how far sources are stored.
    pub(super) forgets_offsets: bool,
    /// Plants a bug: offsets are stored in a record of their own, before that of their samples.
    pub(super) offsets_first: bool,
}

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    machine: Machine,
    shared: ShardShared,
    keys: Arc<Idempotency>,
    sources: Arc<Sources>,
    /// The next message to read.
    read_to: u64,
    committer: Committer<Proving>,
    preallocator: Option<Preallocator>,
    ingest: Ingest,
    queue: Receiver<CommitterMessage>,
    notary: Notary,
    writer: SegmentWriter,
    frozen: VecDeque<FrozenShard>,
    compactor: Compactor,
    checkpointer: Checkpointer,
    courier: Schedule,
    rng: Rng,
    _data_dir: DataDir,
}

impl Process {
    /// Starts the process; `each` proves every record, not only where replay ends.
    pub(super) fn start(machine: &Machine, life: Life, each: bool) -> Result<Self, EngineError> {
        machine.phase("start");
        let config = config(life);
        let clock: Arc<dyn Clock> = Arc::clone(&machine.clock) as Arc<dyn Clock>;
        let data_dir = DataDir::lock(&*machine.disk, &config.data_dir)?;
        let instruments = (ShardInstruments::default(), OutboxInstruments::default());
        let mut opened = Opened::new(&config, &machine.disk, &clock, instruments)?;
        let shared = opened.shared.clone();
        let hashes = Arc::new(Hashes::new(config.shards));
        let shards = std::mem::take(&mut opened.shards);
        let inner = InlineDispatch { shards, hashes: Arc::clone(&hashes), frozen: Vec::new() };
        let tells = || (Arc::clone(&shared.outbox), machine.world.clone());
        let early = machine.alerts_early.then(tells);
        let from = opened.base.reached();
        let windows = Arc::clone(&shared.windows);
        let mut dispatch = Proving { inner, windows, proofs: Vec::new(), from, each, early };
        let log = open_log(machine, &config, &opened)?;
        let due = replay(machine, &config, &opened, &log, &mut dispatch)?;
        let OpenLog { mut wal, position, start, .. } = log;
        let (disk, archive) = (Arc::clone(&machine.disk), ArchiveInstruments::default());
        let archiver = Archiver::open(disk, &config, Arc::default(), archive)?;
        let (sender, queue) = bounded(QUEUE_MAX);
        send_hashes(due, &sender);
        let (keys, sources) = (opened.keys, opened.sources);
        let told = (Arc::clone(&shared.progress), Arc::clone(&keys));
        let kept = machine.kept(&config, (&keys, &sources));
        Ok(Self {
            preallocator: wal.take_preallocator(),
            committer: Committer::new(wal, dispatch, Arc::clone(&clock), told, position),
            checkpointer: Checkpointer::new(
                opened.store,
                (&shared, &kept.0, &kept.1),
                start,
                (archiver, opened.checkpoints),
                CheckpointInstruments::default(),
            )?,
            ingest: door(&config, &shared, &sender),
            queue,
            notary: Notary {
                outbox: Arc::clone(&shared.outbox),
                hashes,
                progress: Arc::clone(&shared.progress),
                queue: sender,
            },
            writer: SegmentWriter::new(
                &config,
                &machine.disk,
                (&shared, &kept.0),
                &Arc::default(),
                SegmentsInstruments::default(),
            ),
            compactor: Compactor::new(
                &config,
                &shared,
                (Arc::clone(&machine.disk), clock),
                CompactorShares::default(),
                CompactionInstruments::default(),
            ),
            frozen: VecDeque::new(),
            courier: Schedule::new(QueueLimits::default(), RetryPolicy::default(), machine.seed),
            rng: Rng::from_seed(machine.seed),
            machine: machine.clone(),
            shared,
            keys,
            read_to: reader::next_of(&sources),
            sources,
            _data_dir: data_dir,
        })
    }

    /// The committer takes all that waits for it as one group.
    fn commit(&mut self) -> Result<(), EngineError> {
        let mut group = Vec::new();
        while let Ok(message) = self.queue.try_recv() {
            match message {
                CommitterMessage::Append(append) => group.push(append),
                CommitterMessage::Tick(_)
                | CommitterMessage::Standing(_)
                | CommitterMessage::Release(_)
                | CommitterMessage::TakeOver(_)
                | CommitterMessage::Stop => {}
            }
        }
        if group.is_empty() { Ok(()) } else { self.committer.commit(&mut group) }
    }

    /// Freezes all heads and writes them to segments. As in the process, a failure is tried again, and
    /// what cannot be written now waits.
    pub(super) fn flush(&mut self) -> Result<(), EngineError> {
        self.machine.phase("flush");
        let inner = &mut self.committer.dispatch_mut().inner;
        self.frozen.extend(inner.frozen.drain(..));
        for shard in &mut inner.shards {
            if let Some(head) = shard.freeze() {
                self.frozen.push_back(FrozenShard { shard: shard.index(), head });
            }
        }
        while let Some(frozen) = self.frozen.front() {
            let written = self.writer.write(frozen, Duration::ZERO);
            match written.or_else(|_first| self.writer.write(frozen, Duration::ZERO)) {
                Ok(true) => {}
                Ok(false) => {
                    let told = "an applied record is not durable";
                    self.machine.world.lock().break_promise(Layer::Ledger, told);
                }
                Err(_disk) if self.machine.world.lock().faulted => break,
                Err(error) => return Err(error),
            }
            self.frozen.pop_front();
        }
        match self.writer.file_waiting().or_else(|_first| self.writer.file_waiting()) {
            Ok(()) => Ok(()),
            Err(_disk) if self.machine.world.lock().faulted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A checkpoint, while clients send these requests: slots before and behind them have other records.
    /// As in the process, one that fails is tried again, and the engine goes on in any case.
    pub(super) fn checkpoint(&mut self, requests: &[(usize, &Request)]) -> Result<(), EngineError> {
        let mut unsent = Some(requests);
        let round = match self.round(&mut unsent)? {
            Ok(round) => Ok(round),
            Err(_first) => self.round(&mut unsent)?,
        };
        let Ok((round, record)) = round else { return Ok(()) };
        self.flush()?;
        self.note()?;
        if !self.checkpointer.is_covered(&round) {
            let mut world = self.machine.world.lock();
            if !self.machine.alerts_early && !world.faulted {
                let told =
                    "rows or transitions of a checkpoint are neither in files nor in the log";
                world.break_promise(Layer::Ledger, told);
            }
            return Ok(());
        }
        self.machine.phase("checkpoint");
        let (noted, answer) = bounded(1);
        let done = Box::new(move |ack| drop(noted.send(ack)));
        let note = Append::note(KIND_CHECKPOINT, record.encode(), done);
        self.committer.commit(&mut vec![note])?;
        let finished = match answer.try_recv() {
            Ok(Err(refused)) => Err(refused),
            Ok(Ok(_)) | Err(_) => self.finish(round),
        };
        if let Err(error) = finished {
            self.checkpointer.failed(&error);
        }
        Ok(())
    }

    fn finish(&mut self, round: Round) -> Result<(), EngineError> {
        let Standing { lsn, position, files } = self.committer.standing();
        if let Some(upto) = self.checkpointer.commit(round, (lsn, position))? {
            self.machine.phase("archive");
            self.checkpointer.put_away(&files, upto, position.tick)?;
            self.machine.phase("truncate");
            self.committer.release(upto)?;
            self.ready_files();
        }
        Ok(())
    }

    /// The slots of a checkpoint; the outer result is that of the log.
    fn round(
        &mut self,
        unsent: &mut Option<&[(usize, &Request)]>,
    ) -> Result<Result<(Round, CheckpointRecord), EngineError>, EngineError> {
        self.machine.phase("checkpoint");
        let begun = self.checkpointer.begin();
        let mut failed = None;
        let mut round = begun.map_err(|error| failed = Some(error)).ok();
        for slot in (0..=u8::MAX).map(Slot) {
            if slot.0 == SLOTS_BEFORE_WRITES
                && let Some(requests) = unsent.take()
            {
                self.write(requests)?;
                self.machine.phase("checkpoint");
            }
            let shards = &self.committer.dispatch_mut().inner.shards;
            let mut encoded = shards[shard_of(slot, shards.len())].encode_slot(slot);
            if self.machine.forgets_lsn {
                encoded.lsn = Lsn::ZERO;
            }
            if let Some(Err(error)) = round.as_mut().map(|round| round.put(&encoded)) {
                failed = Some(error);
                round = None;
            }
        }
        Ok(match (round, failed) {
            (Some(round), None) => return self.seal(round),
            (_, failed) => Err(failed.unwrap_or(EngineError::Closed)),
        })
    }

    /// The windows behind the slots, as of a tick.
    fn seal(
        &mut self,
        mut round: Round,
    ) -> Result<Result<(Round, CheckpointRecord), EngineError>, EngineError> {
        if self.checkpointer.needs_windows() {
            let (answer, answered) = bounded(1);
            self.committer.tick(Box::new(move |ack| drop(answer.send(ack))))?;
            if let Ok(Err(refused)) = answered.try_recv() {
                return Ok(Err(refused));
            }
            if let Err(error) = self.checkpointer.put_windows(&mut round) {
                return Ok(Err(error));
            }
        }
        Ok(round.seal().map(|record| (round, record)))
    }

    /// Transitions and reports go into the log, and what is due to the receiver.
    pub(super) fn outbox(&mut self) -> Result<(), EngineError> {
        self.machine.phase("outbox");
        self.note()?;
        let now = self.machine.clock.now();
        let (courier, monotonic) = (&mut self.courier, self.machine.clock.monotonic());
        self.shared
            .outbox
            .pump(now, |_, message| courier.push(Arc::clone(message), monotonic).is_ok());
        let attempts = 1 + self.rng.below(4);
        for _ in 0..attempts {
            if !self.attempt() {
                break;
            }
        }
        self.note()
    }

    fn note(&mut self) -> Result<(), EngineError> {
        if !self.notary.note_all() {
            return Err(EngineError::Closed);
        }
        self.commit()
    }

    /// One message to the receiver, whose answer may get lost; `false` when nothing is due.
    fn attempt(&mut self) -> bool {
        let clock = Arc::clone(&self.machine.clock);
        match self.courier.next(clock.monotonic()) {
            tidewatch_sinks::Step::Idle => false,
            tidewatch_sinks::Step::Wait { until } => {
                clock.advance(until.saturating_sub(clock.monotonic()));
                true
            }
            tidewatch_sinks::Step::Attempt { message, attempt, .. } => {
                let lot = self.rng.below(6);
                if lot != 0 {
                    self.machine.world.lock().receive(&message);
                }
                let outcome =
                    if lot < 2 { Outcome::Retry { after: None } } else { Outcome::Delivered };
                let verdict = self.courier.settle(outcome, lot != 1, clock.monotonic());
                self.report(&message, attempt, verdict);
                true
            }
        }
    }

    fn report(&self, message: &Message, attempt: u32, verdict: Verdict) {
        let outcome = match verdict {
            Verdict::Delivered => DeliveryOutcome::Delivered,
            Verdict::Retry { .. } => DeliveryOutcome::Retry,
            Verdict::DeadLetter { .. } => DeliveryOutcome::DeadLetter,
        };
        let now = self.machine.clock.now();
        self.shared.outbox.report(delivery_row(DeliveryReport {
            key: message.transition.key,
            kind: message.transition.kind,
            sink: SINK.to_owned(),
            attempt,
            outcome,
            status: None,
            started: now,
            finished: now,
            error: String::new(),
        }));
    }

    /// Until every transition has been delivered, and every delivery noted.
    pub(super) fn settle(&mut self) -> Result<(), EngineError> {
        self.deliver(false)
    }

    /// As [`Process::settle`], until the log has no room to note deliveries.
    pub(super) fn settle_while_there_is_room(&mut self) -> Result<(), EngineError> {
        self.deliver(true)
    }

    fn deliver(&mut self, may_lack_room: bool) -> Result<(), EngineError> {
        self.commit()?;
        for _ in 0..SETTLE_STEPS_MAX {
            self.outbox()?;
            let outbox = &self.shared.outbox;
            let is_settled = outbox.is_settled();
            let is_done = is_settled && outbox.undelivered() == 0 && self.courier.is_empty();
            // What waits for the log after a step was refused by it.
            if is_done || (may_lack_room && !is_settled) {
                return Ok(());
            }
        }
        self.machine.world.lock().break_promise(Layer::Receiver, "deliveries come to no end");
        Ok(())
    }

    /// The log falls idle.
    pub(super) fn idle(&mut self) -> Result<(), EngineError> {
        self.machine.phase("idle");
        self.committer.idle()
    }

    /// A file of the log is readied. The process goes on where that fails.
    pub(super) fn preallocate(&mut self) {
        self.machine.phase("preallocate");
        self.ready_files();
    }

    fn ready_files(&mut self) {
        while let Some(preallocator) = &mut self.preallocator {
            match preallocator.run_once() {
                Ok(true) => {}
                Ok(false) | Err(WalError::Full { .. }) => return,
                Err(_disk) => self.preallocator = None,
            }
        }
    }

    /// A tick asks for an output hash, which the next step of the outbox notes.
    pub(super) fn hash(&mut self) -> Result<(), EngineError> {
        self.machine.phase("append");
        self.committer.tick(Box::new(drop))
    }

    /// What the shards have proven, by record.
    pub(super) fn proofs(&mut self) -> Vec<(Lsn, Proof)> {
        std::mem::take(&mut self.committer.dispatch_mut().proofs)
    }

    /// What the shards have come to.
    pub(super) fn proof(&mut self) -> Proof {
        self.committer.dispatch_mut().proof()
    }

    /// The last record of the log.
    pub(super) fn last_lsn(&self) -> Lsn {
        self.committer.last_lsn()
    }

    /// What queries would see.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        let fence = self.shared.progress.durable();
        let visible = self.shared.progress.wait_visible(fence, Duration::ZERO);
        visible.then(|| self.shared.published.snapshot(fence)).flatten()
    }

    /// The transitions that `tidewatch.alerts` would show and no file holds.
    pub(super) fn alerts_in_memory(&self) -> Vec<String> {
        let files = self.shared.published.manifest().events_lsn();
        let tail = self.shared.outbox.tail(files);
        tail.alerts.iter().map(|alert| alert.transition.dedupe_key()).collect()
    }
}

impl Machine {
    /// A machine that has just been switched on.
    pub(super) fn new(disk: Arc<dyn Disk>, now: UnixNanos, world: World, seed: u64) -> Self {
        Self {
            disk,
            clock: Arc::new(SimClock::new(now)),
            world: SharedWorld::new(world),
            seed,
            acks_early: false,
            alerts_early: false,
            forgets_lsn: false,
            forgets_keys: false,
            forgets_offsets: false,
            offsets_first: false,
        }
    }

    /// Plants a bug, if it is one of those about offsets.
    pub(super) fn plant_offsets(&mut self, plant: Plant) {
        self.forgets_offsets = plant == Plant::OffsetsNotPersisted;
        self.offsets_first = plant == Plant::OffsetsBeforeData;
    }

    /// The keys and the offsets of which files and checkpoints are told.
    fn kept(
        &self,
        config: &EngineConfig,
        (keys, sources): (&Arc<Idempotency>, &Arc<Sources>),
    ) -> (Arc<Idempotency>, Arc<Sources>) {
        let none = || Idempotency::new(config.keys);
        let keys = if self.forgets_keys { none() } else { Arc::clone(keys) };
        (keys, if self.forgets_offsets { Arc::default() } else { Arc::clone(sources) })
    }

    /// Somebody sets the clock; no time passes.
    pub(super) fn jump(&self, nanos: i64) {
        self.clock.set(self.clock.now().saturating_add(nanos));
    }

    fn phase(&self, phase: &'static str) {
        self.world.lock().phase = phase;
    }
}

/// In two passes, so that what replay has come to before the start's own record is proven.
fn replay(
    machine: &Machine,
    config: &EngineConfig,
    opened: &Opened,
    log: &OpenLog,
    dispatch: &mut Proving,
) -> Result<Vec<OutputHashRecord>, EngineError> {
    let (hashes, state) = (Arc::clone(&dispatch.inner.hashes), Arc::new(RecoveryState::default()));
    let mut replay = Replay::new(config, &machine.disk, opened, log, (&hashes, &state))?;
    let (start, _) = log.start;
    replay.run(Lsn::new(start.get() - 1), dispatch)?;
    replay.run(start, dispatch)?;
    Ok(replay.finish(start))
}

fn door(config: &EngineConfig, shared: &ShardShared, queue: &Sender<CommitterMessage>) -> Ingest {
    let (catalog, clock) = (Arc::clone(&shared.catalog), Arc::clone(&shared.clock));
    Ingest::new(catalog, queue.clone(), clock, config.shards, config.ingest.clone())
}

/// Appends again what replay did not find in the log, as the engine's start does.
fn send_hashes(due: Vec<OutputHashRecord>, queue: &Sender<CommitterMessage>) {
    for hash in due {
        let note = Append::note(KIND_OUTPUT_HASH, hash.encode(), Box::new(drop));
        queue.send(CommitterMessage::Append(note)).expect("the receiver is held");
    }
}

fn open_log(
    machine: &Machine,
    config: &EngineConfig,
    opened: &Opened,
) -> Result<OpenLog, EngineError> {
    let home = WalHome {
        disk: Arc::clone(&machine.disk),
        dir: config.wal_dir(),
        clock: Arc::clone(&machine.clock) as Arc<dyn Clock>,
        epoch_seed: machine.seed,
    };
    OpenLog::open(config, opened, home, WalInstruments::default())
}
