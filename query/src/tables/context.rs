//! What all tables of one query share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidewatch_segments::{AlertRow, DeliveryRow, Snapshot, WindowRow};

use crate::error::QueryError;
use crate::limits::LOOKUPS_MAX;
use crate::scan::Progress;
use crate::source::Source;
use crate::tables::detections::Detections;
use crate::tables::labels::LabelCache;

/// What all tables of one query share: one moment of all rows.
#[derive(Debug)]
pub(crate) struct QueryContext {
    pub(crate) snapshot: Snapshot,
    /// Taken before the snapshot: what is in neither of both is later than the query.
    pub(crate) alerts: Vec<AlertRow>,
    pub(crate) deliveries: Vec<DeliveryRow>,
    /// Closed windows that no file of the snapshot holds.
    pub(crate) windows: Arc<[Arc<WindowRow>]>,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) labels: Arc<LabelCache>,
    pub(crate) progress: Arc<Progress>,
    /// Parts of a scan that are read at the same time.
    pub(crate) threads: usize,
    /// How the series that are read are scored.
    pub(crate) detections: Detections,
    lookups: AtomicUsize,
}

impl QueryContext {
    pub(crate) fn new(
        source: Arc<dyn Source>,
        timeout: std::time::Duration,
        labels: Arc<LabelCache>,
        progress: Arc<Progress>,
        threads: usize,
    ) -> Result<Self, QueryError> {
        // ORDER: the rows in memory first. What a flush moves to a file in between is in both, and
        // told apart by its key; the other way round it would be in neither.
        let alerts = source.alerts();
        let deliveries = source.deliveries();
        let rules = source.rules();
        let (snapshot, windows) = moment(&*source, timeout)?;
        let lookups = AtomicUsize::new(0);
        let detections = Detections::new(rules, Arc::clone(&snapshot.catalog));
        Ok(Self {
            snapshot,
            alerts,
            deliveries,
            windows,
            source,
            labels,
            progress,
            threads,
            detections,
            lookups,
        })
    }

    /// Counts a table that is looked up, so that `information_schema` stays bounded.
    pub(crate) fn look_up(&self) -> Result<(), QueryError> {
        self.progress.check()?;
        if self.lookups.fetch_add(1, Ordering::Relaxed) < LOOKUPS_MAX {
            return Ok(());
        }
        Err(QueryError::Limit {
            what: "the tables that this statement looks up",
            max: LOOKUPS_MAX as u64,
            hint: "tidewatch.series lists all metrics with their labels",
        })
    }
}

/// Snapshots that are taken at most until one fits what is in memory: files of windows are seconds apart.
const MOMENTS_MAX: usize = 8;

/// Windows that no file holds.
type Windows = Arc<[Arc<WindowRow>]>;

/// A snapshot, and the windows that had closed by then and that none of its files holds.
fn moment(
    source: &dyn Source,
    timeout: std::time::Duration,
) -> Result<(Snapshot, Windows), QueryError> {
    for _ in 0..MOMENTS_MAX {
        let snapshot = source.snapshot(timeout)?;
        if let Some(windows) = source.windows(snapshot.manifest.windows_lsn(), snapshot.lsn) {
            return Ok((snapshot, windows.into()));
        }
    }
    Err(QueryError::NotReady)
}
