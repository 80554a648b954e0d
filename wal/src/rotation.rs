//! From one file of the log to the next.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::OpenMode;

use crate::active_segment::ActiveSegment;
use crate::error::WalError;
use crate::limits::INLINE_SEGMENT_BYTES;
use crate::log_dir::segment_name;
use crate::preallocator::Unfinished;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentState};
use crate::writer::{Untrimmed, Wal};

const PAGE_BYTES: u64 = 4096;

impl Wal {
    /// Sees to it that the active segment has room for a frame of this size.
    pub(crate) fn make_room(&mut self, frame_bytes: u64) -> Result<(), WalError> {
        if self.active.as_ref().is_some_and(|active| active.room() >= frame_bytes) {
            return Ok(());
        }
        // ORDER: the successor first, so that a full disk is met before anything has changed.
        let spare = match self.stock.take_ready() {
            Some(spare) => spare,
            None => self.make_spare(frame_bytes)?,
        };
        // DURABILITY: all of a file before the first of the next, so that only the last file can
        // have a torn tail.
        self.sync()?;
        let group = match self.active.take() {
            Some(active) => {
                self.sealed.push(active.info(self.last, SegmentState::Sealed));
                active.group
            }
            None => Vec::new(),
        };
        let opened = self.put_to_use(&spare, group);
        let active = self.keep(opened)?;
        // An empty predecessor had the same name and is replaced.
        self.sealed.retain(|segment| segment.first_lsn != active.first_lsn);
        self.active = Some(active);
        self.trim_predecessor();
        Ok(())
    }

    /// Size of the file that is made for a frame while none is ready.
    pub(crate) fn inline_segment_bytes(&self, frame_bytes: u64) -> u64 {
        (frame_bytes + SEGMENT_HEADER_BYTES as u64)
            .next_multiple_of(PAGE_BYTES)
            .max(INLINE_SEGMENT_BYTES)
            .min(self.config.segment_bytes_max)
    }

    fn make_spare(&mut self, frame_bytes: u64) -> Result<PathBuf, WalError> {
        let bytes = self.inline_segment_bytes(frame_bytes);
        let disk = &*self.home.disk;
        let made = Unfinished::create(disk, &self.home.dir, &self.stock, bytes).and_then(
            |mut unfinished| {
                while !unfinished.fill_step(disk)? {}
                Ok(unfinished.path)
            },
        );
        if let Err(WalError::Full { .. }) = made {
            return made;
        }
        let made = self.keep(made)?;
        self.instruments.segments_created.inc();
        Ok(made)
    }

    /// Makes a spare file the one that takes the next record.
    fn put_to_use(&mut self, spare: &Path, group: Vec<u8>) -> Result<ActiveSegment, WalError> {
        let disk = &*self.home.disk;
        let file = disk.open(spare, OpenMode::ReadWrite).map_err(WalError::io("open", spare))?;
        let bytes = file.len().map_err(WalError::io("measure", spare))?;
        let first_lsn = self.last.next();
        // Zero would be the epoch of bytes that were never written.
        let epoch = self.epochs.next_u64().max(1);
        let header =
            SegmentHeader { first_lsn, epoch, file_bytes: bytes, has_gaps: false }.encode();
        file.write_all_at(&header, 0).map_err(WalError::io("write", spare))?;
        // DURABILITY: the header before the name, so that every file of that name has one.
        file.sync_data().map_err(WalError::io("sync", spare))?;
        let name: Arc<str> = segment_name(first_lsn).into();
        let path = self.home.dir.join(&*name);
        disk.rename(spare, &path).map_err(WalError::io("rename", spare))?;
        // DURABILITY: the name before any record in it is acknowledged.
        disk.sync_dir(&self.home.dir).map_err(WalError::io("sync", &self.home.dir))?;
        let offset = SEGMENT_HEADER_BYTES as u64;
        Ok(ActiveSegment { name, path, file, first_lsn, epoch, bytes, offset, group })
    }

    /// Gives back the unused rest of the file that a recovery ended in.
    ///
    /// Not before its successor is durable: until then its length is checked against its header.
    fn trim_predecessor(&mut self) {
        let Some(Untrimmed { file, bytes }) = self.untrimmed.take() else { return };
        // If it held no record, its successor has its name and has replaced it.
        let found = self.sealed.last_mut().filter(|segment| segment.file == file);
        let Some(segment) = found else { return };
        let path = self.home.dir.join(&*segment.file);
        let opened = self.home.disk.open(&path, OpenMode::ReadWrite);
        match opened.and_then(|file| file.set_len(bytes)) {
            Ok(()) => segment.bytes = bytes,
            // Only space is lost, until the file is released.
            Err(error) => tracing::warn!(%error, path = %path.display(), "WAL segment not cut"),
        }
    }
}
