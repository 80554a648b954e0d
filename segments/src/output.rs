//! A Parquet file on its way to the disk: checksummed in parts, durable before it has its name.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions,
    compute_leaves,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
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

/// A file that is complete and durable, but has only its temporary name: it does not count.
#[derive(Debug)]
pub struct Sealed {
    temporary: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) crc32c: u32,
    pub(crate) footer: Part,
}

/// A Parquet file that is being written under a temporary name.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    temporary: PathBuf,
    file: String,
    schema: SchemaRef,
    writer: SerializedFileWriter<Sink>,
    columns: ArrowRowGroupWriterFactory,
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
        let (writer, columns) = begin(sink, &schema, properties)
            .map_err(SegmentsError::parquet("begin", &temporary))?;
        Ok(Self { disk, dir: dir.to_owned(), temporary, file, schema, writer, columns })
    }

    /// Writes `batch` as one row group.
    ///
    /// # Errors
    /// What the disk or the format's library reports.
    pub(crate) fn write_group(&mut self, batch: &RecordBatch) -> Result<Part, SegmentsError> {
        let chunks = self.encode(batch).map_err(self.failed("write"))?;
        self.write_chunks(chunks)
    }

    /// Writes encoded columns, one of each field of the schema, as one row group.
    ///
    /// # Errors
    /// What the disk or the format's library reports.
    pub(crate) fn write_chunks(
        &mut self,
        chunks: Vec<ArrowColumnChunk>,
    ) -> Result<Part, SegmentsError> {
        append(&mut self.writer, chunks).map_err(self.failed("write"))?;
        // The library's own buffer must be empty before the part's checksum is taken.
        self.writer.flush().map_err(SegmentsError::io("write", &self.temporary))?;
        Ok(self.writer.inner_mut().take_part())
    }

    /// Writes bytes between row groups that only readers who know of them see.
    ///
    /// # Errors
    /// What the disk reports.
    pub(crate) fn write_beside(&mut self, bytes: &[u8]) -> Result<Part, SegmentsError> {
        let written = self.writer.write_all(bytes).and_then(|()| self.writer.flush());
        written.map_err(SegmentsError::io("write", &self.temporary))?;
        Ok(self.writer.inner_mut().take_part())
    }

    /// Writes the footer and makes the bytes durable.
    ///
    /// # Errors
    /// What the disk or the format's library reports.
    pub(crate) fn seal(mut self, keys: Vec<KeyValue>) -> Result<Sealed, SegmentsError> {
        keys.into_iter().for_each(|key| self.writer.append_key_value_metadata(key));
        self.writer.finish().map_err(self.failed("finish"))?;
        self.writer.flush().map_err(SegmentsError::io("write", &self.temporary))?;
        let sink = self.writer.inner_mut();
        let footer = sink.take_part();
        // DURABILITY: the bytes before the name, or a crash could leave the name on a torn file.
        sink.file.sync_data().map_err(SegmentsError::io("sync", &self.temporary))?;
        let (bytes, crc32c) = (sink.bytes, sink.crc32c);
        Ok(Sealed { temporary: self.temporary, bytes, crc32c, footer })
    }

    /// Seals the file and gives it its name. The directory is left to the caller, who syncs it once
    /// for several files.
    ///
    /// # Errors
    /// What the disk or the format's library reports.
    pub(crate) fn finish(mut self, keys: Vec<KeyValue>) -> Result<Written, SegmentsError> {
        let (disk, dir) = (self.disk, std::mem::take(&mut self.dir));
        let file = std::mem::take(&mut self.file);
        let sealed = self.seal(keys)?;
        sealed.rename(disk, &dir, &file)?;
        let Sealed { bytes, crc32c, footer, .. } = sealed;
        Ok(Written { file, bytes, crc32c, footer })
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
        let writers = self.columns.create_column_writers(0)?;
        let columns = self.schema.fields().iter().zip(batch.columns()).zip(writers);
        columns
            .map(|((field, column), writer)| encode_column(field, from_ref(column), writer))
            .collect()
    }

    pub(crate) fn failed(
        &self,
        action: &'static str,
    ) -> impl FnOnce(ParquetError) -> SegmentsError + use<> {
        SegmentsError::parquet(action, &self.temporary)
    }
}

/// Begins a Parquet file in `sink`; also gives what encodes its columns.
pub(crate) fn begin<W: Write + Send>(
    sink: W,
    schema: &SchemaRef,
    properties: WriterProperties,
) -> Result<(SerializedFileWriter<W>, ArrowRowGroupWriterFactory), ParquetError> {
    // Foreign readers need no Arrow schema: the Parquet types say it all.
    let options =
        ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(sink, SchemaRef::clone(schema), options)?
        .into_serialized_writer()
}

/// Encodes a column of a row group, which is in one or several pieces.
pub(crate) fn encode_column(
    field: &Field,
    pieces: &[ArrayRef],
    mut writer: ArrowColumnWriter,
) -> Result<ArrowColumnChunk, ParquetError> {
    for piece in pieces {
        compute_leaves(field, piece)?.iter().try_for_each(|leaf| writer.write(leaf))?;
    }
    writer.close()
}

fn append(
    writer: &mut SerializedFileWriter<Sink>,
    chunks: Vec<ArrowColumnChunk>,
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    chunks.into_iter().try_for_each(|chunk| chunk.append_to_row_group(&mut group))?;
    group.close().map(drop)
}

impl Sealed {
    /// Gives the file its name, which counts once the directory is synced and the manifest has it.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn rename(&self, disk: &dyn Disk, dir: &Path, file: &str) -> Result<(), SegmentsError> {
        disk.rename(&self.temporary, &dir.join(file))
            .map_err(SegmentsError::io("rename", &self.temporary))
    }

    /// Removes the file, which is not wanted any more.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn discard(self, disk: &dyn Disk) -> Result<(), SegmentsError> {
        disk.remove(&self.temporary).map_err(SegmentsError::io("remove", &self.temporary))
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
