//! Opens an engine after whatever happened to it: reads the log back through the operators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidewatch_env::{Clock, Disk};
use tidewatch_metrics::{Lsn, SeriesCatalog, SeriesRef};
use tidewatch_wal::{KIND_CALLER_MIN, KIND_GAP, Record, Wal, WalHome, WalInstruments, WalReader};
use tracing::{error, info, warn};

use crate::checkpoint::Base;
use crate::committer::LogPosition;
use crate::config::EngineConfig;
use crate::dispatch::Dispatch;
use crate::feeds::Feeds;
use crate::hashes::Hashes;
use crate::idempotency::Idempotency;
use crate::left_out::{LeftOut, UnknownSeries};
use crate::letters::Letters;
use crate::opened::Opened;
use crate::outbox::Outbox;
use crate::progress::Progress;
use crate::record::{KIND_SAMPLES, KIND_START, LogRecord, OutputHashRecord, StartRecord, decode};
use crate::replayer::{Replayer, register, rules_of};
use crate::sources::Sources;
use crate::{EngineError, OPERATORS_VERSION};

/// Records after which the shards are told how far replay has come.
const ADVANCE_RECORDS: u64 = 256;

/// How far recovery has come, for whoever watches.
#[derive(Debug, Default)]
pub struct RecoveryState {
    done: AtomicU64,
    target: AtomicU64,
}

impl RecoveryState {
    /// The last record replayed.
    #[must_use]
    pub fn done_lsn(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// The last record of the log.
    #[must_use]
    pub fn target_lsn(&self) -> u64 {
        self.target.load(Ordering::Relaxed)
    }
}

/// The log, ready for more, and where replay has to go.
#[derive(Debug)]
pub(crate) struct OpenLog {
    pub(crate) wal: Wal,
    pub(crate) position: LogPosition,
    /// The record of this start.
    pub(crate) start: (Lsn, StartRecord),
    sinks_since: BTreeMap<String, Lsn>,
    /// Rows that replay will leave out.
    pub(crate) left_out: LeftOut,
}

impl OpenLog {
    /// Opens the log for writing behind its last record, and notes in it what is in force from here on.
    ///
    /// Every record that replay will need is read and checked, and its series are registered: what
    /// could refuse the log does so here, before anything is acknowledged.
    ///
    /// # Errors
    /// Damage, records that are missing, and what the disk reports.
    pub(crate) fn open(
        config: &EngineConfig,
        opened: &Opened,
        home: WalHome,
        instruments: WalInstruments,
    ) -> Result<Self, EngineError> {
        let clock = Arc::clone(&home.clock);
        let manifest = opened.shared.published.manifest();
        let filed = opened.keys.load(&*home.disk, &config.segments_dir(), &manifest)?;
        let mut scan = Scan::new(opened, filed);
        let from = opened.base.replay_from;
        let visit = |record: Record<'_>| scan.visit(&record);
        let recovered = Wal::recover_from(home, config.wal, instruments, from, visit);
        let (mut wal, summary) = recovered.map_err(|error| opened.refused(error))?;
        let last = summary.last_lsn;
        opened.check_end(last)?;
        let left_out = scan.settle(!summary.gaps.is_empty() || opened.lacks_series)?;
        let start = start_record(config, &*clock);
        let lsn = wal.append(KIND_START, &[&start.encode()], None)?;
        wal.sync()?;
        opened.shared.progress.set_durable(lsn, clock.now());
        opened.shared.progress.set_rows(scan.position.rows);
        scan.start(lsn, &start);
        let Scan { position, sinks_since, .. } = scan;
        info!(records = summary.records, %from, last_lsn = %last, "log opened");
        if left_out.rows > 0 {
            warn!(rows = left_out.rows, "rows are left out: the names of their series are lost");
        }
        Ok(Self { wal, position, start: (lsn, start), sinks_since, left_out })
    }
}

/// A first look at the log: what it registers and how far it is.
#[derive(Debug)]
struct Scan<'a> {
    base: &'a Base,
    catalog: &'a SeriesCatalog,
    keys: &'a Idempotency,
    sources: &'a Sources,
    letters: &'a Letters,
    feeds: &'a Feeds,
    /// The last record whose key is in a file.
    filed: Lsn,
    position: LogPosition,
    sinks_since: BTreeMap<String, Lsn>,
    /// By reference, whether the series is registered.
    known: Vec<bool>,
    unknown: UnknownSeries,
}

