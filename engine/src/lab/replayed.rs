//! The log of a disk, read once more by operators without heads, segments or outbox.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tidewatch_env::Disk;
use tidewatch_metrics::{Lsn, SeriesCatalog, Transition, UnixNanos};
use tidewatch_operators::{OutputHash, WindowSet};
use tidewatch_segments::RequestKey;
use tidewatch_segments::limits::KEYS_KEPT_NANOS;
use tidewatch_wal::{KIND_CALLER_MIN, Record, WalReader};

use crate::EngineError;
use crate::checkpoint::Base;
use crate::deletes::DeleteRecord;
use crate::dispatch::{Dispatch, RulesInForce};
use crate::hashes::added;
use crate::lab::proving::Proof;
use crate::lab::script::SentRow;
use crate::lab::source;
use crate::lab::stored::StoredRow;
use crate::lab::world::Arrival;
use crate::priming::ShardPrimed;
use crate::record::{KIND_KEYED_SAMPLES, KIND_TICK, LogRecord, SamplesRecord, TickRecord, decode};
use crate::replayer::Replayer;
use crate::shard::ShardRows;
use crate::verify_shard::{Observer, ScoredRow, VerifyShard};

/// All that a log says.
#[derive(Debug)]
pub(super) struct Replayed {
    /// Sorted.
    pub(super) rows: Vec<(Lsn, StoredRow)>,
    /// As the operators put them out: in order within each series.
    pub(super) transitions: Vec<Transition>,
    /// As they stand in the log.
    pub(super) logged: Vec<Transition>,
    pub(super) proof: Proof,
    /// In the order of the log.
    pub(super) deletes: Vec<(Lsn, DeleteRecord)>,
    /// The records with idempotency keys, in the order of the log.
    keyed: Vec<Keyed>,
    catalog: Arc<SeriesCatalog>,
    /// The first tick that tells an earlier time than the one before.
    pub(super) went_back: Option<Lsn>,
}

/// A record with an idempotency key.
#[derive(Debug)]
struct Keyed {
    lsn: Lsn,
    key: Arc<RequestKey>,
    /// The log's time before it.
    before: UnixNanos,
    /// The time of the first tick behind it.
    time: Option<UnixNanos>,
}

#[derive(Debug)]
struct Shards {
    shards: Vec<VerifyShard>,
    windows: WindowSet,
    seen: Seen,
    log_time: UnixNanos,
    went_back: Option<Lsn>,
    deletes: Vec<(Lsn, DeleteRecord)>,
}

#[derive(Debug)]
struct Seen {
    catalog: Arc<SeriesCatalog>,
    rows: Vec<(Lsn, StoredRow)>,
    transitions: Vec<Transition>,
}

impl Replayed {
    /// Reads log and archive of a data directory with this many shards and the rows cut anew.
    pub(super) fn of(
        disk: &Arc<dyn Disk>,
        data_dir: &Path,
        shards: usize,
    ) -> Result<Self, EngineError> {
        let catalog = Arc::new(SeriesCatalog::new(usize::MAX));
        let mut replayer = Replayer::new(Arc::clone(&catalog), Base::first());
        let cut = |shard: usize| u64::try_from(shard).ok();
        let mut dispatch = Shards {
            shards: (0..shards).map(|s| VerifyShard::new(Arc::clone(&catalog), cut(s))).collect(),
            windows: WindowSet::default(),
            seen: Seen { catalog, rows: Vec::new(), transitions: Vec::new() },
            log_time: UnixNanos::new(i64::MIN),
            went_back: None,
            deletes: Vec::new(),
        };
        let (mut logged, mut keyed) = (Vec::new(), Vec::new());
        let (wal, archive) = (data_dir.join("wal"), data_dir.join("archive"));
        let mut reader =
            WalReader::open_with_archive(Arc::clone(disk), &wal, &archive, Lsn::new(1))?;
        while let Some(record) = reader.next_record()? {
            if record.kind < KIND_CALLER_MIN {
                continue;
            }
            let before = dispatch.log_time;
            let noted = replayer.replay(record.lsn, record.kind, record.payload, &mut dispatch)?;
            keyed.extend(Keyed::of(&record, before));
            if record.kind == KIND_TICK {
                let fresh = keyed.iter_mut().rev().take_while(|keyed| keyed.time.is_none());
                fresh.for_each(|keyed| keyed.time = Some(dispatch.log_time));
            }
            if let Some(LogRecord::Transition(record)) = noted {
                logged.push(record.transition);
            }
        }
        let Shards { mut shards, windows, mut seen, went_back, deletes, .. } = dispatch;
        shards.iter_mut().for_each(|shard| shard.apply_all(&mut seen));
        let state = shards.iter().map(VerifyShard::state_hash).fold(0, u64::wrapping_add);
        let outputs = shards.iter().map(VerifyShard::output_hash);
        let output = outputs.fold(OutputHash::default(), added);
        seen.rows.sort_unstable();
        let Seen { rows, transitions, catalog } = seen;
        let proof = Proof { state, output, windows: windows.state_hash() };
        Ok(Self { rows, transitions, logged, proof, deletes, keyed, catalog, went_back })
    }

