//! Which hours of a segment its rollup answers.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tidewatch_metrics::EventTime;
use tidewatch_segments::LateHours;

use crate::scan::hours::HOUR_NANOS;

/// So many hours are looked at one by one; of more, some are taken to be answered.
const HOURS_LOOKED_AT: i64 = 24;

/// The hours of one segment that its rollup answers: whole ones, without late rows in any segment or
/// head, and of which no delete hides rows.
#[derive(Clone, Debug)]
pub(crate) struct Rolled {
    /// Hours that lie in the times of the query with all of their moments.
    whole: RangeInclusive<i64>,
    /// Hours that hold late rows: their rows are merged with those of others.
    late: Arc<BTreeSet<i64>>,
    /// Hours of which deletes hide rows of the segment.
    hidden: Vec<RangeInclusive<i64>>,
}

impl Rolled {
    /// Of the whole hours in `times`, all but `late` and those of the `hidden` times.
    pub(crate) fn new(
        times: &RangeInclusive<i64>,
        late: &Arc<BTreeSet<i64>>,
        hidden: impl Iterator<Item = RangeInclusive<i64>>,
    ) -> Self {
        let hidden = hidden.filter(|times| !times.is_empty());
        let hidden = hidden.map(|times| hour_of(*times.start())..=hour_of(*times.end()));
        Self { whole: whole_hours(times), late: Arc::clone(late), hidden: hidden.collect() }
    }

    /// Whether the rollup answers the hour.
    pub(crate) fn takes(&self, hour: i64) -> bool {
        self.whole.contains(&hour)
            && !self.late.contains(&hour)
            && !self.hidden.iter().any(|hours| hours.contains(&hour))
    }

    /// Whether the rollup may answer an hour from `first` to `last`.
    pub(crate) fn may_take(&self, first: i64, last: i64) -> bool {
        let (first, last) = (first.max(*self.whole.start()), last.min(*self.whole.end()));
        let looked_at = last - first < HOURS_LOOKED_AT;
        first <= last && (!looked_at || (first..=last).any(|hour| self.takes(hour)))
    }

    /// Whether rows of the hour are read one by one, and not merged.
    pub(crate) fn leaves(&self, hour: i64) -> bool {
        !self.late.contains(&hour) && !self.takes(hour)
    }

    /// Whether such an hour may be among those from `first` to `last`.
    pub(crate) fn may_leave(&self, first: i64, last: i64) -> bool {
        // Beside the hidden hours, these are the ones that the query's times cut at their ends.
        let (before, after) = (self.whole.start() - 1, self.whole.end() + 1);
        let cut = [before, after].into_iter().filter(|hour| (first..=last).contains(hour));
        cut.into_iter().any(|hour| self.leaves(hour))
            || self.whole.is_empty()
            || self.hidden.iter().any(|hours| first <= *hours.end() && *hours.start() <= last)
    }
}

/// The hours that lie in `times` with all of their moments.
pub(crate) fn whole_hours(times: &RangeInclusive<i64>) -> RangeInclusive<i64> {
    let (start, end) = (*times.start(), *times.end());
    // The first and the last hour that there are have fewer moments, and are whole where none is missing.
    let first = hour_of(start);
    let starts = start == i64::MIN || first.checked_mul(HOUR_NANOS) == Some(start);
    let last = hour_of(end);
    let ends = end == i64::MAX || hour_of(end + 1) > last;
    (if starts { first } else { first + 1 })..=(if ends { last } else { last - 1 })
}

fn hour_of(time: i64) -> i64 {
    LateHours::hour_of(EventTime::new(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moments of an hour at its ends, as far as there are any.
    fn ends(hour: i64) -> [i64; 2] {
        let start = hour.saturating_mul(HOUR_NANOS);
        [start, start.saturating_add(HOUR_NANOS - 1)]
    }

    #[test]
    fn an_hour_is_whole_if_none_of_its_moments_is_missing() {
        let near = [0, HOUR_NANOS, -HOUR_NANOS, 3 * HOUR_NANOS, i64::MIN, i64::MAX];
        let near = near.iter().flat_map(|time| [-1, 0, 1].map(|by| time.saturating_add(by)));
        let near: Vec<i64> = near.collect();
        for (start, end) in near.iter().flat_map(|start| near.iter().map(move |end| (*start, *end)))
        {
            let (times, whole) = (start..=end, whole_hours(&(start..=end)));
            for hour in [-2_562_048, -2_562_047, -2, -1, 0, 1, 2, 3, 2_562_046, 2_562_047] {
                let expected = ends(hour).iter().all(|time| times.contains(time));
                assert_eq!(whole.contains(&hour), expected, "hour {hour} of {times:?}");
            }
        }
    }

    #[test]
    fn an_hour_is_answered_left_or_late_and_what_is_left_is_found() {
        let late = Arc::new(BTreeSet::from([3, 4, 11]));
        let hidden = [6 * HOUR_NANOS..=8 * HOUR_NANOS - 1, 9 * HOUR_NANOS..=9 * HOUR_NANOS];
        for (from, to) in
            [(0, 12 * HOUR_NANOS - 1), (1, 11 * HOUR_NANOS), (5, 9), (i64::MIN, i64::MAX)]
        {
            let rolled = Rolled::new(&(from..=to), &late, hidden.iter().cloned());
            for hour in -1..13 {
                let is_whole = ends(hour).iter().all(|time| (from..=to).contains(time));
                let is_hidden = [6, 7, 9].contains(&hour);
                let is_late = late.contains(&hour);
                assert_eq!(rolled.takes(hour), is_whole && !is_hidden && !is_late, "hour {hour}");
                assert_eq!(rolled.leaves(hour), !is_late && !rolled.takes(hour), "hour {hour}");
                let touches = ends(hour).iter().any(|time| (from..=to).contains(time));
                assert!(!touches || !rolled.leaves(hour) || rolled.may_leave(hour, hour));
            }
        }
        let day = Rolled::new(&(0..=24 * HOUR_NANOS), &late, hidden.iter().cloned());
        assert!(day.may_take(0, 99) && day.may_take(3, 5) && day.may_take(23, 99));
        assert!(!day.may_take(3, 4) && !day.may_take(6, 7) && !day.may_take(24, 99));
        let all = Rolled::new(&(i64::MIN..=i64::MAX), &late, std::iter::empty());
        assert!(!all.may_leave(-9, 99), "no row group is read");
        let cut = Rolled::new(&(1..=5 * HOUR_NANOS - 1), &late, std::iter::empty());
        assert!(cut.may_leave(0, 9) && !cut.may_leave(1, 4), "only the first hour is");
    }
}
