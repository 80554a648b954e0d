//! What a body of samples by series says, in columns: JSON, and remote write.

use std::ops::Range;
use std::sync::Arc;

use tidewatch_metrics::EventTime;
use twox_hash::XxHash3_128;

use crate::decode::composed;
use crate::decode::item_errors::{Detail, ItemError, ItemErrors, ItemReason};
use crate::decode::json::{self, JsonMap};
use crate::decode::line_batch::Span;
use crate::decode::message_labels;
use crate::decode::number_message;
use crate::decode::record::{Found, Schemas};
use crate::decode::remote_write;

/// Bytes of a key that was put together, mostly no more.
const COMPOSED_BYTES_USUAL: usize = 256;

/// Labels of a message are hashed apart; this keeps them from standing for others.
const BESIDE_SALT: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// The protocols whose bodies are decoded to a [`SeriesBatch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeriesForm {
    /// Luminate's batch: `{"metrics":[{"name","timestamp","value","dimensions"}]}`.
    #[default]
    Luminate,
    /// A line per sample: `{"metric","time","value","labels"}`.
    JsonLines,
    /// `prometheus.WriteRequest`, unpacked.
    RemoteWrite1,
    /// `io.prometheus.write.v2.Request`, unpacked.
    RemoteWrite2,
    /// A number as text, named by the key of its message; only messages have this form.
    Number,
    /// JSON with its members where a map says; only messages have this form.
    MappedJson,
    /// Metrics of OpenTelemetry's protocol; only messages have this form.
    Otlp,
    /// A record of Avro or a message of Protobuf, of a schema that it names; only messages have this form.
    Record,
}

impl SeriesForm {
    /// Whether its bodies are UTF-8.
    pub(crate) const fn is_text(self) -> bool {
        matches!(self, Self::Luminate | Self::JsonLines | Self::MappedJson)
    }

    /// The form as one word, for counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Luminate => "json",
            Self::JsonLines => "ndjson",
            Self::RemoteWrite1 => "remote_write",
            Self::RemoteWrite2 => "remote_write_2",
            Self::Number => "number",
            Self::MappedJson => "mapped_json",
            Self::Otlp => "otlp",
            Self::Record => "record",
        }
    }
}

/// How a body is to be read.
#[derive(Clone, Copy, Debug)]
pub struct SeriesOptions {
    /// The earliest time that is taken; `None` for no bound.
    pub time_min: Option<EventTime>,
    /// The latest time that is taken; `None` for no bound.
    pub time_max: Option<EventTime>,
    /// The seed of `SeriesBatch::key_hashes`: secret, so that no client can make keys collide. Another
    /// one for each form, because equal bytes mean different things.
    pub key_seed: u64,
    /// More samples than this refuse the whole body.
    pub samples_max: usize,
    /// Whether names and labels of [`SeriesForm::Luminate`] must keep within Luminate's own limits.
    pub strict: bool,
}

impl Default for SeriesOptions {
    fn default() -> Self {
        Self {
            time_min: None,
            time_max: None,
            key_seed: 0,
            samples_max: tidewatch_metrics::limits::BATCH_ROWS_MAX,
            strict: false,
        }
    }
}

/// Why a whole body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// More samples than `SeriesOptions::samples_max`.
    #[error("body has {received} samples, at most {samples_max} are taken at once")]
    TooManySamples {
        /// The limit.
        samples_max: usize,
        /// Samples in the body; for remote write those up to the first one too many.
        received: usize,
    },
    /// Positions in the body would not fit into 32 bits.
    #[error("body of {bytes} bytes is longer than {}", u32::MAX)]
    BodyTooLong {
        /// The body's length.
        bytes: usize,
    },
    /// No valid JSON.
    #[error("body is not valid JSON at byte {}", at + 1)]
    Json {
        /// Where that was seen, from 0.
        at: usize,
    },
    /// JSON of another shape.
    #[error("body must be an object with an array \"metrics\"")]
    NoMetrics,
    /// `metrics` more than once.
    #[error("\"metrics\" stands twice in the body")]
    MetricsTwice,
    /// No sample at all.
    #[error("body has no samples")]
    Empty,
    /// No valid message.
    #[error("body is not a valid message of the protocol at byte {}", at + 1)]
    Message {
        /// Where that was seen, from 0.
        at: usize,
    },
    /// More symbols than a body may have.
    #[error("body has more than {symbols_max} symbols")]
    TooManySymbols {
        /// The limit.
        symbols_max: usize,
    },
    /// A form that only messages of a partition have.
    #[error("only messages of a source have the form \"{}\"", form.name())]
    MessagesOnly {
        /// The form.
        form: SeriesForm,
    },
    /// The first symbol is not the empty string.
    #[error("the first symbol must be the empty string")]
    FirstSymbol,
}

