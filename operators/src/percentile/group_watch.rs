//! The rules on the windows of one group.

#![deny(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{
    Channel, EventTime, Lsn, Severity, Sketch, Subject, Transition, TransitionKind, UnixNanos,
};

use crate::RuleSet;
use crate::alert::{Alert, Change};
use crate::hash::group_alert_key;
use crate::matcher::METRIC;
use crate::percentile::group_key::GroupKey;
use crate::percentile::{ClosedWindow, PercentilesRule};
use crate::quantile::QuantileCondition;
use crate::reason::{amendment_reason, window_reason};
use crate::rule::Rule;
use crate::sparkline::{self, Sparkline};

/// Bytes of a watch, and of a window that it was told from, as they are counted: two entries of a tree each.
const WATCH_BYTES: usize = 2 * size_of::<(usize, GroupWatch)>();
const TOLD_BYTES: usize = 2 * size_of::<(i64, Told)>();

/// A group, and the moment at which its windows close.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    pub(crate) rules: &'a RuleSet,
    pub(crate) percentiles: &'a Arc<PercentilesRule>,
    /// The place of the percentiles in their set.
    pub(crate) index: usize,
    pub(crate) key: &'a Arc<GroupKey>,
    /// Log time.
    pub(crate) now: i64,
    /// Alerts whose window closes later than this behind its end and the lateness are historical. Nanoseconds.
    pub(crate) alerts_max_age_nanos: i64,
}

/// The rules on one group. A rule takes memory only while it has an alert, or windows of one.
#[derive(Debug)]
pub(crate) struct GroupWatches {
    /// The record at which the group was met, or the first rule on it came into force; 0 without such rules.
    pub(crate) born: Lsn,
    /// Windows up to the one that begins with this pane were looked at, or came too late for it.
    pub(crate) newest: i64,
    /// By the index of the rule.
    pub(crate) watches: BTreeMap<usize, GroupWatch>,
}

/// One rule on one group.
#[derive(Debug)]
pub(crate) struct GroupWatch {
    alert: Alert,
    /// The end of the last window that was looked at, and its percentile.
    seen: EventTime,
    value: f64,
    /// The windows of alerts that are held, by the first pane: what they were when the rule looked at them last.
    told: BTreeMap<i64, Told>,
}

/// A window of an alert: from the one that began it to the one that resolved it.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Of the alert.
    onset: EventTime,
    /// Of the alert.
    historical: bool,
    value: f64,
}

/// What a rule has to tell.
#[derive(Debug)]
struct Telling {
    kind: TransitionKind,
    onset: EventTime,
    historical: bool,
    event: EventTime,
    value: f64,
    revision: u32,
    reason: String,
}

impl<'a> Site<'a> {
    /// A group of the percentiles number `index`, at log time `now`.
    pub(crate) fn new(
        (rules, index): (&'a RuleSet, usize),
        key: &'a Arc<GroupKey>,
        (now, alerts_max_age_nanos): (i64, i64),
    ) -> Self {
        let percentiles =
            rules.percentiles().get(index).expect("groups are of percentiles in force");
        Self { rules, percentiles, index, key, now, alerts_max_age_nanos }
    }

    /// The rules that are about the group, with their indices.
    fn rules_on(&self) -> impl Iterator<Item = (usize, &'a Rule, &'a QuantileCondition)> {
        let Self { rules, percentiles, key, index, .. } = *self;
        rules.watching(index).iter().filter_map(move |index| {
            let rule = rules.rules().get(*index)?;
            let condition = rule.when.quantile()?;
            rule.matches_group(percentiles, key).then_some((*index, rule, condition))
        })
    }

    fn transition(&self, rule: &Rule, born: Lsn, told: Telling) -> Transition {
        let Self { percentiles, key, now, .. } = *self;
        let group = key.id(percentiles.hash);
        let Telling { kind, onset, historical, event, value, revision, reason } = told;
        let none = f64::NAN;
        Transition {
            key: group_alert_key(&key.db, rule.hash, (group, born), onset),
            rule: rule.name.clone(),
            rule_version: rule.version.clone(),
            priority: rule.priority.clone(),
            subject: Subject::Group(group),
            db: key.db.clone(),
            metric: self.metric().to_owned(),
            labels: key.labels(&percentiles.by),
            kind,
            revision,
            reason,
            historical,
            onset,
            event,
            severity: Severity::ZERO,
            value,
            expected: none,
            lower: none,
            upper: none,
            channel: Channel::default(),
            received: UnixNanos::new(now),
            sparkline: String::new(),
        }
    }

    /// The metric of the group's rows; empty where there may be several.
    fn metric(&self) -> &'a str {
        let Self { percentiles, key, .. } = *self;
        let mut labels = percentiles.by.iter().zip(&key.values);
        let grouped = labels.find(|(label, _)| *label == METRIC).map(|(_, value)| value.as_str());
        grouped.or_else(|| percentiles.fixed(METRIC)).unwrap_or_default()
    }
}