impl<'a> Scan<'a> {
    fn new(opened: &'a Opened, filed: Lsn) -> Self {
        let mut scan = Self {
            base: &opened.base,
            catalog: &opened.shared.catalog,
            keys: &opened.keys,
            sources: &opened.sources,
            letters: &opened.shared.letters,
            feeds: &opened.shared.feeds,
            filed,
            position: opened.base.position.1,
            sinks_since: opened.since.clone(),
            known: Vec::new(),
            unknown: UnknownSeries::default(),
        };
        opened.shared.catalog.since(0).iter().for_each(|(series, _)| scan.note(*series));
        scan
    }

    fn note(&mut self, series: SeriesRef) {
        if self.known.len() <= series.index() {
            self.known.resize(series.index() + 1, false);
        }
        self.known[series.index()] = true;
    }

    fn visit(&mut self, record: &Record<'_>) -> Result<(), EngineError> {
        let Record { lsn, kind, payload, .. } = *record;
        match decode(kind, payload).ok_or(EngineError::BadRecord { lsn, kind })? {
            LogRecord::Samples(samples) => {
                register(self.catalog, lsn, &samples)?;
                samples.registrations.iter().for_each(|(series, _)| self.note(*series));
                let known = |series: SeriesRef| is_known(&self.known, series);
                self.unknown.count(lsn, &samples.parts, known);
                self.position.pass_samples(lsn, &samples, self.base);
                self.letters.restore(lsn, &samples);
                // The checkpoint has those of records up to its position.
                if let Some(offsets) = samples.source.filter(|_| lsn > self.base.position.0) {
                    self.sources.hold(&offsets, lsn);
                }
                if let Some(key) = samples.key.filter(|_| lsn > self.filed) {
                    self.keys.restore(lsn, key);
                }
            }
            LogRecord::Tick(tick) => {
                self.position.pass_tick(lsn, &tick, self.base);
                self.keys.tick(tick.time);
            }
            LogRecord::Start(start) => {
                rules_of(lsn, &start)?;
                if !self.base.has_rules_of(lsn) {
                    self.start(lsn, &start);
                }
            }
            LogRecord::Feed(record) => self.feeds.restore_acknowledged(&record),
            LogRecord::Transition(_)
            | LogRecord::Delivery(_)
            | LogRecord::OutputHash(_)
            | LogRecord::Checkpoint(_)
            | LogRecord::Delete(_)
            | LogRecord::Primed(_) => {}
        }
        Ok(())
    }

    /// The rows that replay will leave out; where no damage excuses them, their record is refused.
    fn settle(&mut self, excused: bool) -> Result<LeftOut, EngineError> {
        let unknown = std::mem::take(&mut self.unknown);
        match unknown.first() {
            Some(lsn) if !excused => Err(EngineError::BadRecord { lsn, kind: KIND_SAMPLES }),
            Some(_) | None => {
                // Else a new series would get the rows of the lost one at the next start.
                self.catalog.reserve(unknown.refs_end());
                Ok(unknown.settle(|series| is_known(&self.known, series)))
            }
        }
    }

    fn start(&mut self, lsn: Lsn, start: &StartRecord) {
        self.sinks_since.retain(|sink, _| start.sinks.contains(sink));
        for sink in &start.sinks {
            self.sinks_since.entry(sink.clone()).or_insert(lsn);
        }
    }
}

fn is_known(known: &[bool], series: SeriesRef) -> bool {
    known.get(series.index()) == Some(&true)
}

/// Reads the log back through the operators, while it may grow already.
#[derive(Debug)]
pub(crate) struct Replay {
    reader: WalReader,
    replayer: Replayer,
    outbox: Arc<Outbox>,
    hashes: Arc<Hashes>,
    progress: Arc<Progress>,
    state: Arc<RecoveryState>,
    logged_hashes: Vec<OutputHashRecord>,
    visited: u64,
    sinks: Vec<(String, Lsn)>,
}

