//! Writes an archived segment.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use tidewatch_env::{Disk, DiskFile, OpenMode};
use tidewatch_metrics::UnixNanos;
use zstd::stream::write::Encoder;

use crate::archive_file::{ARCHIVE_HEADER_BYTES, ArchiveHeader};
use crate::block::Block;
use crate::error::WalError;
use crate::limits::{ARCHIVE_LEVEL, STEP_BYTES};
use crate::log_dir::SegmentFile;
use crate::segment::WalSegmentInfo;
use crate::segment_reader::{FileEnd, SegmentReader};

/// A file of the archive that is complete and durable, but not yet under its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed {
    pub(crate) header: ArchiveHeader,
    /// Its length.
    pub(crate) bytes: u64,
}

/// Packs a sealed WAL segment of the directory `wal_dir` into a new file at `path`.
///
/// Each frame is checked on the way, so that damage is met here and not when the copy is needed.
pub(crate) fn pack(
    disk: &dyn Disk,
    wal_dir: &Path,
    segment: &WalSegmentInfo,
    time: UnixNanos,
    path: &Path,
) -> Result<Packed, WalError> {
    let source = SegmentFile { name: Arc::clone(&segment.file), first_lsn: segment.first_lsn };
    let end = FileEnd::Before(segment.last_lsn.next());
    let mut reader = SegmentReader::open(disk, wal_dir, &source, end, Block::default())?;
    let written = || WalError::io("write", path);
    let file = disk.open(path, OpenMode::CreateNew).map_err(WalError::io("create", path))?;
    let body = Body { file, offset: ARCHIVE_HEADER_BYTES as u64, unsynced: 0, crc: 0 };
    let mut encoder = Encoder::new(body, ARCHIVE_LEVEL).map_err(written())?;
    encoder.include_checksum(true).map_err(written())?;
    encoder.write_all(&reader.header().encode()).map_err(written())?;
    while let Some(frame) = reader.advance()? {
        let bytes = reader.frame(&frame);
        let padding = reader.offset() - frame.offset - bytes.len() as u64;
        encoder.write_all(bytes).map_err(written())?;
        io::copy(&mut io::repeat(0).take(padding), &mut encoder).map_err(written())?;
    }
    let body = encoder.finish().map_err(written())?;
    let header = ArchiveHeader {
        body_crc: body.crc,
        first_lsn: segment.first_lsn,
        last_lsn: segment.last_lsn,
        time: UnixNanos::new(time.nanos().max(0)),
        raw_bytes: reader.offset(),
    };
    body.file.write_all_at(&header.encode(), 0).map_err(written())?;
    // DURABILITY: all of the file before it gets its name.
    body.file.sync_data().map_err(WalError::io("sync", path))?;
    Ok(Packed { header, bytes: body.offset })
}

/// Takes the packed bytes.
struct Body {
    file: Arc<dyn DiskFile>,
    offset: u64,
    unsynced: usize,
    /// Of all bytes written.
    crc: u32,
}

impl Write for Body {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.unsynced += bytes.len();
        // Little by little, so that no sync of the log has to wait for a large one.
        if self.unsynced >= STEP_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
