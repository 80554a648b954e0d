//! Refuses what a plan would do without bound.

use datafusion::common::plan_err;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{ScalarFunction, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, WindowFunctionDefinition};

use crate::error::QueryError;
use crate::functions::{EXPECTED, OVER_TIME};
use crate::guard::Refusal;

/// Functions whose second argument is a regular expression.
const REGEX_FUNCTIONS: [&str; 5] =
    ["regexp_count", "regexp_instr", "regexp_like", "regexp_match", "regexp_replace"];
/// Aggregates that keep all values: over a window, each row would keep all rows before it.
const COLLECTING: [&str; 2] = ["array_agg", "string_agg"];

/// Refuses a plan that writes, compiles a pattern per row, or keeps all rows of windows.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<(), QueryError> {
    let checked = plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Ddl(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::Statement(_) => {
                let statement = node.display().to_string();
                return Err(QueryError::from(Refusal::Forbidden { statement }).into());
            }
            LogicalPlan::RecursiveQuery(_) => return Err(not_offered("WITH RECURSIVE")),
            _ => {}
        }
        node.apply_expressions(|expr| expr.apply(check_expr))?;
        Ok(TreeNodeRecursion::Continue)
    });
    match checked {
        Ok(_recursion) => Ok(()),
        Err(error) => Err(QueryError::of(error)),
    }
}

fn check_expr(expr: &Expr) -> Result<TreeNodeRecursion> {
    let pattern = match expr {
        Expr::BinaryExpr(BinaryExpr {
            op:
                Operator::RegexMatch
                | Operator::RegexIMatch
                | Operator::RegexNotMatch
                | Operator::RegexNotIMatch,
            right,
            ..
        }) => Some(&**right),
        Expr::SimilarTo(similar) => Some(&*similar.pattern),
        Expr::ScalarFunction(ScalarFunction { func, args })
            if REGEX_FUNCTIONS.contains(&func.name()) =>
        {
            args.get(1)
        }
        Expr::WindowFunction(window) if is_one_of(window, &COLLECTING) => {
            return Err(not_offered("array_agg or string_agg over a window"));
        }
        Expr::WindowFunction(window) if is_unordered_expected(window) => {
            return plan_err!(
                "expected needs the rows of one series in the order of time, such as \
                 expected(time, value) OVER (PARTITION BY host ORDER BY time)"
            );
        }
        Expr::WindowFunction(window) if is_one_of(window, &OVER_TIME) => {
            return Err(not_offered(
                "increase, rate or integral over a window (sum over it what lag() gives)",
            ));
        }
        _ => None,
    };
    match pattern {
        Some(pattern) if !pattern.column_refs().is_empty() => {
            Err(not_offered("a regular expression that differs from row to row"))
        }
        _ => Ok(TreeNodeRecursion::Continue),
    }
}

fn is_one_of(window: &WindowFunction, names: &[&str]) -> bool {
    matches!(
        &window.fun,
        WindowFunctionDefinition::AggregateUDF(function) if names.contains(&function.name())
    )
}

/// Whether the detector is asked about rows in another order than that of the time that it is given.
fn is_unordered_expected(window: &WindowFunction) -> bool {
    let WindowFunctionDefinition::WindowUDF(function) = &window.fun else { return false };
    let WindowFunctionParams { args, order_by, .. } = &window.params;
    let is_ordered = matches!(
        (args.first(), order_by.first()),
        (Some(time), Some(order)) if order.asc && order.expr == *time
    );
    function.name() == EXPECTED && !is_ordered
}

fn not_offered(what: &'static str) -> datafusion::error::DataFusionError {
    QueryError::from(Refusal::NotOffered { what }).into()
}
