//! `tidewatch write`: files into a running server, in order within a file, several files at once.
//!
//! [`run()`] conducts; a [`Source`](source::Source) cuts one file into batches, which are line
//! protocol or JSON: a CSV row becomes the line `metric,label=… value=<value> <time>`.

mod csv_lines;
mod json;
mod lines;
mod run;
mod source;
mod summary;

pub(crate) use run::{WriteArgs, run};
