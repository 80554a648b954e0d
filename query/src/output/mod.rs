//! Writes answers: JSON, JSON lines, CSV, a table for people, Parquet and Arrow.
//!
//! Arrow's own writers print times and empty values in other ways than our interface promises, so
//! cells are written here: a column is looked at once per batch ([`cell`]), then row by row. Files for
//! other programs keep their columns ([`parquet_file`], [`arrow_stream`]).

mod arrow_stream;
mod cell;
mod csv;
mod json;
mod parquet_file;
mod pretty;
mod time;
mod writer;

pub(crate) use writer::AnswerWriter;
