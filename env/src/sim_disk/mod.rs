//! A disk in memory that forgets what was not synced.
//!
//! Bytes are volatile until their file is synced, names until their directory is; after a power
//! loss ([`SimDisk::reboot`]) each unsynced sector and name survives or not, by a seed. Every
//! operation that changes something has a number, and can fail or be the last one.

mod contents;
mod faults;
mod file;
mod names;
mod pages;
#[cfg(test)]
#[path = "sim_disk_tests.rs"]
mod sim_disk_tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, DiskFile, LockGuard, OpenMode};
use crate::rng::Rng;
pub use crate::sim_disk::contents::SECTOR_BYTES;
pub use crate::sim_disk::faults::FaultMode;
use crate::sim_disk::faults::{FaultPlan, Verdict};
use crate::sim_disk::file::{Inode, SimFile};
use crate::sim_disk::names::Names;

/// What an operation on a [`SimDisk`] changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskOp {
    /// A directory is created.
    CreateDir,
    /// A file is created.
    Create,
    /// Bytes are written.
    Write,
    /// A file's length is set or its space reserved.
    SetLen,
    /// A file is synced.
    Sync,
    /// A file gets another name.
    Rename,
    /// A name is removed.
    Remove,
    /// A directory is synced.
    SyncDir,
}

/// The simulated disk; a clone is another handle of the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<SimState>>,
}

#[derive(Debug)]
pub(crate) struct SimState {
    names: Names,
    locks: BTreeSet<PathBuf>,
    plan: FaultPlan,
    op_counts: BTreeMap<(&'static str, DiskOp), u64>,
    classify: fn(&Path) -> &'static str,
    capacity: Option<u64>,
    ignore_syncs: bool,
    ignore_dir_syncs: bool,
    rng: Rng,
}

impl SimDisk {
    /// An empty disk; the seed decides how much of a failing write is done.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_classifier(seed, |_| "file")
    }

    /// An empty disk that counts operations by what `classify` calls their file.
    #[must_use]
    pub fn with_classifier(seed: u64, classify: fn(&Path) -> &'static str) -> Self {
        Self::with_names(Names::default(), seed, classify)
    }

    fn with_names(names: Names, seed: u64, classify: fn(&Path) -> &'static str) -> Self {
        let state = SimState {
            names,
            locks: BTreeSet::new(),
            plan: FaultPlan::default(),
            op_counts: BTreeMap::new(),
            classify,
            capacity: None,
            ignore_syncs: false,
            ignore_dir_syncs: false,
            rng: Rng::from_seed(seed),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Lets the operation with this number be the last one: it fails, a write perhaps after a part
    /// of its bytes, and every later operation fails too, reads included.
    pub fn crash_at(&self, op_number: u64) {
        self.state().plan.crash_at(op_number);
    }

    /// Whether the crash has happened.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.state().plan.crashed()
    }

    /// Lets the operation with this number fail with an error of this kind.
    ///
    /// As on Linux, what a failing sync should have written is lost at a power loss although a
    /// later sync succeeds, and is read until then.
    pub fn fail_op(&self, op_number: u64, kind: io::ErrorKind, mode: FaultMode) {
        self.state().plan.fail(op_number, kind, mode);
    }

    /// Bounds the bytes of all files; a write beyond it fails with `StorageFull`. `None`: no bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// The bytes of all files that have a name.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().names.bytes()
    }

    /// Plants a bug: syncs of files succeed and do nothing.
    pub fn ignore_syncs(&self, ignore: bool) {
        self.state().ignore_syncs = ignore;
    }

    /// Plants a bug: syncs of directories succeed and do nothing.
    pub fn ignore_dir_syncs(&self, ignore: bool) {
        self.state().ignore_dir_syncs = ignore;
    }

