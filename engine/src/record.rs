//! What the log's payloads mean. The log itself does not know.
//!
//! All numbers are little-endian; `text` is u32 length and UTF-8 bytes. Kinds:
//! ```text
//! 16 samples       received i64
//!                  registrations u32, each: ref u32, measurement_bytes u16, u32 length, canonical form
//!                  parts u32, each:
//!                    rows u32, runs u32 (0 = one time per row)
//!                    per run: rows u32, time i64        or, without runs, per row: time i64
//!                    per row: ref u32;  per row: value f64
//! 17 start         version text, operators u32, time i64, alerts_max_age i64, rules text,
//!                  sinks u32, each: text
//! 18 tick          time i64, rows u64 (samples in the log before it), hashed u8
//! 19 transition    cause LSN u64, times 3 x i64 (durable, scored, fired), the transition (see `put_transition`)
//! 20 delivery      key u128, kind u8, sink text, attempt u32, outcome text, status u16 (0 = none),
//!                  started i64, finished i64, error text
//! 21 output hash   at LSN u64, samples u64, severities u64, alerts u64
//! 22 checkpoint    number u64, 256 x: slot's LSN u64, state hash u64, output hash 3 x u64
//! 23 delete        received i64, database text, metric text, from i64, to i64
//! 24 keyed samples  db text, key text, request u128, u32 length, answer, then as 16
//! 25 sourced samples  source text, topic text, partition u32, topic id u128, first u64, last u64, then as 16,
//!                     then letters, if there are any (see `letters`)
//! 26 ended letters  marks (see `letters`), then as 16
//! 27 feed          how far it is acknowledged (see `feeds`)
//! 28 primed        states u32, each: ref u32, u32 length, what a detector has learnt from stored rows
//! ```

use std::sync::Arc;

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{
    AlertKey, AnomalyKind, Channel, EventTime, GroupId, Lsn, SampleBatch, SeriesId, SeriesKey,
    SeriesRef, Severity, Subject, Transition, TransitionKind, TransitionTimes, UnixNanos,
};
use tidewatch_operators::OutputHash;
use tidewatch_segments::{DeliveryRow, Letter, LetterMark, RequestKey};

use crate::checkpoint::CheckpointRecord;
use crate::deletes::DeleteRecord;
use crate::feeds::FeedNote;
use crate::idempotency::{StoredAnswer, is_key};
use crate::letters::{put_letters, put_marks, take_letters, take_marks};
use crate::priming::PrimedRecord;
use crate::sources::SourceOffsets;

/// Samples of one request.
pub const KIND_SAMPLES: u8 = 16;
/// A start of the engine and the configuration that is in force from here on.
pub const KIND_START: u8 = 17;
/// Log time.
pub const KIND_TICK: u8 = 18;
/// A transition that the rules put out.
pub const KIND_TRANSITION: u8 = 19;
/// An attempt to deliver a transition.
pub const KIND_DELIVERY: u8 = 20;
/// What the operators had put out at a tick.
pub const KIND_OUTPUT_HASH: u8 = 21;
/// The hashes of a checkpoint's slots.
pub const KIND_CHECKPOINT: u8 = 22;
/// A metric's rows of a range of times go.
pub const KIND_DELETE: u8 = 23;
/// Samples of one request with its idempotency key.
pub const KIND_KEYED_SAMPLES: u8 = 24;
/// Samples of consecutive messages of a source's partition, with their offsets and the bad ones among them.
pub const KIND_SOURCED_SAMPLES: u8 = 25;
/// Letters that have come to their end, and their samples.
pub const KIND_ENDED_LETTERS: u8 = 26;
/// How far a feed is acknowledged.
pub const KIND_FEED: u8 = 27;
/// What detectors have learnt from stored rows.
pub const KIND_PRIMED: u8 = 28;

/// Marks of a transition: it is too old to be delivered; it is of a group, and not of a series.
const HISTORICAL: u8 = 1;
const OF_GROUP: u8 = 2;
/// The kind of the anomaly is in the upper half of the marks.
const KIND_SHIFT: u8 = 4;

