//! What the rows of each series and hour come to: a small Parquet file within a merged segment.
//!
//! ```text
//! row groups of the segment | rollup: a whole Parquet file | footer of the segment
//! ```
//!
//! The footer's key `tidewatch.rollup` tells where it is; readers that do not know the key do not see
//! it. A row stands for all rows of one series and hour of event time, in the order of the segment.
//! There is none for an hour in which the series has late rows. What a rollup answers is what the rows
//! would: whoever finds it damaged reads them instead.

mod builder;
mod check;
mod columns;
mod info;
mod reader;
mod writer;

pub use columns::RollupColumns;
pub use reader::RollupReader;

pub(crate) use builder::SeriesHourRows;
pub(crate) use check::RollupCheck;
pub(crate) use info::{RollupFooter, RollupInfo, rollup_key_value, rollup_of};
pub(crate) use writer::{RollupWriter, SealedRollup};
