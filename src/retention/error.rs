//! Why it cannot be said for how long samples are kept.

use crate::retention::limits::METRICS_MAX;
use crate::sealed_file::FileError;

/// Why it cannot be said for how long samples are kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RetentionError {
    /// The file cannot be read or replaced.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is said of as many metrics as can be.
    #[error(
        "{METRICS_MAX} metrics have a retention of their own already: remove some, or use \
         [[retention]] in the configuration, which takes patterns"
    )]
    TooMany,
}
