//! The writer of the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::{Clock, Disk, Rng};
use tidewatch_metrics::Lsn;

use crate::active_segment::ActiveSegment;
use crate::config::WalConfig;
use crate::error::WalError;
use crate::frame::{FrameHeader, frame_bytes, payload_crc};
use crate::instruments::WalInstruments;
use crate::limits::{KIND_CALLER_MIN, KIND_MARK};
use crate::preallocator::Preallocator;
use crate::segment::{SegmentState, WalSegmentInfo};
use crate::stock::{Released, Stock};

/// Where a log lives, and the doors it needs.
#[derive(Clone, Debug)]
pub struct WalHome {
    /// The disk that holds it.
    pub disk: Arc<dyn Disk>,
    /// Its directory, created if missing; one process at a time may write there.
    pub dir: PathBuf,
    /// Times the syncs.
    pub clock: Arc<dyn Clock>,
    /// Seeds the epochs: a number that clients cannot know, another one at each start.
    pub epoch_seed: u64,
}

/// The log's only writer. [`Wal::recover`] makes it.
///
/// A record goes through three levels: appended (in memory), written (survives the end of the
/// process), durable (survives a power loss). The first failed write or sync ends the writer for
/// good: every later call returns [`WalError::Poisoned`], and only a recovery tells what the disk
/// has.
///
/// Invariant: `durable <= written <= last`.
#[derive(Debug)]
pub struct Wal {
    pub(crate) home: WalHome,
    pub(crate) config: WalConfig,
    pub(crate) instruments: WalInstruments,
    pub(crate) stock: Arc<Stock>,
    pub(crate) preallocator: Option<Preallocator>,
    /// By LSN; after a recovery the last one stays until another file is put to use.
    pub(crate) sealed: Vec<WalSegmentInfo>,
    /// None from the recovery to the first record, so that a start alone writes nothing.
    pub(crate) active: Option<ActiveSegment>,
    /// The file that the recovery ended in, until its unused rest is given back.
    pub(crate) untrimmed: Option<Untrimmed>,
    pub(crate) epochs: Rng,
    pub(crate) last: Lsn,
    pub(crate) written: Lsn,
    pub(crate) durable: Lsn,
    pub(crate) unwritten_records: u64,
    pub(crate) unwritten_bytes: u64,
    pub(crate) poisoned: bool,
}

/// A file that is longer than its records.
#[derive(Clone, Debug)]
pub(crate) struct Untrimmed {
    pub(crate) file: Arc<str>,
    /// Where its records end.
    pub(crate) bytes: u64,
}

impl Wal {
    /// Adds a record to the group and gives its LSN; it is neither written nor durable yet.
    ///
    /// The payload comes in parts, which are copied at most once. `payload_crc` is what
    /// [`payload_crc`](crate::payload_crc) says of them, if the caller has computed it already.
    /// When the file is full, the group is synced and the next file put to use.
    ///
    /// # Errors
    /// `Full` and `TooLarge` leave the log as it was. `Io` and `Poisoned` are final.
    ///
    /// # Panics
    /// If `kind` belongs to the log itself.
    pub fn append(
        &mut self,
        kind: u8,
        payload: &[&[u8]],
        payload_crc: Option<u32>,
    ) -> Result<Lsn, WalError> {
        assert!(kind >= KIND_CALLER_MIN, "kinds below {KIND_CALLER_MIN} belong to the log");
        self.push(kind, payload, payload_crc)
    }

    /// Writes the group, and gives the last written LSN.
    ///
    /// # Errors
    /// `Io` and `Poisoned`, both final.
    pub fn write(&mut self) -> Result<Lsn, WalError> {
        self.check_usable()?;
        if let Some(active) = &mut self.active {
            let written = active.write().map_err(WalError::io("write", &active.path));
            self.keep(written)?;
        }
        self.instruments.records_appended.inc_by(std::mem::take(&mut self.unwritten_records));
        self.instruments.bytes_appended.inc_by(std::mem::take(&mut self.unwritten_bytes));
        self.written = self.last;
        Ok(self.written)
    }

    /// Writes the group and makes it durable; gives the durable LSN, which is the last one.
    ///
    /// # Errors
    /// `Io` and `Poisoned`, both final.
    pub fn sync(&mut self) -> Result<Lsn, WalError> {
        self.write()?;
        if let Some(active) = &self.active
            && self.durable < self.written
        {
            let start = self.home.clock.monotonic();
            let synced = active.file.sync_data().map_err(WalError::io("sync", &active.path));
            let took = self.home.clock.monotonic().saturating_sub(start);
            self.keep(synced)?;
            self.instruments.syncs.inc();
            self.instruments.sync_seconds.observe(took.as_secs_f64());
            self.durable = self.written;
        }
        Ok(self.durable)
    }

