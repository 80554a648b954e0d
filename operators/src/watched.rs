//! One rule on one series.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{
    AnomalyKind, Channel, EventTime, Severity, Slot, TransitionKind, UnixNanos,
};

use crate::absence::Absence;
use crate::alert::{Alert, Change, Observation};
use crate::budget::Level;
use crate::condition::Subject;
use crate::fleet::{FLEET_BYTES, Fleets, Standing};
use crate::gist::Gist;
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
    /// Of the alert, while there is one.
    pub(crate) gist: Gist,
    memory: Memory,
}

/// What a rule remembers of a series beside its alert.
#[derive(Debug)]
enum Memory {
    Nothing,
    Rate(Box<Rate>),
    Absence(Box<Absence>),
    /// Of a rule with a budget.
    Standing(Standing),
}

/// What a rule's budget says of a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leave {
    /// There is none, or no alert that would begin.
    Unasked,
    /// An alert may begin, because the sample passes this level.
    Given(Level),
    /// No alert begins.
    Refused,
}

/// What the rule has to tell.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) change: Change,
    /// The cause, with the value that the rule looks at.
    pub(crate) seen: Observation,
    pub(crate) kind: AnomalyKind,
    pub(crate) reason: String,
}

impl Memory {
    fn new(rule: &Rule) -> Self {
        match &rule.when {
            When::Number(_) if rule.budget.is_some() => Self::Standing(Standing::NEW),
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
        let (alert, memory) = (Alert::default(), Memory::new(rule));
        Self { rule: index, alert, gist: Gist::NONE, memory }
    }

    /// Goes on with what the same rule knew, maybe under another number.
    pub(crate) fn take_over(&mut self, old: Self) {
        (self.alert, self.gist, self.memory) = (old.alert, old.gist, old.memory);
    }

    /// The series, whose last sample had this severity, takes its place in the rule's fleet, if that has a budget.
    pub(crate) fn enter(
        &mut self,
        (rule, slot): (&Rule, Slot),
        severity: Severity,
        fleets: &mut Fleets,
    ) {
        if let (Memory::Standing(standing), Some(budget)) = (&mut self.memory, &rule.budget) {
            fleets.enter((self.rule, slot), standing, budget.heat(severity));
        }
    }

    /// The series had a sample at `time` before the rule was there.
    pub(crate) fn join(&mut self, time: EventTime) {
        if let Memory::Standing(standing) = &mut self.memory {
            standing.join(time);
        }
    }

    /// Counts a scored sample in the rule's fleet, and asks the budget where it would begin an alert; the sample before had the
    /// severity `before`.
    #[inline]
    pub(crate) fn ask(
        &mut self,
        rule: &Rule,
        (before, seen): (Severity, &Observation),
        fleets: &mut Fleets,
    ) -> Leave {
        let (Memory::Standing(standing), Some(budget)) = (&mut self.memory, &rule.budget) else {
            return Leave::Unasked;
        };
        let heat = budget.heat(seen.severity);
        fleets.turn(standing, (budget.heat(before), heat), seen.time);
        let Some(heat) = heat.filter(|_| self.alert == Alert::Inactive) else {
            return Leave::Unasked;
        };
        let company = fleets.company(standing, heat);
        budget.passed(seen.severity, &company).map_or(Leave::Refused, Leave::Given)
    }

    /// Shows the rule a scored sample; `historical` says whether it is too old to be told of.
    pub(crate) fn observe(
        &mut self,
        rule: &Rule,
        seen: &Observation,
        leave: &Leave,
        historical: bool,
    ) -> Option<Told> {
        let When::Number(condition) = &rule.when else { return self.hear(rule, seen, historical) };
        let rate = match &mut self.memory {
            Memory::Rate(rate) => rate.observe(seen.time, seen.value),
            Memory::Nothing | Memory::Absence(_) | Memory::Standing(_) => f64::NAN,
        };
        let found = condition.subject.of(seen.value, seen.severity, rate);
        if found.is_nan() {
            // Neither holds nor does not.
            return None;
        }
        let was_on = self.alert != Alert::Inactive;
        let holds = condition.holds(found) && !matches!(leave, Leave::Refused);
        let change = self.alert.observe(rule, (seen.time, holds), historical);
        let looked_at = self.looked_at(seen);
        let gist = self.gist(was_on, &looked_at);
        let change = change?;
        let reason = reason((rule, condition), change.kind, (found, gist, leave), seen);
        Some(Told { change, seen: looked_at, kind: gist.kind, reason })
    }

    /// What the alert is about with this sample, also where that was its last one.
    fn gist(&mut self, was_on: bool, seen: &Observation) -> Gist {
        let is_on = self.alert != Alert::Inactive;
        match (was_on, is_on) {
            (false, false) => return Gist::NONE,
            (false, true) => self.gist = Gist::of(seen),
            (true, _) => self.gist.observe(seen),
        }
        let gist = self.gist;
        if !is_on {
            self.gist = Gist::NONE;
        }
        gist
    }

    fn hear(&mut self, rule: &Rule, seen: &Observation, historical: bool) -> Option<Told> {
        let Memory::Absence(absence) = &mut self.memory else { return None };
        let was_missing = absence.observe(seen.time, seen.heard, !historical);
        let change = self.alert.hear(rule, seen.time, was_missing)?;
        let reason = absence_reason(rule, change.kind, absence, seen.value);
        let kind = AnomalyKind::StoppedReporting;
        Some(Told { change, seen: *seen, kind, reason })
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
            kind: AnomalyKind::None,
            expectation: Expectation::NONE,
            received: now,
            heard: now,
        };
        Some(Told { change, seen, kind: AnomalyKind::StoppedReporting, reason })
    }

