//! `tidewatch.percentiles`: windows of files, then those that no file holds yet.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use tidewatch_segments::{EventFile, WindowRow, percentiles_batch, percentiles_schema};

use crate::error::QueryError;
use crate::scan::Progress;
use crate::tables::context::QueryContext;
use crate::tables::leaf::{Batches, LeafTable, MakeBatches};

/// Windows in memory that become one batch.
const BATCH_WINDOWS: usize = 1_024;

/// A row per window, revision and quantile.
#[derive(Clone, Debug)]
struct WindowRows {
    schema: SchemaRef,
    files: Arc<[Arc<EventFile>]>,
    /// Behind those of the files.
    windows: Arc<[Arc<WindowRow>]>,
    progress: Arc<Progress>,
}

/// The table.
pub(crate) fn percentiles(context: &QueryContext) -> LeafTable {
    LeafTable::new(WindowRows {
        schema: percentiles_schema(),
        files: context.snapshot.percentiles.clone().into(),
        windows: Arc::clone(&context.windows),
        progress: Arc::clone(&context.progress),
    })
}

impl MakeBatches for WindowRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn batches(&self, context: Arc<TaskContext>) -> Batches {
        let mut reading = Reading {
            rows: self.clone(),
            next_file: 0,
            batches: Vec::new().into_iter(),
            next_window: 0,
            memory: MemoryConsumer::new("percentiles").register(context.memory_pool()),
        };
        Box::new(std::iter::from_fn(move || reading.next().transpose()))
    }
}

/// How far the reading of the table has come.
struct Reading {
    rows: WindowRows,
    next_file: usize,
    /// Of the file before.
    batches: std::vec::IntoIter<RecordBatch>,
    next_window: usize,
    memory: MemoryReservation,
}

impl Reading {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.batches.next() {
                return Ok(Some(batch));
            }
            self.memory.free();
            let Some(file) = self.rows.files.get(self.next_file) else { return self.window() };
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

    fn window(&mut self) -> Result<Option<RecordBatch>> {
        let left = self.rows.windows.get(self.next_window..).unwrap_or_default();
        let Some(windows) = left.chunks(BATCH_WINDOWS).next() else { return Ok(None) };
        self.rows.progress.check()?;
        self.next_window += windows.len();
        let batch = percentiles_batch(windows);
        self.memory.try_grow(batch.get_array_memory_size())?;
        Ok(Some(batch))
    }
}
