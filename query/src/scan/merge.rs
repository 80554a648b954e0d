//! Merges rows by series, time and arrival, and lets the last arrival of a moment stand.
//!
//! Of the rows of one series and time, queries take the value and the flag `late` of the last
//! arrival, and severity, onset and channel of the one that was scored, so that a batch that is sent
//! twice erases nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow::buffer::ScalarBuffer;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use tidewatch_metrics::Flags;

use crate::limits::BATCH_ROWS;
use crate::scan::cursor::{HeadCursor, SegmentCursor};
use crate::scan::rows::Rows;

/// Bytes of a row of a head while it is sorted: the columns, their sorted copy, and its position.
const SORTED_ROW_BYTES: usize = 2 * 23 + 4;

/// Where a merge takes rows from, in the order of series, time and arrival.
#[derive(Debug)]
pub(crate) enum MergeSource {
    /// Row groups of a segment, which are in this order.
    Segment(Box<SegmentCursor>),
    /// The rows of a head, sorted.
    Head(SortedHead),
}

/// Rows of a head in the order of series, time and arrival.
#[derive(Debug)]
pub(crate) struct SortedHead {
    rows: Rows,
    start: usize,
    /// Holds the memory of the rows.
    _memory: MemoryReservation,
}

/// Rows of several sources in the order of series and time, one of each moment.
#[derive(Debug)]
pub(crate) struct Merge {
    /// In the order of arrival: of two rows of one moment, that of the later source came later.
    sources: Vec<(MergeSource, Rows, usize)>,
    heads: BinaryHeap<Reverse<(Key, usize)>>,
    out: Builder,
}

/// What rows of one moment have in common: the place of the series, and the time.
type Key = (u32, i64);

#[derive(Debug, Default)]
struct Builder {
    places: Vec<u32>,
    times: Vec<i64>,
    values: Vec<f64>,
    severities: Vec<u16>,
    flags: Vec<u8>,
}

impl MergeSource {
    fn next(&mut self) -> Result<Option<Rows>> {
        match self {
            Self::Segment(cursor) => cursor.next(),
            Self::Head(head) => Ok(head.next()),
        }
    }
}

impl SortedHead {
    /// Sorts all rows that `cursor` gives; it must read every column.
    pub(crate) fn sort(mut cursor: HeadCursor, memory: MemoryReservation) -> Result<Self> {
        let mut all = Builder::default();
        while cursor.advance()? {
            let (columns, picks) = cursor.picked();
            memory.try_grow(picks.rows().len() * SORTED_ROW_BYTES)?;
            all.places.extend_from_slice(picks.places());
            for row in picks.rows() {
                let row = *row as usize;
                all.times.push(columns.times[row]);
                all.values.push(columns.values[row]);
                all.severities.push(columns.severities[row]);
                all.flags.push(columns.flags[row]);
            }
        }
        let rows = u32::try_from(all.places.len()).expect("a head has fewer rows");
        let mut order: Vec<u32> = (0..rows).collect();
        order.sort_unstable_by_key(|row| (all.key(*row as usize), *row));
        let at = |row: &u32| *row as usize;
        let rows = Rows {
            places: order.iter().map(|row| all.places[at(row)]).collect(),
            times: order.iter().map(|row| all.times[at(row)]).collect(),
            values: order.iter().map(|row| all.values[at(row)]).collect(),
            severities: order.iter().map(|row| all.severities[at(row)]).collect(),
            flags: order.iter().map(|row| all.flags[at(row)]).collect(),
            rolled: None,
        };
        Ok(Self { rows, start: 0, _memory: memory })
    }

    fn next(&mut self) -> Option<Rows> {
        let start = self.start;
        let rows = (self.rows.len() - start).min(BATCH_ROWS);
        self.start += rows;
        (rows > 0).then(|| Rows {
            places: self.rows.places[start..start + rows].to_vec(),
            times: self.rows.times.slice(start, rows),
            values: self.rows.values.slice(start, rows),
            severities: self.rows.severities.slice(start, rows),
            flags: self.rows.flags.slice(start, rows),
            rolled: None,
        })
    }
}

