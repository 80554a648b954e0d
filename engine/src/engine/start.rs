//! Starts the engine's threads.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use tidewatch_sinks::{Courier, CourierConfig, DeliveryReport, SinkConfig};
use tidewatch_wal::WalHome;
use tracing::info;

use super::{COMMITTER, COMPACTOR, Engine, REPLAY};
use crate::budget::Budget;
use crate::checkpoint::{Archiver, Checkpointer, Last, Rounds};
use crate::committer::{Append, Committer, CommitterMessage};
use crate::compactor::{Compactor, CompactorShares};
use crate::config::EngineConfig;
use crate::feeds::{Feed, FeedCourier};
use crate::flusher::SegmentWriter;
use crate::opened::Opened;
use crate::outbox::Outbox;
use crate::priming::{Priming, PrimingRun};
use crate::recovery::{OpenLog, Replay};
use crate::shard::{Shard, ShardShared};
use crate::threads::{
    ChannelDispatch, FlushPolicy, Gate, ShardMessage, forsake, preallocate, run_committer,
    run_outbox, run_replay, run_shard,
};
use crate::upkeep::Upkeep;
use crate::{EngineError, chain};

impl Engine {
    pub(super) fn start_shards(
        &self,
        shards: Vec<Shard>,
        receivers: Vec<Receiver<ShardMessage>>,
        config: &EngineConfig,
    ) -> Result<(), EngineError> {
        let policy = FlushPolicy { rows: config.flush_rows, interval: config.flush_interval };
        for (shard, messages) in shards.into_iter().zip(receivers) {
            let (hashes, flusher) = (Arc::clone(&self.hashes), Arc::clone(&self.flusher));
            let name = format!("shard {}", shard.index());
            self.spawn(&name, move || run_shard(shard, &messages, &hashes, &flusher, policy))?;
        }
        Ok(())
    }

    pub(super) fn start_flusher(
        &self,
        config: &EngineConfig,
        shared: &ShardShared,
        manifest_lock: &Arc<Mutex<()>>,
    ) -> Result<(), EngineError> {
        let writer = SegmentWriter::new(
            config,
            &self.home.disk,
            (shared, &self.keys),
            manifest_lock,
            self.instruments.segments.clone(),
        );
        let (flusher, stop) = (Arc::clone(&self.flusher), Arc::clone(&self.stop));
        self.spawn("flusher", move || crate::threads::run_flusher(&flusher, &writer, &stop))
    }

    /// What the compactor has in common with others.
    pub(super) fn compactor_shares(&self, budget: &Arc<Budget>) -> CompactorShares {
        CompactorShares {
            budget: Arc::clone(budget),
            suspects: Arc::clone(&self.suspects),
            ..CompactorShares::default()
        }
    }

    pub(super) fn start_compactor(
        &self,
        config: &EngineConfig,
        shared: &ShardShared,
        shares: CompactorShares,
    ) -> Result<(), EngineError> {
        let home = (Arc::clone(&self.home.disk), Arc::clone(&self.home.clock));
        let instruments = self.instruments.compaction.clone();
        let upkeep = Upkeep {
            compactor: Compactor::new(config, shared, home, shares, instruments),
            flusher: Arc::clone(&self.flusher),
            queue: self.queue.clone(),
            progress: Arc::clone(&self.progress),
            clock: Arc::clone(&self.home.clock),
            recovered: Arc::clone(&self.recovered),
            stop: Arc::clone(&self.stop),
            force: Arc::clone(&self.force_merges),
        };
        self.spawn(COMPACTOR, move || upkeep.run())
    }

    pub(super) fn open_log(
        &mut self,
        config: &EngineConfig,
        opened: &Opened,
    ) -> Result<OpenLog, EngineError> {
        let home = WalHome {
            disk: Arc::clone(&self.home.disk),
            dir: config.wal_dir(),
            clock: Arc::clone(&self.home.clock),
            epoch_seed: self.home.seed,
        };
        OpenLog::open(config, opened, home, self.instruments.wal.clone())
    }

    pub(super) fn rounds(
        &self,
        config: &EngineConfig,
        opened: Opened,
        (log, budget): (&OpenLog, Arc<Budget>),
    ) -> Result<Rounds, EngineError> {
        let disk = Arc::clone(&self.home.disk);
        let archiver = Archiver::open(disk, config, budget, self.instruments.archive.clone())?;
        let checkpointer = Checkpointer::new(
            opened.store,
            (&opened.shared, &self.keys, &self.sources),
            log.start.clone(),
            (archiver, opened.checkpoints),
            self.instruments.checkpoints.clone(),
        )?;
        let rows = opened.base.position.1.rows;
        Ok(Rounds {
            checkpointer,
            shards: self.shards.clone(),
            queue: self.queue.clone(),
            progress: Arc::clone(&self.progress),
            clock: Arc::clone(&self.home.clock),
            policy: config.checkpoints,
            last: Last { rows, began: self.home.clock.monotonic(), bytes: 0 },
        })
    }

