//! What segments count about themselves.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

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
