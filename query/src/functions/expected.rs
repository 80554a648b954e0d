//! `expected(time, value)`: what the detector expected of each sample of a series, and how it scored it.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Builder, Float64Builder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Float64Type, TimeUnit, TimestampNanosecondType,
};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
};
use tidewatch_metrics::EventTime;
use tidewatch_operators::SeriesDetector;

/// The name of the function.
pub(crate) const EXPECTED: &str = "expected";

/// The function: over a window that is one series in the order of time.
pub(crate) fn expected() -> WindowUDF {
    WindowUDF::new_from_impl(Expected { signature: Signature::user_defined(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Expected {
    signature: Signature,
}

/// Asks the detector about all rows of a partition.
#[derive(Debug)]
struct Asking;

/// The judgements of a partition, row by row. A row that was not scored is NULL, and so is what was expected
/// while the detector did not know yet.
#[derive(Debug)]
struct Judgements {
    expected: Float64Builder,
    lower: Float64Builder,
    upper: Float64Builder,
    severity: Float32Builder,
    is_scored: Vec<bool>,
}

fn fields() -> Fields {
    let field = |name, of| Field::new(name, of, true);
    Fields::from(vec![
        field("expected", DataType::Float64),
        field("lower", DataType::Float64),
        field("upper", DataType::Float64),
        field("severity", DataType::Float32),
    ])
}

impl WindowUDFImpl for Expected {
    fn name(&self) -> &str {
        EXPECTED
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        if let [DataType::Timestamp(_, zone), value] = arg_types
            && (value.is_numeric() || value.is_null())
        {
            let time = DataType::Timestamp(TimeUnit::Nanosecond, zone.clone());
            return Ok(vec![time, DataType::Float64]);
        }
        plan_err!("expected takes a time and a number, such as expected(time, value)")
    }

    fn partition_evaluator(
        &self,
        _args: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Asking))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Struct(fields()), true)))
    }
}

impl PartitionEvaluator for Asking {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let [times, values] = values else { return plan_err!("a time and a value are taken") };
        let times = times.as_primitive::<TimestampNanosecondType>().iter();
        let values = values.as_primitive::<Float64Type>().iter();
        let mut detector = SeriesDetector::default();
        let mut judgements = Judgements::with_capacity(rows);
        for (time, value) in times.zip(values) {
            // A value that is NULL is one that is no number: its time counts.
            let value = value.unwrap_or(f64::NAN);
            let judged = time.and_then(|time| detector.observe(EventTime::new(time), value));
            let known = |of: f64| (!of.is_nan()).then_some(of);
            judgements.is_scored.push(judged.is_some());
            judgements.expected.append_option(judged.and_then(|judged| known(judged.expected)));
            judgements.lower.append_option(judged.and_then(|judged| known(judged.lower)));
            judgements.upper.append_option(judged.and_then(|judged| known(judged.upper)));
            judgements.severity.append_option(judged.map(|judged| judged.severity.to_f32()));
        }
        judgements.finish()
    }
}

impl Judgements {
    fn with_capacity(rows: usize) -> Self {
        Self {
            expected: Float64Builder::with_capacity(rows),
            lower: Float64Builder::with_capacity(rows),
            upper: Float64Builder::with_capacity(rows),
            severity: Float32Builder::with_capacity(rows),
            is_scored: Vec::with_capacity(rows),
        }
    }

    fn finish(mut self) -> Result<ArrayRef> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.expected.finish()),
            Arc::new(self.lower.finish()),
            Arc::new(self.upper.finish()),
            Arc::new(self.severity.finish()),
        ];
        let is_scored = NullBuffer::from(self.is_scored);
        Ok(Arc::new(StructArray::try_new(fields(), columns, Some(is_scored))?))
    }
}
