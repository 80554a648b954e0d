//! Functions of DataFusion that are only called where their result stays within its bound.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use crate::error::QueryError;
use crate::functions::cost::Cost;
use crate::limits::{FUNCTION_BYTES_MAX, FUNCTION_WORK_MAX};

/// The functions that can build more than they are given.
const GROWING: [(&str, Cost); 28] = [
    ("array_append", Cost::Sum),
    ("array_concat", Cost::Sum),
    ("array_has_all", Cost::Work),
    ("array_has_any", Cost::Work),
    ("array_prepend", Cost::Sum),
    ("array_repeat", Cost::Repeat),
    ("array_replace", Cost::ReplaceElements),
    ("array_replace_all", Cost::ReplaceElements),
    ("array_replace_n", Cost::ReplaceElements),
    ("array_resize", Cost::Resize),
    ("array_to_string", Cost::ListText),
    ("array_union", Cost::Sum),
    ("arrays_zip", Cost::Sum),
    ("concat", Cost::Sum),
    ("concat_ws", Cost::Join),
    ("generate_series", Cost::Series),
    ("levenshtein", Cost::Work),
    ("lpad", Cost::Pad),
    ("make_array", Cost::Sum),
    ("map", Cost::Sum),
    ("named_struct", Cost::Sum),
    ("overlay", Cost::Sum),
    ("range", Cost::Series),
    ("regexp_replace", Cost::RegexReplace),
    ("repeat", Cost::Repeat),
    ("replace", Cost::Replace),
    ("rpad", Cost::Pad),
    ("struct", Cost::Sum),
];

/// A function that is refused where its result would be too large.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Bounded {
    name: &'static str,
    inner: Arc<ScalarUDF>,
    cost: Cost,
}

/// Bounded versions of those of `functions` that can build more than they are given.
pub(crate) fn bounded_functions<'a>(
    functions: impl Iterator<Item = &'a Arc<ScalarUDF>>,
) -> Vec<Arc<ScalarUDF>> {
    functions.filter_map(bounded).collect()
}

fn bounded(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let (name, cost) = GROWING.into_iter().find(|(name, _)| *name == function.name())?;
    let bounded = Bounded { name, inner: Arc::clone(function), cost };
    Some(Arc::new(ScalarUDF::new_from_impl(bounded)))
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    // `simplify` is not passed on: it would put the function without its bound in place.
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let cost = self.cost.of(&args.args, args.number_rows)?;
        let max = match self.cost {
            Cost::Work => FUNCTION_WORK_MAX,
            _ => FUNCTION_BYTES_MAX,
        };
        if cost > max {
            return Err(QueryError::Limit {
                what: self.name,
                max: max as u64,
                hint: "its result would be too large",
            }
            .into());
        }
        self.inner.invoke_with_args(args)
    }
}

/// Puts the bound back on functions that the planner names without asking for them by name.
#[derive(Debug)]
pub(crate) struct KeepBounds;

impl FunctionRewrite for KeepBounds {
    fn name(&self) -> &str {
        "tidewatch_keep_bounds"
    }

    fn rewrite(
        &self,
        expr: Expr,
        _schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        match expr {
            Expr::ScalarFunction(ScalarFunction { func, args })
                if func.inner().downcast_ref::<Bounded>().is_none() =>
            {
                match bounded(&func) {
                    Some(func) => {
                        Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args })))
                    }
                    None => {
                        Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })))
                    }
                }
            }
            other => Ok(Transformed::no(other)),
        }
    }
}
