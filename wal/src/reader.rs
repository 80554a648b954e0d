//! Reads the records of a log without changing it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::Disk;
use tidewatch_metrics::Lsn;

use crate::error::WalError;
use crate::log_dir::{LogDir, SegmentFile};
use crate::segment::WalSegmentInfo;
use crate::segment_reader::{Block, FrameAt, SegmentReader};

/// One record, as it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its position in the log.
    pub lsn: Lsn,
    /// What its writer calls its kind; below [`KIND_CALLER_MIN`](crate::KIND_CALLER_MIN) it is the
    /// log's own.
    pub kind: u8,
    /// Its bytes, checked.
    pub payload: &'a [u8],
    /// The file's name in the log's directory.
    pub file: &'a str,
    /// Where in the file its frame starts.
    pub offset: u64,
}

/// Reads records in LSN order, with memory for one block or the largest frame.
///
/// The log may be in use: the reader ends where it finds the end, in the file that was the last
/// one when it was opened. Files must not be released while it reads them.
#[derive(Debug)]
pub struct WalReader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segments: Vec<SegmentFile>,
    from: Lsn,
    /// How many segments are behind the current one, which itself counts.
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
        let mut segments = LogDir::scan(&*disk, dir)?.segments;
        let later = segments.partition_point(|segment| segment.first_lsn <= from);
        segments.drain(..later.saturating_sub(1));
        let dir = dir.to_owned();
        Ok(Self { disk, dir, segments, from, opened: 0, current: None, done: Vec::new() })
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
    /// `Corrupt` where durable bytes are damaged or missing, `Version`, `Io`. Later calls give the
    /// error again.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, WalError> {
        let frame = loop {
            let Some(reader) = &mut self.current else {
                if self.open_next()? {
                    continue;
                }
                return Ok(None);
            };
            match reader.advance()? {
                Some(frame) if frame.header.lsn >= self.from => break frame,
                Some(_) => {}
                None if self.opened == self.segments.len() => return Ok(None),
                None => {
                    self.open_next()?;
                }
            }
        };
        Ok(Some(self.record(&frame)))
    }

    /// At the end: the files that were read, and the reader of the last one.
    pub(crate) fn finish(mut self) -> (Vec<WalSegmentInfo>, Option<SegmentReader>) {
        self.done.extend(self.current.as_ref().map(SegmentReader::info));
        (self.done, self.current)
    }

    fn record(&self, frame: &FrameAt) -> Record<'_> {
        let reader = self.current.as_ref().expect("the frame came from the current file");
        Record {
            lsn: frame.header.lsn,
            kind: frame.header.kind,
            payload: reader.payload(frame),
            file: reader.name(),
            offset: frame.offset,
        }
    }

    /// Goes on to the next file, if there is one.
    fn open_next(&mut self) -> Result<bool, WalError> {
        let Some(segment) = self.segments.get(self.opened) else { return Ok(false) };
        let successor = self.segments.get(self.opened + 1).map(|next| next.first_lsn);
        let finished = self.current.as_ref().map(SegmentReader::info);
        let block = self.current.take().map_or_else(Block::default, SegmentReader::into_block);
        let opened = SegmentReader::open(&*self.disk, &self.dir, segment, successor, block)?;
        self.done.extend(finished);
        self.current = Some(opened);
        self.opened += 1;
        Ok(true)
    }
}
