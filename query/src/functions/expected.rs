//! `expected(time, value)`: what the detector expected of each sample of a series, and how it scored it.
//!
//! Which detector, with which knobs, the rules in force say. Where the series that a statement reads have different ones, it
//! names the series: `expected(time, value, series_id)`.

use std::hash::{Hash, Hasher};
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
use tidewatch_metrics::{EventTime, SeriesId};
use tidewatch_operators::{Detection, SeriesDetector};

use crate::tables::QueryContext;

/// The name of the function.
pub(crate) const EXPECTED: &str = "expected";

/// The function: over a window that is one series in the order of time. `context` is that of the query.
pub(crate) fn expected(context: Option<Arc<QueryContext>>) -> WindowUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    WindowUDF::new_from_impl(Expected { signature, context })
}

#[derive(Debug)]
struct Expected {
    signature: Signature,
    /// None in the template of all queries.
    context: Option<Arc<QueryContext>>,
}

/// Asks the detector about all rows of a partition.
#[derive(Debug)]
struct Asking {
    context: Option<Arc<QueryContext>>,
}

impl PartialEq for Expected {
    /// A query has one function of this name.
    fn eq(&self, other: &Self) -> bool {
        let place = |of: &Self| of.context.as_ref().map(Arc::as_ptr);
        self.signature == other.signature && place(self) == place(other)
    }
}

impl Eq for Expected {}

impl Hash for Expected {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.signature.hash(state);
    }
}

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
        if let [DataType::Timestamp(_, zone), value, series @ ..] = arg_types
            && (value.is_numeric() || value.is_null())
            && (series.is_empty() || matches!(series, [series] if series.is_string()))
        {
            let mut types = vec![DataType::Timestamp(TimeUnit::Nanosecond, zone.clone())];
            types.push(DataType::Float64);
            types.extend(series.iter().map(|_| DataType::Utf8View));
            return Ok(types);
        }
        plan_err!(
            "expected takes a time and a number, such as expected(time, value), and maybe a series_id"
        )
    }

    fn partition_evaluator(
        &self,
        _args: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Asking { context: self.context.clone() }))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Struct(fields()), true)))
    }
}

impl PartitionEvaluator for Asking {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let [times, values, series @ ..] = values else {
            return plan_err!("a time and a value are taken");
        };
        let detection = self.detection(series.first())?;
        let times = times.as_primitive::<TimestampNanosecondType>().iter();
        let values = values.as_primitive::<Float64Type>().iter();
        let mut detector = SeriesDetector::tuned(&detection);
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

impl Asking {
    /// How the rows of the partition are scored; `series` are the identities of their series.
    fn detection(&self, series: Option<&ArrayRef>) -> Result<Detection> {
        let Some(context) = &self.context else { return Ok(Detection::default()) };
        let Some(series) = series else {
            let Some(detection) = context.detections.of_all() else {
                return plan_err!(
                    "the series here are scored by different detectors: name the series as well, such as \
                     expected(time, value, series_id) on tidewatch.samples"
                );
            };
            return Ok(detection);
        };
        let mut ids = series.as_string_view().iter();
        let first = ids.next().flatten();
        if ids.any(|id| id != first) {
            return plan_err!("expected is over one series: PARTITION BY series_id is missing");
        }
        let id = first.and_then(|id| u128::from_str_radix(id, 16).ok()).map(SeriesId::new);
        match id.and_then(|id| context.detections.of_id(id)) {
            Some(detection) => Ok(detection),
            None => plan_err!("expected has no series_id as its third argument: {first:?}"),
        }
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