    /// The rows of records up to `last`.
    pub(super) fn rows_to(&self, last: Lsn) -> &[(Lsn, StoredRow)] {
        &self.rows[..self.rows.partition_point(|(lsn, _)| *lsn <= last)]
    }

    /// The rows that no later delete hides, sorted.
    pub(super) fn visible(&self) -> Vec<StoredRow> {
        let is_hidden = |lsn: Lsn, row: &StoredRow| {
            let mut later = self.deletes.iter().filter(|(delete, _)| *delete > lsn);
            later.any(|(_, delete)| {
                let times = delete.from.nanos()..=delete.to.nanos();
                let series = self.catalog.find(row.sent.series);
                let entry = series.and_then(|series| self.catalog.get(series));
                times.contains(&row.sent.time)
                    && entry.is_some_and(|entry| entry.key().metric() == delete.metric.metric)
            })
        };
        let visible = self.rows.iter().filter(|(lsn, row)| !is_hidden(*lsn, row));
        let mut visible: Vec<_> = visible.map(|(_, row)| *row).collect();
        visible.sort_unstable();
        visible
    }

    /// What each request stored, in the order of the log; messages are no requests.
    pub(super) fn requests(&self) -> Vec<(Lsn, Vec<SentRow>)> {
        let records = self.rows.chunk_by(|a, b| a.0 == b.0);
        let requests = records.filter(|rows| !source::has(rows[0].1.sent.series));
        requests.map(|rows| (rows[0].0, rows.iter().map(|(_, row)| row.sent).collect())).collect()
    }

    /// Two records under one key, the later one before the earlier one's key had run out.
    pub(super) fn stored_twice(&self) -> Option<(Lsn, Lsn)> {
        let mut last: BTreeMap<(&str, &str), &Keyed> = BTreeMap::new();
        self.keyed.iter().find_map(|keyed| {
            let earlier = last.insert((&keyed.key.db, &keyed.key.key), keyed)?;
            let runs_out = earlier.time.map(|time| time.nanos().saturating_add(KEYS_KEPT_NANOS));
            let has_run_out = runs_out.is_some_and(|end| keyed.before.nanos() >= end);
            (!has_run_out).then_some((earlier.lsn, keyed.lsn))
        })
    }

    /// What sinks must have got, by series.
    pub(super) fn due(&self) -> Vec<Arrival> {
        let due = self.transitions.iter().filter(|t| t.kind.is_delivered() && !t.historical);
        let mut due: Vec<_> = due.map(Arrival::of).collect();
        due.sort_by_key(|arrival| arrival.subject);
        due
    }
}

impl Keyed {
    fn of(record: &Record<'_>, before: UnixNanos) -> Option<Self> {
        if record.kind != KIND_KEYED_SAMPLES {
            return None;
        }
        match decode(record.kind, record.payload)? {
            LogRecord::Samples(SamplesRecord { key: Some(key), .. }) => {
                Some(Self { lsn: record.lsn, key, before, time: None })
            }
            _ => None,
        }
    }
}

impl Observer for Seen {
    fn row(&mut self, row: &ScoredRow) {
        let entry = self.catalog.get(row.series).expect("replayed rows are registered");
        let (time, bits) = (row.time.nanos(), row.value.to_bits());
        let stored = StoredRow {
            sent: SentRow { series: entry.id, time, bits },
            severity: row.severity.steps(),
            flags: row.flags.bits(),
        };
        self.rows.push((row.lsn, stored));
    }

    fn transition(&mut self, transition: Transition) {
        self.transitions.push(transition);
    }
}

impl Dispatch for Shards {
    fn shards(&self) -> usize {
        self.shards.len()
    }

    fn rows(&mut self, shard: usize, rows: ShardRows) {
        self.shards[shard].rows(&rows, &mut self.seen);
    }

    fn tick(&mut self, lsn: Lsn, tick: TickRecord) {
        if tick.time < self.log_time {
            self.went_back.get_or_insert(lsn);
        }
        self.log_time = tick.time;
        self.shards.iter_mut().for_each(|shard| shard.tick(tick, &mut self.seen));
        let counts = self.shards.iter_mut().map(VerifyShard::take_counts).collect();
        let outcome = self.windows.tick(counts, lsn, tick.time);
        self.seen.transitions.extend(outcome.transitions);
    }

    fn rules(&mut self, lsn: Lsn, rules: &RulesInForce) {
        self.shards.iter_mut().for_each(|shard| shard.apply_all(&mut self.seen));
        let counts = self.shards.iter_mut().map(VerifyShard::take_counts).collect();
        self.windows.set_alerts_max_age(rules.alerts_max_age_nanos);
        let in_force = Arc::clone(&rules.rules);
        let outcome = self.windows.set_rules(counts, in_force, lsn, rules.received);
        self.seen.transitions.extend(outcome.transitions);
        self.shards.iter_mut().for_each(|shard| shard.rules(rules, &mut self.seen));
    }

    fn delete(&mut self, lsn: Lsn, delete: &DeleteRecord) {
        self.deletes.push((lsn, delete.clone()));
    }

    fn primed(&mut self, shard: usize, primed: ShardPrimed) {
        self.shards[shard].prime(&primed, &mut self.seen);
    }

    fn advance(&mut self, _lsn: Lsn) {}
}
