//! How far a partition is stored, and which stretches of it.
//!
//! In checkpoints, fields as in [`record`](crate::record):
//! ```text
//! stored  partition, ranges u32, each: topic id u128, first u64, next u64, lsn u64
//! before format 5: partition, topic id u128, next u64
//! ```

use tidewatch_metrics::Lsn;
use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::limits::STORED_RANGES_MAX;
use crate::sources::offsets::{SourceOffsets, SourcePartition};

/// Offsets of a partition that are stored without a break. Where another instance of a group had the partition in between, or
/// messages were gone, the next range begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRange {
    /// The topic's id: a topic that is made anew has another one, and its offsets begin anew. 0 where the
    /// source has no ids.
    pub topic_id: u128,
    /// The first offset. The same as the next one where an earlier release has told no more than that.
    pub first_offset: u64,
    /// The offset after the last one.
    pub next_offset: u64,
    /// The record of the last offset; 0 where an earlier release has not told.
    pub lsn: Lsn,
}

/// How far a partition is stored.
///
/// Invariant: 1 to [`STORED_RANGES_MAX`] ranges in the order of their records; older ones are forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOffsets {
    /// The partition.
    pub partition: SourcePartition,
    ranges: Vec<StoredRange>,
}

impl StoredOffsets {
    /// What is stored once these messages, the first ones of the partition, are in the record `lsn`.
    pub(crate) fn new(offsets: &SourceOffsets, lsn: Lsn) -> Self {
        Self { partition: offsets.partition().clone(), ranges: vec![range(offsets, lsn)] }
    }

    /// All ranges, in the order of their records.
    #[must_use]
    pub fn ranges(&self) -> &[StoredRange] {
        &self.ranges
    }

    /// The topic's id when the last message was stored; 0 where the source has no ids.
    #[must_use]
    pub fn topic_id(&self) -> u128 {
        self.last().topic_id
    }

    /// The offset after that of the last message that is stored.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.last().next_offset
    }

    /// These messages are in the record `lsn`. Those that are known already, as at a start, change nothing.
    pub(crate) fn extend(&mut self, offsets: &SourceOffsets, lsn: Lsn) {
        let last = self.ranges.last_mut().expect("there is a range at least");
        let is_same = last.topic_id == offsets.topic_id();
        if lsn <= last.lsn || is_same && offsets.last() < last.next_offset {
            return;
        }
        if is_same && offsets.first() <= last.next_offset {
            last.next_offset = offsets.last() + 1;
            last.lsn = lsn;
            return;
        }
        if self.ranges.len() == STORED_RANGES_MAX {
            self.ranges.remove(0);
        }
        self.ranges.push(range(offsets, lsn));
    }

    fn last(&self) -> &StoredRange {
        self.ranges.last().expect("there is a range at least")
    }

    pub(crate) fn put(&self, out: &mut FieldWriter) {
        self.partition.put(out);
        out.count(self.ranges.len());
        for range in &self.ranges {
            out.u128(range.topic_id);
            out.u64(range.first_offset);
            out.u64(range.next_offset);
            out.u64(range.lsn.get());
        }
    }

    pub(crate) fn take(fields: &mut FieldReader<'_>) -> Option<Self> {
        let partition = SourcePartition::take(fields)?;
        let count = fields.count()?;
        let ranges = (0..count).map(|_| {
            let topic_id = fields.u128()?;
            let (first_offset, next_offset) = (fields.u64()?, fields.u64()?);
            let lsn = Lsn::new(fields.u64()?);
            (first_offset <= next_offset).then_some(StoredRange {
                topic_id,
                first_offset,
                next_offset,
                lsn,
            })
        });
        let ranges = ranges.collect::<Option<Vec<_>>>()?;
        (1..=STORED_RANGES_MAX).contains(&ranges.len()).then_some(Self { partition, ranges })
    }

    /// As checkpoints had it before they told of ranges.
    pub(crate) fn take_end(fields: &mut FieldReader<'_>) -> Option<Self> {
        let (partition, topic_id) = (SourcePartition::take(fields)?, fields.u128()?);
        Some(Self::with_end(partition, topic_id, fields.u64()?))
    }

    /// All before `next_offset` may be stored.
    pub(crate) fn with_end(partition: SourcePartition, topic_id: u128, next_offset: u64) -> Self {
        let (first_offset, lsn) = (next_offset, Lsn::ZERO);
        Self { partition, ranges: vec![StoredRange { topic_id, first_offset, next_offset, lsn }] }
    }
}

fn range(offsets: &SourceOffsets, lsn: Lsn) -> StoredRange {
    StoredRange {
        topic_id: offsets.topic_id(),
        first_offset: offsets.first(),
        next_offset: offsets.last() + 1,
        lsn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(topic_id: u128, first: u64, last: u64) -> SourceOffsets {
        let partition = SourcePartition::new("main", "metrics", 3).unwrap();
        SourceOffsets::new(partition, topic_id, (first, last)).unwrap()
    }

    fn told(stored: &StoredOffsets) -> Vec<(u128, u64, u64, u64)> {
        let each = stored.ranges().iter();
        each.map(|one| (one.topic_id, one.first_offset, one.next_offset, one.lsn.get())).collect()
    }

    #[test]
    fn what_follows_extends_a_range_and_what_leaves_a_break_begins_another() {
        let mut stored = StoredOffsets::new(&offsets(7, 5, 9), Lsn::new(1));
        stored.extend(&offsets(7, 10, 19), Lsn::new(4));
        stored.extend(&offsets(7, 30, 39), Lsn::new(6));
        stored.extend(&offsets(8, 0, 3), Lsn::new(9));
        let all = [(7, 5, 20, 4), (7, 30, 40, 6), (8, 0, 4, 9)];
        assert_eq!(told(&stored), all);
        assert_eq!((stored.topic_id(), stored.next_offset()), (8, 4));
        // A start goes through records again that a checkpoint knows.
        for (known, lsn) in [(offsets(7, 5, 9), 1), (offsets(7, 30, 39), 6), (offsets(8, 0, 3), 9)]
        {
            stored.extend(&known, Lsn::new(lsn));
        }
        assert_eq!(told(&stored), all);
        let mut out = FieldWriter::default();
        stored.put(&mut out);
        let bytes = out.into_bytes();
        assert_eq!(StoredOffsets::take(&mut FieldReader::new(&bytes)), Some(stored));
    }

    #[test]
    fn the_oldest_ranges_of_very_many_are_forgotten() {
        let mut stored = StoredOffsets::new(&offsets(7, 0, 0), Lsn::new(1));
        for number in 1..=STORED_RANGES_MAX as u64 {
            stored.extend(&offsets(7, number * 2, number * 2), Lsn::new(number + 1));
        }
        assert_eq!(stored.ranges().len(), STORED_RANGES_MAX);
        assert_eq!(stored.ranges()[0].first_offset, 2);
    }

    #[test]
    fn the_end_that_an_earlier_release_told_goes_on_as_a_range() {
        let mut out = FieldWriter::default();
        offsets(7, 0, 0).partition().put(&mut out);
        out.u128(7);
        out.u64(40);
        let bytes = out.into_bytes();
        let mut stored = StoredOffsets::take_end(&mut FieldReader::new(&bytes)).unwrap();
        stored.extend(&offsets(7, 30, 39), Lsn::new(3));
        assert_eq!(told(&stored), [(7, 40, 40, 0)]);
        stored.extend(&offsets(7, 40, 49), Lsn::new(5));
        assert_eq!(told(&stored), [(7, 40, 50, 5)]);
    }
}
