//! SQL functions that could build or work through without bound, bounded.
//!
//! DataFusion's memory pool knows the operators of a plan, not what functions allocate. So the
//! functions whose result can be larger than their arguments are wrapped ([`bounded`]): the size is
//! worked out from the arguments before the call. [`concat`] stands in for the operator `||`.
//!
//! [`merge_percentile`](merge_percentile()) is a function of our own: the quantile of several windows together.

mod bounded;
mod concat;
mod cost;
mod merge_percentile;

pub(crate) use bounded::{KeepBounds, bounded_functions};
pub(crate) use concat::ConcatPlanner;
pub(crate) use merge_percentile::merge_percentile;
