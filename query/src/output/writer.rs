//! Writes an answer batch by batch, within its limits.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;

use crate::error::QueryError;
use crate::output::arrow_stream::ArrowStream;
use crate::output::csv::{write_csv, write_header};
use crate::output::json::JsonRows;
use crate::output::parquet_file::ParquetFile;
use crate::output::pretty::PrettyTable;
use crate::request::Format;

/// Rows that are written between two looks at the length of the answer.
const ROWS_PER_CHECK: usize = 256;
/// The same where rows stay in columns, which have a head per batch.
const COLUMN_ROWS_PER_CHECK: usize = 1_024;

/// Writes an answer batch by batch, within its limits.
#[derive(Debug)]
pub(crate) struct AnswerWriter {
    body: Vec<u8>,
    rows: usize,
    rows_max: usize,
    bytes_max: usize,
    form: Form,
    /// Holds the memory of the body.
    memory: MemoryReservation,
}

#[derive(Debug)]
enum Form {
    Json(JsonRows),
    Csv,
    Pretty(PrettyTable),
    Parquet(Box<ParquetFile>),
    Arrow(Box<ArrowStream>),
}

impl AnswerWriter {
    /// Begins an answer; an error if the format cannot hold a column.
    pub(crate) fn new(
        format: Format,
        schema: &SchemaRef,
        (rows_max, bytes_max): (usize, usize),
        memory: MemoryReservation,
    ) -> Result<Self> {
        let mut body = Vec::new();
        let form = match format {
            Format::Json => Form::Json(JsonRows::array(schema)),
            Format::JsonLines => Form::Json(JsonRows::lines(schema)),
            Format::Csv => {
                write_header(schema, &mut body);
                Form::Csv
            }
            Format::Pretty => Form::Pretty(PrettyTable::new(schema)),
            Format::Parquet => Form::Parquet(Box::new(ParquetFile::new(schema)?)),
            Format::Arrow => Form::Arrow(Box::new(ArrowStream::new(schema)?)),
        };
        Ok(Self { body, rows: 0, rows_max, bytes_max, form, memory })
    }

    /// Appends the rows of a batch.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows();
        if self.rows > self.rows_max {
            return Err(QueryError::Limit {
                what: "the rows of this answer",
                max: self.rows_max as u64,
                hint: "add LIMIT, aggregate, or ask for one time range after the other",
            }
            .into());
        }
        let rows_max = match self.form {
            Form::Parquet(_) | Form::Arrow(_) => COLUMN_ROWS_PER_CHECK,
            Form::Json(_) | Form::Csv | Form::Pretty(_) => ROWS_PER_CHECK,
        };
        for start in (0..batch.num_rows()).step_by(rows_max) {
            let rows = rows_max.min(batch.num_rows() - start);
            let part = batch.slice(start, rows);
            match &mut self.form {
                Form::Json(json) => json.write(&part, &mut self.body)?,
                Form::Csv => write_csv(&part, &mut self.body)?,
                Form::Pretty(table) => table.write(&part)?,
                Form::Parquet(file) => file.write(&part)?,
                Form::Arrow(stream) => stream.write(&part)?,
            }
            self.check()?;
        }
        Ok(())
    }

    /// The whole answer, and its number of rows.
    pub(crate) fn finish(mut self) -> Result<(Bytes, u64)> {
        match self.form {
            Form::Json(ref mut json) => json.finish(&mut self.body),
            Form::Csv => {}
            Form::Pretty(ref table) => {
                // Widths are known at the end, so a table is measured before it is written.
                check_bytes(table.bytes_written(), self.bytes_max)?;
                table.finish(&mut self.body);
            }
            Form::Parquet(file) => self.body = file.finish()?,
            Form::Arrow(stream) => self.body = stream.finish()?,
        }
        check_bytes(self.body.len(), self.bytes_max)?;
        Ok((Bytes::from(self.body), self.rows as u64))
    }

    fn check(&self) -> Result<()> {
        let (bytes, held) = match &self.form {
            Form::Pretty(table) => (table.bytes_held(), table.bytes_held()),
            Form::Json(_) | Form::Csv => (self.body.len(), self.body.len()),
            Form::Parquet(file) => (file.bytes(), file.bytes_held()),
            Form::Arrow(stream) => (stream.bytes(), stream.bytes()),
        };
        check_bytes(bytes, self.bytes_max)?;
        if self.memory.size() < held {
            // A vector that grows holds up to twice its length.
            self.memory.try_resize(2 * held)?;
        }
        Ok(())
    }
}

fn check_bytes(bytes: usize, bytes_max: usize) -> Result<(), QueryError> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(QueryError::Limit {
        what: "the bytes of this answer",
        max: bytes_max as u64,
        hint: "add LIMIT, name fewer columns, or aggregate",
    })
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
