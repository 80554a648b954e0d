//! `tidewatch.percentiles`: windows of files, then those that no file holds yet.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use tidewatch_segments::{WindowRow, percentiles_batch, percentiles_schema};

use crate::tables::context::QueryContext;
use crate::tables::filed::{FiledRows, Tail};
use crate::tables::leaf::LeafTable;

/// Windows in memory that become one batch.
const BATCH_WINDOWS: usize = 1_024;

/// Windows that no file holds.
#[derive(Debug)]
struct WindowTail(Arc<[Arc<WindowRow>]>);

/// A row per window, revision and quantile.
pub(crate) fn percentiles(context: &QueryContext) -> LeafTable {
    LeafTable::new(FiledRows {
        schema: percentiles_schema(),
        files: context.snapshot.percentiles.clone().into(),
        tail: Arc::new(WindowTail(Arc::clone(&context.windows))),
        progress: Arc::clone(&context.progress),
    })
}

impl Tail for WindowTail {
    fn name(&self) -> &'static str {
        "percentiles"
    }

    fn batch(&self, from: usize) -> Option<(RecordBatch, usize)> {
        let windows = self.0.get(from..)?.chunks(BATCH_WINDOWS).next()?;
        Some((percentiles_batch(windows), windows.len()))
    }
}
