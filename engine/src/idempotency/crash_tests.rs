//! Keys across crashes, flushes, checkpoints and truncation, on a simulated disk. The oracle is the log:
//! it holds the samples of a request once, however often the request was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use tidewatch_connectors::decode::Precision;
use tidewatch_env::{Clock, Disk, SimClock, SimDisk};
use tidewatch_metrics::{Lsn, Slot, UnixNanos};
use tidewatch_segments::{Published, SegmentsInstruments};
use tidewatch_wal::{ArchiveInstruments, WalConfig, WalHome, WalInstruments};

use super::*;
use crate::EngineError;
use crate::checkpoint::{Archiver, Checkpointer};
use crate::committer::{Append, Committer, CommitterMessage, Standing};
use crate::config::EngineConfig;
use crate::dispatch::shard_of;
use crate::feeds::{Feed, FeedCourier};
use crate::flusher::{FrozenShard, SegmentWriter};
use crate::hashes::Hashes;
use crate::ingest::{Durability, Ingest, LineWrite};
use crate::ingest_messages::SourceWrite;
use crate::inline::InlineDispatch;
use crate::instruments::{CheckpointInstruments, OutboxInstruments, ShardInstruments};
use crate::letters::Letters;
use crate::opened::Opened;
use crate::outbox::Outbox;
use crate::record::KIND_CHECKPOINT;
use crate::recovery::{OpenLog, RecoveryState, Replay};
use crate::shard::ShardShared;
use crate::sources::Sources;
use crate::threads::Notary;
use crate::windows::Windows;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
/// Samples of a request.
const SAMPLES: u64 = 3;

/// An engine without threads.
pub(crate) struct Node {
    pub(crate) committer: Committer<InlineDispatch>,
    checkpointer: Checkpointer,
    ingest: Ingest,
    queue: Receiver<CommitterMessage>,
    pub(crate) writer: SegmentWriter,
    pub(crate) shared: ShardShared,
    pub(crate) published: Arc<Published>,
    pub(crate) windows: Arc<Windows>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) letters: Arc<Letters>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) feeds: Vec<FeedCourier>,
    notary: Notary,
    keys: Arc<Idempotency>,
}

fn couriers(
    shared: &ShardShared,
    queue: &Sender<CommitterMessage>,
    clock: &Arc<dyn Clock>,
) -> Vec<FeedCourier> {
    let courier = |feed: &Arc<Feed>| FeedCourier {
        feed: Arc::clone(feed),
        catalog: Arc::clone(&shared.catalog),
        progress: Arc::clone(&shared.progress),
        queue: queue.clone(),
        clock: Arc::clone(clock),
        recovered: Arc::new(AtomicBool::new(true)),
        stop: Arc::default(),
    };
    shared.feeds.each().iter().map(courier).collect()
}

/// What became of a request.
#[derive(Debug)]
enum Sent {
    Stored(Lsn),
    Replayed(Lsn, u64),
    Refused(EngineError),
    /// Nobody will ever answer: the process is gone.
    Lost,
}

fn config(keys: KeyLimits) -> EngineConfig {
    let mut config = EngineConfig::new("/data".into());
    config.shards = 2;
    config.wal = WalConfig { segment_bytes_max: 1 << 20, frame_bytes_max: 900 << 10 };
    config.replay.keep = Duration::ZERO;
    config.keys = keys;
    config
}

impl Node {
    fn start(disk: &SimDisk, clock: &Arc<SimClock>) -> Result<Self, EngineError> {
        Self::start_with(disk, clock, KeyLimits::default())
    }

    fn start_with(
        disk: &SimDisk,
        clock: &Arc<SimClock>,
        limits: KeyLimits,
    ) -> Result<Self, EngineError> {
        Self::start_as(disk, clock, &config(limits))
    }

