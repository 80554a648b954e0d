//! Why items of a body were refused: JSON samples, and time series of remote write.

use std::fmt;

/// Refused items that are kept one by one; the others are only counted. As many as a JSON body may have.
pub const ITEM_ERRORS_KEPT_MAX: usize = 10_000;

/// Why an item, or some samples of it, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ItemReason {
    /// A line that is no valid JSON.
    BadJson,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// JSON, but no object.
    NotAnObject,
    /// No name, or an empty one.
    MissingName,
    /// The name is no string.
    NameNotText,
    /// A control byte in a metric's name or a label's key.
    ControlByte,
    /// No time.
    MissingTime,
    /// The time is neither a number nor a date with its time.
    InvalidTime,
    /// The time does not fit into 64 bits of nanoseconds.
    TimeOutOfRange,
    /// The time is earlier than `SeriesOptions::time_min`.
    TimeTooOld,
    /// The time is later than `SeriesOptions::time_max`.
    TimeInFuture,
    /// No value.
    MissingValue,
    /// The value is no number.
    ValueNotNumber,
    /// The value is too large for 64 bits.
    NotFinite,
    /// The labels are no object.
    LabelsNotObject,
    /// A label's value is no string.
    LabelNotText,
    /// More labels than a series may have.
    TooManyLabels,
    /// A label's bytes are no message of the protocol.
    MalformedLabel,
    /// A label refers to a symbol that is not there.
    UnknownSymbol,
    /// Native histograms are not stored.
    Histogram,
    /// The name has not the form that the strict limits ask for.
    StrictName,
    /// More labels than the strict limits allow.
    StrictLabels,
    /// A label's key has not the form that the strict limits ask for.
    StrictKey,
    /// A label's key that the strict limits reserve.
    StrictReservedKey,
    /// A label's value has not the form that the strict limits ask for.
    StrictValue,
    /// A message of a partition that is no message of the protocol.
    BadMessage,
    /// More bytes than a message of a partition may have.
    MessageTooLong,
    /// More samples than a message of a partition may have.
    TooManySamples,
    /// A message of a partition without the key that names its metric.
    MissingKey,
    /// A message's key, which names its metric, is not UTF-8.
    KeyNotUtf8,
    /// A label's value is an object or an array.
    LabelNotScalar,
    /// The names of a message's series take more memory than they may.
    NamesTooLong,
    /// A header that becomes a label is not UTF-8.
    HeaderNotUtf8,
    /// A histogram whose scale or number of buckets no histogram has.
    BadHistogram,
    /// A message that does not begin as those of a schema registry do.
    NoSchemaId,
    /// A message whose schema the registry does not know.
    UnknownSchema,
    /// A message with whose schema nothing can be read.
    BadSchema,
    /// A message that is at a place of its schema where none is.
    BadSchemaPlace,
    /// A message whose bytes are not of its schema.
    NotOfSchema,
    /// A message that its schema says is neither a record nor an array of them.
    NotARecord,
}

