//! Which files count: a chain of numbered deltas.
//!
//! `manifest/00000000000000000001.json` makes version 1 of the manifest, and so on; each file is
//! created if it is absent, written, synced, and its directory synced. A delta whose number is a
//! multiple of [`DELTAS_PER_FULL`] names everything, and those before it are removed. The same
//! protocol works on an object store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::{Disk, OpenMode, read_file};
use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{Lsn, Slot};

use crate::deletes::Delete;
use crate::delta::{BadDelta, Delta, RefRange};
use crate::error::SegmentsError;
use crate::file_meta::{FileKind, FileMeta, FlushedSlots};
use crate::limits::{DELTA_BYTES_MAX, DELTAS_PER_FULL};
use crate::output::TEMPORARY;
use crate::slot_set::SlotSet;

const MANIFEST_DIR: &str = "manifest";
const NUMBER_DIGITS: usize = 20;
const DELTA_END: &str = ".json";
const DATA_END: &str = ".parquet";

/// One version of the manifest. It never changes; [`flush`](crate::flush()) makes the next one.
///
/// Invariant: of two files with rows of one slot, the one with the later rows stands later. A flush goes to the
/// end, and a merge takes the place of its inputs, which are neighbours. Their last records give no such order:
/// a merge of two shards ends where the faster one does, and the slower one flushes older records afterwards.
#[derive(Clone, Debug)]
pub struct Manifest {
    number: u64,
    /// The delta with which reading begins; files of earlier ones are left-overs.
    chain_start: u64,
    files: Vec<Arc<FileMeta>>,
    flushed: Box<[Lsn; SLOTS]>,
    series_end: u32,
    series_missing: Vec<RefRange>,
    /// In the order of their records.
    deletes: Vec<Delete>,
    deletes_lsn: Lsn,
    dropped_lsn: Lsn,
    letters_lsn: Lsn,
    quarantined: Vec<Arc<FileMeta>>,
}

/// What the next version has that this one has not.
#[derive(Debug, Default)]
pub(crate) struct Edit {
    pub(crate) added: Vec<FileMeta>,
    /// Names of files.
    pub(crate) removed: Vec<String>,
    pub(crate) flushed: Option<FlushedSlots>,
    pub(crate) series: Option<SeriesKnown>,
    /// In the order of their records, all later than those known.
    pub(crate) deletes: Vec<Delete>,
    /// Records of deletes.
    pub(crate) deletes_done: Vec<u64>,
    /// The greatest last record of files among `removed` whose rows had expired or had no room.
    pub(crate) dropped: Lsn,
    /// Letters of records up to this one are in files; an earlier one than before says nothing.
    pub(crate) letters: Lsn,
    /// Those of `removed` that are damaged.
    pub(crate) quarantined: Vec<FileMeta>,
}

/// Which references have been looked at for the files of series.
#[derive(Debug)]
pub(crate) struct SeriesKnown {
    pub(crate) end: u32,
    pub(crate) missing: Vec<RefRange>,
}

/// What can be read of a damaged manifest.
#[derive(Debug)]
pub(crate) struct WholePart {
    pub(crate) manifest: Manifest,
    /// Deltas behind it that are damaged, or that cannot count because one before them is.
    pub(crate) behind: Vec<DeltaBehind>,
}

/// A delta that cannot be taken.
#[derive(Debug)]
pub(crate) struct DeltaBehind {
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    /// As if a crash had torn it while it was created.
    pub(crate) was_torn: bool,
    pub(crate) error: SegmentsError,
}

/// What a salvaged manifest says anew.
#[derive(Debug)]
pub(crate) struct Restated {
    pub(crate) added: Vec<FileMeta>,
    pub(crate) flushed: Box<[Lsn; SLOTS]>,
    pub(crate) series_end: u32,
    pub(crate) series_missing: Vec<RefRange>,
}

/// A manifest that was read, and what a crash left of the delta after it.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) manifest: Manifest,
    pub(crate) torn: Option<PathBuf>,
}

impl Manifest {
    /// Reads the manifest of the segments in `dir`, which is created if it is missing.
    ///
    /// A last delta that a crash tore while it was created never counted; it is removed.
    ///
    /// # Errors
    /// [`SegmentsError::Corrupt`] and [`SegmentsError::NewerFormat`], and what the disk reports.
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, SegmentsError> {
        Self::open_at_least(disk, dir, 0)
    }

