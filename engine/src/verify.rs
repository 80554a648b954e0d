//! `replay --verify`: the log through the operators again, compared with what the live run left behind.
//!
//! What the live run left: output hashes logged with a tick every million rows and at a clean stop,
//! hashes of each slot's state and of all windows logged with every checkpoint, severities in segments, windows in
//! their files, transitions in the log. What none of these covers is not counted as compared. A replay begins at the first record, or
//! where that is gone, at the oldest checkpoint from which all records are there, in archive and log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use tidewatch_env::Disk;
use tidewatch_metrics::{Lsn, SeriesCatalog, Slot, Transition, TransitionId, TransitionTimes};
use tidewatch_operators::OutputHash;
use tidewatch_segments::{Manifest, restore_catalog};
use tidewatch_wal::{KIND_CALLER_MIN, KIND_GAP, WalReader};

use crate::checkpoint::{Base, Checkpoint, CheckpointStore, SlotMark, WindowsMark};
use crate::config::EngineConfig;
use crate::deletes::DeleteRecord;
use crate::dispatch::{Dispatch, RulesInForce, shard_of};
use crate::hashes::added;
use crate::priming::ShardPrimed;
use crate::record::{
    KIND_CHECKPOINT, KIND_DELETE, LogRecord, OutputHashRecord, TickRecord, TransitionRecord, decode,
};
use crate::replayer::{Replayer, rules_of};
use crate::salvage::lost_segments;
use crate::segment_sums::{LoggedDeletes, SegmentSums};
use crate::shard::ShardRows;
use crate::verify_shard::{Observer, ScoredRow, VerifyShard};
use crate::window_sums::{Replayed, WindowSums};
use crate::{EngineError, OPERATORS_VERSION};

/// How a replay is done. The outcome may not depend on it.
#[derive(Clone, Copy, Debug)]
pub struct VerifyConfig {
    /// Shards of the replay.
    pub shards: usize,
    /// Cuts the rows into other batches than they came in, by this seed.
    pub rechunk: Option<u64>,
}

/// What a replay found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All that could be compared is equal.
    Identical,
    /// Something differs.
    Different,
    /// Written by operators of another version.
    NotComparable,
}

/// What a replay compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The outcome.
    pub result: Verdict,
    /// The first record.
    pub from_lsn: u64,
    /// The last record.
    pub to_lsn: u64,
    /// Samples replayed.
    pub samples: u64,
    /// Samples whose severity was compared, by an output hash or with a segment.
    pub severities_compared: u64,
    /// States of slots compared with those that checkpoints noted.
    pub states_compared: u64,
    /// Windows compared.
    pub windows_compared: u64,
    /// Transitions compared.
    pub alerts_compared: u64,
    /// Hash of all operator state at the end, in hex.
    pub state_hash: String,
    /// The first thing that differs.
    pub first_difference: Option<String>,
}

/// Replays the log of a stopped data directory and changes nothing. `watch` is told each record's number.
///
/// # Errors
/// Damage, and what the disk reports.
pub fn verify(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    config: VerifyConfig,
    mut watch: impl FnMut(Lsn),
) -> Result<VerifyReport, EngineError> {
    let engine = EngineConfig::new(data_dir.to_owned());
    let catalog = Arc::new(SeriesCatalog::new(usize::MAX));
    let mut begin = Begin::find(disk, &engine, &catalog)?;
    let deletes = std::mem::take(&mut begin.deletes);
    let (segments, lost) = (engine.segments_dir(), lost_segments(&**disk, &engine));
    let sums =
        SegmentSums::open(disk, &segments, &catalog, begin.base.covered(), (&lost, deletes))?;
    let counted = begin.checkpoint.as_ref().and_then(|checkpoint| checkpoint.index.windows);
    let counted = counted.map(|entry| entry.lsn).unwrap_or_default();
    let windows = WindowSums::open(disk, &segments, counted, begin.windows)?;
    let mut replay = Replay::new(&catalog, config, (sums, windows), begin.marks);
    if let Some(checkpoint) = &begin.checkpoint {
        replay.restore(checkpoint)?;
    }
    let mut replayer = Replayer::new(Arc::clone(&catalog), begin.base.clone());
    let from = begin.base.replay_from;
    if begin.lacks_series {
        replayer.tolerate();
    }
    let mut reader = open_log(disk, &engine, from)?;
    let (mut first, mut to) = (None, Lsn::ZERO);
    while let Some(record) = reader.next_record()? {
        first.get_or_insert(record.lsn);
        to = record.last_lsn;
        if record.kind == KIND_GAP {
            replayer.pass_gap();
        }
        if record.kind >= KIND_CALLER_MIN {
            replay.compare_marks(record.lsn);
            let noted = replayer.replay(record.lsn, record.kind, record.payload, &mut replay)?;
            replay.compare(record.lsn, noted, &begin.base);
            watch(record.lsn);
        }
    }
    replay.compare_marks(to.next());
    let missing = replay.windows.missing(to);
    missing.into_iter().for_each(|difference| replay.differ(difference));
    replay.comparable &= replayer.is_exact();
    let samples = replay.seen.samples;
    replay.finish(first.unwrap_or_default(), to, samples)
}

