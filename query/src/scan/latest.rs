//! A scan of which only the latest row of each series counts.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::scan::rows::Rows;

/// The latest time of each series that a scan has given so far, by place. Shared by all of its parts.
///
/// A row that is earlier than one which was given is not the latest of its series, however often its
/// moment arrived: it may be left out, and so may a row group without any other row.
///
/// ATOMICS: relaxed throughout: the times guard no other memory, and who sees an older one only reads more.
#[derive(Debug)]
pub(crate) struct Latest {
    times: Vec<AtomicI64>,
}

impl Latest {
    /// Nothing was given of so many series.
    pub(crate) fn new(series: usize) -> Self {
        Self { times: std::iter::repeat_with(|| AtomicI64::new(i64::MIN)).take(series).collect() }
    }

    /// Whether no row of these series up to `last` is the latest one of its series.
    pub(crate) fn is_settled(&self, mut places: impl Iterator<Item = u32>, last: i64) -> bool {
        places.all(|place| self.time(place) > last)
    }

    /// The rows that may be the latest of their series; notes them as given. Rows of rollups are all kept.
    pub(crate) fn keep(&self, rows: Rows) -> Rows {
        if let Some(rolled) = &rows.rolled {
            rows.places.iter().zip(&rolled.last_times).for_each(|(p, time)| self.give(*p, *time));
            return rows;
        }
        let mut kept = Vec::new();
        for (row, (place, time)) in rows.places.iter().zip(rows.times.iter()).enumerate() {
            let is_followed = rows.places.get(row + 1) == Some(place)
                && rows.times.get(row + 1).is_some_and(|next| next > time);
            if !is_followed && self.time(*place) <= *time {
                kept.push(row);
                self.give(*place, *time);
            }
        }
        rows.take(&kept)
    }

    fn time(&self, place: u32) -> i64 {
        self.times.get(place as usize).map_or(i64::MIN, |time| time.load(Ordering::Relaxed))
    }

    fn give(&self, place: u32, time: i64) {
        if let Some(known) = self.times.get(place as usize) {
            known.fetch_max(time, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(u32, i64)]) -> Rows {
        Rows {
            places: rows.iter().map(|row| row.0).collect(),
            times: rows.iter().map(|row| row.1).collect(),
            values: rows.iter().map(|row| row.1 as f64).collect(),
            ..Rows::default()
        }
    }

    fn kept(latest: &Latest, given: &[(u32, i64)]) -> Vec<(u32, i64)> {
        let kept = latest.keep(rows(given));
        let values = kept.times.iter().map(|time| *time as f64);
        assert!(kept.values.iter().copied().eq(values), "a row stays together");
        kept.places.into_iter().zip(kept.times.iter().copied()).collect()
    }

    #[test]
    fn rows_before_the_latest_are_left_out_and_the_latest_never() {
        let latest = Latest::new(3);
        assert_eq!(kept(&latest, &[(0, 1), (0, 5), (2, 3), (2, 4)]), [(0, 5), (2, 4)]);
        assert_eq!(kept(&latest, &[(0, 4), (1, 1), (2, 4)]), [(1, 1), (2, 4)]);
        assert_eq!(kept(&latest, &[(0, 9), (0, 7), (0, 8)]), [(0, 9)], "in the order of arrival");
        assert_eq!(kept(&latest, &[(0, 7), (0, 10)]), [(0, 10)]);
        assert!(kept(&latest, &[]).is_empty());
    }

    #[test]
    fn series_are_settled_by_later_rows_only() {
        let latest = Latest::new(2);
        assert!(!latest.is_settled([0].into_iter(), i64::MIN));
        kept(&latest, &[(0, 5)]);
        assert!(latest.is_settled([0].into_iter(), 4));
        assert!(!latest.is_settled([0].into_iter(), 5), "its moment may have another row");
        assert!(!latest.is_settled([0, 1].into_iter(), 4), "nothing is known of the other");
        assert!(latest.is_settled(std::iter::empty(), i64::MAX));
        assert!(!latest.is_settled([7].into_iter(), i64::MIN));
    }
}
