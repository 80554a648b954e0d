//! Messages of a partition, each of which is a body of its own: bytes in, the columns of all of them out.
#![deny(clippy::indexing_slicing)]

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_metrics::EventTime;

use crate::decode::item_errors::{ItemReason, Refused};
use crate::decode::json::{self, JsonMap, JsonMessages};
use crate::decode::line_batch::{LineBatch, Span};
use crate::decode::line_errors::LineReason;
use crate::decode::line_protocol::{LineOptions, MessageLines};
use crate::decode::message_form::{MessageForm, MessageFormat};
use crate::decode::message_labels::MessageLabels;
use crate::decode::number_message;
use crate::decode::otlp;
use crate::decode::record::{RecordMessages, SchemaTrouble};
use crate::decode::remote_write::{unpack_behind, v1};
use crate::decode::series_batch::{SeriesBatch, SeriesError, SeriesForm, SeriesOptions};

/// Bytes of one message, unpacked; of a longer one nothing is taken.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Once so many samples are decoded, no further message is begun: a batch becomes one record of the log.
const SAMPLES_ENOUGH: usize = 65_536;

/// Of a message with more bytes than a message may have, so many are kept for whoever looks at it.
pub const MESSAGE_HEAD_BYTES: usize = 1 << 20;

/// Bytes of a batch beyond which its memory is not kept for the next one.
const BYTES_KEPT_MAX: usize = 4 << 20;

/// A message as it has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Incoming<'a> {
    /// Its value.
    pub payload: &'a [u8],
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// When it was sent, if it says so.
    pub time: Option<EventTime>,
    /// Labels that all its samples have, unless they have such ones themselves. Lines do not get them.
    pub labels: Option<&'a MessageLabels>,
}

/// A piece of a batch's bytes.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: usize,
    end: usize,
}

impl Piece {
    fn range(self) -> Range<usize> {
        self.start..self.end
    }

    fn span(self) -> Span {
        Span::between(self.start, self.end)
    }

    /// So many bytes before it are gone.
    fn moved_back(self, bytes: usize) -> Self {
        Self { start: self.start - bytes, end: self.end - bytes }
    }
}

/// One message.
#[derive(Clone, Copy, Debug)]
struct Message {
    /// Where its labels stand in the batch's bytes: first of all, or without bytes.
    labels: Piece,
    /// Where its key stands, if it has one that is kept.
    key: Option<Piece>,
    /// Where its payload stands.
    payload: Piece,
    /// Bytes that the payload had: more than there are of one that is too long.
    whole: usize,
    offset: u64,
    /// When it was sent, if it says so.
    time: Option<EventTime>,
    is_too_long: bool,
}

/// Consecutive messages of one partition, in the order of their offsets.
///
/// Invariants: offsets grow strictly; labels, every key that is kept and every payload are followed by a line end,
/// so that no text goes on from one to the next; `first <= last` once there is any offset, and all messages lie
/// within.
#[derive(Debug)]
pub struct MessageBatch {
    format: MessageFormat,
    keeps_keys: bool,
    /// Of each message its labels, if it has any, its key, if it is kept, and its payload.
    bytes: Vec<u8>,
    messages: Vec<Message>,
    /// Offsets that the batch stands for, those without a message included.
    offsets: Option<(u64, u64)>,
}

impl MessageBatch {
    /// No messages yet.
    #[must_use]
    pub fn new(format: impl Into<MessageFormat>) -> Self {
        let format = format.into();
        Self {
            keeps_keys: format.form().reads_keys(),
            format,
            bytes: Vec::new(),
            messages: Vec::new(),
            offsets: None,
        }
    }

    /// The same, and messages' keys are kept although the form does not read them.
    #[must_use]
    pub fn with_keys(format: impl Into<MessageFormat>) -> Self {
        Self { keeps_keys: true, ..Self::new(format) }
    }

    /// What the messages hold.
    #[must_use]
    pub fn format(&self) -> &MessageFormat {
        &self.format
    }

