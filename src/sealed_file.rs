//! Small files of the data directory that are replaced as a whole, durably.
//!
//! ```text
//! magic     8 bytes   the kind
//! version   u32 LE    of the kind's format
//! count     u32 LE    number of entries
//! entries             as the kind has them
//! crc32c    u32 LE    of everything before
//! ```
//!
//! A greater version is refused.

#![deny(clippy::indexing_slicing)]

use std::io;
use std::path::{Path, PathBuf};

use tidewatch_env::{Disk, read_file, replace_file};

/// A kind of file.
#[derive(Debug)]
pub(crate) struct FileKind {
    /// What it is called in errors.
    pub(crate) noun: &'static str,
    /// Its first bytes.
    pub(crate) magic: [u8; 8],
    /// The newest version of its format; 1 is the oldest.
    pub(crate) version: u32,
    /// The longest one that is read.
    pub(crate) bytes_max: u64,
}

/// What is wrong with a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// A check failed.
    Damaged(&'static str),
    /// A later release wrote it, in this format.
    Newer(u32),
}

/// It ends before its entries do.
pub(crate) const SHORT: Unreadable = Unreadable::Damaged("it ends too early");

/// Why a file cannot be read or replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The file system refused an operation on it.
    #[error("could not {action} \"{}\"", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It does not pass its checks.
    #[error("the {noun} \"{}\" is damaged: {problem}", path.display())]
    Damaged {
        /// What it is called.
        noun: &'static str,
        /// The file.
        path: PathBuf,
        /// The first check that fails.
        problem: &'static str,
    },
    /// A later release wrote it.
    #[error("\"{}\" has format {found}, this release knows formats up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format that it has.
        found: u32,
        /// The newest format that this release knows.
        known: u32,
    },
}

impl FileKind {
    /// The bytes of a file with the entries that `write` appends.
    pub(crate) fn seal(&self, count: u32, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.magic);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        write(&mut bytes);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The number of entries, and their bytes.
    ///
    /// # Errors
    /// If the file is not of this kind and version, or its checksum is wrong.
    pub(crate) fn unseal<'a>(&self, bytes: &'a [u8]) -> Result<(u32, Input<'a>), Unreadable> {
        let mut head = Input(bytes);
        if *head.chunk::<8>()? != self.magic {
            return Err(Unreadable::Damaged("it does not begin as a file of its kind does"));
        }
        match u32::from_le_bytes(*head.chunk()?) {
            0 => return Err(Unreadable::Damaged("its version is 0")),
            version if version > self.version => return Err(Unreadable::Newer(version)),
            _ => {}
        }
        let (checked, checksum) = bytes.split_last_chunk::<4>().ok_or(SHORT)?;
        if crc32c::crc32c(checked) != u32::from_le_bytes(*checksum) {
            return Err(Unreadable::Damaged("its checksum is wrong"));
        }
        let mut input = Input(checked.get(12..).ok_or(SHORT)?);
        let count = u32::from_le_bytes(*input.chunk()?);
        Ok((count, input))
    }

    /// What a file says; the default of its kind where there is none.
    ///
    /// # Errors
    /// If it is damaged, of a later release, or cannot be read.
    pub(crate) fn read<T: Default>(
        &self,
        disk: &dyn Disk,
        path: &Path,
        decode: impl FnOnce(&[u8]) -> Result<T, Unreadable>,
    ) -> Result<T, FileError> {
        let path = || path.to_owned();
        let bytes = match read_file(disk, &path(), self.bytes_max) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
            Err(source) => return Err(FileError::Io { action: "read", path: path(), source }),
        };
        decode(&bytes).map_err(|unreadable| match unreadable {
            Unreadable::Damaged(problem) => {
                FileError::Damaged { noun: self.noun, path: path(), problem }
            }
            Unreadable::Newer(found) => {
                FileError::Newer { path: path(), found, known: self.version }
            }
        })
    }
}

/// Replaces a file, or makes it. It is durable when this returns.
///
/// # Errors
/// If the file system refuses: then the file is as it was.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace_file(disk, path, bytes).map_err(|source| FileError::Io {
        action: "replace",
        path: path.to_owned(),
        source,
    })
}

/// What is left to read.
#[derive(Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// The next `N` bytes.
    ///
    /// # Errors
    /// If so many are not left.
    pub(crate) fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], Unreadable> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(chunk)
    }

    /// The next `length` bytes as text.
    ///
    /// # Errors
    /// If so many are not left, or they are not UTF-8.
    pub(crate) fn text(&mut self, length: usize) -> Result<&'a str, Unreadable> {
        let (text, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_not_utf8| Unreadable::Damaged("a text is not UTF-8"))
    }

    /// Sees to it that nothing is left.
    ///
    /// # Errors
    /// If something is.
    pub(crate) fn end(&self) -> Result<(), Unreadable> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(Unreadable::Damaged("something follows its last entry")),
        }
    }
}
