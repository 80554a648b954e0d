//! What windows put out.

use std::sync::Arc;

use tidewatch_metrics::{EventTime, Sketch, Transition};

use crate::percentile::PercentilesRule;
use crate::percentile::group_key::GroupKey;

/// A window that has closed, for the first time or again.
#[derive(Clone, Debug)]
pub struct ClosedWindow {
    /// What it is a window of.
    pub rule: Arc<PercentilesRule>,
    pub(crate) key: Arc<GroupKey>,
    /// Where it begins; included.
    pub start: EventTime,
    /// Where it ends; excluded.
    pub end: EventTime,
    /// 1 when it closes first, and one more whenever late rows had it closed again.
    pub revision: u32,
    /// All that was counted of it so far.
    pub sketch: Sketch,
}

/// What a tick did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// In an order that depends on the log alone.
    pub closed: Vec<ClosedWindow>,
    /// What closed windows, or the end of rules, did to alerts, in such an order as well.
    pub transitions: Vec<Transition>,
    /// Rows that came too late: their windows were forgotten.
    pub rows_late: u64,
    /// Rows of groups beyond the limit.
    pub rows_refused: u64,
    /// Windows that were closed early or forgotten early for want of memory, or with their rule.
    pub windows_given_up: u64,
}

impl ClosedWindow {
    /// The database of its series.
    #[must_use]
    pub fn db(&self) -> &str {
        &self.key.db
    }

    /// The labels of its group that its series have, in the order of the keys.
    #[must_use]
    pub fn labels(&self) -> Vec<(String, String)> {
        self.key.labels(&self.rule.by)
    }
}
