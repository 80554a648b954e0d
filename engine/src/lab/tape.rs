//! A disk that tells a witness of every operation just before it happens.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tidewatch_env::{Disk, DiskFile, DiskOp, LockGuard, OpenMode, SimDisk};

/// Told what is about to happen to which kind of file.
pub(super) type Witness = Arc<dyn Fn(&'static str, DiskOp) + Send + Sync>;

/// A kind of file that changes with the file's name.
type Kind = Arc<Mutex<&'static str>>;

/// A simulated disk under observation.
#[derive(Clone)]
pub(super) struct Tape {
    disk: SimDisk,
    witness: Witness,
    /// Plants a bug: what is done to these files is left out, and said to be done.
    left_out: Option<(&'static str, DiskOp)>,
    /// The kinds of open files, by their names of the moment.
    open: Arc<Mutex<BTreeMap<PathBuf, Kind>>>,
}

struct TapeFile {
    file: Arc<dyn DiskFile>,
    kind: Kind,
    witness: Witness,
    left_out: Option<(&'static str, DiskOp)>,
}

impl Tape {
    pub(super) fn new(
        disk: SimDisk,
        witness: Witness,
        left_out: Option<(&'static str, DiskOp)>,
    ) -> Self {
        Self { disk, witness, left_out, open: Arc::default() }
    }

    fn tell(&self, path: &Path, op: DiskOp) {
        (self.witness)(kind_of(path), op);
    }

    fn kind(&self, path: &Path) -> Kind {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = open.entry(path.to_owned()).or_insert_with(|| Arc::new(Mutex::new("")));
        *kind.lock().unwrap_or_else(PoisonError::into_inner) = kind_of(path);
        Arc::clone(kind)
    }
}

/// What the laboratory's table calls a file or directory of the data directory.
pub(super) fn kind_of(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.contains(".arc") {
        return "archive file";
    }
    let kinds = [
        ("archive", "archive directory"),
        ("wal-", "log file"),
        ("spare-", "log spare"),
        ("samples-", "samples file"),
        ("series-", "series file"),
        ("alerts-", "alerts file"),
        ("deliveries-", "deliveries file"),
        ("0", "manifest file"),
        ("slots-", "slots file"),
        ("checkpoint-", "checkpoint file"),
        ("checkpoints", "checkpoints directory"),
        ("wal", "log directory"),
        ("segments", "segments directory"),
        ("manifest", "manifest directory"),
    ];
    let kind = kinds.iter().find(|(start, _)| name.starts_with(start));
    kind.map_or("data directory", |(_, kind)| kind)
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape").finish_non_exhaustive()
    }
}

impl Disk for Tape {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        if !self.disk.exists(dir)? {
            self.tell(dir, DiskOp::CreateDir);
        }
        self.disk.create_dir_all(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if mode == OpenMode::CreateNew {
            self.tell(path, DiskOp::Create);
        }
        let file = self.disk.open(path, mode)?;
        Ok(Arc::new(TapeFile {
            file,
            kind: self.kind(path),
            witness: Arc::clone(&self.witness),
            left_out: self.left_out,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.tell(to, DiskOp::Rename);
        self.disk.rename(from, to)?;
        let kind = self.kind(from);
        *kind.lock().unwrap_or_else(PoisonError::into_inner) = kind_of(to);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(from);
        open.insert(to.to_owned(), kind);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.tell(path, DiskOp::Remove);
        self.disk.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.tell(dir, DiskOp::SyncDir);
        if self.left_out == Some((kind_of(dir), DiskOp::SyncDir)) {
            return Ok(());
        }
        self.disk.sync_dir(dir)
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
    fn tell(&self, op: DiskOp) {
        (self.witness)(self.kind(), op);
    }

    fn kind(&self) -> &'static str {
        *self.kind.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.tell(DiskOp::Write);
        self.file.write_all_at(bytes, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.tell(DiskOp::SetLen);
        self.file.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.tell(DiskOp::SetLen);
        self.file.allocate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.tell(DiskOp::Sync);
        if self.left_out == Some((self.kind(), DiskOp::Sync)) {
            return Ok(());
        }
        self.file.sync_data()
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