    /// Appends a mark, a record of the log's own, and makes it durable.
    ///
    /// To be called once when the log falls idle: the mark says that all before it was synced, so
    /// that damage in the last group cannot be taken for an unfinished write.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn mark(&mut self) -> Result<Lsn, WalError> {
        self.push(KIND_MARK, &[], None)?;
        self.sync()
    }

    /// Whether a record with a payload of this size can be appended without waiting for space.
    ///
    /// # Errors
    /// `Full` if it would need a file that the disk has no room for, `TooLarge`, `Poisoned`, `Io`.
    pub fn reserve(&self, payload_bytes: u64) -> Result<(), WalError> {
        self.check_usable()?;
        let frame = self.check_size(payload_bytes)?;
        if self.active.as_ref().is_some_and(|active| active.room() >= frame)
            || self.stock.ready() > 0
        {
            return Ok(());
        }
        let bytes = self.inline_segment_bytes(frame);
        let dir = &self.home.dir;
        let available = self.home.disk.available_bytes(dir);
        if available.map_err(WalError::io("measure", dir))? < bytes {
            return Err(WalError::Full { bytes });
        }
        Ok(())
    }

    /// Gives up the files all of whose records are at or below `upto`, oldest first.
    ///
    /// The file that takes records stays, and without one the newest. Without a taken
    /// [`Preallocator`] they are put away before the return, otherwise by it.
    ///
    /// # Errors
    /// `Poisoned`, and `Io` if a file could not be put away; the next call tries again.
    pub fn release(&mut self, upto: Lsn) -> Result<(), WalError> {
        self.check_usable()?;
        let keep_newest = usize::from(self.active.is_none());
        let releasable = self.sealed.len().saturating_sub(keep_newest);
        let count = self.sealed.partition_point(|segment| segment.last_lsn <= upto).min(releasable);
        for segment in self.sealed.drain(..count) {
            let path = self.home.dir.join(&*segment.file);
            self.stock.release(Released { path, bytes: segment.bytes });
        }
        if let Some(preallocator) = &mut self.preallocator {
            while preallocator.put_away_once()? {}
        }
        Ok(())
    }

    /// Hands out what readies files, for a thread beside the committer; `None` the second time.
    ///
    /// Without it the log makes small files when it needs them, while the committer waits.
    pub fn take_preallocator(&mut self) -> Option<Preallocator> {
        self.preallocator.take()
    }

    /// The last record that survives a power loss.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        self.durable
    }

    /// The last record that survives the end of the process.
    #[must_use]
    pub fn written_lsn(&self) -> Lsn {
        self.written
    }

    /// The last record that was appended.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        self.last
    }

    /// Whether a write or sync failed, so that the log takes nothing more.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// The oldest record that the log still has; the next one if it has none.
    #[must_use]
    pub fn oldest_lsn(&self) -> Lsn {
        let active = self.active.as_ref().map(|active| active.first_lsn);
        let sealed = self.sealed.first().map(|segment| segment.first_lsn);
        sealed.or(active).unwrap_or(self.last.next())
    }

    /// Bytes on disk of all files that hold records.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let active = self.active.as_ref().map_or(0, |active| active.bytes);
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() + active
    }

    /// The files that hold records, by LSN.
    #[must_use]
    pub fn segments(&self) -> Vec<WalSegmentInfo> {
        let active = self.active.as_ref();
        let active = active.map(|active| active.info(self.last, SegmentState::Active));
        self.sealed.iter().cloned().chain(active).collect()
    }

    /// The log's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.home.dir
    }

    fn push(
        &mut self,
        kind: u8,
        payload: &[&[u8]],
        known_crc: Option<u32>,
    ) -> Result<Lsn, WalError> {
        self.check_usable()?;
        let payload_bytes = payload.iter().map(|part| part.len() as u64).sum();
        let frame = self.check_size(payload_bytes)?;
        self.make_room(frame)?;
        let active = self.active.as_mut().expect("room was made in the active segment");
        let header = FrameHeader {
            payload_bytes: u32::try_from(payload_bytes).expect("a frame is at most 1 GiB"),
            payload_crc: known_crc.unwrap_or_else(|| payload_crc(payload)),
            lsn: self.last.next(),
            previous_synced: self.durable,
            epoch: active.epoch,
            kind,
        };
        debug_assert_eq!(
            header.payload_crc,
            payload_crc(payload),
            "the caller's checksum is wrong"
        );
        let pushed = active.push(&header, payload).map_err(WalError::io("write", &active.path));
        self.keep(pushed)?;
        self.last = header.lsn;
        self.unwritten_records += 1;
        self.unwritten_bytes += frame;
        Ok(header.lsn)
    }

    /// The size of the frame, if it may be one.
    fn check_size(&self, payload_bytes: u64) -> Result<u64, WalError> {
        let bytes = frame_bytes(payload_bytes);
        let max = self.config.frame_bytes_max;
        if bytes > max { Err(WalError::TooLarge { bytes, max }) } else { Ok(bytes) }
    }

    pub(crate) fn check_usable(&self) -> Result<(), WalError> {
        if self.poisoned { Err(WalError::Poisoned) } else { Ok(()) }
    }

    /// Passes a result on; a failure is final.
    pub(crate) fn keep<T>(&mut self, result: Result<T, WalError>) -> Result<T, WalError> {
        self.poisoned |= result.is_err();
        result
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
