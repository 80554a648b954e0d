//! Rows as they become visible: what somebody who follows the heads has not seen yet.

use std::sync::{Arc, Weak};

use tidewatch_metrics::Lsn;

use crate::view::{HeadShared, HeadView};

/// How far somebody has followed the heads. Holds none of their rows, so that nothing waits for it.
#[derive(Clone, Debug, Default)]
pub struct TailPlace {
    /// By shard: the head that was live, and how many of its rows were seen.
    shards: Vec<(Weak<HeadShared>, usize)>,
}

/// Rows that became visible since a [`TailPlace`].
#[derive(Clone, Debug, Default)]
pub struct TailRows {
    /// Heads, and which of their rows are the first fresh ones; in the order of arrival in each shard.
    pub heads: Vec<(HeadView, usize)>,
    /// Some rows went to files before they were seen here, and are missing.
    pub is_torn: bool,
}

impl TailPlace {
    /// Goes on to `fence`; `heads` are those of each shard, the live one last. A first step only
    /// notes how far they are. `None`, and no step, where `fence` is older than what is kept.
    pub(crate) fn advance(
        &mut self,
        heads: impl Iterator<Item = Vec<Arc<HeadShared>>>,
        fence: Lsn,
    ) -> Option<TailRows> {
        let mut places = Vec::with_capacity(self.shards.len());
        let mut rows = TailRows::default();
        for (shard, heads) in heads.enumerate() {
            let live = heads.last()?;
            let known = self.shards.get(shard);
            let found = known.and_then(|(seen, _)| {
                heads.iter().position(|head| std::ptr::eq(seen.as_ptr(), Arc::as_ptr(head)))
            });
            rows.is_torn |= known.is_some() && found.is_none();
            let mut live_rows = 0;
            for (index, head) in heads.iter().enumerate() {
                let view = head.view_of(shard, fence)?;
                live_rows = view.rows();
                let from = match (known, found) {
                    (None, _) => view.rows(),
                    (Some((_, seen)), Some(found)) if index == found => *seen,
                    (_, Some(found)) if index < found => view.rows(),
                    _ => 0,
                };
                if from < view.rows() {
                    rows.heads.push((view, from));
                }
            }
            places.push((Arc::downgrade(live), live_rows));
        }
        self.shards = places;
        Some(rows)
    }
}

impl TailRows {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.iter().map(|(view, from)| view.rows() - from).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
