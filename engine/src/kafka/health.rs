//! How a source fares, for those who ask.

use std::sync::Arc;
use std::time::Duration;

use crate::sources::SourcePartition;

/// How a source fares at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceHealth {
    /// Its configured name.
    pub name: String,
    /// Partitions that it reads.
    pub partitions: usize,
    /// Messages that the brokers have and that are not stored yet, as far as is known.
    pub lag_messages: u64,
    /// The age of the oldest of them.
    pub lag: Duration,
    /// Messages that are stored in a second, by the last seconds.
    pub messages_per_second: u64,
    /// When it has caught up at the pace of the last seconds; `None` where that is never, or not known.
    pub time_left: Option<Duration>,
    /// Whether it is known which partitions it reads; a member of a group may have none.
    pub has_begun: bool,
    /// Whether all is stored that the brokers had a moment ago, of all partitions.
    pub has_caught_up: bool,
    /// Messages that were gone before they were read, since the start.
    pub gap_messages: u64,
    /// Messages of which something was refused, since the start.
    pub bad_messages: u64,
    /// Those of them that are kept as dead letters.
    pub dead_letters: u64,
    /// Times that a group has given partitions to this source, or taken some, since the start; 0 without a group.
    pub rebalances: u64,
    /// What keeps it from reading, or some of its partitions; the worst first.
    pub trouble: Option<SourceTrouble>,
    /// Each partition, those included that are not there any more.
    pub each: Arc<[PartitionHealth]>,
}

/// How a source fares, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// The brokers have not told yet which partitions there are, or the group which ones are its own.
    Starting,
    /// All is stored that the brokers had a moment ago.
    Reading,
    /// It reads, and some of what the brokers have is not stored yet.
    CatchingUp,
    /// There is no room for what it reads.
    Waiting,
    /// A topic is not there.
    Missing,
    /// The brokers or the registry of schemas do not answer, or refuse.
    Unreachable,
    /// A partition is not read until somebody does something.
    Stopped,
}

/// How a source fares with one partition at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionHealth {
    /// The partition.
    pub partition: SourcePartition,
    /// Whether it is read.
    pub state: PartitionState,
    /// The offset behind the last one that is stored.
    pub next_offset: u64,
    /// The offset behind the last one that the brokers have, as they last told.
    pub end_offset: u64,
    /// Messages that are not stored yet.
    pub lag_messages: u64,
    /// The age of the oldest of them.
    pub lag: Duration,
    /// What was counted of it since the start.
    pub counts: PartitionCounts,
    /// What keeps it from being read.
    pub trouble: Option<Arc<str>>,
}

/// What is counted of a partition since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionCounts {
    /// Messages that are stored, bad ones and tombstones included.
    pub messages: u64,
    /// Their bytes, unpacked.
    pub bytes: u64,
    /// Samples of theirs that are stored.
    pub samples: u64,
    /// Messages of which something was refused.
    pub bad_messages: u64,
    /// Messages that were gone before they were read.
    pub gap_messages: u64,
}

/// Whether a partition is read, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionState {
    /// It is.
    Reading,
    /// There is no room for what is read.
    Waiting,
    /// The brokers do not answer, or refuse.
    Unreachable,
    /// Where it goes on is being found out.
    Lost,
    /// Its log ends before what is stored.
    Ahead,
    /// Its topic was made anew, without it.
    Gone,
    /// The group asks it back; what is on its way is stored before it is given up.
    Leaving,
    /// It is not read until somebody does something.
    Stopped,
}

/// What keeps a source from reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceTrouble {
    /// A partition is not read any more until somebody does something.
    Stopped(String),
    /// The brokers do not answer, or refuse; it goes on trying.
    Brokers(String),
    /// A topic is not there; it goes on looking.
    Missing(String),
    /// Messages name schemas, and their registry does not answer, or refuses; it goes on trying.
    Schemas(String),
    /// Too much is in hand, or the disk is full; it goes on when there is room.
    Waiting(String),
}

impl SourceHealth {
    /// It in one word: what is worst, then whether it has caught up.
    #[must_use]
    pub fn state(&self) -> SourceState {
        match &self.trouble {
            Some(SourceTrouble::Stopped(_)) => SourceState::Stopped,
            Some(SourceTrouble::Brokers(_) | SourceTrouble::Schemas(_)) => SourceState::Unreachable,
            Some(SourceTrouble::Missing(_)) => SourceState::Missing,
            Some(SourceTrouble::Waiting(_)) => SourceState::Waiting,
            None if !self.has_begun => SourceState::Starting,
            None if self.has_caught_up => SourceState::Reading,
            None => SourceState::CatchingUp,
        }
    }
}

impl SourceState {
    /// It as a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Reading => "reading",
            Self::CatchingUp => "catching_up",
            Self::Waiting => "waiting",
            Self::Missing => "missing",
            Self::Unreachable => "unreachable",
            Self::Stopped => "stopped",
        }
    }
}

impl PartitionState {
    /// It as a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Waiting => "waiting",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Ahead => "ahead",
            Self::Gone => "gone",
            Self::Leaving => "leaving",
            Self::Stopped => "stopped",
        }
    }
}

impl SourceTrouble {
    /// Whether it lies with others, and goes by itself once they mend it.
    pub(crate) fn is_outside(&self) -> bool {
        matches!(self, Self::Brokers(_) | Self::Missing(_) | Self::Schemas(_))
    }

    /// It in words.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Stopped(text)
            | Self::Brokers(text)
            | Self::Missing(text)
            | Self::Schemas(text)
            | Self::Waiting(text) => text,
        }
    }
}
