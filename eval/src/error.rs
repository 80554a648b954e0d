//! Why a series or a corpus cannot be read.

use std::path::{Path, PathBuf};

use tidewatch_connectors::decode::{CsvError, RowReason};

/// Why a series or a corpus cannot be read: what was tried, on which file, and on which line of it.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The file system refused.
    #[error("could not {action} \"{}\"", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A CSV file without its header or columns, or one that could not be read on.
    #[error("could not read \"{}\"", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<CsvError>,
    },
    /// A row that cannot be understood.
    #[error("\"{}\", line {line}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// Why.
        reason: RowProblem,
    },
    /// Labels that are no JSON, or JSON of another shape.
    #[error("could not read the labels in \"{}\"", path.display())]
    Labels {
        /// The file.
        path: PathBuf,
        /// The cause, with its line.
        #[source]
        source: serde_json::Error,
    },
    /// Labels that do not fit their series.
    #[error("\"{}\" labels {window}", path.display())]
    Window {
        /// The file of labels.
        path: PathBuf,
        /// Which of them.
        window: Box<BadWindow>,
    },
    /// A file of the corpus that no label speaks of.
    #[error("\"{}\" has no entry in \"{}\": an empty list says that it is healthy", file.display(), labels.display())]
    NoLabels {
        /// The series' file.
        file: PathBuf,
        /// The file of labels.
        labels: PathBuf,
    },
    /// A folder in which there is nothing of a corpus.
    #[error("\"{}\" holds no {wanted}", dir.display())]
    Empty {
        /// The folder.
        dir: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// Two files that would have one name among the scores.
    #[error("\"{}\" is there twice, packed and not", path.display())]
    Twice {
        /// The file without the ending of its packing.
        path: PathBuf,
    },
    /// More than a limit allows.
    #[error("\"{}\" has more than {limit} {noun}", path.display())]
    TooMany {
        /// The file or folder.
        path: PathBuf,
        /// How many are taken.
        limit: u64,
        /// What they are, in the plural.
        noun: &'static str,
    },
}

/// Why a row cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowProblem {
    /// What every CSV file may have.
    #[error("{0}")]
    Csv(RowReason),
    /// A time of more bytes than any has.
    #[error("invalid time")]
    TimeTooLong,
    /// A row of a KPI file that does not have its three columns.
    #[error("not `unix_seconds,value,label`")]
    NotThreeColumns,
    /// A time that is no whole number of seconds.
    #[error("the time is not a number of seconds")]
    NotSeconds,
    /// A value that is neither a number nor empty.
    #[error("invalid value")]
    InvalidValue,
    /// A label that is neither 0 nor 1.
    #[error("the label is neither 0 nor 1")]
    NotALabel,
    /// A row longer than any is.
    #[error("row is too long")]
    TooLong,
}

/// A label that does not fit its series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{file}\", but {problem}")]
pub struct BadWindow {
    /// The series' file as it is named there.
    pub file: String,
    /// What does not fit.
    pub problem: WindowProblem,
}

/// What is wrong with a window of labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowProblem {
    /// The name leads out of the folder, or is empty.
    #[error("this is no name of a file below data/")]
    NotAName,
    /// An end that is no time.
    #[error("\"{0}\" is no time")]
    NotATime(String),
    /// An end at which the series has no row.
    #[error("the series has no row at {0}")]
    NoRow(String),
    /// The windows overlap, or are not in the order of time.
    #[error(
        "the window that begins at {0} begins before the one before it ends, or ends before it begins"
    )]
    Order(String),
}

impl EvalError {
    /// For `map_err` where the file system is asked.
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// A row of `path` that cannot be understood.
    pub(crate) fn row(path: &Path, line: u64, reason: RowProblem) -> Self {
        Self::Row { path: path.to_owned(), line, reason }
    }
}
