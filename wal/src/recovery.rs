//! Opens a log after whatever happened to it.

use std::sync::Arc;

use tidewatch_env::{OpenMode, Rng};
use tidewatch_metrics::Lsn;

use crate::config::WalConfig;
use crate::error::WalError;
use crate::gap::Gap;
use crate::instruments::WalInstruments;
use crate::limits::{KIND_CALLER_MIN, KIND_GAP, SPARES_MAX};
use crate::log_dir::{LogDir, SegmentFile};
use crate::preallocator::Preallocator;
use crate::reader::{Record, WalReader};
use crate::segment::{SegmentState, WalSegmentInfo, before};
use crate::segment_reader::SegmentReader;
use crate::stock::Stock;
use crate::writer::{Untrimmed, Wal, WalHome};

/// What a recovery found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverySummary {
    /// Records of the callers that were visited.
    pub records: u64,
    /// Files that hold records.
    pub segments: usize,
    /// The oldest LSN that the log still has, or the next one if it is empty.
    pub first_lsn: Lsn,
    /// The last LSN; the next record has the one after it.
    pub last_lsn: Lsn,
    /// Records that a salvage left out, of those that were to be visited.
    pub gaps: Vec<Gap>,
    /// The unfinished writes that were cut off, if there were any.
    pub torn_tail: Option<TornTail>,
}

/// Writes that a crash left unfinished, and that nobody had been told were durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file's name in the log's directory.
    pub file: Arc<str>,
    /// Where they start.
    pub offset: u64,
    /// How far anything of them reaches.
    pub bytes: u64,
}

/// The end of the log, as it was read.
#[derive(Debug)]
struct LogEnd {
    segments: Vec<WalSegmentInfo>,
    last: Option<SegmentReader>,
    gaps: Vec<Gap>,
}

