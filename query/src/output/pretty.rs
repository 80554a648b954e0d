//! Rows as a table for people.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::Result;

use crate::output::cell::Column;

/// Rows as a table for people; the widths of columns are known at its end.
#[derive(Debug)]
pub(crate) struct PrettyTable {
    /// Cells row by row, the names first.
    cells: Vec<String>,
    widths: Vec<usize>,
    /// Numbers stand at the right.
    is_number: Vec<bool>,
    bytes: usize,
}

impl PrettyTable {
    pub(crate) fn new(schema: &SchemaRef) -> Self {
        let fields = schema.fields();
        let mut table = Self {
            cells: Vec::new(),
            widths: vec![0; fields.len()],
            is_number: fields.iter().map(|field| field.data_type().is_numeric()).collect(),
            bytes: 0,
        };
        for (column, field) in fields.iter().enumerate() {
            table.push(column, field.name().clone());
        }
        table
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = batch.columns().iter().map(Column::new).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            for (at, column) in columns.iter().enumerate() {
                let mut cell = Vec::new();
                column.write_plain(row, &mut cell)?;
                self.push(at, String::from_utf8_lossy(&cell).into_owned());
            }
        }
        Ok(())
    }

    fn push(&mut self, column: usize, cell: String) {
        // Line breaks and other control characters would tear the table.
        let cell = match cell.contains(char::is_control) {
            true => cell.escape_debug().to_string(),
            false => cell,
        };
        self.widths[column] = self.widths[column].max(cell.chars().count());
        self.bytes += cell.len() + size_of::<String>();
        self.cells.push(cell);
    }

    /// Bytes that the cells take.
    pub(crate) fn bytes_held(&self) -> usize {
        self.bytes
    }

    /// Bytes of the table, about.
    pub(crate) fn bytes_written(&self) -> usize {
        let line: usize = self.widths.iter().map(|width| width + 3).sum();
        let rows = self.cells.len() / self.widths.len().max(1) + 3;
        rows.saturating_mul(line + 2).max(self.bytes)
    }

    pub(crate) fn finish(&self, out: &mut Vec<u8>) {
        self.rule(out);
        let mut rows = self.cells.chunks(self.widths.len().max(1));
        if let Some(names) = rows.next() {
            self.line(names, out);
        }
        self.rule(out);
        let mut is_empty = true;
        for row in rows {
            self.line(row, out);
            is_empty = false;
        }
        if !is_empty {
            self.rule(out);
        }
    }

    fn rule(&self, out: &mut Vec<u8>) {
        for width in &self.widths {
            out.push(b'+');
            out.resize(out.len() + width + 2, b'-');
        }
        out.extend_from_slice(b"+\n");
    }

    fn line(&self, cells: &[String], out: &mut Vec<u8>) {
        for ((cell, width), is_number) in cells.iter().zip(&self.widths).zip(&self.is_number) {
            let space = width - cell.chars().count();
            let (before, after) = if *is_number { (space, 0) } else { (0, space) };
            out.extend_from_slice(b"| ");
            out.resize(out.len() + before, b' ');
            out.extend_from_slice(cell.as_bytes());
            out.resize(out.len() + after + 1, b' ');
        }
        out.extend_from_slice(b"|\n");
    }
}
