//! Rows as a Parquet file.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::plan_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

/// Rows of a row group: as many as those of segments have.
const GROUP_ROWS: usize = 128 * 1_024;

/// Rows as a Parquet file, compressed with zstd.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    writer: ArrowWriter<Vec<u8>>,
}

impl ParquetFile {
    /// Begins a file; an error if Parquet has no type for a column.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_created_by("tidewatch".to_owned())
            .build();
        // Foreign readers need no Arrow schema: the Parquet types say it all.
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer =
            ArrowWriter::try_new_with_options(Vec::new(), SchemaRef::clone(schema), options);
        Ok(Self { writer: writer.map_err(|error| no_type(&error))? })
    }

    /// Appends rows; an error if Parquet has no values for a column.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|error| match error {
            ParquetError::NYI(_) => no_type(&error),
            broken => broken.into(),
        })
    }

    /// Bytes of the file so far, about.
    pub(crate) fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Bytes of memory that the file and its open row group take, about.
    pub(crate) fn bytes_held(&self) -> usize {
        self.writer.bytes_written() + self.writer.memory_size()
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        Ok(self.writer.into_inner()?)
    }
}

fn no_type(error: &ParquetError) -> DataFusionError {
    plan_datafusion_err!("the answer cannot be written as Parquet, cast the column: {error}")
}
