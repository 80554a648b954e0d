//! One step in the life of an alert.

use std::fmt;

use crate::{AnomalyKind, Channel, EventTime, SeriesId, Severity, UnixNanos};

/// Names an alert: the same in all of its transitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertKey(pub u128);

impl fmt::Display for AlertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Names a group of series whose rows are counted together: the hash of its canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u128);

/// What an alert is about. What is told of one subject is delivered in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A series.
    Series(SeriesId),
    /// A group of series, by its percentiles.
    Group(GroupId),
}

impl Subject {
    /// The series, unless it is a group.
    #[must_use]
    pub const fn series(self) -> Option<SeriesId> {
        match self {
            Self::Series(series) => Some(series),
            Self::Group(_) => None,
        }
    }
}

/// Where an alert goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransitionKind {
    /// The condition holds, but not yet for as long as the rule asks.
    Pending,
    /// The alert is on.
    Firing,
    /// The alert is over.
    Resolved,
    /// Late rows have changed a window that the alert was told from. The alert stays as it is.
    Amended,
}

impl TransitionKind {
    /// The name in SQL, payloads and dedupe keys.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Amended => "amended",
        }
    }

    /// The code that is stored.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Firing => 1,
            Self::Resolved => 2,
            Self::Amended => 3,
        }
    }

    /// The kind with this code.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Pending),
            1 => Some(Self::Firing),
            2 => Some(Self::Resolved),
            3 => Some(Self::Amended),
            _ => None,
        }
    }

    /// Whether sinks get it; what is pending or amended is only stored.
    #[must_use]
    pub const fn is_delivered(self) -> bool {
        matches!(self, Self::Firing | Self::Resolved)
    }
}

/// A transition of an alert: what depends on the log and the configuration alone.
///
/// Equal in every replay and every repeat of a delivery. When it became durable, was scored and
/// fired is in [`TransitionTimes`], which no body contains.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The alert.
    pub key: AlertKey,
    /// The rule's name.
    pub rule: String,
    /// The version of the rule: the first 16 hex digits of its canonical text's hash.
    pub rule_version: String,
    /// Free text of the rule.
    pub priority: String,
    /// The series or the group.
    pub subject: Subject,
    /// Its database.
    pub db: String,
    /// Its metric's name; empty where a group has rows of several ones.
    pub metric: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// Where the alert goes.
    pub kind: TransitionKind,
    /// Of an amendment the revision of the window, at least 1; else 0.
    pub revision: u32,
    /// Why, in words: the condition with its numbers, or `rule_changed`.
    pub reason: String,
    /// Too old at its reception to be delivered.
    pub historical: bool,
    /// Event time of the sample with which the condition began to hold; of a silence, when it became too long; of
    /// a group, the end of the window with which it did.
    pub onset: EventTime,
    /// Event time of the sample that caused this transition; of a silence, when it was long enough for it; of a
    /// group, the end of the window.
    pub event: EventTime,
    /// Severity of that sample; 0 where silence or a window is the cause.
    pub severity: Severity,
    /// Value of that sample, or its rate where the rule looks at it; of the last sample where silence is the cause;
    /// of a group, the percentile of the window.
    pub value: f64,
    /// The value that the detector expected; NaN where it expects none yet.
    pub expected: f64,
    /// The lower end of the expected band; NaN where there is none yet.
    pub lower: f64,
    /// The upper end of the expected band; NaN where there is none yet.
    pub upper: f64,
    /// The channel that fired.
    pub channel: Channel,
    /// What the anomaly looks like; of a resolution, what it looked like.
    pub anomaly: AnomalyKind,
    /// When the sample's record was received; the log's time where silence or a window is the cause.
    pub received: UnixNanos,
    /// The last values as a small picture in text.
    pub sparkline: String,
}

/// Tells all transitions of all alerts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransitionId {
    key: AlertKey,
    kind: TransitionKind,
    /// Of an amendment the end of the window and its revision.
    window: Option<(EventTime, u32)>,
}

impl Transition {
    /// What tells it from all others.
    #[must_use]
    pub fn id(&self) -> TransitionId {
        let is_amendment = self.kind == TransitionKind::Amended;
        let window = is_amendment.then_some((self.event, self.revision));
        TransitionId { key: self.key, kind: self.kind, window }
    }

    /// One per transition: `key:transition`.
    #[must_use]
    pub fn dedupe_key(&self) -> String {
        format!("{}:{}", self.key, self.kind.name())
    }
}

/// When the parts of the engine had a transition in hand. Processing time: differs between runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransitionTimes {
    /// The sample's record was on disk.
    pub durable: UnixNanos,
    /// The sample had its severity.
    pub scored: UnixNanos,
    /// The transition was put out.
    pub fired: UnixNanos,
}
