//! Decoders: bytes of one protocol in, columns out. No panic and no quadratic time on any input.

pub mod csv;
pub mod line_batch;
pub mod line_errors;
pub mod line_key;
pub mod line_protocol;
mod number;
pub mod precision;
mod scan;
pub mod time;

pub use csv::{CsvError, CsvOptions, CsvReader, RowErrors};
pub use line_batch::{LineBatch, Span};
pub use line_errors::{LineError, LineErrors, LineReason};
pub use line_key::{ParsedKey, series_labels, unescape_field};
pub use line_protocol::{DecodeError, LineOptions, decode};
pub use precision::{Precision, WriteApi};
