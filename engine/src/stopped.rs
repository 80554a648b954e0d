//! A stopped data directory, read without changing its log.

use std::sync::Arc;
use std::time::Duration;

use tidewatch_env::Clock;
use tidewatch_env::Disk;
use tidewatch_metrics::{Lsn, UnixNanos};
use tidewatch_segments::{CompactionInstruments, Snapshot};
use tidewatch_wal::{KIND_CALLER_MIN, KIND_GAP, Record, SegmentState, WalReader, WalSegmentInfo};

use crate::EngineError;
use crate::compactor::{Compactor, CompactorShares, Step};
use crate::config::EngineConfig;
use crate::data_dir::DataDir;
use crate::dispatch::Dispatch;
use crate::hashes::Hashes;
use crate::inline::InlineDispatch;
use crate::instruments::{OutboxInstruments, ShardInstruments};
use crate::letters::Letters;
use crate::opened::Opened;
use crate::outbox::EventTail;
use crate::record::LogRecord;
use crate::replayer::Replayer;
use crate::shard::ShardShared;
use crate::sources::{Sources, StoredOffsets};
use crate::windows::Windows;

/// Records after which the rows so far become visible.
const ADVANCE_RECORDS: u64 = 256;

/// All that a stopped data directory holds: segments, and what only the log has, replayed into memory.
#[derive(Debug)]
pub struct Stopped {
    shared: ShardShared,
    last: Lsn,
    files: Vec<WalSegmentInfo>,
    sources: Arc<Sources>,
    _shards: InlineDispatch,
    _data_dir: DataDir,
}

impl Stopped {
    /// Reads the directory; `watch` is told the number of each record.
    ///
    /// # Errors
    /// Damage, and what the disk reports.
    pub fn open(
        config: &EngineConfig,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
        data_dir: DataDir,
        mut watch: impl FnMut(Lsn),
    ) -> Result<Self, EngineError> {
        let instruments = (ShardInstruments::default(), OutboxInstruments::default());
        let mut opened = Opened::new(config, disk, clock, instruments)?;
        let shared = opened.shared.clone();
        let hashes = Arc::new(Hashes::new(config.shards));
        let shards = std::mem::take(&mut opened.shards);
        let mut dispatch = InlineDispatch { shards, hashes, frozen: Vec::new() };
        let from = opened.base.replay_from;
        let mut replayer = Replayer::new(Arc::clone(&shared.catalog), opened.base.clone());
        if opened.lacks_series {
            replayer.tolerate();
        }
        let reader = WalReader::open_at(Arc::clone(disk), &config.wal_dir(), from);
        let mut reader = reader.map_err(|error| opened.refused(error.into()))?;
        let mut last = Lsn::ZERO;
        let mut files: Vec<WalSegmentInfo> = Vec::new();
        let mut visited = 0_u64;
        while let Some(record) = reader.next_record()? {
            last = record.last_lsn;
            if record.kind == KIND_GAP {
                replayer.pass_gap();
            }
            match files.last_mut() {
                Some(file) if *file.file == *record.file => file.last_lsn = last,
                _ => files.push(file_of(&**disk, config, &record)?),
            }
            if record.kind < KIND_CALLER_MIN {
                continue;
            }
            match replayer.replay(last, record.kind, record.payload, &mut dispatch)? {
                Some(LogRecord::Transition(transition)) => {
                    shared.outbox.restore_transition(last, *transition);
                }
                Some(LogRecord::Delivery(row)) => shared.outbox.restore_delivery(last, row),
                Some(LogRecord::Samples(samples)) => {
                    shared.letters.restore(last, &samples);
                    if let Some(offsets) = &samples.source {
                        opened.sources.hold(offsets, last);
                    }
                }
                Some(_) | None => {}
            }
            watch(last);
            visited += 1;
            if visited.is_multiple_of(ADVANCE_RECORDS) {
                shared.progress.set_durable(last, UnixNanos::default());
                dispatch.advance(last);
            }
        }
        opened.check_end(last)?;
        shared.progress.set_durable(last, UnixNanos::default());
        dispatch.advance(last);
        let sources = opened.sources;
        Ok(Self { shared, last, files, sources, _shards: dispatch, _data_dir: data_dir })
    }

    /// All rows.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        let visible = self.shared.progress.wait_visible(self.last, Duration::ZERO);
        visible.then(|| self.shared.published.snapshot(self.last)).flatten()
    }

    /// How far the partitions of sources are stored.
    #[must_use]
    pub fn offsets(&self) -> Vec<StoredOffsets> {
        self.sources.offsets()
    }

    /// Merges segments, also neighbours that would wait for more. `watch` is told how many rows were
    /// read since its last call. Gives the number of merges.
    ///
    /// # Errors
    /// Damage, and what the disk reports.
    pub fn compact(
        &self,
        config: &EngineConfig,
        (disk, clock): (&Arc<dyn Disk>, &Arc<dyn Clock>),
        watch: &mut dyn FnMut(u64),
    ) -> Result<u64, EngineError> {
        let home = (Arc::clone(disk), Arc::clone(clock));
        let shares = CompactorShares::default();
        let instruments = CompactionInstruments::default();
        let compactor = Compactor::new(config, &self.shared, home, shares, instruments.clone());
        let mut pace = |rows| {
            watch(rows);
            true
        };
        while compactor.step(true, &mut pace)? == Step::Done {}
        Ok(instruments.merges.get())
    }

    /// Transitions and attempts that no file holds.
    #[must_use]
    pub fn event_tail(&self) -> EventTail {
        self.shared.outbox.tail(self.shared.published.manifest().events_lsn())
    }

    /// Dead letters that no file holds, and what was done with any.
    #[must_use]
    pub fn letters(&self) -> &Letters {
        &self.shared.letters
    }

    /// Closed windows that no file holds.
    #[must_use]
    pub fn windows(&self) -> &Windows {
        &self.shared.windows
    }

    /// The files of the log.
    #[must_use]
    pub fn wal_segments(&self) -> &[WalSegmentInfo] {
        &self.files
    }
}

/// The file of the log in which this is the first record.
fn file_of(
    disk: &dyn Disk,
    config: &EngineConfig,
    record: &Record<'_>,
) -> Result<WalSegmentInfo, EngineError> {
    let path = config.wal_dir().join(record.file);
    let bytes = disk.len(&path);
    Ok(WalSegmentInfo {
        file: record.file.into(),
        first_lsn: record.lsn,
        last_lsn: record.lsn,
        bytes: bytes.map_err(|source| EngineError::Io {
            action: "measure",
            path,
            source: Arc::new(source),
        })?,
        state: SegmentState::Sealed,
    })
}
