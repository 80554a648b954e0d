//! Reads and checks one file of the log, block by block.

#![deny(clippy::indexing_slicing)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::{Disk, DiskFile, OpenMode};
use tidewatch_metrics::Lsn;

use crate::error::{Damage, WalError};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::limits::BLOCK_BYTES;
use crate::log_dir::SegmentFile;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentState, WalSegmentInfo, before};
use crate::tail::{BadFrame, Tail};

/// A cursor over the frames of one file.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    name: Arc<str>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    file_bytes: u64,
    header: SegmentHeader,
    /// The first LSN of the next file: all records before it must be here.
    successor: Option<Lsn>,
    block: Block,
    offset: u64,
    next_lsn: Lsn,
    torn_bytes: u64,
}

/// A valid frame and its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameAt {
    pub(crate) header: FrameHeader,
    pub(crate) offset: u64,
}

#[derive(Debug)]
enum Check {
    Valid(FrameHeader),
    Bad(Damage),
    /// No room for another header, or nothing but zeros in its place.
    Nothing,
}

impl SegmentReader {
    pub(crate) fn open(
        disk: &dyn Disk,
        dir: &Path,
        segment: &SegmentFile,
        successor: Option<Lsn>,
        mut block: Block,
    ) -> Result<Self, WalError> {
        let name = Arc::clone(&segment.name);
        let path = dir.join(&*name);
        let file = disk.open(&path, OpenMode::Read).map_err(WalError::io("open", &path))?;
        let file_bytes = file.len().map_err(WalError::io("measure", &path))?;
        block.forget();
        let start = block.slice(&*file, 0, SEGMENT_HEADER_BYTES);
        let header = SegmentHeader::decode(start.map_err(WalError::io("read", &path))?, &name)?;
        if header.first_lsn != segment.first_lsn {
            return Err(WalError::corrupt(&name, 0, Damage::SegmentName));
        }
        // A file with a successor may have been cut behind its last record.
        if successor.is_none() && file_bytes < header.file_bytes {
            return Err(WalError::corrupt(&name, file_bytes, Damage::Shortened));
        }
        let next_lsn = header.first_lsn;
        let offset = SEGMENT_HEADER_BYTES as u64;
        Ok(Self {
            name,
            path,
            file,
            file_bytes,
            header,
            successor,
            block,
            offset,
            next_lsn,
            torn_bytes: 0,
        })
    }

