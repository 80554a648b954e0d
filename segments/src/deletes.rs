//! Deletes: they hide rows of earlier records until a merge leaves them out.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use tidewatch_metrics::{EventTime, Lsn};

use crate::file_meta::{FileMeta, MetricName, event_time, lsn};

/// Hides the rows of a metric and a range of event times that belong to records before its own.
///
/// Every head is frozen when its shard comes to the record. So rows of one file, or of one frozen
/// head, are all of earlier records or all of later ones, and the last record of a file tells which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// The record of the log.
    #[serde(with = "lsn")]
    pub lsn: Lsn,
    /// The metric.
    #[serde(flatten)]
    pub metric: MetricName,
    /// The earliest event time.
    #[serde(with = "event_time")]
    pub from: EventTime,
    /// The latest event time.
    #[serde(with = "event_time")]
    pub to: EventTime,
}

impl Delete {
    /// The event times whose rows are hidden.
    #[must_use]
    pub fn times(&self) -> RangeInclusive<EventTime> {
        self.from..=self.to
    }

    /// Whether rows of records up to `last` are hidden.
    #[must_use]
    pub fn reaches(&self, last: Lsn) -> bool {
        last <= self.lsn
    }

    /// Whether it may hide rows of the file that are still in it.
    #[must_use]
    pub fn applies_to(&self, file: &FileMeta) -> bool {
        self.reaches(file.last_lsn) && self.lsn > file.deletes_lsn && file.overlaps(&self.times())
    }
}
