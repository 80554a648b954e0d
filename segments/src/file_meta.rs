//! What the manifest and a segment's footer say about files.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use tidewatch_metrics::{EventTime, Lsn, Slot, UnixNanos};

use crate::footer::SegmentInfo;
use crate::late_hours::LateHours;
use crate::slot_set::SlotSet;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A segment: samples.
    Samples,
    /// Names of series.
    Series,
    /// Transitions of alerts.
    Alerts,
    /// Attempts to deliver transitions.
    Deliveries,
    /// Idempotency keys of requests.
    Keys,
    /// Windows of percentiles.
    Percentiles,
    /// Messages of which something was refused.
    DeadLetters,
    /// What was done with such messages.
    LetterMarks,
}

impl FileKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Samples,
        Self::Series,
        Self::Alerts,
        Self::Deliveries,
        Self::Keys,
        Self::Percentiles,
        Self::DeadLetters,
        Self::LetterMarks,
    ];

    /// The name in file names and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Series => "series",
            Self::Alerts => "alerts",
            Self::Deliveries => "deliveries",
            Self::Keys => "keys",
            Self::Percentiles => "percentiles",
            Self::DeadLetters => "dead_letters",
            Self::LetterMarks => "letter_marks",
        }
    }
}

/// A file that the manifest names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// What the file holds.
    pub kind: FileKind,
    /// The file's name in the directory of segments.
    pub file: String,
    /// Length of the file.
    pub bytes: u64,
    /// Checksum of the whole file.
    pub crc32c: u32,
    /// Where the footer begins: all that follows the last row group.
    pub footer_offset: u64,
    /// Checksum of the footer.
    pub footer_crc32c: u32,
    /// Rows in the file.
    pub rows: u64,
    /// Rows of them that are flagged late.
    pub late_rows: u64,
    /// Hours that hold late rows.
    pub late_hours: LateHours,
    /// Earliest event time; of deliveries the earliest start, of keys the log's time, of letters when
    /// they came. 0 in a file of series or of marks.
    #[serde(with = "event_time")]
    pub time_min: EventTime,
    /// Latest event time; of deliveries the latest start, of keys the log's time, of letters when they
    /// came. 0 in a file of series or of marks.
    #[serde(with = "event_time")]
    pub time_max: EventTime,
    /// The record of the earliest row.
    #[serde(with = "lsn")]
    pub first_lsn: Lsn,
    /// Rows of the file belong to records up to this one.
    #[serde(with = "lsn")]
    pub last_lsn: Lsn,
    /// Slots whose rows up to `last_lsn` are in this file or earlier ones; empty unless samples.
    pub slots: SlotSet,
    /// Merges that the rows have been through: 0 after a flush.
    #[serde(default)]
    pub tier: u8,
    /// The log's time when the file was written.
    #[serde(default, with = "unix_nanos")]
    pub written: UnixNanos,
    /// Where the slots of a merge end at different records: which ones end where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<FlushedSlots>,
    /// Rows of the records that are not in the file any more: deleted, or expired.
    #[serde(default)]
    pub rows_erased: u64,
    /// Rows that deletes up to this record hide are not in the file.
    #[serde(default, with = "lsn")]
    pub deletes_lsn: Lsn,
    /// The retention that the file's rows have been through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained: Option<Retained>,
    /// Rows of the segment's rollup; 0 where it has none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rollup_rows: u64,
}

/// The rows of these slots are in files up to this record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushedSlots {
    /// The record.
    #[serde(with = "lsn")]
    pub lsn: Lsn,
    /// The slots.
    pub slots: SlotSet,
}

/// A file without the rows that had expired at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// The log's time of that moment.
    #[serde(with = "unix_nanos")]
    pub at: UnixNanos,
    /// Hash of the rules by which they expired.
    pub rules: u64,
}