/// Where the names of an item's series stand in the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ItemKey {
    /// JSON: the name without its quotes. Remote write: the whole time series. Numbers: the message's key.
    /// JSON with a map, records, and OpenTelemetry: a piece of `SeriesBatch::composed`.
    pub(crate) name: Span,
    /// JSON: the object of labels with its braces, or nothing.
    pub(crate) labels: Span,
    /// Labels that its message has, which those of the sample win over.
    pub(crate) beside: Span,
}

/// The names of a series as sent, with escapes taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesNames {
    /// The metric.
    pub metric: String,
    /// The labels, in the order of the body. Keys may repeat.
    pub labels: Vec<(String, String)>,
}

/// The accepted samples of one body by items, and what was refused. An item is a JSON sample or a time series
/// of remote write.
///
/// Item `i` is `(keys[i], key_hashes[i], numbers[i])` and has the rows `first_rows[i] .. first_rows[i + 1]`
/// (the last item's: to the end) of `(times, values)`.
///
/// Invariants: all columns of items have one length, those of rows another one; `first_rows` grows strictly;
/// all spans lie within the body; equal hashes are equal names. Whether the names are valid is asked once per
/// series, with [`SeriesBatch::names`]. Kept and reused from body to body: no memory is given back.
#[derive(Clone, Debug, Default)]
pub struct SeriesBatch {
    form: SeriesForm,
    strict: bool,
    keys: Vec<ItemKey>,
    key_hashes: Vec<u128>,
    numbers: Vec<u32>,
    first_rows: Vec<u32>,
    times: Vec<EventTime>,
    values: Vec<f64>,
    errors: ItemErrors,
    extras: Extras,
    /// What remote write 2.0 refers to.
    pub(crate) symbols: Vec<Span>,
    pub(crate) symbol_hashes: Vec<u128>,
    /// Reused for keys that are not in one piece.
    pub(crate) scratch: Vec<u8>,
    /// The keys of forms that put them together.
    pub(crate) composed: Vec<u8>,
    /// Reused: where an object has what a map asks for.
    pub(crate) places: Vec<Span>,
    /// Reused: what a record has where a map asks for it.
    pub(crate) found: Vec<Found>,
    /// What the nodes of errors refer to.
    pub(crate) map: Option<Arc<JsonMap>>,
    /// What the schemas of errors refer to.
    pub(crate) schemas: Option<Arc<Schemas>>,
}

/// What a body of remote write has beside samples: counted, not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Metadata of metrics.
    pub metadata: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// Native histograms, which are refused.
    pub histograms: u64,
    /// Samples or series with a start timestamp.
    pub start_times: u64,
}

