//! The files of checkpoints: written under other names, synced, renamed, and the directory synced.
//!
//! `checkpoints/slots-<number>.state` holds the slots' states, one after the other, behind a head of
//! 24 bytes: magic "TWSLOTS\0", format u32, number u64, crc32c u32 of these. The checkpoint's
//! [index](CheckpointIndex) says where each one lies and what its checksum is. A checkpoint counts
//! once its index has its name, and its slots have theirs before.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::{Disk, DiskFile, OpenMode, copy_file, read_file, replace_file};
use tidewatch_metrics::Slot;
use tidewatch_metrics::fields::FieldWriter;

use crate::EngineError;
use crate::checkpoint::index::{BadIndex, CHECKPOINT_FORMAT, CheckpointIndex, SlotEntry};

const INDEX: &str = "checkpoint-";
const INDEX_END: &str = ".index";
const SLOTS: &str = "slots-";
const SLOTS_END: &str = ".state";
const UNFINISHED: &str = ".tmp";
const NUMBER_DIGITS: usize = 20;
const SLOTS_MAGIC: &[u8; 8] = b"TWSLOTS\0";
const SLOTS_FORMAT: u32 = 1;
const SLOTS_HEAD_BYTES: usize = 24;
/// Bytes of an index: undelivered transitions are what may make it long.
const INDEX_BYTES_MAX: u64 = 1 << 30;
/// Bytes of one write.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes after which the file of slots is synced, so that no sync at its end has much to do.
const SYNC_BYTES: u64 = 8 << 20;

/// The directory of checkpoints.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

/// A checkpoint that was read and is whole.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) index: CheckpointIndex,
    slots: Arc<dyn DiskFile>,
    path: PathBuf,
}

/// The file of slots of a checkpoint in the making.
#[derive(Debug)]
pub(crate) struct SlotsWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    number: u64,
    file: Arc<dyn DiskFile>,
    /// What is not written yet.
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
}

/// Why a checkpoint cannot be used.
#[derive(Debug)]
enum Unusable {
    /// Its bytes are not what was written.
    Damaged(&'static str),
    /// It cannot be told.
    Error(EngineError),
}

impl CheckpointStore {
    /// The directory `dir`, which is made when the first checkpoint is.
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir }
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes what a crash left unfinished. Only while nobody makes a checkpoint.
    pub(crate) fn settle(&self) -> Result<(), EngineError> {
        self.disk.create_dir_all(&self.dir).map_err(self.failed("create", &self.dir))?;
        let names = self.disk.list(&self.dir).map_err(self.failed("list", &self.dir))?;
        let counted = numbers(&names, INDEX, INDEX_END);
        let mut removed = false;
        for name in &names {
            let slots = number_of(name, SLOTS, SLOTS_END);
            if name.ends_with(UNFINISHED) || slots.is_some_and(|number| !counted.contains(&number))
            {
                self.remove(name)?;
                removed = true;
            }
        }
        if removed { self.sync_dir() } else { Ok(()) }
    }

    /// Numbers of the checkpoints, whole or not, ascending.
    pub(crate) fn numbers(&self) -> Result<Vec<u64>, EngineError> {
        if !self.disk.exists(&self.dir).map_err(self.failed("look for", &self.dir))? {
            return Ok(Vec::new());
        }
        let names = self.disk.list(&self.dir).map_err(self.failed("list", &self.dir))?;
        Ok(numbers(&names, INDEX, INDEX_END))
    }

    /// What the checkpoints say, newest first; damaged ones are told of and passed over.
    ///
    /// # Errors
    /// [`EngineError::NewerFormat`], and what the disk reports.
    pub(crate) fn indexes(&self) -> Result<Vec<CheckpointIndex>, EngineError> {
        let numbers = self.numbers()?.into_iter().rev();
        let read = numbers.filter_map(|number| self.usable(number, self.read(number)).transpose());
        read.collect()
    }

    /// The checkpoint of an index, if its slots are whole; damage is told of.
    ///
    /// # Errors
    /// What the disk reports.
    pub(crate) fn open(&self, index: CheckpointIndex) -> Result<Option<Checkpoint>, EngineError> {
        let number = index.number;
        self.usable(number, self.check(index))
    }

