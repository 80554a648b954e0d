//! What queries may see: one moment of heads and segments, each row exactly once.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tidewatch_env::Disk;
use tidewatch_metrics::{Lsn, SeriesCatalog};

use crate::deletes::Delete;
use crate::events::EventFile;
use crate::file_meta::{FileKind, FileMeta};
use crate::head::Head;
use crate::manifest::Manifest;
use crate::segment::{FooterCache, Segment};
use crate::tail::{TailPlace, TailRows};
use crate::view::{FrozenHead, HeadShared, HeadView};

/// All that readers may see, changed in single steps by shards and flushes.
#[derive(Debug)]
pub struct Published {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    catalog: Arc<SeriesCatalog>,
    footers: Arc<FooterCache>,
    /// Held only while pointers are copied.
    state: Mutex<State>,
}

/// The rows of records up to [`lsn`](Self::lsn), and nothing else, for as long as it is held.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The last record that is seen.
    pub lsn: Lsn,
    /// Segments, in the order of the log for each series.
    pub segments: Vec<Arc<Segment>>,
    /// Rows that no segment has, later than those of segments: per shard frozen before live ones.
    pub heads: Vec<HeadView>,
    /// Names of the series.
    pub catalog: Arc<SeriesCatalog>,
    /// Files of transitions.
    pub alerts: Vec<Arc<EventFile>>,
    /// Files of attempts to deliver.
    pub deliveries: Vec<Arc<EventFile>>,
    /// Files of windows.
    pub percentiles: Vec<Arc<EventFile>>,
    /// Files of dead letters.
    pub letters: Vec<Arc<EventFile>>,
    /// The manifest that names the files.
    pub manifest: Arc<Manifest>,
}

/// A file that the manifest no longer names, and who may still read it.
#[derive(Debug)]
struct Retired {
    path: PathBuf,
    bytes: u64,
    file: Weak<dyn Any + Send + Sync>,
}

/// Files that are open already, by their names: whoever reads one holds the only door to it.
#[derive(Debug, Default)]
struct Open {
    segments: BTreeMap<String, Arc<Segment>>,
    letters: BTreeMap<String, Arc<EventFile>>,
}

#[derive(Debug)]
struct State {
    shards: Vec<ShardHeads>,
    files: Files,
    retired: Vec<Retired>,
}

/// The heads of one shard: live rows are later than frozen ones.
#[derive(Clone, Debug)]
struct ShardHeads {
    live: Arc<HeadShared>,
    frozen: Vec<Arc<FrozenHead>>,
}

/// One version of the manifest with its files ready to be read.
#[derive(Clone, Debug)]
struct Files {
    manifest: Arc<Manifest>,
    segments: Arc<[Arc<Segment>]>,
    alerts: Arc<[Arc<EventFile>]>,
    deliveries: Arc<[Arc<EventFile>]>,
    percentiles: Arc<[Arc<EventFile>]>,
    letters: Arc<[Arc<EventFile>]>,
    /// No snapshot can end before this: segments do not tell which row came with which record.
    samples_lsn: Lsn,
}

impl Snapshot {
    /// Deletes that hide rows from it, in the order of the log.
    pub fn deletes(&self) -> impl Iterator<Item = &Delete> {
        self.manifest.deletes().iter().filter(|delete| delete.lsn <= self.lsn)
    }
}

