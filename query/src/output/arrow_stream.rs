//! Rows as a stream of Arrow's inter-process format.
//!
//! Texts leave the program as plain `Utf8`: many readers do not know views of texts yet, and a slice
//! of a column of views would carry the bytes of the whole column.

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow_ipc::writer::StreamWriter;
use datafusion::error::Result;

/// Rows as a stream of Arrow's inter-process format.
pub(crate) struct ArrowStream {
    schema: SchemaRef,
    writer: StreamWriter<Vec<u8>>,
}

impl fmt::Debug for ArrowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrowStream").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl ArrowStream {
    pub(crate) fn new(schema: &Schema) -> Result<Self> {
        let fields = schema.fields().iter().map(plain_field);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let writer = StreamWriter::try_new(Vec::new(), &schema)?;
        Ok(Self { schema, writer })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let pairs = batch.columns().iter().zip(self.schema.fields());
        let columns = pairs.map(|(column, field)| cast(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let schema = Arc::clone(&self.schema);
        let plain = RecordBatch::try_new_with_options(schema, columns, &options)?;
        Ok(self.writer.write(&plain)?)
    }

    /// Bytes that are written so far.
    pub(crate) fn bytes(&self) -> usize {
        self.writer.get_ref().len()
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        Ok(self.writer.into_inner()?)
    }
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let of = plain(field.data_type());
    Arc::new(Field::new(field.name(), of, field.is_nullable()))
}

/// The type without views.
fn plain(of: &DataType) -> DataType {
    match of {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(element) => DataType::List(plain_field(element)),
        DataType::LargeList(element) => DataType::LargeList(plain_field(element)),
        DataType::FixedSizeList(element, size) => {
            DataType::FixedSizeList(plain_field(element), *size)
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        other => other.clone(),
    }
}
