//! What the product asks of a disk.
//!
//! The two traits name the durability rules of POSIX and hide nothing: bytes are durable after
//! [`DiskFile::sync_data`], and a name (new, renamed or removed) after [`Disk::sync_dir`] of its
//! directory. Whoever creates a file needs both.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A file that must not exist yet, for reading and writing.
    CreateNew,
}

/// A file system, real or simulated. Paths are absolute or relative to the process's directory.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a directory and its missing parents, durably: each new name is synced.
    ///
    /// # Errors
    /// What the file system reports.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound` or `AlreadyExists` as the mode says, and what the file system reports.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name in one step, replacing what had that name.
    ///
    /// # Errors
    /// `NotFound`, and what the file system reports.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name; its bytes go with the last open handle.
    ///
    /// # Errors
    /// `NotFound`, and what the file system reports.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, of files and directories, sorted.
    ///
    /// Names that are not UTF-8 are left out: Tidewatch never writes one.
    ///
    /// # Errors
    /// `NotFound`, and what the file system reports.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the file system reports.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Whether a file or directory of this name exists.
    ///
    /// # Errors
    /// What the file system reports.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// The length of a file in bytes.
    ///
    /// # Errors
    /// `NotFound`, and what the file system reports.
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// Bytes that an unprivileged process can still write on the file system that holds `path`.
    ///
    /// # Errors
    /// What the file system reports.
    fn available_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Takes the exclusive lock on `path`, creating the file if it is missing.
    ///
    /// `None` means that another process, or another caller in this one, holds it. The lock ends
    /// with the guard or the process, so that a crash never leaves it behind.
    ///
    /// # Errors
    /// What the file system reports.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>>;
}

/// Holds a lock taken by [`Disk::lock`] until it is dropped.
pub trait LockGuard: Send + Sync + fmt::Debug {}

/// An open file, read and written at explicit offsets, from any thread.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file or by the system's whim.
    ///
    /// # Errors
    /// What the file system reports.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills `buf`.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends before, and what the file system reports.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset + u64::try_from(done).map_err(io::Error::other)?) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes`; after an error an unknown part of them is written.
    ///
    /// # Errors
    /// What the file system reports.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file, or extends it with a hole that reads as zeros.
    ///
    /// # Errors
    /// What the file system reports.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Makes the file at least `bytes` long with its space reserved, where the file system can.
    ///
    /// # Errors
    /// `StorageFull` before any write, and what the file system reports.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Makes the bytes, and the length that is needed to read them, durable.
    ///
    /// After an error the unsynced bytes may be gone although a second call succeeds: whoever gets
    /// one must not trust this file's unsynced bytes again.
    ///
    /// # Errors
    /// What the file system reports.
    fn sync_data(&self) -> io::Result<()>;

    /// As [`sync_data`](Self::sync_data), with all metadata.
    ///
    /// # Errors
    /// What the file system reports.
    fn sync_all(&self) -> io::Result<()>;

    /// Forgets what is cached of the file, so that the next read comes from the device.
    ///
    /// After a failed sync the cache shows bytes that the device never got; a reader that must
    /// know what is really there calls [`sync_data`](Self::sync_data) and then this.
    ///
    /// # Errors
    /// What the file system reports.
    fn forget_cached(&self) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// What the file system reports.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// What the file system reports.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}
