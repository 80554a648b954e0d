//! Reads rows of segments and heads: pruned, filtered by series and time, de-duplicated.
//!
//! Only late rows can supersede others, and only within their hour. So a scan has two kinds of
//! work: hours without late rows stream row group by row group and chunk by chunk in any order
//! ([`cursor`]); hours with late rows are merged by series, time and arrival ([`merge`]). Where only
//! aggregates are asked for, whole hours without late rows may come from rollups ([`rollup_cursor`]).

mod cursor;
mod hidden;
mod hours;
mod latest;
mod merge;
mod plan;
mod progress;
mod rolled;
mod rollup_cursor;
mod rollup_exec;
mod rows;
mod series_index;
mod stream;

pub(crate) use latest::Latest;
pub(crate) use plan::{Columns, Scan, ScanRequest, Superseded};
pub(crate) use progress::Progress;
pub(crate) use rolled::whole_hours;
pub(crate) use rollup_exec::RollupExec;
pub(crate) use rows::Rows;
pub(crate) use series_index::SeriesIndex;
pub(crate) use stream::{PartRows, RowsToBatch, scan_exec};