impl SeriesBatch {
    /// A batch without items.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.key_hashes.clear();
        self.numbers.clear();
        self.first_rows.clear();
        self.times.clear();
        self.values.clear();
        self.errors.clear();
        self.extras = Extras::default();
        self.symbols.clear();
        self.symbol_hashes.clear();
        self.scratch.clear();
        self.composed.clear();
        self.map = None;
        self.schemas = None;
    }

    /// Items with rows.
    #[must_use]
    pub fn items(&self) -> usize {
        self.keys.len()
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len()
    }

    /// Rows and symbols that there is memory for, whatever the batch holds; keys count by their usual length.
    #[must_use]
    pub fn capacity(&self) -> usize {
        let keys = self.composed.capacity() / COMPOSED_BYTES_USUAL;
        self.values.capacity().max(self.symbols.capacity()).max(keys)
    }

    /// Per item: a seeded 128-bit hash of its names as sent.
    #[must_use]
    pub fn key_hashes(&self) -> &[u128] {
        &self.key_hashes
    }

    /// Per item: its place in the body, from 0, refused ones counted.
    #[must_use]
    pub fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// Per row: its time.
    #[must_use]
    pub fn times(&self) -> &[EventTime] {
        &self.times
    }

    /// Per row: its value. Remote write's may be NaN, its stale marker among them, and infinite.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The rows of one item; empty for an item that is not there.
    #[inline]
    #[must_use]
    pub fn rows_of(&self, item: usize) -> Range<usize> {
        let row = |item: usize| self.first_rows.get(item).map(|row| *row as usize);
        match row(item) {
            Some(start) => start..row(item + 1).unwrap_or(self.values.len()),
            None => 0..0,
        }
    }

    /// The form of the body.
    #[must_use]
    pub fn form(&self) -> SeriesForm {
        self.form
    }

    /// What was refused.
    #[must_use]
    pub fn errors(&self) -> &ItemErrors {
        &self.errors
    }

    /// Why something was refused, in words for people, with the path that a map has there or the schema.
    #[must_use]
    pub fn explain(&self, error: &ItemError) -> String {
        let reason = error.reason;
        match error.detail {
            Detail::None => reason.to_string(),
            Detail::Node(node) => {
                let path = self.map.as_ref().map_or("", |map| map.path(node.into()));
                if path.is_empty() { reason.to_string() } else { format!("{reason} at {path}") }
            }
            Detail::Schema(id) => {
                let why = self.schemas.as_ref().and_then(|schemas| schemas.why_unusable(id));
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                format!("{reason} (id {id}){why}")
            }
        }
    }

    /// What there was beside samples.
    #[must_use]
    pub fn extras(&self) -> &Extras {
        &self.extras
    }

    /// The names of an item's series, from the body that was decoded. Allocates: meant for once per series.
    ///
    /// # Errors
    /// Why they name no series.
    pub fn names(&self, body: &[u8], item: usize) -> Result<SeriesNames, ItemReason> {
        let key = self.keys.get(item).copied().unwrap_or_default();
        let mut names = self.own_names(body, key)?;
        if key.beside.len > 0 {
            message_labels::add_labels(key.beside.of(body), &mut names)?;
            names.check()?;
        }
        Ok(names)
    }

    /// Those that do not come from a message's labels.
    fn own_names(&self, body: &[u8], key: ItemKey) -> Result<SeriesNames, ItemReason> {
        match self.form {
            SeriesForm::Luminate | SeriesForm::JsonLines => {
                json::names(key.name.of(body), key.labels.of(body), self.strict)
            }
            SeriesForm::RemoteWrite1 => remote_write::v1::names(key.name.of(body)),
            SeriesForm::RemoteWrite2 => {
                remote_write::v2::names(key.name.of(body), body, &self.symbols)
            }
            SeriesForm::Number => number_message::names(key.name.of(body)),
            SeriesForm::MappedJson | SeriesForm::Otlp | SeriesForm::Record => {
                composed::names(key.name.of(&self.composed))
            }
        }
    }

    pub(crate) fn begin(&mut self, form: SeriesForm, options: &SeriesOptions) {
        self.clear();
        self.form = form;
        self.strict = options.strict && form == SeriesForm::Luminate;
    }

    pub(crate) fn errors_mut(&mut self) -> &mut ItemErrors {
        &mut self.errors
    }

    pub(crate) fn extras_mut(&mut self) -> &mut Extras {
        &mut self.extras
    }

    #[inline]
    pub(crate) fn push_row(&mut self, time: EventTime, value: f64) {
        self.times.push(time);
        self.values.push(value);
    }

    /// Ends the item whose rows are those from `first_row` on; it is left out if there are none.
    #[inline]
    pub(crate) fn push_item(&mut self, number: u32, key: ItemKey, hash: u128, first_row: usize) {
        if first_row == self.values.len() {
            return;
        }
        self.keys.push(key);
        self.key_hashes.push(hash);
        self.numbers.push(number);
        self.first_rows.push(u32::try_from(first_row).expect("a sample takes bytes of the body"));
    }

    /// A sample whose names were put together at the end of `composed`; `seed` is that of the hashes.
    ///
    /// # Errors
    /// [`ItemReason::NamesTooLong`] where they go beyond `names_max`.
    #[inline]
    pub(crate) fn push_composed(
        &mut self,
        number: u32,
        key: ItemKey,
        (time, value): (EventTime, f64),
        (names_max, seed): (usize, u64),
    ) -> Result<(), ItemReason> {
        if self.composed.len() > names_max {
            return Err(ItemReason::NamesTooLong);
        }
        let hash = XxHash3_128::oneshot_with_seed(seed, key.name.of(&self.composed));
        let first_row = self.rows();
        self.push_row(time, value);
        self.push_item(number, key, hash, first_row);
        Ok(())
    }

    /// Gives the items from the `first`-th one on the labels of their message, which stand in `body`; `seed` is that
    /// of the hashes.
    ///
    /// # Errors
    /// [`ItemReason::HeaderNotUtf8`].
    #[inline]
    pub(crate) fn add_labels(
        &mut self,
        first: usize,
        labels: Span,
        (body, seed): (&[u8], u64),
    ) -> Result<(), ItemReason> {
        if labels.len == 0 {
            return Ok(());
        }
        let bytes = labels.of(body);
        std::str::from_utf8(bytes).map_err(|_error| ItemReason::HeaderNotUtf8)?;
        let beside = XxHash3_128::oneshot_with_seed(seed ^ BESIDE_SALT, bytes);
        for (key, hash) in self.keys.iter_mut().zip(&mut self.key_hashes).skip(first) {
            key.beside = labels;
            // A product with an odd number and a difference lose nothing of either hash.
            *hash = hash.wrapping_mul(u128::from(BESIDE_SALT)) ^ beside;
        }
        Ok(())
    }

    /// Takes back the items from the `first`-th one on, whose rows are those from `first_row` on.
    pub(crate) fn retract_items(&mut self, first: usize, first_row: usize) {
        self.keys.truncate(first);
        self.key_hashes.truncate(first);
        self.numbers.truncate(first);
        self.first_rows.truncate(first);
        self.retract(first_row);
    }

    /// Takes back the rows of an item that is refused; gives how many they were.
    pub(crate) fn retract(&mut self, first_row: usize) -> u64 {
        let rows = self.values.len() - first_row;
        self.times.truncate(first_row);
        self.values.truncate(first_row);
        u64::try_from(rows).unwrap_or(u64::MAX)
    }
}