    fn usable<T>(&self, number: u64, read: Result<T, Unusable>) -> Result<Option<T>, EngineError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(Unusable::Damaged(reason)) => {
                let path = self.index_path(number);
                tracing::error!(checkpoint = %path.display(), reason,
                    "a checkpoint is damaged; falling back to an older one");
                Ok(None)
            }
            Err(Unusable::Error(error)) => Err(error),
        }
    }

    /// Begins the checkpoint `number`.
    pub(crate) fn begin(&self, number: u64) -> Result<SlotsWriter, EngineError> {
        let path = self.dir.join(format!("{}{UNFINISHED}", slots_name(number)));
        if self.disk.exists(&path).map_err(self.failed("look for", &path))? {
            self.disk.remove(&path).map_err(self.failed("remove", &path))?;
        }
        let file = self.disk.open(&path, OpenMode::CreateNew);
        let file = file.map_err(self.failed("create", &path))?;
        let (disk, dir, buffer) = (Arc::clone(&self.disk), self.dir.clone(), slots_head(number));
        Ok(SlotsWriter { disk, dir, number, file, buffer, written: 0, synced: 0 })
    }

    /// Makes the checkpoint count. Its slots must be [sealed](SlotsWriter::seal).
    pub(crate) fn commit(&self, index: &CheckpointIndex) -> Result<u64, EngineError> {
        let path = self.index_path(index.number);
        let bytes = index.encode();
        replace_file(&*self.disk, &path, &bytes).map_err(self.failed("write", &path))?;
        Ok(bytes.len() as u64)
    }

    /// Removes the checkpoints that are not in `kept`.
    pub(crate) fn keep(&self, kept: &[u64]) -> Result<(), EngineError> {
        let superfluous: Vec<_> =
            self.numbers()?.into_iter().filter(|number| !kept.contains(number)).collect();
        // DURABILITY: the index before its slots, so that no index lacks them.
        for number in &superfluous {
            self.remove(&index_name(*number))?;
        }
        if superfluous.is_empty() {
            return Ok(());
        }
        self.sync_dir()?;
        for number in &superfluous {
            self.remove(&slots_name(*number))?;
        }
        self.sync_dir()
    }

    /// Copies the files of these checkpoints, as far as they are there, to the directory `aside`, which
    /// is made; durable when it returns.
    pub(crate) fn set_aside(&self, numbers: &[u64], aside: &Path) -> Result<(), EngineError> {
        for name in self.files_of(numbers)? {
            self.disk.create_dir_all(aside).map_err(self.failed("create", aside))?;
            let copy = aside.join(&name);
            let copied = copy_file(&*self.disk, &self.dir.join(&name), &copy);
            copied.map_err(self.failed("copy a checkpoint to", &copy))?;
        }
        Ok(())
    }

    /// Removes these checkpoints, which may be damaged, durably.
    pub(crate) fn discard(&self, numbers: &[u64]) -> Result<(), EngineError> {
        // DURABILITY: as in `keep`, indexes come first.
        for name in self.files_of(numbers)? {
            self.remove(&name)?;
        }
        if numbers.is_empty() { Ok(()) } else { self.sync_dir() }
    }

    /// The files of these checkpoints that are there, indexes first.
    fn files_of(&self, numbers: &[u64]) -> Result<Vec<String>, EngineError> {
        let mut names: Vec<String> = numbers.iter().copied().map(index_name).collect();
        names.extend(numbers.iter().copied().map(slots_name));
        let mut there = Vec::new();
        for name in names {
            let path = self.dir.join(&name);
            if self.disk.exists(&path).map_err(self.failed("look for", &path))? {
                there.push(name);
            }
        }
        Ok(there)
    }

    fn read(&self, number: u64) -> Result<CheckpointIndex, Unusable> {
        let path = self.index_path(number);
        let bytes =
            read_file(&*self.disk, &path, INDEX_BYTES_MAX).map_err(|source| {
                match source.kind() {
                    io::ErrorKind::FileTooLarge => Unusable::Damaged("it is too long"),
                    _ => Unusable::Error(self.failed("read", &path)(source)),
                }
            })?;
        let index = CheckpointIndex::decode(&bytes).map_err(|bad| match bad {
            BadIndex::Damaged(reason) => Unusable::Damaged(reason),
            BadIndex::Newer(found) => Unusable::Error(EngineError::NewerFormat {
                path: path.clone(),
                found,
                known: CHECKPOINT_FORMAT,
            }),
        })?;
        if index.number != number {
            return Err(Unusable::Damaged("its number is not that of its name"));
        }
        Ok(index)
    }

    fn check(&self, index: CheckpointIndex) -> Result<Checkpoint, Unusable> {
        let path = self.dir.join(slots_name(index.number));
        let slots =
            self.disk.open(&path, OpenMode::Read).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => Unusable::Damaged("its slots are missing"),
                _ => Unusable::Error(self.failed("open", &path)(source)),
            })?;
        let checkpoint = Checkpoint { index, slots, path };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    fn index_path(&self, number: u64) -> PathBuf {
        self.dir.join(index_name(number))
    }

    fn remove(&self, name: &str) -> Result<(), EngineError> {
        let path = self.dir.join(name);
        self.disk.remove(&path).map_err(self.failed("remove", &path))
    }

    fn sync_dir(&self) -> Result<(), EngineError> {
        self.disk.sync_dir(&self.dir).map_err(self.failed("sync", &self.dir))
    }

    fn failed(
        &self,
        action: &'static str,
        path: &Path,
    ) -> impl Fn(io::Error) -> EngineError + use<> {
        let path = path.to_owned();
        move |source| EngineError::Io { action, path: path.clone(), source: Arc::new(source) }
    }
}

impl Checkpoint {
    /// The state of a slot, checked. `None` where its bytes are not what was written.
    pub(crate) fn slot(&self, slot: Slot) -> Result<Option<Vec<u8>>, EngineError> {
        self.read(slot).map_err(|source| self.failed(source))
    }

