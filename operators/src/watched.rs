//! One rule on one series.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{Channel, EventTime, Severity, TransitionKind, UnixNanos};

use crate::absence::Absence;
use crate::alert::{Alert, Change, Observation};
use crate::condition::Subject;
use crate::hash::Digest;
use crate::light::Expectation;
use crate::limits::ALLOCATION_BYTES;
use crate::rate::Rate;
use crate::reason::{absence_reason, reason};
use crate::rule::Rule;
use crate::when::When;

/// A rule's alert on a series, and what the rule remembers of it.
#[derive(Debug)]
pub(crate) struct Watched {
    /// Index in the rule set.
    pub(crate) rule: usize,
    pub(crate) alert: Alert,
    memory: Memory,
}

/// What a rule remembers of a series beside its alert.
#[derive(Debug)]
enum Memory {
    Nothing,
    Rate(Box<Rate>),
    Absence(Box<Absence>),
}

/// What the rule has to tell.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) change: Change,
    /// The cause, with the value that the rule looks at.
    pub(crate) seen: Observation,
    pub(crate) reason: String,
}

impl Memory {
    fn new(when: &When) -> Self {
        match when {
            When::Number(condition) if condition.subject == Subject::Rate => {
                Self::Rate(Box::new(Rate::NEW))
            }
            // A rule on windows watches no series.
            When::Number(_) | When::Quantile(_) => Self::Nothing,
            When::Absent(patience) => Self::Absence(Box::new(Absence::new(*patience))),
        }
    }
}

impl Watched {
    /// Rule number `index` on a series of which it knows nothing.
    pub(crate) fn new(index: usize, rule: &Rule) -> Self {
        Self { rule: index, alert: Alert::default(), memory: Memory::new(&rule.when) }
    }

    /// Goes on with what the same rule knew, maybe under another number.
    pub(crate) fn take_over(&mut self, old: Self) {
        (self.alert, self.memory) = (old.alert, old.memory);
    }

    /// Shows the rule a scored sample; `historical` says whether it is too old to be told of.
    pub(crate) fn observe(
        &mut self,
        rule: &Rule,
        seen: &Observation,
        historical: bool,
    ) -> Option<Told> {
        let When::Number(condition) = &rule.when else { return self.hear(rule, seen, historical) };
        let rate = match &mut self.memory {
            Memory::Rate(rate) => rate.observe(seen.time, seen.value),
            Memory::Nothing | Memory::Absence(_) => f64::NAN,
        };
        let found = condition.subject.of(seen.value, seen.severity, rate);
        if found.is_nan() {
            // Neither holds nor does not.
            return None;
        }
        let change = self.alert.observe(rule, (seen.time, condition.holds(found)), historical)?;
        let reason = reason((rule, condition), change.kind, found, seen);
        Some(Told { change, seen: self.looked_at(seen), reason })
    }

    fn hear(&mut self, rule: &Rule, seen: &Observation, historical: bool) -> Option<Told> {
        let Memory::Absence(absence) = &mut self.memory else { return None };
        let was_missing = absence.observe(seen.time, seen.heard, !historical);
        let change = self.alert.hear(rule, seen.time, was_missing)?;
        let reason = absence_reason(rule, change.kind, absence, seen.value);
        Some(Told { change, seen: *seen, reason })
    }

    /// The series' patience has ended, or the `for` behind it, by a tick at `now`; `value` is that of the last sample.
    pub(crate) fn miss(&mut self, rule: &Rule, value: f64, now: UnixNanos) -> Option<Told> {
        let Memory::Absence(absence) = &mut self.memory else { return None };
        let change = self.alert.miss(rule, absence.onset());
        let is_pending = matches!(self.alert, Alert::Pending { .. });
        absence.miss(is_pending.then_some(rule.for_nanos));
        let change = change?;
        let reason = absence_reason(rule, change.kind, absence, value);
        let further = if change.kind == TransitionKind::Firing { rule.for_nanos } else { 0 };
        let seen = Observation {
            time: EventTime::new(change.onset.nanos().saturating_add(further)),
            value,
            severity: Severity::ZERO,
            channel: Channel::default(),
            expectation: Expectation::NONE,
            received: now,
            heard: now,
        };
        Some(Told { change, seen, reason })
    }

    /// What the rule looks at in the series' last sample: its rate, or itself.
    pub(crate) fn looked_at(&self, seen: &Observation) -> Observation {
        match &self.memory {
            // The detector expects values, and no rates.
            Memory::Rate(rate) => {
                Observation { value: rate.last(), expectation: Expectation::NONE, ..*seen }
            }
            Memory::Nothing | Memory::Absence(_) => *seen,
        }
    }

    /// The silence that the rule waits for, if it does.
    pub(crate) fn absence(&mut self) -> Option<&mut Absence> {
        match &mut self.memory {
            Memory::Absence(absence) => Some(absence),
            Memory::Nothing | Memory::Rate(_) => None,
        }
    }

    pub(crate) fn digest(&self, out: &mut Digest) {
        self.alert.digest(out);
        match &self.memory {
            Memory::Nothing => {}
            Memory::Rate(rate) => rate.digest(out),
            Memory::Absence(absence) => absence.digest(out),
        }
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        self.alert.encode(out);
        match &self.memory {
            Memory::Nothing => {}
            Memory::Rate(rate) => rate.encode(out),
            Memory::Absence(absence) => absence.encode(out),
        }
    }

    /// Takes what [`Watched::encode`] wrote of the same rule.
    pub(crate) fn restore(&mut self, fields: &mut FieldReader<'_>) -> Option<()> {
        self.alert = Alert::decode(fields)?;
        match &mut self.memory {
            Memory::Nothing => Some(()),
            Memory::Rate(rate) => {
                **rate = Rate::decode(fields)?;
                Some(())
            }
            Memory::Absence(absence) => absence.restore(fields),
        }
    }

    /// Bytes that a rule takes beside its place among the series' alerts.
    pub(crate) fn memory_bytes(rule: &Rule) -> usize {
        match &rule.when {
            When::Number(condition) if condition.subject == Subject::Rate => {
                size_of::<Rate>() + ALLOCATION_BYTES
            }
            When::Number(_) | When::Quantile(_) => 0,
            When::Absent(patience) => Absence::bytes(*patience),
        }
    }
}
