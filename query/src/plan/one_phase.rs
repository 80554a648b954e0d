//! Aggregates that hold their rows are computed in one phase.
//!
//! Usually every partition aggregates its own rows, and what it has is then handed on, by group, and
//! merged. Where the state of a group is all its rows, as with `rate`, `array_agg` and `median`, that
//! saves nothing and copies everything; and on the way the states wait until a whole
//! batch of groups is there, however large each is, in memory that no pool knows of. In one phase the
//! rows themselves are handed on, and a group has its state once, counted.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};

/// Takes the place of both phases, before rows are distributed for either.
#[derive(Debug)]
pub(crate) struct OnePhase;

impl PhysicalOptimizerRule for OnePhase {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|node| {
            Ok(match in_one_phase(&*node)? {
                Some(single) => Transformed::yes(Arc::new(single) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &'static str {
        "one_phase"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn in_one_phase(node: &dyn ExecutionPlan) -> Result<Option<AggregateExec>> {
    let Some(last) = node.downcast_ref::<AggregateExec>() else { return Ok(None) };
    let Some(first) = last.input().downcast_ref::<AggregateExec>() else { return Ok(None) };
    let is_final = matches!(last.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned);
    let is_pair = is_final && *first.mode() == AggregateMode::Partial;
    if !is_pair || !first.aggr_expr().iter().any(|of| holds_rows(of)) {
        return Ok(None);
    }
    let groups = first.group_expr();
    // A row belongs to a group of every grouping set: rows can't be handed on by group.
    let mode = if *last.mode() == AggregateMode::Final || groups.has_grouping_set() {
        AggregateMode::Single
    } else {
        AggregateMode::SinglePartitioned
    };
    let single = AggregateExec::try_new(
        mode,
        groups.clone(),
        first.aggr_expr().to_vec(),
        first.filter_expr().to_vec(),
        Arc::clone(first.input()),
        first.input_schema(),
    )?;
    Ok(Some(single.with_limit_options(last.limit_options())))
}

/// Whether the state of a group grows with its rows.
fn holds_rows(aggregate: &AggregateFunctionExpr) -> bool {
    let name = aggregate.fun().name();
    // The state of these is a list as well, of so many elements at most.
    if name.starts_with("approx_") {
        return false;
    }
    // Its state is one text, of the texts of all rows.
    if name == "string_agg" {
        return true;
    }
    let Ok(fields) = aggregate.state_fields() else { return false };
    fields.iter().any(|field| {
        matches!(
            field.data_type(),
            DataType::List(_) | DataType::LargeList(_) | DataType::ListView(_)
        )
    })
}

#[cfg(test)]
#[path = "one_phase_tests.rs"]
mod tests;