    /// As [`open`](Self::open), for whoever relies on the version `least`: an earlier one is damage,
    /// and nothing is changed then.
    ///
    /// # Errors
    /// As there.
    pub fn open_at_least(disk: &dyn Disk, dir: &Path, least: u64) -> Result<Self, SegmentsError> {
        let deltas = dir.join(MANIFEST_DIR);
        disk.create_dir_all(&deltas).map_err(SegmentsError::io("create", &deltas))?;
        let read = Self::read(disk, dir)?;
        if read.manifest.number < least {
            let last = deltas.join(delta_name(read.manifest.number + 1));
            return Err(SegmentsError::corrupt(&last, 0, "it is cut or missing, and it counted"));
        }
        if let Some(torn) = &read.torn {
            tracing::warn!(file = %torn.display(), "removing a manifest delta torn by a crash");
            disk.remove(torn).map_err(SegmentsError::io("remove", torn))?;
            // DURABILITY: before the number is used again, or the torn file could come back.
            disk.sync_dir(&deltas).map_err(SegmentsError::io("sync", &deltas))?;
        }
        Ok(read.manifest)
    }

    /// As [`open`](Self::open), but nothing is changed, also where there is nothing yet.
    ///
    /// # Errors
    /// As there.
    pub fn open_read_only(disk: &dyn Disk, dir: &Path) -> Result<Self, SegmentsError> {
        let deltas = dir.join(MANIFEST_DIR);
        let there = disk.exists(&deltas).map_err(SegmentsError::io("look for", &deltas))?;
        if there { Ok(Self::read(disk, dir)?.manifest) } else { Ok(Self::empty()) }
    }

