//! Peers that say something of each sample when it comes.

use rcf3::{Forest, OnlineIForest, RcfError};

/// A forest, and where its series began.
#[derive(Clone)]
pub(crate) struct Online {
    forest: Kind,
    first: Option<f64>,
}

#[derive(Clone)]
enum Kind {
    Cut(Box<Forest>),
    Isolation(Box<OnlineIForest>),
}

impl Online {
    pub(crate) fn of_cut_forest(forest: Forest) -> Self {
        Self { forest: Kind::Cut(Box::new(forest)), first: None }
    }

    pub(crate) fn of_isolation_forest(forest: OnlineIForest) -> Self {
        Self { forest: Kind::Isolation(Box::new(forest)), first: None }
    }

    /// The score of a finite value, which is then learnt; 0 while the forest says that it is not ready.
    ///
    /// Forests take `f32`. The first value of the series is subtracted before, as our detectors do it: at 1.3e10
    /// an `f32` steps by 1,024. No cut and no isolation depends on where zero is.
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what the peer asks for")]
    pub(crate) fn score(&mut self, value: f64) -> Result<f64, RcfError> {
        let value = [(value - *self.first.get_or_insert(value)) as f32];
        match &mut self.forest {
            Kind::Cut(forest) if forest.is_ready() => forest.update_and_score(&value),
            Kind::Isolation(forest) if forest.is_ready() => forest.update_and_score(&value),
            Kind::Cut(forest) => forest.update(&value).map(|()| 0.0),
            Kind::Isolation(forest) => forest.update(&value).map(|()| 0.0),
        }
    }
}
