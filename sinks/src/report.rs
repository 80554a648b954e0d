//! What a courier tells about each attempt.

use tidewatch_metrics::{AlertKey, TransitionKind, UnixNanos};

/// What became of a message by one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The receiver has it.
    Delivered,
    /// It will be tried again.
    Retry,
    /// It will not be tried again: refused, or its time is over.
    DeadLetter,
}

impl DeliveryOutcome {
    /// The name in `tidewatch.deliveries`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::DeadLetter => "dead_letter",
        }
    }

    /// Whether no other attempt follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::DeadLetter)
    }
}

/// One attempt: a row of `tidewatch.deliveries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryReport {
    /// The alert.
    pub key: AlertKey,
    /// Its transition.
    pub kind: TransitionKind,
    /// The sink's name.
    pub sink: String,
    /// The number of the attempt, from 1, since the message was pushed.
    pub attempt: u32,
    /// What became of the message.
    pub outcome: DeliveryOutcome,
    /// The status of the receiver's answer, if there was one.
    pub status: Option<u16>,
    /// When the attempt began.
    pub started: UnixNanos,
    /// When it had its outcome.
    pub finished: UnixNanos,
    /// Why it failed; empty where it did not. Holds no secret.
    pub error: String,
}
