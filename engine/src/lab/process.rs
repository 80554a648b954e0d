//! The engine's process without its threads: every loop is a step that the script calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use tidewatch_connectors::decode::Precision;
use tidewatch_env::{Clock, Disk, Rng, SimClock};
use tidewatch_metrics::Lsn;
use tidewatch_operators::{RuleConfig, RuleSet};
use tidewatch_segments::{SegmentsInstruments, Snapshot};
use tidewatch_sinks::{
    DeliveryOutcome, DeliveryReport, Message, Outcome, QueueLimits, RetryPolicy, Schedule,
    SinkConfig, Verdict,
};
use tidewatch_wal::{Preallocator, WalConfig, WalHome, WalInstruments};

use crate::EngineError;
use crate::committer::{Append, Committer, CommitterMessage};
use crate::config::EngineConfig;
use crate::data_dir::DataDir;
use crate::engine::{Opened, delivery_row};
use crate::flusher::{FrozenShard, SegmentWriter};
use crate::hashes::Hashes;
use crate::ingest::{Durability, Ingest, LineWrite};
use crate::inline::InlineDispatch;
use crate::instruments::{OutboxInstruments, ShardInstruments};
use crate::lab::proving::{Proof, Proving};
use crate::lab::script::{Life, Request};
use crate::lab::world::{Acked, SharedWorld};
use crate::record::KIND_OUTPUT_HASH;
use crate::recovery::{Recovery, RecoveryState, Started};
use crate::shard::ShardShared;
use crate::threads::Notary;

pub(super) const DATA_DIR: &str = "/data";
const SINK: &str = "pager";
const QUEUE_MAX: usize = 256;

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
}

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    machine: Machine,
    shared: ShardShared,
    committer: Committer<Proving>,
    preallocator: Option<Preallocator>,
    ingest: Ingest,
    queue: Receiver<CommitterMessage>,
    notary: Notary,
    writer: SegmentWriter,
    frozen: VecDeque<FrozenShard>,
    courier: Schedule,
    rng: Rng,
    _data_dir: DataDir,
}

/// The configuration of a life.
pub(super) fn config(life: Life) -> EngineConfig {
    let rule = |name: &str, when: &str, for_nanos| RuleConfig {
        name: name.to_owned(),
        when: when.to_owned(),
        for_nanos,
        ..RuleConfig::default()
    };
    let high = if life.rules == 0 { "value > 100" } else { "value > 100.5" };
    let rules = vec![
        rule("high", high, 0),
        rule("held", "value > 100", 1_000_000_000),
        rule("odd", "severity >= 2", 0),
    ];
    let mut config = EngineConfig::new(DATA_DIR.into());
    config.shards = life.shards;
    config.wal = WalConfig { segment_bytes_max: 1 << 20, frame_bytes_max: 900 << 10 };
    config.rules = Arc::new(RuleSet::new(rules).expect("the rules are valid"));
    config.sinks = vec![SinkConfig::Stdout { name: SINK.to_owned() }];
    config
}

impl Process {
    /// Starts the process; `each` proves every record, not only where replay ends.
    pub(super) fn start(machine: &Machine, life: Life, each: bool) -> Result<Self, EngineError> {
        machine.phase("start");
        let config = config(life);
        let clock: Arc<dyn Clock> = Arc::clone(&machine.clock) as Arc<dyn Clock>;
        let data_dir = DataDir::lock(&*machine.disk, &config.data_dir)?;
        let instruments = (ShardInstruments::default(), OutboxInstruments::default());
        let Opened { shards, shared } = Opened::new(&config, &machine.disk, &clock, instruments)?;
        let hashes = Arc::new(Hashes::new(config.shards));
        let inner = InlineDispatch { shards, hashes: Arc::clone(&hashes) };
        let early = (Arc::clone(&shared.outbox), machine.world.clone());
        let early = machine.alerts_early.then_some(early);
        let mut dispatch = Proving { inner, proofs: Vec::new(), each, early };
        let started = open_log(machine, &config, &shared, &mut dispatch)?;
        let mut wal = started.wal;
        let (sender, queue) = bounded(QUEUE_MAX);
        for hash in started.due {
            let note = Append::note(KIND_OUTPUT_HASH, hash.encode(), Box::new(drop));
            sender.send(CommitterMessage::Append(note)).expect("the queue is held here");
        }
        let preallocator = wal.take_preallocator();
        let progress = Arc::clone(&shared.progress);
        Ok(Self {
            committer: Committer::new(
                wal,
                dispatch,
                Arc::clone(&clock),
                progress,
                started.position,
            ),
            preallocator,
            ingest: Ingest::new(
                Arc::clone(&shared.catalog),
                sender.clone(),
                Arc::clone(&clock),
                config.shards,
                config.ingest.clone(),
            ),
            queue,
            notary: Notary {
                outbox: Arc::clone(&shared.outbox),
                hashes,
                progress: Arc::clone(&shared.progress),
                queue: sender,
            },
            writer: SegmentWriter {
                disk: Arc::clone(&machine.disk),
                dir: config.segments_dir(),
                published: Arc::clone(&shared.published),
                catalog: Arc::clone(&shared.catalog),
                progress: Arc::clone(&shared.progress),
                outbox: Arc::clone(&shared.outbox),
                instruments: SegmentsInstruments::default(),
                clock,
                shards: config.shards,
            },
            frozen: VecDeque::new(),
            courier: Schedule::new(QueueLimits::default(), RetryPolicy::default(), machine.seed),
            rng: Rng::from_seed(machine.seed),
            machine: machine.clone(),
            shared,
            _data_dir: data_dir,
        })
    }

