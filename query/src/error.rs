//! Why a query has no answer.

use std::time::Duration;

use datafusion::error::DataFusionError;
use tidewatch_segments::SegmentsError;

use crate::guard::Refusal;

/// What the caller can do about a [`QueryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueryErrorKind {
    /// The statement is wrong (HTTP 400).
    Invalid,
    /// The statement would change something (HTTP 403).
    Forbidden,
    /// The statement asks for more than a query may take (HTTP 422).
    LimitExceeded,
    /// The deadline has passed (HTTP 504).
    Timeout,
    /// Try again later (HTTP 503).
    Unavailable,
    /// A defect of the program or of stored data (HTTP 500).
    Internal,
}

impl QueryErrorKind {
    /// The code in error bodies.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID_QUERY",
            Self::Forbidden => "FORBIDDEN",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::Timeout => "QUERY_TIMEOUT",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Forbidden => 403,
            Self::LimitExceeded => 422,
            Self::Timeout => 504,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

/// Why a query has no answer. Its text is for the one who asked, and says what DataFusion says.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The statement was refused as it stands.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The statement cannot be planned, or fails on the data.
    #[error("{}", words(.cause))]
    Statement {
        /// What DataFusion says.
        cause: Box<DataFusionError>,
    },
    /// The query needs more memory than it may take.
    #[error("the query needs more memory than it may take: {}", words(.cause))]
    Memory {
        /// Who asked for how much.
        cause: Box<DataFusionError>,
    },
    /// The query goes beyond a limit.
    #[error("{what} would exceed {max}: {hint}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        max: u64,
        /// What to do.
        hint: &'static str,
    },
    /// The deadline has passed.
    #[error("no answer within {} ms: narrow the time range or raise timeout_ms", timeout.as_millis())]
    Timeout {
        /// The deadline.
        timeout: Duration,
    },
    /// As many queries run and wait as may.
    #[error("{running} queries run and {waiting} wait already: try again later")]
    Busy {
        /// Queries that may run.
        running: usize,
        /// Queries that may wait.
        waiting: usize,
    },
    /// The engine could not show all acknowledged rows in time.
    #[error("the rows that are acknowledged by now cannot be shown yet: try again later")]
    NotReady,
    /// The engine of queries is shutting down.
    #[error("the server is shutting down")]
    Closed,
    /// A segment could not be read.
    #[error("stored rows could not be read")]
    Segments {
        /// Why not.
        source: Box<SegmentsError>,
    },
    /// The query broke; the process goes on.
    #[error("the query failed inside: {}", words(.cause))]
    Broken {
        /// What DataFusion says.
        cause: Box<DataFusionError>,
    },
    /// The query panicked; the process goes on.
    #[error("the query failed inside: a panic, which the log shows")]
    Panicked,
    /// The threads of queries could not be started.
    #[error("could not start the threads of queries")]
    Threads {
        /// What the system says.
        source: std::io::Error,
    },
}

impl QueryError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> QueryErrorKind {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Statement { .. } => QueryErrorKind::Invalid,
            Self::Memory { .. } | Self::Limit { .. } => QueryErrorKind::LimitExceeded,
            Self::Timeout { .. } => QueryErrorKind::Timeout,
            Self::Busy { .. } | Self::NotReady | Self::Closed => QueryErrorKind::Unavailable,
            Self::Segments { .. } | Self::Broken { .. } | Self::Panicked | Self::Threads { .. } => {
                QueryErrorKind::Internal
            }
        }
    }

    /// What `error` means to the one who asked.
    pub(crate) fn of(error: DataFusionError) -> Self {
        let error = match unwrapped(error) {
            DataFusionError::External(inner) => match inner.downcast::<Self>() {
                Ok(ours) => return *ours,
                Err(inner) => match inner.downcast::<SegmentsError>() {
                    Ok(source) => return Self::Segments { source },
                    Err(inner) => DataFusionError::External(inner),
                },
            },
            error => error,
        };
        let cause = Box::new(error);
        match cause.find_root() {
            DataFusionError::External(inner) => match shared(inner.as_ref()) {
                Some(ours) => ours,
                None => Self::Broken { cause },
            },
            DataFusionError::ResourcesExhausted(_) => Self::Memory { cause },
            DataFusionError::Internal(_)
            | DataFusionError::IoError(_)
            | DataFusionError::ParquetError(_)
            | DataFusionError::Ffi(_) => Self::Broken { cause },
            DataFusionError::ExecutionJoin(join) if join.is_panic() => Self::Panicked,
            _ => Self::Statement { cause },
        }
    }
}

impl From<QueryError> for DataFusionError {
    fn from(error: QueryError) -> Self {
        Self::External(Box::new(error))
    }
}

/// Takes off what DataFusion wraps around an error that nobody else holds.
fn unwrapped(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::Shared(shared) => match std::sync::Arc::try_unwrap(shared) {
            Ok(inner) => unwrapped(inner),
            Err(shared) => DataFusionError::Shared(shared),
        },
        DataFusionError::Context(context, inner) => match unwrapped(*inner) {
            inner @ DataFusionError::External(_) => inner,
            inner => DataFusionError::Context(context, Box::new(inner)),
        },
        DataFusionError::ArrowError(arrow, backtrace) => match *arrow {
            arrow::error::ArrowError::ExternalError(inner) => {
                match inner.downcast::<DataFusionError>() {
                    Ok(inner) => unwrapped(*inner),
                    Err(inner) => DataFusionError::External(inner),
                }
            }
            arrow => DataFusionError::ArrowError(Box::new(arrow), backtrace),
        },
        error => error,
    }
}

/// Our own error behind one that several parts of a plan share: its kind is what matters.
fn shared(inner: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<QueryError> {
    match inner.downcast_ref::<QueryError>()? {
        QueryError::Limit { what, max, hint } => Some(QueryError::Limit { what, max: *max, hint }),
        QueryError::Timeout { timeout } => Some(QueryError::Timeout { timeout: *timeout }),
        QueryError::Refused(refusal) => Some(QueryError::Refused(refusal.clone())),
        QueryError::Closed => Some(QueryError::Closed),
        _ => None,
    }
}

/// DataFusion's words without its prefixes and backtraces.
fn words(error: &DataFusionError) -> String {
    let mut text = error.strip_backtrace();
    for prefix in ["Error during planning: ", "Execution error: ", "SQL error: ", "Arrow error: "] {
        text = text.replace(prefix, "");
    }
    text
}
