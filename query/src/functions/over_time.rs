//! `increase(value, time)`, `rate(value, time)` and `integral(value, time)`: aggregates of one series.
//!
//! Samples reach an aggregate in any order and in several parts whose times overlap, so that no part
//! can be summed up before all points are there: the points themselves are the state, 16 bytes
//! each, within the memory of the query. All of a group come to one place, so that they are there once.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, Int64Type, TimeUnit, TimestampNanosecondType,
};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use crate::functions::curve::{Curve, Measure, Point};

/// The names of the functions.
pub(crate) const OVER_TIME: [&str; 3] = ["increase", "rate", "integral"];

/// The functions.
pub(crate) fn over_time_functions() -> [AggregateUDF; 3] {
    [Measure::Increase, Measure::Rate, Measure::Integral].map(|measure| {
        let signature = Signature::user_defined(Volatility::Immutable);
        AggregateUDF::new_from_impl(OverTime { measure, signature })
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OverTime {
    measure: Measure,
    signature: Signature,
}

impl AggregateUDFImpl for OverTime {
    fn name(&self) -> &str {
        let [increase, rate, integral] = OVER_TIME;
        match self.measure {
            Measure::Increase => increase,
            Measure::Rate => rate,
            Measure::Integral => integral,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        if let [value, DataType::Timestamp(_, zone)] = arg_types
            && (value.is_numeric() || value.is_null())
        {
            let time = DataType::Timestamp(TimeUnit::Nanosecond, zone.clone());
            return Ok(vec![DataType::Float64, time]);
        }
        let name = self.name();
        plan_err!("{name} takes a number and its time, such as {name}(value, time)")
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            let name = self.name();
            return plan_err!("{name} takes no DISTINCT: a time counts once anyway");
        }
        Ok(Box::new(Points { measure: self.measure, curve: Curve::default() }))
    }

    fn state_fields(&self, _args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |name, of| -> FieldRef {
            Arc::new(Field::new_list(name, Field::new_list_field(of, true), true))
        };
        Ok(vec![list("times", DataType::Int64), list("values", DataType::Float64)])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The points so far. Rows without value or time are passed over.
#[derive(Debug)]
struct Points {
    measure: Measure,
    curve: Curve,
}

impl Accumulator for Points {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [values, times] = values else { return plan_err!("a value and a time are taken") };
        let times = times.as_primitive::<TimestampNanosecondType>();
        for (value, time) in values.as_primitive::<Float64Type>().iter().zip(times) {
            if let (Some(value), Some(time)) = (value, time) {
                self.curve.push(Point { time, value });
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [times, values] = states else { return plan_err!("times and values are taken") };
        let lists = times.as_list::<i32>().iter().zip(values.as_list::<i32>().iter());
        for (times, values) in lists {
            let (Some(times), Some(values)) = (times, values) else { continue };
            let times = times.as_primitive::<Int64Type>().values().iter();
            let values = values.as_primitive::<Float64Type>().values().iter();
            for (time, value) in times.zip(values) {
                self.curve.push(Point { time: *time, value: *value });
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let points = self.curve.points();
        let times = Int64Array::from_iter_values(points.iter().map(|point| point.time));
        let values = Float64Array::from_iter_values(points.iter().map(|point| point.value));
        let list = |of: ArrayRef| SingleRowListArrayBuilder::new(of).build_list_scalar();
        Ok(vec![list(Arc::new(times)), list(Arc::new(values))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.curve.measure(self.measure)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.curve.bytes()
    }
}

#[cfg(test)]
#[path = "over_time_tests.rs"]
mod tests;