/// The log with its archive before it.
fn open_log(
    disk: &Arc<dyn Disk>,
    engine: &EngineConfig,
    from: Lsn,
) -> Result<WalReader, EngineError> {
    let (wal, archive) = (engine.wal_dir(), engine.archive_dir());
    Ok(WalReader::open_with_archive(Arc::clone(disk), &wal, &archive, from)?)
}

/// Where a replay begins, and what checkpoints later in the log say that it must come to.
#[derive(Debug)]
struct Begin {
    base: Base,
    checkpoint: Option<Checkpoint>,
    /// By the record that a slot must have passed.
    marks: Vec<SlotMark>,
    /// Of windows, in the order of the log.
    windows: Vec<WindowsMark>,
    /// Whether the names of series were lost.
    lacks_series: bool,
    /// In the order of the log.
    deletes: LoggedDeletes,
}

impl Begin {
    fn find(
        disk: &Arc<dyn Disk>,
        engine: &EngineConfig,
        catalog: &SeriesCatalog,
    ) -> Result<Self, EngineError> {
        let mut reader = open_log(disk, engine, Lsn::ZERO)?;
        let mut behind_gaps = Lsn::ZERO;
        let (mut first, mut marks, mut deletes) = (None, Vec::new(), Vec::new());
        let mut windows = Vec::new();
        while let Some(record) = reader.next_record()? {
            first.get_or_insert(record.lsn);
            if record.kind == KIND_GAP {
                behind_gaps = record.last_lsn.next();
            }
            if matches!(record.kind, KIND_CHECKPOINT | KIND_DELETE) {
                match decode(record.kind, record.payload) {
                    Some(LogRecord::Checkpoint(noted)) => {
                        marks.extend(noted.slots);
                        windows.extend(noted.windows);
                    }
                    Some(LogRecord::Delete(delete)) => deletes.push((record.lsn, delete)),
                    Some(_) | None => {}
                }
            }
        }
        let dir = engine.segments_dir();
        let manifest = Manifest::open_read_only(&**disk, &dir)?;
        let lacks_series = manifest.lacks_series();
        let base = Base::first();
        let mut begin = Self { base, checkpoint: None, marks, windows, lacks_series, deletes };
        let first = first.unwrap_or_default();
        // Across a gap nothing can be compared, so the replay begins behind the last one if it can.
        for least in [first.max(behind_gaps), first] {
            if least > begin.base.replay_from && begin.checkpoint.is_none() {
                begin.checkpoint = oldest_checkpoint(disk, engine, least)?;
            }
        }
        if let Some(checkpoint) = &begin.checkpoint {
            restore_catalog(&**disk, &dir, &manifest, catalog)?;
            begin.base = Base::of(&checkpoint.index);
        }
        let base = &begin.base;
        begin.marks.retain(|mark| mark.lsn > base.covered()[usize::from(mark.slot.0)]);
        // Taken from the end.
        begin.marks.sort_by_key(|mark| std::cmp::Reverse(mark.lsn));
        Ok(begin)
    }
}

/// The oldest whole checkpoint for which the log is needed from `least` on, or from a later record.
fn oldest_checkpoint(
    disk: &Arc<dyn Disk>,
    engine: &EngineConfig,
    least: Lsn,
) -> Result<Option<Checkpoint>, EngineError> {
    let store = CheckpointStore::new(Arc::clone(disk), engine.checkpoints_dir());
    for index in store.indexes()?.into_iter().rev().filter(|index| index.replay_from >= least) {
        let whole = store.open(index)?;
        if whole.is_some() {
            return Ok(whole);
        }
    }
    Ok(None)
}

/// A replay in progress.
#[derive(Debug)]
struct Replay {
    shards: Vec<VerifyShard>,
    seen: Seen,
    /// What checkpoints say, the next one last.
    marks: Vec<SlotMark>,
    states_compared: u64,
    windows: WindowSums,
    ticks: BTreeMap<Lsn, AtTick>,
    hashed: AtTick,
    hashed_in_segments: u64,
    /// Samples that the checkpoint's state has seen.
    restored_samples: u64,
    alerts_compared: u64,
    difference: Option<String>,
    comparable: bool,
}