    /// Adds a message. An offset that is not behind all others is left out. Of a message with more bytes than
    /// a message may have the first [`MESSAGE_HEAD_BYTES`] are kept, without its key.
    pub fn push(&mut self, offset: u64, message: Incoming<'_>) {
        if !self.pass(offset) {
            return;
        }
        let Incoming { payload, key, time, labels } = message;
        let first = self.bytes.len();
        let labels = labels.map(MessageLabels::as_bytes).filter(|labels| !labels.is_empty());
        let mut labels = labels.map_or(Piece { start: first, end: first }, |one| self.append(one));
        let mut key = key.filter(|_| self.keeps_keys).map(|key| self.append(key));
        let start = self.bytes.len();
        let is_packed = self.format.form() == MessageForm::RemoteWrite
            && unpack_behind(payload, &mut self.bytes);
        let mut payload = if is_packed { self.end(start) } else { self.append(payload) };
        let whole = payload.end - payload.start;
        let is_too_long = payload.end - first > MESSAGE_BYTES_MAX;
        if is_too_long {
            self.bytes.drain(first..start);
            self.bytes.truncate(first + whole.min(MESSAGE_HEAD_BYTES));
            (labels, key, payload) = (Piece { start: first, end: first }, None, self.end(first));
        }
        let message = Message { labels, key, payload, whole, offset, time, is_too_long };
        self.messages.push(message);
    }

    /// Appends a piece.
    fn append(&mut self, bytes: &[u8]) -> Piece {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.end(start)
    }

    /// Ends the piece that begins at `start`.
    fn end(&mut self, start: usize) -> Piece {
        let end = self.bytes.len();
        self.bytes.push(b'\n');
        Piece { start, end }
    }

    /// Passes over an offset that has no message; `false` where it is not behind all others.
    pub fn pass(&mut self, offset: u64) -> bool {
        let (first, is_next) = match self.offsets {
            None => (offset, true),
            Some((first, last)) => (first, offset > last),
        };
        if is_next {
            self.offsets = Some((first, offset));
        }
        is_next
    }

    /// Whether there is nothing to store, not even an offset.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_none()
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// The messages' bytes: of each its labels, its key, if that is kept, and its payload.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many of the first messages lie within so many bytes; one at least, where there is any.
    #[must_use]
    pub fn first_within(&self, bytes: usize) -> usize {
        let within = self.messages.partition_point(|message| message.payload.end <= bytes);
        within.max(1).min(self.messages.len())
    }

    /// Bytes of the first `messages` messages.
    #[must_use]
    pub fn bytes_of(&self, messages: usize) -> usize {
        let last = messages.checked_sub(1).and_then(|last| self.messages.get(last));
        last.map_or(0, |last| last.payload.end)
    }

    /// Bytes of the first `messages` payloads.
    #[must_use]
    pub fn payload_bytes_of(&self, messages: usize) -> u64 {
        let bytes = self.messages.iter().take(messages).map(|message| message.range().len());
        u64::try_from(bytes.sum::<usize>()).unwrap_or(u64::MAX)
    }

    /// The key of a message, if it has one that is kept.
    #[must_use]
    pub fn key_of(&self, message: usize) -> Option<&[u8]> {
        self.bytes.get(self.messages.get(message)?.key?.range())
    }

    /// The payload of a message: unpacked, if its form says so.
    #[must_use]
    pub fn payload_of(&self, message: usize) -> Option<&[u8]> {
        self.bytes.get(self.messages.get(message)?.range())
    }

    /// Bytes that the payload of a message had: more than [`Self::payload_of`] gives where it was too long.
    #[must_use]
    pub fn whole_bytes_of(&self, message: usize) -> u64 {
        let whole = self.messages.get(message).map_or(0, |message| message.whole);
        u64::try_from(whole).unwrap_or(u64::MAX)
    }

    /// When a message was sent, if it says so.
    #[must_use]
    pub fn time_of(&self, message: usize) -> Option<EventTime> {
        self.messages.get(message)?.time
    }

    /// The offset of a message.
    #[must_use]
    pub fn offset_of(&self, message: usize) -> Option<u64> {
        self.messages.get(message).map(|message| message.offset)
    }

