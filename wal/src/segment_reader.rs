//! Reads and checks one file of the log, block by block.

#![deny(clippy::indexing_slicing)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::{Disk, OpenMode};
use tidewatch_metrics::Lsn;

use crate::archive_dir::ArchivedSegment;
use crate::archive_file::{ARCHIVE_HEADER_BYTES, ArchiveHeader};
use crate::block::{Block, index};
use crate::error::{Damage, WalError};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::gap::decode_gap;
use crate::limits::KIND_GAP;
use crate::log_dir::SegmentFile;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentState, WalSegmentInfo, before};
use crate::source::Source;
use crate::tail::{BadFrame, Tail};
use crate::unpacker::Unpacker;

/// A cursor over the frames of one file.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    name: Arc<str>,
    path: PathBuf,
    source: Source,
    file_bytes: u64,
    header: SegmentHeader,
    end: FileEnd,
    block: Block,
    offset: u64,
    next_lsn: Lsn,
    torn_bytes: u64,
}

/// Where the records of a file end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileEnd {
    /// With this LSN the next file begins: all records before it must be here.
    Before(Lsn),
    /// Nothing follows: at the first frame that is not valid, unless that is damage.
    Last,
    /// As `Last`, but its writer may be at work: it may just have put a successor to use and cut
    /// this file behind its last record.
    Growing,
}

/// A valid frame and its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameAt {
    pub(crate) header: FrameHeader,
    pub(crate) offset: u64,
    /// The last record that the frame stands for: its own, but for a gap.
    pub(crate) last: Lsn,
}

#[derive(Debug)]
pub(crate) enum Check {
    Valid(FrameAt),
    Bad(Damage),
    /// No room for another header, or nothing but zeros in its place.
    Nothing,
}

impl SegmentReader {
    pub(crate) fn open(
        disk: &dyn Disk,
        dir: &Path,
        segment: &SegmentFile,
        end: FileEnd,
        block: Block,
    ) -> Result<Self, WalError> {
        let path = dir.join(&*segment.name);
        let file = disk.open(&path, OpenMode::Read).map_err(WalError::io("open", &path))?;
        let reader = Self::start(segment, path, Source::File(file), end, block)?;
        // A file with a successor may have been cut behind its last record.
        if end == FileEnd::Last && reader.file_bytes < reader.header.file_bytes {
            return Err(WalError::corrupt(&reader.name, reader.file_bytes, Damage::Shortened));
        }
        Ok(reader)
    }

