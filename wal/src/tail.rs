//! Torn tail or damage: what stands behind a frame that is not valid.

#![deny(clippy::indexing_slicing)]

use std::io;

use tidewatch_metrics::Lsn;

use crate::block::Block;
use crate::frame::{ALIGNMENT, EPOCH_OFFSET, FRAME_HEADER_BYTES, FrameHeader, LSN_OFFSET};
use crate::limits::BLOCK_BYTES;
use crate::source::Source;

/// The place of a frame that is not valid, in the last file of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BadFrame {
    pub(crate) offset: u64,
    /// The LSN that the frame should have.
    pub(crate) lsn: Lsn,
    pub(crate) epoch: u64,
    pub(crate) file_bytes: u64,
}

/// What stands from a bad frame on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// A later frame says that the bad one was synced: damage.
    Synced,
    /// Nothing says so: the writer stopped here, after this many bytes of unfinished writes.
    Torn(u64),
}

impl BadFrame {
    /// Looks for later frames of the same epoch, at every multiple of 8.
    ///
    /// A header alone is proof enough: the epoch is a random number that changes with each use of
    /// a file, so neither old bytes nor a payload made by a client can carry it.
    pub(crate) fn look_past(&self, block: &mut Block, source: &mut Source) -> io::Result<Tail> {
        let mut end = self.offset;
        let head = block.slice(source, self.offset, FRAME_HEADER_BYTES)?;
        if head.get(LSN_OFFSET..LSN_OFFSET + 8) == Some(&self.lsn.get().to_le_bytes()) {
            end += FRAME_HEADER_BYTES as u64;
        }
        let mut at = self.offset + EPOCH_OFFSET as u64;
        let mut candidates = Vec::new();
        while at < self.file_bytes {
            candidates.clear();
            let words = block.slice(source, at, BLOCK_BYTES)?.chunks_exact(ALIGNMENT);
            let epoch = self.epoch.to_le_bytes();
            let found = words.zip((at..).step_by(ALIGNMENT)).filter(|(word, _)| *word == epoch);
            candidates.extend(found.map(|(_, place)| place - EPOCH_OFFSET as u64));
            for &place in &candidates {
                let header = FrameHeader::decode(block.slice(source, place, FRAME_HEADER_BYTES)?);
                if header.is_some_and(|h| h.epoch == self.epoch && h.previous_synced >= self.lsn) {
                    return Ok(Tail::Synced);
                }
                let bytes = header.map_or(FRAME_HEADER_BYTES as u64, |h| h.frame_bytes());
                end = end.max(place + bytes);
            }
            at += BLOCK_BYTES as u64;
        }
        Ok(Tail::Torn(end.min(self.file_bytes) - self.offset))
    }
}
