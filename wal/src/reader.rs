//! Reads the records of a log without changing it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::Disk;
use tidewatch_metrics::Lsn;

use crate::archive_dir::ArchiveDir;
use crate::block::Block;
use crate::error::{Damage, WalError};
use crate::log_dir::{LogDir, SegmentFile, segment_name};
use crate::part::{Part, live_parts, parts_from};
use crate::segment::WalSegmentInfo;
use crate::segment_reader::{FileEnd, FrameAt, SegmentReader};

/// One record, as it stands in the log; or a gap, of kind [`KIND_GAP`](crate::KIND_GAP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its position in the log; that of the first missing record if it is a gap.
    pub lsn: Lsn,
    /// Its position too; that of the last missing record if it is a gap.
    pub last_lsn: Lsn,
    /// What its writer calls its kind; below [`KIND_CALLER_MIN`](crate::KIND_CALLER_MIN) it is the
    /// log's own.
    pub kind: u8,
    /// Its bytes, checked.
    pub payload: &'a [u8],
    /// The file's name in the log's directory, or in the archive's.
    pub file: &'a str,
    /// Where in the file, or in what it unpacks to, its frame starts.
    pub offset: u64,
}

/// Reads records in LSN order, with memory for one block or the largest frame.
///
/// The log may be in use. [`next_record`](Self::next_record) ends where it finds the end, in the file
/// that was the last one when the reader was opened; [`next_record_upto`](Self::next_record_upto)
/// follows the log for ever. A file that is released before it was read is read from the archive, if
/// the reader was opened with one, and else its records are `Missing`.
#[derive(Debug)]
pub struct WalReader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    archive_dir: Option<PathBuf>,
    parts: Vec<Part>,
    /// The least LSN to give.
    from: Lsn,
    /// How many parts are read or being read.
    opened: usize,
    current: Option<SegmentReader>,
    done: Vec<WalSegmentInfo>,
}