    /// Goes to the next frame; `None` at the end of the file's records.
    pub(crate) fn advance(&mut self) -> Result<Option<FrameAt>, WalError> {
        if self.successor == Some(self.next_lsn) {
            return Ok(None);
        }
        let header = match self.check()? {
            Check::Valid(header) => header,
            bad @ (Check::Bad(_) | Check::Nothing) => match self.judge(&bad)? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        let frame = FrameAt { header, offset: self.offset };
        self.offset += header.frame_bytes();
        self.next_lsn = self.next_lsn.next();
        Ok(Some(frame))
    }

    /// The payload of the frame that [`advance`](Self::advance) gave last.
    pub(crate) fn payload(&self, frame: &FrameAt) -> &[u8] {
        let start = frame.offset + FRAME_HEADER_BYTES as u64;
        self.block.held(start, index(u64::from(frame.header.payload_bytes)))
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.header.epoch
    }

    /// Where the next frame would stand.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of unfinished writes behind the last record, known at the end.
    pub(crate) fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    pub(crate) fn last_lsn(&self) -> Lsn {
        before(self.next_lsn)
    }

    pub(crate) fn info(&self) -> WalSegmentInfo {
        WalSegmentInfo {
            file: Arc::clone(&self.name),
            first_lsn: self.header.first_lsn,
            last_lsn: self.last_lsn(),
            bytes: self.file_bytes,
            state: SegmentState::Sealed,
        }
    }

    /// Gives the buffer to the reader of the next file.
    pub(crate) fn into_block(self) -> Block {
        self.block
    }

    fn check(&mut self) -> Result<Check, WalError> {
        check(&mut self.block, &*self.file, self.offset, self.file_bytes)
            .map(|check| match check {
                Check::Valid(header) if header.epoch != self.header.epoch => {
                    Check::Bad(Damage::FrameHeader)
                }
                Check::Valid(header) if header.lsn != self.next_lsn => Check::Bad(Damage::FrameLsn),
                check @ (Check::Valid(_) | Check::Bad(_) | Check::Nothing) => check,
            })
            .map_err(WalError::io("read", &self.path))
    }

    /// Whether records end here rightly; the frame after all if it has become valid meanwhile.
    fn judge(&mut self, bad: &Check) -> Result<Option<FrameHeader>, WalError> {
        let damage = match (bad, self.successor) {
            (Check::Bad(damage), _) => *damage,
            (Check::Nothing | Check::Valid(_), Some(successor)) => {
                Damage::Missing { from: self.next_lsn, to: before(successor) }
            }
            (Check::Nothing | Check::Valid(_), None) => {
                Damage::Missing { from: self.next_lsn, to: self.next_lsn }
            }
        };
        if self.successor.is_some() {
            return Err(WalError::corrupt(&self.name, self.offset, damage));
        }
        let place = BadFrame {
            offset: self.offset,
            lsn: self.next_lsn,
            epoch: self.header.epoch,
            file_bytes: self.file_bytes,
        };
        let tail = place.look_past(&mut self.block, &*self.file);
        if let Tail::Torn(bytes) = tail.map_err(WalError::io("read", &self.path))? {
            self.torn_bytes = bytes;
            return Ok(None);
        }
        // ORDER: the log may be in use. A frame that a later one calls synced was written before
        // that one, so if it is valid it reads so by now.
        self.block.forget();
        match self.check()? {
            Check::Valid(header) => Ok(Some(header)),
            Check::Bad(_) | Check::Nothing => {
                Err(WalError::corrupt(&self.name, self.offset, damage))
            }
        }
    }
}

fn check(
    block: &mut Block,
    file: &dyn DiskFile,
    offset: u64,
    file_bytes: u64,
) -> io::Result<Check> {
    let bytes = block.slice(file, offset, FRAME_HEADER_BYTES)?;
    let Some(header) = FrameHeader::decode(bytes) else {
        let nothing = bytes.len() < FRAME_HEADER_BYTES || bytes.iter().all(|&byte| byte == 0);
        return Ok(if nothing { Check::Nothing } else { Check::Bad(Damage::FrameHeader) });
    };
    if header.frame_bytes() > file_bytes.saturating_sub(offset) {
        return Ok(Check::Bad(Damage::FrameLength));
    }
    let unpadded = FRAME_HEADER_BYTES + index(u64::from(header.payload_bytes));
    let frame = block.slice(file, offset, unpadded)?;
    let intact = frame
        .get(FRAME_HEADER_BYTES..)
        .filter(|_| frame.len() == unpadded)
        .is_some_and(|payload| crc32c::crc32c(payload) == header.payload_crc);
    Ok(if intact { Check::Valid(header) } else { Check::Bad(Damage::Payload) })
}

/// A window of a file, at least as large as the largest frame seen so far.
#[derive(Debug, Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    start: u64,
}

impl Block {
    /// The `want` bytes at `offset`, or what the file has of them.
    pub(crate) fn slice(
        &mut self,
        file: &dyn DiskFile,
        offset: u64,
        want: usize,
    ) -> io::Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset.saturating_add(want as u64) > end {
            self.fill(file, offset, want.max(BLOCK_BYTES))?;
        }
        Ok(self.held(offset, want))
    }

    /// Those of the `want` bytes at `offset` that are held.
    fn held(&self, offset: u64, want: usize) -> &[u8] {
        let rest = offset.checked_sub(self.start).and_then(|at| self.bytes.get(index(at)..));
        let rest = rest.unwrap_or_default();
        rest.get(..want).unwrap_or(rest)
    }

    /// Lets the next slice come from the file.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    fn fill(&mut self, file: &dyn DiskFile, offset: u64, want: usize) -> io::Result<()> {
        self.bytes.resize(want, 0);
        self.start = offset;
        let mut filled = 0;
        while let Some(rest) = self.bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.forget();
                    return Err(error);
                }
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a file of the log is at most as long as memory is wide")
}