/// A record, decoded.
#[derive(Debug)]
pub enum LogRecord {
    /// Samples of one request, with its idempotency key or without, or of messages of a source.
    Samples(SamplesRecord),
    /// A start and its configuration.
    Start(StartRecord),
    /// Log time.
    Tick(TickRecord),
    /// A transition.
    Transition(Box<TransitionRecord>),
    /// An attempt to deliver.
    Delivery(DeliveryRow),
    /// The hash of what was put out.
    OutputHash(OutputHashRecord),
    /// A checkpoint.
    Checkpoint(CheckpointRecord),
    /// A delete.
    Delete(DeleteRecord),
    /// How far a feed is acknowledged.
    Feed(FeedNote),
    /// What detectors have learnt from stored rows.
    Primed(PrimedRecord),
}

/// Samples of one request, with the registrations of series that no earlier record holds.
#[derive(Debug)]
pub struct SamplesRecord {
    /// The request's idempotency key, if it had one.
    pub key: Option<Arc<RequestKey>>,
    /// The messages that the samples come from, if they come from a source.
    pub source: Option<SourceOffsets>,
    /// Those of the messages of which something was refused.
    pub letters: Vec<Letter>,
    /// The letters that the samples come from, if they come from any, and those that were dropped.
    pub marks: Vec<LetterMark>,
    /// When the request was received.
    pub received: UnixNanos,
    /// Series that are new to the log.
    pub registrations: Vec<(SeriesRef, SeriesKey)>,
    /// The rows, in the parts that ingest made.
    pub parts: Vec<SampleBatch>,
}

/// A start of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRecord {
    /// The program's version.
    pub version: String,
    /// The version of the operators: replays compare only where it is equal.
    pub operators: u32,
    /// When it started.
    pub time: UnixNanos,
    /// Alerts whose event is older than this at reception are historical.
    pub alerts_max_age_nanos: i64,
    /// The rules' canonical text.
    pub rules: String,
    /// Names of the sinks.
    pub sinks: Vec<String>,
}

/// Log time: the only clock that operators have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickRecord {
    /// The machine's time when the tick was appended, never less than an earlier tick's.
    pub time: UnixNanos,
    /// Samples in the log before this tick.
    pub rows: u64,
    /// Whether an output hash of this tick follows later in the log.
    pub hashed: bool,
}

/// A transition with the times at which the engine had it in hand.
#[derive(Clone, Debug, PartialEq)]
pub struct TransitionRecord {
    /// The record whose samples caused it.
    pub cause: Lsn,
    /// Processing times.
    pub times: TransitionTimes,
    /// What replay reproduces.
    pub transition: Transition,
}

/// What the operators had put out when all shards had passed a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputHashRecord {
    /// The tick.
    pub at: Lsn,
    /// The hash.
    pub hash: OutputHash,
}

/// What a record of samples begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplesHead<'a> {
    /// Nothing.
    Plain,
    /// An idempotency key.
    Key(&'a RequestKey),
    /// Offsets of messages; the letters stand at the end.
    Source(&'a SourceOffsets, &'a [Letter]),
    /// What becomes of letters.
    Letters(&'a [LetterMark]),
}

impl SamplesHead<'_> {
    /// The kind of the record.
    #[must_use]
    pub fn kind(self) -> u8 {
        match self {
            Self::Plain => KIND_SAMPLES,
            Self::Key(_) => KIND_KEYED_SAMPLES,
            Self::Source(..) => KIND_SOURCED_SAMPLES,
            Self::Letters(_) => KIND_ENDED_LETTERS,
        }
    }
}

