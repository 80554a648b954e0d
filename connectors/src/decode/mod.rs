//! Decoders: bytes of one protocol in, columns out. No panic and no quadratic time on any input.

mod composed;
pub mod csv;
pub mod item_errors;
pub mod json;
pub mod line_batch;
pub mod line_errors;
pub mod line_key;
pub mod line_protocol;
pub mod message_form;
pub mod message_labels;
pub mod messages;
#[cfg(test)]
pub(crate) mod mutation;
mod number;
mod number_message;
#[cfg(test)]
mod oracle;
mod otlp;
pub mod precision;
pub mod record;
pub mod remote_write;
mod scan;
pub mod series_batch;
pub mod time;
mod wire;

pub use csv::{CsvError, CsvOptions, CsvReader, CsvRow, RowError, RowErrors, RowReason};
pub use item_errors::{ItemError, ItemErrors, ItemReason};
pub use line_batch::{LineBatch, Span};
pub use line_errors::{LineError, LineErrors, LineReason};
pub use line_key::{ParsedKey, series_labels, unescape_field};
pub use line_protocol::{DecodeError, LineOptions, decode};
pub use message_form::{MessageForm, MessageFormat};
pub use message_labels::MessageLabels;
pub use messages::{
    Incoming, MESSAGE_HEAD_BYTES, MessageBatch, Messages, Taken, decode_line_messages,
    decode_series_messages,
};
pub use precision::{Precision, WriteApi};
pub use series_batch::{
    Extras, SeriesBatch, SeriesError, SeriesForm, SeriesNames, SeriesOptions, decode_series,
};