    /// The number of the last operation that changed or tried to change something; the first is 1.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.state().plan.ops()
    }

    /// How many operations there were, by kind of file and of operation.
    #[must_use]
    pub fn op_counts(&self) -> BTreeMap<(&'static str, DiskOp), u64> {
        self.state().op_counts.clone()
    }

    /// The disk after a power loss at this moment.
    ///
    /// Each unsynced sector and name survives or is lost, by the seed; the last unsynced sector of
    /// a file may be torn. Faults, planted bugs, the bound and the counts are not taken over.
    #[must_use]
    pub fn reboot(&self, seed: u64) -> Self {
        let state = self.state();
        let mut rng = Rng::from_seed(seed);
        // Some losses keep nearly everything, some nearly nothing: both find their own bugs.
        let survival = rng.below(5);
        let names = state.names.after_power_loss(&mut rng, survival);
        Self::with_names(names, rng.next_u64(), state.classify)
    }

    /// The disk after `kill -9` at this moment: every finished write is there, synced or not.
    ///
    /// What was not synced stays volatile, so that a power loss may follow.
    #[must_use]
    pub fn reboot_keeping_all(&self) -> Self {
        let state = self.state();
        let seed = state.rng.clone().next_u64();
        Self::with_names(state.names.after_kill(), seed, state.classify)
    }

    fn state(&self) -> MutexGuard<'_, SimState> {
        self.state.lock().expect("nobody panics while holding the simulated disk")
    }
}

impl SimState {
    /// Counts an operation and says whether it happens.
    fn begin(&mut self, kind: &'static str, op: DiskOp) -> Verdict {
        let verdict = self.plan.next();
        if !matches!(verdict, Verdict::Dead) {
            *self.op_counts.entry((kind, op)).or_default() += 1;
        }
        verdict
    }

    /// As [`begin`](Self::begin), for operations that happen as a whole or not at all.
    fn begin_whole(&mut self, path: &Path, op: DiskOp) -> io::Result<()> {
        let kind = (self.classify)(path);
        self.begin(kind, op).whole()
    }

    /// Refuses growth beyond the capacity.
    fn check_room(&self, growth: u64) -> io::Result<()> {
        if growth > self.available() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn available(&self) -> u64 {
        self.capacity.map_or(u64::MAX / 2, |bytes| bytes.saturating_sub(self.names.bytes()))
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.plan.check_alive()?;
        if state.names.is_dir(dir) {
            return Ok(());
        }
        state.begin_whole(dir, DiskOp::CreateDir)?;
        state.names.create_dir_all(dir);
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.plan.check_alive()?;
        let inode = match (state.names.get(path), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, OpenMode::Read | OpenMode::ReadWrite) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            (Some(inode), OpenMode::Read | OpenMode::ReadWrite) => Arc::clone(inode),
            (None, OpenMode::CreateNew) => {
                state.names.check_parent(path)?;
                state.begin_whole(path, DiskOp::Create)?;
                let inode = Inode::empty();
                state.names.create(path, &inode);
                inode
            }
        };
        let kind = (state.classify)(path);
        let writable = mode != OpenMode::Read;
        Ok(Arc::new(SimFile::new(Arc::clone(&self.state), inode, kind, writable)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.names.check_parent(to)?;
        state.begin_whole(to, DiskOp::Rename)?;
        state.names.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin_whole(path, DiskOp::Remove)?;
        state.names.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.plan.check_alive()?;
        state.names.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin_whole(dir, DiskOp::SyncDir)?;
        if !state.names.is_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !state.ignore_dir_syncs {
            state.names.sync_dir(dir);
        }
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        state.plan.check_alive()?;
        Ok(state.names.get(path).is_some() || state.names.is_dir(path))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        state.plan.check_alive()?;
        let inode = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(inode.contents().len())
    }

    fn available_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = self.state();
        state.plan.check_alive()?;
        Ok(state.available())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        let mut state = self.state();
        state.plan.check_alive()?;
        state.names.check_parent(path)?;
        if !state.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimLock { disk: self.clone(), path: path.to_owned() })))
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}
