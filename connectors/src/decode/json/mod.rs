//! JSON samples, straight to columns: Luminate's batch, and a sample per line.
//!
//! ```text
//! batch  = {"metrics":[sample, …]}        sample = {"name","timestamp","value","dimensions"}
//! lines  = sample LF sample LF …          sample = {"metric","time","value","labels"}
//! time   = "2026-11-20T12:00:00Z" | number: seconds, milliseconds, microseconds or nanoseconds by magnitude
//! labels = {"key":"text", …} | null
//! ```
//!
//! Members that are not named here are passed over; of one that repeats, the last counts. A batch must be
//! valid JSON as a whole, of lines each one by itself; beyond that one bad sample does not touch the others.
//! The names of a sample are only found and hashed here, and read once per series.

mod decoder;
mod grammar;
mod map;
mod mapped;
mod message;
mod names;
mod path;
mod scalar;
mod shape;

use decoder::is_named;
pub(crate) use decoder::{decode_lines, decode_luminate};
pub use decoder::{metrics_of, samples_of};
pub(crate) use grammar::skip_space;
pub use map::{JsonMap, LabelPlace, MapError, MapSpec, MetricPlace, ValuePlace};
pub(crate) use map::{Labels, Metric};
pub(crate) use mapped::{decode_message as decode_mapped_message, labels_of_object};
pub(crate) use message::JsonMessages;
pub(crate) use names::{names, unescape};
pub use path::PathError;
pub(crate) use scalar::{time_of_number, time_of_text};

#[cfg(test)]
mod json_tests;
#[cfg(test)]
mod oracle_tests;
