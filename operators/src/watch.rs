//! The series that rules match, and their alerts.

use std::sync::Arc;

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{
    AnomalyKind, Channel, EventTime, SeriesKey, Severity, Slot, Subject, Transition, UnixNanos,
};

use crate::absence::Absence;
use crate::alert::{Change, Observation};
use crate::deadlines::{Deadline, Deadlines};
use crate::fleet::Fleets;
use crate::hash::{Digest, alert_key};
use crate::light::{Expectation, Explanation};
use crate::limits::ABSENCES_PER_TICK;
use crate::rule::Rule;
use crate::sparkline::Sparkline;
use crate::state::NONE;
use crate::watched::{Told, Watched};
use crate::{PipelineConfig, RuleSet};

/// The reason of a resolution whose rule is gone or changed.
pub(crate) const RULE_CHANGED: &str = "rule_changed";

/// Which series are watched, and by which rules. A series that no rule matches costs 4 bytes.
#[derive(Debug)]
pub(crate) struct Watches {
    config: PipelineConfig,
    rules: Arc<RuleSet>,
    /// Per series the index of its watch, or [`NONE`].
    places: Vec<u32>,
    watches: Vec<Watch>,
    deadlines: Deadlines,
    /// Of the rules with a budget.
    fleets: Fleets,
}

/// A watched series.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    sparkline: Sparkline,
    severity: Severity,
    channel: Channel,
    /// In the order of the rules.
    alerts: Vec<Watched>,
}

impl Watches {
    pub(crate) fn new(config: PipelineConfig) -> Self {
        Self {
            config,
            rules: Arc::default(),
            places: Vec::new(),
            watches: Vec::new(),
            deadlines: Deadlines::default(),
            fleets: Fleets::default(),
        }
    }

    /// From here on, what the pipeline does beside its rules.
    pub(crate) fn set_config(&mut self, config: PipelineConfig) {
        self.config = config;
    }

    /// Takes the next series; returns whether a rule matches it.
    pub(crate) fn add_series(&mut self, entry: &SeriesEntry) -> bool {
        let watch = self.new_watch(entry);
        self.restore(entry, watch)
    }

    /// Takes the next series with its watch; returns whether it is watched.
    pub(crate) fn restore(&mut self, entry: &SeriesEntry, mut watch: Option<Watch>) -> bool {
        let local = u32::try_from(self.places.len()).expect("fewer than 2^32 series");
        if let Some(watch) = &mut watch {
            watch.await_silences(entry, local, &mut self.deadlines);
            watch.enter(entry, &self.rules, &mut self.fleets);
        }
        let place = place_watch(&mut self.watches, watch);
        self.places.push(place);
        place != NONE
    }

    /// The state of a slot's series is as of a tick at this time.
    pub(crate) fn restore_slot(&mut self, slot: Slot, now: Option<UnixNanos>) {
        self.deadlines.restore(slot, now);
    }

    /// The watch of a series that was not seen yet.
    fn new_watch(&self, entry: &SeriesEntry) -> Option<Watch> {
        if self.rules.is_empty() {
            return None;
        }
        let alerts = matching(&self.rules, &entry.key());
        (!alerts.is_empty()).then(|| Watch { alerts, ..Watch::default() })
    }

    /// Whether each series is watched.
    pub(crate) fn watched(&self) -> impl Iterator<Item = bool> {
        self.places.iter().map(|place| *place != NONE)
    }

