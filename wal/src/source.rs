//! Where the bytes of a WAL segment come from.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tidewatch_env::DiskFile;

use crate::error::{Damage, WalError};
use crate::unpacker::Unpacker;

/// The bytes of a WAL segment, by their offset in it.
#[derive(Debug)]
pub(crate) enum Source {
    /// The segment itself, which can be read anywhere and again.
    File(Arc<dyn DiskFile>),
    /// Its packed copy, which can be read once, from its start to its end.
    Packed(Box<Unpacker>),
}

impl Source {
    pub(crate) fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => file.len(),
            Self::Packed(unpacker) => Ok(unpacker.raw_bytes()),
        }
    }

    pub(crate) fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(buf, offset),
            Self::Packed(unpacker) => unpacker.read_at(buf, offset),
        }
    }

    /// What it means that reading the file at `path` failed.
    pub(crate) fn refused(&self, error: io::Error, name: &str, path: &Path) -> WalError {
        match self {
            Self::Packed(unpacker) if !unpacker.disk_failed() => {
                WalError::corrupt(name, unpacker.position(), Damage::Packed)
            }
            Self::File(_) | Self::Packed(_) => WalError::io("read", path)(error),
        }
    }

    /// Whether bytes can be read a second time.
    pub(crate) fn rereads(&self) -> bool {
        matches!(self, Self::File(_))
    }
}