impl GroupWatches {
    /// Of a group that nobody has looked at.
    pub(crate) fn new(born: Lsn) -> Self {
        Self { born, newest: i64::MIN, watches: BTreeMap::new() }
    }

    /// Shows the rules a window that has closed; `start` is its first pane, and `panes` are all that are held.
    pub(crate) fn show(
        &mut self,
        site: &Site<'_>,
        (start, window): (i64, &ClosedWindow),
        panes: &BTreeMap<i64, Sketch>,
        out: &mut Vec<Transition>,
    ) {
        if site.rules.watching(site.index).is_empty() {
            return;
        }
        let in_order = start > self.newest;
        self.newest = start.max(self.newest);
        for (index, rule, condition) in site.rules_on() {
            // A window without numbers: the condition neither holds nor does not.
            let Some(found) = window.sketch.quantile(condition.quantile) else { continue };
            let watch = self.watches.entry(index).or_insert_with(GroupWatch::new);
            let telling = if in_order {
                watch.observe(site, (rule, condition), (start, window), found)
            } else {
                watch.amend(condition, (start, window), found)
            };
            if let Some(telling) = telling {
                let mut transition = site.transition(rule, self.born, telling);
                let end = start.saturating_add(site.percentiles.panes());
                transition.sparkline = picture(panes.range(..end), condition.quantile);
                out.push(transition);
            }
            if watch.is_idle() {
                self.watches.remove(&index);
            }
        }
    }

    /// A window is held no longer.
    pub(crate) fn forget(&mut self, start: i64) {
        self.watches.retain(|_, watch| {
            watch.told.remove(&start);
            !watch.is_idle()
        });
    }

    /// Ends what fires, for this reason; the rules are forgotten.
    pub(crate) fn end(&mut self, site: &Site<'_>, reason: &str, out: &mut Vec<Transition>) {
        for (index, watch) in std::mem::take(&mut self.watches) {
            let rule = site.rules.rules().get(index);
            let telling = watch.end(reason);
            out.extend(
                rule.zip(telling).map(|(rule, told)| site.transition(rule, self.born, told)),
            );
        }
    }

    /// Other rules come into force: those in `kept`, from old to new index, go on.
    pub(crate) fn keep(
        &mut self,
        site: &Site<'_>,
        kept: &BTreeMap<usize, usize>,
        reason: &str,
        out: &mut Vec<Transition>,
    ) {
        let (keep, mut gone) = std::mem::take(&mut self.watches)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(index, _)| kept.contains_key(index));
        std::mem::swap(&mut self.watches, &mut gone);
        self.end(site, reason, out);
        let renamed = |(index, watch)| Some((*kept.get(&index)?, watch));
        self.watches = keep.into_iter().filter_map(renamed).collect();
    }

    /// Bytes that all of this takes, as they are counted.
    pub(crate) fn bytes(&self) -> usize {
        let watches = self.watches.values();
        watches.map(|watch| WATCH_BYTES + watch.told.len() * TOLD_BYTES).sum()
    }

    /// Appends all of it; rules are told by their hashes.
    pub(crate) fn encode(&self, rules: &RuleSet, out: &mut FieldWriter) {
        out.u64(self.born.get());
        out.i64(self.newest);
        out.count(self.watches.len());
        for (index, watch) in &self.watches {
            let rule = rules.rules().get(*index).expect("watches are of rules in force");
            out.u128(rule.hash);
            watch.encode(out);
        }
    }

    /// What [`GroupWatches::encode`] wrote, where `is_held` tells which windows are held.
    pub(crate) fn decode(
        site: &Site<'_>,
        is_held: impl Fn(i64) -> bool,
        fields: &mut FieldReader<'_>,
    ) -> Option<Self> {
        let mut decoded = Self::new(Lsn::new(fields.u64()?));
        decoded.newest = fields.i64()?;
        let mut rules = site.rules_on();
        for _ in 0..fields.count()? {
            let hash = fields.u128()?;
            let (index, ..) = rules.find(|(_, rule, _)| rule.hash == hash)?;
            let watch = GroupWatch::decode(fields)?;
            if !watch.told.keys().all(|start| is_held(*start)) {
                return None;
            }
            decoded.watches.insert(index, watch);
        }
        Some(decoded)
    }
}

impl GroupWatch {
    fn new() -> Self {
        let (alert, told) = (Alert::default(), BTreeMap::new());
        Self { alert, seen: EventTime::MIN, value: f64::NAN, told }
    }

