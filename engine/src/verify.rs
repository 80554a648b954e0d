//! `replay --verify`: the log through the operators again, compared with what the live run left behind.
//!
//! What the live run left: output hashes logged with a tick every million rows and at a clean stop,
//! severities in segments, transitions in the log. What none of these covers is not counted as compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use tidewatch_env::Disk;
use tidewatch_metrics::{
    AlertKey, Lsn, SeriesCatalog, Transition, TransitionKind, TransitionTimes,
};
use tidewatch_operators::OutputHash;
use tidewatch_wal::{KIND_CALLER_MIN, WalReader};

use crate::config::EngineConfig;
use crate::dispatch::{Dispatch, RulesInForce};
use crate::hashes::added;
use crate::record::{LogRecord, OutputHashRecord, TickRecord, TransitionRecord};
use crate::replayer::Replayer;
use crate::segment_sums::SegmentSums;
use crate::shard::ShardRows;
use crate::verify_shard::{Observer, ScoredRow, VerifyShard};
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
    let mut replayer = Replayer::new(Arc::clone(&catalog));
    let sums = SegmentSums::open(disk, &engine.segments_dir(), &catalog)?;
    let mut replay = Replay::new(&catalog, config, sums);
    let mut reader = WalReader::open(Arc::clone(disk), &engine.wal_dir(), Lsn::ZERO)?;
    let (mut from, mut to) = (None, Lsn::ZERO);
    while let Some(record) = reader.next_record()? {
        from.get_or_insert(record.lsn);
        to = record.lsn;
        if record.kind >= KIND_CALLER_MIN {
            let noted = replayer.replay(record.lsn, record.kind, record.payload, &mut replay)?;
            replay.compare(record.lsn, noted);
            watch(record.lsn);
        }
    }
    let samples = replayer.position().rows;
    replay.finish(from.unwrap_or_default(), to, samples)
}

type DedupeKey = (AlertKey, TransitionKind);

/// A replay in progress.
#[derive(Debug)]
struct Replay {
    shards: Vec<VerifyShard>,
    seen: Seen,
    ticks: BTreeMap<Lsn, AtTick>,
    hashed: AtTick,
    hashed_in_segments: u64,
    alerts_compared: u64,
    difference: Option<String>,
    comparable: bool,
}

/// What replay put out so far, as far as it is compared later.
#[derive(Debug)]
struct Seen {
    sums: SegmentSums,
    transitions: BTreeMap<DedupeKey, Transition>,
}

/// What replay had put out at a tick.
#[derive(Clone, Copy, Debug, Default)]
struct AtTick {
    hash: OutputHash,
    in_segments: u64,
}

impl Observer for Seen {
    fn row(&mut self, row: &ScoredRow) {
        self.sums.replayed(row);
    }

    fn transition(&mut self, transition: Transition) {
        self.transitions.insert((transition.key, transition.kind), transition);
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
        if tick.hashed {
            let at = AtTick { hash: self.output_hash(), in_segments: self.seen.sums.rows() };
            self.ticks.insert(lsn, at);
        }
    }

    fn rules(&mut self, _lsn: Lsn, rules: &RulesInForce) {
        for shard in &mut self.shards {
            shard.rules(rules, &mut self.seen);
        }
    }

    fn advance(&mut self, _lsn: Lsn) {}
}

impl Replay {
    fn new(catalog: &Arc<SeriesCatalog>, config: VerifyConfig, sums: SegmentSums) -> Self {
        let shards = (0..config.shards).map(|shard| {
            let shard = u64::try_from(shard).unwrap_or(0);
            let rechunk = config.rechunk.map(|seed| seed.wrapping_add(shard));
            VerifyShard::new(Arc::clone(catalog), rechunk)
        });
        Self {
            shards: shards.collect(),
            seen: Seen { sums, transitions: BTreeMap::new() },
            ticks: BTreeMap::new(),
            hashed: AtTick::default(),
            hashed_in_segments: 0,
            alerts_compared: 0,
            difference: None,
            comparable: true,
        }
    }

    fn output_hash(&self) -> OutputHash {
        let hashes = self.shards.iter().map(VerifyShard::output_hash);
        hashes.fold(OutputHash::default(), added)
    }

    /// Compares what the live run noted in the log.
    fn compare(&mut self, lsn: Lsn, noted: Option<LogRecord>) {
        match noted {
            Some(LogRecord::Start(start)) => {
                self.comparable &= start.operators == OPERATORS_VERSION;
            }
            Some(LogRecord::Transition(live)) => self.compare_transition(lsn, &live),
            Some(LogRecord::OutputHash(live)) => self.compare_hash(live),
            Some(LogRecord::Samples(_) | LogRecord::Tick(_) | LogRecord::Delivery(_)) | None => {}
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
        let replayed = self.seen.transitions.remove(&(live.transition.key, live.transition.kind));
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
            severities_compared: self.hashed.hash.samples + later_in_segments,
            windows_compared: 0,
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