impl Wal {
    /// As [`recover_from`](Self::recover_from), with all records that the log has.
    ///
    /// # Errors
    /// As there, but for `Missing`.
    pub fn recover<E: From<WalError>>(
        home: WalHome,
        config: WalConfig,
        instruments: WalInstruments,
        visit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(Self, RecoverySummary), E> {
        Self::recover_from(home, config, instruments, Lsn::ZERO, visit)
    }

    /// Reads the log in one pass, gives each record of a caller from `from` on to `visit`, in order,
    /// and opens it for writing after the last one.
    ///
    /// Files all of whose records are below `from` are not read. `from` may be the record after the
    /// last one; zero stands for the oldest that the log has, whichever that is. A torn tail is cut: the next record starts a new file, whose first LSN says where the records
    /// of the last one end. Recovery itself may be interrupted and repeated at any point.
    ///
    /// # Errors
    /// `Missing` if the log begins after `from` or ends before it; `Corrupt` if durable bytes are
    /// damaged or missing, `Version`, `Config`, `Io`, and whatever `visit` returns; the log is then
    /// as it was.
    pub fn recover_from<E: From<WalError>>(
        home: WalHome,
        config: WalConfig,
        instruments: WalInstruments,
        from: Lsn,
        visit: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(Self, RecoverySummary), E> {
        if let Some(problem) = config.problems().into_iter().next() {
            return Err(WalError::Config(problem).into());
        }
        let found = settle(&home)?;
        let (records, end) = read_from(&home, &found, from, visit)?;
        let summary = summarize(records, &end);
        if from > summary.last_lsn.next() {
            return Err(WalError::Missing { from, first: summary.last_lsn.next() }.into());
        }
        let stock = Arc::new(keep_spares(&home, &config, &found)?);
        if let Some(torn) = &summary.torn_tail {
            instruments.torn_bytes_cut.inc_by(torn.bytes);
            tracing::warn!(
                file = %torn.file, offset = torn.offset, bytes = torn.bytes,
                "unfinished writes cut off the log"
            );
        }
        let preallocator = Preallocator::new(
            Arc::clone(&home.disk),
            home.dir.clone(),
            config.segment_bytes_max,
            Arc::clone(&stock),
            instruments.clone(),
        );
        // The epoch before is mixed in, so that even a repeated seed gives a new one.
        let last_epoch = end.last.as_ref().map_or(0, SegmentReader::epoch);
        let epochs = Rng::from_seed(home.epoch_seed ^ last_epoch.rotate_left(32));
        let untrimmed = end
            .last
            .as_ref()
            .map(|last| Untrimmed { file: Arc::clone(last.name()), bytes: last.offset() });
        let last = summary.last_lsn;
        let wal = Self {
            home,
            config,
            instruments,
            stock,
            preallocator: Some(preallocator),
            untrimmed,
            sealed: end.segments,
            active: None,
            epochs,
            last,
            written: last,
            durable: last,
            unwritten_records: 0,
            unwritten_bytes: 0,
            poisoned: false,
        };
        Ok((wal, summary))
    }
}

/// Makes what can be read of the directory the same as what the disk has.
fn settle(home: &WalHome) -> Result<LogDir, WalError> {
    let WalHome { disk, dir, .. } = home;
    disk.create_dir_all(dir).map_err(WalError::io("create", dir))?;
    // DURABILITY: a killed process leaves names and bytes that are read but not durable. What is
    // visited now counts as durable, so it must be; and after a failed sync the cache shows what
    // the disk never got, so it must be forgotten.
    disk.sync_dir(dir).map_err(WalError::io("sync", dir))?;
    let found = LogDir::scan(&**disk, dir)?;
    if let Some(last) = found.segments.last() {
        let path = dir.join(&*last.name);
        let file = disk.open(&path, OpenMode::ReadWrite).map_err(WalError::io("open", &path))?;
        file.sync_data().map_err(WalError::io("sync", &path))?;
        file.forget_cached().map_err(WalError::io("reread", &path))?;
    }
    Ok(found)
}

/// Visits the callers' records from `from` on; their number, and the end of the log.
fn read_from<E: From<WalError>>(
    home: &WalHome,
    found: &LogDir,
    from: Lsn,
    mut visit: impl FnMut(Record<'_>) -> Result<(), E>,
) -> Result<(u64, LogEnd), E> {
    let mut reader = WalReader::open_at(Arc::clone(&home.disk), &home.dir, from)?;
    let mut records = 0;
    let mut gaps = Vec::new();
    while let Some(record) = reader.next_record()? {
        if record.kind == KIND_GAP {
            gaps.push(Gap { from: record.lsn, to: record.last_lsn });
        }
        if record.kind >= KIND_CALLER_MIN {
            records += 1;
            visit(record)?;
        }
    }
    let (read, last) = reader.finish();
    let mut segments = unread_below(home, found, from)?;
    segments.extend(read);
    Ok((records, LogEnd { segments, last, gaps }))
}

/// The files that hold nothing from `from` on, as their names tell.
fn unread_below(
    home: &WalHome,
    found: &LogDir,
    from: Lsn,
) -> Result<Vec<WalSegmentInfo>, WalError> {
    let with_next = found.segments.iter().zip(found.segments.iter().skip(1));
    let below = with_next.take(found.segments_below(from));
    let info = |(segment, next): (&SegmentFile, &SegmentFile)| {
        let path = home.dir.join(&*segment.name);
        Ok(WalSegmentInfo {
            file: Arc::clone(&segment.name),
            first_lsn: segment.first_lsn,
            last_lsn: before(next.first_lsn),
            bytes: home.disk.len(&path).map_err(WalError::io("measure", &path))?,
            state: SegmentState::Sealed,
        })
    };
    below.map(info).collect()
}

/// Keeps the spare files that can be used, and removes the others.
fn keep_spares(home: &WalHome, config: &WalConfig, found: &LogDir) -> Result<Stock, WalError> {
    let WalHome { disk, dir, .. } = home;
    let mut ready = Vec::new();
    let mut useless: Vec<_> = found.unfinished.iter().map(|name| dir.join(name)).collect();
    for spare in &found.spares {
        let path = dir.join(&spare.name);
        let bytes = disk.len(&path).map_err(WalError::io("measure", &path))?;
        if bytes == config.segment_bytes_max && ready.len() < SPARES_MAX {
            ready.push(path);
        } else {
            useless.push(path);
        }
    }
    for path in useless {
        disk.remove(&path).map_err(WalError::io("remove", &path))?;
    }
    let next_number = found.spares.iter().map(|spare| spare.number).max().unwrap_or(0);
    Ok(Stock::new(ready, next_number))
}

fn summarize(records: u64, end: &LogEnd) -> RecoverySummary {
    let first = end.segments.first().map_or(Lsn::ZERO.next(), |segment| segment.first_lsn);
    let torn = end.last.as_ref().filter(|last| last.torn_bytes() > 0);
    RecoverySummary {
        records,
        segments: end.segments.len(),
        first_lsn: first,
        last_lsn: end.last.as_ref().map_or(before(first), SegmentReader::last_lsn),
        gaps: end.gaps.clone(),
        torn_tail: torn.map(|last| TornTail {
            file: Arc::clone(last.name()),
            offset: last.offset(),
            bytes: last.torn_bytes(),
        }),
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
