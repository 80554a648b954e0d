//! Opens an engine after whatever happened to it: reads the log back through the operators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidewatch_env::{Clock, Disk};
use tidewatch_metrics::{Lsn, SeriesCatalog};
use tidewatch_wal::{Record, Wal, WalHome, WalInstruments, WalReader};
use tracing::{error, info, warn};

use crate::committer::LogPosition;
use crate::config::EngineConfig;
use crate::dispatch::Dispatch;
use crate::hashes::Hashes;
use crate::outbox::Outbox;
use crate::progress::Progress;
use crate::record::{KIND_START, LogRecord, OutputHashRecord, StartRecord};
use crate::replayer::{Replayer, rules_of};
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

/// What replay needs of the engine that is being opened.
#[derive(Debug)]
pub(crate) struct Recovery<'a> {
    pub(crate) config: &'a EngineConfig,
    pub(crate) catalog: &'a Arc<SeriesCatalog>,
    pub(crate) outbox: &'a Outbox,
    pub(crate) hashes: &'a Hashes,
    pub(crate) progress: &'a Progress,
    pub(crate) state: &'a RecoveryState,
}

/// The log, ready for more, and what it told.
#[derive(Debug)]
struct Recovered {
    wal: Wal,
    position: LogPosition,
    /// The start since which each sink has been configured without a break.
    sinks_since: BTreeMap<String, Lsn>,
    logged_hashes: Vec<OutputHashRecord>,
}

/// A log that takes records, behind the record of this start.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) wal: Wal,
    pub(crate) position: LogPosition,
    /// Output hashes that the log does not hold yet.
    pub(crate) due: Vec<OutputHashRecord>,
}

impl Recovery<'_> {
    /// Replays the log, compares, and notes in it what is in force from here on.
    pub(crate) fn start(
        &self,
        home: WalHome,
        instruments: WalInstruments,
        dispatch: &mut impl Dispatch,
    ) -> Result<Started, EngineError> {
        let clock = Arc::clone(&home.clock);
        let recovered = self.replay(home, instruments, dispatch)?;
        let mut wal = recovered.wal;
        self.progress.wait_applied(wal.last_lsn());
        let due = self.compare(&recovered.logged_hashes);
        let start = self.append_start(&mut wal, &*clock, dispatch)?;
        self.finish(&recovered.sinks_since, start);
        Ok(Started { wal, position: recovered.position, due })
    }

    /// The first record of each start: what is in force from here on.
    fn append_start(
        &self,
        wal: &mut Wal,
        clock: &dyn Clock,
        dispatch: &mut impl Dispatch,
    ) -> Result<Lsn, EngineError> {
        let start = start_record(self.config, clock);
        let lsn = wal.append(KIND_START, &[&start.encode()], None)?;
        wal.sync()?;
        self.progress.set_durable(lsn, clock.now());
        dispatch.rules(lsn, &rules_of(lsn, &start)?);
        dispatch.advance(lsn);
        Ok(lsn)
    }

    /// Reads the log back; everything is handed to `dispatch` on return, but perhaps not applied.
    fn replay(
        &self,
        home: WalHome,
        instruments: WalInstruments,
        dispatch: &mut impl Dispatch,
    ) -> Result<Recovered, EngineError> {
        let target = last_lsn(&home.disk, self.config)?;
        self.state.target.store(target.get(), Ordering::Relaxed);
        let mut replayer = Replayer::new(Arc::clone(self.catalog));
        let mut sinks_since = BTreeMap::new();
        let mut logged_hashes = Vec::new();
        let mut visited = 0_u64;
        let visit = |record: Record<'_>| -> Result<(), EngineError> {
            match replayer.replay(record.lsn, record.kind, record.payload, dispatch)? {
                Some(LogRecord::Start(start)) => {
                    sinks_since.retain(|sink, _| start.sinks.contains(sink));
                    for sink in start.sinks {
                        sinks_since.entry(sink).or_insert(record.lsn);
                    }
                }
                Some(LogRecord::Transition(transition)) => {
                    self.outbox.restore_transition(record.lsn, *transition);
                }
                Some(LogRecord::Delivery(row)) => self.outbox.restore_delivery(record.lsn, row),
                Some(LogRecord::OutputHash(hash)) => logged_hashes.push(hash),
                Some(LogRecord::Samples(_) | LogRecord::Tick(_)) | None => {}
            }
            visited += 1;
            if visited.is_multiple_of(ADVANCE_RECORDS) {
                self.advance(record.lsn, dispatch);
            }
            Ok(())
        };
        let (wal, summary) = Wal::recover(home, self.config.wal, instruments, visit)?;
        self.advance(summary.last_lsn, dispatch);
        info!(records = summary.records, last_lsn = %summary.last_lsn, "log replayed");
        Ok(Recovered { wal, position: replayer.position(), sinks_since, logged_hashes })
    }

    fn advance(&self, lsn: Lsn, dispatch: &mut impl Dispatch) {
        // What recovery reads is durable.
        self.progress.set_durable(lsn, tidewatch_metrics::UnixNanos::default());
        dispatch.advance(lsn);
        self.state.done.store(lsn.get(), Ordering::Relaxed);
    }

    /// After all shards have applied the log: compares what they put out with what it noted.
    ///
    /// Hashes that the log does not hold yet are given back: they are due to be logged.
    fn compare(&self, logged: &[OutputHashRecord]) -> Vec<OutputHashRecord> {
        let logged: BTreeMap<Lsn, &OutputHashRecord> =
            logged.iter().map(|record| (record.at, record)).collect();
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

    /// Ends the outbox's recovery.
    fn finish(&self, sinks_since: &BTreeMap<String, Lsn>, end: Lsn) {
        let since = |sink: &str| sinks_since.get(sink).copied().unwrap_or(end);
        let sinks: Vec<_> =
            self.config.sink_names().map(|sink| (sink.to_owned(), since(sink))).collect();
        let unknown = self.outbox.finish_recovery(&sinks);
        if unknown > 0 {
            warn!(unknown, "the log holds transitions that replay did not put out");
        }
    }
}

/// The log's last record, read from its last file.
fn last_lsn(disk: &Arc<dyn Disk>, config: &EngineConfig) -> Result<Lsn, EngineError> {
    let dir = config.wal_dir();
    if !disk.exists(&dir).unwrap_or(false) {
        return Ok(Lsn::ZERO);
    }
    let mut last = Lsn::ZERO;
    // Positioned at the file that would hold the last possible record.
    let mut reader = WalReader::open_last(Arc::clone(disk), &dir)?;
    while let Some(record) = reader.next_record()? {
        last = record.lsn;
    }
    Ok(last)
}

fn start_record(config: &EngineConfig, clock: &dyn Clock) -> StartRecord {
    StartRecord {
        version: config.version.clone(),
        operators: OPERATORS_VERSION,
        time: clock.now(),
        alerts_max_age_nanos: i64::try_from(config.alerts_max_age.as_nanos()).unwrap_or(i64::MAX),
        rules: config.rules.canonical_text(),
        sinks: config.sink_names().map(str::to_owned).collect(),
    }
}
