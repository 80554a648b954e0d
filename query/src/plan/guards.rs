//! Where guards stand in a physical plan.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PiecewiseMergeJoinExec, SortMergeJoinExec,
    SymmetricHashJoinExec,
};
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

use crate::plan::guard_exec::{Duty, GuardExec};
use crate::scan::Progress;

/// Puts guards into a plan that is ready to run.
pub(crate) fn add_guards(
    plan: Arc<dyn ExecutionPlan>,
    progress: &Arc<Progress>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let guarded = plan.transform_up(|node| {
        let guard = |node: Arc<dyn ExecutionPlan>, duty: Duty| -> Arc<dyn ExecutionPlan> {
            Arc::new(GuardExec::new(node, duty, Arc::clone(progress)))
        };
        if node.children().is_empty() {
            return Ok(Transformed::yes(guard(node, Duty::Stop)));
        }
        let Some(duty) = duty_below(&*node) else { return Ok(Transformed::no(node)) };
        let children = node.children().into_iter();
        let children = children.map(|child| guard(Arc::clone(child), duty.clone())).collect();
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let node = node.replace_children(children, options)?;
        Ok(Transformed::yes(guard(node, Duty::Stop)))
    })?;
    Ok(guarded.data)
}

/// What must be seen to below an operator, if anything.
fn duty_below(node: &dyn ExecutionPlan) -> Option<Duty> {
    let is_join = node.is::<HashJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<SymmetricHashJoinExec>()
        || node.is::<PiecewiseMergeJoinExec>();
    let is_window = node.is::<WindowAggExec>() || node.is::<BoundedWindowAggExec>();
    if is_join {
        Some(Duty::Narrow)
    } else if is_window {
        let before = node.children().first().map_or(0, |child| child.schema().fields().len());
        let schema = node.schema();
        let added = schema.fields().iter().skip(before);
        Some(Duty::Hold(added.map(|field| row_bytes(field.data_type())).sum()))
    } else {
        let unnest = node.downcast_ref::<UnnestExec>()?;
        let lists = unnest.list_column_indices().iter();
        Some(Duty::Split(lists.map(|list| list.index_in_input_schema).collect()))
    }
}

/// Bytes of the fixed part of one row of a column.
fn row_bytes(of: &DataType) -> usize {
    match of {
        DataType::Struct(fields) => fields.iter().map(|field| row_bytes(field.data_type())).sum(),
        // A view, or an offset and what says whether there is a value.
        _ => of.primitive_width().unwrap_or(size_of::<u128>()),
    }
}
