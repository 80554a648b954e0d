//! The file that takes records, and the group that will be written to it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tidewatch_env::DiskFile;
use tidewatch_metrics::Lsn;

use crate::frame::{ALIGNMENT, FrameHeader};
use crate::limits::{DIRECT_BYTES, GROUP_BYTES};
use crate::segment::{SegmentState, WalSegmentInfo};

/// Invariant: `offset + group.len() <= bytes`, and before and after each push both are multiples
/// of 8.
#[derive(Debug)]
pub(crate) struct ActiveSegment {
    pub(crate) name: Arc<str>,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) first_lsn: Lsn,
    pub(crate) epoch: u64,
    pub(crate) bytes: u64,
    /// Where the group goes.
    pub(crate) offset: u64,
    /// Frames that are not written yet.
    pub(crate) group: Vec<u8>,
}

impl ActiveSegment {
    /// Bytes of frames that still fit.
    pub(crate) fn room(&self) -> u64 {
        self.bytes - self.offset - self.group.len() as u64
    }

    /// Adds a frame to the group, which is written when it has grown large.
    pub(crate) fn push(&mut self, header: &FrameHeader, payload: &[&[u8]]) -> io::Result<()> {
        assert!(header.frame_bytes() <= self.room(), "the caller has made room");
        self.group.extend_from_slice(&header.encode());
        for part in payload {
            if part.len() < DIRECT_BYTES {
                self.group.extend_from_slice(part);
            } else {
                self.write()?;
                self.file.write_all_at(part, self.offset)?;
                self.offset += part.len() as u64;
            }
        }
        let end = self.offset + self.group.len() as u64;
        let padding = end.next_multiple_of(ALIGNMENT as u64) - end;
        self.group.extend((0..padding).map(|_| 0));
        if self.group.len() >= GROUP_BYTES { self.write() } else { Ok(()) }
    }

    /// Writes the group.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        if self.group.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(&self.group, self.offset)?;
        self.offset += self.group.len() as u64;
        self.group.clear();
        Ok(())
    }

    pub(crate) fn info(&self, last_lsn: Lsn, state: SegmentState) -> WalSegmentInfo {
        let file = Arc::clone(&self.name);
        WalSegmentInfo { file, first_lsn: self.first_lsn, last_lsn, bytes: self.bytes, state }
    }
}
