//! A disk that tells a witness of every operation, just before it happens and just after.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tidewatch_env::{Disk, DiskFile, DiskOp, LockGuard, OpenMode, SimDisk};

use crate::lab::kinds::kind_of;
use crate::lab::tally::FileOp;

/// An operation, as its witness sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event<'a> {
    /// Its number on the disk.
    pub(super) number: u64,
    pub(super) path: &'a Path,
    pub(super) file_op: FileOp,
    /// What a write writes, and where.
    pub(super) write: Option<(&'a [u8], u64)>,
    /// How it ended; `None` before it.
    pub(super) ended: Option<Result<(), io::ErrorKind>>,
}

/// Told of every operation, before and after.
pub(super) type Witness = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// Bugs of whoever syncs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BadSyncs {
    /// What is done to these files is left out, and said to be done.
    pub(super) left_out: Option<FileOp>,
    /// A sync that fails is tried once more, and believed then.
    pub(super) retried: bool,
}

/// A file's name of the moment, which open files share.
type Name = Arc<Mutex<PathBuf>>;

/// A simulated disk under observation.
#[derive(Clone)]
pub(super) struct Tape {
    disk: SimDisk,
    witness: Witness,
    bugs: BadSyncs,
    /// The names of files that were opened, by their names of the moment.
    open: Arc<Mutex<BTreeMap<PathBuf, Name>>>,
}

struct TapeFile {
    file: Arc<dyn DiskFile>,
    name: Name,
    tape: Tape,
}

impl Tape {
    pub(super) fn new(disk: SimDisk, witness: Witness, bugs: BadSyncs) -> Self {
        Self { disk, witness, bugs, open: Arc::default() }
    }

    /// Tells of an operation, does it, and tells how it ended.
    fn happen(
        &self,
        (path, op): (&Path, DiskOp),
        write: Option<(&[u8], u64)>,
        act: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let (number, file_op) = (self.disk.ops() + 1, (kind_of(path), op));
        let event = Event { number, path, file_op, write, ended: None };
        (self.witness)(&event);
        if self.bugs.left_out == Some(file_op) {
            return Ok(());
        }
        let done = act();
        // What is refused for a name that is missing or taken is no operation.
        if self.disk.ops() == number {
            let ended = Some(done.as_ref().copied().map_err(io::Error::kind));
            (self.witness)(&Event { ended, ..event });
        }
        done
    }

    fn name(&self, path: &Path) -> Name {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let name = || Arc::new(Mutex::new(path.to_owned()));
        Arc::clone(open.entry(path.to_owned()).or_insert_with(name))
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape").finish_non_exhaustive()
    }
}

impl Disk for Tape {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if self.disk.exists(dir)? {
            return Ok(());
        }
        self.happen((dir, DiskOp::CreateDir), None, || self.disk.create_dir_all(dir))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut opened = None;
        let mut open = || self.disk.open(path, mode).map(|file| opened = Some(file));
        match mode {
            OpenMode::CreateNew => self.happen((path, DiskOp::Create), None, open)?,
            OpenMode::Read | OpenMode::ReadWrite => open()?,
        }
        let file = opened.expect("what was opened is there");
        Ok(Arc::new(TapeFile { file, name: self.name(path), tape: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.happen((to, DiskOp::Rename), None, || self.disk.rename(from, to))?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = open.remove(from) {
            to.clone_into(&mut name.lock().unwrap_or_else(PoisonError::into_inner));
            open.insert(to.to_owned(), name);
        } else {
            open.remove(to);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.happen((path, DiskOp::Remove), None, || self.disk.remove(path))?;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.happen((dir, DiskOp::SyncDir), None, || self.disk.sync_dir(dir))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Disk::len(&self.disk, path)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        self.disk.available_bytes(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        self.disk.lock(path)
    }
}

impl TapeFile {
    fn name(&self) -> PathBuf {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn sync(&self) -> io::Result<()> {
        self.tape.happen((&self.name(), DiskOp::Sync), None, || self.file.sync_data())
    }
}

impl fmt::Debug for TapeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapeFile").finish_non_exhaustive()
    }
}

impl DiskFile for TapeFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let write = || self.file.write_all_at(bytes, offset);
        self.tape.happen((&self.name(), DiskOp::Write), Some((bytes, offset)), write)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.tape.happen((&self.name(), DiskOp::SetLen), None, || self.file.set_len(bytes))
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.tape.happen((&self.name(), DiskOp::SetLen), None, || self.file.allocate(bytes))
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.sync() {
            Err(_believed_gone) if self.tape.bugs.retried => self.sync(),
            synced => synced,
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn forget_cached(&self) -> io::Result<()> {
        self.file.forget_cached()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