    /// Clients send these requests at the same time; they make one group of the log.
    pub(super) fn write(&mut self, requests: &[(usize, &Request)]) -> Result<(), EngineError> {
        self.machine.phase("append");
        for (number, request) in requests {
            self.send(*number, request)?;
        }
        self.commit()
    }

    fn send(&mut self, number: usize, request: &Request) -> Result<(), EngineError> {
        let level = request.durability;
        let early = self.machine.acks_early && level == Durability::Synced;
        let world = self.machine.world.clone();
        let done = Box::new(move |ack: Result<crate::Ack, EngineError>| {
            if let Ok(crate::Ack { lsn }) = ack {
                world.lock().acks.push(Acked { request: number, lsn, level });
            }
        });
        let write = LineWrite {
            db: "default",
            body: request.body.as_bytes(),
            precision: Precision::Nanoseconds,
            durability: if early { Durability::Written } else { level },
            permit: self.ingest.admit(u64::try_from(request.body.len()).unwrap_or(u64::MAX))?,
        };
        let report = self.ingest.write_lines(write, done)?;
        let mut world = self.machine.world.lock();
        if report.lines_rejected != request.lines_bad {
            world.break_promise(format!("request {number}: {report:?}"));
        }
        if report.appended {
            world.sent.push(number);
        }
        Ok(())
    }

    /// The committer takes all that waits for it as one group.
    fn commit(&mut self) -> Result<(), EngineError> {
        let mut group = Vec::new();
        while let Ok(message) = self.queue.try_recv() {
            match message {
                CommitterMessage::Append(append) => group.push(append),
                CommitterMessage::Tick(_) | CommitterMessage::Stop => {}
            }
        }
        if group.is_empty() { Ok(()) } else { self.committer.commit(&mut group) }
    }

    /// Freezes all heads and writes them to segments. As in the process, a failure is tried again.
    pub(super) fn flush(&mut self) -> Result<(), EngineError> {
        self.machine.phase("flush");
        for shard in &mut self.committer.dispatch_mut().inner.shards {
            if let Some(head) = shard.freeze() {
                self.frozen.push_back(FrozenShard { shard: shard.index(), head });
            }
        }
        while let Some(frozen) = self.frozen.front() {
            let written = self.writer.write(frozen, Duration::ZERO);
            if !written.or_else(|_first| self.writer.write(frozen, Duration::ZERO))? {
                self.machine.world.lock().break_promise("an applied record is not durable".into());
            }
            self.frozen.pop_front();
        }
        Ok(())
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
        self.commit()?;
        loop {
            self.outbox()?;
            let outbox = &self.shared.outbox;
            if outbox.is_settled() && outbox.undelivered() == 0 && self.courier.is_empty() {
                return Ok(());
            }
        }
    }

    /// The log falls idle.
    pub(super) fn idle(&mut self) -> Result<(), EngineError> {
        self.machine.phase("idle");
        self.committer.idle()
    }

    /// A file of the log is readied. The process goes on where that fails.
    pub(super) fn preallocate(&mut self) {
        self.machine.phase("preallocate");
        if let Some(preallocator) = &mut self.preallocator {
            while preallocator.run_once().is_ok_and(|more| more) {}
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
    fn phase(&self, phase: &'static str) {
        self.world.lock().phase = phase;
    }
}

fn open_log(
    machine: &Machine,
    config: &EngineConfig,
    shared: &ShardShared,
    dispatch: &mut Proving,
) -> Result<Started, EngineError> {
    let hashes = Arc::clone(&dispatch.inner.hashes);
    let recovery = Recovery {
        config,
        catalog: &shared.catalog,
        outbox: &shared.outbox,
        hashes: &hashes,
        progress: &shared.progress,
        state: &RecoveryState::default(),
    };
    let home = WalHome {
        disk: Arc::clone(&machine.disk),
        dir: config.wal_dir(),
        clock: Arc::clone(&machine.clock) as Arc<dyn Clock>,
        epoch_seed: machine.seed,
    };
    recovery.start(home, WalInstruments::default(), dispatch)
}
