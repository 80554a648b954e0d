//! What happens to segments after their flush: merged, gone through for deletes and retention, dropped.
//!
//! Finding the next task is a function of the manifest and the log's time. Carrying it out writes a
//! file that does not count yet, for as long as it takes, beside flushes; committing it takes a
//! moment, with the manifest as it is then.

use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use tidewatch_env::Disk;
use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{EventTime, Lsn, SeriesCatalog, SeriesRef, Slot, UnixNanos};

use crate::deletes::Delete;
use crate::error::SegmentsError;
use crate::file_meta::{FileKind, FileMeta, FlushedSlots};
use crate::letters::LetterLimits;
use crate::limits::KEYS_KEPT_NANOS;
use crate::manifest::{Edit, Manifest, data_name};
use crate::merge::{Erase, Merge, Merged, merge};
use crate::output::Sealed;
use crate::retention::{Retention, has_expired_series, is_expired, kept_from, retained};
use crate::segment::Segment;
use crate::slot_set::SlotSet;
use crate::tiers::due_merge;
use crate::verify::check_bytes;

/// What is to be done with some segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The segments, neighbours in the order of the log.
    pub inputs: Vec<Arc<FileMeta>>,
    /// Why, and so what with them.
    pub why: Why,
}

/// Why a task is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// They become one of this tier.
    Merge(u8),
    /// Deletes hide rows of it.
    Deleted,
    /// Rows of some series have expired.
    Expired,
    /// All rows have expired: it is dropped.
    Age,
    /// The disk's budget needs its room: it is dropped.
    Disk,
    /// Idempotency keys that are not kept any more: they are dropped.
    Keys,
    /// Dead letters that are too old or too many, or marks of such: they are dropped.
    Letters,
}

/// Finds and carries out tasks: what they depend on beside the manifest.
#[derive(Clone, Copy, Debug)]
pub struct Compaction<'a> {
    /// What is kept for how long.
    pub retention: &'a dyn Retention,
    /// The log's time.
    pub now: UnixNanos,
    /// Merge neighbours that would wait for more.
    pub force: bool,
    /// Names of the series.
    pub catalog: &'a SeriesCatalog,
    /// How much of dead letters is kept.
    pub letters: LetterLimits,
}

/// A task that was carried out, but does not count yet.
#[derive(Debug)]
pub struct Prepared {
    task: Task,
    merged: Option<(Sealed, FileMeta)>,
    deletes_lsn: Lsn,
    /// Whether rows may have been left out because they had expired.
    expires: bool,
    /// Rows that are left out.
    pub rows_erased: u64,
    /// Bytes written.
    pub bytes: u64,
}

impl Why {
    /// The name in logs and instruments.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Merge(_) => "merge",
            Self::Deleted => "delete",
            Self::Expired => "retention",
            Self::Age => "age",
            Self::Disk => "disk",
            Self::Keys => "keys",
            Self::Letters => "letters",
        }
    }

    /// Whether its segments are dropped unread.
    #[must_use]
    pub const fn is_drop(self) -> bool {
        matches!(self, Self::Age | Self::Disk | Self::Keys | Self::Letters)
    }

    /// Whether it is about samples, and not about what is beside them.
    const fn is_of_samples(self) -> bool {
        !matches!(self, Self::Keys | Self::Letters)
    }
}