/// What replay put out so far, as far as it is compared later.
#[derive(Debug)]
struct Seen {
    samples: u64,
    sums: SegmentSums,
    transitions: BTreeMap<TransitionId, Transition>,
}

/// What replay had put out at a tick.
#[derive(Clone, Copy, Debug, Default)]
struct AtTick {
    hash: OutputHash,
    in_segments: u64,
}

impl Observer for Seen {
    fn row(&mut self, row: &ScoredRow) {
        self.samples += 1;
        self.sums.replayed(row);
    }

    fn transition(&mut self, transition: Transition) {
        self.transitions.insert(transition.id(), transition);
    }
}

impl Dispatch for Replay {
    fn shards(&self) -> usize {
        self.shards.len()
    }

    fn rows(&mut self, shard: usize, rows: ShardRows) {
        self.shards[shard].rows(&rows, &mut self.seen);
    }

    fn tick(&mut self, lsn: Lsn, tick: TickRecord) {
        for shard in &mut self.shards {
            shard.tick(tick, &mut self.seen);
        }
        let counts = self.shards.iter_mut().map(VerifyShard::take_counts).collect();
        let replayed = self.windows.tick(lsn, tick.time, counts);
        self.take_windows(replayed);
        if tick.hashed {
            let at = AtTick { hash: self.output_hash(), in_segments: self.seen.sums.rows() };
            self.ticks.insert(lsn, at);
        }
    }

    fn rules(&mut self, lsn: Lsn, rules: &RulesInForce) {
        self.shards.iter_mut().for_each(|shard| shard.apply_all(&mut self.seen));
        let counts = self.shards.iter_mut().map(VerifyShard::take_counts).collect();
        let replayed = self.windows.rules(lsn, rules, counts);
        self.take_windows(replayed);
        for shard in &mut self.shards {
            shard.rules(rules, &mut self.seen);
        }
    }

    /// The operators had seen the rows; which segments miss some, their entries in the manifest tell.
    fn delete(&mut self, _lsn: Lsn, _delete: &DeleteRecord) {}

    fn primed(&mut self, shard: usize, primed: ShardPrimed) {
        self.shards[shard].prime(&primed, &mut self.seen);
    }

    fn advance(&mut self, _lsn: Lsn) {}
}

impl Replay {
    fn new(
        catalog: &Arc<SeriesCatalog>,
        config: VerifyConfig,
        (sums, windows): (SegmentSums, WindowSums),
        marks: Vec<SlotMark>,
    ) -> Self {
        let shards = (0..config.shards).map(|shard| {
            let shard = u64::try_from(shard).unwrap_or(0);
            let rechunk = config.rechunk.map(|seed| seed.wrapping_add(shard));
            VerifyShard::new(Arc::clone(catalog), rechunk)
        });
        Self {
            shards: shards.collect(),
            seen: Seen { samples: 0, sums, transitions: BTreeMap::new() },
            marks,
            states_compared: 0,
            windows,
            ticks: BTreeMap::new(),
            hashed: AtTick::default(),
            hashed_in_segments: 0,
            restored_samples: 0,
            alerts_compared: 0,
            difference: None,
            comparable: true,
        }
    }

    fn output_hash(&self) -> OutputHash {
        let hashes = self.shards.iter().map(VerifyShard::output_hash);
        hashes.fold(OutputHash::default(), added)
    }