    pub(crate) fn start_as(
        disk: &SimDisk,
        clock: &Arc<SimClock>,
        config: &EngineConfig,
    ) -> Result<Self, EngineError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
        let instruments = (ShardInstruments::default(), OutboxInstruments::default());
        let mut opened = Opened::new(config, &disk, &clock, instruments)?;
        let (keys, shared) = (Arc::clone(&opened.keys), opened.shared.clone());
        let hashes = Arc::new(Hashes::new(config.shards));
        let shards = std::mem::take(&mut opened.shards);
        let mut dispatch =
            InlineDispatch { shards, hashes: Arc::clone(&hashes), frozen: Vec::new() };
        let home = WalHome {
            disk: Arc::clone(&disk),
            dir: config.wal_dir(),
            clock: Arc::clone(&clock),
            epoch_seed: 7,
        };
        let log = OpenLog::open(config, &opened, home, WalInstruments::default())?;
        let state = Arc::new(RecoveryState::default());
        let mut replay = Replay::new(config, &disk, &opened, &log, (&hashes, &state))?;
        replay.run(log.start.0, &mut dispatch)?;
        drop(replay.finish(log.start.0));
        let OpenLog { wal, position, start, .. } = log;
        let archiver = Archiver::open(
            Arc::clone(&disk),
            config,
            Arc::default(),
            ArchiveInstruments::default(),
        )?;
        let told = (Arc::clone(&shared.progress), Arc::clone(&keys));
        let (sender, queue) = bounded(4_096);
        let feeds = couriers(&shared, &sender, &clock);
        let notary = Notary {
            outbox: Arc::clone(&shared.outbox),
            hashes,
            progress: Arc::clone(&shared.progress),
            queue: sender.clone(),
        };
        Ok(Self {
            committer: Committer::new(wal, dispatch, Arc::clone(&clock), told, position),
            checkpointer: Checkpointer::new(
                opened.store,
                (&shared, &keys, &opened.sources),
                start,
                (archiver, opened.checkpoints),
                CheckpointInstruments::default(),
            )?,
            ingest: Ingest::new(
                Arc::clone(&shared.catalog),
                sender,
                Arc::clone(&clock),
                config.shards,
                config.ingest.clone(),
            ),
            queue,
            writer: SegmentWriter::new(
                config,
                &disk,
                (&shared, &keys),
                &Arc::default(),
                SegmentsInstruments::default(),
            ),
            shared: shared.clone(),
            published: Arc::clone(&shared.published),
            windows: Arc::clone(&shared.windows),
            outbox: Arc::clone(&shared.outbox),
            letters: Arc::clone(&shared.letters),
            sources: opened.sources,
            feeds,
            notary,
            keys,
        })
    }

    /// Sends a request of three samples under a key, as one group.
    fn send(&mut self, key: &str, body: &str) -> Sent {
        let (answer, answered) = bounded(1);
        let done = Box::new(move |ack: Result<crate::Ack, EngineError>| {
            answer.send(ack).expect("the answer is awaited");
        });
        let key = IdempotencyKey::new(key.as_bytes()).unwrap();
        let request = request_hash(&[body.as_bytes()]);
        let claim = match self.keys.claim("default", &key, request, Box::new(|| {})) {
            Ok(Claimed::Free(claim)) => claim,
            Ok(Claimed::Replay { answer, lsn }) => {
                return Sent::Replayed(lsn, answer.report.lines_accepted);
            }
            Ok(Claimed::Waits) => panic!("requests come one after the other"),
            Err(error) => return Sent::Refused(error),
        };
        let write = self.line_write(body, Some(claim));
        if let Err(error) = self.ingest.write_lines(write, done) {
            return Sent::Refused(error);
        }
        if self.commit().is_err() {
            return Sent::Lost;
        }
        match answered.try_recv() {
            Ok(Ok(ack)) => Sent::Stored(ack.lsn),
            Ok(Err(error)) => Sent::Refused(error),
            Err(_nobody) => Sent::Lost,
        }
    }

    /// Sends a request that must be stored.
    fn store(&mut self, key: &str) -> Lsn {
        match self.send(key, &body(key)) {
            Sent::Stored(lsn) => lsn,
            other => panic!("{key}: {other:?}"),
        }
    }

    /// Sends a request that was stored.
    fn repeat(&mut self, key: &str) -> Lsn {
        match self.send(key, &body(key)) {
            Sent::Replayed(lsn, 2) => lsn,
            other => panic!("{key}: {other:?}"),
        }
    }

    fn commit(&mut self) -> Result<(), EngineError> {
        let mut group = Vec::new();
        for message in self.queue.try_iter() {
            if let CommitterMessage::Append(append) = message {
                group.push(append);
            }
        }
        self.committer.commit(&mut group)
    }

    /// Transitions go into the log, and what they lead to.
    pub(crate) fn note(&mut self) -> Result<(), EngineError> {
        assert!(self.notary.note_all(), "the committer is here");
        if self.queue.is_empty() { Ok(()) } else { self.commit() }
    }

    pub(crate) fn flush(&mut self) -> Result<(), EngineError> {
        let shards = self.committer.dispatch_mut().shards.iter_mut();
        let frozen: Vec<_> = shards
            .filter_map(|shard| Some(FrozenShard { shard: shard.index(), head: shard.freeze()? }))
            .collect();
        for frozen in &frozen {
            assert!(self.writer.write(frozen, Duration::ZERO)?, "a committed row is durable");
        }
        self.writer.file_waiting()
    }

    /// A checkpoint, and what it makes superfluous is given up.
    pub(crate) fn checkpoint(&mut self) -> Result<(), EngineError> {
        let mut round = self.checkpointer.begin()?;
        for slot in (0..=u8::MAX).map(Slot) {
            let shards = &self.committer.dispatch_mut().shards;
            round.put(&shards[shard_of(slot, shards.len())].encode_slot(slot))?;
        }
        if self.checkpointer.needs_windows() {
            self.committer.tick(Box::new(drop))?;
            self.checkpointer.put_windows(&mut round)?;
        }
        let record = round.seal()?;
        self.flush()?;
        self.note()?;
        assert!(self.checkpointer.is_covered(&round));
        let note = Append::note(KIND_CHECKPOINT, record.encode(), Box::new(drop));
        self.committer.commit(&mut vec![note])?;
        let Standing { lsn, position, files } = self.committer.standing();
        if let Some(upto) = self.checkpointer.commit(round, (lsn, position))? {
            self.checkpointer.put_away(&files, upto, position.tick)?;
            self.committer.release(upto)?;
        }
        Ok(())
    }

    /// Samples in the log since it began.
    pub(crate) fn samples(&self) -> u64 {
        self.committer.standing().position.rows
    }

    /// The first record that the log still has.
    pub(crate) fn first_lsn(&self) -> Lsn {
        self.committer.wal_segments().iter().map(|file| file.first_lsn).min().unwrap()
    }

    /// Stores messages of a source.
    pub(crate) fn write_messages<'a>(
        &mut self,
        write: impl FnOnce(&Ingest) -> SourceWrite<'a>,
    ) -> Result<(), EngineError> {
        self.ingest.write_source(write(&self.ingest), Box::new(drop))?;
        self.commit()
    }

    /// Records that fill a file of the log.
    pub(crate) fn fill(&mut self) {
        for part in 0..12 {
            let lines = (0..4_000).map(|row| format!("fill,row={row} value={part}\n"));
            let body: String = lines.collect();
            self.store_unkeyed(&body);
        }
    }

    fn line_write<'a>(&self, body: &'a str, claim: Option<Claim>) -> LineWrite<'a> {
        LineWrite {
            db: "default",
            body: body.as_bytes(),
            precision: Precision::Nanoseconds,
            accept_partial: true,
            durability: Durability::Synced,
            permit: self.ingest.admit(100).unwrap(),
            client: None,
            claim,
        }
    }

    fn store_unkeyed(&mut self, body: &str) {
        self.write(body).unwrap();
    }

    /// Stores lines without a key.
    pub(crate) fn write(&mut self, body: &str) -> Result<(), EngineError> {
        let write = self.line_write(body, None);
        self.ingest.write_lines(write, Box::new(drop))?;
        self.commit()
    }
}