impl Compaction<'_> {
    /// The next task; `None` when there is nothing to do.
    #[must_use]
    pub fn next_task(&self, manifest: &Manifest) -> Option<Task> {
        let files: Vec<_> = manifest.files_of(FileKind::Samples).cloned().collect();
        let one = |why: Why, is_due: &dyn Fn(&FileMeta) -> bool| {
            let file = files.iter().find(|file| is_due(file))?;
            Some(Task { inputs: vec![Arc::clone(file)], why })
        };
        if let Some(file) = self.expired_keys(manifest) {
            return Some(Task { inputs: vec![file], why: Why::Keys });
        }
        if let Some(file) = self.expired_letters(manifest) {
            return Some(Task { inputs: vec![file], why: Why::Letters });
        }
        one(Why::Age, &|file| is_expired(file, self.retention, self.now))
            .or_else(|| {
                one(Why::Deleted, &|file| manifest.deletes().iter().any(|d| d.applies_to(file)))
            })
            .or_else(|| {
                one(Why::Expired, &|file| has_expired_series(file, self.retention, self.now))
            })
            .or_else(|| {
                let due = due_merge(&files, self.now, self.force)?;
                Some(Task { inputs: files[due.files].to_vec(), why: Why::Merge(due.tier) })
            })
    }

    /// A file of idempotency keys none of which is kept any more. The newest one stays: it tells up to
    /// which record keys are in files.
    fn expired_keys(&self, manifest: &Manifest) -> Option<Arc<FileMeta>> {
        let newest = manifest.keys_lsn();
        let mut files = manifest.files_of(FileKind::Keys).filter(|file| file.last_lsn < newest);
        let upto = self.now.nanos().saturating_sub(KEYS_KEPT_NANOS);
        files.find(|file| file.time_max.nanos() < upto).cloned()
    }

    /// The oldest file of letters, where it is too old or there are too many, or a file of marks whose letters are gone.
    fn expired_letters(&self, manifest: &Manifest) -> Option<Arc<FileMeta>> {
        let letters = || manifest.files_of(FileKind::DeadLetters);
        let oldest = letters().next();
        let upto = self.now.nanos().saturating_sub(self.letters.keep_nanos);
        let is_over = |oldest: &&Arc<FileMeta>| {
            oldest.time_max.nanos() < upto
                || letters().map(|file| file.bytes).sum::<u64>() > self.letters.bytes_max
                || letters().map(|file| file.rows).sum::<u64>() > self.letters.letters_max
        };
        let first = oldest.map(|file| file.first_lsn);
        // A mark stands behind its letter in the log, and both go into files in its order.
        let is_idle = |marks: &&Arc<FileMeta>| first.is_none_or(|first| marks.last_lsn < first);
        let mut marks = manifest.files_of(FileKind::LetterMarks);
        oldest.filter(is_over).or_else(|| marks.find(is_idle)).cloned()
    }

    /// Carries a task out, as far as that can be done beside flushes. `pace` is told how many rows
    /// were read since its last call, and gives the task up with `false`: `None` then.
    ///
    /// # Errors
    /// Damage, and what the disk or the format's library reports. Nothing has changed then.
    pub fn prepare(
        &self,
        (disk, dir): (&Arc<dyn Disk>, &Path),
        manifest: &Manifest,
        task: Task,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Prepared>, SegmentsError> {
        let deletes_lsn = manifest.deletes_lsn();
        let expires = retained(self.retention, self.now).is_some();
        if task.why.is_drop() {
            let rows = task.inputs.iter().map(|file| file.rows);
            let rows_erased = rows.filter(|_| task.why.is_of_samples()).sum();
            let (merged, bytes) = (None, 0);
            return Ok(Some(Prepared { task, merged, deletes_lsn, expires, rows_erased, bytes }));
        }
        let open =
            |meta: &Arc<FileMeta>| Arc::new(Segment::open(Arc::clone(disk), dir, Arc::clone(meta)));
        let inputs: Vec<_> = task.inputs.iter().map(open).collect();
        let deletes = task.inputs.iter().map(|file| {
            manifest.deletes().iter().filter(|delete| delete.applies_to(file)).collect()
        });
        let erase = Erasure {
            deletes: deletes.collect(),
            catalog: self.catalog,
            retention: self.retention,
            now: self.now,
        };
        let merged = merge(
            &**disk,
            dir,
            Merge { inputs: &inputs, catalog: self.catalog, erase: &erase, pace },
        )?;
        let (merged, rows_erased) = match merged {
            Merged::GivenUp => return Ok(None),
            Merged::Empty { rows_erased } => (None, rows_erased),
            Merged::Segment { sealed, meta, rows_erased } => {
                (Some((sealed, self.describe(*meta, &task, deletes_lsn, rows_erased))), rows_erased)
            }
        };
        let bytes = merged.as_ref().map_or(0, |(_, meta)| meta.bytes);
        Ok(Some(Prepared { task, merged, deletes_lsn, expires, rows_erased, bytes }))
    }

    /// What the manifest says of the rows of a task's inputs.
    fn describe(
        &self,
        merged: FileMeta,
        task: &Task,
        deletes_lsn: Lsn,
        rows_erased: u64,
    ) -> FileMeta {
        let tiers = task.inputs.iter().map(|file| file.tier).max().unwrap_or_default();
        let erased_before: u64 = task.inputs.iter().map(|file| file.rows_erased).sum();
        FileMeta {
            tier: if let Why::Merge(tier) = task.why { tier } else { tiers },
            written: task.inputs.iter().map(|file| file.written).min().unwrap_or_default(),
            ends: ends(&task.inputs),
            rows_erased: erased_before + rows_erased,
            deletes_lsn,
            retained: retained(self.retention, self.now),
            ..merged
        }
    }
}

