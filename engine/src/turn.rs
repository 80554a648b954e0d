//! Keeps records in order where the log refuses one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who hands out [`Turn`]s.
///
/// Records of one order are offered to the log in turns. The first that is refused, for want of room,
/// ends the turn: what was offered behind it is refused too, and all of it is offered again, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<AtomicU64>);

/// The turn in which a record was offered.
#[derive(Clone, Debug)]
pub struct Turn {
    number: u64,
    turns: Turns,
}

impl Turns {
    /// The turn that lasts. To be asked for before the records are taken that it is for.
    pub(crate) fn current(&self) -> Turn {
        Turn { number: self.0.load(Ordering::Acquire), turns: self.clone() }
    }
}

impl Turn {
    /// Whether an earlier record of this turn was refused.
    pub(crate) fn is_over(&self) -> bool {
        self.turns.0.load(Ordering::Acquire) != self.number
    }

    /// A record of this turn is refused.
    pub(crate) fn end(&self) {
        let next = self.number + 1;
        // ORDER: only the turn that lasts can end; records of an earlier one are no news.
        let _was_over =
            self.turns.0.compare_exchange(self.number, next, Ordering::AcqRel, Ordering::Acquire);
    }
}
