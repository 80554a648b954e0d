//! Writes answers: JSON, JSON lines, CSV, and a table for people.
//!
//! Arrow's own writers print times and empty values in other ways than our interface promises, so
//! cells are written here: a column is looked at once per batch ([`cell`]), then row by row.

mod cell;
mod csv;
mod json;
mod pretty;
mod time;
mod writer;

pub(crate) use writer::AnswerWriter;
