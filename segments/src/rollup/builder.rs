//! From rows in the order of a segment to rows of a rollup.

use tidewatch_metrics::{EventTime, Flags};

use crate::late_hours::{HOUR_NANOS, LateHours};
use crate::limits::ROLLUP_GROUP_ROWS;
use crate::rollup::columns::{RollupColumns, RollupRow};

/// Rows of one series, in the order of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeriesHourRows<'a> {
    pub(crate) series: u32,
    /// Tells metrics apart; series of one metric come one after the other.
    pub(crate) metric: usize,
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    pub(crate) flags: &'a [u8],
}

/// Rows that make one row group of a rollup.
#[derive(Clone, Debug)]
pub(crate) struct RollupGroup {
    pub(crate) columns: RollupColumns,
    /// The metric of the first row and of the last.
    pub(crate) metrics: (usize, usize),
}

/// Adds rows up. Its state goes on from one call to the next: a series and hour may come in pieces.
///
/// ```text
/// rows = number, values = number without NaN, sum = ((v1 + v2) + v3) + … in the order of time,
/// min and max in the total order of floats, in which -0 comes before 0
/// ```
#[derive(Debug, Default)]
pub(crate) struct RollupBuilder {
    done: RollupColumns,
    /// The metric of each row that is done.
    metrics: Vec<usize>,
    open: Option<Open>,
}

/// The series and hour at hand.
#[derive(Clone, Copy, Debug)]
struct Open {
    row: RollupRow,
    metric: usize,
    hour: i64,
    /// The latest time of the hour.
    ends: i64,
    has_late: bool,
}

impl RollupBuilder {
    /// Adds rows, which come behind all that were added before.
    pub(crate) fn push(&mut self, rows: &SeriesHourRows<'_>) {
        let mut from = 0;
        while let Some(time) = rows.times.get(from) {
            let hour = LateHours::hour_of(EventTime::new(*time));
            let goes_on =
                self.open.is_some_and(|open| (open.row.series, open.hour) == (rows.series, hour));
            if !goes_on {
                self.close();
            }
            let open = self.open.get_or_insert_with(|| Open::new(rows, *time, rows.values[from]));
            let to = from + rows.times[from..].partition_point(|time| *time <= open.ends);
            open.row.last_time = rows.times[to - 1];
            open.add(&rows.values[from..to], &rows.flags[from..to]);
            from = to;
        }
    }

    /// The next row group that is full.
    pub(crate) fn full_group(&mut self) -> Option<RollupGroup> {
        (self.done.len() >= ROLLUP_GROUP_ROWS).then(|| self.take_front(ROLLUP_GROUP_ROWS))
    }

    /// The last row group, which is not full; `None` where it has no rows. Nothing is added behind it.
    pub(crate) fn last_group(&mut self) -> Option<RollupGroup> {
        self.close();
        assert!(self.done.len() <= ROLLUP_GROUP_ROWS, "full row groups are taken first");
        (!self.done.is_empty()).then(|| self.take_front(self.done.len()))
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take().filter(|open| !open.has_late) {
            self.done.push(&open.row);
            self.metrics.push(open.metric);
        }
    }

    fn take_front(&mut self, rows: usize) -> RollupGroup {
        let columns = self.done.take_front(rows);
        let mut metrics = self.metrics.drain(..rows);
        let first = metrics.next().expect("a row group has rows");
        let last = metrics.next_back().unwrap_or(first);
        RollupGroup { columns, metrics: (first, last) }
    }
}

impl Open {
    fn new(rows: &SeriesHourRows<'_>, time: i64, first: f64) -> Self {
        let hour = LateHours::hour_of(EventTime::new(time));
        let row = RollupRow {
            series: rows.series,
            rows: 0,
            values: 0,
            sum: 0.0,
            min: 0.0,
            max: 0.0,
            first,
            last: first,
            first_time: time,
            last_time: time,
        };
        let ends = hour.saturating_mul(HOUR_NANOS).saturating_add(HOUR_NANOS - 1);
        Self { row, metric: rows.metric, hour, ends, has_late: false }
    }

    fn add(&mut self, values: &[f64], flags: &[u8]) {
        let row = &mut self.row;
        for value in values {
            row.rows += 1;
            row.last = *value;
            if value.is_nan() {
                continue;
            }
            if row.values == 0 {
                (row.sum, row.min, row.max) = (*value, *value, *value);
            } else {
                row.sum += value;
                row.min = if value.total_cmp(&row.min).is_lt() { *value } else { row.min };
                row.max = if value.total_cmp(&row.max).is_gt() { *value } else { row.max };
            }
            row.values += 1;
        }
        self.has_late |= flags.iter().any(|bits| Flags::from_bits(*bits).is_late());
    }
}

#[cfg(test)]
#[path = "builder_tests.rs"]
mod tests;
