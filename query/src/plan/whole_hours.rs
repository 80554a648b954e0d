//! Which expressions have one value for all rows of a series within an hour.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{Cast, ScalarFunction};

const HOUR_NANOS: i64 = 3_600_000_000_000;
const HOURS_PER_DAY: i64 = 24;
/// Units of `date_trunc` that are whole hours of UTC.
const TRUNCATED: [&str; 6] = ["hour", "day", "week", "month", "quarter", "year"];
/// Parts of a time that stay the same for an hour.
const PARTS: [&str; 8] = ["hour", "day", "dow", "doy", "week", "month", "quarter", "year"];

/// Whether `group` is the same for all rows of a series within an hour: made of labels, and of times
/// only by functions that put whole hours together.
pub(crate) fn divides_no_hour(group: &Expr, is_label: impl Fn(&str) -> bool) -> bool {
    let mut divides = group.is_volatile();
    let walked = group.apply(|expr| {
        Ok(match expr {
            Expr::Column(column) if is_label(column.name()) => TreeNodeRecursion::Continue,
            Expr::ScalarFunction(function) if joins_hours(function) => TreeNodeRecursion::Jump,
            Expr::Cast(cast) if is_date(cast) => TreeNodeRecursion::Jump,
            Expr::Literal(..)
            | Expr::Alias(_)
            | Expr::BinaryExpr(_)
            | Expr::Between(_)
            | Expr::Case(_)
            | Expr::Cast(_)
            | Expr::InList(_)
            | Expr::IsFalse(_)
            | Expr::IsNotNull(_)
            | Expr::IsNull(_)
            | Expr::IsTrue(_)
            | Expr::Like(_)
            | Expr::Not(_)
            | Expr::ScalarFunction(_) => TreeNodeRecursion::Continue,
            _ => {
                divides = true;
                TreeNodeRecursion::Stop
            }
        })
    });
    walked.is_ok() && !divides
}

/// Whether the function has one value for all times of an hour.
fn joins_hours(ScalarFunction { func, args }: &ScalarFunction) -> bool {
    match (func.name(), &args[..]) {
        ("date_bin", [stride, time]) => is_time(time) && is_whole_hours(stride),
        ("date_bin", [stride, time, Expr::Literal(origin, _)]) => {
            let on_the_hour = match origin {
                ScalarValue::TimestampNanosecond(Some(nanos), _) => nanos % HOUR_NANOS == 0,
                _ => false,
            };
            is_time(time) && is_whole_hours(stride) && on_the_hour
        }
        ("date_trunc", [unit, time]) => is_time(time) && is_one_of(unit, &TRUNCATED),
        ("date_part", [part, time]) => is_time(time) && is_one_of(part, &PARTS),
        _ => false,
    }
}

fn is_date(cast: &Cast) -> bool {
    *cast.field.data_type() == DataType::Date32 && is_time(&cast.expr)
}

fn is_time(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name() == "time")
}

fn is_one_of(expr: &Expr, words: &[&str]) -> bool {
    let Expr::Literal(word, _) = expr else { return false };
    let word = word.try_as_str().flatten();
    word.is_some_and(|word| words.iter().any(|other| word.eq_ignore_ascii_case(other)))
}

/// Whether a stride puts whole hours together: months begin on the hour as well.
fn is_whole_hours(stride: &Expr) -> bool {
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(stride)), _) = stride else {
        return false;
    };
    if stride.months != 0 {
        return stride.months > 0 && stride.days == 0 && stride.nanoseconds == 0;
    }
    let nanos = i64::from(stride.days)
        .checked_mul(HOURS_PER_DAY * HOUR_NANOS)
        .and_then(|days| days.checked_add(stride.nanoseconds));
    nanos.is_some_and(|nanos| nanos > 0 && nanos % HOUR_NANOS == 0)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::IntervalMonthDayNanoType;
    use datafusion::functions::datetime::expr_fn::{date_bin, date_part, date_trunc};
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn stride(months: i32, days: i32, nanos: i64) -> Expr {
        let stride = IntervalMonthDayNanoType::make_value(months, days, nanos);
        lit(ScalarValue::IntervalMonthDayNano(Some(stride)))
    }

    fn at(nanos: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(nanos), Some("UTC".into())))
    }

    #[test]
    fn groups_of_whole_hours_and_labels_divide_no_hour() {
        let bin = |stride, origin| date_bin(stride, col("time"), at(origin));
        let cases = [
            (col("host"), true),
            (col("time"), false),
            (col("value"), false),
            (col("host").eq(lit("a")).or(col("region").is_null()), true),
            (col("host").eq(col("value")), false),
            (bin(stride(0, 0, HOUR_NANOS), 0), true),
            (bin(stride(0, 0, 2 * HOUR_NANOS), HOUR_NANOS), true),
            (bin(stride(0, 1, 0), 0), true),
            (bin(stride(0, 1, -HOUR_NANOS), 0), true),
            (bin(stride(3, 0, 0), 0), true),
            (bin(stride(3, 0, 1), 0), false),
            (bin(stride(0, 0, HOUR_NANOS / 2), 0), false),
            (bin(stride(0, 0, HOUR_NANOS + 1), 0), false),
            (bin(stride(0, 0, HOUR_NANOS), 1), false),
            (bin(stride(0, 0, 0), 0), false),
            (date_bin(stride(0, 0, HOUR_NANOS), col("other"), at(0)), false),
            (date_trunc(lit("HOUR"), col("time")), true),
            (date_trunc(lit("minute"), col("time")), false),
            (date_trunc(col("host"), col("time")), false),
            (date_part(lit("hour"), col("time")), true),
            (date_part(lit("minute"), col("time")), false),
            (date_part(lit("epoch"), col("time")), false),
            (datafusion::logical_expr::cast(col("time"), DataType::Date32), true),
            (datafusion::logical_expr::cast(col("time"), DataType::Int64), false),
        ];
        let is_label = |name: &str| ["host", "region"].contains(&name);
        for (group, expected) in cases {
            assert_eq!(divides_no_hour(&group, is_label), expected, "{group}");
        }
    }
}
