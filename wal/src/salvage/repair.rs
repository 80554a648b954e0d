//! What is wrong with one file of the log, and the file that takes its place.

use std::io;
use std::path::Path;

use tidewatch_env::{Disk, DiskFile, OpenMode};
use tidewatch_metrics::Lsn;

use crate::error::{Damage, WalError};
use crate::gap::{Gap, encode_gap};
use crate::limits::STEP_BYTES;
use crate::log_dir::{segment_name, unfinished_name};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};

/// The epoch of a repaired file that has no frame of its former use: nothing else is in it.
pub(crate) const EMPTY_EPOCH: u64 = 1;

/// A file of the log that is damaged, or that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRepair {
    /// Its name in the log's directory.
    pub file: String,
    /// What is wrong at the first damaged place.
    pub damage: Damage,
    /// Where that is, in bytes from the file's start.
    pub offset: u64,
    /// The records that are missing in it, by LSN; none where all could be read in spite of the damage.
    pub gaps: Vec<FileGap>,
    /// Where the log can be read to, if it ended with this file and its end is gone: beside the gaps
    /// there may have been later records, and nothing tells how many.
    pub cut_at: Option<u64>,
    /// There was no such file: it is made for its gap.
    pub is_new: bool,
    pub(crate) first_lsn: Lsn,
    pub(crate) epoch: u64,
    pub(crate) has_gaps: bool,
    pub(crate) pieces: Vec<Piece>,
}

/// Missing records, and the bytes where they stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileGap {
    /// Which records.
    pub gap: Gap,
    /// Where in the damaged file nothing can be read.
    pub offset: u64,
    /// Up to the next record, or to the file's end; 0 where the bytes themselves are gone.
    pub bytes: u64,
}

/// A part of the repaired file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Intact frames of the damaged file.
    Frames { offset: u64, bytes: u64 },
    /// A frame that states a gap.
    Gap(Gap),
}

impl FileRepair {
    /// A file for records whose own files are gone; it has no record where there is no gap.
    pub(crate) fn missing(first_lsn: Lsn, gap: Option<Gap>) -> Self {
        let gap_of = |gap| FileGap { gap, offset: 0, bytes: 0 };
        let to = gap.map_or(first_lsn, |gap| gap.to);
        Self {
            file: segment_name(first_lsn),
            damage: Damage::Missing { from: first_lsn, to },
            offset: 0,
            gaps: gap.map(gap_of).into_iter().collect(),
            cut_at: None,
            is_new: true,
            first_lsn,
            epoch: EMPTY_EPOCH,
            has_gaps: gap.is_some(),
            pieces: gap.map(Piece::Gap).into_iter().collect(),
        }
    }

    /// Writes the repaired file and gives it its name; durable once the directory is synced.
    pub(crate) fn put_in_place(&self, disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
        let path = dir.join(&self.file);
        // A start removes files of such names, should this be interrupted.
        let unfinished = dir.join(unfinished_name(self.first_lsn.get()));
        match disk.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(WalError::io("remove", &unfinished)(error));
            }
            Ok(()) | Err(_) => {}
        }
        let target = disk.open(&unfinished, OpenMode::CreateNew);
        let target = target.map_err(WalError::io("create", &unfinished))?;
        let source = match self.is_new {
            true => None,
            false => Some(disk.open(&path, OpenMode::Read).map_err(WalError::io("open", &path))?),
        };
        let written = self.write(&*target, source.as_deref());
        written.map_err(WalError::io("write", &unfinished))?;
        // DURABILITY: the bytes before the name, so that the damaged file is not lost for a torn one.
        target.sync_data().map_err(WalError::io("sync", &unfinished))?;
        disk.rename(&unfinished, &path).map_err(WalError::io("rename", &unfinished))
    }

    fn write(&self, target: &dyn DiskFile, source: Option<&dyn DiskFile>) -> io::Result<()> {
        let mut end = SEGMENT_HEADER_BYTES as u64;
        for piece in &self.pieces {
            match piece {
                Piece::Gap(gap) => {
                    let frame = encode_gap(*gap, self.epoch);
                    target.write_all_at(&frame, end)?;
                    end += frame.len() as u64;
                }
                Piece::Frames { offset, bytes } => {
                    let source = source.ok_or(io::ErrorKind::NotFound)?;
                    copy(source, *offset, target, end, *bytes)?;
                    end += bytes;
                }
            }
        }
        let header = SegmentHeader {
            first_lsn: self.first_lsn,
            epoch: self.epoch,
            file_bytes: end,
            has_gaps: self.has_gaps,
        };
        target.write_all_at(&header.encode(), 0)
    }
}

fn copy(
    source: &dyn DiskFile,
    mut from: u64,
    target: &dyn DiskFile,
    mut to: u64,
    bytes: u64,
) -> io::Result<()> {
    let mut block = vec![0; STEP_BYTES];
    let mut left = bytes;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(STEP_BYTES);
        let part = &mut block[..want];
        source.read_exact_at(part, from)?;
        target.write_all_at(part, to)?;
        let done = part.len() as u64;
        (from, to, left) = (from + done, to + done, left - done);
    }
    Ok(())
}
