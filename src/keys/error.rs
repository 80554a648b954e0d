//! Why keys cannot be read or changed.

use crate::keys::limits::{KEYS_MAX, NAME_CHARS_MAX};
use crate::sealed_file::FileError;

/// Why keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// The key file cannot be read or replaced.
    #[error(transparent)]
    File(#[from] FileError),
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