/// Three samples in two lines that depend on the key.
fn body(key: &str) -> String {
    format!("load,key={key} a=1,b=2 1000\nload,key={key} a=2 2000\n")
}

fn machine(seed: u64) -> (SimDisk, Arc<SimClock>) {
    (SimDisk::new(seed), Arc::new(SimClock::new(UnixNanos::new(1_700_000_000_000_000_000))))
}

/// The first write of a node, with the operations that it takes.
fn first_write(disk: &SimDisk, clock: &Arc<SimClock>, crash: Option<u64>) -> (u64, Sent) {
    let mut node = Node::start(disk, clock).unwrap();
    let before = disk.ops();
    if let Some(op) = crash {
        disk.crash_at(before + op);
    }
    let sent = node.send("one", &body("one"));
    (disk.ops() - before, sent)
}

#[test]
fn wherever_a_crash_hits_a_write_its_repeat_is_stored_once_and_answered() {
    let (disk, clock) = machine(1);
    let (ops, sent) = first_write(&disk, &clock, None);
    assert!(matches!(sent, Sent::Stored(_)), "{sent:?}");
    let (found, missing) = (AtomicU64::new(0), AtomicU64::new(0));
    for op in 1..=ops + 1 {
        for seed in 0..12 {
            let (disk, clock) = machine(seed);
            let (_, sent) = first_write(&disk, &clock, Some(op));
            // A power loss, or the end of the process alone.
            let kept = if seed % 3 == 0 { disk.reboot_keeping_all() } else { disk.reboot(seed) };
            let mut node = Node::start(&kept, &clock).unwrap();
            let again = node.send("one", &body("one"));
            match (&sent, &again) {
                (Sent::Stored(first), Sent::Replayed(lsn, 2)) => assert_eq!(first, lsn),
                (Sent::Lost, Sent::Replayed(_, 2)) => drop(found.fetch_add(1, Ordering::Relaxed)),
                (Sent::Lost, Sent::Stored(_)) => drop(missing.fetch_add(1, Ordering::Relaxed)),
                _ => panic!("op {op} SEED={seed}: {sent:?}, then {again:?}"),
            }
            assert_eq!(node.samples(), SAMPLES, "op {op} SEED={seed}: {sent:?}, then {again:?}");
        }
    }
    assert!(found.into_inner() > 0, "some were in the log and had no answer");
    assert!(missing.into_inner() > 0, "some never reached the log");
}

