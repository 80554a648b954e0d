//! What a clock shows.

use tidewatch_metrics::EventTime;

/// What the clocks of a time zone show: nanoseconds since 1970-01-01T00:00 there.
///
/// It goes back where clocks are set back, and leaves out what they are set forward over. So it says which hour of the day
/// and of the week it is, and nothing of order or distance. Times within a day of the ends of 64 bits stay at the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalTime(i64);

impl LocalTime {
    /// By the clock of UTC.
    #[inline]
    pub(crate) fn utc(time: EventTime) -> Self {
        Self(time.nanos())
    }

    /// By a clock that is ahead of UTC by `offset` nanoseconds.
    #[inline]
    pub(crate) fn ahead(time: EventTime, offset: i64) -> Self {
        Self(time.nanos().saturating_add(offset))
    }

    #[inline]
    pub(crate) fn nanos(self) -> i64 {
        self.0
    }
}
