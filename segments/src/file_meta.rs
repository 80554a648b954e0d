//! What the manifest and a segment's footer say about files.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use tidewatch_metrics::{EventTime, Lsn};

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
}

impl FileKind {
    /// The name in file names and listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Series => "series",
            Self::Alerts => "alerts",
            Self::Deliveries => "deliveries",
            Self::Keys => "keys",
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
    /// Earliest event time; of deliveries the earliest start, of keys the log's time. 0 in a file of series.
    #[serde(with = "event_time")]
    pub time_min: EventTime,
    /// Latest event time; of deliveries the latest start, of keys the log's time. 0 in a file of series.
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
}

impl FileMeta {
    /// Whether rows of the file may lie in `times`.
    #[must_use]
    pub fn overlaps(&self, times: &RangeInclusive<EventTime>) -> bool {
        self.time_min <= *times.end() && *times.start() <= self.time_max
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

mod event_time {
    use serde::{Deserialize, Deserializer, Serializer};
    use tidewatch_metrics::EventTime;

    pub(crate) fn serialize<S: Serializer>(time: &EventTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.nanos())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<EventTime, D::Error> {
        i64::deserialize(from).map(EventTime::new)
    }
}
