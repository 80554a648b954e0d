//! What every sink does: one attempt.

use std::fmt;
use std::time::Duration;

use crate::Message;
use crate::limits::ERROR_CHARS_MAX;

/// A place that alerts go to.
pub trait Sink: Send + fmt::Debug {
    /// The name in configuration, reports and instruments.
    fn name(&self) -> &str;

    /// Makes one attempt, and blocks until it has an outcome.
    ///
    /// The same `message` comes with the same `body` in every attempt.
    fn deliver(&mut self, message: &Message, body: &[u8]) -> Attempt;

    /// How often it is to be looked at while nothing is due; none where a look can tell nothing.
    fn look_every(&self) -> Option<Duration> {
        None
    }

    /// Why an attempt would fail, as far as can be told without one; none where nothing is known. Blocks for
    /// seconds at most. Holds no secret.
    fn look(&mut self) -> Option<String> {
        None
    }
}

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// Not delivered, or nobody knows; another attempt may succeed.
    Retry {
        /// How long the receiver asks to wait.
        after: Option<Duration>,
    },
    /// The receiver does not want it, now or later.
    Refused,
}

/// One attempt and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How it ended.
    pub outcome: Outcome,
    /// The status of the receiver's answer; none where there was no answer or no protocol.
    pub status: Option<u16>,
    /// Why it failed; empty where it did not. Holds no secret.
    pub error: String,
}

impl Attempt {
    /// The receiver has it.
    #[must_use]
    pub fn delivered(status: Option<u16>) -> Self {
        Self { outcome: Outcome::Delivered, status, error: String::new() }
    }

    /// There was no answer.
    #[must_use]
    pub fn unanswered(error: &str) -> Self {
        Self {
            outcome: Outcome::Retry { after: None },
            status: None,
            error: shortened(error, ERROR_CHARS_MAX),
        }
    }
}

/// The first `chars_max` characters of `text` on one line.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().take(chars_max).map(visible).collect()
}