    pub(super) fn start_committer(
        &mut self,
        log: OpenLog,
        dispatch: Gate,
        commits: Receiver<CommitterMessage>,
        idle_mark: Duration,
    ) -> Result<(), EngineError> {
        let mut wal = log.wal;
        if let Some(preallocator) = wal.take_preallocator() {
            let (stop, progress) = (Arc::clone(&self.stop), Arc::clone(&self.progress));
            self.spawn("preallocator", move || preallocate(preallocator, &progress, &stop))?;
        }
        let clock = Arc::clone(&self.home.clock);
        let told = (Arc::clone(&self.progress), Arc::clone(&self.keys));
        let mut committer = Committer::new(wal, dispatch, Arc::clone(&clock), told, log.position);
        self.instruments.committer = committer.instruments().clone();
        let segments = Arc::clone(&self.wal_segments);
        let (progress, fatal) = (Arc::clone(&self.progress), Arc::clone(&self.home.fatal));
        let mut looked = None;
        let mut watch = move |committer: &Committer<Gate>| {
            let now = clock.monotonic();
            if looked.is_none_or(|at| now.saturating_sub(at) >= idle_mark) {
                looked = Some(now);
                let mut shown = segments.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                *shown = committer.wal_segments();
            }
        };
        watch(&committer);
        self.spawn(COMMITTER, move || {
            if let Err(error) = run_committer(&mut committer, &commits, idle_mark, watch) {
                progress.close();
                fatal(&format!("the log failed: {}", chain(&error)));
            }
            forsake(commits);
        })
    }

    /// Replays the log beside the writes, and then makes checkpoints.
    pub(super) fn start_replay(
        &self,
        mut replay: Replay,
        mut dispatch: ChannelDispatch,
        rounds: Rounds,
    ) -> Result<(), EngineError> {
        let (queue, fatal) = (self.queue.clone(), Arc::clone(&self.home.fatal));
        let (stop, recovered) = (Arc::clone(&self.stop), Arc::clone(&self.recovered));
        let (progress, closing) = (Arc::clone(&self.progress), Arc::clone(&self.closing));
        let (ended, until) = bounded::<()>(0);
        self.spawn(REPLAY, move || {
            let due = match run_replay(&mut replay, &mut dispatch, &progress, &queue) {
                Ok(Some(end)) => replay.finish(end),
                Ok(None) => return,
                Err(error) => {
                    fatal(&format!("the log cannot be replayed: {}", chain(&error)));
                    return;
                }
            };
            recovered.store(true, Ordering::Release);
            for hash in due {
                let note =
                    Append::note(crate::record::KIND_OUTPUT_HASH, hash.encode(), Box::new(drop));
                drop(queue.send(CommitterMessage::Append(note)));
            }
            rounds.run(&closing, &stop);
            drop(ended);
        })?;
        *self.checkpoints.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(until);
        Ok(())
    }

    pub(super) fn start_outbox(&mut self, config: &EngineConfig) -> Result<(), EngineError> {
        let mut couriers = Vec::new();
        for sink in &config.sinks {
            couriers.push(self.start_courier(sink, config)?);
        }
        self.sinks = couriers.iter().map(Courier::watch).collect();
        let (stop, clock) = (Arc::clone(&self.stop), Arc::clone(&self.home.clock));
        let notary = self.notary();
        self.spawn("outbox", move || {
            let pump = |outbox: &Outbox| {
                outbox.pump(clock.now(), |sink, message| {
                    let courier = couriers.iter().find(|courier| courier.name() == sink);
                    courier.is_some_and(|courier| courier.try_push(Arc::clone(message)).is_ok())
                });
            };
            run_outbox(&notary, &stop, pump);
            for courier in couriers {
                let stopped = courier.stop(Duration::from_secs(1));
                info!(?stopped, "sink stopped");
            }
        })
    }

    pub(super) fn start_feeds(&mut self, shared: &ShardShared) -> Result<(), EngineError> {
        let courier = |feed: &Arc<Feed>| FeedCourier {
            feed: Arc::clone(feed),
            catalog: Arc::clone(&self.catalog),
            progress: Arc::clone(&self.progress),
            queue: self.queue.clone(),
            clock: Arc::clone(&self.home.clock),
            recovered: Arc::clone(&self.recovered),
            stop: Arc::clone(&self.stop),
        };
        self.feeds = shared.feeds.each().iter().map(courier).collect();
        for courier in &self.feeds {
            let (name, courier) = (courier.name(), courier.clone());
            self.spawn(&name, move || courier.run())?;
        }
        Ok(())
    }

    /// Has full detectors that began although there were rows before learn from them.
    pub(super) fn start_priming(
        &self,
        config: &EngineConfig,
        shared: &ShardShared,
    ) -> Result<(), EngineError> {
        let run = PrimingRun {
            priming: Priming::new(config, shared, &self.suspects),
            shards: self.shards.clone(),
            queue: self.queue.clone(),
            flusher: Arc::clone(&self.flusher),
            clock: Arc::clone(&self.home.clock),
            instruments: self.instruments.shard.priming.clone(),
            recovered: Arc::clone(&self.recovered),
            ended: Arc::clone(&self.ends_priming),
            stop: Arc::clone(&self.stop),
        };
        self.spawn("priming", move || run.run())
    }

    pub(super) fn start_courier(
        &self,
        sink: &SinkConfig,
        config: &EngineConfig,
    ) -> Result<Courier, EngineError> {
        let outbox = Arc::clone(&self.outbox);
        let report = move |report: DeliveryReport| outbox.report(delivery_row(report));
        let courier = CourierConfig {
            public_url: config.public_url.clone(),
            seed: self.home.seed,
            ..CourierConfig::default()
        };
        let clock = Arc::clone(&self.home.clock);
        let opened = sink
            .open(Arc::clone(&clock))
            .and_then(|sink| Courier::start(sink, courier, clock, &self.instruments.sinks, report));
        opened.map_err(|error| EngineError::Sink(Arc::new(error)))
    }
}

/// An attempt as `tidewatch.deliveries` shows it.
pub(crate) fn delivery_row(report: DeliveryReport) -> tidewatch_segments::DeliveryRow {
    tidewatch_segments::DeliveryRow {
        key: report.key,
        transition: report.kind,
        sink: report.sink,
        attempt: report.attempt,
        outcome: report.outcome.name().to_owned(),
        status: report.status,
        started: report.started,
        finished: report.finished,
        error: report.error,
    }
}
