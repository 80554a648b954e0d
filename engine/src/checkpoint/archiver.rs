//! What becomes of files of the log that no start needs any more: they go to the archive, for a while.

use std::path::PathBuf;
use std::sync::Arc;

use tidewatch_env::Disk;
use tidewatch_metrics::{Lsn, UnixNanos};
use tidewatch_wal::{Archive, ArchiveInstruments, SegmentState, WalError, WalSegmentInfo};

use crate::EngineError;
use crate::budget::Budget;
use crate::config::{EngineConfig, ReplayPolicy};

/// Keeps what `replay` may ask for: packed files of the log, as long and as many as the policy says.
#[derive(Debug)]
pub(crate) struct Archiver {
    archive: Archive,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    wal_dir: PathBuf,
    policy: ReplayPolicy,
    budget: Arc<Budget>,
}

impl Archiver {
    /// The archive of a data directory.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        config: &EngineConfig,
        budget: Arc<Budget>,
        instruments: ArchiveInstruments,
    ) -> Result<Self, EngineError> {
        let dir = config.archive_dir();
        let archive = Archive::open(Arc::clone(&disk), &dir, instruments)?;
        Ok(Self { archive, disk, dir, wal_dir: config.wal_dir(), policy: config.replay, budget })
    }

    /// For how long records are kept.
    pub(crate) fn keep_nanos(&self) -> i64 {
        i64::try_from(self.policy.keep.as_nanos()).unwrap_or(i64::MAX)
    }

    /// Whether records are archived: where the budget of the disk is short, samples come first.
    fn is_on(&self) -> bool {
        !self.policy.keep.is_zero() && !self.budget.is_pressed()
    }

    /// Whether there is something to be given up for the budget's sake.
    pub(crate) fn is_pressed(&self) -> bool {
        self.budget.is_pressed() && !self.archive.files().is_empty()
    }

    /// Keeps copies of the sealed ones of `files` all of whose records are at or below `upto`, which
    /// the log may give up then. `now` is the log's time.
    pub(crate) fn store(
        &mut self,
        files: &[WalSegmentInfo],
        upto: Lsn,
        now: UnixNanos,
    ) -> Result<(), EngineError> {
        if self.is_on() {
            let sealed = files
                .iter()
                .filter(|file| file.state == SegmentState::Sealed && file.last_lsn <= upto);
            for file in sealed {
                match self.archive.store(&self.wal_dir, file, now) {
                    Ok(_) => {}
                    Err(WalError::Full { .. }) => return self.give_up(),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Removes all records: on a full disk, taking samples comes before looking back.
    fn give_up(&mut self) -> Result<(), EngineError> {
        // All of them, for what is archived later would stand behind a hole.
        let gone = self.archive.expire(UnixNanos::new(i64::MAX), 0, None)?;
        tracing::warn!(files = gone.len(), "the disk is full: the archive is given up");
        Ok(())
    }

    /// Removes what the policy no longer keeps. Gives the first record that is kept; `None` where the
    /// archive has none, so that the log has the first.
    pub(crate) fn expire(&mut self, now: UnixNanos) -> Result<Option<Lsn>, EngineError> {
        let (before, bytes_max) = if self.is_on() {
            (UnixNanos::new(now.nanos().saturating_sub(self.keep_nanos())), self.bytes_max()?)
        } else {
            // Records that are archived later would stand behind a hole.
            (UnixNanos::new(i64::MAX), 0)
        };
        let gone = self.archive.expire(before, bytes_max, None)?;
        if let (Some(first), Some(last)) = (gone.first(), gone.last()) {
            tracing::info!(files = gone.len(), first = %first.first_lsn, last = %last.last_lsn,
                "records left the archive");
        }
        Ok(self.archive.files().first().map(|file| file.first_lsn))
    }

    /// The policy's share of what the file system has for us: free space, and what the archive has.
    fn bytes_max(&self) -> Result<u64, EngineError> {
        let archived: u64 = self.archive.files().iter().map(|file| file.bytes).sum();
        let available = self.disk.available_bytes(&self.dir).map_err(|source| EngineError::Io {
            action: "measure the space of",
            path: self.dir.clone(),
            source: Arc::new(source),
        })?;
        let all = available.saturating_add(archived);
        Ok(all / 1_000 * u64::from(self.policy.disk_permille))
    }
}
