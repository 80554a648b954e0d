//! Readies files for the log beside its writer, so that the writer neither fills nor renames.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::{Disk, DiskFile, OpenMode};

use crate::error::WalError;
use crate::instruments::WalInstruments;
use crate::limits::{SPARES_MAX, STEP_BYTES};
use crate::log_dir::{spare_name, unfinished_name};
use crate::stock::{Released, Stock};

static ZEROS: [u8; STEP_BYTES] = [0; STEP_BYTES];

/// Fills the next file with zeros and puts released ones away, one small step at a time.
///
/// Belongs to the [`Wal`](crate::Wal) until it is taken; then a thread of the owner's choice calls
/// [`run_once`](Self::run_once).
#[derive(Debug)]
pub struct Preallocator {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    stock: Arc<Stock>,
    instruments: WalInstruments,
    filling: Option<Unfinished>,
    poisoned: bool,
}

impl Preallocator {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        segment_bytes: u64,
        stock: Arc<Stock>,
        instruments: WalInstruments,
    ) -> Self {
        Self { disk, dir, segment_bytes, stock, instruments, filling: None, poisoned: false }
    }

    /// Does one step: puts one released file away, or writes and syncs at most 1 MiB of zeros.
    ///
    /// `false` means that there is nothing to do until a file is released or put to use.
    ///
    /// # Errors
    /// `Full` if the disk has no room, `Io`; the file that was being filled is given up and a later
    /// call begins another. `Poisoned` after a sync of the directory failed.
    pub fn run_once(&mut self) -> Result<bool, WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        if self.put_away_once()? {
            return Ok(true);
        }
        if self.filling.is_none() && self.stock.ready() > 0 {
            return Ok(false);
        }
        self.fill_once()?;
        Ok(true)
    }

    /// Puts the oldest released file away, if there is one.
    pub(crate) fn put_away_once(&mut self) -> Result<bool, WalError> {
        let Some(Released { path, bytes }) = self.stock.oldest_released() else {
            return Ok(false);
        };
        let keep = self.stock.ready() < SPARES_MAX && bytes == self.segment_bytes;
        let spare = keep.then(|| self.dir.join(spare_name(self.stock.next_number())));
        match &spare {
            Some(spare) => self.disk.rename(&path, spare).map_err(WalError::io("rename", &path))?,
            None => self.disk.remove(&path).map_err(WalError::io("remove", &path))?,
        }
        // DURABILITY: before the next older file goes and before this one is used again, or a crash
        // could leave a hole in the log, or new bytes under an old name.
        self.sync_dir()?;
        self.stock.put_away();
        match spare {
            Some(spare) => {
                self.stock.add_ready(spare);
                self.instruments.segments_recycled.inc();
            }
            None => {
                self.instruments.segments_removed.inc();
            }
        }
        Ok(true)
    }

    fn fill_once(&mut self) -> Result<(), WalError> {
        let mut filling = match self.filling.take() {
            Some(filling) => filling,
            None => Unfinished::create(&*self.disk, &self.dir, &self.stock, self.segment_bytes)?,
        };
        if !filling.fill_step(&*self.disk)? {
            self.filling = Some(filling);
            return Ok(());
        }
        let spare = self.dir.join(spare_name(self.stock.next_number()));
        let renamed = self.disk.rename(&filling.path, &spare);
        renamed.map_err(WalError::io("rename", &filling.path))?;
        self.sync_dir()?;
        self.instruments.segments_created.inc();
        self.stock.add_ready(spare);
        Ok(())
    }

    fn sync_dir(&mut self) -> Result<(), WalError> {
        let synced = self.disk.sync_dir(&self.dir);
        self.poisoned |= synced.is_err();
        synced.map_err(WalError::io("sync", &self.dir))
    }
}

/// A file that is being filled with zeros.
#[derive(Debug)]
pub(crate) struct Unfinished {
    pub(crate) path: PathBuf,
    file: Arc<dyn DiskFile>,
    bytes: u64,
    filled: u64,
}

impl Unfinished {
    /// Creates the file and reserves its space.
    pub(crate) fn create(
        disk: &dyn Disk,
        dir: &Path,
        stock: &Stock,
        bytes: u64,
    ) -> Result<Self, WalError> {
        let path = dir.join(unfinished_name(stock.next_number()));
        let opened = disk.open(&path, OpenMode::CreateNew);
        let file = opened.map_err(|source| refused("create", &path, bytes, source))?;
        let unfinished = Self { path, file, bytes, filled: 0 };
        match unfinished.file.allocate(bytes) {
            Ok(()) => Ok(unfinished),
            Err(source) => Err(unfinished.give_up(disk, "allocate", source)),
        }
    }

    /// Writes and syncs the next zeros; whether the file is full now. After an error it is gone.
    ///
    /// Zeros, not only reserved space: a first write into reserved space costs a change of the file
    /// system's metadata in the sync that waits for it.
    pub(crate) fn fill_step(&mut self, disk: &dyn Disk) -> Result<bool, WalError> {
        let left = self.bytes - self.filled;
        let step = usize::try_from(left).map_or(STEP_BYTES, |left| left.min(STEP_BYTES));
        let zeros = ZEROS.get(..step).expect("a step is at most as long as the zeros");
        if let Err(source) = self.file.write_all_at(zeros, self.filled) {
            return Err(self.give_up(disk, "fill", source));
        }
        if let Err(source) = self.file.sync_data() {
            return Err(self.give_up(disk, "sync", source));
        }
        self.filled += step as u64;
        Ok(self.filled == self.bytes)
    }

    fn give_up(&self, disk: &dyn Disk, action: &'static str, source: io::Error) -> WalError {
        if let Err(error) = disk.remove(&self.path) {
            // The next recovery removes it.
            tracing::warn!(%error, path = %self.path.display(), "unfinished WAL file left behind");
        }
        refused(action, &self.path, self.bytes, source)
    }
}

fn refused(action: &'static str, path: &Path, bytes: u64, source: io::Error) -> WalError {
    let error = WalError::io(action, path)(source);
    if error.is_storage_full() { WalError::Full { bytes } } else { error }
}