/// Writes a samples record of `head`'s kind; `registrations` are the new series with their entries' bytes.
///
/// # Panics
/// With a name longer than the data model allows.
#[must_use]
pub fn encode_samples(
    head: SamplesHead<'_>,
    received: UnixNanos,
    registrations: &[(SeriesRef, usize, &[u8])],
    parts: &[&SampleBatch],
) -> Vec<u8> {
    let rows: usize = parts.iter().map(|part| part.len()).sum();
    let names: usize = registrations.iter().map(|(_, _, bytes)| bytes.len() + 16).sum();
    let keyed = match head {
        SamplesHead::Key(key) => 64 + key.db.len() + key.key.len() + key.answer.len(),
        SamplesHead::Source(_, letters) => letters.iter().map(Letter::size).sum(),
        SamplesHead::Letters(marks) => 4 + 17 * marks.len(),
        SamplesHead::Plain => 0,
    };
    let mut out = FieldWriter::with_capacity(64 + keyed + names + rows * 24);
    match head {
        SamplesHead::Plain => {}
        SamplesHead::Key(key) => {
            out.text(&key.db);
            out.text(&key.key);
            out.u128(key.request);
            out.blob(&key.answer);
        }
        SamplesHead::Source(offsets, _) => offsets.put(&mut out),
        SamplesHead::Letters(marks) => put_marks(&mut out, marks),
    }
    out.i64(received.nanos());
    out.count(registrations.len());
    for (series, measurement_bytes, canonical) in registrations {
        out.u32(series.0);
        out.u16(u16::try_from(*measurement_bytes).expect("names are shorter than 64 KiB"));
        out.blob(canonical);
    }
    out.count(parts.len());
    for part in parts {
        put_part(&mut out, part);
    }
    if let SamplesHead::Source(_, letters) = head {
        put_letters(&mut out, letters);
    }
    out.into_bytes()
}

fn put_part(out: &mut FieldWriter, part: &SampleBatch) {
    let times = part.times();
    let runs = 1 + times.windows(2).filter(|pair| pair[0] != pair[1]).count();
    out.count(part.len());
    if runs * 12 < times.len() * 8 && !times.is_empty() {
        out.count(runs);
        for run in times.chunk_by(|a, b| a == b) {
            out.count(run.len());
            out.i64(run.first().map_or(0, |time| time.nanos()));
        }
    } else {
        out.count(0);
        out.column(times.iter().map(|time| time.nanos().to_le_bytes()));
    }
    out.column(part.series().iter().map(|series| series.0.to_le_bytes()));
    out.column(part.values().iter().map(|value| value.to_bits().to_le_bytes()));
}

impl StartRecord {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = FieldWriter::default();
        out.text(&self.version);
        out.u32(self.operators);
        out.i64(self.time.nanos());
        out.i64(self.alerts_max_age_nanos);
        out.text(&self.rules);
        out.count(self.sinks.len());
        for sink in &self.sinks {
            out.text(sink);
        }
        out.into_bytes()
    }

    fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        Some(Self {
            version: fields.text()?,
            operators: fields.u32()?,
            time: UnixNanos::new(fields.i64()?),
            alerts_max_age_nanos: fields.i64()?,
            rules: fields.text()?,
            sinks: (0..fields.count()?).map(|_| fields.text()).collect::<Option<_>>()?,
        })
    }
}

impl TickRecord {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = FieldWriter::default();
        out.i64(self.time.nanos());
        out.u64(self.rows);
        out.u8(u8::from(self.hashed));
        out.into_bytes()
    }
}

impl TransitionRecord {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = FieldWriter::default();
        out.u64(self.cause.get());
        put_told(&mut out, self.times, &self.transition);
        out.into_bytes()
    }

    fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let cause = Lsn::new(fields.u64()?);
        let (times, transition) = take_told(fields)?;
        Some(Self { cause, times, transition })
    }
}

/// Appends a transition with the times at which the engine had it in hand.
pub(crate) fn put_told(out: &mut FieldWriter, times: TransitionTimes, transition: &Transition) {
    for time in [times.durable, times.scored, times.fired] {
        out.i64(time.nanos());
    }
    put_transition(out, transition);
}

/// Takes what [`put_told`] appended.
pub(crate) fn take_told(fields: &mut FieldReader<'_>) -> Option<(TransitionTimes, Transition)> {
    let mut time = || fields.i64().map(UnixNanos::new);
    let times = TransitionTimes { durable: time()?, scored: time()?, fired: time()? };
    Some((times, take_transition(fields)?))
}

