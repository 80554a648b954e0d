//! `time_buckets(interval, from, to)`: every bucket of a range, those without samples as well.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, IntervalUnit, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Expr;

use crate::error::QueryError;
use crate::limits::TIME_BUCKETS_MAX;
use crate::tables::columns::{UTC, time_field, times};
use crate::tables::leaf::{Batches, LeafTable, MakeBatches};

const DAY_NANOS: i128 = 86_400_000_000_000;
/// Buckets of one batch.
const BATCH_BUCKETS: u32 = 8_192;

/// The table function.
#[derive(Debug)]
pub(crate) struct TimeBuckets;

/// The starts of buckets, `stride` nanoseconds apart.
///
/// Invariant: at most [`TIME_BUCKETS_MAX`], and all of them are times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Starts {
    first: i64,
    stride: i128,
    count: u32,
}

/// One column, `bucket`: the starts of buckets, in order.
#[derive(Debug)]
struct Buckets {
    schema: SchemaRef,
    starts: Starts,
}

impl TableFunctionImpl for TimeBuckets {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let [Expr::Literal(stride, _), Expr::Literal(from, _), Expr::Literal(to, _)] = args.exprs()
        else {
            return plan_err!(
                "time_buckets takes an interval and two times that do not depend on rows, such as \
                 time_buckets(INTERVAL '1 minute', now() - INTERVAL '1 hour', now())"
            );
        };
        let starts = Starts::new(stride_nanos(stride)?, nanos(from)?, nanos(to)?)?;
        let schema = Arc::new(Schema::new(vec![time_field("bucket", false)]));
        Ok(Arc::new(LeafTable::new(Buckets { schema, starts })))
    }
}

/// Nanoseconds of a fixed interval.
fn stride_nanos(stride: &ScalarValue) -> Result<i128> {
    let interval = stride.cast_to(&DataType::Interval(IntervalUnit::MonthDayNano))?;
    let ScalarValue::IntervalMonthDayNano(Some(interval)) = interval else {
        return plan_err!("time_buckets: the interval is NULL");
    };
    let nanos = i128::from(interval.days) * DAY_NANOS + i128::from(interval.nanoseconds);
    if interval.months != 0 {
        return plan_err!(
            "time_buckets: months differ in length; take an interval of days, hours or less, or \
             generate_series for the starts of months"
        );
    }
    if nanos <= 0 {
        return plan_err!("time_buckets: the interval is {nanos} ns, but must be above 0");
    }
    Ok(nanos)
}

/// Nanoseconds of a time; times without a zone are UTC.
fn nanos(time: &ScalarValue) -> Result<i128> {
    match time.cast_to(&DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into())))? {
        ScalarValue::TimestampNanosecond(Some(nanos), _) => Ok(i128::from(nanos)),
        _ => plan_err!("time_buckets: a time is NULL"),
    }
}

impl Starts {
    /// The starts of all buckets that have a moment of `from` (included) to `to` (not included).
    fn new(stride: i128, from: i128, to: i128) -> Result<Self> {
        if from >= to {
            return Ok(Self { first: 0, stride, count: 0 });
        }
        let first = from.div_euclid(stride) * stride;
        let count = u32::try_from((to - first + stride - 1) / stride).unwrap_or(u32::MAX);
        if count > TIME_BUCKETS_MAX {
            return Err(QueryError::Limit {
                what: "the buckets of time_buckets",
                max: TIME_BUCKETS_MAX.into(),
                hint: "take a longer interval or a narrower time range",
            }
            .into());
        }
        let Ok(first) = i64::try_from(first) else {
            return plan_err!("time_buckets: the first bucket begins before all times there are");
        };
        Ok(Self { first, stride, count })
    }

    /// The starts with these numbers.
    fn of(self, numbers: Range<u32>) -> impl Iterator<Item = i64> {
        numbers.map(move |number| {
            let start = i128::from(self.first) + i128::from(number) * self.stride;
            i64::try_from(start).expect("a start lies before the end of the range, which is a time")
        })
    }
}

impl MakeBatches for Buckets {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn batches(&self, _context: Arc<TaskContext>) -> Batches {
        let (schema, starts) = (Arc::clone(&self.schema), self.starts);
        Box::new((0..starts.count.div_ceil(BATCH_BUCKETS)).map(move |batch| {
            let from = batch * BATCH_BUCKETS;
            let to = starts.count.min(from + BATCH_BUCKETS);
            let column: ArrayRef = times(starts.of(from..to).collect::<Vec<_>>().into());
            Ok(RecordBatch::try_new(Arc::clone(&schema), vec![column])?)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(stride: i128, from: i128, to: i128) -> Option<Vec<i64>> {
        let starts = Starts::new(stride, from, to).ok()?;
        Some(starts.of(0..starts.count).collect())
    }

    #[test]
    fn buckets_begin_at_multiples_of_the_interval_and_cover_the_range() {
        assert_eq!(starts(10, 15, 35).unwrap(), [10, 20, 30]);
        assert_eq!(starts(10, 10, 30).unwrap(), [10, 20]);
        assert_eq!(starts(10, -5, 1).unwrap(), [-10, 0]);
        assert_eq!(starts(10, 12, 13).unwrap(), [10]);
        assert!(starts(10, 12, 12).unwrap().is_empty());
        assert!(starts(10, 13, 12).unwrap().is_empty());
    }

    #[test]
    fn no_range_takes_memory_or_time_without_end() {
        let (first, last) = (i128::from(i64::MIN), i128::from(i64::MAX));
        assert_eq!(starts(1, first, last), None);
        assert_eq!(starts(1, 0, i128::from(TIME_BUCKETS_MAX) + 1), None);
        assert_eq!(starts(1, 0, TIME_BUCKETS_MAX.into()).unwrap().len(), 1_000_000);
        assert_eq!(starts(i128::from(i64::MAX), 0, last).unwrap(), [0]);
        assert_eq!(starts(1_000, first, first + 5), None, "its bucket begins before all times");
        assert_eq!(starts(1_000_000, last - 1, last).unwrap().len(), 1);
    }
}
