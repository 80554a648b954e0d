//! `hdrhistogram(sketch [, scale])`: a sketch of percentiles for the tools of HdrHistogram.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringBuilder};
use arrow::datatypes::{DataType, Float64Type};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::{exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use tidewatch_metrics::Sketch;

use crate::error::QueryError;
use crate::functions::hdr::{VALUE_MAX, deflated};
use crate::limits::FUNCTION_BYTES_MAX;

/// The function.
pub(crate) fn hdrhistogram() -> ScalarUDF {
    let sketch = || vec![DataType::Binary];
    let signatures = vec![
        TypeSignature::Exact(sketch()),
        TypeSignature::Exact([sketch(), vec![DataType::Float64]].concat()),
    ];
    let signature = Signature::one_of(signatures, Volatility::Immutable);
    ScalarUDF::new_from_impl(HdrHistogram { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct HdrHistogram {
    signature: Signature,
}

impl ScalarUDFImpl for HdrHistogram {
    fn name(&self) -> &str {
        "hdrhistogram"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (sketches, scales) = match &arrays[..] {
            [sketches] => (sketches, None),
            [sketches, scales] => (sketches, Some(scales.as_primitive::<Float64Type>())),
            _ => return plan_err!("hdrhistogram takes a sketch and a scale"),
        };
        let sketches: &BinaryArray = sketches.as_binary();
        let mut texts = StringBuilder::new();
        for (row, sketch) in sketches.iter().enumerate() {
            let scale = match scales {
                Some(scales) => scales.is_valid(row).then(|| scales.value(row)),
                None => Some(1.0),
            };
            match sketch.zip(scale) {
                Some((sketch, scale)) => texts.append_value(export(sketch, scale)?),
                None => texts.append_null(),
            }
            check_size(texts.values_slice().len())?;
        }
        let texts: ArrayRef = Arc::new(texts.finish());
        Ok(ColumnarValue::Array(texts))
    }
}

fn check_size(bytes: usize) -> Result<()> {
    if bytes <= FUNCTION_BYTES_MAX {
        return Ok(());
    }
    Err(QueryError::Limit {
        what: "hdrhistogram",
        max: FUNCTION_BYTES_MAX as u64,
        hint: "its result would be too large",
    }
    .into())
}

/// The text of a sketch whose values are taken `scale` times and rounded.
fn export(sketch: &[u8], scale: f64) -> Result<String> {
    let sketch = Sketch::decode(sketch)
        .ok_or_else(|| exec_datafusion_err!("hdrhistogram: a value is no sketch of percentiles"))?;
    if !(scale.is_finite() && scale > 0.0) {
        return exec_err!("hdrhistogram: the scale is {scale}, but must be a number above 0");
    }
    let counts = sketch.counts().map(|(value, count)| Ok((whole(value * scale, value)?, count)));
    let counts = counts.collect::<Result<Vec<_>>>()?;
    let bytes = deflated(&counts).ok_or_else(|| {
        exec_datafusion_err!(
            "hdrhistogram: more than 2^63 values share a place, which the format has not"
        )
    })?;
    Ok(STANDARD.encode(bytes))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is rounded, and lies between 0 and 2^53"
)]
fn whole(scaled: f64, value: f64) -> Result<u64> {
    if value < 0.0 {
        return exec_err!(
            "hdrhistogram: the sketch has the value {value}, but a HdrHistogram has none below 0"
        );
    }
    if scaled > VALUE_MAX as f64 {
        return exec_err!(
            "hdrhistogram: the value {value} comes to {scaled}, which is beyond 2^53; take a smaller scale"
        );
    }
    Ok(scaled.round() as u64)
}
