//! A scan as the leaf of a plan.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

use crate::scan::cursor::{HeadCursor, SegmentCursor};
use crate::scan::hours::TimeTest;
use crate::scan::merge::{Merge, MergeSource, SortedHead};
use crate::scan::plan::{Part, Plain, PlainRows, Scan, Slab};
use crate::scan::rollup_cursor::RollupCursor;
use crate::scan::rows::Rows;

/// Makes batches of a table from rows of a scan.
pub(crate) trait RowsToBatch: fmt::Debug + Send + Sync {
    /// The columns of the batches.
    fn schema(&self) -> &SchemaRef;

    /// The batch of these rows.
    fn batch(&self, rows: &Rows) -> Result<RecordBatch>;
}

/// One part of a scan.
#[derive(Debug)]
pub(crate) struct ScanPartition {
    scan: Arc<Scan>,
    part: usize,
    /// Rows that are enough.
    limit: usize,
    to_batch: Arc<dyn RowsToBatch>,
}

/// The rows of one part of a scan.
pub(crate) struct PartRows {
    scan: Arc<Scan>,
    part: Part,
    at: At,
    memory: MemoryReservation,
}

/// What is read at the moment.
enum At {
    Between,
    Segment(Box<SegmentCursor>),
    Head(Box<HeadCursor>),
    Rollup(Box<RollupCursor>),
    Merge(Box<Merge>),
}

/// The leaf that reads `scan`; each part gives at most `limit` rows.
pub(crate) fn scan_exec(
    scan: Scan,
    to_batch: &Arc<dyn RowsToBatch>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = Arc::clone(to_batch.schema());
    let scan = Arc::new(scan);
    let parts = (0..scan.parts.len()).map(|part| -> Arc<dyn PartitionStream> {
        Arc::new(ScanPartition {
            scan: Arc::clone(&scan),
            part,
            limit: limit.unwrap_or(usize::MAX),
            to_batch: Arc::clone(to_batch),
        })
    });
    let parts = parts.collect();
    Ok(Arc::new(StreamingTableExec::try_new(schema, parts, None, Vec::new(), false, limit)?))
}

impl PartitionStream for ScanPartition {
    fn schema(&self) -> &SchemaRef {
        self.to_batch.schema()
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut rows = PartRows::new(Arc::clone(&self.scan), self.part, &context);
        let to_batch = Arc::clone(&self.to_batch);
        let mut left = self.limit;
        let batches = std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let next = rows.next().transpose()?;
            let latest = rows.scan.wanted.latest.as_ref();
            Some(next.and_then(|rows| {
                let mut rows = match latest {
                    Some(latest) => latest.keep(rows),
                    None => rows,
                };
                rows.truncate(left);
                left -= rows.len();
                to_batch.batch(&rows)
            }))
        });
        let stream = futures::stream::iter(batches);
        let schema = Arc::clone(self.to_batch.schema());
        Box::pin(cooperative(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

impl PartRows {
    /// The rows of part `part` of `scan`.
    pub(crate) fn new(scan: Arc<Scan>, part: usize, context: &TaskContext) -> Self {
        let memory = MemoryConsumer::new("scan").register(context.memory_pool());
        let part = scan.parts.get(part).cloned().unwrap_or_default();
        Self { scan, part, at: At::Between, memory }
    }

    /// The next rows, at least one; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Rows>> {
        loop {
            let next = match &mut self.at {
                At::Between => None,
                At::Segment(cursor) => cursor.next()?,
                At::Head(cursor) => cursor.next()?,
                At::Rollup(cursor) => cursor.next()?,
                At::Merge(merge) => merge.next()?,
            };
            if next.is_some() {
                return Ok(next);
            }
            self.at = At::Between;
            self.at = match (self.part.slabs.pop(), self.part.plain.pop()) {
                (Some(slab), plain) => {
                    self.part.plain.extend(plain);
                    At::Merge(Box::new(self.merge(&slab)?))
                }
                (None, Some(plain)) => self.plain(plain)?,
                (None, None) => return Ok(None),
            };
        }
    }

    fn plain(&self, plain: Plain) -> Result<At> {
        let test = TimeTest::new(self.scan.times.clone(), plain.hours);
        let wanted = self.scan.wanted.clone();
        Ok(match plain.rows {
            PlainRows::Segment(part) => {
                let memory = self.memory.new_empty();
                At::Segment(Box::new(SegmentCursor::open(&part, wanted, test, memory)?))
            }
            PlainRows::Rollup(part) => {
                let memory = self.memory.new_empty();
                At::Rollup(Box::new(RollupCursor::open(&part, wanted, memory)?))
            }
            PlainRows::Head(part) => At::Head(Box::new(HeadCursor::new(part, wanted, test))),
        })
    }

    fn merge(&self, slab: &Slab) -> Result<Merge> {
        let test = TimeTest::new(self.scan.times.clone(), slab.hours.clone());
        let mut wanted = self.scan.wanted.clone();
        wanted.columns = crate::scan::plan::Columns::ALL;
        let mut sources = Vec::with_capacity(slab.segments.len() + slab.heads.len());
        for part in &slab.segments {
            let memory = self.memory.new_empty();
            let cursor = SegmentCursor::open(part, wanted.clone(), test.clone(), memory)?;
            sources.push(MergeSource::Segment(Box::new(cursor)));
        }
        for part in &slab.heads {
            let cursor = HeadCursor::new(part.clone(), wanted.clone(), test.clone());
            let memory = self.memory.new_empty();
            sources.push(MergeSource::Head(SortedHead::sort(cursor, memory)?));
        }
        Merge::new(sources)
    }
}