impl Merge {
    /// Merges sources, which are in the order of arrival and read every column.
    pub(crate) fn new(sources: Vec<MergeSource>) -> Result<Self> {
        let sources = sources.into_iter().map(|source| (source, Rows::default(), 0)).collect();
        let mut merge = Self { sources, heads: BinaryHeap::new(), out: Builder::default() };
        for index in 0..merge.sources.len() {
            merge.refill(index)?;
        }
        Ok(merge)
    }

    /// The next rows, at least one; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Rows>> {
        while let Some(Reverse((_, index))) = self.heads.pop() {
            // All rows of this source that come before the next one of any other.
            let limit = self.heads.peek().map(|Reverse(next)| *next);
            let (_, rows, at) = &mut self.sources[index];
            let end = match limit {
                None => rows.len(),
                Some(limit) => partition_point(*at..rows.len(), |row| {
                    ((rows.places[row], rows.times[row]), index) < limit
                }),
            };
            for row in *at..end {
                self.out.push(rows, row);
            }
            *at = end;
            self.refill(index)?;
            // The last row stays: a later arrival of its moment may follow.
            if self.out.places.len() > BATCH_ROWS {
                return Ok(Some(self.out.take(self.out.places.len() - 1)));
            }
        }
        let rows = self.out.places.len();
        Ok(if rows > 0 { Some(self.out.take(rows)) } else { None })
    }

    /// Puts the next row of a source in order, reading on where there is none.
    fn refill(&mut self, index: usize) -> Result<()> {
        let (source, rows, at) = &mut self.sources[index];
        if *at == rows.len() {
            *at = 0;
            match source.next()? {
                Some(next) => *rows = next,
                None => {
                    *rows = Rows::default();
                    return Ok(());
                }
            }
        }
        self.heads.push(Reverse(((rows.places[*at], rows.times[*at]), index)));
        Ok(())
    }
}

/// The first of `range` that is not `before`; all that are come first.
fn partition_point(range: std::ops::Range<usize>, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

impl Builder {
    fn key(&self, row: usize) -> Key {
        (self.places[row], self.times[row])
    }

    fn push(&mut self, from: &Rows, row: usize) {
        let key = (from.places[row], from.times[row]);
        let (value, severity) = (from.values[row], from.severities[row]);
        let flags = Flags::from_bits(from.flags[row]);
        let last = self.places.len().checked_sub(1).filter(|last| self.key(*last) == key);
        let Some(last) = last else {
            self.places.push(key.0);
            self.times.push(key.1);
            self.values.push(value);
            self.severities.push(severity);
            self.flags.push(flags.bits());
            return;
        };
        self.values[last] = value;
        if flags.is_late() {
            self.flags[last] |= Flags::LATE.bits();
        } else {
            self.severities[last] = severity;
            self.flags[last] = flags.bits();
        }
    }

    /// Takes the first rows.
    fn take(&mut self, rows: usize) -> Rows {
        Rows {
            places: self.places.drain(..rows).collect(),
            times: self.times.drain(..rows).collect::<ScalarBuffer<_>>(),
            values: self.values.drain(..rows).collect::<ScalarBuffer<_>>(),
            severities: self.severities.drain(..rows).collect::<ScalarBuffer<_>>(),
            flags: self.flags.drain(..rows).collect::<ScalarBuffer<_>>(),
            rolled: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(row: &Rows) -> Builder {
        let mut out = Builder::default();
        (0..row.len()).for_each(|at| out.push(row, at));
        out
    }

    #[test]
    fn the_last_value_stands_with_the_severity_of_the_scored_row() {
        let late = Flags::LATE.bits();
        let onset = Flags::ONSET.bits();
        let rows = Rows {
            places: vec![0, 0, 0, 1, 1],
            times: vec![5, 5, 5, 5, 5].into(),
            values: vec![1.0, 2.0, 3.0, 4.0, f64::NAN].into(),
            severities: vec![640_u16, 0, 0, 0, 64].into(),
            flags: vec![onset, late, late, late, onset].into(),
            rolled: None,
        };
        let out = flags(&rows);
        assert_eq!(out.places, [0, 1]);
        assert_eq!(out.values[0].to_bits(), 3.0_f64.to_bits());
        assert!(out.values[1].is_nan(), "a stale marker that came last stands");
        assert_eq!(out.severities, [640, 64]);
        assert_eq!(out.flags, [late | onset, onset]);
    }
}
