//! The machine's file system: plain `pread`, `pwrite` and `fdatasync`.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, LockGuard, OpenMode};

/// The file system that the process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = dir
            .ancestors()
            .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.is_dir())
            .collect();
        for dir in missing.into_iter().rev() {
            match fs::create_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => self.sync_dir(&parent_of(dir))?,
            }
        }
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::ReadWrite => options.read(true).write(true),
            OpenMode::CreateNew => options.read(true).write(true).create_new(true),
        };
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    #[expect(unsafe_code, reason = "the standard library has no statvfs")]
    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut answer = MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: the path ends with a NUL, and the answer has room for what the call writes.
        if unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so it filled the answer.
        let answer = unsafe { answer.assume_init() };
        Ok(answer.f_bavail.saturating_mul(answer.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(RealLock { _file: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The lock lives as long as the descriptor.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl LockGuard for RealLock {}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    #[expect(unsafe_code, reason = "the standard library has no posix_fallocate")]
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let length = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open for as long as `self.0` is borrowed.
        match unsafe { libc::posix_fallocate(self.0.as_raw_fd(), 0, length) } {
            0 => Ok(()),
            // The file system cannot reserve: a hole, so that only the length is right.
            libc::EOPNOTSUPP | libc::EINVAL => {
                if self.len()? < bytes {
                    self.0.set_len(bytes)?;
                }
                Ok(())
            }
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    #[expect(unsafe_code, reason = "the standard library has no posix_fadvise")]
    fn forget_cached(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open for as long as `self.0` is borrowed.
        match unsafe { libc::posix_fadvise(self.0.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_the_end_of_the_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let nested = dir.path().join("a/b/c");
        RealDisk.create_dir_all(&nested).unwrap();
        RealDisk.create_dir_all(&nested).unwrap();
        let path = nested.join("file");
        let file = RealDisk.open(&path, OpenMode::CreateNew).unwrap();
        file.allocate(4096).unwrap();
        file.write_all_at(b"tide", 4094).unwrap();
        file.sync_data().unwrap();
        file.forget_cached().unwrap();
        let mut read = [0; 4];
        file.read_exact_at(&mut read, 4094).unwrap();
        assert_eq!(&read, b"tide");
        assert_eq!(file.len().unwrap(), 4098);
        let past = file.read_exact_at(&mut read, 4095).unwrap_err();
        assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof);
        let twice = RealDisk.open(&path, OpenMode::CreateNew).unwrap_err();
        assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn names_are_listed_in_order_and_follow_rename_and_remove() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "c", "a"] {
            RealDisk.open(&dir.path().join(name), OpenMode::CreateNew).unwrap();
        }
        RealDisk.rename(&dir.path().join("b"), &dir.path().join("d")).unwrap();
        RealDisk.remove(&dir.path().join("a")).unwrap();
        RealDisk.sync_dir(dir.path()).unwrap();
        assert_eq!(RealDisk.list(dir.path()).unwrap(), ["c", "d"]);
        assert!(!RealDisk.exists(&dir.path().join("b")).unwrap());
    }

    #[test]
    fn a_lock_excludes_until_its_guard_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let held = RealDisk.lock(&path).unwrap();
        assert!(held.is_some());
        assert!(RealDisk.lock(&path).unwrap().is_none());
        drop(held);
        assert!(RealDisk.lock(&path).unwrap().is_some());
    }

    #[test]
    fn the_temporary_directory_has_room() {
        let dir = tempfile::tempdir().unwrap();
        assert!(RealDisk.available_bytes(dir.path()).unwrap() > 0);
        assert!(RealDisk.available_bytes(&dir.path().join("missing")).is_err());
    }
}