fn put_transition(out: &mut FieldWriter, transition: &Transition) {
    out.u128(transition.key.0);
    out.u8(transition.kind.code());
    let (group, subject) = match transition.subject {
        Subject::Series(series) => (0, series.get()),
        Subject::Group(group) => (OF_GROUP, group.0),
    };
    let kind = transition.anomaly.code() << KIND_SHIFT;
    out.u8(if transition.historical { HISTORICAL } else { 0 } | group | kind);
    out.u8(transition.channel.code());
    out.u16(transition.severity.steps());
    out.u128(subject);
    out.i64(transition.onset.nanos());
    out.i64(transition.event.nanos());
    out.i64(transition.received.nanos());
    for number in [transition.value, transition.expected, transition.lower, transition.upper] {
        out.f64(number);
    }
    for text in [
        &transition.rule,
        &transition.rule_version,
        &transition.priority,
        &transition.db,
        &transition.metric,
        &transition.reason,
        &transition.sparkline,
    ] {
        out.text(text);
    }
    out.count(transition.labels.len());
    for (key, value) in &transition.labels {
        out.text(key);
        out.text(value);
    }
    if transition.kind == TransitionKind::Amended {
        out.u32(transition.revision);
    }
}

fn take_transition(fields: &mut FieldReader<'_>) -> Option<Transition> {
    let key = AlertKey(fields.u128()?);
    let kind = TransitionKind::from_code(fields.u8()?)?;
    let marks = fields.u8()?;
    let anomaly = AnomalyKind::from_code(marks >> KIND_SHIFT);
    if marks & !(HISTORICAL | OF_GROUP) != anomaly.code() << KIND_SHIFT {
        return None;
    }
    let channel = Channel::from_code(fields.u8()?);
    let severity = Severity::from_steps(fields.u16()?);
    let subject = fields.u128()?;
    let subject = match marks & OF_GROUP {
        0 => Subject::Series(SeriesId::new(subject)),
        _ => Subject::Group(GroupId(subject)),
    };
    let onset = EventTime::new(fields.i64()?);
    let event = EventTime::new(fields.i64()?);
    let received = UnixNanos::new(fields.i64()?);
    let (value, expected) = (fields.f64()?, fields.f64()?);
    let (lower, upper) = (fields.f64()?, fields.f64()?);
    let (rule, rule_version, priority) = (fields.text()?, fields.text()?, fields.text()?);
    let (db, metric) = (fields.text()?, fields.text()?);
    let (reason, sparkline) = (fields.text()?, fields.text()?);
    let mut labels = Vec::new();
    for _ in 0..fields.count()? {
        labels.push((fields.text()?, fields.text()?));
    }
    let revision = if kind == TransitionKind::Amended { fields.u32()? } else { 0 };
    Some(Transition {
        key,
        rule,
        rule_version,
        priority,
        subject,
        db,
        metric,
        labels,
        kind,
        revision,
        reason,
        historical: marks & HISTORICAL != 0,
        onset,
        event,
        severity,
        value,
        expected,
        lower,
        upper,
        channel,
        anomaly,
        received,
        sparkline,
    })
}

/// The payload of a delivery's record.
#[must_use]
pub fn encode_delivery(row: &DeliveryRow) -> Vec<u8> {
    let mut out = FieldWriter::default();
    out.u128(row.key.0);
    out.u8(row.transition.code());
    out.text(&row.sink);
    out.u32(row.attempt);
    out.text(&row.outcome);
    out.u16(row.status.unwrap_or(0));
    out.i64(row.started.nanos());
    out.i64(row.finished.nanos());
    out.text(&row.error);
    out.into_bytes()
}

fn take_delivery(fields: &mut FieldReader<'_>) -> Option<DeliveryRow> {
    Some(DeliveryRow {
        key: AlertKey(fields.u128()?),
        transition: TransitionKind::from_code(fields.u8()?)?,
        sink: fields.text()?,
        attempt: fields.u32()?,
        outcome: fields.text()?,
        status: Some(fields.u16()?).filter(|status| *status != 0),
        started: UnixNanos::new(fields.i64()?),
        finished: UnixNanos::new(fields.i64()?),
        error: fields.text()?,
    })
}

impl OutputHashRecord {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = FieldWriter::default();
        for number in [self.at.get(), self.hash.samples, self.hash.severities, self.hash.alerts] {
            out.u64(number);
        }
        out.into_bytes()
    }
}