    /// How many of the first `messages` messages can be decoded: all, unless they name schemas. Those that are not known are
    /// asked for, few at a time; `now` is a clock that only goes forward.
    ///
    /// # Errors
    /// Where the first of them has to wait, because the schema registry does not answer.
    pub fn ready_of(
        &self,
        messages: usize,
        now: &dyn Fn() -> Duration,
    ) -> Result<usize, SchemaTrouble> {
        let messages = messages.min(self.messages.len());
        let Some(schemas) = self.format.schemas() else { return Ok(messages) };
        let payloads = self.messages.iter().take(messages);
        let payloads = payloads.map(|one| self.bytes.get(one.range()).unwrap_or_default());
        schemas.ready(payloads, now)
    }

    /// The first and the last offset that the first `messages` messages stand for, with what was passed
    /// behind the last of all; `None` where there are none.
    #[must_use]
    pub fn offsets_of(&self, messages: usize) -> Option<(u64, u64)> {
        let (first, last) = self.offsets?;
        if messages >= self.messages.len() {
            return Some((first, last));
        }
        let last = self.messages.get(messages.checked_sub(1)?)?;
        Some((first, last.offset))
    }

    /// Removes the first `messages` messages, with what was passed before and, of all, behind them.
    pub fn drop_first(&mut self, messages: usize) {
        if messages >= self.messages.len() {
            self.clear();
            return;
        }
        let Some((_, stored)) = self.offsets_of(messages) else { return };
        self.messages.drain(..messages);
        let begin = self.messages.first().map_or(0, |first| first.labels.start);
        self.bytes.drain(..begin);
        for message in &mut self.messages {
            message.move_back(begin);
        }
        self.offsets = self.offsets.map(|(_, last)| (stored + 1, last));
    }

    /// Removes everything and keeps the memory, unless it is much.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > BYTES_KEPT_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.messages.clear();
        self.offsets = None;
    }
}

impl Message {
    /// Where its payload stands.
    fn range(&self) -> Range<usize> {
        self.payload.range()
    }

    /// So many bytes before it are gone.
    fn move_back(&mut self, bytes: usize) {
        self.labels = self.labels.moved_back(bytes);
        self.key = self.key.map(|key| key.moved_back(bytes));
        self.payload = self.payload.moved_back(bytes);
    }
}

/// The first messages of a batch, which are to be decoded.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a> {
    /// The batch.
    pub batch: &'a MessageBatch,
    /// How many of its messages, at most.
    pub count: usize,
}

impl Messages<'_> {
    fn iter(&self) -> impl Iterator<Item = (u32, &Message)> {
        (0..).zip(self.batch.messages.iter().take(self.count))
    }
}

/// What became of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many were decoded: the first ones of the batch. More would be too much for one record.
    pub messages: usize,
    /// Those of which something was refused, by their place in the batch from 0, in order.
    pub bad: Vec<u32>,
}

impl Taken {
    fn note(&mut self, message: u32, is_bad: bool) {
        self.messages += 1;
        if is_bad {
            self.bad.push(message);
        }
    }
}

/// Decodes messages of lines into `out`, whose former content is dropped. Of every bad message the first refusal
/// is told: no further one is begun once as many are kept as can be.
///
/// Numbers of lines are those of their messages, from 1. Lines without a time have that of their message;
/// [`LineOptions::samples_max`] is for each message.
pub fn decode_line_messages(
    messages: Messages<'_>,
    options: &LineOptions,
    out: &mut LineBatch,
) -> Taken {
    out.clear();
    let mut taken = Taken::default();
    let mut lines = MessageLines::new(messages.batch.bytes(), out);
    for (number, message) in messages.iter() {
        if lines.out().samples() >= SAMPLES_ENOUGH || lines.out().errors().is_full() {
            break;
        }
        let refused = lines.out().errors().total();
        if message.is_too_long || message.range().is_empty() {
            let long = message.is_too_long;
            let reason = if long { LineReason::LineTooLong } else { LineReason::MissingFields };
            lines.refuse(&message.range(), number + 1, reason);
        } else {
            let default_time = message.time.unwrap_or(options.default_time);
            let options = LineOptions { default_time, ..*options };
            lines.message(message.range(), number + 1, &options);
        }
        taken.note(number, lines.out().errors().total() > refused);
    }
    taken
}