    /// Puts rules in force; returns the ends of what fires by rules that are gone.
    ///
    /// [`Watches::listen_anew`] and [`Watches::count_anew`] must follow.
    pub(crate) fn set_rules(
        &mut self,
        rules: Arc<RuleSet>,
        entries: &[Arc<SeriesEntry>],
        explain: &dyn Fn(usize) -> Explanation,
        received: UnixNanos,
    ) -> Vec<Transition> {
        let old_rules = std::mem::replace(&mut self.rules, rules);
        let old_places = std::mem::take(&mut self.places);
        let mut old_watches = std::mem::take(&mut self.watches);
        let mut ended = Vec::new();
        for (local, (entry, place)) in entries.iter().zip(old_places).enumerate() {
            let key = entry.key();
            let mut alerts = matching(&self.rules, &key);
            let old = old_watches.get_mut(place as usize).map(std::mem::take);
            let mut watch = old.unwrap_or_default();
            for old in std::mem::take(&mut watch.alerts) {
                let rule = &old_rules.rules()[old.rule];
                let kept =
                    alerts.iter_mut().find(|new| self.rules.rules()[new.rule].hash == rule.hash);
                match (kept, old.alert.end()) {
                    (Some(kept), _) => kept.take_over(old),
                    (None, Some(change)) => {
                        let seen = old.looked_at(&watch.last_seen(&explain(local), received));
                        let (kind, reason) = (old.told_kind(), RULE_CHANGED.to_owned());
                        let told = Told { change, seen, kind, reason };
                        let mut transition = transition(rule, entry, told);
                        transition.sparkline = watch.sparkline.draw();
                        ended.push(transition);
                    }
                    (None, None) => {}
                }
            }
            watch.alerts = alerts;
            let watch = (!watch.alerts.is_empty()).then_some(watch);
            self.places.push(place_watch(&mut self.watches, watch));
        }
        // One order, however the series are spread over pipelines.
        ended.sort_by(|a, b| (a.subject, &a.rule).cmp(&(b.subject, &b.rule)));
        ended
    }

    /// The process has been away, maybe: silence counts from `from` on.
    pub(crate) fn listen_anew(&mut self, from: UnixNanos, entries: &[Arc<SeriesEntry>]) {
        let Self { rules, places, watches, deadlines, .. } = self;
        deadlines.clear();
        for ((local, entry), place) in (0_u32..).zip(entries).zip(places) {
            let Some(watch) = watches.get_mut(*place as usize) else { continue };
            for watched in &mut watch.alerts {
                let hold = rules.rules()[watched.rule].for_nanos;
                if let Some(absence) = watched.absence() {
                    absence.restart(from, hold);
                }
            }
            watch.await_silences(entry, local, deadlines);
        }
    }

    /// Counts the fleets of the rules that have a budget; `known` says when a series had a sample, if it did.
    pub(crate) fn count_anew(
        &mut self,
        entries: &[Arc<SeriesEntry>],
        known: &dyn Fn(usize) -> Option<EventTime>,
    ) {
        let Self { rules, places, watches, fleets, .. } = self;
        fleets.clear();
        for (local, (entry, place)) in entries.iter().zip(places).enumerate() {
            let Some(watch) = watches.get_mut(*place as usize) else { continue };
            if let Some(time) = known(local) {
                watch.alerts.iter_mut().for_each(|watched| watched.join(time));
            }
            watch.enter(entry, rules, fleets);
        }
    }

    /// Log time has come to `now`: silences go on that have waited for it.
    pub(crate) fn tick(
        &mut self,
        now: UnixNanos,
        entries: &[Arc<SeriesEntry>],
        out: &mut Vec<Transition>,
    ) {
        for slot in self.deadlines.begin(now) {
            let mut looked_at = 0;
            while looked_at < ABSENCES_PER_TICK
                && let Some(deadline) = self.deadlines.pop(slot, now)
            {
                looked_at += usize::from(self.pass(&deadline, now, entries, out));
            }
        }
    }

    /// Log time from which on a tick has a silence to look at.
    pub(crate) fn next_deadline(&self) -> Option<UnixNanos> {
        self.deadlines.next()
    }