#[test]
fn keys_outlive_the_records_that_held_them() {
    let (disk, clock) = machine(5);
    let mut node = Node::start(&disk, &clock).unwrap();
    let mut stored = Vec::new();
    for round in 0..8 {
        for number in 0..5 {
            let key = format!("k-{round}-{number}");
            stored.push((node.store(&key), key));
            clock.advance(SECOND);
        }
        node.fill();
        // Every second round right after a file of keys was made, so that there is none.
        node.checkpoint().unwrap();
        let key = format!("behind-{round}");
        stored.push((node.store(&key), key));
        node.checkpoint().unwrap();
        if round % 3 == 2 {
            let before = node.samples();
            drop(node);
            node = Node::start(&disk.reboot(round), &clock).unwrap();
            assert_eq!(node.samples(), before);
            drop(node);
            node = Node::start(&disk, &clock).unwrap();
        }
        let before = node.samples();
        for (lsn, key) in &stored {
            assert_eq!(node.repeat(key), *lsn, "{key} in round {round}");
        }
        assert_eq!(node.samples(), before, "nothing was stored again");
    }
    let truncated = stored.iter().filter(|(lsn, _)| *lsn < node.first_lsn()).count();
    assert!(truncated > 20, "{truncated} records of keys are gone from the log");
    let files = node.published.manifest();
    let files = files.files_of(tidewatch_segments::FileKind::Keys).count();
    assert!((2..=16).contains(&files), "{files} files of keys");
}

#[test]
fn a_crash_anywhere_in_flush_checkpoint_and_truncation_forgets_no_key() {
    let play = |disk: &SimDisk, clock: &Arc<SimClock>, stored: &mut Vec<String>| {
        let mut node = Node::start(disk, clock)?;
        for round in 0..3 {
            for number in 0..2 {
                let key = format!("k-{round}-{number}");
                match node.send(&key, &body(&key)) {
                    Sent::Stored(_) => stored.push(key),
                    _ => return Err(EngineError::Closed),
                }
                clock.advance(3 * SECOND);
            }
            node.checkpoint()?;
        }
        Ok::<_, EngineError>(())
    };
    let (disk, clock) = machine(3);
    play(&disk, &clock, &mut Vec::new()).unwrap();
    let ops = disk.ops();
    assert!(ops > 150, "{ops}");
    for op in (1..=ops).step_by(if cfg!(slow) { 1 } else { 3 }) {
        let (disk, clock) = machine(op);
        disk.crash_at(op);
        let mut stored = Vec::new();
        if play(&disk, &clock, &mut stored).is_ok() {
            continue;
        }
        let mut node = Node::start(&disk.reboot(op), &clock)
            .unwrap_or_else(|error| panic!("op {op}: {error}"));
        let before = node.samples();
        for key in &stored {
            node.repeat(key);
        }
        assert_eq!(node.samples(), before, "op {op}: {stored:?}");
    }
}

