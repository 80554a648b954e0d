//! What the log counts about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Counters of the log; a clone counts into the same ones.
#[derive(Clone, Debug)]
pub struct WalInstruments {
    /// `tidewatch_wal_records_appended_total`: records written, marks included.
    pub records_appended: Counter,
    /// `tidewatch_wal_bytes_appended_total`: bytes of the frames written.
    pub bytes_appended: Counter,
    /// `tidewatch_wal_syncs_total`: syncs of the log that succeeded.
    pub syncs: Counter,
    /// `tidewatch_wal_sync_seconds`: how long they took.
    pub sync_seconds: Histogram,
    /// `tidewatch_wal_torn_bytes_cut_total`: bytes of unfinished writes that recovery cut off.
    pub torn_bytes_cut: Counter,
    /// `tidewatch_wal_segments_created_total`: files filled with zeros for the log.
    pub segments_created: Counter,
    /// `tidewatch_wal_segments_recycled_total`: released files kept for reuse.
    pub segments_recycled: Counter,
    /// `tidewatch_wal_segments_removed_total`: released files removed.
    pub segments_removed: Counter,
}

/// What the archive shows of itself; a clone shows the same.
#[derive(Clone, Debug, Default)]
pub struct ArchiveInstruments {
    /// `tidewatch_wal_archive_files`: files in the archive.
    pub files: Gauge,
    /// `tidewatch_wal_archive_bytes`: their bytes.
    pub bytes: Gauge,
    /// `tidewatch_wal_archived_bytes_total`: bytes of WAL segments stored in it, before packing.
    pub archived_bytes: Counter,
    /// `tidewatch_wal_archive_expired_files_total`: files removed from it.
    pub expired_files: Counter,
}

impl ArchiveInstruments {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| {
            registry.register(format!("tidewatch_wal_{name}"), help, gauge.clone());
        };
        gauge("archive_files", "Files in the archive", &self.files);
        gauge("archive_bytes", "Bytes of the files in the archive", &self.bytes);
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("tidewatch_wal_{name}"), help, counter.clone());
        };
        counter("archived_bytes", "Bytes archived, before packing", &self.archived_bytes);
        counter("archive_expired_files", "Files removed from the archive", &self.expired_files);
    }
}

impl Default for WalInstruments {
    fn default() -> Self {
        Self {
            records_appended: Counter::default(),
            bytes_appended: Counter::default(),
            syncs: Counter::default(),
            // 16 us to 0.5 s: from below the best measured fdatasync to a disk in trouble.
            sync_seconds: Histogram::new(exponential_buckets(16e-6, 2.0, 16)),
            torn_bytes_cut: Counter::default(),
            segments_created: Counter::default(),
            segments_recycled: Counter::default(),
            segments_removed: Counter::default(),
        }
    }
}

impl WalInstruments {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(format!("tidewatch_wal_{name}"), help, counter.clone());
        };
        counter("records_appended", "Records written, marks included", &self.records_appended);
        counter("bytes_appended", "Bytes of the frames written", &self.bytes_appended);
        counter("syncs", "Syncs of the log that succeeded", &self.syncs);
        counter("torn_bytes_cut", "Bytes of unfinished writes cut off", &self.torn_bytes_cut);
        counter("segments_created", "Files filled with zeros", &self.segments_created);
        counter("segments_recycled", "Released files kept for reuse", &self.segments_recycled);
        counter("segments_removed", "Released files removed", &self.segments_removed);
        registry.register(
            "tidewatch_wal_sync_seconds",
            "Duration of syncs",
            self.sync_seconds.clone(),
        );
    }
}
