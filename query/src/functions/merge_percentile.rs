//! `merge_percentile(sketch, q)`: the quantile of several windows together.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};
use tidewatch_metrics::Sketch;

/// The function.
pub(crate) fn merge_percentile() -> AggregateUDF {
    let types = vec![DataType::Binary, DataType::Float64];
    let signature = Signature::exact(types, Volatility::Immutable);
    AggregateUDF::new_from_impl(MergePercentile { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MergePercentile {
    signature: Signature,
}

impl AggregateUDFImpl for MergePercentile {
    fn name(&self) -> &str {
        "merge_percentile"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("merge_percentile takes no DISTINCT: equal sketches count each");
        }
        Ok(Box::new(Merging::default()))
    }

    fn state_fields(&self, _args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |name, of| Field::new(name, of, true).into();
        Ok(vec![field("sketch", DataType::Binary), field("quantile", DataType::Float64)])
    }
}

/// What was merged so far. NULL sketches are passed over.
#[derive(Debug, Default)]
struct Merging {
    sum: Sketch,
    quantile: Option<f64>,
}

impl Merging {
    fn ask(&mut self, quantile: f64) -> Result<()> {
        if !(0.0..=1.0).contains(&quantile) {
            return exec_err!(
                "merge_percentile: the quantile is {quantile}, but must be from 0 to 1"
            );
        }
        let asked = *self.quantile.get_or_insert(quantile);
        if asked.to_bits() != quantile.to_bits() {
            return exec_err!(
                "merge_percentile: one call has one quantile, not {asked} and {quantile}"
            );
        }
        Ok(())
    }

    fn take(&mut self, arrays: &[ArrayRef]) -> Result<()> {
        let [sketches, quantiles] = arrays else {
            return plan_err!("merge_percentile takes a sketch and a quantile");
        };
        let (sketches, quantiles) =
            (sketches.as_binary::<i32>(), quantiles.as_primitive::<Float64Type>());
        for (sketch, quantile) in sketches.iter().zip(quantiles) {
            if let Some(quantile) = quantile {
                self.ask(quantile)?;
            }
            if let Some(sketch) = sketch {
                let sketch = Sketch::decode(sketch).ok_or_else(|| {
                    exec_datafusion_err!("merge_percentile: a value is no sketch of percentiles")
                })?;
                self.sum.merge(&sketch);
            }
        }
        Ok(())
    }
}

impl Accumulator for Merging {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.take(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sketch = ScalarValue::Binary(Some(self.sum.encode()));
        Ok(vec![sketch, ScalarValue::Float64(self.quantile)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.quantile.and_then(|quantile| self.sum.quantile(quantile));
        Ok(ScalarValue::Float64(value))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.sum.bytes()
    }
}
