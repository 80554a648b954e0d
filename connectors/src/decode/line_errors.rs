//! Why lines of line protocol were refused.

use std::fmt;
use std::ops::Range;

/// Refused lines that are kept word for word; the others are only counted.
pub const LINE_ERRORS_KEPT_MAX: usize = 1_000;

/// Why a line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LineReason {
    /// Longer than `LineOptions::line_bytes_max`.
    LineTooLong,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A byte below 0x20, or 0x7f, outside a string value.
    ControlByte,
    /// A name ends with a backslash.
    TrailingBackslash,
    /// The line begins with a comma.
    EmptyMeasurement,
    /// A tag without `=`.
    MissingTagValue,
    /// Nothing before a tag's `=`.
    EmptyTagKey,
    /// Nothing after a tag's `=`.
    EmptyTagValue,
    /// A tag key beyond its limit.
    TagKeyTooLong,
    /// A tag value beyond its limit.
    TagValueTooLong,
    /// More tags than a series may have.
    TooManyTags,
    /// One tag key twice.
    DuplicateTag,
    /// Names, keys and values beyond the limit for a series.
    SeriesTooLong,
    /// No space after the tags, or nothing after it.
    MissingFields,
    /// Nothing before a field's `=`.
    EmptyFieldKey,
    /// A field without `=`, or nothing after it.
    MissingFieldValue,
    /// Measurement and field are beyond the limit for a metric's name.
    MetricTooLong,
    /// A field's value is no number, boolean or string.
    InvalidValue,
    /// NaN, an infinity, or a float too large for 64 bits.
    NotFinite,
    /// An integer that a 64-bit float cannot hold exactly.
    IntegerTooLarge,
    /// A string value without its closing quote.
    UnclosedString,
    /// What stands after the fields is no integer.
    InvalidTime,
    /// The time does not fit into 64 bits of nanoseconds.
    TimeOutOfRange,
    /// The time is later than `LineOptions::time_max`.
    TimeInFuture,
    /// More samples than one message may have.
    TooManySamples,
}

impl LineReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 25] = [
        Self::LineTooLong,
        Self::NotUtf8,
        Self::ControlByte,
        Self::TrailingBackslash,
        Self::EmptyMeasurement,
        Self::MissingTagValue,
        Self::EmptyTagKey,
        Self::EmptyTagValue,
        Self::TagKeyTooLong,
        Self::TagValueTooLong,
        Self::TooManyTags,
        Self::DuplicateTag,
        Self::SeriesTooLong,
        Self::MissingFields,
        Self::EmptyFieldKey,
        Self::MissingFieldValue,
        Self::MetricTooLong,
        Self::InvalidValue,
        Self::NotFinite,
        Self::IntegerTooLarge,
        Self::UnclosedString,
        Self::InvalidTime,
        Self::TimeOutOfRange,
        Self::TimeInFuture,
        Self::TooManySamples,
    ];

    /// The reason as one word, for counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LineTooLong => "line_too_long",
            Self::NotUtf8 => "not_utf8",
            Self::ControlByte => "control_byte",
            Self::TrailingBackslash => "trailing_backslash",
            Self::EmptyMeasurement => "empty_measurement",
            Self::MissingTagValue => "missing_tag_value",
            Self::EmptyTagKey => "empty_tag_key",
            Self::EmptyTagValue => "empty_tag_value",
            Self::TagKeyTooLong => "tag_key_too_long",
            Self::TagValueTooLong => "tag_value_too_long",
            Self::TooManyTags => "too_many_tags",
            Self::DuplicateTag => "duplicate_tag",
            Self::SeriesTooLong => "series_too_long",
            Self::MissingFields => "missing_fields",
            Self::EmptyFieldKey => "empty_field_key",
            Self::MissingFieldValue => "missing_field_value",
            Self::MetricTooLong => "metric_too_long",
            Self::InvalidValue => "invalid_value",
            Self::NotFinite => "not_finite",
            Self::IntegerTooLarge => "integer_too_large",
            Self::UnclosedString => "unclosed_string",
            Self::InvalidTime => "invalid_time",
            Self::TimeOutOfRange => "time_out_of_range",
            Self::TimeInFuture => "time_in_future",
            Self::TooManySamples => "too_many_samples",
        }
    }

    /// The reason in words, for the client.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::LineTooLong => "line is too long",
            Self::NotUtf8 => "line is not valid UTF-8",
            Self::ControlByte => "control byte outside a string value",
            Self::TrailingBackslash => "name ends with a backslash",
            Self::EmptyMeasurement => "missing measurement",
            Self::MissingTagValue => "tag without a value",
            Self::EmptyTagKey => "empty tag key",
            Self::EmptyTagValue => "empty tag value",
            Self::TagKeyTooLong => "tag key is too long",
            Self::TagValueTooLong => "tag value is too long",
            Self::TooManyTags => "too many tags",
            Self::DuplicateTag => "duplicate tag key",
            Self::SeriesTooLong => "measurement and tags are too long",
            Self::MissingFields => "missing fields",
            Self::EmptyFieldKey => "empty field key",
            Self::MissingFieldValue => "field without a value",
            Self::MetricTooLong => "measurement and field are too long",
            Self::InvalidValue => "invalid field value",
            Self::NotFinite => "field value is not a finite number",
            Self::IntegerTooLarge => "integer beyond 2^53 cannot be stored exactly",
            Self::UnclosedString => "string value without closing quote",
            Self::InvalidTime => "invalid timestamp",
            Self::TimeOutOfRange => "timestamp beyond the range of nanoseconds",
            Self::TimeInFuture => "timestamp too far in the future",
            Self::TooManySamples => "more samples than a message may have",
        }
    }
}