    /// A deadline has passed; returns whether it was the real one.
    fn pass(
        &mut self,
        deadline: &Deadline,
        now: UnixNanos,
        entries: &[Arc<SeriesEntry>],
        out: &mut Vec<Transition>,
    ) -> bool {
        let Deadline { at, local, place, .. } = *deadline;
        let entry = &entries[local as usize];
        let watch = self.places[local as usize] as usize;
        let watch = self.watches.get_mut(watch).expect("a silent series has its watch");
        let value = watch.sparkline.last().unwrap_or(f64::NAN);
        let watched = &mut watch.alerts[place as usize];
        let rule = &self.rules.rules()[watched.rule];
        let absence = watched.absence().expect("deadlines are those of silences");
        absence.queued = None;
        let is_due = absence.due() == Some(at);
        let told = if is_due { watched.miss(rule, value, now) } else { None };
        if let Some(absence) = watched.absence() {
            await_silence(&mut self.deadlines, entry, (place as usize, local), absence);
        }
        if let Some(told) = told {
            let mut transition = transition(rule, entry, told);
            transition.sparkline = watch.sparkline.draw();
            out.push(transition);
        }
        is_due
    }

    /// Shows a scored sample to all rules that match its series.
    pub(crate) fn observe(
        &mut self,
        local: u32,
        entry: &SeriesEntry,
        seen: &Observation,
        out: &mut Vec<Transition>,
    ) {
        let place = self.places[local as usize] as usize;
        let watch = self.watches.get_mut(place).expect("a watched series has its watch");
        watch.sparkline.push(seen.value);
        let before = std::mem::replace(&mut watch.severity, seen.severity);
        watch.channel = seen.channel;
        let age = seen.received.nanos().saturating_sub(seen.time.nanos());
        let historical = age > self.config.alerts_max_age_nanos;
        for (place, watched) in watch.alerts.iter_mut().enumerate() {
            let rule = &self.rules.rules()[watched.rule];
            let leave = watched.ask(rule, (before, seen), &mut self.fleets);
            let told = watched.observe(rule, seen, &leave, historical);
            if let Some(absence) = watched.absence() {
                await_silence(&mut self.deadlines, entry, (place, local), absence);
            }
            if let Some(told) = told {
                let mut transition = transition(rule, entry, told);
                transition.sparkline = watch.sparkline.draw();
                out.push(transition);
            }
        }
    }

    /// Rules are told apart by their text, not by their place in the set.
    pub(crate) fn digest(&self, local: u32, out: &mut Digest) {
        let place = self.places[local as usize] as usize;
        let Some(watch) = self.watches.get(place) else { return };
        watch.sparkline.digest(out);
        out.u64(u64::from(watch.severity.steps()));
        out.u64(u64::from(watch.channel.code()));
        for watched in &watch.alerts {
            out.u128(self.rules.rules()[watched.rule].hash);
            watched.digest(out);
        }
    }

    /// Appends the series' watch, if it has one.
    pub(crate) fn encode(&self, local: u32, out: &mut FieldWriter) {
        let place = self.places[local as usize] as usize;
        let Some(watch) = self.watches.get(place) else { return };
        watch.sparkline.encode(out);
        out.u16(watch.severity.steps());
        out.u8(watch.channel.code());
        out.count(watch.alerts.len());
        for watched in &watch.alerts {
            out.u128(self.rules.rules()[watched.rule].hash);
            watched.encode(out);
        }
    }

    /// What [`Watches::encode`] wrote of a series of which the bytes say whether it is `watched`.
    ///
    /// The inner `None` is a series without watch, the outer one are bytes that do not fit: the rules in
    /// force that match the series have to be the ones that were.
    pub(crate) fn decode(
        &self,
        entry: &SeriesEntry,
        watched: bool,
        fields: &mut FieldReader<'_>,
    ) -> Option<Option<Watch>> {
        let Some(mut watch) = self.new_watch(entry) else {
            return (!watched).then_some(None);
        };
        if !watched {
            return None;
        }
        watch.sparkline = Sparkline::decode(fields)?;
        watch.severity = Severity::from_steps(fields.u16()?);
        let code = fields.u8()?;
        watch.channel = Channel::from_code(code);
        if watch.channel.code() != code || fields.count()? != watch.alerts.len() {
            return None;
        }
        for watched in &mut watch.alerts {
            if fields.u128()? != self.rules.rules()[watched.rule].hash {
                return None;
            }
            watched.restore(fields)?;
        }
        Some(Some(watch))
    }
}