/// Reads a record; `None` for an unknown kind or a payload that is not of its kind's form.
#[must_use]
pub fn decode(kind: u8, payload: &[u8]) -> Option<LogRecord> {
    let mut fields = FieldReader::new(payload);
    let record = match kind {
        KIND_SAMPLES => LogRecord::Samples(take_samples(&mut fields)?),
        KIND_KEYED_SAMPLES => {
            let key = take_key(&mut fields)?;
            let samples = take_samples(&mut fields)?;
            LogRecord::Samples(SamplesRecord { key: Some(Arc::new(key)), ..samples })
        }
        KIND_SOURCED_SAMPLES => {
            let source = SourceOffsets::take(&mut fields)?;
            let samples = take_samples(&mut fields)?;
            let letters = take_letters(&mut fields, &source)?;
            LogRecord::Samples(SamplesRecord { source: Some(source), letters, ..samples })
        }
        KIND_ENDED_LETTERS => {
            let marks = take_marks(&mut fields)?;
            let samples = take_samples(&mut fields)?;
            LogRecord::Samples(SamplesRecord { marks, ..samples })
        }
        KIND_START => LogRecord::Start(StartRecord::decode(&mut fields)?),
        KIND_TICK => LogRecord::Tick(TickRecord {
            time: UnixNanos::new(fields.i64()?),
            rows: fields.u64()?,
            hashed: fields.u8()? != 0,
        }),
        KIND_TRANSITION => LogRecord::Transition(Box::new(TransitionRecord::decode(&mut fields)?)),
        KIND_DELIVERY => LogRecord::Delivery(take_delivery(&mut fields)?),
        KIND_OUTPUT_HASH => LogRecord::OutputHash(OutputHashRecord {
            at: Lsn::new(fields.u64()?),
            hash: OutputHash {
                samples: fields.u64()?,
                severities: fields.u64()?,
                alerts: fields.u64()?,
            },
        }),
        KIND_CHECKPOINT => LogRecord::Checkpoint(CheckpointRecord::decode(&mut fields)?),
        KIND_DELETE => LogRecord::Delete(DeleteRecord::decode(&mut fields)?),
        KIND_FEED => LogRecord::Feed(FeedNote::decode(&mut fields)?),
        KIND_PRIMED => LogRecord::Primed(PrimedRecord::decode(&mut fields)?),
        _ => return None,
    };
    fields.end()?;
    Some(record)
}

fn take_key(fields: &mut FieldReader<'_>) -> Option<RequestKey> {
    let (db, key) = (fields.text()?, fields.text()?);
    let (request, answer) = (fields.u128()?, fields.blob()?);
    let is_good = is_key(&key) && StoredAnswer::decode(answer).is_some();
    let key = RequestKey { db: db.into(), key: key.into(), request, answer: answer.into() };
    is_good.then_some(key)
}

fn take_samples(fields: &mut FieldReader<'_>) -> Option<SamplesRecord> {
    let received = UnixNanos::new(fields.i64()?);
    let mut registrations = Vec::new();
    for _ in 0..fields.count()? {
        let series = SeriesRef(fields.u32()?);
        let measurement_bytes = usize::from(fields.u16()?);
        let key = SeriesKey::from_canonical(fields.blob()?, measurement_bytes)?;
        registrations.push((series, key));
    }
    let mut parts = Vec::new();
    for _ in 0..fields.count()? {
        parts.push(take_part(fields)?);
    }
    let (letters, marks) = (Vec::new(), Vec::new());
    Some(SamplesRecord { key: None, source: None, letters, marks, received, registrations, parts })
}

fn take_part(fields: &mut FieldReader<'_>) -> Option<SampleBatch> {
    let rows = fields.count()?;
    let runs = fields.count()?;
    let mut times = Vec::new();
    if runs == 0 {
        let column = fields.column::<8>(rows)?;
        times.extend(column.map(|time| EventTime::new(i64::from_le_bytes(time))));
    }
    for _ in 0..runs {
        let (length, time) = (fields.count()?, EventTime::new(fields.i64()?));
        let reached = times.len().checked_add(length).filter(|reached| *reached <= rows)?;
        times.resize(reached, time);
    }
    if times.len() != rows {
        return None;
    }
    let series = fields.column::<4>(rows)?.map(|x| SeriesRef(u32::from_le_bytes(x))).collect();
    let values = fields.column::<8>(rows)?.map(|x| f64::from_bits(u64::from_le_bytes(x))).collect();
    Some(SampleBatch::from_columns(series, times, values))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