    /// The windows of percentiles, checked. `None` where there are none, or their bytes are not what was
    /// written.
    pub(crate) fn windows(&self) -> Result<Option<Vec<u8>>, EngineError> {
        let read = self.index.windows.map(|entry| self.read_entry(entry));
        Ok(read.transpose().map_err(|source| self.failed(source))?.flatten())
    }

    fn failed(&self, source: io::Error) -> EngineError {
        EngineError::Io { action: "read", path: self.path.clone(), source: Arc::new(source) }
    }

    fn read(&self, slot: Slot) -> io::Result<Option<Vec<u8>>> {
        self.read_entry(self.index.slots.get(usize::from(slot.0)).copied().unwrap_or_default())
    }

    fn read_entry(&self, entry: SlotEntry) -> io::Result<Option<Vec<u8>>> {
        let length = self.slots.len()?;
        let end = entry.offset.checked_add(u64::from(entry.bytes));
        if end.is_none_or(|end| end > length) {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(entry.bytes).map_err(io::Error::other)?];
        self.slots.read_exact_at(&mut bytes, entry.offset)?;
        Ok((crc32c::crc32c(&bytes) == entry.crc32c).then_some(bytes))
    }

    fn check(&self) -> Result<(), Unusable> {
        let read = |source: io::Error| {
            let (path, source) = (self.path.clone(), Arc::new(source));
            Unusable::Error(EngineError::Io { action: "read", path, source })
        };
        let mut head = [0; SLOTS_HEAD_BYTES];
        match self.slots.read_exact_at(&mut head, 0) {
            Ok(()) if head == *slots_head(self.index.number) => {}
            Ok(()) => return Err(Unusable::Damaged("the head of its slots is damaged")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Unusable::Damaged("its slots are cut"));
            }
            Err(error) => return Err(read(error)),
        }
        for slot in (0..=u8::MAX).map(Slot) {
            if self.read(slot).map_err(read)?.is_none() {
                return Err(Unusable::Damaged("the state of a slot is damaged"));
            }
        }
        if let Some(entry) = self.index.windows
            && self.read_entry(entry).map_err(read)?.is_none()
        {
            return Err(Unusable::Damaged("the state of its windows is damaged"));
        }
        Ok(())
    }
}

impl SlotsWriter {
    /// The checkpoint's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Appends a slot's state; `entry` is what the index says of it, without its place.
    pub(crate) fn put(&mut self, state: &[u8], entry: SlotEntry) -> Result<SlotEntry, EngineError> {
        let place = SlotEntry {
            offset: self.bytes(),
            bytes: u32::try_from(state.len()).expect("a slot's state is far below 4 GiB"),
            crc32c: crc32c::crc32c(state),
            ..entry
        };
        self.buffer.extend_from_slice(state);
        if self.buffer.len() >= WRITE_BYTES {
            self.write()?;
        }
        if self.written - self.synced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(place)
    }

    /// Makes the slots durable under their name.
    pub(crate) fn seal(&mut self) -> Result<(), EngineError> {
        self.write()?;
        self.sync()?;
        let path = self.dir.join(slots_name(self.number));
        let renamed = self.disk.rename(&self.path(), &path);
        renamed.map_err(|source| self.failed("rename", source))?;
        // DURABILITY: before the index that names them.
        let synced = self.disk.sync_dir(&self.dir);
        synced.map_err(|source| self.failed("sync the directory of", source))
    }

    fn write(&mut self) -> Result<(), EngineError> {
        let written = self.file.write_all_at(&self.buffer, self.written);
        written.map_err(|source| self.failed("write", source))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        self.file.sync_data().map_err(|source| self.failed("sync", source))?;
        self.synced = self.written;
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.dir.join(format!("{}{UNFINISHED}", slots_name(self.number)))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> EngineError {
        EngineError::Io { action, path: self.path(), source: Arc::new(source) }
    }
}

fn slots_head(number: u64) -> Vec<u8> {
    let mut head = FieldWriter::with_capacity(SLOTS_HEAD_BYTES);
    head.u64(u64::from_le_bytes(*SLOTS_MAGIC));
    head.u32(SLOTS_FORMAT);
    head.u64(number);
    head.u32(crc32c::crc32c(head.as_bytes()));
    head.into_bytes()
}

fn index_name(number: u64) -> String {
    format!("{INDEX}{number:0NUMBER_DIGITS$}{INDEX_END}")
}

fn slots_name(number: u64) -> String {
    format!("{SLOTS}{number:0NUMBER_DIGITS$}{SLOTS_END}")
}

fn number_of(name: &str, start: &str, end: &str) -> Option<u64> {
    let digits = name.strip_prefix(start)?.strip_suffix(end)?;
    (digits.len() == NUMBER_DIGITS).then(|| digits.parse().ok()).flatten()
}

fn numbers(names: &[String], start: &str, end: &str) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| number_of(name, start, end)).collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
