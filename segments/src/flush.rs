//! Frozen rows, new series, events, keys, windows and letters become files, and the files become a version of the manifest.

use std::path::Path;
use std::sync::Arc;

use tidewatch_env::Disk;
use tidewatch_metrics::{Lsn, SeriesCatalog, UnixNanos};

use crate::deletes::Delete;
use crate::error::SegmentsError;
use crate::events::{AlertRow, DeliveryRow, write_alerts, write_deliveries};
use crate::file_meta::{FileKind, FlushedSlots};
use crate::keys_file::{KeyRow, write_keys};
use crate::letter_marks::write_marks;
use crate::letters::{LetterMarkRow, LetterRow};
use crate::letters_file::write_letters;
use crate::manifest::{Edit, Manifest, SeriesKnown, data_name};
use crate::series_file::{FreshSeries, write_series};
use crate::slot_set::SlotSet;
use crate::view::FrozenHead;
use crate::windows::{WindowRow, write_windows};
use crate::writer::{SegmentRows, write_segment};

/// What becomes durable outside of the log.
#[derive(Clone, Copy, Debug)]
pub struct Flush<'a> {
    /// Frozen heads of one shard in the order of the log; their last record must be durable in the
    /// log, or a crash could leave rows that were never acknowledged. No delete may stand between
    /// them. May be empty.
    pub frozen: &'a [Arc<FrozenHead>],
    /// All slots of that shard: their rows are in files up to the last frozen record then.
    pub slots: SlotSet,
    /// Names of the series.
    pub catalog: &'a SeriesCatalog,
    /// Alerts, deliveries, keys, windows and letters that no file has yet.
    pub events: Events<'a>,
    /// The log's time.
    pub now: UnixNanos,
}

/// Alerts, deliveries, keys, windows and letters of records up to a durable one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Events<'a> {
    /// Transitions in the order of the log.
    pub alerts: &'a [AlertRow],
    /// Attempts in the order of the log.
    pub deliveries: &'a [DeliveryRow],
    /// The last record whose attempts are among them.
    pub last_lsn: Lsn,
    /// Idempotency keys in the order of the log.
    pub keys: &'a [KeyRow],
    /// Windows in the order in which they closed, all of those of the last record among them.
    pub windows: &'a [Arc<WindowRow>],
    /// Letters in the order of the log.
    pub letters: &'a [Arc<LetterRow>],
    /// What was done with letters, in the order of the log.
    pub letter_marks: &'a [LetterMarkRow],
    /// The last record whose letters and marks are all among them.
    pub letters_lsn: Lsn,
}

/// What a flush did.
#[derive(Debug)]
pub struct Flushed {
    /// The new version, durable.
    pub manifest: Manifest,
    /// Rows of samples written.
    pub rows: u64,
    /// Files written.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
}

/// Writes all of `flush` to `dir` and names it in the next version of `manifest`.
///
/// A function of its arguments and the disk. One caller at a time; when it fails, nothing counts
/// and it may be called again, unless the error is [`SegmentsError::Unsettled`].
///
/// # Errors
/// What the disk or the format's library reports, and [`SegmentsError::UnknownSeries`].
///
/// # Panics
/// When the frozen heads are not in the order of the log, or a delete stands between them, which is
/// a bug of the caller.
pub fn flush(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    manifest: &Manifest,
    flush: &Flush<'_>,
) -> Result<Flushed, SegmentsError> {
    let disk = &**disk;
    let name = |kind| data_name(kind, manifest.number() + 1);
    let mut edit = Edit::default();
    let mut rows = 0;
    if let (Some(first), Some(last)) = (flush.frozen.first(), flush.frozen.last()) {
        assert!(flush.frozen.is_sorted_by(|a, b| a.last_lsn <= b.first_lsn), "in log order");
        let between = |delete: &Delete| first.last_lsn <= delete.lsn && delete.lsn < last.last_lsn;
        assert!(!manifest.deletes().iter().any(between), "rows of both sides of a delete");
        let views: Vec<_> = flush.frozen.iter().map(|frozen| frozen.view()).collect();
        let segment_rows = SegmentRows {
            views: &views,
            first_lsn: first.first_lsn,
            last_lsn: last.last_lsn,
            // Of the others, files have the rows up to this record already: after a start with another
            // number of shards, those of a slot may lie further ahead than its new shard is.
            slots: flush
                .slots
                .iter()
                .filter(|s| manifest.flushed_lsn(*s) < last.last_lsn)
                .collect(),
            catalog: flush.catalog,
        };
        let segment = write_segment(disk, dir, name(FileKind::Samples), &segment_rows)?;
        rows = segment.meta.rows;
        let known = (manifest.series_end(), manifest.series_missing());
        let fresh = FreshSeries::of(flush.catalog, segment.refs_end, known.0, known.1);
        edit.added.push(segment.meta);
        if !fresh.series.is_empty() {
            let file = name(FileKind::Series);
            edit.added.push(write_series(disk, dir, file, &fresh.series, last.last_lsn)?);
        }
        edit.series = Some(SeriesKnown { end: fresh.end, missing: fresh.missing });
        edit.flushed = Some(FlushedSlots { lsn: last.last_lsn, slots: flush.slots });
    }
    let events = &flush.events;
    if !events.alerts.is_empty() {
        edit.added.push(write_alerts(disk, dir, name(FileKind::Alerts), events.alerts)?);
    }
    if !events.deliveries.is_empty() {
        let file = name(FileKind::Deliveries);
        let last_lsn = events.last_lsn;
        edit.added.push(write_deliveries(disk, dir, file, events.deliveries, last_lsn)?);
    }
    if !events.keys.is_empty() {
        edit.added.push(write_keys(disk, dir, name(FileKind::Keys), events.keys)?);
    }
    if !events.windows.is_empty() {
        edit.added.push(write_windows(disk, dir, name(FileKind::Percentiles), events.windows)?);
    }
    if !events.letters.is_empty() {
        edit.added.push(write_letters(disk, dir, name(FileKind::DeadLetters), events.letters)?);
    }
    if !events.letter_marks.is_empty() {
        edit.added.push(write_marks(disk, dir, name(FileKind::LetterMarks), events.letter_marks)?);
    }
    edit.letters = events.letters_lsn;
    edit.added.iter_mut().for_each(|file| file.written = flush.now);
    // DURABILITY: the files' names before the manifest that names them.
    disk.sync_dir(dir).map_err(SegmentsError::io("sync", dir))?;
    let files = edit.added.len() as u64;
    let bytes = edit.added.iter().map(|file| file.bytes).sum();
    let manifest = manifest.commit(disk, dir, edit)?;
    Ok(Flushed { manifest, rows, files, bytes })
}

#[cfg(test)]
#[path = "flush_tests.rs"]
mod tests;
