//! How a source fares, for those who ask.

/// How a source fares at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceHealth {
    /// Its configured name.
    pub name: String,
    /// Partitions that it reads.
    pub partitions: usize,
    /// Messages that the brokers have and that are not stored yet, as far as is known.
    pub lag_messages: u64,
    /// Messages that were gone before they were read, since the start.
    pub gap_messages: u64,
    /// Messages of which something was refused, since the start.
    pub bad_messages: u64,
    /// Those of them that are kept as dead letters.
    pub dead_letters: u64,
    /// What keeps it from reading, or some of its partitions; the worst first.
    pub trouble: Option<SourceTrouble>,
}

/// What keeps a source from reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceTrouble {
    /// A partition is not read any more until somebody does something.
    Stopped(String),
    /// The brokers do not answer, or refuse; it goes on trying.
    Brokers(String),
    /// Messages name schemas, and their registry does not answer, or refuses; it goes on trying.
    Schemas(String),
    /// Too much is in hand, or the disk is full; it goes on when there is room.
    Waiting(String),
}

impl SourceTrouble {
    /// It in words.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Stopped(text)
            | Self::Brokers(text)
            | Self::Schemas(text)
            | Self::Waiting(text) => text,
        }
    }
}
