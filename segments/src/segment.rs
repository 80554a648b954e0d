//! A segment that can be read, and the cache of what was read of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidewatch_env::{Disk, OpenMode};

use crate::error::SegmentsError;
use crate::file_meta::FileMeta;
use crate::footer::{Footer, read_footer};
use crate::limits::FOOTER_CACHE_BYTES_MAX;
use crate::reader::SegmentReader;

/// A segment of a snapshot: costs nothing until it is read.
#[derive(Clone, Debug)]
pub struct Segment {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    meta: Arc<FileMeta>,
    footers: Arc<FooterCache>,
}

/// The footers that were read lately, within a bound on their memory.
#[derive(Debug)]
pub struct FooterCache {
    /// ATOMICS: a number on its own guards no other memory, hence relaxed.
    bytes_max: AtomicUsize,
    state: Mutex<CacheState>,
}

#[derive(Debug, Default)]
struct CacheState {
    footers: BTreeMap<PathBuf, Cached>,
    bytes: usize,
    /// Grows with every use, so that the least recently used one is the one with the least.
    uses: u64,
}

#[derive(Debug)]
struct Cached {
    footer: Arc<Footer>,
    used: u64,
}

impl Segment {
    /// The segment that the manifest names by `meta`, with a cache of its own.
    #[must_use]
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, meta: Arc<FileMeta>) -> Self {
        Self::with_cache(disk, dir, meta, Arc::new(FooterCache::default()))
    }

    /// The segment that the manifest names by `meta`.
    #[must_use]
    pub fn with_cache(
        disk: Arc<dyn Disk>,
        dir: &Path,
        meta: Arc<FileMeta>,
        footers: Arc<FooterCache>,
    ) -> Self {
        Self { disk, path: dir.join(&meta.file), meta, footers }
    }

    /// What the manifest says about the segment.
    #[must_use]
    pub fn meta(&self) -> &FileMeta {
        &self.meta
    }

    /// Opens the file and reads the footer, unless it is in memory.
    ///
    /// # Errors
    /// [`SegmentsError::Corrupt`], [`SegmentsError::NewerFormat`], and what the disk reports.
    pub fn reader(&self) -> Result<SegmentReader, SegmentsError> {
        let file = self
            .disk
            .open(&self.path, OpenMode::Read)
            .map_err(SegmentsError::io("open", &self.path))?;
        let footer = match self.footers.get(&self.path) {
            Some(footer) => footer,
            None => {
                let footer = Arc::new(read_footer(&*file, &self.path, &self.meta)?);
                self.footers.put(&self.path, &footer);
                footer
            }
        };
        Ok(SegmentReader::new(file, self.path.clone(), footer))
    }
}

impl Default for FooterCache {
    fn default() -> Self {
        Self::new(FOOTER_CACHE_BYTES_MAX)
    }
}

impl FooterCache {
    /// A cache of about this many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max: bytes_max.into(), state: Mutex::default() }
    }

    /// From the next footer on, about this many bytes.
    pub(crate) fn limit(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    fn get(&self, path: &Path) -> Option<Arc<Footer>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.uses += 1;
        let used = state.uses;
        let cached = state.footers.get_mut(path)?;
        cached.used = used;
        Some(Arc::clone(&cached.footer))
    }

    fn put(&self, path: &Path, footer: &Arc<Footer>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.uses += 1;
        let cached = Cached { footer: Arc::clone(footer), used: state.uses };
        state.bytes += footer.memory_bytes;
        if let Some(old) = state.footers.insert(path.to_owned(), cached) {
            state.bytes -= old.footer.memory_bytes;
        }
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        while state.bytes > bytes_max {
            let oldest = state.footers.iter().min_by_key(|(_, cached)| cached.used);
            let Some(oldest) = oldest.map(|(path, _)| path.clone()) else { break };
            if let Some(gone) = state.footers.remove(&oldest) {
                state.bytes -= gone.footer.memory_bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Directory, rows_of};

    #[test]
    fn the_cache_keeps_within_its_bound_and_forgets_the_least_recently_used() {
        let mut directory = Directory::new(1);
        for _ in 0..4 {
            directory.flush(&rows_of(0..3, 0..5));
        }
        let metas: Vec<_> = directory.manifest.files().to_vec();
        let samples = metas.iter().filter(|meta| meta.kind == crate::FileKind::Samples);
        let cache = Arc::new(FooterCache::default());
        let open = |meta: &Arc<FileMeta>, cache: &Arc<FooterCache>| {
            let disk = directory.shared_disk();
            Segment::with_cache(disk, directory.dir(), Arc::clone(meta), Arc::clone(cache))
        };
        let segments: Vec<_> = samples.map(|meta| open(meta, &cache)).collect();
        segments[0].reader().unwrap();
        let one = cache.state.lock().unwrap().bytes;
        assert!(one > 1_000, "a footer takes {one} bytes");
        let cache = Arc::new(FooterCache::new(one * 5 / 2));
        let segments: Vec<_> = segments.iter().map(|s| open(&s.meta, &cache)).collect();
        for index in [0, 1, 0, 2] {
            segments[index].reader().unwrap();
        }
        assert!(cache.get(&segments[0].path).is_some());
        assert!(cache.get(&segments[1].path).is_none(), "used least recently");
        assert!(cache.state.lock().unwrap().bytes <= one * 5 / 2);
    }
}
