//! What is left of a damaged directory of segments, and a manifest that names just that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::{Disk, copy_file};
use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{Lsn, SeriesCatalog, SeriesRef};

use crate::delta::RefRange;
use crate::error::SegmentsError;
use crate::file_meta::{FileKind, FileMeta};
use crate::manifest::{Manifest, Restated, data_name, is_data_name};
use crate::series_file::{read_series, write_series};
use crate::verify::check_bytes;

/// A directory of segments as it was found: what is whole, and what is not.
#[derive(Debug)]
pub struct SegmentsSalvage {
    dir: PathBuf,
    manifest: Manifest,
    deltas: Vec<DamagedFile>,
    data: Vec<(Arc<FileMeta>, String)>,
    unnamed: Vec<String>,
    /// Numbers of versions that may have been made.
    number_max: u64,
    lost_versions: bool,
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedFile {
    /// Its path in the directory of segments.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What the salvaged manifest shall say.
#[derive(Debug)]
pub struct Keep<'a> {
    /// Whole files that it shall not name, because the log has their rows.
    pub dropped: &'a BTreeSet<String>,
    /// The last record whose rows of a slot are in files or lost, for every slot.
    pub flushed: Box<[Lsn; SLOTS]>,
    /// Where the names of series are found whose files are damaged.
    pub names: &'a SeriesCatalog,
}

/// What a salvage came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Series whose names were found elsewhere.
    pub series_found: u64,
    /// Series whose names are lost, with those references that never stood for one.
    pub series_missing: u64,
}