impl Prepared {
    /// What was carried out.
    #[must_use]
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Makes the task count: the version after `manifest`, durable. `None` where it has been overtaken:
    /// a segment went meanwhile, or a delete came that it should have heeded; `pending` are records of
    /// deletes that the manifest does not name yet.
    ///
    /// # Errors
    /// What the disk reports. Nothing counts then, unless it is [`SegmentsError::Unsettled`].
    pub fn commit(
        self,
        (disk, dir): (&Arc<dyn Disk>, &Path),
        manifest: &Manifest,
        pending: &[Lsn],
    ) -> Result<Option<Manifest>, SegmentsError> {
        let disk = &**disk;
        let inputs = &self.task.inputs;
        let is_there =
            |input: &Arc<FileMeta>| manifest.files().iter().any(|f| Arc::ptr_eq(f, input));
        let first = inputs.iter().map(|file| file.last_lsn).min().unwrap_or_default();
        let last = inputs.iter().map(|file| file.last_lsn).max().unwrap_or_default();
        let named = manifest.deletes().iter().map(|delete| delete.lsn);
        let mut missed = named.chain(pending.iter().copied());
        // A delete of a later record than the last one still hides the rows of the merged file.
        let is_missed = |lsn: Lsn| lsn > self.deletes_lsn && first <= lsn && lsn < last;
        if !inputs.iter().all(is_there) || missed.any(is_missed) {
            if let Some((sealed, _)) = self.merged
                && let Err(error) = sealed.discard(disk)
            {
                // The next merge replaces it, or the next start removes it.
                tracing::debug!(%error, "the file of an overtaken merge stays");
            }
            return Ok(None);
        }
        let mut edit = Edit {
            removed: inputs.iter().map(|file| file.file.clone()).collect(),
            ..Edit::default()
        };
        let is_emptied = self.merged.is_none() && self.expires;
        if self.task.why.is_drop() && self.task.why.is_of_samples() || is_emptied {
            edit.dropped = last;
        }
        if let Some((sealed, meta)) = self.merged {
            let file = data_name(FileKind::Samples, manifest.number() + 1);
            sealed.rename(disk, dir, &file)?;
            // DURABILITY: the file's name before the manifest that names it.
            disk.sync_dir(dir).map_err(SegmentsError::io("sync", dir))?;
            edit.added.push(FileMeta { file, ..meta });
        }
        manifest.commit(disk, dir, edit).map(Some)
    }
}

/// Names `deletes`, in the order of the log, in the next version of the manifest, which hides their rows.
///
/// Those that have nothing left to hide go: no file, and no head, whose oldest row is of the record
/// `unflushed`. `None` where there is nothing to change.
///
/// # Errors
/// What the disk reports.
pub fn commit_deletes(
    (disk, dir): (&Arc<dyn Disk>, &Path),
    manifest: &Manifest,
    deletes: &[Delete],
    unflushed: Option<Lsn>,
) -> Result<Option<Manifest>, SegmentsError> {
    let fresh: Vec<_> =
        deletes.iter().filter(|delete| delete.lsn > manifest.deletes_lsn()).cloned().collect();
    let done = manifest.deletes().iter().filter(|delete| {
        let files = manifest.files_of(FileKind::Samples);
        unflushed.is_none_or(|oldest| oldest > delete.lsn)
            && !files.into_iter().any(|file| delete.applies_to(file))
    });
    let done: Vec<u64> = done.map(|delete| delete.lsn.get()).collect();
    if fresh.is_empty() && done.is_empty() {
        return Ok(None);
    }
    let edit = Edit { deletes: fresh, deletes_done: done, ..Edit::default() };
    manifest.commit(&**disk, dir, edit).map(Some)
}