    /// Opens the packed copy of a file, all of whose records must be there.
    pub(crate) fn open_archived(
        disk: &dyn Disk,
        dir: &Path,
        segment: &ArchivedSegment,
        block: Block,
    ) -> Result<Self, WalError> {
        let path = dir.join(&*segment.file);
        let file = disk.open(&path, OpenMode::Read).map_err(WalError::io("open", &path))?;
        let mut bytes = [0; ARCHIVE_HEADER_BYTES];
        match file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(WalError::corrupt(&segment.file, 0, Damage::ArchiveHeader));
            }
            read => read.map_err(WalError::io("read", &path))?,
        }
        let header = ArchiveHeader::decode(&bytes, segment)?;
        let unpacker = Unpacker::new(file, header).map_err(WalError::io("unpack", &path))?;
        let source = Source::Packed(Box::new(unpacker));
        let end = FileEnd::Before(segment.last_lsn.next());
        let segment = SegmentFile { name: Arc::clone(&segment.file), first_lsn: segment.first_lsn };
        Self::start(&segment, path, source, end, block)
    }

    fn start(
        segment: &SegmentFile,
        path: PathBuf,
        mut source: Source,
        end: FileEnd,
        mut block: Block,
    ) -> Result<Self, WalError> {
        let name = Arc::clone(&segment.name);
        let file_bytes = source.len().map_err(WalError::io("measure", &path))?;
        block.forget();
        let start = block.slice(&mut source, 0, SEGMENT_HEADER_BYTES);
        let start = start.map_err(|error| source.refused(error, &name, &path))?;
        let header = SegmentHeader::decode(start, &name)?;
        if header.first_lsn != segment.first_lsn {
            return Err(WalError::corrupt(&name, 0, Damage::SegmentName));
        }
        let next_lsn = header.first_lsn;
        let offset = SEGMENT_HEADER_BYTES as u64;
        Ok(Self {
            name,
            path,
            source,
            file_bytes,
            header,
            end,
            block,
            offset,
            next_lsn,
            torn_bytes: 0,
        })
    }

    /// Goes to the next frame; `None` at the end of the file's records.
    pub(crate) fn advance(&mut self) -> Result<Option<FrameAt>, WalError> {
        if self.end == FileEnd::Before(self.next_lsn) {
            self.check_end()?;
            return Ok(None);
        }
        let frame = match self.check()? {
            Check::Valid(frame) => frame,
            bad @ (Check::Bad(_) | Check::Nothing) => match self.judge(&bad)? {
                Some(frame) => frame,
                None => return Ok(None),
            },
        };
        Ok(Some(self.step(frame)))
    }

    /// Goes to the next frame, which is durable; `None` if it is not in this file.
    ///
    /// Whatever is not valid here is no damage: the log has gone on in another file.
    pub(crate) fn advance_durable(&mut self) -> Result<Option<FrameAt>, WalError> {
        let mut check = self.check()?;
        if !matches!(check, Check::Valid(_)) {
            // What is held may have been read before the frame was written.
            self.block.forget_end();
            check = self.check()?;
        }
        match check {
            Check::Valid(frame) => Ok(Some(self.step(frame))),
            Check::Bad(_) | Check::Nothing => Ok(None),
        }
    }

    /// What is wrong where a durable frame should stand.
    pub(crate) fn damage_at_next(&mut self) -> Result<Damage, WalError> {
        let missing = Damage::Missing { from: self.next_lsn, to: self.next_lsn };
        match self.check()? {
            Check::Bad(damage) => Ok(damage),
            Check::Nothing | Check::Valid(_) => Ok(missing),
        }
    }

    fn step(&mut self, frame: FrameAt) -> FrameAt {
        self.offset += frame.header.frame_bytes();
        self.next_lsn = frame.last.next();
        frame
    }

    /// The frame that [`advance`](Self::advance) gave last, without its padding.
    pub(crate) fn frame(&self, frame: &FrameAt) -> &[u8] {
        let payload_bytes = index(u64::from(frame.header.payload_bytes));
        self.block.held(frame.offset, FRAME_HEADER_BYTES + payload_bytes)
    }

    /// The payload of the frame that [`advance`](Self::advance) gave last.
    pub(crate) fn payload(&self, frame: &FrameAt) -> &[u8] {
        let start = frame.offset + FRAME_HEADER_BYTES as u64;
        self.block.held(start, index(u64::from(frame.header.payload_bytes)))
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Whether it is known where the records end.
    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self.end, FileEnd::Before(_))
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

    pub(crate) fn next_lsn(&self) -> Lsn {
        self.next_lsn
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
        let checked = check_frame(&mut self.block, &mut self.source, self.offset, self.file_bytes);
        let frame = match checked.map_err(|error| self.refused(error))? {
            Check::Valid(frame) => frame,
            bad @ (Check::Bad(_) | Check::Nothing) => return Ok(bad),
        };
        let header = &frame.header;
        let is_ours =
            header.epoch == self.header.epoch && (header.kind != KIND_GAP || self.header.has_gaps);
        let is_within = match self.end {
            FileEnd::Before(successor) => frame.last < successor,
            FileEnd::Last | FileEnd::Growing => true,
        };
        Ok(match (is_ours, header.lsn == self.next_lsn && is_within) {
            (true, true) => Check::Valid(frame),
            (true, false) => Check::Bad(Damage::FrameLsn),
            (false, _) => Check::Bad(Damage::FrameHeader),
        })
    }

    /// At the end of a packed copy: whether it was whole.
    fn check_end(&mut self) -> Result<(), WalError> {
        let Source::Packed(unpacker) = &mut self.source else { return Ok(()) };
        let whole = self.offset == self.file_bytes
            && unpacker.ends_well().map_err(|error| self.refused(error))?;
        if whole { Ok(()) } else { Err(WalError::corrupt(&self.name, self.offset, Damage::Packed)) }
    }

    fn refused(&self, error: io::Error) -> WalError {
        self.source.refused(error, &self.name, &self.path)
    }

    /// Whether records end here rightly; the frame after all if it has become valid meanwhile.
    fn judge(&mut self, bad: &Check) -> Result<Option<FrameAt>, WalError> {
        let damage = match (bad, self.end) {
            (Check::Bad(damage), _) => *damage,
            (Check::Nothing | Check::Valid(_), FileEnd::Before(successor)) => {
                Damage::Missing { from: self.next_lsn, to: before(successor) }
            }
            (Check::Nothing | Check::Valid(_), FileEnd::Last | FileEnd::Growing) => {
                Damage::Missing { from: self.next_lsn, to: self.next_lsn }
            }
        };
        if self.is_sealed() {
            return Err(WalError::corrupt(&self.name, self.offset, damage));
        }
        let place = BadFrame {
            offset: self.offset,
            lsn: self.next_lsn,
            epoch: self.header.epoch,
            file_bytes: self.file_bytes,
        };
        let tail = place.look_past(&mut self.block, &mut self.source);
        if let Tail::Torn(bytes) = tail.map_err(|error| self.refused(error))? {
            self.torn_bytes = bytes;
            return Ok(None);
        }
        // ORDER: the log may be in use. A frame that a later one calls synced was written before
        // that one, so if it is valid it reads so by now.
        self.block.forget();
        match self.check()? {
            Check::Valid(frame) => Ok(Some(frame)),
            Check::Bad(_) | Check::Nothing => {
                Err(WalError::corrupt(&self.name, self.offset, damage))
            }
        }
    }
}

/// What stands at `offset` of a file, whatever its epoch and LSN are.
pub(crate) fn check_frame(
    block: &mut Block,
    source: &mut Source,
    offset: u64,
    file_bytes: u64,
) -> io::Result<Check> {
    let bytes = block.slice(source, offset, FRAME_HEADER_BYTES)?;
    let Some(header) = FrameHeader::decode(bytes) else {
        let nothing = bytes.len() < FRAME_HEADER_BYTES || bytes.iter().all(|&byte| byte == 0);
        return Ok(if nothing { Check::Nothing } else { Check::Bad(Damage::FrameHeader) });
    };
    if header.frame_bytes() > file_bytes.saturating_sub(offset) {
        return Ok(Check::Bad(Damage::FrameLength));
    }
    let unpadded = FRAME_HEADER_BYTES + index(u64::from(header.payload_bytes));
    let frame = block.slice(source, offset, unpadded)?;
    let payload = frame
        .get(FRAME_HEADER_BYTES..)
        .filter(|_| frame.len() == unpadded)
        .filter(|payload| crc32c::crc32c(payload) == header.payload_crc);
    let last = match payload {
        None => return Ok(Check::Bad(Damage::Payload)),
        Some(payload) if header.kind == KIND_GAP => decode_gap(header.lsn, payload),
        Some(_) => Some(header.lsn),
    };
    Ok(match last {
        Some(last) => Check::Valid(FrameAt { header, offset, last }),
        None => Check::Bad(Damage::FrameLsn),
    })
}
