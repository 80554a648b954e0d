//! What a checkpoint says: where each slot's state lies, and what is in force beside it.
//!
//! `checkpoints/checkpoint-<number>.index`:
//! ```text
//! magic "TWCHKPT\0", format u32, payload u32 length and bytes, crc32c u32 of all before
//! payload:
//!   number u64, operators u32, replay_from u64
//!   256 x slot: lsn u64, offset u64, bytes u32, crc32c u32, series u32, state hash u64, output hash 3 x u64
//!   log position: lsn u64, rows u64, hashed_rows u64, tick i64
//!   start in force: lsn u64, payload of its record (blob)
//!   outbox lsn u64
//!   undelivered transitions u32, each: lsn u64, times 3 x i64, the transition (as in its record)
//!   sinks u32, each: name text, since lsn u64, undelivered u32, each: index in the list above u32
//!   manifest u64 (since format 2)
//!   offsets u32 (since format 3), each: see `sources/stored.rs`, with ranges since format 5
//!   windows u8: 0 = nothing is counted; 1 = as a slot, of the windows after the tick lsn (since format 4)
//!   feeds u32 (since format 6), each: see `feeds/entry.rs`
//! ```

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{Lsn, UnixNanos};
use tidewatch_operators::OutputHash;
use tidewatch_sinks::Message;

use crate::committer::LogPosition;
use crate::feeds::FeedEntry;
use crate::record::{KIND_START, LogRecord, StartRecord, decode, put_told, take_told};
use crate::sources::StoredOffsets;

/// The format of checkpoints that this release writes.
pub(crate) const CHECKPOINT_FORMAT: u32 = 6;
/// The first format that tells how far sources are stored.
const FORMAT_WITH_OFFSETS: u32 = 3;
/// The format that does not tell the version of the manifest.
const FORMAT_WITHOUT_MANIFEST: u32 = 1;
/// The first format that tells which ranges of them are stored.
const FORMAT_WITH_RANGES: u32 = 5;
/// The first format with feeds.
const FORMAT_WITH_FEEDS: u32 = 6;
/// The first format with windows.
const FORMAT_WITH_WINDOWS: u32 = 4;
const MAGIC: &[u8; 8] = b"TWCHKPT\0";

/// One checkpoint: every slot at its own record of the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckpointIndex {
    /// Checkpoints are numbered in the order in which they were made.
    pub(crate) number: u64,
    /// The version of the operators whose state it is.
    pub(crate) operators: u32,
    /// The first record that a start from here reads.
    pub(crate) replay_from: Lsn,
    /// By slot.
    pub(crate) slots: Vec<SlotEntry>,
    /// What the log held up to a record.
    pub(crate) position: (Lsn, LogPosition),
    /// The start whose rules are in force, and its record.
    pub(crate) start: (Lsn, StartRecord),
    /// The outbox as it was after a record.
    pub(crate) outbox: OutboxEntry,
    /// The version of the manifest that names all files that the checkpoint relies on; 0 where an
    /// earlier release did not tell.
    pub(crate) manifest: u64,
    /// How far sources are stored by records up to the position, or later ones.
    pub(crate) offsets: Vec<StoredOffsets>,
    /// The windows of percentiles as they were after a tick behind all slots, where any are counted: where they lie in the
    /// file of slots, their number and hash.
    pub(crate) windows: Option<SlotEntry>,
    /// What waits for topics, of what slots, windows and letters have put out.
    pub(crate) feeds: Vec<FeedEntry>,
}

/// One slot's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotEntry {
    /// The last record whose rows of the slot are in the state.
    pub(crate) lsn: Lsn,
    /// Where in the file of slots it begins.
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
    pub(crate) crc32c: u32,
    /// Series in it.
    pub(crate) series: u32,
    pub(crate) state_hash: u64,
    /// What the operators had put out for the slot's series.
    pub(crate) output: OutputHash,
}

/// Transitions on their way out, as they were after the record `lsn`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct OutboxEntry {
    pub(crate) lsn: Lsn,
    /// Transitions that some sink has not finished, with their records, in the log's order.
    pub(crate) undelivered: Vec<(Lsn, Message)>,
    pub(crate) sinks: Vec<SinkEntry>,
}

/// One sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SinkEntry {
    pub(crate) name: String,
    /// The start since which the sink has been configured without a break.
    pub(crate) since: Lsn,
    /// Indices into [`OutboxEntry::undelivered`].
    pub(crate) undelivered: Vec<u32>,
}

/// Why a file is no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadIndex {
    /// It was written by a later release.
    Newer(u32),
    /// What is wrong with it.
    Damaged(&'static str),
}

impl CheckpointIndex {
    /// The least record up to which a slot's state reaches.
    pub(crate) fn least_lsn(&self) -> Lsn {
        self.slots.iter().map(|slot| slot.lsn).min().unwrap_or_default()
    }

