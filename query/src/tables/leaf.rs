//! A table whose rows are made when they are read.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

/// Batches, made one after the other.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Makes the batches of a table.
pub(crate) trait MakeBatches: fmt::Debug + Send + Sync {
    /// All columns of the table.
    fn schema(&self) -> &SchemaRef;

    /// All rows of the table.
    fn batches(&self, context: Arc<TaskContext>) -> Batches;
}

/// A table that gives all of its rows, whatever is asked for.
#[derive(Clone, Debug)]
pub(crate) struct LeafTable(Arc<dyn MakeBatches>);

/// The one partition of such a table.
#[derive(Debug)]
struct Leaf(Arc<dyn MakeBatches>);

impl LeafTable {
    pub(crate) fn new(rows: impl MakeBatches + 'static) -> Self {
        Self(Arc::new(rows))
    }
}

#[async_trait]
impl TableProvider for LeafTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.0.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        leaf_exec(Arc::clone(&self.0), projection)
    }
}

/// The leaf that gives these columns of the table.
pub(crate) fn leaf_exec(
    table: Arc<dyn MakeBatches>,
    projection: Option<&Vec<usize>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = Arc::clone(table.schema());
    let leaf: Arc<dyn PartitionStream> = Arc::new(Leaf(table));
    let exec =
        StreamingTableExec::try_new(schema, vec![leaf], projection, Vec::new(), false, None)?;
    Ok(Arc::new(exec))
}

impl PartitionStream for Leaf {
    fn schema(&self) -> &SchemaRef {
        self.0.schema()
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let stream = futures::stream::iter(self.0.batches(context));
        let schema = Arc::clone(self.0.schema());
        Box::pin(cooperative(RecordBatchStreamAdapter::new(schema, stream)))
    }
}
