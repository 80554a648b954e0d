//! Rows of series whose registrations are lost: nobody can tell any more what they are of.

use std::collections::BTreeMap;

use tidewatch_metrics::{Lsn, SampleBatch, SeriesRef};

/// Records and series that are told apart; of more only the number of rows is kept.
const TOLD_MAX: usize = 65_536;

/// Rows by series that no record before theirs registers.
#[derive(Debug, Default)]
pub(crate) struct UnknownSeries {
    told: BTreeMap<(Lsn, SeriesRef), u64>,
    /// Rows that are too many to be told apart by record.
    beyond: BTreeMap<SeriesRef, u64>,
    /// One more than the greatest of these references.
    refs_end: usize,
}

/// Rows that a start leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) rows: u64,
    /// Rows by record, in the order of the log; the sum is less than `rows` where there were too many.
    pub(crate) records: Vec<(Lsn, u64)>,
}

impl UnknownSeries {
    /// Counts the rows of a record whose series are not `known`.
    pub(crate) fn count(
        &mut self,
        lsn: Lsn,
        parts: &[SampleBatch],
        known: impl Fn(SeriesRef) -> bool,
    ) {
        for series in parts.iter().flat_map(SampleBatch::series).filter(|series| !known(**series)) {
            self.refs_end = self.refs_end.max(series.index() + 1);
            let place = (lsn, *series);
            if self.told.len() < TOLD_MAX || self.told.contains_key(&place) {
                *self.told.entry(place).or_default() += 1;
            } else {
                *self.beyond.entry(*series).or_default() += 1;
            }
        }
    }

    /// The first record with such rows.
    pub(crate) fn first(&self) -> Option<Lsn> {
        self.told.first_key_value().map(|((lsn, _), _)| *lsn)
    }

    /// One more than the greatest reference that was met.
    pub(crate) fn refs_end(&self) -> usize {
        self.refs_end
    }

    /// The rows whose series no later record has made `known` either.
    pub(crate) fn settle(self, known: impl Fn(SeriesRef) -> bool) -> LeftOut {
        let mut left_out = LeftOut::default();
        for ((lsn, series), rows) in self.told {
            if known(series) {
                continue;
            }
            left_out.rows += rows;
            match left_out.records.last_mut() {
                Some((last, so_far)) if *last == lsn => *so_far += rows,
                _ => left_out.records.push((lsn, rows)),
            }
        }
        left_out.rows += self
            .beyond
            .into_iter()
            .filter(|(series, _)| !known(*series))
            .map(|(_, rows)| rows)
            .sum::<u64>();
        left_out
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_metrics::EventTime;

    use super::*;

    fn batch(series: &[u32]) -> Vec<SampleBatch> {
        let mut batch = SampleBatch::default();
        series.iter().for_each(|one| batch.push(SeriesRef(*one), EventTime::new(1), 1.0));
        vec![batch]
    }

    #[test]
    fn rows_are_told_by_record_unless_a_later_record_names_their_series() {
        let mut unknown = UnknownSeries::default();
        unknown.count(Lsn::new(5), &batch(&[0, 7, 7, 8]), |series| series.0 == 0);
        unknown.count(Lsn::new(6), &batch(&[0, 8]), |series| series.0 == 0);
        unknown.count(Lsn::new(9), &batch(&[7, 3]), |series| series.0 == 0);
        assert_eq!((unknown.first(), unknown.refs_end()), (Some(Lsn::new(5)), 9));
        let left_out = unknown.settle(|series| series.0 == 8);
        assert_eq!(
            left_out,
            LeftOut { rows: 4, records: vec![(Lsn::new(5), 2), (Lsn::new(9), 2)] }
        );
    }

    #[test]
    fn rows_beyond_the_bound_are_counted_and_not_told() {
        let mut unknown = UnknownSeries::default();
        for lsn in 0..=TOLD_MAX as u64 {
            unknown.count(Lsn::new(lsn + 1), &batch(&[1, 1]), |_| false);
        }
        let left_out = unknown.settle(|_| false);
        assert_eq!(left_out.records.len(), TOLD_MAX);
        assert_eq!(left_out.rows, 2 * (TOLD_MAX as u64 + 1));
    }
}
