//! One time zone.

use std::fmt;
use std::sync::Arc;

use tidewatch_metrics::EventTime;
use tidewatch_metrics::time::NANOS_PER_SECOND;

use crate::limits::{TIME_ZONE_CHANGES_MAX, TIME_ZONE_NAME_BYTES_MAX};
use crate::time_zone::LocalTime;

/// Seconds of a day: no clock is further from UTC.
const DAY: i64 = 86_400;

/// A time zone: its name, and when its clocks are by how much ahead of UTC. The default is UTC.
///
/// Two are equal where name and offsets are. A clone costs a count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeZone(Option<Arc<Table>>);

/// Offset `i` holds from change `i - 1` on until change `i`.
///
/// Invariant: one offset more than changes, and at least one that is not 0; changes ascend; offsets that follow each other
/// differ, and are less than a day. All are nanoseconds.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    name: Box<str>,
    changes: Box<[i64]>,
    offsets: Box<[i64]>,
}

impl TimeZone {
    /// Clocks that show UTC.
    pub const UTC: Self = Self(None);

    /// A zone whose clocks are `first` seconds ahead of UTC, and from each change on, which is a time in seconds, by
    /// its offset. UTC, whatever the name, where that is 0 for ever; `None` where it is no zone.
    pub(crate) fn of_table(name: &str, first: i64, changes: &[(i64, i64)]) -> Option<Self> {
        let is_name = (1..=TIME_ZONE_NAME_BYTES_MAX).contains(&name.len());
        if !is_name || changes.len() > TIME_ZONE_CHANGES_MAX {
            return None;
        }
        let offsets = || std::iter::once(first).chain(changes.iter().map(|(_, offset)| *offset));
        let changed = changes.iter().zip(offsets()).all(|((_, to), from)| *to != from);
        let ascends = changes.is_sorted_by(|a, b| a.0 < b.0);
        if !changed || !ascends || offsets().any(|offset| offset.abs() >= DAY) {
            return None;
        }
        if changes.is_empty() && first == 0 {
            return Some(Self::UTC);
        }
        let nanos = |seconds: i64| seconds.checked_mul(NANOS_PER_SECOND);
        let name = name.into();
        let changes = changes.iter().map(|(at, _)| nanos(*at)).collect::<Option<_>>()?;
        let offsets = offsets().map(nanos).collect::<Option<_>>()?;
        Some(Self(Some(Arc::new(Table { name, changes, offsets }))))
    }

    /// Its name in the IANA database.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("UTC", |table| &table.name)
    }

    /// Whether its clocks show UTC.
    #[must_use]
    pub fn is_utc(&self) -> bool {
        self.0.is_none()
    }

    /// Whether it is another place whose clocks show other times: what is known of hours of the one says nothing of the
    /// other's. The same name with other offsets is the same place, of which more has become known.
    pub(crate) fn is_elsewhere(&self, other: &Self) -> bool {
        self.name() != other.name() && self.offsets() != other.offsets()
    }

    /// The time that its clocks show.
    #[inline]
    pub(crate) fn local(&self, time: EventTime) -> LocalTime {
        match &self.0 {
            None => LocalTime::utc(time),
            Some(table) => LocalTime::ahead(time, table.offset(time)),
        }
    }

    /// Its first offset, and from when on it has which other one, in seconds.
    pub(crate) fn table(&self) -> (i64, impl Iterator<Item = (i64, i64)>) {
        let (changes, offsets) = self.offsets();
        let seconds = |nanos: &i64| nanos / NANOS_PER_SECOND;
        let later = changes.iter().zip(offsets.iter().skip(1));
        let later = later.map(move |(at, offset)| (seconds(at), seconds(offset)));
        (offsets.first().map_or(0, seconds), later)
    }

    fn offsets(&self) -> (&[i64], &[i64]) {
        self.0.as_ref().map_or((&[], &[0]), |table| (&table.changes, &table.offsets))
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Table {
    #[inline]
    fn offset(&self, time: EventTime) -> i64 {
        self.offsets[self.changes.partition_point(|at| *at <= time.nanos())]
    }
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
