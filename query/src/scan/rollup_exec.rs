//! A scan that does not read every row, as plans show it.

use std::fmt;
use std::sync::Arc;

use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

/// Passes a scan on; `EXPLAIN` says how many rows of rollups it reads, and how many of samples.
///
/// Where only the latest row of each series counts, these are bounds: the newest are read first, and older
/// ones as far as there are series of which nothing newer was found.
#[derive(Debug)]
pub(crate) struct RollupExec {
    scan: Arc<dyn ExecutionPlan>,
    rollup_rows: u64,
    sample_rows: u64,
    is_latest: bool,
}

impl RollupExec {
    /// Row groups and chunks that may hold what is asked for have so many rows in all.
    pub(crate) fn new(
        scan: Arc<dyn ExecutionPlan>,
        (rollup_rows, sample_rows): (u64, u64),
        is_latest: bool,
    ) -> Self {
        Self { scan, rollup_rows, sample_rows, is_latest }
    }
}

impl DisplayAs for RollupExec {
    fn fmt_as(&self, _form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rollup_rows, sample_rows) = (self.rollup_rows, self.sample_rows);
        let name = self.name();
        write!(f, "{name}: rollup_rows={rollup_rows}, sample_rows={sample_rows}")
    }
}

impl ExecutionPlan for RollupExec {
    fn name(&self) -> &str {
        if self.is_latest { "LatestExec" } else { "RollupExec" }
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.scan.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.scan]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.len()) {
            (Some(scan), 0) => {
                let rows = (self.rollup_rows, self.sample_rows);
                Ok(Arc::new(Self::new(scan, rows, self.is_latest)))
            }
            _ => internal_err!("a scan of rollups has one input"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.scan.execute(partition, context)
    }
}