    /// Takes the operators' state of a checkpoint.
    fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), EngineError> {
        let (start, record) = &checkpoint.index.start;
        self.comparable &= checkpoint.index.operators == OPERATORS_VERSION;
        let rules = rules_of(*start, record)?;
        self.rules(*start, &rules);
        let count = self.shards.len();
        for slot in (0..=u8::MAX).map(Slot) {
            let state = checkpoint.slot(slot)?;
            let shard = &mut self.shards[shard_of(slot, count)];
            if !state.is_some_and(|state| shard.restore_slot(slot, &state)) {
                return Err(EngineError::BadCheckpoint { number: checkpoint.index.number });
            }
        }
        if let Some(entry) = checkpoint.index.windows {
            let state = checkpoint.windows()?;
            let windows = &mut self.windows;
            if !state.is_some_and(|state| windows.restore(entry.lsn, &rules, &state)) {
                return Err(EngineError::BadCheckpoint { number: checkpoint.index.number });
            }
            self.shards.iter_mut().for_each(|shard| shard.set_counted(entry.lsn));
        }
        self.hashed.hash = self.output_hash();
        self.restored_samples = self.hashed.hash.samples;
        Ok(())
    }

    /// Compares the state of slots that a record before `next` was the last one of.
    fn compare_marks(&mut self, next: Lsn) {
        while let Some(mark) = self.marks.pop_if(|mark| mark.lsn < next) {
            let count = self.shards.len();
            let shard = &mut self.shards[shard_of(mark.slot, count)];
            shard.apply_all(&mut self.seen);
            let summary = shard.slot_summary(mark.slot);
            if (summary.state_hash, summary.output) == (mark.state_hash, mark.output) {
                self.states_compared += 1;
            } else {
                self.differ(format!(
                    "state of slot {} after record {}: live {:016x} and {:?}, replayed {:016x} and {:?}",
                    mark.slot.0, mark.lsn, mark.state_hash, mark.output, summary.state_hash, summary.output
                ));
            }
        }
    }

    /// Takes what the windows have come to at a record.
    fn take_windows(&mut self, replayed: Replayed) {
        let Replayed { differences, transitions } = replayed;
        differences.into_iter().for_each(|difference| self.differ(difference));
        transitions.into_iter().for_each(|transition| self.seen.transition(transition));
    }

    /// Compares what the live run noted in the log.
    fn compare(&mut self, lsn: Lsn, noted: Option<LogRecord>, base: &Base) {
        match noted {
            Some(LogRecord::Start(start)) => {
                self.comparable &= start.operators == OPERATORS_VERSION;
            }
            // What the checkpoint's state has seen is not replayed.
            Some(LogRecord::Transition(live))
                if base.covers_alerts(live.transition.subject, live.cause) => {}
            Some(LogRecord::Transition(live)) => self.compare_transition(lsn, &live),
            Some(LogRecord::OutputHash(live)) => self.compare_hash(live),
            Some(
                LogRecord::Samples(_)
                | LogRecord::Tick(_)
                | LogRecord::Delivery(_)
                | LogRecord::Checkpoint(_)
                | LogRecord::Delete(_)
                | LogRecord::Feed(_)
                | LogRecord::Primed(_),
            )
            | None => {}
        }
    }

    fn compare_hash(&mut self, live: OutputHashRecord) {
        let Some(replayed) = self.ticks.remove(&live.at) else { return };
        if replayed.hash == live.hash {
            self.hashed = replayed;
            self.hashed_in_segments = replayed.in_segments;
        } else {
            self.differ(format!(
                "output hash at record {}: live {:?}, replayed {:?}",
                live.at, live.hash, replayed.hash
            ));
        }
    }

    fn compare_transition(&mut self, lsn: Lsn, live: &TransitionRecord) {
        for shard in &mut self.shards {
            shard.apply_all(&mut self.seen);
        }
        let key = live.transition.dedupe_key();
        let replayed = self.seen.transitions.remove(&live.transition.id());
        match replayed {
            None => self.differ(format!("transition {key} of record {lsn} is not replayed")),
            Some(replayed) if bits(&replayed) == bits(&live.transition) => {
                self.alerts_compared += 1;
            }
            Some(replayed) => self.differ(format!(
                "transition {key} of record {lsn}: live {:?}, replayed {replayed:?}",
                live.transition
            )),
        }
    }

    fn differ(&mut self, difference: String) {
        self.difference.get_or_insert(difference);
    }

    fn finish(mut self, from: Lsn, to: Lsn, samples: u64) -> Result<VerifyReport, EngineError> {
        for shard in &mut self.shards {
            shard.apply_all(&mut self.seen);
        }
        if let Some(difference) = self.seen.sums.difference()? {
            self.differ(difference);
        }
        let state = self.shards.iter().map(VerifyShard::state_hash).fold(0, u64::wrapping_add);
        let result = match (self.comparable, &self.difference) {
            (false, _) => Verdict::NotComparable,
            (true, None) => Verdict::Identical,
            (true, Some(_)) => Verdict::Different,
        };
        let later_in_segments = self.seen.sums.rows() - self.hashed_in_segments;
        Ok(VerifyReport {
            result,
            from_lsn: from.get(),
            to_lsn: to.get(),
            samples,
            severities_compared: self.hashed.hash.samples - self.restored_samples
                + later_in_segments,
            states_compared: self.states_compared,
            windows_compared: self.windows.compared(),
            alerts_compared: self.alerts_compared,
            state_hash: format!("{state:016x}"),
            first_difference: self.difference,
        })
    }
}

/// Every bit of a transition, so that NaN equals NaN and 0 does not equal -0.
fn bits(transition: &Transition) -> Vec<u8> {
    let times = TransitionTimes::default();
    TransitionRecord { cause: Lsn::ZERO, times, transition: transition.clone() }.encode()
}