    /// Reads the manifest and changes nothing.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Read, SegmentsError> {
        let deltas = dir.join(MANIFEST_DIR);
        let numbers = delta_numbers(disk, &deltas)?;
        let mut torn = None;
        let mut chain: Vec<Delta> = Vec::new();
        for number in numbers.iter().rev() {
            let path = deltas.join(delta_name(*number));
            let bytes = read_file(disk, &path, DELTA_BYTES_MAX)
                .map_err(SegmentsError::io("read", &path))?;
            match Delta::decode(&bytes) {
                Err(BadDelta::Torn) if chain.is_empty() && torn.is_none() => torn = Some(path),
                Err(bad) => return Err(bad.error(&path)),
                Ok(delta) => {
                    check_link(&path, *number, &delta, chain.last())?;
                    let is_full = delta.full;
                    chain.push(delta);
                    if is_full {
                        break;
                    }
                }
            }
        }
        if let Some(first) = chain.last().filter(|first| !first.full) {
            let missing = deltas.join(delta_name(first.previous));
            return Err(SegmentsError::corrupt(
                &missing,
                0,
                "it is missing, and the next one counts",
            ));
        }
        let mut manifest = Self::empty();
        manifest.chain_start = chain.last().map_or(0, |first| first.number);
        for delta in chain.into_iter().rev() {
            manifest.apply(&deltas, delta)?;
        }
        Ok(Read { manifest, torn })
    }

    /// Reads as much of the manifest as is whole, and changes nothing: the newest full delta that can
    /// be read, and what follows it without a break.
    ///
    /// # Errors
    /// [`SegmentsError::NewerFormat`], and what the disk reports.
    pub(crate) fn read_whole_part(disk: &dyn Disk, dir: &Path) -> Result<WholePart, SegmentsError> {
        let deltas = dir.join(MANIFEST_DIR);
        let there = disk.exists(&deltas).map_err(SegmentsError::io("look for", &deltas))?;
        let numbers = if there { delta_numbers(disk, &deltas)? } else { Vec::new() };
        let mut manifest = Self::empty();
        let mut behind: Vec<DeltaBehind> = Vec::new();
        for number in numbers {
            let path = deltas.join(delta_name(number));
            let bytes = match read_file(disk, &path, DELTA_BYTES_MAX) {
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Vec::new(),
                read => read.map_err(SegmentsError::io("read", &path))?,
            };
            let delta = match Delta::decode(&bytes) {
                Err(BadDelta::Newer(found)) => return Err(BadDelta::Newer(found).error(&path)),
                decoded => decoded.map_err(|bad| (bad, bad.error(&path))),
            };
            let was_torn = matches!(&delta, Err((BadDelta::Torn, _)));
            let applied = delta.map_err(|(_, error)| error).and_then(|delta| {
                check_link(&path, number, &delta, None)?;
                let follows = delta.full || behind.is_empty() && manifest.number + 1 == number;
                if !follows {
                    return Err(SegmentsError::corrupt(&path, 0, "one before it is missing"));
                }
                let mut next = manifest.clone();
                if delta.full {
                    next.chain_start = number;
                }
                next.apply(&deltas, delta)?;
                Ok(next)
            });
            match applied {
                Ok(next) => {
                    if next.chain_start == number {
                        behind.clear();
                    }
                    manifest = next;
                }
                Err(error) => behind.push(DeltaBehind { path, number, was_torn, error }),
            }
        }
        Ok(WholePart { manifest, behind })
    }

    /// Names `added` and the files that `keep` says, in a full delta of the version `number`, with rows
    /// of slots up to `flushed` in files. All files that it names must be durable already.
    pub(crate) fn restate(
        &self,
        (disk, dir): (&dyn Disk, &Path),
        number: u64,
        keep: impl Fn(&FileMeta) -> bool,
        restated: Restated,
    ) -> Result<(), SegmentsError> {
        let mut next = self.clone();
        next.number = number;
        next.chain_start = number;
        next.files.retain(|file| keep(file));
        next.files.extend(restated.added.into_iter().map(Arc::new));
        next.flushed = restated.flushed;
        next.series_end = restated.series_end;
        next.series_missing = restated.series_missing;
        write_delta(disk, &dir.join(MANIFEST_DIR), &next.to_full())
    }

    /// The manifest of a directory without files.
    pub(crate) fn empty() -> Self {
        Self {
            number: 0,
            chain_start: 0,
            files: Vec::new(),
            flushed: Box::new([Lsn::ZERO; SLOTS]),
            series_end: 0,
            series_missing: Vec::new(),
            deletes: Vec::new(),
            deletes_lsn: Lsn::ZERO,
            dropped_lsn: Lsn::ZERO,
            letters_lsn: Lsn::ZERO,
            quarantined: Vec::new(),
        }
    }

    /// The version: one more with every flush.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// All files, in the order of their last record.
    #[must_use]
    pub fn files(&self) -> &[Arc<FileMeta>] {
        &self.files
    }

    /// The files of one kind, in the order of their last record.
    pub fn files_of(&self, kind: FileKind) -> impl Iterator<Item = &Arc<FileMeta>> {
        self.files.iter().filter(move |file| file.kind == kind)
    }

    /// The last record whose rows of a slot are in segments.
    #[must_use]
    pub fn flushed_lsn(&self, slot: Slot) -> Lsn {
        self.flushed[usize::from(slot.0)]
    }

    /// The last record whose rows of a slot are in segments, for every slot.
    #[must_use]
    pub fn flushed(&self) -> &[Lsn; SLOTS] {
        &self.flushed
    }

    /// The last record whose transitions and deliveries are in files.
    #[must_use]
    pub fn events_lsn(&self) -> Lsn {
        let events = self.files.iter();
        let events =
            events.filter(|file| matches!(file.kind, FileKind::Alerts | FileKind::Deliveries));
        events.map(|file| file.last_lsn).max().unwrap_or_default()
    }

    /// Deletes that hide rows of files, or of heads that wait for their flush, in the order of the log.
    #[must_use]
    pub fn deletes(&self) -> &[Delete] {
        &self.deletes
    }

    /// Deletes of records up to this one are known here, or done.
    #[must_use]
    pub fn deletes_lsn(&self) -> Lsn {
        self.deletes_lsn
    }

    /// Of records up to this one, files may be missing whose rows had expired, or had no room.
    #[must_use]
    pub fn dropped_lsn(&self) -> Lsn {
        self.dropped_lsn
    }

    /// Segments that were found damaged: their rows are missing.
    #[must_use]
    pub fn quarantined(&self) -> &[Arc<FileMeta>] {
        &self.quarantined
    }

    /// The last record whose idempotency key is in a file.
    #[must_use]
    pub fn keys_lsn(&self) -> Lsn {
        self.files_of(FileKind::Keys).map(|file| file.last_lsn).max().unwrap_or_default()
    }

    /// Letters of records up to this one, and what was done with letters by such records, are in files, or gone.
    #[must_use]
    pub fn letters_lsn(&self) -> Lsn {
        self.letters_lsn
    }

    /// The last record at which a window closed that is in a file.
    #[must_use]
    pub fn windows_lsn(&self) -> Lsn {
        self.files_of(FileKind::Percentiles).map(|file| file.last_lsn).max().unwrap_or_default()
    }

    pub(crate) fn series_end(&self) -> u32 {
        self.series_end
    }

    pub(crate) fn series_missing(&self) -> &[RefRange] {
        &self.series_missing
    }

    /// Whether references of series that may occur in records stand for no series in files.
    #[must_use]
    pub fn lacks_series(&self) -> bool {
        !self.series_missing.is_empty()
    }

    /// Makes the next version durable. All files that it names must be durable already.
    pub(crate) fn commit(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        edit: Edit,
    ) -> Result<Self, SegmentsError> {
        let deltas = dir.join(MANIFEST_DIR);
        let (series_end, series_missing) = match edit.series {
            Some(series) => (series.end, series.missing),
            None => (self.series_end, self.series_missing.clone()),
        };
        let delta = Delta {
            number: self.number + 1,
            previous: self.number,
            full: false,
            added: edit.added,
            removed: edit.removed,
            flushed: edit.flushed.into_iter().collect(),
            series_end,
            series_missing,
            deletes_lsn: edit.deletes.last().map_or(self.deletes_lsn, |delete| delete.lsn),
            deletes: edit.deletes,
            deletes_done: edit.deletes_done,
            dropped_lsn: edit.dropped.max(self.dropped_lsn),
            letters_lsn: edit.letters.max(self.letters_lsn),
            quarantined: edit.quarantined,
        };
        let mut next = self.clone();
        next.apply(&deltas, delta.clone())?;
        // The first delta is full as well: a chain always begins with a full one.
        let is_full = next.number.is_multiple_of(DELTAS_PER_FULL) || self.number == 0;
        let delta = if is_full { next.to_full() } else { delta };
        write_delta(disk, &deltas, &delta)?;
        if is_full {
            next.chain_start = next.number;
            if let Err(error) = remove_deltas_before(disk, &deltas, next.number) {
                // They cost room and nothing else; the next opening removes them.
                tracing::warn!(%error, "older manifest deltas could not be removed");
            }
        }
        Ok(next)
    }

    fn apply(&mut self, deltas: &Path, delta: Delta) -> Result<(), SegmentsError> {
        let path = || deltas.join(delta_name(delta.number));
        if delta.full {
            *self = Self { chain_start: self.chain_start, ..Self::empty() };
        }
        let mut at = None;
        for removed in &delta.removed {
            let place = self.files.iter().position(|file| file.file == *removed);
            let place = place.ok_or_else(|| {
                SegmentsError::corrupt(&path(), 0, "it removes a file that is not there")
            })?;
            self.files.remove(place);
            at = Some(place);
        }
        if delta.added.iter().any(|file| !is_data_name(&file.file)) {
            return Err(SegmentsError::corrupt(&path(), 0, "it names a file outside"));
        }
        self.number = delta.number;
        let at = at.unwrap_or(self.files.len());
        self.files.splice(at..at, delta.added.into_iter().map(Arc::new));
        for flushed in &delta.flushed {
            for slot in flushed.slots.iter() {
                // After slots have moved between shards, a shard's flush during replay may be
                // behind what another one had flushed of some of its slots.
                let known = &mut self.flushed[usize::from(slot.0)];
                *known = flushed.lsn.max(*known);
            }
        }
        self.series_end = delta.series_end;
        self.series_missing = delta.series_missing;
        self.deletes.retain(|delete| !delta.deletes_done.contains(&delete.lsn.get()));
        self.deletes.extend(delta.deletes);
        self.deletes_lsn = delta.deletes_lsn;
        self.dropped_lsn = delta.dropped_lsn;
        self.letters_lsn = delta.letters_lsn;
        self.quarantined.extend(delta.quarantined.into_iter().map(Arc::new));
        Ok(())
    }

    fn to_full(&self) -> Delta {
        let mut flushed: Vec<FlushedSlots> = Vec::new();
        for (slot, lsn) in (0..=u8::MAX).map(Slot).zip(self.flushed.iter()) {
            match flushed.iter_mut().find(|flushed| flushed.lsn == *lsn) {
                Some(known) => known.slots.insert(slot),
                None if *lsn == Lsn::ZERO => {}
                None => {
                    flushed.push(FlushedSlots { lsn: *lsn, slots: SlotSet::from_iter([slot]) });
                }
            }
        }
        Delta {
            number: self.number,
            previous: self.number - 1,
            full: true,
            added: self.files.iter().map(|file| FileMeta::clone(file)).collect(),
            removed: Vec::new(),
            flushed,
            series_end: self.series_end,
            series_missing: self.series_missing.clone(),
            deletes: self.deletes.clone(),
            deletes_done: Vec::new(),
            deletes_lsn: self.deletes_lsn,
            dropped_lsn: self.dropped_lsn,
            letters_lsn: self.letters_lsn,
            quarantined: self.quarantined.iter().map(|file| FileMeta::clone(file)).collect(),
        }
    }
}

