//! The life of an alert: one rule on one series.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{AnomalyKind, Channel, EventTime, Severity, TransitionKind, UnixNanos};

use crate::gist::Gist;
use crate::hash::Digest;
use crate::light::Expectation;
use crate::rule::Rule;

const INACTIVE: u8 = 0;
const PENDING: u8 = 1;
const FIRING: u8 = 2;
const FIRING_HISTORICAL: u8 = 3;
/// Beside these: what the alert is about follows, see [`Gist`].
const GIST: u8 = 4;

/// A scored sample as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation {
    pub(crate) time: EventTime,
    pub(crate) value: f64,
    pub(crate) severity: Severity,
    pub(crate) channel: Channel,
    /// What the anomaly looks like that it is of.
    pub(crate) kind: AnomalyKind,
    /// What the detector expected before the sample.
    pub(crate) expectation: Expectation,
    pub(crate) received: UnixNanos,
    /// Log time, or when the sample's record was received where that is later.
    pub(crate) heard: UnixNanos,
}

/// Where an alert stands, by event time of the samples in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Alert {
    /// The condition did not hold.
    #[default]
    Inactive,
    /// The condition holds since `onset`, not yet for as long as the rule asks.
    Pending { onset: EventTime },
    /// The alert is on; the condition held last at `held`.
    Firing {
        onset: EventTime,
        held: EventTime,
        /// Nobody was told of the beginning, so nobody is told of the end.
        historical: bool,
    },
}

/// What a sample did to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: TransitionKind,
    pub(crate) onset: EventTime,
    pub(crate) historical: bool,
}

impl Alert {
    /// Takes a sample at `time` for which the condition holds or not; `historical` says whether it is too
    /// old to be told of.
    ///
    /// ```text
    /// inactive --holds--> pending (only where `for` > 0) --held for `for`--> firing
    /// pending  --does not hold--> inactive, without a word
    /// firing   --has not held for `keep_firing`--> inactive, resolved
    /// ```
    ///
    /// A new time base may go back in time: a pending alert then begins anew, and a firing one
    /// counts from the new base.
    pub(crate) fn observe(
        &mut self,
        rule: &Rule,
        (time, holds): (EventTime, bool),
        historical: bool,
    ) -> Option<Change> {
        let begun = match *self {
            Self::Pending { onset } if onset <= time => Some(onset),
            _ => None,
        };
        match (*self, holds) {
            (Self::Inactive | Self::Pending { .. }, false) => {
                *self = Self::Inactive;
                None
            }
            (Self::Inactive | Self::Pending { .. }, true) => {
                let onset = begun.unwrap_or(time);
                if since(onset, time) >= rule.for_nanos {
                    *self = Self::Firing { onset, held: time, historical };
                    return Some(Change { kind: TransitionKind::Firing, onset, historical });
                }
                *self = Self::Pending { onset };
                begun.is_none().then_some(Change {
                    kind: TransitionKind::Pending,
                    onset,
                    historical,
                })
            }
            (Self::Firing { onset, held, historical }, false) if held <= time => {
                if since(held, time) < rule.keep_firing_nanos {
                    return None;
                }
                *self = Self::Inactive;
                Some(Change { kind: TransitionKind::Resolved, onset, historical })
            }
            (Self::Firing { onset, historical, .. }, _) => {
                *self = Self::Firing { onset, held: time, historical };
                None
            }
        }
    }

    /// Takes the end of a series' patience, and of the `for` behind it. `onset` is when the patience ended.
    ///
    /// ```text
    /// inactive --patience ends--> pending (only where `for` > 0) --`for` later--> firing
    /// ```
    pub(crate) fn miss(&mut self, rule: &Rule, onset: EventTime) -> Option<Change> {
        let change = |kind, onset| Some(Change { kind, onset, historical: false });
        match *self {
            Self::Inactive if rule.for_nanos > 0 => {
                *self = Self::Pending { onset };
                change(TransitionKind::Pending, onset)
            }
            Self::Inactive | Self::Pending { .. } => {
                let onset = if let Self::Pending { onset } = *self { onset } else { onset };
                *self = Self::Firing { onset, held: onset, historical: false };
                change(TransitionKind::Firing, onset)
            }
            // Silent again within `keep_firing`.
            Self::Firing { .. } => None,
        }
    }

    /// Takes a sample at `time`, where a rule waits for silence; `was_missing` says whether it ends an absence.
    ///
    /// ```text
    /// pending --sample--> inactive, without a word
    /// firing  --samples for `keep_firing`--> inactive, resolved
    /// ```
    pub(crate) fn hear(
        &mut self,
        rule: &Rule,
        time: EventTime,
        was_missing: bool,
    ) -> Option<Change> {
        if let Self::Firing { held, .. } = self
            && was_missing
        {
            *held = time;
        }
        self.observe(rule, (time, false), false)
    }

    /// The resolution of a firing alert whose rule is gone.
    pub(crate) fn end(self) -> Option<Change> {
        match self {
            Self::Firing { onset, historical, .. } => {
                Some(Change { kind: TransitionKind::Resolved, onset, historical })
            }
            Self::Inactive | Self::Pending { .. } => None,
        }
    }

    pub(crate) fn digest(self, out: &mut Digest) {
        match self {
            Self::Inactive => out.u64(0),
            Self::Pending { onset } => {
                out.u64(1);
                out.i64(onset.nanos());
            }
            Self::Firing { onset, held, historical } => {
                out.u64(2 + u64::from(historical));
                out.i64(onset.nanos());
                out.i64(held.nanos());
            }
        }
    }

    /// Appends the alert and what it is about, if anything is said of that.
    pub(crate) fn encode(self, gist: Gist, out: &mut FieldWriter) {
        let mark = if gist.is_none() { 0 } else { GIST };
        match self {
            Self::Inactive => out.u8(INACTIVE | mark),
            Self::Pending { onset } => {
                out.u8(PENDING | mark);
                out.i64(onset.nanos());
            }
            Self::Firing { onset, held, historical } => {
                out.u8(if historical { FIRING_HISTORICAL } else { FIRING } | mark);
                out.i64(onset.nanos());
                out.i64(held.nanos());
            }
        }
        if !gist.is_none() {
            gist.encode(out);
        }
    }

    /// What [`Alert::encode`] wrote.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<(Self, Gist)> {
        let code = fields.u8()?;
        let alert = match code & !GIST {
            INACTIVE => Self::Inactive,
            PENDING => Self::Pending { onset: EventTime::new(fields.i64()?) },
            FIRING | FIRING_HISTORICAL => Self::Firing {
                onset: EventTime::new(fields.i64()?),
                held: EventTime::new(fields.i64()?),
                historical: code & !GIST == FIRING_HISTORICAL,
            },
            _ => return None,
        };
        let gist = if code & GIST == 0 { Gist::NONE } else { Gist::decode(fields)? };
        Some((alert, gist))
    }
}

fn since(from: EventTime, to: EventTime) -> i64 {
    to.nanos().saturating_sub(from.nanos())
}
