//! Why segments could not be written or read.

use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

/// Why segments could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentsError {
    /// The file system refused an operation. What was to be written is not in the manifest.
    #[error("could not {action} \"{}\"", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// A delta of the manifest failed half-way and could not be taken back, so that only opening
    /// the directory again tells whether it counts. Nothing may be flushed before that.
    #[error("it is unknown whether \"{}\" is durable", path.display())]
    Unsettled {
        /// The delta.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Parquet could not be encoded or decoded.
    #[error("could not {action} Parquet file \"{}\"", path.display())]
    Parquet {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the format's library said.
        #[source]
        source: Box<ParquetError>,
    },
    /// Bytes that were written once read differently now.
    #[error("\"{}\" is damaged at byte {offset}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The file was written by a later release.
    #[error("\"{}\" has format {found}, this release knows formats up to {known}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format that it has.
        found: u64,
        /// The newest format that this release knows.
        known: u64,
    },
    /// Somebody else added to the manifest.
    #[error("manifest delta {number} exists already: two writers in one data directory")]
    Conflict {
        /// The delta's number.
        number: u64,
    },
    /// Rows of a series that the catalog does not have.
    #[error("{rows} rows belong to series that the catalog does not have")]
    UnknownSeries {
        /// Number of such rows.
        rows: usize,
    },
}

impl SegmentsError {
    /// Whether stored bytes are damaged or gone, so that trying again cannot help.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
            }
            _ => false,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn parquet(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(ParquetError) -> Self + use<> {
        let path = path.to_owned();
        move |source| match source {
            // What the disk said hides in the library's error; a caller must see ENOSPC.
            ParquetError::External(inner) => match inner.downcast::<io::Error>() {
                Ok(source) => Self::Io { action, path, source: *source },
                Err(inner) => {
                    Self::Parquet { action, path, source: Box::new(ParquetError::External(inner)) }
                }
            },
            source => Self::Parquet { action, path, source: Box::new(source) },
        }
    }

    pub(crate) fn corrupt(path: &Path, offset: u64, reason: &'static str) -> Self {
        Self::Corrupt { path: path.to_owned(), offset, reason }
    }
}