impl ItemReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 40] = [
        Self::BadJson,
        Self::NotUtf8,
        Self::NotAnObject,
        Self::MissingName,
        Self::NameNotText,
        Self::ControlByte,
        Self::MissingTime,
        Self::InvalidTime,
        Self::TimeOutOfRange,
        Self::TimeTooOld,
        Self::TimeInFuture,
        Self::MissingValue,
        Self::ValueNotNumber,
        Self::NotFinite,
        Self::LabelsNotObject,
        Self::LabelNotText,
        Self::TooManyLabels,
        Self::MalformedLabel,
        Self::UnknownSymbol,
        Self::Histogram,
        Self::StrictName,
        Self::StrictLabels,
        Self::StrictKey,
        Self::StrictReservedKey,
        Self::StrictValue,
        Self::BadMessage,
        Self::MessageTooLong,
        Self::TooManySamples,
        Self::MissingKey,
        Self::KeyNotUtf8,
        Self::LabelNotScalar,
        Self::NamesTooLong,
        Self::HeaderNotUtf8,
        Self::BadHistogram,
        Self::NoSchemaId,
        Self::UnknownSchema,
        Self::BadSchema,
        Self::BadSchemaPlace,
        Self::NotOfSchema,
        Self::NotARecord,
    ];

    /// The reason as one word, for counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::NotUtf8 => "not_utf8",
            Self::NotAnObject => "not_an_object",
            Self::MissingName => "missing_name",
            Self::NameNotText => "name_not_text",
            Self::ControlByte => "control_byte",
            Self::MissingTime => "missing_time",
            Self::InvalidTime => "invalid_time",
            Self::TimeOutOfRange => "time_out_of_range",
            Self::TimeTooOld => "time_too_old",
            Self::TimeInFuture => "time_in_future",
            Self::MissingValue => "missing_value",
            Self::ValueNotNumber => "value_not_number",
            Self::NotFinite => "not_finite",
            Self::LabelsNotObject => "labels_not_object",
            Self::LabelNotText => "label_not_text",
            Self::TooManyLabels => "too_many_labels",
            Self::MalformedLabel => "malformed_label",
            Self::UnknownSymbol => "unknown_symbol",
            Self::Histogram => "histogram",
            Self::StrictName => "strict_name",
            Self::StrictLabels => "strict_labels",
            Self::StrictKey => "strict_key",
            Self::StrictReservedKey => "strict_reserved_key",
            Self::StrictValue => "strict_value",
            Self::BadMessage => "bad_message",
            Self::MessageTooLong => "message_too_long",
            Self::TooManySamples => "too_many_samples",
            Self::MissingKey => "missing_key",
            Self::KeyNotUtf8 => "key_not_utf8",
            Self::LabelNotScalar => "label_not_scalar",
            Self::NamesTooLong => "names_too_long",
            Self::HeaderNotUtf8 => "header_not_utf8",
            Self::BadHistogram => "bad_histogram",
            Self::NoSchemaId => "no_schema_id",
            Self::UnknownSchema => "unknown_schema",
            Self::BadSchema => "bad_schema",
            Self::BadSchemaPlace => "bad_schema_place",
            Self::NotOfSchema => "not_of_schema",
            Self::NotARecord => "not_a_record",
        }
    }

    /// The reason in words, for the client.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::BadJson => "not valid JSON",
            Self::NotUtf8 => "not valid UTF-8",
            Self::NotAnObject => "not a JSON object",
            Self::MissingName => "metric name is missing",
            Self::NameNotText => "metric name is not a string",
            Self::ControlByte => "control byte in a metric name or a label key",
            Self::MissingTime => "timestamp is missing",
            Self::InvalidTime => "invalid timestamp",
            Self::TimeOutOfRange => "timestamp beyond the range of nanoseconds",
            Self::TimeTooOld => "timestamp too old",
            Self::TimeInFuture => "timestamp too far in the future",
            Self::MissingValue => "value is missing",
            Self::ValueNotNumber => "value is not a number",
            Self::NotFinite => "value is not a finite number",
            Self::LabelsNotObject => "labels are not an object",
            Self::LabelNotText => "value of a label is not a string",
            Self::TooManyLabels => "too many labels",
            Self::MalformedLabel => "malformed label",
            Self::UnknownSymbol => "label refers to a symbol that is not in the table",
            Self::Histogram => "native histograms are not stored",
            Self::StrictName => "metric name must match [a-zA-Z_][a-zA-Z0-9_]* in 1 to 256 bytes",
            Self::StrictLabels => "more than 20 dimensions",
            Self::StrictKey => "dimension key must match [a-zA-Z_][a-zA-Z0-9_]* in 1 to 128 bytes",
            Self::StrictReservedKey => "dimension key is reserved",
            Self::StrictValue => {
                "dimension value must have 1 to 256 bytes without control characters"
            }
            Self::BadMessage => "not a valid message of the protocol",
            Self::MessageTooLong => "message is too long",
            Self::TooManySamples => "more samples than a message may have",
            Self::MissingKey => "message has no key, which would be its metric's name",
            Self::KeyNotUtf8 => "key, which is the metric's name, is not valid UTF-8",
            Self::LabelNotScalar => "value of a label is neither a text nor a number nor a boolean",
            Self::NamesTooLong => "names of the message's series take too much memory",
            Self::HeaderNotUtf8 => "header that becomes a label is not valid UTF-8",
            Self::BadHistogram => "histogram has a scale or a number of buckets that none can have",
            Self::NoSchemaId => "message does not begin with the byte 0 and the id of a schema",
            Self::UnknownSchema => "schema registry does not know the message's schema",
            Self::BadSchema => "nothing can be read with the message's schema",
            Self::BadSchemaPlace => "message is at a place of its schema where no message is",
            Self::NotOfSchema => "bytes do not fit the message's schema",
            Self::NotARecord => "message is neither a record nor an array of records",
        }
    }
}

