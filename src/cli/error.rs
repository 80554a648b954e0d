//! Why a command fails, as its exit code tells it.

use std::error::Error;
use std::path::PathBuf;

use serde_json::Value;
use tidewatch_eval::EvalError;

/// Characters of a server's message that are shown.
const MESSAGE_CHARS_MAX: usize = 4_096;

/// What underlies an error.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// Why a command failed: what, on what, and in [`CliError::advice`] what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// A bug, or a server that answers what no version of Tidewatch answers.
    #[error("{action} failed")]
    Internal {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Cause,
    },
    /// The result could not be written.
    #[error("could not write the result")]
    Output {
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Arguments that contradict each other or cannot be understood.
    #[error("{problem}")]
    Usage {
        /// What is wrong, with the argument's name and value.
        problem: String,
    },
    /// A file that was given cannot be used.
    #[error("could not {action} \"{}\"", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file, as given.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// What is in a file that was given cannot be understood.
    #[error("the input was refused")]
    Input {
        /// What, in which file, and on which line.
        #[source]
        source: Box<EvalError>,
    },
    /// The configuration cannot be used; the problems themselves have been put out.
    #[error("the configuration has {problems} problem{}", if *problems == 1 { "" } else { "s" })]
    Configuration {
        /// How many.
        problems: usize,
    },
    /// No answer came.
    #[error("no answer from {url}")]
    NotReached {
        /// The server.
        url: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// The server answers, but does not take the request for now.
    #[error("{url} is not ready to serve: status {status}, {message}")]
    Unavailable {
        /// The server.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The server's message.
        message: String,
    },
    /// The server refused a request as a whole.
    #[error("{url} refused it with status {status}: {message}")]
    Refused {
        /// The server.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The server's code and message.
        message: String,
    },
    /// Some rows were refused; the others are stored.
    #[error("{rejected} of {sent} rows were rejected; the others are stored")]
    RowsRejected {
        /// Rows that were not stored.
        rejected: u64,
        /// All rows.
        sent: u64,
    },
    /// Stored data does not pass its checks.
    #[error("\"{}\" is corrupt: {problem}", path.display())]
    Corrupt {
        /// The directory or file.
        path: PathBuf,
        /// The first problem.
        problem: String,
    },
    /// Another process works on the data directory.
    #[error("data directory \"{}\" is in use by another process", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// A replay gave other results than the live run.
    #[error("the replay differs: {first_difference}")]
    ReplayDiffers {
        /// Where first.
        first_difference: String,
    },
    /// A replay cannot be held against the live run.
    #[error("the replay cannot be compared: {reason}")]
    NotComparable {
        /// Why.
        reason: String,
    },
    /// The user ended it.
    #[error("interrupted")]
    Interrupted,
}

impl CliError {
    /// The process' exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Output { source } if source.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Self::Internal { .. } | Self::Output { .. } => 1,
            Self::Usage { .. } | Self::File { .. } | Self::Configuration { .. } => 2,
            Self::NotReached { .. } | Self::Unavailable { .. } => 3,
            Self::Refused { .. } | Self::RowsRejected { .. } | Self::Input { .. } => 4,
            Self::Corrupt { .. } => 5,
            Self::InUse { .. } => 6,
            Self::ReplayDiffers { .. } => 7,
            Self::NotComparable { .. } => 8,
            Self::Interrupted => 130,
        }
    }

    /// What to do about it; empty where the message says it.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Internal { .. } => "this is a defect: please report it with the command",
            Self::Usage { .. } => "--help shows what the command takes, with examples",
            Self::Configuration { .. } => "docs/configuration.md lists every key with its limits",
            Self::NotReached { .. } => {
                "start a server with `tidewatch serve`, or name one with --url"
            }
            Self::Unavailable { .. } => "ask its /readyz how far it is, and try again",
            Self::Input { .. } => "correct what is named there; --help says what is taken",
            Self::RowsRejected { .. } => "correct the rows named above and send them again",
            Self::Corrupt { .. } => "keep a copy of the directory before anything else is tried",
            Self::InUse { .. } => "stop the other process, or ask it with --url",
            Self::Refused { status: 401, .. } => {
                "give a key by TIDEWATCH_KEY, --key-file or --key; `tidewatch keys add` makes one"
            }
            Self::Refused { .. }
            | Self::Output { .. }
            | Self::File { .. }
            | Self::ReplayDiffers { .. }
            | Self::NotComparable { .. }
            | Self::Interrupted => "",
        }
    }

    /// All of it for standard error: what, why, and what to do. Nobody reads a closed pipe: `None`.
    pub(crate) fn report(&self) -> Option<String> {
        if self.exit_code() == 0 {
            return None;
        }
        let mut text = format!("error: {}", crate::http::chain(self));
        if !self.advice().is_empty() {
            text.push_str("\n  ");
            text.push_str(self.advice());
        }
        Some(text)
    }

    /// For `map_err` where series or labels are read.
    pub(crate) fn input(error: EvalError) -> Self {
        match error {
            EvalError::Io { action, path, source } => {
                Self::File { action, path, source: source.into() }
            }
            error => Self::Input { source: Box::new(error) },
        }
    }

    /// For `map_err` where the result is written.
    pub(crate) fn output(source: std::io::Error) -> Self {
        Self::Output { source }
    }
}

