//! What is wrong with a configuration.

use std::fmt;

use serde::Serialize;

/// One problem. Key and message together are a sentence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Problem {
    /// The key as the user would write it, such as `wal.idle_mark_ms`, or the file's name.
    pub(crate) key: String,
    /// What is wrong with it; reads on after the key.
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.message)
    }
}