impl fmt::Display for ItemReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A refused item, or samples of one that are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemError {
    /// The item's place in the body, from 0.
    pub item: u32,
    /// Why.
    pub reason: ItemReason,
    /// What it is about.
    pub(crate) detail: Detail,
}

/// What the reason of a refusal is about, where that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The item.
    #[default]
    None,
    /// This node of a map.
    Node(u16),
    /// The schema with this id.
    Schema(u32),
}

/// Why an item is refused, and what that is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    reason: ItemReason,
    detail: Detail,
}

impl From<ItemReason> for Refused {
    fn from(reason: ItemReason) -> Self {
        Self { reason, detail: Detail::None }
    }
}

impl ItemReason {
    /// As it was seen at a node of a map.
    pub(crate) fn at(self, node: usize) -> Refused {
        self.with(u16::try_from(node).map_or(Detail::None, Detail::Node))
    }

    /// As it was seen of this.
    pub(crate) fn with(self, detail: Detail) -> Refused {
        Refused { reason: self, detail }
    }
}

/// What of one body was refused.
///
/// Invariant: `first` holds the first [`ITEM_ERRORS_KEPT_MAX`] entries; the counters hold all samples.
#[derive(Clone, Debug)]
pub struct ItemErrors {
    first: Vec<ItemError>,
    counts: [u64; ItemReason::ALL.len()],
}

impl Default for ItemErrors {
    fn default() -> Self {
        Self { first: Vec::new(), counts: [0; ItemReason::ALL.len()] }
    }
}

impl ItemErrors {
    /// The first refusals, in the order of the body.
    #[must_use]
    pub fn first(&self) -> &[ItemError] {
        &self.first
    }

    /// All refused samples.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many samples were refused for each reason, in the order of [`ItemReason::ALL`].
    pub fn by_reason(&self) -> impl Iterator<Item = (ItemReason, u64)> + '_ {
        ItemReason::ALL.into_iter().zip(self.counts.iter().copied())
    }

    /// Notes that `samples` of an item are refused.
    pub(crate) fn push(&mut self, item: u32, reason: ItemReason, samples: u64) {
        self.note(item, reason.into(), samples);
    }

    /// Notes that an item is refused, and what that is about.
    pub(crate) fn push_at(&mut self, item: u32, refused: Refused) {
        self.note(item, refused, 1);
    }

    fn note(&mut self, item: u32, Refused { reason, detail }: Refused, samples: u64) {
        if let Some(count) = self.counts.get_mut(reason as usize) {
            *count += samples;
        }
        if self.first.len() < ITEM_ERRORS_KEPT_MAX {
            self.first.push(ItemError { item, reason, detail });
        }
    }

    /// Whether no further refusal is kept.
    pub(crate) fn is_full(&self) -> bool {
        self.first.len() >= ITEM_ERRORS_KEPT_MAX
    }

    pub(crate) fn clear(&mut self) {
        self.first.clear();
        self.counts.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_its_own_words() {
        for (index, reason) in ItemReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason:?}");
            let others = ItemReason::ALL.iter().skip(index + 1);
            assert!(others.clone().all(|other| other.name() != reason.name()), "{reason:?}");
            assert!(others.clone().all(|other| other.text() != reason.text()), "{reason:?}");
        }
    }

    #[test]
    fn only_the_first_items_are_kept_and_all_samples_are_counted() {
        let mut errors = ItemErrors::default();
        for item in 0..12_000 {
            errors.push(item, ItemReason::TimeTooOld, 3);
        }
        assert_eq!(errors.first().len(), ITEM_ERRORS_KEPT_MAX);
        assert_eq!(errors.total(), 36_000);
        errors.clear();
        assert!(errors.first().is_empty() && errors.total() == 0);
    }
}