impl WalReader {
    /// A reader of the records from `from` on, or from the oldest that the log still has.
    ///
    /// # Errors
    /// `Io` if the directory cannot be read.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, from: Lsn) -> Result<Self, WalError> {
        let found = LogDir::scan(&*disk, dir)?;
        Ok(Self::of(disk, dir, live_parts(&found, from), from))
    }

    /// As [`open`](Self::open), but every record from `from` on must be there; zero stands for the
    /// oldest, whichever that is.
    ///
    /// # Errors
    /// `Missing` if the log begins after `from`, `Io` if the directory cannot be read.
    pub fn open_at(disk: Arc<dyn Disk>, dir: &Path, from: Lsn) -> Result<Self, WalError> {
        let found = LogDir::scan(&*disk, dir)?;
        found.check_begin(from)?;
        Ok(Self::of(disk, dir, live_parts(&found, from), from))
    }

    /// As [`open_at`](Self::open_at), with the archive in `archive_dir` before the log: both are one
    /// log, and a record that is in both is given once. Without such a directory there is no archive.
    ///
    /// # Errors
    /// `Missing` if both begin after `from`; `Corrupt` if records are missing between files, with
    /// their LSNs; `Io` if a directory cannot be read.
    pub fn open_with_archive(
        disk: Arc<dyn Disk>,
        dir: &Path,
        archive_dir: &Path,
        from: Lsn,
    ) -> Result<Self, WalError> {
        // ORDER: the log first. A file that is stored and released meanwhile is then in both lists,
        // and not in neither.
        let found = LogDir::scan(&*disk, dir)?;
        let archived = ArchiveDir::scan(&*disk, archive_dir)?.segments;
        let parts = parts_from(&found, &archived, from)?;
        let archive_dir = Some(archive_dir.to_owned());
        Ok(Self { archive_dir, ..Self::of(disk, dir, parts, from) })
    }

    /// A reader of the records of the last file alone: a quick way to the end of the log.
    ///
    /// # Errors
    /// `Io` if the directory cannot be read.
    pub fn open_last(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, WalError> {
        let last = Self::open(disk, dir, Lsn::new(u64::MAX))?;
        Ok(Self { from: Lsn::ZERO, ..last })
    }

    /// The next record, the log's own included; `None` at the end, where a torn tail counts as such.
    ///
    /// # Errors
    /// `Corrupt` where durable bytes are damaged or missing, `Missing` if the record was released
    /// meanwhile, `Version`, `Io`. Later calls give the error again.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, WalError> {
        loop {
            match self.next_frame() {
                Ok(Some(frame)) => return Ok(Some(self.give(&frame))),
                Ok(None) => return Ok(None),
                Err(error) => self.look_again(error)?,
            }
        }
    }

    /// The next record if its LSN is at most `upto`, which the caller knows to be durable; `None`
    /// means that the next one is beyond it, and a later call goes on from there.
    ///
    /// For a log that is being written: what stands beyond `upto` is not looked at, and files that
    /// were put to use meanwhile are read as well.
    ///
    /// # Errors
    /// As [`next_record`](Self::next_record); a record that is not there is `Corrupt`.
    pub fn next_record_upto(&mut self, upto: Lsn) -> Result<Option<Record<'_>>, WalError> {
        loop {
            match self.next_frame_upto(upto) {
                Ok(Some(frame)) => return Ok(Some(self.give(&frame))),
                Ok(None) => return Ok(None),
                Err(error) => self.look_again(error)?,
            }
        }
    }

    /// At the end: the files that were read, and the reader of the last one.
    pub(crate) fn finish(mut self) -> (Vec<WalSegmentInfo>, Option<SegmentReader>) {
        self.done.extend(self.current.as_ref().map(SegmentReader::info));
        (self.done, self.current)
    }

    fn next_frame(&mut self) -> Result<Option<FrameAt>, WalError> {
        loop {
            let Some(reader) = &mut self.current else {
                if self.open_next(FileEnd::Last)? {
                    continue;
                }
                return Ok(None);
            };
            match reader.advance()? {
                Some(frame) if frame.last >= self.from => return Ok(Some(frame)),
                Some(_) => {}
                None if self.opened == self.parts.len() => return Ok(None),
                None => {
                    self.open_next(FileEnd::Last)?;
                }
            }
        }
    }

    fn next_frame_upto(&mut self, upto: Lsn) -> Result<Option<FrameAt>, WalError> {
        while self.next_lsn() <= upto {
            let frame = match &mut self.current {
                Some(reader) if reader.is_sealed() => reader.advance()?,
                Some(reader) => reader.advance_durable()?,
                None => None,
            };
            match frame {
                Some(frame) if frame.last >= self.from => return Ok(Some(frame)),
                Some(_) => {}
                None if self.opened == self.parts.len() => self.follow()?,
                None => {
                    self.open_next(FileEnd::Growing)?;
                }
            }
        }
        Ok(None)
    }

    fn give(&mut self, frame: &FrameAt) -> Record<'_> {
        self.from = frame.last.next();
        let reader = self.current.as_ref().expect("the frame came from the current file");
        Record {
            lsn: frame.header.lsn,
            last_lsn: frame.last,
            kind: frame.header.kind,
            payload: reader.payload(frame),
            file: reader.name(),
            offset: frame.offset,
        }
    }

    /// After an error: begins anew with the next record if the file at fault has been released or
    /// expired, or has got a successor, since the files were listed; else the error stands.
    fn look_again(&mut self, error: WalError) -> Result<(), WalError> {
        let at = if self.current.is_some() { self.opened - 1 } else { self.opened };
        let Some(failed) = self.parts.get(at).filter(|_| error.is_about_content()) else {
            return Err(error);
        };
        let found = LogDir::scan(&*self.disk, &self.dir)?;
        let archived = match &self.archive_dir {
            Some(archive_dir) => ArchiveDir::scan(&*self.disk, archive_dir)?.segments,
            None => Vec::new(),
        };
        let unchanged = match failed {
            Part::Live(..) => live_parts(&found, Lsn::ZERO).contains(failed),
            Part::Archived(segment) => archived.contains(segment),
        };
        if unchanged {
            return Err(error);
        }
        self.parts = parts_from(&found, &archived, self.from)?;
        self.opened = 0;
        self.current = None;
        Ok(())
    }

    fn of(disk: Arc<dyn Disk>, dir: &Path, parts: Vec<Part>, from: Lsn) -> Self {
        let (dir, archive_dir) = (dir.to_owned(), None);
        Self { disk, dir, archive_dir, parts, from, opened: 0, current: None, done: Vec::new() }
    }

    /// The LSN of the frame to come, given or skipped.
    fn next_lsn(&self) -> Lsn {
        match (&self.current, self.parts.get(self.opened)) {
            (Some(reader), _) => reader.next_lsn(),
            (None, Some(part)) => part.first_lsn(),
            (None, None) => Lsn::ZERO.next(),
        }
    }

    /// Goes on to the file that was put to use for the next record, which is durable.
    fn follow(&mut self) -> Result<(), WalError> {
        let next = self.next_lsn();
        let name: Arc<str> = segment_name(next).into();
        let path = self.dir.join(&*name);
        let found = self.disk.exists(&path).map_err(WalError::io("look for", &path))?;
        let epoch = self.current.as_ref().map(SegmentReader::epoch);
        if found {
            let segment = SegmentFile { name: Arc::clone(&name), first_lsn: next };
            self.parts.push(Part::Live(segment, None));
            self.open_next(FileEnd::Growing)?;
            // A file without records is replaced by one of the same name, but not of the same use.
            if self.current.as_ref().map(SegmentReader::epoch) != epoch {
                return Ok(());
            }
        }
        let Some(reader) = &mut self.current else {
            let missing = Damage::Missing { from: next, to: next };
            return Err(WalError::corrupt(&name, 0, missing));
        };
        let damage = reader.damage_at_next()?;
        Err(WalError::corrupt(reader.name(), reader.offset(), damage))
    }

    /// Goes on to the next file, if there is one; the newest one ends in this way.
    fn open_next(&mut self, newest: FileEnd) -> Result<bool, WalError> {
        let Some(part) = self.parts.get(self.opened) else { return Ok(false) };
        let finished = self.current.as_ref().map(SegmentReader::info);
        let block = self.current.take().map_or_else(Block::default, SegmentReader::into_block);
        let disk = &*self.disk;
        let opened = match part {
            Part::Live(segment, next) => {
                let end = next.map_or(newest, FileEnd::Before);
                SegmentReader::open(disk, &self.dir, segment, end, block)
            }
            Part::Archived(segment) => {
                let dir = self.archive_dir.as_ref().expect("archived parts come with an archive");
                SegmentReader::open_archived(disk, dir, segment, block)
            }
        }?;
        self.done.extend(finished);
        self.current = Some(opened);
        self.opened += 1;
        Ok(true)
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
