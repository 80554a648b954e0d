//! A fixed number of rows in atomic columns: written by one thread while others read.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use tidewatch_metrics::{EventTime, Flags, SeriesRef};

use crate::head::RowColumns;
use crate::limits::CHUNK_ROWS;

const FLAGS_BITS: u32 = 8;

/// [`CHUNK_ROWS`] rows in columns.
///
/// ATOMICS: all loads and stores are relaxed. A reader learns how many rows there are under the
/// mutex of `HeadShared`, which the writer took after it had stored them; that orders the two.
#[derive(Debug)]
pub(crate) struct Chunk {
    series: Box<[AtomicU32]>,
    times: Box<[AtomicI64]>,
    values: Box<[AtomicU64]>,
    /// Severity above flags.
    ratings: Box<[AtomicU32]>,
    time_min: AtomicI64,
    time_max: AtomicI64,
    has_late: AtomicBool,
}

/// Copied rows of a head, in columns of equal length.
#[derive(Clone, Debug, Default)]
pub struct HeadColumns {
    /// The series.
    pub series: Vec<u32>,
    /// The event time in nanoseconds.
    pub times: Vec<i64>,
    /// The value.
    pub values: Vec<f64>,
    /// The severity in steps of 1/64.
    pub severities: Vec<u16>,
    /// The bits of [`Flags`].
    pub flags: Vec<u8>,
}

/// The rows of a chunk that a reader may see.
#[derive(Clone, Debug)]
pub struct ChunkView {
    chunk: Arc<Chunk>,
    rows: usize,
}

/// One row of a chunk, for the writer of segments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rating {
    pub(crate) severity: u16,
    pub(crate) flags: u8,
}

impl Chunk {
    pub(crate) fn new() -> Self {
        Self {
            series: (0..CHUNK_ROWS).map(|_| AtomicU32::new(0)).collect(),
            times: (0..CHUNK_ROWS).map(|_| AtomicI64::new(0)).collect(),
            values: (0..CHUNK_ROWS).map(|_| AtomicU64::new(0)).collect(),
            ratings: (0..CHUNK_ROWS).map(|_| AtomicU32::new(0)).collect(),
            time_min: AtomicI64::new(i64::MAX),
            time_max: AtomicI64::new(i64::MIN),
            has_late: AtomicBool::new(false),
        }
    }

    /// Bytes that a chunk takes in memory, full or not.
    pub(crate) const fn bytes() -> usize {
        CHUNK_ROWS * (4 + 8 + 8 + 4) + size_of::<Self>()
    }

    /// Stores rows from row `at` on; they fit, as the only writer knows.
    pub(crate) fn store(&self, at: usize, rows: &RowColumns<'_>) {
        let place = at..at + rows.series.len();
        for (cell, series) in self.series[place.clone()].iter().zip(rows.series) {
            cell.store(series.0, Ordering::Relaxed);
        }
        let mut time_min = self.time_min.load(Ordering::Relaxed);
        let mut time_max = self.time_max.load(Ordering::Relaxed);
        for (cell, time) in self.times[place.clone()].iter().zip(rows.times) {
            time_min = time_min.min(time.nanos());
            time_max = time_max.max(time.nanos());
            cell.store(time.nanos(), Ordering::Relaxed);
        }
        self.time_min.store(time_min, Ordering::Relaxed);
        self.time_max.store(time_max, Ordering::Relaxed);
        for (cell, value) in self.values[place.clone()].iter().zip(rows.values) {
            cell.store(value.to_bits(), Ordering::Relaxed);
        }
        let mut all = 0;
        let ratings = rows.severities.iter().zip(rows.flags);
        for (cell, (severity, flags)) in self.ratings[place].iter().zip(ratings) {
            all |= flags.bits();
            let rating = u32::from(severity.steps()) << FLAGS_BITS | u32::from(flags.bits());
            cell.store(rating, Ordering::Relaxed);
        }
        if Flags::from_bits(all).is_late() {
            self.has_late.store(true, Ordering::Relaxed);
        }
    }
}

impl ChunkView {
    pub(crate) fn new(chunk: Arc<Chunk>, rows: usize) -> Self {
        Self { chunk, rows }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// No row is earlier; the earliest row may be later, as rows beyond the view count here.
    #[must_use]
    pub fn time_min(&self) -> EventTime {
        EventTime::new(self.chunk.time_min.load(Ordering::Relaxed))
    }

    /// No row is later; the latest row may be earlier, as rows beyond the view count here.
    #[must_use]
    pub fn time_max(&self) -> EventTime {
        EventTime::new(self.chunk.time_max.load(Ordering::Relaxed))
    }

    /// Whether late rows may be among the rows.
    #[must_use]
    pub fn has_late(&self) -> bool {
        self.chunk.has_late.load(Ordering::Relaxed)
    }

    /// Appends the rows of `range` to `out`.
    ///
    /// # Panics
    /// When `range` goes beyond [`rows`](Self::rows).
    pub fn copy(&self, range: Range<usize>, out: &mut HeadColumns) {
        assert!(range.end <= self.rows, "only published rows are copied");
        let chunk = &*self.chunk;
        let load = Ordering::Relaxed;
        out.series.extend(chunk.series[range.clone()].iter().map(|cell| cell.load(load)));
        out.times.extend(chunk.times[range.clone()].iter().map(|cell| cell.load(load)));
        let values = chunk.values[range.clone()].iter();
        out.values.extend(values.map(|cell| f64::from_bits(cell.load(load))));
        let ratings = &chunk.ratings[range];
        out.severities.extend(ratings.iter().map(|cell| rating(cell).severity));
        out.flags.extend(ratings.iter().map(|cell| rating(cell).flags));
    }

    pub(crate) fn series(&self) -> impl ExactSizeIterator<Item = SeriesRef> + '_ {
        self.chunk.series[..self.rows].iter().map(|cell| SeriesRef(cell.load(Ordering::Relaxed)))
    }

    pub(crate) fn times(&self) -> impl ExactSizeIterator<Item = i64> + '_ {
        self.chunk.times[..self.rows].iter().map(|cell| cell.load(Ordering::Relaxed))
    }

    pub(crate) fn values(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        let cells = self.chunk.values[..self.rows].iter();
        cells.map(|cell| f64::from_bits(cell.load(Ordering::Relaxed)))
    }

    pub(crate) fn ratings(&self) -> impl ExactSizeIterator<Item = Rating> + '_ {
        self.chunk.ratings[..self.rows].iter().map(rating)
    }
}

impl HeadColumns {
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

    /// Removes all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.series.clear();
        self.times.clear();
        self.values.clear();
        self.severities.clear();
        self.flags.clear();
    }
}

fn rating(cell: &AtomicU32) -> Rating {
    let [flags, low, high, _] = cell.load(Ordering::Relaxed).to_le_bytes();
    Rating { severity: u16::from_le_bytes([low, high]), flags }
}
