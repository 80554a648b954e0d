//! What checkpoints and the log say of feeds.
//!
//! Fields as in [`record`](crate::record):
//! ```text
//! in checkpoints  tag text, since u64, upto u64, letters u64, rows u32, each: lsn u64, row (see `row`)
//! in the log      tag text, upto u64
//! ```
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::Lsn;
use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::feeds::row::FeedRow;

/// A feed as a checkpoint has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FeedEntry {
    /// Which feed, see [`tag`](crate::FeedConfig::tag).
    pub(crate) tag: String,
    /// The start since which it has been configured without a break.
    pub(crate) since: Lsn,
    /// Rows of records up to this one are acknowledged.
    pub(crate) upto: Lsn,
    /// The last record whose letters it was told of.
    pub(crate) letters: Lsn,
    /// What waits, with its records, in their order.
    pub(crate) rows: Vec<(Lsn, FeedRow)>,
}

/// A record of the log: rows of records up to `upto` are acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedNote {
    /// Which feed.
    pub tag: String,
    /// How far.
    pub upto: Lsn,
}

impl FeedEntry {
    pub(crate) fn put(&self, out: &mut FieldWriter) {
        out.text(&self.tag);
        for lsn in [self.since, self.upto, self.letters] {
            out.u64(lsn.get());
        }
        out.count(self.rows.len());
        for (lsn, row) in &self.rows {
            out.u64(lsn.get());
            row.put(out);
        }
    }

    pub(crate) fn take(fields: &mut FieldReader<'_>) -> Option<Self> {
        let tag = fields.text()?;
        let [since, upto, letters] = [fields.u64()?, fields.u64()?, fields.u64()?].map(Lsn::new);
        let mut rows = Vec::new();
        for _ in 0..fields.count()? {
            rows.push((Lsn::new(fields.u64()?), FeedRow::take(fields)?));
        }
        Some(Self { tag, since, upto, letters, rows })
    }
}

impl FeedNote {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = FieldWriter::default();
        out.text(&self.tag);
        out.u64(self.upto.get());
        out.into_bytes()
    }

    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        Some(Self { tag: fields.text()?, upto: Lsn::new(fields.u64()?) })
    }
}