impl SegmentsSalvage {
    /// Reads the manifest and every file that it names, and changes nothing. `least` is the version
    /// that others rely on.
    ///
    /// # Errors
    /// [`SegmentsError::NewerFormat`], and what the disk reports.
    pub fn inspect(disk: &dyn Disk, dir: &Path, least: u64) -> Result<Self, SegmentsError> {
        let read = Manifest::read_whole_part(disk, dir)?;
        let manifest = read.manifest;
        let behind = read.behind;
        let number_max = behind.iter().map(|delta| delta.number).fold(manifest.number(), u64::max);
        // A delta that a crash tore while it was created never counted, unless somebody knows better.
        let is_torn = behind.len() == 1 && behind.iter().all(|delta| delta.was_torn);
        let lost_versions = manifest.number() < least || !(behind.is_empty() || is_torn);
        let mut salvage = Self {
            dir: dir.to_owned(),
            deltas: Vec::new(),
            data: Vec::new(),
            unnamed: Vec::new(),
            number_max: number_max.max(least),
            lost_versions,
            manifest,
        };
        if lost_versions {
            salvage.deltas = behind.iter().map(|d| salvage.damaged(&d.path, &d.error)).collect();
            salvage.unnamed = salvage.list_unnamed(disk)?;
        }
        for meta in salvage.manifest.files() {
            match check_bytes(disk, &dir.join(&meta.file), meta) {
                Ok(()) => {}
                Err(error) if error.is_corrupt() => {
                    salvage.data.push((Arc::clone(meta), error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(salvage)
    }

    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.lost_versions && self.data.is_empty()
    }

    /// The newest version that can be read.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether there were later versions.
    #[must_use]
    pub fn lost_versions(&self) -> bool {
        self.lost_versions
    }

    /// Deltas that cannot be read, and those behind them.
    #[must_use]
    pub fn deltas(&self) -> &[DamagedFile] {
        &self.deltas
    }

    /// Files that the manifest names and that are damaged or missing, and what is wrong with each.
    #[must_use]
    pub fn data(&self) -> &[(Arc<FileMeta>, String)] {
        &self.data
    }

    /// Files that a lost version may have named.
    #[must_use]
    pub fn unnamed(&self) -> &[String] {
        &self.unnamed
    }

    /// Whether names of series are in files that cannot be read.
    #[must_use]
    pub fn lost_names(&self) -> bool {
        self.lost_versions || self.data.iter().any(|(meta, _)| meta.kind == FileKind::Series)
    }

    /// Copies to the directory `aside`, which is made, all files that the salvaged manifest will not
    /// name, as they are; durable when it returns.
    ///
    /// # Errors
    /// What the disk reports; nothing has changed in any case.
    pub fn set_aside(
        &self,
        disk: &dyn Disk,
        aside: &Path,
        dropped: &BTreeSet<String>,
    ) -> Result<(), SegmentsError> {
        let deltas = self.deltas.iter().map(|delta| delta.file.as_str());
        let data = self.data.iter().map(|(meta, _)| meta.file.as_str());
        let whole = self.unnamed.iter().chain(dropped).map(String::as_str);
        for file in deltas.chain(data).chain(whole) {
            let (from, to) = (self.dir.join(file), aside.join(file));
            if !disk.exists(&from).map_err(SegmentsError::io("look for", &from))? {
                continue;
            }
            let parent = to.parent().unwrap_or(aside);
            disk.create_dir_all(parent).map_err(SegmentsError::io("create", parent))?;
            let copied = copy_file(disk, &from, &to);
            copied.map_err(SegmentsError::io("copy a damaged file to", &to))?;
        }
        Ok(())
    }

    /// Makes a version, durably, that names what is whole and is not dropped. The next opening removes
    /// the other files.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn apply(&self, disk: &dyn Disk, keep: Keep<'_>) -> Result<Salvaged, SegmentsError> {
        let number = self.number_max + 1;
        let named = self.known_series(disk, keep.dropped)?;
        let end = named.len().max(keep.names.refs_end());
        let end = u32::try_from(end).unwrap_or(u32::MAX).max(self.manifest.series_end());
        let is_named = |series: u32| named.get(series as usize) == Some(&true);
        let mut found = Vec::new();
        let mut missing: Vec<RefRange> = Vec::new();
        for series in (0..end).filter(|series| !is_named(*series)) {
            match (keep.names.get(SeriesRef(series)), missing.last_mut()) {
                (Some(entry), _) => found.push((SeriesRef(series), entry)),
                (None, Some(range)) if range.end == series => range.end += 1,
                (None, _) => missing.push(RefRange { start: series, end: series + 1 }),
            }
        }
        let salvaged = Salvaged {
            series_found: u64::try_from(found.len()).unwrap_or(u64::MAX),
            series_missing: missing.iter().map(|range| u64::from(range.end - range.start)).sum(),
        };
        let mut added = Vec::new();
        if !found.is_empty() {
            let last = keep.flushed.iter().copied().max().unwrap_or_default();
            let file = data_name(FileKind::Series, number);
            added.push(write_series(disk, &self.dir, file, &found, last)?);
            // DURABILITY: the file's name before the manifest that names it.
            disk.sync_dir(&self.dir).map_err(SegmentsError::io("sync", &self.dir))?;
        }
        let restated =
            Restated { added, flushed: keep.flushed, series_end: end, series_missing: missing };
        let kept = |meta: &FileMeta| self.is_kept(meta, keep.dropped);
        self.manifest.restate((disk, &self.dir), number, kept, restated)?;
        Ok(salvaged)
    }

    fn is_kept(&self, meta: &FileMeta, dropped: &BTreeSet<String>) -> bool {
        let is_damaged = self.data.iter().any(|(damaged, _)| damaged.file == meta.file);
        !is_damaged && !dropped.contains(&meta.file)
    }

    /// By reference, whether the name is in a file that stays.
    fn known_series(
        &self,
        disk: &dyn Disk,
        dropped: &BTreeSet<String>,
    ) -> Result<Vec<bool>, SegmentsError> {
        let mut known = Vec::new();
        let files = self.manifest.files_of(FileKind::Series);
        for meta in files.filter(|meta| self.is_kept(meta, dropped)) {
            read_series(disk, &self.dir, meta, |series, _| {
                if known.len() <= series.index() {
                    known.resize(series.index() + 1, false);
                }
                known[series.index()] = true;
            })?;
        }
        Ok(known)
    }

    fn damaged(&self, path: &Path, error: &SegmentsError) -> DamagedFile {
        let file = path.strip_prefix(&self.dir).unwrap_or(path).display().to_string();
        DamagedFile { file, problem: error.to_string() }
    }

    fn list_unnamed(&self, disk: &dyn Disk) -> Result<Vec<String>, SegmentsError> {
        let mut names = disk.list(&self.dir).map_err(SegmentsError::io("list", &self.dir))?;
        let files = self.manifest.files();
        names.retain(|name| is_data_name(name) && files.iter().all(|meta| meta.file != *name));
        Ok(names)
    }
}

#[cfg(test)]
#[path = "salvage_tests.rs"]
mod tests;
