//! Rows in columns, on their way from a segment or a head to a table.

use arrow::buffer::ScalarBuffer;
use arrow::datatypes::ArrowNativeType;
use tidewatch_segments::RollupColumns;

use crate::scan::hidden::Hidden;
use crate::scan::hours::TimeTest;
use crate::scan::series_index::{NO_SERIES, SeriesIndex};

/// Rows in columns of equal length; a column that nobody asked for is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    /// The place of the series in the table.
    pub(crate) places: Vec<u32>,
    pub(crate) times: ScalarBuffer<i64>,
    pub(crate) values: ScalarBuffer<f64>,
    pub(crate) severities: ScalarBuffer<u16>,
    pub(crate) flags: ScalarBuffer<u8>,
    /// What each row stands for, where it is one of a rollup; its time is that of the first row then,
    /// and it has no value, severity and flags.
    pub(crate) rolled: Option<Box<RollupColumns>>,
}

/// Which of some rows are taken, in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Picks {
    rows: Vec<u32>,
    places: Vec<u32>,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// These rows, none of which is one of a rollup.
    pub(crate) fn take(&self, rows: &[usize]) -> Self {
        Self {
            places: rows.iter().filter_map(|row| self.places.get(*row).copied()).collect(),
            times: pick(&self.times, rows),
            values: pick(&self.values, rows),
            severities: pick(&self.severities, rows),
            flags: pick(&self.flags, rows),
            rolled: None,
        }
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        self.places.truncate(rows);
        cut(&mut self.times, rows);
        cut(&mut self.values, rows);
        cut(&mut self.severities, rows);
        cut(&mut self.flags, rows);
    }
}

fn pick<T: ArrowNativeType>(column: &ScalarBuffer<T>, rows: &[usize]) -> ScalarBuffer<T> {
    rows.iter().filter_map(|row| column.get(*row).copied()).collect()
}

fn cut<T: ArrowNativeType>(column: &mut ScalarBuffer<T>, rows: usize) {
    if column.len() > rows {
        *column = column.slice(0, rows);
    }
}

impl Picks {
    /// Picks rows of series that are asked for, at times that pass; all times without `times`.
    pub(crate) fn pick(
        &mut self,
        index: &SeriesIndex,
        series: &[u32],
        times: Option<(&[i64], &mut TimeTest)>,
    ) {
        self.rows.clear();
        self.places.clear();
        let mut last = NO_SERIES;
        let mut place = index.place(last);
        let mut picked = |row: usize, of: u32, passes: bool| {
            if of != last {
                last = of;
                place = index.place(of);
            }
            if place != NO_SERIES && passes {
                self.rows.push(u32::try_from(row).expect("a batch has fewer rows"));
                self.places.push(place);
            }
        };
        match times {
            None => series.iter().enumerate().for_each(|(row, of)| picked(row, *of, true)),
            Some((times, test)) => {
                for (row, (of, time)) in series.iter().zip(times).enumerate() {
                    picked(row, *of, test.takes(*time));
                }
            }
        }
    }

    /// Takes back the picked rows that are hidden, of these series and times.
    pub(crate) fn hide(&mut self, hidden: &Hidden, series: &[u32], times: &[i64]) {
        let mut kept = 0;
        for at in 0..self.rows.len() {
            let row = self.rows[at] as usize;
            if !hidden.hides(series[row], times[row]) {
                self.rows[kept] = self.rows[at];
                self.places[kept] = self.places[at];
                kept += 1;
            }
        }
        self.rows.truncate(kept);
        self.places.truncate(kept);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The places of the picked rows' series.
    pub(crate) fn take_places(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.places)
    }

    pub(crate) fn places(&self) -> &[u32] {
        &self.places
    }

    pub(crate) fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The picked rows of a column, of which row 0 is at `start`. Copies only where rows are missing.
    pub(crate) fn gather<T: ArrowNativeType>(
        &self,
        column: &ScalarBuffer<T>,
        start: usize,
    ) -> ScalarBuffer<T> {
        match (self.rows.first(), self.rows.last()) {
            (Some(first), Some(last)) if (last - first) as usize + 1 == self.rows.len() => {
                column.slice(start + *first as usize, self.rows.len())
            }
            _ => self.rows.iter().map(|row| column[start + *row as usize]).collect(),
        }
    }
}