    /// Whether there is nothing to remember.
    fn is_idle(&self) -> bool {
        self.alert == Alert::Inactive && self.told.is_empty()
    }

    /// Takes a window later than all before it.
    fn observe(
        &mut self,
        site: &Site<'_>,
        (rule, condition): (&Rule, &QuantileCondition),
        (start, window): (i64, &ClosedWindow),
        found: f64,
    ) -> Option<Telling> {
        let waited = window.end.nanos().saturating_add(site.percentiles.lateness_nanos);
        let is_old = site.now.saturating_sub(waited) > site.alerts_max_age_nanos;
        let holds = condition.bound.holds(found);
        let change = self.alert.observe(rule, (window.end, holds), is_old);
        (self.seen, self.value) = (window.end, found);
        let of_alert = match (self.alert, &change) {
            (Alert::Firing { onset, historical, .. }, _) => Some((onset, historical)),
            (Alert::Pending { onset }, _) => Some((onset, is_old)),
            (Alert::Inactive, Some(Change { onset, historical, .. })) => {
                Some((*onset, *historical))
            }
            (Alert::Inactive, None) => None,
        };
        if let Some((onset, historical)) = of_alert {
            self.told.insert(start, Told { onset, historical, value: found });
        }
        let Change { kind, onset, historical } = change?;
        let reason = window_reason((rule, condition), kind, found, window);
        let (event, value) = (window.end, found);
        Some(Telling { kind, onset, historical, event, value, revision: 0, reason })
    }

    /// Takes a window that closes again, or behind later ones: it changes no alert, and amends the one that it is of.
    fn amend(
        &mut self,
        condition: &QuantileCondition,
        (start, window): (i64, &ClosedWindow),
        found: f64,
    ) -> Option<Telling> {
        let before = self.told.get(&start).map(|told| told.value);
        if before.is_some_and(|before| before.to_bits() == found.to_bits()) {
            return None;
        }
        let of_alert = self.told.get(&start).or_else(|| self.around(start))?;
        let Told { onset, historical, .. } = *of_alert;
        self.told.insert(start, Told { onset, historical, value: found });
        Some(Telling {
            kind: TransitionKind::Amended,
            onset,
            historical,
            event: window.end,
            value: found,
            revision: window.revision,
            reason: amendment_reason(condition, before, found, window),
        })
    }

    /// The window before this one, if it and the one behind are of one alert.
    fn around(&self, start: i64) -> Option<&Told> {
        let (_, before) = self.told.range(..start).next_back()?;
        let (_, behind) = self.told.range(start..).next()?;
        (before.onset == behind.onset).then_some(before)
    }

    /// The resolution of what fires, as of the last window.
    fn end(&self, reason: &str) -> Option<Telling> {
        let Change { kind, onset, historical } = self.alert.end()?;
        let (event, value, reason) = (self.seen, self.value, reason.to_owned());
        Some(Telling { kind, onset, historical, event, value, revision: 0, reason })
    }

    fn encode(&self, out: &mut FieldWriter) {
        self.alert.encode(out);
        out.i64(self.seen.nanos());
        out.f64(self.value);
        out.count(self.told.len());
        for (start, told) in &self.told {
            out.i64(*start);
            out.i64(told.onset.nanos());
            out.u8(u8::from(told.historical));
            out.f64(told.value);
        }
    }

    fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let alert = Alert::decode(fields)?;
        let (seen, value) = (EventTime::new(fields.i64()?), fields.f64()?);
        let mut told = BTreeMap::new();
        for _ in 0..fields.count()? {
            let start = fields.i64()?;
            if told.last_key_value().is_some_and(|(last, _)| *last >= start) {
                return None;
            }
            let onset = EventTime::new(fields.i64()?);
            let historical = match fields.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            };
            told.insert(start, Told { onset, historical, value: fields.f64()? });
        }
        let watch = Self { alert, seen, value, told };
        (!watch.is_idle()).then_some(watch)
    }
}

/// The quantile of the last panes as a small picture: of each slide, since windows that overlap would say less.
fn picture<'a>(
    panes: impl DoubleEndedIterator<Item = (&'a i64, &'a Sketch)>,
    quantile: f64,
) -> String {
    let newest = panes.rev().take(sparkline::VALUES_MAX);
    let mut values: Vec<f64> = newest.filter_map(|(_, pane)| pane.quantile(quantile)).collect();
    values.reverse();
    let mut picture = Sparkline::default();
    values.into_iter().for_each(|value| picture.push(value));
    picture.draw()
}

#[cfg(test)]
#[path = "group_watch_tests.rs"]
mod tests;
