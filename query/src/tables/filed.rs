//! Tables of rows of files, and then of those that no file holds yet.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use tidewatch_segments::EventFile;

use crate::error::QueryError;
use crate::scan::Progress;
use crate::tables::leaf::{Batches, MakeBatches};

/// The rows that no file holds, and the form of all.
pub(crate) trait Tail: fmt::Debug + Send + Sync {
    /// What the memory for its batches is called.
    fn name(&self) -> &'static str;

    /// The next batch behind so many rows of memory, and how many of these are in it; `None` where there are no more.
    fn batch(&self, from: usize) -> Option<(RecordBatch, usize)>;

    /// A batch of a file or of memory, in the form of the table.
    fn shaped(&self, batch: RecordBatch) -> Result<RecordBatch> {
        Ok(batch)
    }
}

/// The rows of such a table.
#[derive(Clone, Debug)]
pub(crate) struct FiledRows {
    pub(crate) schema: SchemaRef,
    pub(crate) files: Arc<[Arc<EventFile>]>,
    /// Behind those of the files.
    pub(crate) tail: Arc<dyn Tail>,
    pub(crate) progress: Arc<Progress>,
}

impl MakeBatches for FiledRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn batches(&self, context: Arc<TaskContext>) -> Batches {
        let memory = MemoryConsumer::new(self.tail.name()).register(context.memory_pool());
        let mut reading = Reading {
            rows: self.clone(),
            next_file: 0,
            batches: Vec::new().into_iter(),
            next_row: 0,
            memory,
        };
        Box::new(std::iter::from_fn(move || reading.next().transpose()))
    }
}

/// How far the reading of the table has come.
struct Reading {
    rows: FiledRows,
    next_file: usize,
    /// Of the file before.
    batches: std::vec::IntoIter<RecordBatch>,
    next_row: usize,
    memory: MemoryReservation,
}

impl Reading {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.batches.next() {
                return self.rows.tail.shaped(batch).map(Some);
            }
            self.memory.free();
            let Some(file) = self.rows.files.get(self.next_file) else { return self.tail() };
            let meta = file.meta();
            self.rows.progress.read(meta.rows, meta.bytes)?;
            let batches =
                file.read().map_err(|source| QueryError::Segments { source: Box::new(source) })?;
            let bytes = batches.iter().map(RecordBatch::get_array_memory_size).sum();
            self.memory.try_grow(bytes)?;
            self.batches = batches.into_iter();
            self.next_file += 1;
        }
    }

    fn tail(&mut self) -> Result<Option<RecordBatch>> {
        let Some((batch, rows)) = self.rows.tail.batch(self.next_row) else { return Ok(None) };
        self.rows.progress.check()?;
        self.next_row += rows;
        self.memory.try_grow(batch.get_array_memory_size())?;
        self.rows.tail.shaped(batch).map(Some)
    }
}
