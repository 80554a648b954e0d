//! Which hours a part of a scan takes.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tidewatch_metrics::EventTime;
use tidewatch_segments::LateHours;

use crate::scan::rolled::Rolled;

/// Nanoseconds of an hour.
pub(crate) const HOUR_NANOS: i64 = 3_600_000_000_000;

/// Which hours a part of a scan takes.
#[derive(Clone, Debug)]
pub(crate) enum Hours {
    /// All.
    All,
    /// All but these.
    Except(Arc<BTreeSet<i64>>),
    /// These.
    Only(Arc<BTreeSet<i64>>),
    /// These and all between them.
    Between(i64, i64),
    /// Those of the first two and all between them that a rollup does not answer, late ones excepted.
    Unrolled(i64, i64, Arc<Rolled>),
}

impl Hours {
    /// Whether the hour is taken.
    pub(crate) fn takes(&self, hour: i64) -> bool {
        match self {
            Self::All => true,
            Self::Except(hours) => !hours.contains(&hour),
            Self::Only(hours) => hours.contains(&hour),
            Self::Between(first, last) => (*first..=*last).contains(&hour),
            Self::Unrolled(_, _, rolled) => rolled.leaves(hour),
        }
    }

    /// Whether an hour that touches `times` may be taken.
    pub(crate) fn may_take(&self, times: &RangeInclusive<i64>) -> bool {
        let hour = |time| LateHours::hour_of(EventTime::new(time));
        let (first, last) = (hour(*times.start()), hour(*times.end()));
        match self {
            Self::All => true,
            Self::Only(hours) => first <= last && hours.range(first..=last).next().is_some(),
            Self::Between(from, to) => first.max(*from) <= last.min(*to),
            Self::Unrolled(from, to, rolled) => {
                let (first, last) = (first.max(*from), last.min(*to));
                first <= last && rolled.may_leave(first, last)
            }
            Self::Except(hours) => {
                let span = last.abs_diff(first).saturating_add(1);
                let missing = if first <= last { hours.range(first..=last).count() } else { 0 };
                span > missing as u64
            }
        }
    }
}

/// Tests times against a range and hours; remembers the last hour, as rows come in runs of it.
#[derive(Clone, Debug)]
pub(crate) struct TimeTest {
    times: RangeInclusive<i64>,
    hours: Hours,
    hour_start: i64,
    hour_last: i64,
    takes: bool,
}

impl TimeTest {
    pub(crate) fn new(times: RangeInclusive<i64>, hours: Hours) -> Self {
        // The hour is empty, so the first time looks its own one up.
        Self { times, hours, hour_start: i64::MAX, hour_last: i64::MIN, takes: false }
    }

    /// Whether every time between these passes.
    pub(crate) fn takes_all(&self, times: &RangeInclusive<i64>) -> bool {
        matches!(self.hours, Hours::All)
            && self.times.contains(times.start())
            && self.times.contains(times.end())
    }

    #[inline]
    pub(crate) fn takes(&mut self, time: i64) -> bool {
        if !self.times.contains(&time) {
            return false;
        }
        if matches!(self.hours, Hours::All) {
            return true;
        }
        if time < self.hour_start || time > self.hour_last {
            let hour = LateHours::hour_of(EventTime::new(time));
            self.hour_start = hour.saturating_mul(HOUR_NANOS);
            self.hour_last = self.hour_start.saturating_add(HOUR_NANOS - 1);
            self.takes = self.hours.takes(hour);
        }
        self.takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_passes_where_its_hour_and_the_range_do() {
        let hours: Arc<BTreeSet<i64>> = Arc::new([-1, 1, 2].into());
        let times = [i64::MIN, -HOUR_NANOS, -1, 0, HOUR_NANOS - 1, HOUR_NANOS, 3 * HOUR_NANOS - 1];
        for range in [i64::MIN..=i64::MAX, 0..=HOUR_NANOS] {
            for hours in
                [Hours::All, Hours::Only(Arc::clone(&hours)), Hours::Except(Arc::clone(&hours))]
            {
                let mut test = TimeTest::new(range.clone(), hours.clone());
                for time in times.iter().chain(times.iter().rev()) {
                    let hour = time.div_euclid(HOUR_NANOS);
                    let expected = range.contains(time) && hours.takes(hour);
                    assert_eq!(test.takes(*time), expected, "{time} in {range:?} of {hours:?}");
                    assert!(!expected || hours.may_take(&(*time..=*time)));
                }
            }
        }
    }

    #[test]
    fn a_range_within_excepted_hours_is_not_taken() {
        let except = Hours::Except(Arc::new([0, 1].into()));
        assert!(!except.may_take(&(0..=2 * HOUR_NANOS - 1)));
        assert!(except.may_take(&(0..=2 * HOUR_NANOS)));
        let only = Hours::Only(Arc::new([5].into()));
        assert!(!only.may_take(&(0..=5 * HOUR_NANOS - 1)));
        assert!(only.may_take(&(0..=i64::MAX)));
        let between = Hours::Between(2, 3);
        assert!(!between.may_take(&(0..=2 * HOUR_NANOS - 1)));
        assert!(between.may_take(&(0..=i64::MAX)));
        assert!(!between.may_take(&(4 * HOUR_NANOS..=i64::MAX)));
    }
}
