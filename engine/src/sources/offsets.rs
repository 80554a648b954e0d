//! Which messages of which partition a record's samples come from.
//!
//! In records and checkpoints, fields as in [`record`](crate::record):
//! ```text
//! partition  source text, topic text, partition u32
//! offsets    partition, topic id u128, first u64, last u64
//! ```

use std::sync::Arc;

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::EngineError;

/// Bytes of a source's name.
const SOURCE_BYTES_MAX: usize = 128;
/// Bytes of a topic's name: Kafka's own limit.
const TOPIC_BYTES_MAX: usize = 249;
/// The last offset that there can be: sources count with i64.
const OFFSET_MAX: u64 = i64::MAX.unsigned_abs();

/// A partition of a topic of a source.
///
/// Invariant: the source's name has 1 to 128 bytes, the topic's 1 to 249.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePartition {
    source: Arc<str>,
    topic: Arc<str>,
    partition: u32,
}

/// Consecutive messages of a partition.
///
/// Offsets may be missing among them, as they are in topics from which messages were removed. `first` is where reading
/// went on, which may be before the first message that was there.
///
/// Invariant: first <= last < 2^63.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceOffsets {
    partition: SourcePartition,
    topic_id: u128,
    first: u64,
    last: u64,
}

impl SourcePartition {
    /// A partition by its names.
    ///
    /// # Errors
    /// [`EngineError::BadSource`] for an empty or a longer name.
    pub fn new(source: &str, topic: &str, partition: u32) -> Result<Self, EngineError> {
        let is_good = (1..=SOURCE_BYTES_MAX).contains(&source.len())
            && (1..=TOPIC_BYTES_MAX).contains(&topic.len());
        let bad =
            EngineError::BadSource { source_max: SOURCE_BYTES_MAX, topic_max: TOPIC_BYTES_MAX };
        let named = Self { source: source.into(), topic: topic.into(), partition };
        if is_good { Ok(named) } else { Err(bad) }
    }

    /// The configured name of the source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.partition
    }

    pub(super) fn put(&self, out: &mut FieldWriter) {
        out.text(&self.source);
        out.text(&self.topic);
        out.u32(self.partition);
    }

    pub(super) fn take(fields: &mut FieldReader<'_>) -> Option<Self> {
        let (source, topic) = (fields.text()?, fields.text()?);
        Self::new(&source, &topic, fields.u32()?).ok()
    }
}

impl SourceOffsets {
    /// The messages `first` to `last`, both included, of a topic with this id (0 where it has none).
    ///
    /// # Errors
    /// [`EngineError::BadOffsets`] where there are no such messages.
    pub fn new(
        partition: SourcePartition,
        topic_id: u128,
        (first, last): (u64, u64),
    ) -> Result<Self, EngineError> {
        if first > last || last >= OFFSET_MAX {
            return Err(EngineError::BadOffsets { first, last });
        }
        Ok(Self { partition, topic_id, first, last })
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> &SourcePartition {
        &self.partition
    }

    /// The topic's id.
    #[must_use]
    pub fn topic_id(&self) -> u128 {
        self.topic_id
    }

    /// The offset of the first message, or of what was there before it.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The offset of the last message.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Leaves out the messages behind `last`.
    ///
    /// # Panics
    /// If `last` is none of them.
    pub(crate) fn end_with(&mut self, last: u64) {
        assert!((self.first..=self.last).contains(&last), "a batch ends with one of its messages");
        self.last = last;
    }

    pub(crate) fn put(&self, out: &mut FieldWriter) {
        self.partition.put(out);
        out.u128(self.topic_id);
        out.u64(self.first);
        out.u64(self.last);
    }

    pub(crate) fn take(fields: &mut FieldReader<'_>) -> Option<Self> {
        let (partition, topic_id) = (SourcePartition::take(fields)?, fields.u128()?);
        Self::new(partition, topic_id, (fields.u64()?, fields.u64()?)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_offsets_keep_to_their_limits() {
        let [source, topic] = [SOURCE_BYTES_MAX, TOPIC_BYTES_MAX].map(|bytes| "x".repeat(bytes));
        let longest = SourcePartition::new(&source, &topic, u32::MAX).unwrap();
        for (source, topic) in [("", "t"), ("s", ""), (&*format!("{source}x"), "t")] {
            assert!(SourcePartition::new(source, topic, 0).is_err(), "{source:?} {topic:?}");
        }
        assert!(SourcePartition::new("s", &format!("{topic}x"), 0).is_err());
        let offsets = |first, last| SourceOffsets::new(longest.clone(), 0, (first, last));
        assert_eq!(offsets(3, 3).unwrap().last(), 3);
        assert!(offsets(0, OFFSET_MAX - 1).is_ok());
        assert!(offsets(4, 3).is_err());
        assert!(offsets(0, OFFSET_MAX).is_err());
    }
}