impl fmt::Display for LineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// One refused line.
///
/// Displays as `empty tag key at byte 4`: with the position within the line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// The number of the line in the body, from 1.
    pub line_number: u32,
    /// Why.
    pub reason: LineReason,
    /// Where in the body the reason was met.
    pub at: u32,
    /// Where the line stands in the body, without its line end.
    pub line: Range<u32>,
}

impl LineError {
    /// The line as sent.
    #[must_use]
    pub fn original<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        let range = usize::try_from(self.line.start).ok().zip(usize::try_from(self.line.end).ok());
        range.and_then(|(start, end)| body.get(start..end)).unwrap_or_default()
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let byte = u64::from(self.at.saturating_sub(self.line.start)) + 1;
        write!(f, "{} at byte {byte}", self.reason)
    }
}

/// The refused lines of one body.
///
/// Invariant: `first` holds the first [`LINE_ERRORS_KEPT_MAX`] of them; the counters hold all.
#[derive(Clone, Debug, Default)]
pub struct LineErrors {
    first: Vec<LineError>,
    counts: [u64; LineReason::ALL.len()],
}

impl LineErrors {
    /// The first refused lines, in the order of the body.
    #[must_use]
    pub fn first(&self) -> &[LineError] {
        &self.first
    }

    /// All refused lines.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether no line was refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// How many lines were refused for each reason, in the order of [`LineReason::ALL`].
    pub fn by_reason(&self) -> impl Iterator<Item = (LineReason, u64)> + '_ {
        LineReason::ALL.into_iter().zip(self.counts.iter().copied())
    }

    pub(crate) fn push(&mut self, error: LineError) {
        if let Some(count) = self.counts.get_mut(error.reason as usize) {
            *count += 1;
        }
        if self.first.len() < LINE_ERRORS_KEPT_MAX {
            self.first.push(error);
        }
    }

    /// Gives the refusals from the `first`-th one on, which is kept word for word, another line's number.
    pub(crate) fn renumber(&mut self, first: usize, line_number: u32) {
        self.first.iter_mut().skip(first).for_each(|error| error.line_number = line_number);
    }

    /// Whether no further refusal is kept.
    pub(crate) fn is_full(&self) -> bool {
        self.first.len() >= LINE_ERRORS_KEPT_MAX
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
    fn every_reason_has_its_own_counter() {
        for (index, reason) in LineReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason:?}");
        }
    }

    #[test]
    fn only_the_first_lines_are_kept_and_all_are_counted() {
        let mut errors = LineErrors::default();
        for line_number in 1..=2_500 {
            let reason = LineReason::InvalidTime;
            errors.push(LineError { line_number, reason, at: 7, line: 4..9 });
        }
        assert_eq!(errors.first().len(), LINE_ERRORS_KEPT_MAX);
        assert_eq!(errors.total(), 2_500);
        assert!(
            errors.by_reason().all(|(r, n)| n == 0 || (r, n) == (LineReason::InvalidTime, 2_500))
        );
        assert_eq!(errors.first()[0].to_string(), "invalid timestamp at byte 4");
        errors.clear();
        assert!(errors.is_empty() && errors.total() == 0);
    }
}