    /// The greatest record up to which a slot's state reaches.
    pub(crate) fn greatest_lsn(&self) -> Lsn {
        self.slots.iter().map(|slot| slot.lsn).max().unwrap_or_default()
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut payload = FieldWriter::default();
        payload.u64(self.number);
        payload.u32(self.operators);
        payload.u64(self.replay_from.get());
        for slot in &self.slots {
            slot.put(&mut payload);
        }
        let (lsn, position) = self.position;
        for number in [lsn.get(), position.rows, position.hashed_rows] {
            payload.u64(number);
        }
        payload.i64(position.tick.nanos());
        payload.u64(self.start.0.get());
        payload.blob(&self.start.1.encode());
        self.outbox.put(&mut payload);
        payload.u64(self.manifest);
        payload.count(self.offsets.len());
        self.offsets.iter().for_each(|stored| stored.put(&mut payload));
        payload.u8(u8::from(self.windows.is_some()));
        if let Some(windows) = &self.windows {
            windows.put(&mut payload);
        }
        payload.count(self.feeds.len());
        self.feeds.iter().for_each(|feed| feed.put(&mut payload));
        let mut out = FieldWriter::default();
        out.u64(u64::from_le_bytes(*MAGIC));
        out.u32(CHECKPOINT_FORMAT);
        out.blob(&payload.into_bytes());
        let mut bytes = out.into_bytes();
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a file's bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadIndex> {
        let (checked, crc) = bytes.split_last_chunk::<4>().ok_or(BadIndex::Damaged("it is cut"))?;
        let mut fields = FieldReader::new(checked);
        if fields.slice(MAGIC.len()) != Some(MAGIC) {
            return Err(BadIndex::Damaged("it does not begin like a checkpoint"));
        }
        let format = fields.u32().ok_or(BadIndex::Damaged("it is cut"))?;
        if crc32c::crc32c(checked) != u32::from_le_bytes(*crc) {
            return Err(BadIndex::Damaged("its checksum does not match"));
        }
        if !(FORMAT_WITHOUT_MANIFEST..=CHECKPOINT_FORMAT).contains(&format) {
            return Err(BadIndex::Newer(format));
        }
        let payload = fields.blob().ok_or(BadIndex::Damaged("it is cut"))?;
        let read = Self::read(&mut FieldReader::new(payload), format);
        fields.end().and(read).ok_or(BadIndex::Damaged("its fields do not have their form"))
    }

    fn read(fields: &mut FieldReader<'_>, format: u32) -> Option<Self> {
        let (number, operators) = (fields.u64()?, fields.u32()?);
        let replay_from = Lsn::new(fields.u64()?);
        let slots = (0..SLOTS).map(|_| SlotEntry::take(fields)).collect::<Option<_>>()?;
        let lsn = Lsn::new(fields.u64()?);
        let position = LogPosition {
            rows: fields.u64()?,
            hashed_rows: fields.u64()?,
            tick: UnixNanos::new(fields.i64()?),
        };
        let start_lsn = Lsn::new(fields.u64()?);
        let LogRecord::Start(start) = decode(KIND_START, fields.blob()?)? else { return None };
        let outbox = OutboxEntry::take(fields)?;
        let manifest = if format == FORMAT_WITHOUT_MANIFEST { 0 } else { fields.u64()? };
        let mut offsets = Vec::new();
        if format >= FORMAT_WITH_OFFSETS {
            for _ in 0..fields.count()? {
                let has_ranges = format >= FORMAT_WITH_RANGES;
                let take = if has_ranges { StoredOffsets::take } else { StoredOffsets::take_end };
                offsets.push(take(fields)?);
            }
        }
        let windows = if format >= FORMAT_WITH_WINDOWS {
            match fields.u8()? {
                0 => None,
                1 => Some(SlotEntry::take(fields)?),
                _ => return None,
            }
        } else {
            None
        };
        let mut feeds = Vec::new();
        if format >= FORMAT_WITH_FEEDS {
            for _ in 0..fields.count()? {
                feeds.push(FeedEntry::take(fields)?);
            }
        }
        fields.end()?;
        Some(Self {
            number,
            operators,
            replay_from,
            slots,
            position: (lsn, position),
            start: (start_lsn, start),
            outbox,
            manifest,
            offsets,
            windows,
            feeds,
        })
    }
}

impl SlotEntry {
    fn put(&self, out: &mut FieldWriter) {
        out.u64(self.lsn.get());
        out.u64(self.offset);
        for number in [self.bytes, self.crc32c, self.series] {
            out.u32(number);
        }
        out.u64(self.state_hash);
        for number in [self.output.samples, self.output.severities, self.output.alerts] {
            out.u64(number);
        }
    }

    fn take(fields: &mut FieldReader<'_>) -> Option<Self> {
        Some(Self {
            lsn: Lsn::new(fields.u64()?),
            offset: fields.u64()?,
            bytes: fields.u32()?,
            crc32c: fields.u32()?,
            series: fields.u32()?,
            state_hash: fields.u64()?,
            output: OutputHash {
                samples: fields.u64()?,
                severities: fields.u64()?,
                alerts: fields.u64()?,
            },
        })
    }
}

impl OutboxEntry {
    fn put(&self, out: &mut FieldWriter) {
        out.u64(self.lsn.get());
        out.count(self.undelivered.len());
        for (lsn, message) in &self.undelivered {
            out.u64(lsn.get());
            put_told(out, message.times, &message.transition);
        }
        out.count(self.sinks.len());
        for sink in &self.sinks {
            out.text(&sink.name);
            out.u64(sink.since.get());
            out.count(sink.undelivered.len());
            for index in &sink.undelivered {
                out.u32(*index);
            }
        }
    }

    fn take(fields: &mut FieldReader<'_>) -> Option<Self> {
        let lsn = Lsn::new(fields.u64()?);
        let mut undelivered = Vec::new();
        for _ in 0..fields.count()? {
            let lsn = Lsn::new(fields.u64()?);
            let (times, transition) = take_told(fields)?;
            undelivered.push((lsn, Message { transition, times }));
        }
        let mut sinks = Vec::new();
        for _ in 0..fields.count()? {
            let (name, since) = (fields.text()?, Lsn::new(fields.u64()?));
            let mut open = Vec::new();
            for _ in 0..fields.count()? {
                let index = fields.u32()?;
                undelivered.get(usize::try_from(index).ok()?)?;
                open.push(index);
            }
            sinks.push(SinkEntry { name, since, undelivered: open });
        }
        Some(Self { lsn, undelivered, sinks })
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
pub(super) mod tests;
