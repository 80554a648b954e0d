//! Rows as RFC 4180 lines, ended by a line feed.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::Result;

use crate::output::cell::Column;

/// Writes the line of names.
pub(crate) fn write_header(schema: &SchemaRef, out: &mut Vec<u8>) {
    for (at, field) in schema.fields().iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let from = out.len();
        out.extend_from_slice(field.name().as_bytes());
        quote(out, from);
    }
    out.push(b'\n');
}

/// Writes a line per row. NULL is empty; an empty text is `""`.
pub(crate) fn write_csv(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    let columns = batch.columns().iter().map(Column::new).collect::<Result<Vec<_>>>()?;
    for row in 0..batch.num_rows() {
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let from = out.len();
            column.write_plain(row, out)?;
            if out.len() == from && !column.array.is_null(row) {
                out.extend_from_slice(b"\"\"");
            } else {
                quote(out, from);
            }
        }
        out.push(b'\n');
    }
    Ok(())
}

/// Puts what was written since `from` in quotes, where it must be.
fn quote(out: &mut Vec<u8>, from: usize) {
    let cell = &out[from..];
    if !cell.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        return;
    }
    let cell = cell.to_vec();
    out.truncate(from);
    out.push(b'"');
    for byte in cell {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}
