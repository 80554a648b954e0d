//! Where the reading of a partition begins.

use crate::kafka::client::Watermarks;

/// Where a partition is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// From this offset.
    At(u64),
    /// From this offset, because messages that were not read are no longer there.
    AfterGap {
        /// The first offset that is there.
        offset: u64,
        /// How many offsets are missing.
        missing: u64,
    },
    /// Nowhere: the log ends before what was read, as it does after a broker lost messages. Once it has grown
    /// to the offset again, it goes on there.
    Ahead {
        /// The offset behind the log's last message.
        end: u64,
    },
}

/// Where a partition with these marks goes on whose next offset should be `next`.
#[must_use]
pub fn begin(next: u64, marks: Watermarks) -> Begin {
    if next < marks.low {
        Begin::AfterGap { offset: marks.low, missing: marks.low - next }
    } else if next > marks.high {
        Begin::Ahead { end: marks.high }
    } else {
        Begin::At(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_goes_on_where_it_was_or_tells_what_is_missing() {
        let marks = Watermarks { low: 10, high: 20 };
        for next in [10, 15, 20] {
            assert_eq!(begin(next, marks), Begin::At(next));
        }
        assert_eq!(begin(3, marks), Begin::AfterGap { offset: 10, missing: 7 });
        assert_eq!(begin(21, marks), Begin::Ahead { end: 20 });
        assert_eq!(begin(0, Watermarks { low: 0, high: 0 }), Begin::At(0));
    }
}