    /// What the rule looks at in the series' last sample: its rate, or itself.
    pub(crate) fn looked_at(&self, seen: &Observation) -> Observation {
        match &self.memory {
            // The detector expects values, and no rates.
            Memory::Rate(rate) => {
                Observation { value: rate.last(), expectation: Expectation::NONE, ..*seen }
            }
            Memory::Nothing | Memory::Absence(_) | Memory::Standing(_) => *seen,
        }
    }

    /// What is told of the alert's anomaly when its rule goes.
    pub(crate) fn told_kind(&self) -> AnomalyKind {
        match &self.memory {
            Memory::Absence(_) => AnomalyKind::StoppedReporting,
            Memory::Nothing | Memory::Rate(_) | Memory::Standing(_) => self.gist.kind,
        }
    }

    /// The silence that the rule waits for, if it does.
    pub(crate) fn absence(&mut self) -> Option<&mut Absence> {
        match &mut self.memory {
            Memory::Absence(absence) => Some(absence),
            Memory::Nothing | Memory::Rate(_) | Memory::Standing(_) => None,
        }
    }

    /// Where the series stands in the rule's fleet, if that has a budget.
    #[cfg(test)]
    pub(crate) fn standing(&self) -> Option<Standing> {
        match self.memory {
            Memory::Standing(standing) => Some(standing),
            Memory::Nothing | Memory::Rate(_) | Memory::Absence(_) => None,
        }
    }

    pub(crate) fn digest(&self, out: &mut Digest) {
        self.alert.digest(out);
        if !self.gist.is_none() {
            self.gist.digest(out);
        }
        match &self.memory {
            Memory::Nothing => {}
            Memory::Rate(rate) => rate.digest(out),
            Memory::Absence(absence) => absence.digest(out),
            Memory::Standing(standing) => out.i64(standing.round().into()),
        }
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        self.alert.encode(self.gist, out);
        match &self.memory {
            Memory::Nothing => {}
            Memory::Rate(rate) => rate.encode(out),
            Memory::Absence(absence) => absence.encode(out),
            Memory::Standing(standing) => out.i32(standing.round()),
        }
    }

    /// Takes what [`Watched::encode`] wrote of the same rule.
    pub(crate) fn restore(&mut self, fields: &mut FieldReader<'_>) -> Option<()> {
        (self.alert, self.gist) = Alert::decode(fields)?;
        match &mut self.memory {
            Memory::Nothing => Some(()),
            Memory::Rate(rate) => {
                **rate = Rate::decode(fields)?;
                Some(())
            }
            Memory::Absence(absence) => absence.restore(fields),
            Memory::Standing(standing) => {
                *standing = Standing::of_round(fields.i32()?);
                Some(())
            }
        }
    }

    /// Bytes that a rule takes beside its place among the series' alerts.
    pub(crate) fn memory_bytes(rule: &Rule) -> usize {
        match &rule.when {
            When::Number(condition) if condition.subject == Subject::Rate => {
                size_of::<Rate>() + ALLOCATION_BYTES
            }
            When::Number(_) if rule.budget.is_some() => FLEET_BYTES,
            When::Number(_) | When::Quantile(_) => 0,
            When::Absent(patience) => Absence::bytes(*patience),
        }
    }
}