impl SeriesNames {
    /// Adds a label, unless one of the first `own` labels has its key already; an empty one does not count.
    pub(crate) fn push_weaker(&mut self, own: usize, (key, value): (String, String)) {
        let mut stronger = self.labels.iter().take(own);
        if !stronger.any(|(own, value)| *own == key && !value.is_empty()) {
            self.labels.push((key, value));
        }
    }
}

impl SeriesOptions {
    /// Why a time is not taken.
    #[inline]
    pub(crate) fn check_time(&self, time: EventTime) -> Result<(), ItemReason> {
        if self.time_max.is_some_and(|latest| time > latest) {
            return Err(ItemReason::TimeInFuture);
        }
        if self.time_min.is_some_and(|earliest| time < earliest) {
            return Err(ItemReason::TimeTooOld);
        }
        Ok(())
    }
}

/// Decodes `body` into `out`, whose former content is dropped.
///
/// Refused items are in `out.errors()`; the others are taken.
///
/// # Errors
/// If the whole body is refused; `out` is then empty.
pub fn decode_series(
    form: SeriesForm,
    body: &[u8],
    options: &SeriesOptions,
    out: &mut SeriesBatch,
) -> Result<(), SeriesError> {
    out.begin(form, options);
    if u32::try_from(body.len()).is_err() {
        return Err(SeriesError::BodyTooLong { bytes: body.len() });
    }
    let decoded = match form {
        SeriesForm::Luminate => json::decode_luminate(body, options, out),
        SeriesForm::JsonLines => json::decode_lines(body, options, out),
        SeriesForm::RemoteWrite1 => remote_write::v1::decode(body, options, out),
        SeriesForm::RemoteWrite2 => remote_write::v2::decode(body, options, out),
        SeriesForm::Number | SeriesForm::MappedJson | SeriesForm::Otlp | SeriesForm::Record => {
            Err(SeriesError::MessagesOnly { form })
        }
    };
    if decoded.is_err() {
        out.clear();
    }
    decoded
}
