//! What can go wrong with the log.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tidewatch_metrics::Lsn;

use crate::config::ConfigProblem;

/// Why the log could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The file system refused an operation; if it was a write or a sync of the log itself, the
    /// log takes nothing more.
    #[error("could not {action} \"{}\"", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The disk has no room for the next WAL segment. Nothing was appended; later calls may succeed.
    #[error("the disk has no room for a WAL segment of {bytes} bytes")]
    Full {
        /// Size of the segment that is needed.
        bytes: u64,
    },
    /// Bytes that were durable are damaged or missing.
    #[error("WAL segment {file} is damaged at byte {offset}: {damage}")]
    Corrupt {
        /// Name of the file.
        file: Box<str>,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// The file is of a newer version of the format.
    #[error("WAL segment {file} has format version {found}; this release reads up to {supported}")]
    Version {
        /// Name of the file.
        file: Box<str>,
        /// Its version.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// A write or sync failed before: what the disk holds is unknown until the next recovery.
    #[error("the log takes nothing more, because an earlier write or sync failed")]
    Poisoned,
    /// The record is larger than a frame may be. Nothing was appended.
    #[error("a frame of {bytes} bytes is larger than wal.frame_bytes_max, {max}")]
    TooLarge {
        /// Size of the frame.
        bytes: u64,
        /// The configured bound.
        max: u64,
    },
    /// The log does not hold the record from which on it is needed.
    #[error(
        "the log {} LSN {first}, but LSN {from} is needed",
        if first > from { "begins at" } else { "ends before" }
    )]
    Missing {
        /// The record from which on it is needed.
        from: Lsn,
        /// The oldest record that it has if that is a later one; else the one that it would take
        /// next, so that those between the two are gone.
        first: Lsn,
    },
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(ConfigProblem),
}

impl WalError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn corrupt(file: &str, offset: u64, damage: Damage) -> Self {
        Self::Corrupt { file: file.into(), offset, damage }
    }

    /// Whether a file's content, or its absence, is the cause.
    pub(crate) fn is_about_content(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Whether the cause is a full disk.
    pub(crate) fn is_storage_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { source, .. } if full.contains(&source.kind()))
    }
}

/// What is wrong at a place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The segment's header does not match its checksum, or is no header.
    SegmentHeader,
    /// The header contradicts the file's name.
    SegmentName,
    /// The file is shorter than it was made.
    Shortened,
    /// The frame header does not match its checksum, or is not of this use of the file.
    FrameHeader,
    /// The frame is longer than the rest of the file.
    FrameLength,
    /// The frame has another LSN than its place demands.
    FrameLsn,
    /// The payload does not match its checksum.
    Payload,
    /// The header of the archived segment does not match its checksum, or is no header.
    ArchiveHeader,
    /// The packed bytes of the archived segment do not unpack to what was packed.
    Packed,
    /// These records of the file stand in another file of the archive, too.
    Repeated {
        /// The first such record.
        from: Lsn,
        /// The last such record.
        to: Lsn,
    },
    /// These records should stand here; a later file begins after them.
    Missing {
        /// The first missing record.
        from: Lsn,
        /// The last missing record.
        to: Lsn,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentHeader => f.write_str("the segment header is not valid"),
            Self::SegmentName => f.write_str("the header contradicts the file's name"),
            Self::Shortened => f.write_str("the file is shorter than it was made"),
            Self::FrameHeader => f.write_str("the frame header is not valid"),
            Self::FrameLength => f.write_str("the frame is longer than the rest of the file"),
            Self::FrameLsn => f.write_str("the frame has the wrong LSN"),
            Self::Payload => f.write_str("the payload does not match its checksum"),
            Self::ArchiveHeader => f.write_str("the archive header is not valid"),
            Self::Packed => f.write_str("the packed bytes are not those that were written"),
            Self::Repeated { from, to } => {
                write!(f, "records {from} to {to} stand in another file, too")
            }
            Self::Missing { from, to } => write!(f, "records {from} to {to} are missing"),
        }
    }
}
