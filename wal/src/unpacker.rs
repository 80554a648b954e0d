//! Reads the body of an archived segment, from its start to its end, with little memory.

#![deny(clippy::indexing_slicing)]

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use tidewatch_env::DiskFile;
use zstd::stream::read::Decoder;

use crate::archive_file::{ARCHIVE_HEADER_BYTES, ArchiveHeader};
use crate::limits::ARCHIVE_WINDOW_LOG_MAX;

/// Unpacks a body; goes forward only.
pub(crate) struct Unpacker {
    decoder: Decoder<'static, BufReader<Body>>,
    header: ArchiveHeader,
    /// Bytes that were unpacked.
    position: u64,
}

impl Unpacker {
    /// Begins behind the header, which has been read.
    pub(crate) fn new(file: Arc<dyn DiskFile>, header: ArchiveHeader) -> io::Result<Self> {
        let body = Body { file, offset: ARCHIVE_HEADER_BYTES as u64, crc: 0, failed: false };
        // One frame only: whatever follows it is not ours.
        let mut decoder = Decoder::new(body)?.single_frame();
        decoder.window_log_max(ARCHIVE_WINDOW_LOG_MAX)?;
        Ok(Self { decoder, header, position: 0 })
    }

    /// The length of the whole, as the header says.
    pub(crate) fn raw_bytes(&self) -> u64 {
        self.header.raw_bytes
    }

    /// Bytes that were unpacked so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether the disk, and not what it holds, is the cause of an error.
    pub(crate) fn disk_failed(&self) -> bool {
        self.decoder.get_ref().get_ref().failed
    }

    /// Reads at `offset`, which is not before the end of the read before.
    pub(crate) fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.skip_to(offset)?;
        let room = usize::try_from(self.header.raw_bytes.saturating_sub(self.position));
        let buf = match room {
            Ok(room) if room < buf.len() => buf.get_mut(..room).unwrap_or_default(),
            Ok(_) | Err(_) => buf,
        };
        if buf.is_empty() {
            // The decoder would take a buffer without room for being stuck.
            return Ok(0);
        }
        let bytes = self.decoder.read(buf)?;
        self.position += bytes as u64;
        Ok(bytes)
    }

    /// Whether the body ends where it should, and was the one that was written.
    pub(crate) fn ends_well(&mut self) -> io::Result<bool> {
        self.skip_to(self.header.raw_bytes)?;
        // Reading to the end of the frame also compares its content checksum.
        if self.decoder.read(&mut [0])? > 0 {
            return Ok(false);
        }
        let rest = self.decoder.get_mut();
        Ok(rest.fill_buf()?.is_empty() && rest.get_ref().crc == self.header.body_crc)
    }

    fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        let ahead = offset.checked_sub(self.position).ok_or(io::ErrorKind::InvalidInput)?;
        let skipped = io::copy(&mut self.decoder.by_ref().take(ahead), &mut io::sink())?;
        self.position += skipped;
        if skipped < ahead { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { decoder: _, header, position } = self;
        f.debug_struct("Unpacker").field("header", header).field("position", position).finish()
    }
}

/// The packed bytes, read in order.
struct Body {
    file: Arc<dyn DiskFile>,
    offset: u64,
    /// Of all bytes read.
    crc: u32,
    failed: bool,
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read_at(buf, self.offset) {
                Ok(bytes) => {
                    let read = buf.get(..bytes).unwrap_or_default();
                    self.crc = crc32c::crc32c_append(self.crc, read);
                    self.offset += bytes as u64;
                    return Ok(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        }
    }
}
