//! What a query has read so far, and whether it should go on.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tidewatch_segments::SegmentsError;

use crate::error::QueryError;
use crate::request::QueryStats;

/// What a query has read so far, and whether it should go on. Shared by all of its threads.
///
/// ATOMICS: relaxed throughout: the counts guard no other memory, and a query may see one batch
/// later that it was cancelled.
#[derive(Debug)]
pub(crate) struct Progress {
    cancelled: AtomicBool,
    rows: AtomicU64,
    bytes: AtomicU64,
    bytes_max: u64,
    segments: AtomicU64,
    segments_pruned: AtomicU64,
    segments_quarantined: AtomicU64,
    /// A file that could not be read.
    damaged: Mutex<Option<PathBuf>>,
}

impl Progress {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            cancelled: AtomicBool::new(false),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_max,
            segments: AtomicU64::new(0),
            segments_pruned: AtomicU64::new(0),
            segments_quarantined: AtomicU64::new(0),
            damaged: Mutex::default(),
        }
    }

    /// Tells the query to stop. Nobody waits for its answer any more.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Refuses to go on once the query was cancelled.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(QueryError::Closed) } else { Ok(()) }
    }

    /// Counts what was read. Refuses to go on beyond the limit.
    pub(crate) fn read(&self, rows: u64, bytes: u64) -> Result<(), QueryError> {
        self.check()?;
        self.rows.fetch_add(rows, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.bytes_max {
            return Err(QueryError::Limit {
                what: "the bytes read by this query",
                max: self.bytes_max,
                hint: "narrow the time range or choose fewer series",
            });
        }
        Ok(())
    }

    /// Counts the segments that a scan considers and does not read.
    pub(crate) fn pruned(&self, segments: u64, pruned: u64) {
        self.segments.fetch_add(segments, Ordering::Relaxed);
        self.segments_pruned.fetch_add(pruned, Ordering::Relaxed);
    }

    /// Notes how many segments the query has to do without.
    pub(crate) fn quarantined(&self, segments: u64) {
        self.segments_quarantined.store(segments, Ordering::Relaxed);
    }

    /// The error of a segment that cannot be read; a damaged file is noted.
    pub(crate) fn failed(&self, source: SegmentsError) -> QueryError {
        if let SegmentsError::Corrupt { path, .. } | SegmentsError::Io { path, .. } = &source {
            let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
            *damaged = Some(path.clone());
        }
        QueryError::Segments { source: Box::new(source) }
    }

    /// A file that could not be read.
    pub(crate) fn damaged(&self) -> Option<PathBuf> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The counts so far.
    pub(crate) fn stats(&self) -> QueryStats {
        QueryStats {
            rows_scanned: self.rows.load(Ordering::Relaxed),
            bytes_scanned: self.bytes.load(Ordering::Relaxed),
            segments: self.segments.load(Ordering::Relaxed),
            segments_pruned: self.segments_pruned.load(Ordering::Relaxed),
            segments_quarantined: self.segments_quarantined.load(Ordering::Relaxed),
            ..QueryStats::default()
        }
    }
}