/// Removes what crashes left behind: files that `manifest` does not name, temporary files, and
/// deltas that reading no longer needs. Returns how many there were.
///
/// Only while nobody flushes. Files with foreign names are left alone.
///
/// # Errors
/// What the disk reports.
pub fn remove_orphans(
    disk: &dyn Disk,
    dir: &Path,
    manifest: &Manifest,
) -> Result<usize, SegmentsError> {
    let names = disk.list(dir).map_err(SegmentsError::io("list", dir))?;
    let mut removed = 0;
    for name in names {
        let is_ours = is_data_name(name.strip_suffix(TEMPORARY).unwrap_or(&name));
        let mut known = manifest.files.iter().chain(&manifest.quarantined);
        if is_ours && !known.any(|file| file.file == name) {
            let path = dir.join(&name);
            tracing::info!(file = %path.display(), "removing a file that no manifest names");
            disk.remove(&path).map_err(SegmentsError::io("remove", &path))?;
            removed += 1;
        }
    }
    if removed > 0 {
        disk.sync_dir(dir).map_err(SegmentsError::io("sync", dir))?;
    }
    Ok(removed + remove_deltas_before(disk, &dir.join(MANIFEST_DIR), manifest.chain_start)?)
}

fn remove_deltas_before(
    disk: &dyn Disk,
    deltas: &Path,
    number: u64,
) -> Result<usize, SegmentsError> {
    let mut numbers = delta_numbers(disk, deltas)?;
    numbers.retain(|old| *old < number);
    for old in &numbers {
        let path = deltas.join(delta_name(*old));
        disk.remove(&path).map_err(SegmentsError::io("remove", &path))?;
    }
    if !numbers.is_empty() {
        disk.sync_dir(deltas).map_err(SegmentsError::io("sync", deltas))?;
    }
    Ok(numbers.len())
}

