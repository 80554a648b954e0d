//! Why it cannot be said for how long samples are kept.

use std::io;
use std::path::PathBuf;

use crate::retention::limits::METRICS_MAX;

/// Why it cannot be said for how long samples are kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RetentionError {
    /// The file system refused an operation on the file.
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
    /// The file does not pass its checks.
    #[error("the retention file \"{}\" is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first check that fails.
        problem: &'static str,
    },
    /// The file was written by a later release.
    #[error("\"{}\" has format {found}, this release knows formats up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format that it has.
        found: u32,
        /// The newest format that this release knows.
        known: u32,
    },
    /// It is said of as many metrics as can be.
    #[error(
        "{METRICS_MAX} metrics have a retention of their own already: remove some, or use \
         [[retention]] in the configuration, which takes patterns"
    )]
    TooMany,
}
