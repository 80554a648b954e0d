//! What segments count about themselves.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::compact::{Task, Why};
use crate::flush::Flushed;

/// What flushes count.
#[derive(Clone, Debug)]
pub struct SegmentsInstruments {
    /// `tidewatch_segments_flushed_rows_total`: samples written to segments.
    pub flushed_rows: Counter,
    /// `tidewatch_segments_flushed_bytes_total`: bytes of all files written by flushes.
    pub flushed_bytes: Counter,
    /// `tidewatch_segments_flushed_files_total`: files written by flushes.
    pub flushed_files: Counter,
    /// `tidewatch_segments_flush_seconds`: duration of flushes that succeeded.
    pub flush_seconds: Histogram,
}

impl Default for SegmentsInstruments {
    fn default() -> Self {
        Self {
            flushed_rows: Counter::default(),
            flushed_bytes: Counter::default(),
            flushed_files: Counter::default(),
            // 1 ms to 65 s.
            flush_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 17)),
        }
    }
}

impl SegmentsInstruments {
    /// Adds what one flush did, and how long it took.
    pub fn count(&self, flushed: &Flushed, seconds: f64) {
        self.flushed_rows.inc_by(flushed.rows);
        self.flushed_bytes.inc_by(flushed.bytes);
        self.flushed_files.inc_by(flushed.files);
        self.flush_seconds.observe(seconds);
    }

    /// Makes the instruments readable under their names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "tidewatch_segments_flushed_rows",
            "Samples written to segments",
            self.flushed_rows.clone(),
        );
        registry.register(
            "tidewatch_segments_flushed_bytes",
            "Bytes of all files written by flushes",
            self.flushed_bytes.clone(),
        );
        registry.register(
            "tidewatch_segments_flushed_files",
            "Files written by flushes",
            self.flushed_files.clone(),
        );
        registry.register(
            "tidewatch_segments_flush_seconds",
            "Duration of flushes",
            self.flush_seconds.clone(),
        );
    }
}

/// What happens to segments after their flush.
#[derive(Clone, Debug)]
pub struct CompactionInstruments {
    /// `tidewatch_segments_merges_total`: tasks in which segments were read and written anew.
    pub merges: Counter,
    /// `tidewatch_segments_merged_rows_total`: rows that those segments had.
    pub merged_rows: Counter,
    /// `tidewatch_segments_merged_bytes_total`: bytes written by them. With
    /// `tidewatch_segments_flushed_bytes_total` it gives the write amplification:
    /// (flushed + merged) / flushed.
    pub merged_bytes: Counter,
    /// `tidewatch_segments_rows_erased_total{why}`: rows removed, by reason.
    pub rows_erased: Family<[(&'static str, &'static str); 1], Counter>,
    /// `tidewatch_segments_merge_seconds`: duration of merges.
    pub merge_seconds: Histogram,
    /// `tidewatch_segments_quarantined_total`: segments found damaged, without which queries go on.
    pub quarantined: Counter,
    /// `tidewatch_disk_bytes`: what the data directory takes.
    pub disk_bytes: Gauge,
}

impl Default for CompactionInstruments {
    fn default() -> Self {
        let rows_erased = Family::<[(&'static str, &'static str); 1], Counter>::default();
        for why in [Why::Deleted, Why::Expired, Why::Age, Why::Disk] {
            // Zero is shown as well, so that an alarm knows the name.
            drop(rows_erased.get_or_create(&[("why", why.name())]));
        }
        Self {
            merges: Counter::default(),
            merged_rows: Counter::default(),
            merged_bytes: Counter::default(),
            rows_erased,
            // 10 ms to 11 min.
            merge_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 17)),
            quarantined: Counter::default(),
            disk_bytes: Gauge::default(),
        }
    }
}

impl CompactionInstruments {
    /// Adds what a task did: rows that were left out, bytes written, and how long it took.
    pub fn count(&self, task: &Task, (rows_erased, bytes): (u64, u64), seconds: f64) {
        if !task.why.is_drop() {
            self.merges.inc();
            self.merged_rows.inc_by(task.inputs.iter().map(|file| file.rows).sum());
            self.merged_bytes.inc_by(bytes);
            self.merge_seconds.observe(seconds);
        }
        if rows_erased > 0 {
            // A merge leaves out what has expired meanwhile.
            let why = if let Why::Merge(_) = task.why { Why::Expired } else { task.why };
            self.rows_erased.get_or_create(&[("why", why.name())]).inc_by(rows_erased);
        }
    }

    /// Makes the instruments readable under their names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "tidewatch_segments_merges",
            "Tasks in which segments were read and written anew",
            self.merges.clone(),
        );
        registry.register(
            "tidewatch_segments_merged_rows",
            "Rows that went through merges",
            self.merged_rows.clone(),
        );
        registry.register(
            "tidewatch_segments_merged_bytes",
            "Bytes written by merges",
            self.merged_bytes.clone(),
        );
        registry.register(
            "tidewatch_segments_rows_erased",
            "Rows removed, by reason",
            self.rows_erased.clone(),
        );
        registry.register(
            "tidewatch_segments_merge_seconds",
            "Duration of merges",
            self.merge_seconds.clone(),
        );
        registry.register(
            "tidewatch_segments_quarantined",
            "Segments found damaged, without which queries go on",
            self.quarantined.clone(),
        );
        registry.register(
            "tidewatch_disk_bytes",
            "What the data directory takes",
            self.disk_bytes.clone(),
        );
    }
}
