//! The names on the disk, with what a power loss would leave of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::rng::Rng;
use crate::sim_disk::file::Inode;

type NameMap = BTreeMap<PathBuf, Arc<Inode>>;

/// Directories are durable at once; the files' names only after their directory's sync.
///
/// Invariant: `current` is `durable` with all of `pending` applied in order.
#[derive(Debug, Default)]
pub(crate) struct Names {
    dirs: BTreeSet<PathBuf>,
    current: NameMap,
    durable: NameMap,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Create { path: PathBuf, inode: Arc<Inode> },
    Rename { from: PathBuf, to: PathBuf, inode: Arc<Inode> },
    Remove { path: PathBuf },
}

impl Change {
    /// The directory whose sync makes the change durable.
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Create { path, .. } | Self::Remove { path } => path.parent(),
            Self::Rename { to, .. } => to.parent(),
        }
    }

    fn apply(&self, names: &mut NameMap) {
        match self {
            Self::Create { path, inode } => {
                names.insert(path.clone(), Arc::clone(inode));
            }
            Self::Rename { from, to, inode } => {
                // After the loss of an earlier change, `from` may be the name of another file.
                if names.get(from).is_some_and(|found| Arc::ptr_eq(found, inode)) {
                    names.remove(from);
                }
                names.insert(to.clone(), Arc::clone(inode));
            }
            Self::Remove { path } => {
                names.remove(path);
            }
        }
    }
}

impl Names {
    pub(crate) fn get(&self, path: &Path) -> Option<&Arc<Inode>> {
        self.current.get(path)
    }

    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        self.dirs.contains(path) || path == Path::new("/") || path == Path::new("")
    }

    pub(crate) fn check_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if self.is_dir(parent) => Ok(()),
            Some(_) | None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(crate) fn create_dir_all(&mut self, dir: &Path) {
        self.dirs.extend(dir.ancestors().map(Path::to_owned));
    }

    pub(crate) fn create(&mut self, path: &Path, inode: &Arc<Inode>) {
        self.change(Change::Create { path: path.to_owned(), inode: Arc::clone(inode) });
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = Arc::clone(self.current.get(from).ok_or(io::ErrorKind::NotFound)?);
        self.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    pub(crate) fn remove(&mut self, path: &Path) -> io::Result<()> {
        if !self.current.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(Change::Remove { path: path.to_owned() });
        Ok(())
    }

    pub(crate) fn sync_dir(&mut self, dir: &Path) {
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let synced = change.dir() == Some(dir);
            if synced {
                change.apply(durable);
            }
            !synced
        });
    }

    pub(crate) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        if !self.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let children: BTreeSet<&str> = self
            .current
            .keys()
            .chain(&self.dirs)
            .filter(|path| path.parent() == Some(dir))
            .filter_map(|path| path.file_name()?.to_str())
            .collect();
        Ok(children.into_iter().map(str::to_owned).collect())
    }

    /// The bytes of all files that have a name.
    pub(crate) fn bytes(&self) -> u64 {
        self.current.values().map(|inode| inode.contents().len()).sum()
    }

    /// Each pending change survives or not; of four, `survival` survive on average.
    pub(crate) fn after_power_loss(&self, rng: &mut Rng, survival: u64) -> Self {
        let mut names = self.durable.clone();
        for change in &self.pending {
            if rng.below(4) < survival {
                change.apply(&mut names);
            }
        }
        for inode in names.values_mut() {
            let left = inode.contents().after_power_loss(rng, survival);
            *inode = Inode::with(left);
        }
        Self {
            dirs: self.dirs.clone(),
            current: names.clone(),
            durable: names,
            pending: Vec::new(),
        }
    }

    /// Everything is kept, and what was volatile stays so.
    pub(crate) fn after_kill(&self) -> Self {
        let mut copies = Copies::default();
        let mut durable = self.durable.clone();
        for inode in durable.values_mut() {
            *inode = copies.copy_of(inode);
        }
        let mut pending = self.pending.clone();
        for change in &mut pending {
            if let Change::Create { inode, .. } | Change::Rename { inode, .. } = change {
                *inode = copies.copy_of(inode);
            }
        }
        let mut current = durable.clone();
        for change in &pending {
            change.apply(&mut current);
        }
        Self { dirs: self.dirs.clone(), current, durable, pending }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }
}

/// Copies of files, one for each file however many names lead to it.
#[derive(Debug, Default)]
struct Copies(Vec<(Arc<Inode>, Arc<Inode>)>);

impl Copies {
    fn copy_of(&mut self, original: &Arc<Inode>) -> Arc<Inode> {
        if let Some((_, copy)) = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, original)) {
            return Arc::clone(copy);
        }
        let contents = original.contents().clone();
        let copy = Inode::with(contents);
        self.0.push((Arc::clone(original), Arc::clone(&copy)));
        copy
    }
}
