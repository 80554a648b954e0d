//! Rows as JSON objects.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::Result;

use crate::output::cell::Column;

/// Writes rows as JSON objects, in an array or one per line.
#[derive(Debug)]
pub(crate) struct JsonRows {
    /// `"name":` of each column.
    names: Vec<Vec<u8>>,
    is_array: bool,
    is_first: bool,
}

impl JsonRows {
    pub(crate) fn array(schema: &SchemaRef) -> Self {
        Self::new(schema, true)
    }

    pub(crate) fn lines(schema: &SchemaRef) -> Self {
        Self::new(schema, false)
    }

    fn new(schema: &SchemaRef, is_array: bool) -> Self {
        let name = |name: &String| {
            let mut text = serde_json::Value::from(name.as_str()).to_string().into_bytes();
            text.push(b':');
            text
        };
        let names = schema.fields().iter().map(|field| name(field.name())).collect();
        Self { names, is_array, is_first: true }
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let columns = batch.columns().iter().map(Column::new).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            if self.is_array {
                out.extend_from_slice(if self.is_first { b"[" } else { b"," });
            }
            self.is_first = false;
            out.push(b'{');
            for (at, (name, column)) in self.names.iter().zip(&columns).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(name);
                column.write_json(row, out)?;
            }
            out.push(b'}');
            if !self.is_array {
                out.push(b'\n');
            }
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.is_array {
            out.extend_from_slice(if self.is_first { b"[]" } else { b"]" });
        }
    }
}