impl Published {
    /// The segments of `manifest` in `dir`, and the heads of the shards, by shard.
    #[must_use]
    pub fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        catalog: Arc<SeriesCatalog>,
        manifest: Manifest,
        heads: Vec<Arc<HeadShared>>,
    ) -> Self {
        let footers = Arc::new(FooterCache::default());
        let files = open_files(&disk, dir, manifest, &footers, &Open::default());
        let shards = heads.into_iter().map(|live| ShardHeads { live, frozen: Vec::new() });
        let state = State { shards: shards.collect(), files, retired: Vec::new() };
        Self { disk, dir: dir.to_owned(), catalog, footers, state: Mutex::new(state) }
    }

    /// Keeps about this many bytes of footers that were read lately.
    pub fn limit_footers(&self, bytes_max: usize) {
        self.footers.limit(bytes_max);
    }

    /// The rows of records up to `fence`, of all shards; all of them must have been applied.
    ///
    /// `None` where `fence` is older than what is kept, see [`least_fence`](Self::least_fence).
    #[must_use]
    pub fn snapshot(&self, fence: Lsn) -> Option<Snapshot> {
        let (shards, files) = {
            let state = self.lock();
            (state.shards.clone(), state.files.clone())
        };
        if fence < files.samples_lsn {
            return None;
        }
        let mut heads = Vec::new();
        for (index, shard) in shards.iter().enumerate() {
            for frozen in &shard.frozen {
                heads.push(frozen.view_of(index, fence)?);
            }
            heads.push(shard.live.view_of(index, fence)?);
        }
        heads.retain(|view| view.rows() > 0);
        Some(Snapshot {
            lsn: fence,
            segments: files.segments.to_vec(),
            heads,
            catalog: Arc::clone(&self.catalog),
            alerts: files.alerts.to_vec(),
            deliveries: files.deliveries.to_vec(),
            percentiles: files.percentiles.to_vec(),
            letters: files.letters.to_vec(),
            manifest: files.manifest,
        })
    }

    /// The rows of records up to `fence` that `place` has not come to; now it has. All of them must
    /// have been applied. A new place begins at `fence`, without rows.
    ///
    /// `None` where `fence` is older than what is kept; then a later one will do.
    #[must_use]
    pub fn tail(&self, place: &mut TailPlace, fence: Lsn) -> Option<TailRows> {
        let shards = self.lock().shards.clone();
        let heads = shards.iter().map(|shard| {
            let frozen = shard.frozen.iter().map(|frozen| frozen.shared());
            frozen.chain([Arc::clone(&shard.live)]).collect()
        });
        place.advance(heads, fence)
    }

    /// The earliest position that [`snapshot`](Self::snapshot) gives rows for at this moment.
    #[must_use]
    pub fn least_fence(&self) -> Lsn {
        let (shards, files) = {
            let state = self.lock();
            (state.shards.clone(), state.files.clone())
        };
        let heads = shards.iter().flat_map(|shard| {
            shard.frozen.iter().map(|frozen| frozen.least_fence()).chain([shard.live.least_fence()])
        });
        heads.fold(files.samples_lsn, Ord::max)
    }

    /// Takes the rows of `head`, the head of shard `shard`, which calls this. `None` without rows.
    ///
    /// Readers see the rows before, meanwhile and afterwards.
    ///
    /// # Panics
    /// When there is no such shard, or rows of the head are not published.
    pub fn freeze(&self, shard: usize, head: &mut Head) -> Option<Arc<FrozenHead>> {
        let frozen = head.freeze()?;
        let mut state = self.lock();
        let heads = &mut state.shards[shard];
        heads.frozen.push(Arc::clone(&frozen));
        heads.live = head.shared();
        Some(frozen)
    }

    /// Shows the files of `manifest` instead of the `frozen` rows of shard `shard` that they hold.
    ///
    /// # Panics
    /// When there is no such shard.
    pub fn commit_flush(&self, shard: usize, frozen: &[Arc<FrozenHead>], manifest: Manifest) {
        let files = self.open(manifest);
        let mut state = self.lock();
        state.shards[shard].frozen.retain(|kept| !frozen.iter().any(|f| Arc::ptr_eq(kept, f)));
        state.show(&self.dir, files);
    }

    /// Shows the files of `manifest`, which hold the rows of those shown before, but for erased ones.
    pub fn commit_files(&self, manifest: Manifest) {
        let files = self.open(manifest);
        self.lock().show(&self.dir, files);
    }

    /// Files that no manifest names and nobody reads any more: they may be removed.
    ///
    /// Each one is given once; what is not removed then, the next start removes.
    #[must_use]
    pub fn take_unread(&self) -> Vec<PathBuf> {
        let mut state = self.lock();
        let unread = state.retired.extract_if(.., |retired| retired.file.strong_count() == 0);
        unread.map(|retired| retired.path).collect()
    }

    /// Bytes of files that no manifest names, and that wait for their last reader.
    #[must_use]
    pub fn unread_bytes(&self) -> u64 {
        self.lock().retired.iter().map(|retired| retired.bytes).sum()
    }

    fn open(&self, manifest: Manifest) -> Files {
        let (segments, letters) = {
            let state = self.lock();
            (Arc::clone(&state.files.segments), Arc::clone(&state.files.letters))
        };
        let segments = segments.iter().map(|file| (file.meta().file.clone(), Arc::clone(file)));
        let letters = letters.iter().map(|file| (file.meta().file.clone(), Arc::clone(file)));
        let open = Open { segments: segments.collect(), letters: letters.collect() };
        open_files(&self.disk, &self.dir, manifest, &self.footers, &open)
    }

    /// The manifest whose files are shown.
    #[must_use]
    pub fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(&self.lock().files.manifest)
    }

    /// The files of dead letters, in the order of the log.
    #[must_use]
    pub fn letters(&self) -> Arc<[Arc<EventFile>]> {
        Arc::clone(&self.lock().files.letters)
    }

    /// The frozen heads of a shard that wait for their flush, earliest first.
    ///
    /// # Panics
    /// When there is no such shard.
    #[must_use]
    pub fn frozen(&self, shard: usize) -> Vec<Arc<FrozenHead>> {
        self.lock().shards[shard].frozen.clone()
    }

    /// The first record with rows that no file holds, of any shard; `None` where files hold all.
    #[must_use]
    pub fn oldest_unflushed(&self) -> Option<Lsn> {
        let state = self.lock();
        let heads = state.shards.iter().flat_map(|shard| {
            let frozen = shard.frozen.iter().map(|frozen| frozen.first_lsn);
            frozen.chain(shard.live.first_lsn())
        });
        heads.min()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn show(&mut self, dir: &Path, files: Files) {
        let shown = std::mem::replace(&mut self.files, files);
        let kept: BTreeSet<_> = self.files.segments.iter().map(|s| &s.meta().file).collect();
        let damaged: BTreeSet<_> =
            self.files.manifest.quarantined().iter().map(|file| &file.file).collect();
        let kept: BTreeSet<_> = kept.union(&damaged).copied().collect();
        let gone = shown.segments.iter().filter(|segment| !kept.contains(&segment.meta().file));
        let retired =
            |meta: &FileMeta, file| Retired { path: dir.join(&meta.file), bytes: meta.bytes, file };
        self.retired.extend(gone.map(|segment| {
            let file: Weak<Segment> = Arc::downgrade(segment);
            retired(segment.meta(), file)
        }));
        let named: BTreeSet<_> = self.files.manifest.files().iter().map(|f| &f.file).collect();
        let gone = shown.letters.iter().filter(|file| !named.contains(&file.meta().file));
        self.retired.extend(gone.map(|letters| {
            let file: Weak<EventFile> = Arc::downgrade(letters);
            retired(letters.meta(), file)
        }));
        let keys = shown.manifest.files_of(FileKind::Keys);
        let keys = keys.chain(shown.manifest.files_of(FileKind::LetterMarks));
        // Nobody reads keys and marks but a start.
        let unread = keys.filter(|file| !named.contains(&file.file));
        self.retired.extend(unread.map(|file| retired(file, Weak::<Segment>::new())));
    }
}

