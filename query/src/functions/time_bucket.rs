//! `time_bucket(interval, time)`: the start of the interval that a time lies in.

use datafusion::functions::datetime::date_bin;
use datafusion::logical_expr::ScalarUDF;

/// The name by which the function is known beside `date_bin`.
const TIME_BUCKET: &str = "time_bucket";

/// `date_bin`, which is called `time_bucket` as well; intervals begin at 1970-01-01T00:00:00Z.
///
/// In plans it stays `date_bin`, so that whatever knows of one (rollups, order) knows of both.
pub(crate) fn time_bucket() -> ScalarUDF {
    date_bin().as_ref().clone().with_aliases([TIME_BUCKET])
}
