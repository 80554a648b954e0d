//! The newest rows of one shard, in memory.

use std::sync::Arc;

use tidewatch_metrics::{EventTime, Flags, Lsn, SeriesRef, Severity};

use crate::chunk::Chunk;
use crate::late_hours::LateHours;
use crate::limits::CHUNK_ROWS;
use crate::view::{FrozenHead, HeadShared};

/// Rows in columns of equal length.
#[derive(Clone, Copy, Debug)]
pub struct RowColumns<'a> {
    /// The series.
    pub series: &'a [SeriesRef],
    /// The event time.
    pub times: &'a [EventTime],
    /// The value.
    pub values: &'a [f64],
    /// The severity.
    pub severities: &'a [Severity],
    /// What else is known of the row.
    pub flags: &'a [Flags],
}

/// The newest rows of one shard, which is their only writer.
///
/// Readers never wait for the writer, nor the writer for them: rows are stored into atomic cells
/// and become visible by [`publish`](Self::publish), which takes a mutex for some nanoseconds.
#[derive(Debug)]
pub struct Head {
    shared: Arc<HeadShared>,
    tail: Option<Arc<Chunk>>,
    rows: usize,
    published: usize,
    late_fresh: LateHours,
}

impl Head {
    /// An empty head, and what its readers use until the first [`freeze`](Self::freeze).
    #[must_use]
    pub fn new() -> (Self, Arc<HeadShared>) {
        let shared = Arc::new(HeadShared::default());
        let head = Self {
            shared: Arc::clone(&shared),
            tail: None,
            rows: 0,
            published: 0,
            late_fresh: LateHours::NONE,
        };
        (head, shared)
    }

    /// Appends rows. Nobody sees them before they are [published](Self::publish).
    ///
    /// # Panics
    /// When the columns differ in length, which is a bug of the caller.
    pub fn append(&mut self, rows: &RowColumns<'_>) {
        rows.check();
        let mut rest = *rows;
        while !rest.series.is_empty() {
            let at = self.rows % CHUNK_ROWS;
            if at == 0 {
                self.tail = Some(self.shared.add_chunk());
            }
            let (front, back) = rest.split_at((CHUNK_ROWS - at).min(rest.series.len()));
            self.tail.as_ref().expect("a chunk was added for the first row").store(at, &front);
            self.rows += front.series.len();
            rest = back;
        }
        for (time, flags) in rows.times.iter().zip(rows.flags) {
            if flags.is_late() {
                self.late_fresh.insert(*time);
            }
        }
    }

    /// Shows readers the rows so far: they belong to records up to `lsn`.
    ///
    /// # Panics
    /// When `lsn` is less than one published before.
    pub fn publish(&mut self, lsn: Lsn) {
        self.shared.publish(lsn, self.rows, &self.late_fresh);
        self.published = self.rows;
        if !self.late_fresh.is_empty() {
            self.late_fresh = LateHours::NONE;
        }
    }

    /// Tells that no reader will ask for a position below `lsn` (the durable one) any more.
    pub fn forget_marks_below(&mut self, lsn: Lsn) {
        self.shared.forget_marks_below(lsn);
    }

    /// Rows so far, published or not.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory that the rows take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.div_ceil(CHUNK_ROWS) * Chunk::bytes()
    }

    /// Takes all rows, which stay readable as long as somebody holds them, and starts empty.
    /// `None` without rows.
    ///
    /// Readers must change over at the same moment: a shard calls
    /// [`Published::freeze`](crate::Published::freeze) instead.
    ///
    /// # Panics
    /// When rows have not been published, which is a bug of the caller.
    pub fn freeze(&mut self) -> Option<Arc<FrozenHead>> {
        assert!(self.rows == self.published, "rows are frozen between records only");
        if self.rows == 0 {
            return None;
        }
        let shared = std::mem::take(&mut self.shared);
        self.tail = None;
        self.rows = 0;
        self.published = 0;
        Some(Arc::new(FrozenHead::new(shared)))
    }

    /// What readers of the rows since the last freeze use.
    #[must_use]
    pub fn shared(&self) -> Arc<HeadShared> {
        Arc::clone(&self.shared)
    }
}

impl RowColumns<'_> {
    fn check(&self) {
        let rows = self.series.len();
        assert!(
            [self.times.len(), self.values.len(), self.severities.len(), self.flags.len()]
                == [rows; 4],
            "equal columns"
        );
    }

    fn split_at(&self, row: usize) -> (Self, Self) {
        let (series, series_rest) = self.series.split_at(row);
        let (times, times_rest) = self.times.split_at(row);
        let (values, values_rest) = self.values.split_at(row);
        let (severities, severities_rest) = self.severities.split_at(row);
        let (flags, flags_rest) = self.flags.split_at(row);
        (
            Self { series, times, values, severities, flags },
            Self {
                series: series_rest,
                times: times_rest,
                values: values_rest,
                severities: severities_rest,
                flags: flags_rest,
            },
        )
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
