//! A Parquet file on its way to the disk: checksummed in parts, durable before it has its name.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use tidewatch_env::{Disk, DiskFile, OpenMode};

use crate::error::SegmentsError;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;
/// The end of a name that a file has while it is written.
pub(crate) const TEMPORARY: &str = ".tmp";

/// A stretch of a file with its checksum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) crc32c: u32,
}

/// A file that is complete and durable under its final name, once the directory is synced.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) crc32c: u32,
    pub(crate) footer: Part,
}

/// A Parquet file that is being written under a temporary name.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    disk: &'a dyn Disk,
    temporary: PathBuf,
    path: PathBuf,
    file: String,
    writer: ArrowWriter<Sink>,
}

/// Writes through to the file and keeps checksums.
#[derive(Debug)]
struct Sink {
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    /// Bytes in the file, without the buffer.
    bytes: u64,
    crc32c: u32,
    part: Part,
}

impl<'a> Output<'a> {
    /// Begins the file; one that an earlier attempt left under the temporary name is replaced.
    ///
    /// # Errors
    /// What the disk or the format's library reports.
    pub(crate) fn create(
        disk: &'a dyn Disk,
        dir: &Path,
        file: String,
        schema: SchemaRef,
        properties: WriterProperties,
    ) -> Result<Self, SegmentsError> {
        let path = dir.join(&file);
        let temporary = dir.join(format!("{file}{TEMPORARY}"));
        match disk.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(SegmentsError::io("remove", &temporary)(error));
            }
            Ok(()) | Err(_) => {}
        }
        let opened = disk
            .open(&temporary, OpenMode::CreateNew)
            .map_err(SegmentsError::io("create", &temporary))?;
        let sink = Sink {
            file: opened,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            bytes: 0,
            crc32c: 0,
            part: Part::default(),
        };
        // Foreign readers need no Arrow schema: the Parquet types say it all.
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(sink, schema, options)
            .map_err(SegmentsError::parquet("begin", &temporary))?;
        Ok(Self { disk, temporary, path, file, writer })
    }

    /// Writes `batch` as one row group.
    ///
    /// # Errors
    /// What the disk or the format's library reports.
    pub(crate) fn write_group(&mut self, batch: &RecordBatch) -> Result<Part, SegmentsError> {
        self.writer
            .write(batch)
            .and_then(|()| self.writer.flush())
            .map_err(SegmentsError::parquet("write", &self.temporary))?;
        // The library's own buffer must be empty before the part's checksum is taken.
        self.writer.sync().map_err(SegmentsError::io("write", &self.temporary))?;
        Ok(self.writer.inner_mut().take_part())
    }

    /// Writes the footer, makes the bytes durable and gives the file its name. The directory is
    /// left to the caller, who syncs it once for several files.
    ///
    /// # Errors
    /// What the disk or the format's library reports.
    pub(crate) fn finish(mut self, keys: Vec<KeyValue>) -> Result<Written, SegmentsError> {
        keys.into_iter().for_each(|key| self.writer.append_key_value_metadata(key));
        self.writer.finish().map_err(SegmentsError::parquet("finish", &self.temporary))?;
        self.writer.sync().map_err(SegmentsError::io("write", &self.temporary))?;
        let sink = self.writer.inner_mut();
        let footer = sink.take_part();
        // DURABILITY: the bytes before the name, or a crash could leave the name on a torn file.
        sink.file.sync_data().map_err(SegmentsError::io("sync", &self.temporary))?;
        let written = Written { file: self.file, bytes: sink.bytes, crc32c: sink.crc32c, footer };
        self.disk
            .rename(&self.temporary, &self.path)
            .map_err(SegmentsError::io("rename", &self.temporary))?;
        Ok(written)
    }
}

impl Sink {
    /// The stretch since the last call; the buffer has been flushed.
    fn take_part(&mut self) -> Part {
        let next = Part { offset: self.bytes, ..Part::default() };
        std::mem::replace(&mut self.part, next)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(&self.buffer, self.bytes)?;
        let length = u64::try_from(self.buffer.len()).map_err(io::Error::other)?;
        self.crc32c = crc32c::crc32c_append(self.crc32c, &self.buffer);
        self.part.crc32c = crc32c::crc32c_append(self.part.crc32c, &self.buffer);
        self.bytes += length;
        self.part.bytes += length;
        self.buffer.clear();
        Ok(())
    }
}
