//! Rows of a rollup in columns.

/// Rows of a rollup in columns of equal length: row `i` tells of one series and hour.
///
/// Invariant: in rows of a segment's rollup, 0 < `rows`, 0 <= `values` <= `rows`, and `first_times` and
/// `last_times` lie in one hour.
#[derive(Clone, Debug, Default)]
pub struct RollupColumns {
    /// The series.
    pub series: Vec<u32>,
    /// Number of rows.
    pub rows: Vec<i64>,
    /// Number of rows whose value is not NaN.
    pub values: Vec<i64>,
    /// Sum of these values in the order of time; without any, 0.
    pub sums: Vec<f64>,
    /// The least of them; without any, 0. -0 is less than 0.
    pub mins: Vec<f64>,
    /// The greatest of them; without any, 0.
    pub maxs: Vec<f64>,
    /// The value of the earliest row, NaN included.
    pub firsts: Vec<f64>,
    /// The value of the latest row, NaN included.
    pub lasts: Vec<f64>,
    /// Event time of the earliest row, nanoseconds.
    pub first_times: Vec<i64>,
    /// Event time of the latest row, nanoseconds.
    pub last_times: Vec<i64>,
}

/// One row of a rollup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RollupRow {
    pub(crate) series: u32,
    pub(crate) rows: i64,
    pub(crate) values: i64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) first: f64,
    pub(crate) last: f64,
    pub(crate) first_time: i64,
    pub(crate) last_time: i64,
}

impl RollupColumns {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Adds row `row` of `from`.
    ///
    /// # Panics
    /// When `from` has no such row.
    pub fn push_from(&mut self, from: &Self, row: usize) {
        self.push(&RollupRow {
            series: from.series[row],
            rows: from.rows[row],
            values: from.values[row],
            sum: from.sums[row],
            min: from.mins[row],
            max: from.maxs[row],
            first: from.firsts[row],
            last: from.lasts[row],
            first_time: from.first_times[row],
            last_time: from.last_times[row],
        });
    }

    pub(crate) fn push(&mut self, row: &RollupRow) {
        self.series.push(row.series);
        self.rows.push(row.rows);
        self.values.push(row.values);
        self.sums.push(row.sum);
        self.mins.push(row.min);
        self.maxs.push(row.max);
        self.firsts.push(row.first);
        self.lasts.push(row.last);
        self.first_times.push(row.first_time);
        self.last_times.push(row.last_time);
    }

    /// Removes the first `rows` and returns them.
    pub(crate) fn take_front(&mut self, rows: usize) -> Self {
        Self {
            series: self.series.drain(..rows).collect(),
            rows: self.rows.drain(..rows).collect(),
            values: self.values.drain(..rows).collect(),
            sums: self.sums.drain(..rows).collect(),
            mins: self.mins.drain(..rows).collect(),
            maxs: self.maxs.drain(..rows).collect(),
            firsts: self.firsts.drain(..rows).collect(),
            lasts: self.lasts.drain(..rows).collect(),
            first_times: self.first_times.drain(..rows).collect(),
            last_times: self.last_times.drain(..rows).collect(),
        }
    }

    /// Whether both say the same; of a NaN it does not matter which.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let bits = |values: &[f64]| -> Vec<u64> {
            values
                .iter()
                .map(|value| if value.is_nan() { f64::NAN } else { *value }.to_bits())
                .collect()
        };
        let same = |one: &[f64], other: &[f64]| bits(one) == bits(other);
        self.series == other.series
            && self.rows == other.rows
            && self.values == other.values
            && same(&self.sums, &other.sums)
            && same(&self.mins, &other.mins)
            && same(&self.maxs, &other.maxs)
            && same(&self.firsts, &other.firsts)
            && same(&self.lasts, &other.lasts)
            && self.first_times == other.first_times
            && self.last_times == other.last_times
    }
}
