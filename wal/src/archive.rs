//! The archive: sealed files of the log, packed, beyond the log's own truncation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::Disk;
use tidewatch_metrics::{Lsn, UnixNanos};

use crate::archive_dir::{ArchiveDir, ArchivedSegment, unfinished_archived_name};
use crate::error::{Damage, WalError};
use crate::instruments::ArchiveInstruments;
use crate::packer::{Packed, pack};
use crate::segment::{SegmentState, WalSegmentInfo};

/// Keeps packed copies of sealed WAL segments, in a directory of their own.
///
/// A segment is first stored and then released from the log: at every moment each record is in at
/// least one of the two, and a reader of both gives it once. It has one owner; reading needs none.
///
/// Invariant: `files` is sorted by LSN, and no two files have a record in common.
#[derive(Debug)]
pub struct Archive {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    instruments: ArchiveInstruments,
    files: Vec<ArchivedSegment>,
    poisoned: bool,
}

impl Archive {
    /// Opens the archive in `dir`, which is created if missing; files whose writing did not end are
    /// removed. Nothing is read.
    ///
    /// # Errors
    /// `Io`, and `Corrupt` if two files claim the same records.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        instruments: ArchiveInstruments,
    ) -> Result<Self, WalError> {
        disk.create_dir_all(dir).map_err(WalError::io("create", dir))?;
        // DURABILITY: a killed process leaves names that are seen but not durable. The log releases
        // what is seen here, so it must be.
        disk.sync_dir(dir).map_err(WalError::io("sync", dir))?;
        let found = ArchiveDir::scan(&*disk, dir)?;
        for (older, newer) in found.segments.iter().zip(found.segments.iter().skip(1)) {
            check_apart(older, newer)?;
        }
        for name in &found.unfinished {
            let path = dir.join(name);
            disk.remove(&path).map_err(WalError::io("remove", &path))?;
        }
        let dir = dir.to_owned();
        let archive = Self { disk, dir, instruments, files: found.segments, poisoned: false };
        archive.show();
        Ok(archive)
    }

    /// Stores a sealed WAL segment of the log in `wal_dir`, durably, and gives the bytes that this
    /// takes. `time` is the log's time at the segment's end.
    ///
    /// Nothing is done for a segment that is stored already or has no record.
    ///
    /// # Errors
    /// `Full` if the disk has no room, `Corrupt` and `Version` if the segment cannot be read or the
    /// archive has some of its records in another file, `Io`; the archive is then as it was, and
    /// later calls may succeed. `Poisoned` after a sync of the directory failed.
    ///
    /// # Panics
    /// If the segment still takes records.
    pub fn store(
        &mut self,
        wal_dir: &Path,
        segment: &WalSegmentInfo,
        time: UnixNanos,
    ) -> Result<u64, WalError> {
        assert_eq!(segment.state, SegmentState::Sealed, "only a sealed segment can be archived");
        self.check_usable()?;
        if segment.last_lsn < segment.first_lsn {
            return Ok(0);
        }
        let at = self.files.partition_point(|file| file.first_lsn < segment.first_lsn);
        if let Some(stored) = self.files.get(at)
            && (stored.first_lsn, stored.last_lsn) == (segment.first_lsn, segment.last_lsn)
        {
            return Ok(stored.bytes);
        }
        let packed = self.pack(wal_dir, segment, time)?;
        let header = packed.header;
        let stored = ArchivedSegment {
            file: header.name().into(),
            first_lsn: header.first_lsn,
            last_lsn: header.last_lsn,
            time: header.time,
            bytes: packed.bytes,
            raw_bytes: header.raw_bytes,
        };
        self.instruments.archived_bytes.inc_by(stored.raw_bytes);
        self.files.insert(at, stored);
        self.show();
        Ok(packed.bytes)
    }

    /// The files, by LSN.
    #[must_use]
    pub fn files(&self) -> &[ArchivedSegment] {
        &self.files
    }

    /// Removes the oldest files: those from before `before`, then those that make all together
    /// larger than `bytes_max`, but none with a record from `keep_from` on. Gives those that went.
    ///
    /// What is left has no hole that was not there before, also if this is interrupted.
    ///
    /// # Errors
    /// `Io` if a file could not be removed; those that went before it are gone. `Poisoned` after a
    /// sync of the directory failed.
    pub fn expire(
        &mut self,
        before: UnixNanos,
        bytes_max: u64,
        keep_from: Option<Lsn>,
    ) -> Result<Vec<ArchivedSegment>, WalError> {
        self.check_usable()?;
        let mut gone = Vec::new();
        let mut bytes = self.bytes();
        while let Some(oldest) = self.files.first() {
            let kept = keep_from.is_some_and(|from| oldest.last_lsn >= from);
            if kept || (oldest.time >= before && bytes <= bytes_max) {
                break;
            }
            bytes -= oldest.bytes;
            let path = self.dir.join(&*oldest.file);
            self.disk.remove(&path).map_err(WalError::io("remove", &path))?;
            gone.push(self.files.remove(0));
            self.instruments.expired_files.inc();
            self.show();
            // DURABILITY: before the next younger file goes, or a crash could leave a hole.
            self.sync_dir()?;
        }
        Ok(gone)
    }

    fn pack(
        &mut self,
        wal_dir: &Path,
        segment: &WalSegmentInfo,
        time: UnixNanos,
    ) -> Result<Packed, WalError> {
        self.check_new(segment)?;
        let unfinished = self.dir.join(unfinished_archived_name(segment.first_lsn));
        self.remove_unfinished(&unfinished);
        let packed = pack(&*self.disk, wal_dir, segment, time, &unfinished).and_then(|packed| {
            let path = self.dir.join(packed.header.name());
            self.disk.rename(&unfinished, &path).map_err(WalError::io("rename", &unfinished))?;
            Ok(packed)
        });
        match packed {
            Ok(packed) => {
                // DURABILITY: the name, before the log lets go of its own copy.
                self.sync_dir()?;
                Ok(packed)
            }
            Err(error) => {
                self.remove_unfinished(&unfinished);
                let full = error.is_storage_full();
                Err(if full { WalError::Full { bytes: segment.bytes } } else { error })
            }
        }
    }

    /// Refuses a segment that has records in common with a stored one.
    fn check_new(&self, segment: &WalSegmentInfo) -> Result<(), WalError> {
        let ends_before = |file: &&ArchivedSegment| file.last_lsn < segment.first_lsn;
        match self.files.iter().find(|file| !ends_before(file)) {
            Some(next) if next.first_lsn <= segment.last_lsn => {
                Err(overlap(next, segment.first_lsn))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn remove_unfinished(&self, unfinished: &Path) {
        match self.disk.remove(unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                // If it is needed again, creating it will fail; else the next start removes it.
                tracing::warn!(%error, path = %unfinished.display(), "unfinished archive file left behind");
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn show(&self) {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.instruments.files.set(gauge(self.files.len() as u64));
        self.instruments.bytes.set(gauge(self.bytes()));
    }

    fn check_usable(&self) -> Result<(), WalError> {
        if self.poisoned { Err(WalError::Poisoned) } else { Ok(()) }
    }

    fn sync_dir(&mut self) -> Result<(), WalError> {
        let synced = self.disk.sync_dir(&self.dir);
        self.poisoned |= synced.is_err();
        synced.map_err(WalError::io("sync", &self.dir))
    }
}

/// The last record of the archive in `dir`; `None` if it has none. Nothing is read or changed.
///
/// # Errors
/// `Io` if the directory cannot be listed.
pub fn last_archived(disk: &dyn Disk, dir: &Path) -> Result<Option<Lsn>, WalError> {
    Ok(ArchiveDir::scan(disk, dir)?.segments.last().map(|segment| segment.last_lsn))
}

/// Refuses neighbours that have records in common.
pub(crate) fn check_apart(
    older: &ArchivedSegment,
    newer: &ArchivedSegment,
) -> Result<(), WalError> {
    if newer.first_lsn > older.last_lsn { Ok(()) } else { Err(overlap(newer, newer.first_lsn)) }
}

fn overlap(file: &ArchivedSegment, from: Lsn) -> WalError {
    let (from, to) = (from.max(file.first_lsn), file.last_lsn);
    WalError::corrupt(&file.file, 0, Damage::Repeated { from, to })
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
