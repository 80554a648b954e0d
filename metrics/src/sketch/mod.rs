//! Counts of values by magnitude, from which any quantile can be told, and which add up exactly.

mod bucket;
mod codec;
mod counts;

pub use bucket::{BUCKETS_MAX, RELATIVE_ERROR_MAX};
pub use codec::SKETCH_FORMAT;
pub use counts::Sketch;

#[cfg(test)]
mod sketch_tests;
