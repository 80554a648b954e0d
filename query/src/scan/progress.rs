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
    rollup_rows: AtomicU64,
    /// Rollups that could not be read.
    rollups_damaged: AtomicU64,
    /// Whether aggregates may be answered from rollups.
    uses_rollups: AtomicBool,
    /// Whether a rollup on which the plan relies could not be read.
    has_lost_rollup: AtomicBool,
}

impl Progress {
    pub(crate) fn new(bytes_max: u64, uses_rollups: bool) -> Self {
        Self {
            cancelled: AtomicBool::new(false),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_max,
            segments: AtomicU64::new(0),
            segments_pruned: AtomicU64::new(0),
            segments_quarantined: AtomicU64::new(0),
            damaged: Mutex::default(),
            rollup_rows: AtomicU64::new(0),
            rollups_damaged: AtomicU64::new(0),
            uses_rollups: AtomicBool::new(uses_rollups),
            has_lost_rollup: AtomicBool::new(false),
        }
    }

    /// Whether aggregates may be answered from rollups.
    pub(crate) fn uses_rollups(&self) -> bool {
        self.uses_rollups.load(Ordering::Relaxed)
    }

    /// Prepares for another attempt without rollups, if the last one ended because of one.
    pub(crate) fn goes_on_without_rollups(&self) -> bool {
        if !self.has_lost_rollup.swap(false, Ordering::Relaxed) {
            return false;
        }
        self.uses_rollups.store(false, Ordering::Relaxed);
        self.segments.store(0, Ordering::Relaxed);
        self.segments_pruned.store(0, Ordering::Relaxed);
        true
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

    /// Counts what was read of a rollup. Refuses to go on beyond the limit.
    pub(crate) fn read_rollup(&self, rows: u64, bytes: u64) -> Result<(), QueryError> {
        self.rollup_rows.fetch_add(rows, Ordering::Relaxed);
        self.read(rows, bytes)
    }

    /// Notes that a rollup cannot be read before anything relies on it.
    pub(crate) fn rollup_damaged(&self, error: &SegmentsError) {
        tracing::warn!(%error, "rollup cannot be read, its rows are");
        self.rollups_damaged.fetch_add(1, Ordering::Relaxed);
    }

    /// The error of a rollup that cannot be read, although the plan relies on it. The segment's rows
    /// are another matter: the file is not noted as damaged.
    pub(crate) fn rollup_failed(&self, source: SegmentsError) -> QueryError {
        self.rollup_damaged(&source);
        self.has_lost_rollup.store(true, Ordering::Relaxed);
        QueryError::Segments { source: Box::new(source) }
    }

    /// Rollups that could not be read.
    pub(crate) fn rollups_damaged(&self) -> u64 {
        self.rollups_damaged.load(Ordering::Relaxed)
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
            rollup_rows: self.rollup_rows.load(Ordering::Relaxed),
            bytes_scanned: self.bytes.load(Ordering::Relaxed),
            segments: self.segments.load(Ordering::Relaxed),
            segments_pruned: self.segments_pruned.load(Ordering::Relaxed),
            segments_quarantined: self.segments_quarantined.load(Ordering::Relaxed),
            ..QueryStats::default()
        }
    }
}
