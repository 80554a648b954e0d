//! Filters that a scan takes over: on the time, and on what a series is.

use std::ops::RangeInclusive;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator, TableProviderFilterPushDown};

use crate::limits::BATCH_ROWS;
use crate::scan::Progress;

/// Filters sorted by what they are about.
#[derive(Debug)]
pub(crate) struct Filters {
    pub(crate) times: RangeInclusive<i64>,
    pub(crate) series: Vec<Expr>,
}

/// What a filter is about.
enum Filter {
    Times(RangeInclusive<i64>),
    Series,
    Other,
}

/// Which filters a scan takes over in full, where `is_series` tells columns of the series.
pub(crate) fn push_down(
    filters: &[&Expr],
    is_series: impl Fn(&str) -> bool,
) -> Vec<TableProviderFilterPushDown> {
    let each = filters.iter().map(|filter| match classify(filter, &is_series) {
        Filter::Times(_) | Filter::Series => TableProviderFilterPushDown::Exact,
        Filter::Other => TableProviderFilterPushDown::Unsupported,
    });
    each.collect()
}

/// Sorts filters that were taken over.
pub(crate) fn sort(filters: &[Expr], is_series: impl Fn(&str) -> bool) -> Result<Filters> {
    let mut sorted = Filters { times: i64::MIN..=i64::MAX, series: Vec::new() };
    for filter in filters {
        match classify(filter, &is_series) {
            Filter::Times(times) => sorted.times = both(&sorted.times, &times),
            Filter::Series => sorted.series.push(filter.clone()),
            Filter::Other => return exec_err!("a filter that was not taken over: {filter}"),
        }
    }
    Ok(sorted)
}

fn classify(filter: &Expr, is_series: &impl Fn(&str) -> bool) -> Filter {
    if let Some(times) = time_range(filter, "time") {
        return Filter::Times(times);
    }
    let columns = filter.column_refs();
    // What has no column or differs from call to call must be evaluated for each row.
    let steady = !columns.is_empty() && !filter.is_volatile() && !has_subquery(filter);
    if steady && columns.iter().all(|column| is_series(column.name())) {
        Filter::Series
    } else {
        Filter::Other
    }
}

fn has_subquery(filter: &Expr) -> bool {
    let found = filter.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
        ))
    });
    found.unwrap_or(true)
}

/// The times of `column` that `filter` lets through, if it is about nothing else.
pub(crate) fn time_range(filter: &Expr, column: &str) -> Option<RangeInclusive<i64>> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            Some(both(&time_range(left, column)?, &time_range(right, column)?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            if is_column(left, column) {
                range(*op, nanos(right)?)
            } else if is_column(right, column) {
                range(op.swap()?, nanos(left)?)
            } else {
                None
            }
        }
        Expr::Between(Between { expr, negated: false, low, high }) if is_column(expr, column) => {
            Some(nanos(low)?..=nanos(high)?)
        }
        _ => None,
    }
}

fn is_column(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::Column(column) if column.name() == name)
}

fn nanos(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::TimestampNanosecond(Some(nanos), Some(_)), _) => Some(*nanos),
        _ => None,
    }
}

#[expect(clippy::reversed_empty_ranges, reason = "no time passes")]
fn range(op: Operator, nanos: i64) -> Option<RangeInclusive<i64>> {
    const NONE: RangeInclusive<i64> = 1..=0;
    match op {
        Operator::Eq => Some(nanos..=nanos),
        Operator::GtEq => Some(nanos..=i64::MAX),
        Operator::LtEq => Some(i64::MIN..=nanos),
        Operator::Gt => Some(nanos.checked_add(1).map_or(NONE, |next| next..=i64::MAX)),
        Operator::Lt => Some(nanos.checked_sub(1).map_or(NONE, |last| i64::MIN..=last)),
        _ => None,
    }
}

/// The times that are in both ranges.
pub(crate) fn both(one: &RangeInclusive<i64>, other: &RangeInclusive<i64>) -> RangeInclusive<i64> {
    *one.start().max(other.start())..=*one.end().min(other.end())
}

/// The rows of `table` for which all filters are true.
pub(crate) fn matching(
    state: &dyn Session,
    filters: &[Expr],
    table: &RecordBatch,
    progress: &Progress,
) -> Result<Vec<u32>> {
    let Some(filter) = conjunction(filters.iter().cloned()) else {
        return Ok((0_u32..).take(table.num_rows()).collect());
    };
    let schema = DFSchema::try_from(table.schema())?;
    let filter = state.create_physical_expr(filter, &schema)?;
    let mut matching = Vec::new();
    for start in (0..table.num_rows()).step_by(BATCH_ROWS) {
        progress.check()?;
        let rows = BATCH_ROWS.min(table.num_rows() - start);
        let result = filter.evaluate(&table.slice(start, rows))?.into_array(rows)?;
        if *result.data_type() != DataType::Boolean {
            return exec_err!("a filter that is neither true nor false: {filter}");
        }
        let result = result.as_boolean();
        for row in 0..rows {
            if result.is_valid(row) && result.value(row) {
                matching.push(u32::try_from(start + row).expect("series have references of u32"));
            }
        }
    }
    Ok(matching)
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn at(nanos: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(nanos), Some("UTC".into())))
    }

    #[test]
    fn comparisons_with_the_time_become_a_range() {
        let cases = [
            (col("time").gt(at(5)), Some(6..=i64::MAX)),
            (col("time").gt_eq(at(5)).and(at(9).gt(col("time"))), Some(5..=8)),
            (col("time").between(at(1), at(2)), Some(1..=2)),
            (col("time").eq(at(3)), Some(3..=3)),
            (col("time").not_eq(at(3)), None),
            (col("time").gt(at(5)).or(col("time").lt(at(1))), None),
            (col("value").gt(at(5)), None),
        ];
        for (filter, expected) in cases {
            assert_eq!(time_range(&filter, "time"), expected, "{filter}");
        }
        assert!(time_range(&col("time").gt(at(i64::MAX)), "time").unwrap().is_empty());
    }

    #[test]
    fn only_filters_on_the_series_alone_are_taken_over() {
        let of = |filter: Expr| push_down(&[&filter], |name| name == "host").remove(0);
        assert_eq!(of(col("host").eq(lit("a"))), TableProviderFilterPushDown::Exact);
        assert_eq!(of(col("host").is_null()), TableProviderFilterPushDown::Exact);
        assert_eq!(of(col("host").eq(col("value"))), TableProviderFilterPushDown::Unsupported);
        assert_eq!(of(lit(true)), TableProviderFilterPushDown::Unsupported);
    }
}
