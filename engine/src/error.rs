//! What can go wrong in the engine, and what a caller can do about it.

use std::path::PathBuf;

use tidewatch_connectors::decode::SeriesError;
use tidewatch_metrics::{Lsn, MetricsError};
use tidewatch_segments::SegmentsError;
use tidewatch_wal::WalError;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Send something else.
    Invalid,
    /// Send less at a time.
    TooLarge,
    /// Send it again later.
    Unavailable,
    /// Send it under another key, or without what is stored already.
    Conflict,
    /// Send it again when there is space.
    Full,
    /// Stop: the data is damaged.
    Corrupt,
    /// The engine is closing or has stopped.
    Closed,
    /// The data directory is in use.
    InUse,
    /// A fault of the program or the machine.
    Internal,
}

/// Why the engine could not do something.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// Another process has the data directory.
    #[error("the data directory \"{}\" is in use by another process", dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// Too much is in hand already.
    #[error("too many requests are in hand; try again after {retry_after_s} s")]
    Overloaded {
        /// Seconds after which to try again.
        retry_after_s: u32,
    },
    /// A record that must stand before this one was refused.
    #[error("a record that must stand before this one was refused; both are to be offered again")]
    OutOfTurn,
    /// The log.
    #[error("the log could not be read or written")]
    Wal(#[source] std::sync::Arc<WalError>),
    /// Segments or the manifest could not be read or written.
    #[error("segments could not be read or written")]
    Segments(#[source] std::sync::Arc<SegmentsError>),
    /// A record does not have the form of its kind.
    #[error("record {lsn} of kind {kind} does not have the form of its kind")]
    BadRecord {
        /// The record.
        lsn: Lsn,
        /// Its kind.
        kind: u8,
    },
    /// A checkpoint's state does not have the form that its version has.
    #[error("checkpoint {number} holds a state of another form")]
    BadCheckpoint {
        /// The checkpoint.
        number: u64,
    },
    /// All checkpoints are damaged, and the log no longer has what they stood for.
    #[error("no checkpoint in \"{}\" can be used, and the log no longer has its first records", dir.display())]
    NoCheckpoint {
        /// The directory of checkpoints.
        dir: PathBuf,
        /// What the log lacks.
        #[source]
        source: std::sync::Arc<WalError>,
    },
    /// A file was written by a later release.
    #[error("\"{}\" has format {found}, this release knows formats up to {known}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format that it has.
        found: u32,
        /// The newest format that this release knows.
        known: u32,
    },
    /// A registration in the log contradicts an earlier one.
    #[error("record {lsn} registers a series that contradicts an earlier record")]
    BadRegistration {
        /// The record.
        lsn: Lsn,
        /// What contradicts.
        #[source]
        source: Box<MetricsError>,
    },
    /// The rules in the log are of a form that this version does not know.
    #[error("the rules in record {lsn} are of a form that this version does not know")]
    BadRules {
        /// The record.
        lsn: Lsn,
    },
    /// A database name was refused.
    #[error(transparent)]
    Database(Box<MetricsError>),
    /// The body as a whole was refused.
    #[error(transparent)]
    Body(tidewatch_connectors::decode::DecodeError),
    /// The body of JSON or remote write as a whole was refused.
    #[error(transparent)]
    Series(SeriesError),
    /// An idempotency key was refused.
    #[error("an idempotency key has 1 to 255 visible ASCII characters and stands in one header")]
    BadKey,
    /// The idempotency key stands for another request.
    #[error("the idempotency key was used for another request; a new request needs a new key")]
    KeyReused,
    /// The first request with the idempotency key has no outcome yet.
    #[error("a request with this idempotency key is in hand; try again after 1 s")]
    KeyInHand,
    /// A source or a topic has no name, or too long a one.
    #[error("a source has a name of 1 to {source_max} bytes, and a topic one of 1 to {topic_max}")]
    BadSource {
        /// Bytes of a source's name.
        source_max: usize,
        /// Bytes of a topic's name.
        topic_max: usize,
    },
    /// There are no such messages.
    #[error("there are no messages from offset {first} to {last}")]
    BadOffsets {
        /// The first offset.
        first: u64,
        /// The last offset.
        last: u64,
    },
    /// Messages of a source are stored already.
    #[error("the messages from offset {first} to {} are stored already; go on at {next}", next - 1)]
    OffsetsStored {
        /// The first of the messages.
        first: u64,
        /// The first one of the partition that is not stored.
        next: u64,
    },
    /// An earlier batch of the partition has no outcome yet.
    #[error("a batch of this partition is in hand; send the next one when it is answered")]
    SourceInHand,
    /// There are too many partitions.
    #[error("the offsets of {limit} partitions are kept, and this one is one too many; read fewer")]
    TooManySources {
        /// Partitions whose offsets are kept.
        limit: usize,
    },
    /// The file system refused an operation.
    #[error("could not {action} \"{}\"", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::sync::Arc<std::io::Error>,
    },
    /// A sink could not be started.
    #[error("a sink could not be started")]
    Sink(#[source] std::sync::Arc<tidewatch_sinks::SinkError>),
    /// Messages name a schema that is not known yet.
    #[error("messages cannot be read yet")]
    Schemas(#[source] Box<tidewatch_connectors::decode::record::SchemaTrouble>),
    /// It takes longer than the caller waits.
    #[error("it is not done yet, and will be: look again later")]
    Late,
    /// The engine is closing, or has stopped after an error.
    #[error("the engine has stopped")]
    Closed,
}

impl EngineError {
    /// What a caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } => ErrorKind::InUse,
            Self::Overloaded { .. }
            | Self::OutOfTurn
            | Self::Late
            | Self::Schemas(_)
            | Self::KeyInHand
            | Self::SourceInHand => ErrorKind::Unavailable,
            Self::Wal(error) => match error.as_ref() {
                WalError::Full { .. } => ErrorKind::Full,
                WalError::TooLarge { .. } => ErrorKind::TooLarge,
                WalError::Corrupt { .. } | WalError::Missing { .. } | WalError::Version { .. } => {
                    ErrorKind::Corrupt
                }
                WalError::Poisoned => ErrorKind::Closed,
                _ => ErrorKind::Internal,
            },
            Self::BadRecord { .. }
            | Self::BadRegistration { .. }
            | Self::BadRules { .. }
            | Self::BadCheckpoint { .. }
            | Self::NoCheckpoint { .. }
            | Self::NewerFormat { .. } => ErrorKind::Corrupt,
            Self::Database(_)
            | Self::BadKey
            | Self::BadSource { .. }
            | Self::BadOffsets { .. }
            | Self::TooManySources { .. } => ErrorKind::Invalid,
            Self::KeyReused | Self::OffsetsStored { .. } => ErrorKind::Conflict,
            Self::Body(_)
            | Self::Series(SeriesError::TooManySamples { .. } | SeriesError::BodyTooLong { .. }) => {
                ErrorKind::TooLarge
            }
            Self::Series(_) => ErrorKind::Invalid,
            Self::Closed => ErrorKind::Closed,
            Self::Segments(error) => match error.as_ref() {
                SegmentsError::NewerFormat { .. } => ErrorKind::Corrupt,
                error if error.is_corrupt() => ErrorKind::Corrupt,
                _ => ErrorKind::Internal,
            },
            Self::Sink(_) | Self::Io { .. } => ErrorKind::Internal,
        }
    }
}

impl EngineError {
    /// Whether a salvage can help: damage of any kind, but not files of a later release.
    #[must_use]
    pub fn can_be_salvaged(&self) -> bool {
        let is_newer = match self {
            Self::NewerFormat { .. } => true,
            Self::Wal(error) => matches!(**error, WalError::Version { .. }),
            Self::Segments(error) => matches!(**error, SegmentsError::NewerFormat { .. }),
            _ => false,
        };
        self.kind() == ErrorKind::Corrupt && !is_newer
    }
}

impl From<WalError> for EngineError {
    fn from(error: WalError) -> Self {
        Self::Wal(std::sync::Arc::new(error))
    }
}

impl From<SegmentsError> for EngineError {
    fn from(error: SegmentsError) -> Self {
        Self::Segments(std::sync::Arc::new(error))
    }
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
