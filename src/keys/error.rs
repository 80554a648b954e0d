//! Why keys cannot be read or changed.

use std::io;
use std::path::PathBuf;

use crate::keys::limits::{KEYS_MAX, NAME_CHARS_MAX};

/// Why keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// The file system refused an operation on the key file.
    #[error("could not {action} \"{}\"", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The key file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The key file does not pass its checks.
    #[error("the key file \"{}\" is damaged: {problem}", path.display())]
    Damaged {
        /// The key file.
        path: PathBuf,
        /// The first check that fails.
        problem: &'static str,
    },
    /// The key file was written by a later release.
    #[error("\"{}\" has format {found}, this release knows formats up to {known}", path.display())]
    Newer {
        /// The key file.
        path: PathBuf,
        /// The format that it has.
        found: u32,
        /// The newest format that this release knows.
        known: u32,
    },
    /// The system has no random numbers.
    #[error("the system gives no random numbers for a key")]
    Random {
        /// The cause.
        #[source]
        source: getrandom::Error,
    },
    /// A name that no key can have.
    #[error(
        "{name:?} cannot be the name of a key: 1 to {NAME_CHARS_MAX} letters, digits, '.', '_' and '-', \
         beginning with a letter or digit, are"
    )]
    BadName {
        /// The name, shortened.
        name: String,
    },
    /// A key of that name exists, or did.
    #[error(
        "there is a key {name:?} already; names are not used twice, also after a revocation, so that \
         the audit trail stays clear"
    )]
    Taken {
        /// The name.
        name: String,
    },
    /// No key has that name.
    #[error("there is no key {name:?}; `tidewatch keys ls` lists them")]
    Missing {
        /// The name, shortened.
        name: String,
    },
    /// The file is full.
    #[error("there are {KEYS_MAX} keys already, revoked ones included; no more are kept")]
    TooMany,
}