/// Takes the segment `file` out of the manifest if it really is damaged, so that queries go on without
/// its rows; it stays on the disk. `None` where it is whole, or not there any more.
///
/// # Errors
/// What the disk reports.
pub fn quarantine(
    (disk, dir): (&Arc<dyn Disk>, &Path),
    manifest: &Manifest,
    file: &str,
) -> Result<Option<Manifest>, SegmentsError> {
    let mut segments = manifest.files_of(FileKind::Samples);
    let Some(meta) = segments.find(|meta| meta.file == file) else { return Ok(None) };
    match check_bytes(&**disk, &dir.join(file), meta) {
        Ok(()) => return Ok(None),
        Err(SegmentsError::Io { source, .. })
            if !matches!(source.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) =>
        {
            return Err(SegmentsError::io("read", &dir.join(file))(source));
        }
        Err(_damage) => {}
    }
    let edit = Edit {
        removed: vec![meta.file.clone()],
        quarantined: vec![FileMeta::clone(meta)],
        ..Edit::default()
    };
    manifest.commit(&**disk, dir, edit).map(Some)
}

/// The rows that deletes hide and those that have expired.
#[derive(Debug)]
struct Erasure<'a> {
    /// By input.
    deletes: Vec<Vec<&'a Delete>>,
    catalog: &'a SeriesCatalog,
    retention: &'a dyn Retention,
    now: UnixNanos,
}

impl Erase for Erasure<'_> {
    fn times(&self, input: usize, series: SeriesRef) -> Vec<RangeInclusive<EventTime>> {
        let Some(entry) = self.catalog.get(series) else { return Vec::new() };
        let key = entry.key();
        let deletes = self.deletes[input].iter();
        let of_metric =
            deletes.filter(|d| d.metric.db == key.db() && d.metric.metric == key.metric());
        let mut times: Vec<_> = of_metric.map(|delete| delete.times()).collect();
        if let Some(from) = kept_from(self.retention, &entry, self.now) {
            times.push(EventTime::MIN..=EventTime::new(from.saturating_sub(1)));
        }
        disjoint(times)
    }
}

/// The same times in order, without overlaps.
fn disjoint(mut times: Vec<RangeInclusive<EventTime>>) -> Vec<RangeInclusive<EventTime>> {
    times.retain(|range| !range.is_empty());
    times.sort_by_key(|range| *range.start());
    let mut out: Vec<RangeInclusive<EventTime>> = Vec::new();
    for range in times {
        match out.last_mut() {
            Some(last) if range.start() <= last.end() => {
                let end = *last.end().max(range.end());
                *last = *last.start()..=end;
            }
            _ => out.push(range),
        }
    }
    out
}

/// Where the slots of the inputs end, if not all at the last record.
fn ends(inputs: &[Arc<FileMeta>]) -> Vec<FlushedSlots> {
    let mut by_slot: [Option<Lsn>; SLOTS] = [None; SLOTS];
    for slot in (0..=u8::MAX).map(Slot) {
        by_slot[usize::from(slot.0)] = inputs.iter().filter_map(|file| file.end_of(slot)).max();
    }
    let mut ends: Vec<FlushedSlots> = Vec::new();
    for (slot, end) in (0..=u8::MAX).map(Slot).zip(by_slot) {
        let Some(lsn) = end else { continue };
        match ends.iter_mut().find(|known| known.lsn == lsn) {
            Some(known) => known.slots.insert(slot),
            None => ends.push(FlushedSlots { lsn, slots: SlotSet::from_iter([slot]) }),
        }
    }
    if ends.len() > 1 { ends } else { Vec::new() }
}

#[cfg(test)]
#[path = "compact_tests.rs"]
mod tests;
