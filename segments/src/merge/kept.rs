//! Which rows of a series are taken over.

use std::ops::Range;

use crate::merge::run::ErasedTimes;

/// The next rows of `rows` that are taken over: none where all of them are erased.
///
/// `times` are those of one series in ascending order; `erased` is sorted and disjoint.
pub(crate) fn next_kept(times: &[i64], rows: Range<usize>, erased: &[ErasedTimes]) -> Range<usize> {
    let mut start = rows.start;
    let reach = |from: usize, time: i64| {
        from + times[from..rows.end].partition_point(|other| *other < time)
    };
    while start < rows.end {
        let behind = erased.partition_point(|range| range.end().nanos() < times[start]);
        let Some(range) = erased.get(behind) else { return start..rows.end };
        if range.start().nanos() > times[start] {
            return start..reach(start, range.start().nanos());
        }
        let last = range.end().nanos();
        start = match last.checked_add(1) {
            Some(after) => reach(start, after),
            None => rows.end,
        };
    }
    rows.end..rows.end
}

#[cfg(test)]
mod tests {
    use tidewatch_metrics::EventTime;

    use super::*;

    #[test]
    fn rows_within_erased_times_are_passed_over() {
        let erased = |ranges: &[(i64, i64)]| -> Vec<ErasedTimes> {
            let range = |(a, b): &(i64, i64)| EventTime::new(*a)..=EventTime::new(*b);
            ranges.iter().map(range).collect()
        };
        let times = [1, 2, 2, 5, 7, 9];
        let none = erased(&[]);
        assert_eq!(next_kept(&times, 1..6, &none), 1..6);
        let some = erased(&[(2, 2), (6, 7)]);
        assert_eq!(next_kept(&times, 0..6, &some), 0..1);
        assert_eq!(next_kept(&times, 1..6, &some), 3..4);
        assert_eq!(next_kept(&times, 4..6, &some), 5..6);
        assert_eq!(next_kept(&times, 4..5, &some), 5..5);
        let all = erased(&[(i64::MIN, i64::MAX)]);
        assert_eq!(next_kept(&times, 0..6, &all), 6..6);
        let touching = erased(&[(0, 1), (2, 5)]);
        assert_eq!(next_kept(&times, 0..6, &touching), 4..6);
    }
}