impl Replay {
    /// Begins where the checkpoint of `opened` ends.
    ///
    /// # Errors
    /// What the disk reports.
    pub(crate) fn new(
        config: &EngineConfig,
        disk: &Arc<dyn Disk>,
        opened: &Opened,
        log: &OpenLog,
        (hashes, state): (&Arc<Hashes>, &Arc<RecoveryState>),
    ) -> Result<Self, EngineError> {
        let from = opened.base.replay_from;
        let reader = WalReader::open_at(Arc::clone(disk), &config.wal_dir(), from)?;
        let (start, _) = log.start;
        let since = |sink: &str| log.sinks_since.get(sink).copied().unwrap_or(start);
        // ORDER: before the first record, whose rows may have been acknowledged.
        opened.shared.feeds.settle(&log.sinks_since, start);
        state.target.store(start.get(), Ordering::Relaxed);
        let catalog = Arc::clone(&opened.shared.catalog);
        let mut replayer = Replayer::new(catalog, opened.base.clone());
        if log.left_out.rows > 0 {
            replayer.tolerate();
        }
        Ok(Self {
            reader,
            replayer,
            outbox: Arc::clone(&opened.shared.outbox),
            hashes: Arc::clone(hashes),
            progress: Arc::clone(&opened.shared.progress),
            state: Arc::clone(state),
            logged_hashes: Vec::new(),
            visited: 0,
            sinks: config.sink_names().map(|sink| (sink.to_owned(), since(sink))).collect(),
        })
    }

    /// Hands the records up to `upto`, which must be durable, to `dispatch`; `false` when the engine has
    /// closed before that.
    ///
    /// # Errors
    /// Damage, and what the disk reports.
    pub(crate) fn run(
        &mut self,
        upto: Lsn,
        dispatch: &mut impl Dispatch,
    ) -> Result<bool, EngineError> {
        while let Some(record) = self.reader.next_record_upto(upto)? {
            if self.progress.is_closed() {
                return Ok(false);
            }
            if record.kind == KIND_GAP {
                warn!(from = %record.lsn, to = %record.last_lsn, "the log lacks records");
                self.replayer.pass_gap();
            }
            if record.kind < KIND_CALLER_MIN {
                continue;
            }
            let lsn = record.lsn;
            match self.replayer.replay(lsn, record.kind, record.payload, dispatch)? {
                Some(LogRecord::Transition(transition)) => {
                    self.outbox.restore_transition(lsn, *transition);
                }
                Some(LogRecord::Delivery(row)) => self.outbox.restore_delivery(lsn, row),
                Some(LogRecord::OutputHash(hash)) => self.logged_hashes.push(hash),
                Some(_) | None => {}
            }
            self.visited += 1;
            if self.visited.is_multiple_of(ADVANCE_RECORDS) {
                self.advance(lsn, dispatch);
            }
        }
        self.advance(upto, dispatch);
        Ok(true)
    }

    fn advance(&self, lsn: Lsn, dispatch: &mut impl Dispatch) {
        dispatch.advance(lsn);
        self.state.done.store(lsn.get(), Ordering::Relaxed);
    }

    /// After the whole log: fires what a crash cut off, and tells the outbox its sinks.
    ///
    /// Gives the output hashes that are due to be logged.
    pub(crate) fn finish(self, end: Lsn) -> Vec<OutputHashRecord> {
        self.progress.wait_applied(end);
        let due = self.compare();
        let unknown = self.outbox.finish_recovery(&self.sinks);
        if unknown > 0 {
            warn!(unknown, "the log holds transitions that replay did not put out");
        }
        info!(records = self.visited, last_lsn = %end, "log replayed");
        due
    }

    /// Compares what the shards put out with what the log notes of it.
    fn compare(&self) -> Vec<OutputHashRecord> {
        let logged: BTreeMap<Lsn, &OutputHashRecord> =
            self.logged_hashes.iter().map(|record| (record.at, record)).collect();
        let mut due = Vec::new();
        for replayed in self.hashes.take_complete() {
            match logged.get(&replayed.at) {
                None => due.push(replayed),
                Some(live) if live.hash == replayed.hash => {}
                Some(_) => error!(
                    at = %replayed.at,
                    "the operators put out something else than when they ran live: \
                     run `tidewatch replay --verify` and report it"
                ),
            }
        }
        due
    }
}

fn start_record(config: &EngineConfig, clock: &dyn Clock) -> StartRecord {
    StartRecord {
        version: config.version.clone(),
        operators: OPERATORS_VERSION,
        time: clock.now(),
        alerts_max_age_nanos: i64::try_from(config.alerts_max_age.as_nanos()).unwrap_or(i64::MAX),
        rules: config.rules.canonical_text(),
        sinks: config.receivers().collect(),
    }
}
