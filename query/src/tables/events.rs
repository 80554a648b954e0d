//! `tidewatch.alerts` and `tidewatch.deliveries`: rows of files, then those that no file holds yet.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, UInt32Array, new_null_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{SchemaRef, TimestampNanosecondType, UInt32Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::internal_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use tidewatch_segments::events::{alerts_batch, deliveries_batch};
use tidewatch_segments::{EventFile, alerts_schema, deliveries_schema};

use crate::error::QueryError;
use crate::scan::Progress;
use crate::tables::context::QueryContext;
use crate::tables::leaf::{Batches, LeafTable, MakeBatches};

/// Rows of files and of memory. A row that is in both is given once.
#[derive(Debug)]
struct EventRows {
    schema: SchemaRef,
    files: Vec<Arc<EventFile>>,
    /// Rows that perhaps no file holds.
    tail: RecordBatch,
    /// Columns that tell rows apart.
    identity: &'static [&'static str],
    progress: Arc<Progress>,
}

/// `tidewatch.alerts`: a row per transition of an alert.
pub(crate) fn alerts(context: &QueryContext) -> LeafTable {
    LeafTable::new(EventRows {
        schema: alerts_schema(),
        files: context.snapshot.alerts.clone(),
        tail: alerts_batch(&context.alerts),
        // An alert may be amended often, also of one window: the reason tells the revision.
        identity: &["key", "transition", "event", "reason"],
        progress: Arc::clone(&context.progress),
    })
}

/// `tidewatch.deliveries`: a row per attempt to deliver a transition.
pub(crate) fn deliveries(context: &QueryContext) -> LeafTable {
    LeafTable::new(EventRows {
        schema: deliveries_schema(),
        files: context.snapshot.deliveries.clone(),
        tail: deliveries_batch(&context.deliveries),
        // Attempts are numbered from 1 again after a start.
        identity: &["key", "transition", "sink", "attempt", "started"],
        progress: Arc::clone(&context.progress),
    })
}

impl EventRows {
    /// What tells a row of `batch` apart.
    fn identity(&self, batch: &RecordBatch, row: usize) -> Result<String> {
        let mut identity = String::new();
        for name in self.identity {
            let column = batch
                .column_by_name(name)
                .ok_or_else(|| internal_datafusion_err!("a file has no column {name}"))?;
            if let Some(texts) = column.as_string_opt::<i32>() {
                identity.push_str(texts.value(row));
            } else if let Some(numbers) = column.as_primitive_opt::<UInt32Type>() {
                identity.push_str(&numbers.value(row).to_string());
            } else if let Some(times) = column.as_primitive_opt::<TimestampNanosecondType>() {
                identity.push_str(&times.value(row).to_string());
            }
            identity.push('\0');
        }
        Ok(identity)
    }
}

impl MakeBatches for EventRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn batches(&self, context: Arc<TaskContext>) -> Batches {
        let memory = MemoryConsumer::new("events").register(context.memory_pool());
        let mut unseen = HashMap::new();
        for row in 0..self.tail.num_rows() {
            match self.identity(&self.tail, row) {
                Ok(identity) => unseen.insert(identity, row),
                Err(error) => return Box::new(std::iter::once(Err(error))),
            };
        }
        let rows = Self {
            schema: Arc::clone(&self.schema),
            files: self.files.clone(),
            tail: self.tail.clone(),
            identity: self.identity,
            progress: Arc::clone(&self.progress),
        };
        let mut reading =
            Reading { next_file: 0, batches: Vec::new().into_iter(), unseen: Some(unseen), memory };
        Box::new(std::iter::from_fn(move || reading.next(&rows).transpose()))
    }
}

/// How far the reading of a table has come.
struct Reading {
    next_file: usize,
    batches: std::vec::IntoIter<RecordBatch>,
    /// Rows of the tail that no file had so far; `None` once they were given.
    unseen: Option<HashMap<String, usize>>,
    memory: MemoryReservation,
}

impl Reading {
    fn next(&mut self, rows: &EventRows) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.batches.next() {
                self.see(rows, &batch)?;
                return Ok(Some(fit(&batch, &rows.schema)?));
            }
            self.memory.free();
            match rows.files.get(self.next_file) {
                Some(file) => self.read(rows, file)?,
                None => return self.tail(rows),
            }
            self.next_file += 1;
        }
    }

    fn read(&mut self, rows: &EventRows, file: &EventFile) -> Result<()> {
        let meta = file.meta();
        rows.progress.read(meta.rows, meta.bytes)?;
        let batches =
            file.read().map_err(|source| QueryError::Segments { source: Box::new(source) })?;
        let bytes: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
        self.memory.try_grow(bytes)?;
        self.batches = batches.into_iter();
        Ok(())
    }

    fn see(&mut self, rows: &EventRows, batch: &RecordBatch) -> Result<()> {
        if let Some(unseen) = self.unseen.as_mut().filter(|unseen| !unseen.is_empty()) {
            for row in 0..batch.num_rows() {
                unseen.remove(&rows.identity(batch, row)?);
            }
        }
        Ok(())
    }

    fn tail(&mut self, rows: &EventRows) -> Result<Option<RecordBatch>> {
        let Some(unseen) = self.unseen.take().filter(|unseen| !unseen.is_empty()) else {
            return Ok(None);
        };
        let mut order: Vec<usize> = unseen.into_values().collect();
        order.sort_unstable();
        let order = order.into_iter().map(|row| u32::try_from(row).ok()).collect::<UInt32Array>();
        Ok(Some(take_record_batch(&rows.tail, &order)?))
    }
}

/// Rows of a file with the columns that the table has now: what the file's writer did not know of is NULL.
fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| {
        let column = batch.column_by_name(field.name()).map(Arc::clone);
        column.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
    });
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_a_file_does_not_have_is_null() {
        let now = alerts_schema();
        let kind = now.index_of("kind").unwrap();
        let before: Vec<usize> = (0..now.fields().len()).filter(|at| *at != kind).collect();
        let batch = alerts_batch(&[]).project(&before).unwrap();
        let fitted = fit(&batch, &now).unwrap();
        assert_eq!((fitted.schema(), fitted.num_columns()), (Arc::clone(&now), 23));
    }
}
