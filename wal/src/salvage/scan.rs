//! Finds what is intact in one file of the log.

#![deny(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use tidewatch_env::{Disk, OpenMode};
use tidewatch_metrics::Lsn;

use crate::block::Block;
use crate::error::{Damage, WalError};
use crate::frame::{ALIGNMENT, EPOCH_OFFSET, FRAME_HEADER_BYTES, FrameHeader};
use crate::gap::Gap;
use crate::limits::{BLOCK_BYTES, KIND_GAP};
use crate::log_dir::SegmentFile;
use crate::salvage::repair::{EMPTY_EPOCH, FileGap, FileRepair, Piece};
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, before};
use crate::segment_reader::{Check, FrameAt, check_frame};
use crate::source::Source;
use crate::tail::{BadFrame, Tail};

/// Epochs that are told apart where the header does not tell which is the right one.
const EPOCHS_MAX: usize = 1024;

/// Reads a file of the log, behind which one begins with the record `next`; `None` if nothing is
/// wrong with it. Records up to `durable` are known to have been so.
pub(super) fn scan(
    disk: &dyn Disk,
    dir: &Path,
    segment: &SegmentFile,
    next: Option<Lsn>,
    durable: Lsn,
) -> Result<Option<FileRepair>, WalError> {
    let path = dir.join(&*segment.name);
    let file = disk.open(&path, OpenMode::Read).map_err(WalError::io("open", &path))?;
    let failed = || WalError::io("read", &path);
    let file_bytes = file.len().map_err(failed())?;
    let mut source = Source::File(file);
    let mut block = Block::default();
    let start = block.slice(&mut source, 0, SEGMENT_HEADER_BYTES).map_err(failed())?;
    let header = match SegmentHeader::decode(start, &segment.name) {
        Ok(header) => Some(header),
        Err(WalError::Corrupt { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut scan = Scan {
        block,
        source,
        file_bytes,
        epoch: header.map(|header| header.epoch),
        has_gaps: header.is_none_or(|header| header.has_gaps),
        next,
        durable,
        offset: SEGMENT_HEADER_BYTES as u64,
        expected: segment.first_lsn,
        met_gap: false,
        pieces: Vec::new(),
        gaps: Vec::new(),
        damage: None,
        cut_at: None,
    };
    match header {
        None => {
            scan.note(0, Damage::SegmentHeader);
            scan.epoch = scan.infer_epoch().map_err(failed())?;
        }
        Some(header) if header.first_lsn != segment.first_lsn => scan.note(0, Damage::SegmentName),
        Some(_) => {}
    }
    scan.walk().map_err(failed())?;
    // A file with a successor may have been cut behind its last record.
    let is_short = match header {
        Some(header) => file_bytes < header.file_bytes,
        None => file_bytes < SEGMENT_HEADER_BYTES as u64,
    };
    if next.is_none() && is_short {
        scan.note(file_bytes, Damage::Shortened);
        scan.cut_at.get_or_insert(scan.offset);
    }
    Ok(scan.finish(segment))
}

/// A file that is being read.
#[derive(Debug)]
struct Scan {
    block: Block,
    source: Source,
    file_bytes: u64,
    /// None where nothing tells it: then there is no frame.
    epoch: Option<u64>,
    /// Whether gaps may stand in the file.
    has_gaps: bool,
    next: Option<Lsn>,
    durable: Lsn,
    offset: u64,
    /// The LSN of the frame that should stand at `offset`.
    expected: Lsn,
    met_gap: bool,
    pieces: Vec<Piece>,
    gaps: Vec<FileGap>,
    damage: Option<(u64, Damage)>,
    /// Where the log ends, if later records may be gone.
    cut_at: Option<u64>,
}

/// What stands behind a bad frame.
#[derive(Clone, Copy, Debug)]
enum Behind {
    /// The next intact frame.
    Frame(FrameAt),
    /// None; but headers without their payloads tell that there were records up to this one.
    Nothing(Lsn),
}

impl Scan {
    fn walk(&mut self) -> io::Result<()> {
        while self.next != Some(self.expected) {
            let damage = match self.check_at(self.offset)? {
                Check::Valid(frame) if frame.header.lsn == self.expected => {
                    self.take(&frame);
                    continue;
                }
                Check::Valid(_) => Damage::FrameLsn,
                Check::Bad(damage) => damage,
                Check::Nothing => {
                    let to = self.next.map_or(self.expected, before);
                    Damage::Missing { from: self.expected, to }
                }
            };
            if !self.is_damage()? {
                break;
            }
            self.note(self.offset, damage);
            match self.look_behind()? {
                Behind::Frame(frame) => {
                    self.miss(before(frame.header.lsn), frame.offset);
                    self.take(&frame);
                }
                Behind::Nothing(seen) => {
                    let to = self.next.map_or(seen.max(self.durable), before);
                    if self.next.is_none() {
                        self.cut_at = Some(self.offset);
                    }
                    self.miss(to, self.file_bytes.max(self.offset));
                    break;
                }
            }
        }
        Ok(())
    }

    /// The frame at `offset`, if it belongs to this use of the file.
    fn check_at(&mut self, offset: u64) -> io::Result<Check> {
        let check = check_frame(&mut self.block, &mut self.source, offset, self.file_bytes)?;
        let Check::Valid(frame) = check else { return Ok(check) };
        let is_ours = Some(frame.header.epoch) == self.epoch
            && (frame.header.kind != KIND_GAP || self.has_gaps);
        Ok(match (is_ours, self.may_hold(frame.header.lsn, frame.last)) {
            (true, true) => Check::Valid(frame),
            (true, false) => Check::Bad(Damage::FrameLsn),
            (false, _) => Check::Bad(Damage::FrameHeader),
        })
    }

    fn may_hold(&self, first: Lsn, last: Lsn) -> bool {
        first >= self.expected && self.next.is_none_or(|next| last < next)
    }

    fn take(&mut self, frame: &FrameAt) {
        let bytes = frame.header.frame_bytes();
        match self.pieces.last_mut() {
            Some(Piece::Frames { offset, bytes: so_far }) if *offset + *so_far == frame.offset => {
                *so_far += bytes;
            }
            _ => self.pieces.push(Piece::Frames { offset: frame.offset, bytes }),
        }
        self.met_gap |= frame.header.kind == KIND_GAP;
        self.offset = frame.offset + bytes;
        self.expected = frame.last.next();
    }

    /// Whether records end at a bad frame wrongly.
    fn is_damage(&mut self) -> io::Result<bool> {
        if self.next.is_some() || self.durable >= self.expected {
            return Ok(true);
        }
        let Some(epoch) = self.epoch else { return Ok(false) };
        let (offset, lsn, file_bytes) = (self.offset, self.expected, self.file_bytes);
        let place = BadFrame { offset, lsn, epoch, file_bytes };
        Ok(place.look_past(&mut self.block, &mut self.source)? == Tail::Synced)
    }

    /// Looks for the next intact frame at every multiple of 8, as [`BadFrame::look_past`] does.
    fn look_behind(&mut self) -> io::Result<Behind> {
        let mut seen = Lsn::ZERO;
        let Some(epoch) = self.epoch else { return Ok(Behind::Nothing(seen)) };
        let mut at = self.offset + (ALIGNMENT + EPOCH_OFFSET) as u64;
        let mut candidates = Vec::new();
        while at < self.file_bytes {
            candidates.clear();
            let block = self.block.slice(&mut self.source, at, BLOCK_BYTES)?;
            let words = block.chunks_exact(ALIGNMENT).zip((at..).step_by(ALIGNMENT));
            let found = words.filter(|(word, _)| *word == epoch.to_le_bytes());
            candidates.extend(found.map(|(_, place)| place - EPOCH_OFFSET as u64));
            for &place in &candidates {
                let bytes = self.block.slice(&mut self.source, place, FRAME_HEADER_BYTES)?;
                let header = FrameHeader::decode(bytes).filter(|header| header.epoch == epoch);
                if let Some(header) = header
                    && self.may_hold(header.lsn, header.lsn)
                {
                    seen = seen.max(header.lsn);
                    if let Check::Valid(frame) = self.check_at(place)? {
                        return Ok(Behind::Frame(frame));
                    }
                }
            }
            at += BLOCK_BYTES as u64;
        }
        Ok(Behind::Nothing(seen))
    }

    /// Nothing can be read from the present offset to `end`, where records up to `to` stood.
    fn miss(&mut self, to: Lsn, end: u64) {
        if to >= self.expected {
            let gap = Gap { from: self.expected, to };
            self.gaps.push(FileGap { gap, offset: self.offset, bytes: end - self.offset });
            self.pieces.push(Piece::Gap(gap));
            self.expected = to.next();
        }
    }

    fn note(&mut self, offset: u64, damage: Damage) {
        self.damage.get_or_insert((offset, damage));
    }

    /// The epoch of the file's frames, where its header is damaged.
    ///
    /// That of the first frame if its header is whole; else the one that most bytes of frames with
    /// LSNs of this file have. Frames of earlier uses of the file have lower ones.
    fn infer_epoch(&mut self) -> io::Result<Option<u64>> {
        let mut bytes_of: BTreeMap<u64, u64> = BTreeMap::new();
        let mut at = self.offset;
        while at < self.file_bytes {
            let bytes = self.block.slice(&mut self.source, at, FRAME_HEADER_BYTES)?;
            let header = FrameHeader::decode(bytes)
                .filter(|header| header.epoch != 0 && self.may_hold(header.lsn, header.lsn));
            let Some(header) = header else {
                at += ALIGNMENT as u64;
                continue;
            };
            if at == self.offset {
                return Ok(Some(header.epoch));
            }
            if bytes_of.len() < EPOCHS_MAX || bytes_of.contains_key(&header.epoch) {
                *bytes_of.entry(header.epoch).or_default() += header.frame_bytes();
            }
            at += header.frame_bytes();
        }
        Ok(bytes_of.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(epoch, _)| epoch))
    }

    fn finish(self, segment: &SegmentFile) -> Option<FileRepair> {
        let (offset, damage) = self.damage?;
        Some(FileRepair {
            file: segment.name.to_string(),
            damage,
            offset,
            has_gaps: self.met_gap || !self.gaps.is_empty(),
            gaps: self.gaps,
            cut_at: self.cut_at,
            is_new: false,
            first_lsn: segment.first_lsn,
            epoch: self.epoch.unwrap_or(EMPTY_EPOCH),
            pieces: self.pieces,
        })
    }
}
