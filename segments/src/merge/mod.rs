//! Neighbouring segments become one, in the order of a segment, within bounded memory.
//!
//! One row group of each input is decoded at a time, and one of the output is gathered. Nothing is
//! left out but what [`Erase`] names: rows of one series and time stay, in the order of the log.
//! The new file is durable under a temporary name; whoever replaces the inputs by it names it.

mod columns;
mod gather;
mod input;
mod kept;
mod merged_file;
mod order;
mod run;

pub(crate) use columns::{ColumnEncoders, ZSTD_LEVEL};

pub use run::{Erase, Merge, Merged, merge, merging_bytes};