#[test]
fn a_key_runs_out_after_a_day_of_the_logs_time_and_its_request_is_a_new_one() {
    let (disk, clock) = machine(8);
    let mut node = Node::start(&disk, &clock).unwrap();
    let first = node.store("daily");
    clock.advance(DAY - SECOND);
    node.store("tick");
    assert_eq!(node.repeat("daily"), first);
    node.checkpoint().unwrap();
    clock.advance(DAY);
    drop(node);
    let mut node = Node::start(&disk, &clock).unwrap();
    // The machine's time alone means nothing; the log's moves on with samples.
    assert_eq!(node.repeat("daily"), first);
    node.store("tock");
    assert_eq!(node.samples(), 3 * SAMPLES);
    assert!(node.store("daily") > first);
    drop(node);
    let mut node = Node::start(&disk, &clock).unwrap();
    assert!(node.repeat("daily") > first);
    assert_eq!(node.samples(), 4 * SAMPLES);
}

#[test]
fn a_start_gives_a_key_the_time_that_the_log_has_for_it() {
    let (disk, clock) = machine(12);
    let mut node = Node::start(&disk, &clock).unwrap();
    let first = node.store("daily");
    clock.advance(DAY - SECOND);
    drop(node);
    let mut node = Node::start(&disk, &clock).unwrap();
    node.store("tick");
    assert_eq!(node.repeat("daily"), first);
    clock.advance(2 * SECOND);
    node.store("tock");
    assert!(node.store("daily") > first);
}

#[test]
fn a_stop_wakes_who_waits_and_frees_the_keys_of_what_was_not_stored() {
    let (disk, clock) = machine(13);
    let node = Node::start(&disk, &clock).unwrap();
    let key = IdempotencyKey::new(b"k").unwrap();
    let Ok(Claimed::Free(claim)) = node.keys.claim("default", &key, 1, Box::new(|| {})) else {
        panic!("nobody has the key");
    };
    let write = LineWrite {
        db: "default",
        body: b"load value=1 1",
        precision: Precision::Nanoseconds,
        accept_partial: true,
        durability: Durability::Synced,
        permit: node.ingest.admit(100).unwrap(),
        client: None,
        claim: Some(claim),
    };
    node.ingest.write_lines(write, Box::new(|_| panic!("nobody answers"))).unwrap();
    let (wake, woken) = bounded(1);
    let wake = Box::new(move || wake.send(()).unwrap());
    assert!(matches!(node.keys.claim("default", &key, 1, wake), Ok(Claimed::Waits)));
    let Node { queue, keys, .. } = node;
    // The committer ends with the request in its queue.
    crate::threads::forsake(queue);
    woken.try_recv().unwrap();
    assert!(matches!(keys.claim("default", &key, 2, Box::new(|| {})), Ok(Claimed::Free(_))));
}

#[test]
fn a_full_table_forgets_the_oldest_keys_before_and_after_a_start() {
    let (disk, clock) = machine(9);
    let limits = KeyLimits { database_keys_max: 3, ..KeyLimits::default() };
    let mut node = Node::start_with(&disk, &clock, limits).unwrap();
    let keys = ["a", "b", "c", "d", "e"];
    for key in keys {
        node.store(key);
        clock.advance(2 * SECOND);
    }
    node.checkpoint().unwrap();
    for _ in 0..2 {
        for key in &keys[2..] {
            node.repeat(key);
        }
        drop(node);
        node = Node::start_with(&disk, &clock, limits).unwrap();
    }
    node.store("a");
    assert_eq!(node.samples(), 6 * SAMPLES);
}

#[test]
fn what_stored_nothing_leaves_its_key_free() {
    let (disk, clock) = machine(10);
    let mut node = Node::start(&disk, &clock).unwrap();
    let nothing = node.send("one", "no line at all");
    assert!(matches!(nothing, Sent::Lost), "{nothing:?}: nobody is told by the log");
    let lsn = node.store("one");
    let other = node.send("one", "load value=7 7");
    assert!(matches!(other, Sent::Refused(EngineError::KeyReused)), "{other:?}");
    assert_eq!(node.repeat("one"), lsn);
    // A full disk: refused before it is stored.
    disk.set_capacity(Some(0));
    let mut number = 0;
    let refused = loop {
        number += 1;
        let lines = (0..4_000).map(|row| format!("fill,row={row} value={number}\n"));
        match node.send(&format!("full-{number}"), &lines.collect::<String>()) {
            Sent::Stored(_) => assert!(number < 1_000, "the disk is full"),
            Sent::Refused(error) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused.kind(), crate::ErrorKind::Full, "{refused}");
    disk.set_capacity(None);
    let key = format!("full-{number}");
    node.store(&key);
    node.repeat(&key);
}