fn write_delta(disk: &dyn Disk, deltas: &Path, delta: &Delta) -> Result<(), SegmentsError> {
    let path = deltas.join(delta_name(delta.number));
    let file = disk.open(&path, OpenMode::CreateNew).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => SegmentsError::Conflict { number: delta.number },
        _ => SegmentsError::io("create", &path)(error),
    })?;
    let written = file
        .write_all_at(&delta.encode(), 0)
        .and_then(|()| file.sync_data())
        .and_then(|()| disk.sync_dir(deltas));
    written.map_err(|source| {
        // DURABILITY: the delta may be on the disk although the sync failed. Unless its removal
        // is durable, a retry would use its number, and its files' names, for other content.
        match disk.remove(&path).and_then(|()| disk.sync_dir(deltas)) {
            Ok(()) => SegmentsError::io("write", &path)(source),
            Err(_) => SegmentsError::Unsettled { path: path.clone(), source },
        }
    })
}

fn check_link(
    path: &Path,
    number: u64,
    delta: &Delta,
    later: Option<&Delta>,
) -> Result<(), SegmentsError> {
    if delta.number != number || delta.previous.checked_add(1) != Some(number) {
        return Err(SegmentsError::corrupt(path, 0, "its number is not that of its name"));
    }
    if later.is_some_and(|later| later.previous != number) {
        let missing = path.with_file_name(delta_name(number + 1));
        return Err(SegmentsError::corrupt(&missing, 0, "it is missing, and the next one counts"));
    }
    Ok(())
}

fn delta_name(number: u64) -> String {
    format!("{number:0NUMBER_DIGITS$}{DELTA_END}")
}

fn delta_numbers(disk: &dyn Disk, deltas: &Path) -> Result<Vec<u64>, SegmentsError> {
    let names = disk.list(deltas).map_err(SegmentsError::io("list", deltas))?;
    let numbers = names.iter().filter_map(|name| name.strip_suffix(DELTA_END)?.parse().ok());
    let mut numbers: Vec<u64> = numbers.filter(|n| names.contains(&delta_name(*n))).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The name of a file of the version `number`.
pub(crate) fn data_name(kind: FileKind, number: u64) -> String {
    format!("{}-{number:0NUMBER_DIGITS$}{DATA_END}", kind.name())
}

/// Whether a file of this name may be one of ours: a path never is.
pub(crate) fn is_data_name(name: &str) -> bool {
    let number = name.strip_suffix(DATA_END).and_then(|stem| {
        let kind = FileKind::ALL.iter().find(|kind| stem.starts_with(kind.name()))?;
        stem.strip_prefix(kind.name())?.strip_prefix('-')
    });
    number.is_some_and(|n| n.len() == NUMBER_DIGITS && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