impl FileMeta {
    /// An empty file of this kind without a name.
    pub(crate) fn of(kind: FileKind) -> Self {
        Self {
            kind,
            file: String::new(),
            bytes: 0,
            crc32c: 0,
            footer_offset: 0,
            footer_crc32c: 0,
            rows: 0,
            late_rows: 0,
            late_hours: LateHours::NONE,
            time_min: EventTime::default(),
            time_max: EventTime::default(),
            first_lsn: Lsn::ZERO,
            last_lsn: Lsn::ZERO,
            slots: SlotSet::default(),
            tier: 0,
            written: UnixNanos::default(),
            ends: Vec::new(),
            rows_erased: 0,
            deletes_lsn: Lsn::ZERO,
            retained: None,
            rollup_rows: 0,
        }
    }

    /// A segment of these row groups, without the file's name, length and checksums.
    pub(crate) fn of_groups(
        info: &SegmentInfo,
        groups: &[RowGroupMeta],
        late_hours: LateHours,
    ) -> Self {
        Self {
            rows: groups.iter().map(|group| group.rows).sum(),
            late_rows: groups.iter().map(|group| group.late_rows).sum(),
            late_hours,
            time_min: groups.iter().map(|group| group.time_min).min().unwrap_or_default(),
            time_max: groups.iter().map(|group| group.time_max).max().unwrap_or_default(),
            first_lsn: info.first_lsn,
            last_lsn: info.last_lsn,
            slots: info.slots,
            ..Self::of(FileKind::Samples)
        }
    }

    /// Whether rows of the file may lie in `times`.
    #[must_use]
    pub fn overlaps(&self, times: &RangeInclusive<EventTime>) -> bool {
        self.time_min <= *times.end() && *times.start() <= self.time_max
    }

    /// Up to which record rows of a slot are in this file; `None` where it is not one of its slots.
    pub fn end_of(&self, slot: Slot) -> Option<Lsn> {
        let end = self.ends.iter().find(|end| end.slots.contains(slot)).map(|end| end.lsn);
        end.or_else(|| self.slots.contains(slot).then_some(self.last_lsn))
    }
}

/// A metric by its names; in the order in which segments hold metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MetricName {
    /// The database.
    pub db: String,
    /// The metric's name.
    pub metric: String,
}

/// A row group of a segment, as the key `tidewatch.row_groups` of the footer tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowGroupMeta {
    /// Rows in the group.
    pub rows: u64,
    /// Where the group's bytes begin in the file; the first group's include the magic number.
    pub offset: u64,
    /// Length of the group.
    pub bytes: u64,
    /// Checksum of the group's bytes.
    pub crc32c: u32,
    /// The metric of the first row.
    pub first: MetricName,
    /// The metric of the last row.
    pub last: MetricName,
    /// Earliest event time.
    #[serde(with = "event_time")]
    pub time_min: EventTime,
    /// Latest event time.
    #[serde(with = "event_time")]
    pub time_max: EventTime,
    /// Rows that are flagged late.
    pub late_rows: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

pub(crate) mod lsn {
    use serde::{Deserialize, Deserializer, Serializer};
    use tidewatch_metrics::Lsn;

    pub(crate) fn serialize<S: Serializer>(lsn: &Lsn, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(lsn.get())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Lsn, D::Error> {
        u64::deserialize(from).map(Lsn::new)
    }
}

mod unix_nanos {
    use serde::{Deserialize, Deserializer, Serializer};
    use tidewatch_metrics::UnixNanos;

    pub(crate) fn serialize<S: Serializer>(time: &UnixNanos, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.nanos())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<UnixNanos, D::Error> {
        i64::deserialize(from).map(UnixNanos::new)
    }
}

pub(crate) mod event_time {
    use serde::{Deserialize, Deserializer, Serializer};
    use tidewatch_metrics::EventTime;

    pub(crate) fn serialize<S: Serializer>(time: &EventTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.nanos())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<EventTime, D::Error> {
        i64::deserialize(from).map(EventTime::new)
    }
}