fn open_files(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    manifest: Manifest,
    footers: &Arc<FooterCache>,
    open: &Open,
) -> Files {
    let segment = |meta: &Arc<_>| {
        let (disk, meta) = (Arc::clone(disk), Arc::clone(meta));
        Arc::new(Segment::with_cache(disk, dir, meta, Arc::clone(footers)))
    };
    let segments = manifest
        .files_of(FileKind::Samples)
        .map(|meta| open.segments.get(&meta.file).cloned().unwrap_or_else(|| segment(meta)))
        .collect::<Arc<[_]>>();
    let event_file =
        |meta: &Arc<_>| Arc::new(EventFile::open(Arc::clone(disk), dir, Arc::clone(meta)));
    let events = |kind| manifest.files_of(kind).map(event_file).collect();
    let letters = manifest.files_of(FileKind::DeadLetters);
    let letters = letters
        .map(|meta| open.letters.get(&meta.file).cloned().unwrap_or_else(|| event_file(meta)));
    Files {
        alerts: events(FileKind::Alerts),
        deliveries: events(FileKind::Deliveries),
        percentiles: events(FileKind::Percentiles),
        letters: letters.collect(),
        samples_lsn: segments.iter().map(|s| s.meta().last_lsn).max().unwrap_or_default(),
        segments,
        manifest: Arc::new(manifest),
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
