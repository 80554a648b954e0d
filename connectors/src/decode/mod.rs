//! Decoders: bytes of one protocol in, columns out. No panic and no quadratic time on any input.

pub mod csv;
pub mod item_errors;
pub mod json;
pub mod line_batch;
pub mod line_errors;
pub mod line_key;
pub mod line_protocol;
#[cfg(test)]
pub(crate) mod mutation;
mod number;
#[cfg(test)]
mod oracle;
pub mod precision;
pub mod remote_write;
mod scan;
pub mod series_batch;
pub mod time;

pub use csv::{CsvError, CsvOptions, CsvReader, RowErrors};
pub use item_errors::{ItemError, ItemErrors, ItemReason};
pub use line_batch::{LineBatch, Span};
pub use line_errors::{LineError, LineErrors, LineReason};
pub use line_key::{ParsedKey, series_labels, unescape_field};
pub use line_protocol::{DecodeError, LineOptions, decode};
pub use precision::{Precision, WriteApi};
pub use series_batch::{
    Extras, SeriesBatch, SeriesError, SeriesForm, SeriesNames, SeriesOptions, decode_series,
};
