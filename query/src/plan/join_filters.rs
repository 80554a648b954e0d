//! Stops a cancelled query within its joins.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::internal_err;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::scan::Progress;

/// Gives the filters of joins a look at whether the query was cancelled.
pub(crate) fn stop_in_joins(plan: LogicalPlan, progress: &Arc<Progress>) -> Result<LogicalPlan> {
    if matches!(plan, LogicalPlan::Explain(_)) {
        return Ok(plan);
    }
    let signature = Signature::any(1, Volatility::Immutable);
    let stop = ScalarUDF::new_from_impl(Stop { signature, progress: Arc::clone(progress) });
    let stopped = plan.transform_up(|node| {
        Ok(match node {
            LogicalPlan::Join(mut join) if join.filter.is_some() => {
                join.filter = join.filter.map(|filter| stop.call(vec![filter]));
                Transformed::yes(LogicalPlan::Join(join))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(stopped.data)
}

/// Its argument, unless the query was cancelled.
#[derive(Debug)]
struct Stop {
    signature: Signature,
    progress: Arc<Progress>,
}

impl PartialEq for Stop {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.progress, &other.progress)
    }
}

impl Eq for Stop {}

impl Hash for Stop {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.progress).hash(state);
    }
}

impl ScalarUDFImpl for Stop {
    fn name(&self) -> &str {
        "unless_cancelled"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.progress.check()?;
        match args.args.into_iter().next() {
            Some(filter) => Ok(filter),
            None => internal_err!("a filter is missing"),
        }
    }
}