/// Decodes messages that are not lines into `out`, whose former content is dropped.
///
/// Of every bad message the first refusal is told: no further one is begun once as many are kept as can be, and none whose
/// schema is not known yet.
///
/// Numbers of items are those of their messages, from 0; [`SeriesOptions::samples_max`] is for each message.
///
/// # Panics
/// With messages of lines.
pub fn decode_series_messages(
    messages: Messages<'_>,
    options: &SeriesOptions,
    out: &mut SeriesBatch,
) -> Taken {
    let form = messages.batch.format.series_form().expect("lines are decoded as lines");
    out.begin(form, options);
    out.map = messages.batch.format.map().cloned();
    out.schemas = messages.batch.format.schemas().cloned();
    let map = messages.batch.format.map().map(Arc::as_ref);
    let bytes = messages.batch.bytes();
    let is_utf8 = !form.is_text() || std::str::from_utf8(bytes).is_ok();
    let mut taken = Taken::default();
    let mut state = Decoders {
        json: JsonMessages::new(),
        records: RecordMessages::new(messages.batch.format.schemas().map(Arc::as_ref)),
    };
    for (number, message) in messages.iter() {
        if out.rows() >= SAMPLES_ENOUGH || out.errors().is_full() {
            break;
        }
        let refused = out.errors().total();
        let (items, rows) = (out.items(), out.rows());
        let text = bytes.get(message.range()).unwrap_or_default();
        if form == SeriesForm::Record && !state.records.is_ready(text) {
            break;
        }
        let decoded = if message.is_too_long {
            Err(ItemReason::MessageTooLong.into())
        } else if text.is_empty() {
            Err(ItemReason::BadMessage.into())
        } else if !is_utf8 && std::str::from_utf8(text).is_err() {
            Err(ItemReason::NotUtf8.into())
        } else {
            let one = one(bytes, number, message, map);
            decode_one(&one, form, (options, &mut state), out).and_then(|()| {
                let labels = message.labels.span();
                Ok(out.add_labels(items, labels, (bytes, options.key_seed))?)
            })
        };
        if let Err(refused) = decoded {
            out.retract_items(items, rows);
            out.errors_mut().push_at(number, refused);
        }
        taken.note(number, out.errors().total() > refused);
    }
    taken
}

/// What decoders remember from message to message.
struct Decoders<'a> {
    json: JsonMessages,
    records: RecordMessages<'a>,
}

/// A message that is being decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct One<'a> {
    /// The batch's bytes up to the message's end.
    pub(crate) bytes: &'a [u8],
    /// Where its payload begins.
    pub(crate) start: usize,
    /// Where its key stands, if it has one that is kept.
    pub(crate) key: Option<Span>,
    /// When it was sent, if it says so.
    pub(crate) time: Option<EventTime>,
    /// Its place in the batch.
    pub(crate) number: u32,
    /// Where its objects have what counts.
    pub(crate) map: Option<&'a JsonMap>,
}

fn one<'a>(bytes: &'a [u8], number: u32, message: &Message, map: Option<&'a JsonMap>) -> One<'a> {
    One {
        map,
        bytes: bytes.get(..message.payload.end).unwrap_or_default(),
        start: message.payload.start,
        key: message.key.map(Piece::span),
        time: message.time,
        number,
    }
}

fn decode_one(
    message: &One<'_>,
    form: SeriesForm,
    (options, state): (&SeriesOptions, &mut Decoders<'_>),
    out: &mut SeriesBatch,
) -> Result<(), Refused> {
    match form {
        SeriesForm::JsonLines | SeriesForm::Luminate => state.json.decode(message, options, out)?,
        SeriesForm::MappedJson => {
            let map = message.map.expect("messages of this form have a map");
            json::decode_mapped_message(message, map, options, out)?;
        }
        SeriesForm::Record => state.records.decode(message, options, out)?,
        SeriesForm::Otlp => otlp::decode_message(message, options, out)?,
        SeriesForm::Number => number_message::decode_message(message, options, out)?,
        SeriesForm::RemoteWrite1 | SeriesForm::RemoteWrite2 => {
            let samples_max = out.rows().saturating_add(options.samples_max);
            let options = SeriesOptions { samples_max, ..*options };
            v1::decode_message(message, &options, out).map_err(|error| match error {
                SeriesError::TooManySamples { .. } => ItemReason::TooManySamples,
                _ => ItemReason::BadMessage,
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
