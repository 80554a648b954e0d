//! Dead letters: messages of which something was refused, kept whole until somebody looks at them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewatch_metrics::{EventTime, Lsn, UnixNanos};

/// What a letter takes in memory beside its bytes and its reason.
const LETTER_BYTES: usize = 192;

/// Which letter: no record has two of one offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterId {
    /// The record in which it came.
    pub lsn: Lsn,
    /// The offset of its message.
    pub offset: u64,
}

/// A message of which something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The message's offset.
    pub offset: u64,
    /// When it was sent, if it says so.
    pub time: Option<EventTime>,
    /// Why something of it was refused.
    pub reason: Box<str>,
    /// The message, or its first bytes.
    pub payload: Box<[u8]>,
    /// The message's key, if it has one.
    pub key: Option<Box<[u8]>>,
    /// Bytes that the message had: more than `payload` has where it was cut.
    pub bytes: u64,
}

/// A row of `tidewatch.dlq`, but for its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterRow {
    /// The record in which it came.
    pub lsn: Lsn,
    /// The configured name of the source.
    pub source: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: u32,
    /// The topic's id; 0 where it has none.
    pub topic_id: u128,
    /// When the message came here.
    pub received: UnixNanos,
    /// The message.
    pub letter: Letter,
}

/// What was done with a letter, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterEnd {
    /// Its samples are stored.
    Replayed,
    /// Nobody wants it.
    Dropped,
}

/// A letter has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetterMark {
    /// The letter.
    pub id: LetterId,
    /// How it ended.
    pub end: LetterEnd,
}

/// A mark with its place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetterMarkRow {
    /// The record that holds it.
    pub lsn: Lsn,
    /// The mark.
    pub mark: LetterMark,
}

/// The letters that no file has, and what was done with any letter.
#[derive(Clone, Debug, Default)]
pub struct LettersInMemory {
    /// In the order of the log.
    pub rows: Vec<Arc<LetterRow>>,
    /// How letters ended; the others are open.
    pub ends: Arc<BTreeMap<LetterId, LetterEnd>>,
}

/// How much of letters is kept in files; beyond, the oldest files go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetterLimits {
    /// Nanoseconds of the log's time.
    pub keep_nanos: i64,
    /// Bytes of all files.
    pub bytes_max: u64,
    /// Letters in all files: each may need a mark in memory.
    pub letters_max: u64,
}

impl Default for LetterLimits {
    fn default() -> Self {
        let day = 86_400 * tidewatch_metrics::time::NANOS_PER_SECOND;
        Self { keep_nanos: 30 * day, bytes_max: 1 << 30, letters_max: 1_000_000 }
    }
}

impl Letter {
    /// Bytes that it takes in memory, about.
    #[must_use]
    pub fn size(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| key.len());
        LETTER_BYTES + self.reason.len() + self.payload.len() + key
    }

    /// Whether only its first bytes were kept.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        u64::try_from(self.payload.len()).is_ok_and(|kept| kept < self.bytes)
    }
}

impl LetterRow {
    /// Which letter it is.
    #[must_use]
    pub fn id(&self) -> LetterId {
        LetterId { lsn: self.lsn, offset: self.letter.offset }
    }
}

impl LetterEnd {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Replayed, Self::Dropped];

    /// Its name in tables and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Dropped => "dropped",
        }
    }

    /// Its number in records.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Replayed => 1,
            Self::Dropped => 2,
        }
    }

    /// The end with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.code() == code)
    }

    /// The end with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.name() == name)
    }
}