impl Watch {
    /// The last sample, as the cause of what the rules' change does.
    fn last_seen(&self, explained: &Explanation, received: UnixNanos) -> Observation {
        let Explanation { expected, lower, upper, last_time, .. } = *explained;
        Observation {
            time: last_time,
            value: self.sparkline.last().unwrap_or(f64::NAN),
            severity: self.severity,
            channel: self.channel,
            kind: AnomalyKind::None,
            expectation: Expectation { expected, lower, upper },
            received,
            heard: received,
        }
    }

    /// Takes its places in the fleets.
    fn enter(&mut self, entry: &SeriesEntry, rules: &RuleSet, fleets: &mut Fleets) {
        for watched in &mut self.alerts {
            let rule = &rules.rules()[watched.rule];
            watched.enter((rule, entry.id.slot()), self.severity, fleets);
        }
    }

    /// Makes deadlines for the silences of a series that has none.
    fn await_silences(&mut self, entry: &SeriesEntry, local: u32, deadlines: &mut Deadlines) {
        for (place, watched) in self.alerts.iter_mut().enumerate() {
            if let Some(absence) = watched.absence() {
                absence.queued = None;
                await_silence(deadlines, entry, (place, local), absence);
            }
        }
    }
}

fn matching(rules: &RuleSet, key: &SeriesKey) -> Vec<Watched> {
    let matching = rules.rules().iter().enumerate().filter(|(_, rule)| rule.matches(key));
    matching.map(|(index, rule)| Watched::new(index, rule)).collect()
}

/// Bytes that a series takes here at most, in lists that grow by doubling.
pub(crate) fn watch_bytes(rules: &RuleSet, key: &SeriesKey) -> usize {
    let matching = || rules.rules().iter().filter(|rule| rule.matches(key));
    let count = matching().count();
    let memories: usize = matching().map(Watched::memory_bytes).sum();
    let watch = 2 * size_of::<Watch>() + (2 * count).max(4) * size_of::<Watched>() + memories;
    2 * size_of::<u32>() + if count > 0 { watch } else { 0 }
}

fn place_watch(watches: &mut Vec<Watch>, watch: Option<Watch>) -> u32 {
    let Some(watch) = watch else { return NONE };
    watches.push(watch);
    u32::try_from(watches.len() - 1).expect("fewer watches than series")
}

/// What a rule tells of a series, but for the picture.
fn transition(rule: &Rule, entry: &SeriesEntry, told: Told) -> Transition {
    let key = entry.key();
    let Told { change: Change { kind, onset, historical }, seen, kind: anomaly, reason } = told;
    let Expectation { expected, lower, upper } = seen.expectation;
    Transition {
        key: alert_key(key.db(), rule.hash, entry.id, onset),
        rule: rule.name.clone(),
        rule_version: rule.version.clone(),
        priority: rule.priority.clone(),
        subject: Subject::Series(entry.id),
        db: key.db().to_owned(),
        metric: key.metric().to_owned(),
        labels: key.labels().to_vec(),
        kind,
        revision: 0,
        reason,
        historical,
        onset,
        event: seen.time,
        severity: seen.severity,
        value: seen.value,
        expected,
        lower,
        upper,
        channel: seen.channel,
        anomaly,
        received: seen.received,
        sparkline: String::new(),
    }
}

/// Sees to it that there is a deadline not later than the next step of a silence.
fn await_silence(
    deadlines: &mut Deadlines,
    entry: &SeriesEntry,
    (place, local): (usize, u32),
    absence: &mut Absence,
) {
    let Some(due) = absence.due() else { return };
    let place = u32::try_from(place).expect("fewer rules than 2^32");
    let deadline = |at| Deadline { at, series: entry.id, place, local };
    let slot = entry.id.slot();
    match absence.queued {
        Some(queued) if queued <= due => return,
        Some(queued) => deadlines.remove(slot, &deadline(queued)),
        None => {}
    }
    deadlines.add(slot, deadline(due));
    absence.queued = Some(due);
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
