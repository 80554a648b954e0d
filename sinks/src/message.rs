//! What the outbox releases to a sink.

use tidewatch_metrics::{Transition, TransitionTimes};

/// A transition that is due for delivery, and when the engine had it in hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The transition: all of the body comes from it.
    pub transition: Transition,
    /// Processing times: told beside the body, never in it.
    pub times: TransitionTimes,
}

impl Message {
    /// The memory that the message holds, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of = &self.transition;
        let texts = [
            &of.rule,
            &of.rule_version,
            &of.priority,
            &of.db,
            &of.metric,
            &of.reason,
            &of.sparkline,
        ];
        let labels = of.labels.iter().map(|pair| size_of_val(pair) + pair.0.len() + pair.1.len());
        size_of::<Self>()
            + texts.iter().map(|text| text.len()).sum::<usize>()
            + labels.sum::<usize>()
    }
}