/// The code and the message in the body of a server's refusal, whatever its protocol, in one line.
pub(crate) fn server_message(body: &str) -> String {
    let text = match serde_json::from_str::<Value>(body) {
        Ok(value) => from_json(&value).unwrap_or_else(|| body.to_owned()),
        Err(_) => body.to_owned(),
    };
    let text = text.trim();
    if text.is_empty() {
        return "it gives no reason".to_owned();
    }
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = text.chars().map(clean).take(MESSAGE_CHARS_MAX).collect();
    if text.chars().nth(MESSAGE_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// `{"error": text}`, `{"code", "message"}`, `{"error": {"code", "message"}}` and `{"errors": [{"index", "error"}]}`.
fn from_json(value: &Value) -> Option<String> {
    if let Some(errors) = value.get("errors").and_then(Value::as_array) {
        let told = errors.iter().filter_map(|error| {
            Some(format!("index {}: {}", error.get("index")?, error.get("error")?.as_str()?))
        });
        return Some(told.collect::<Vec<_>>().join("; "));
    }
    let error = value.get("error").unwrap_or(value);
    if let Some(text) = error.as_str() {
        return Some(text.to_owned());
    }
    let message = error.get("message")?.as_str()?;
    match error.get("code").and_then(Value::as_str) {
        Some(code) => Some(format!("{code}: {message}")),
        None => Some(message.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_every_protocol_is_found() {
        for (body, expected) in [
            (r#"{"error":"partial write: line 2: x"}"#, "partial write: line 2: x"),
            (r#"{"code":"invalid","message":"line 2: x"}"#, "invalid: line 2: x"),
            (
                r#"{"accepted":1,"rejected":2,"errors":[{"index":3,"metric":"m","error":"x"},{"index":5,"error":"y"}]}"#,
                "index 3: x; index 5: y",
            ),
            (r#"{"error":{"code":"FORBIDDEN","message":"m","details":{}}}"#, "FORBIDDEN: m"),
            ("plain\r\ntext\n", "plain  text"),
            (r#"{"other":1}"#, r#"{"other":1}"#),
            ("", "it gives no reason"),
        ] {
            assert_eq!(server_message(body), expected, "{body}");
        }
    }

    #[test]
    fn a_hostile_message_neither_floods_nor_steers_the_terminal() {
        let shown = server_message(&format!("\u{1b}[2J{}", "x".repeat(100_000)));
        assert_eq!(shown.chars().count(), MESSAGE_CHARS_MAX + 1);
        assert!(!shown.contains('\u{1b}'));
    }

    #[test]
    fn a_report_says_what_why_and_what_to_do() {
        let source = Box::new(std::io::Error::other("connection refused"));
        let error = CliError::NotReached { url: "http://h:1".to_owned(), source };
        assert_eq!(
            error.report().expect("not a closed pipe"),
            "error: no answer from http://h:1: connection refused\n  \
             start a server with `tidewatch serve`, or name one with --url"
        );
        assert_eq!(error.exit_code(), 3);
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = CliError::output(std::io::ErrorKind::BrokenPipe.into());
        assert_eq!((closed.exit_code(), closed.report()), (0, None));
        let full = CliError::output(std::io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit_code(), 1);
    }
}
