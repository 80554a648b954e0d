//! SQL functions that could build or work through without bound, bounded.
//!
//! DataFusion's memory pool knows the operators of a plan, not what functions allocate. So the
//! functions whose result can be larger than their arguments are wrapped ([`bounded`]): the size is
//! worked out from the arguments before the call. [`concat`] stands in for the operator `||`.
//!
//! Functions of our own: [`merge_percentile`](merge_percentile()), the quantile of several windows
//! together; [`over_time`], what the samples of a series come to over time; [`expected`](expected()), what
//! the detector said of them; [`hdrhistogram`](hdrhistogram()), a sketch for other tools; `time_bucket`, another name of `date_bin`.

mod bounded;
mod concat;
mod cost;
mod curve;
mod expected;
mod hdr;
mod hdrhistogram;
mod merge_percentile;
mod over_time;
mod time_bucket;

pub(crate) use bounded::{KeepBounds, bounded_functions};
pub(crate) use concat::ConcatPlanner;
pub(crate) use expected::{EXPECTED, expected};
pub(crate) use hdrhistogram::hdrhistogram;
pub(crate) use merge_percentile::merge_percentile;
pub(crate) use over_time::{OVER_TIME, over_time_functions};
pub(crate) use time_bucket::time_bucket;
