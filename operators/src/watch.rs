//! The series that rules match, and their alerts.

use std::sync::Arc;

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::{Channel, SeriesKey, Severity, Transition, UnixNanos};

use crate::alert::{Alert, Change, Observation};
use crate::condition::Subject;
use crate::hash::{Digest, alert_key};
use crate::light::{Expectation, Explanation};
use crate::rate::Rate;
use crate::reason::reason;
use crate::rule::Rule;
use crate::sparkline::Sparkline;
use crate::state::NONE;
use crate::{PipelineConfig, RuleSet};

/// The reason of a resolution whose rule is gone or changed.
const RULE_CHANGED: &str = "rule_changed";
/// What the allocator takes for a small allocation beside its bytes, at most.
const ALLOCATION_BYTES: usize = 16;

/// Which series are watched, and by which rules. A series that no rule matches costs 4 bytes.
#[derive(Debug)]
pub(crate) struct Watches {
    config: PipelineConfig,
    rules: Arc<RuleSet>,
    /// Per series the index of its watch, or [`NONE`].
    places: Vec<u32>,
    watches: Vec<Watch>,
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

/// One rule on the series.
#[derive(Debug)]
struct Watched {
    /// Index in the rule set.
    rule: usize,
    alert: Alert,
    /// Where the rule looks at more than a sample.
    rate: Option<Box<Rate>>,
}

impl Watches {
    pub(crate) fn new(config: PipelineConfig) -> Self {
        Self { config, rules: Arc::default(), places: Vec::new(), watches: Vec::new() }
    }

    /// From here on, what the pipeline does beside its rules.
    pub(crate) fn set_config(&mut self, config: PipelineConfig) {
        self.config = config;
    }

    /// Takes the next series; returns whether a rule matches it.
    pub(crate) fn add_series(&mut self, entry: &SeriesEntry) -> bool {
        let watch = self.new_watch(entry);
        self.restore(watch)
    }

    /// Takes the next series with its watch; returns whether it is watched.
    pub(crate) fn restore(&mut self, watch: Option<Watch>) -> bool {
        let place = place_watch(&mut self.watches, watch);
        self.places.push(place);
        place != NONE
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
                    (Some(kept), _) => (kept.alert, kept.rate) = (old.alert, old.rate),
                    (None, Some(change)) => {
                        let seen = watch.last_seen(&explain(local), received);
                        let found = old.last_number(rule, &seen);
                        let mut transition = transition((rule, entry), change, found, &seen);
                        transition.reason = RULE_CHANGED.to_owned();
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
        ended.sort_by(|a, b| (a.series_id, &a.rule).cmp(&(b.series_id, &b.rule)));
        ended
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
        watch.severity = seen.severity;
        watch.channel = seen.channel;
        let age = seen.received.nanos().saturating_sub(seen.time.nanos());
        let historical = age > self.config.alerts_max_age_nanos;
        for watched in &mut watch.alerts {
            let rule = &self.rules.rules()[watched.rule];
            let Some(found) = watched.number(rule, seen) else { continue };
            let holds = rule.condition.holds(found);
            if let Some(change) = watched.alert.observe(rule, (seen.time, holds), historical) {
                let mut transition = transition((rule, entry), change, found, seen);
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
            watched.alert.digest(out);
            if let Some(rate) = &watched.rate {
                rate.digest(out);
            }
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
            watched.alert.encode(out);
            if let Some(rate) = &watched.rate {
                rate.encode(out);
            }
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
            watched.alert = Alert::decode(fields)?;
            if let Some(rate) = &mut watched.rate {
                **rate = Rate::decode(fields)?;
            }
        }
        Some(Some(watch))
    }
}

impl Watched {
    fn new(index: usize, rule: &Rule) -> Self {
        let has_rate = rule.condition.subject == Subject::Rate;
        let rate = has_rate.then(|| Box::new(Rate::NEW));
        Self { rule: index, alert: Alert::default(), rate }
    }

    /// The number of the next sample that the rule looks at; `None` where the sample has none.
    fn number(&mut self, rule: &Rule, seen: &Observation) -> Option<f64> {
        let rate = self.rate.as_mut().map_or(f64::NAN, |rate| rate.observe(seen.time, seen.value));
        let found = rule.condition.subject.of(seen.value, seen.severity, rate);
        (!found.is_nan()).then_some(found)
    }

    /// That of the last sample.
    fn last_number(&self, rule: &Rule, seen: &Observation) -> f64 {
        let rate = self.rate.as_ref().map_or(f64::NAN, |rate| rate.last());
        rule.condition.subject.of(seen.value, seen.severity, rate)
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
            expectation: Expectation { expected, lower, upper },
            received,
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
    let rates = matching().filter(|rule| rule.condition.subject == Subject::Rate).count();
    let watch = 2 * size_of::<Watch>()
        + (2 * count).max(4) * size_of::<Watched>()
        + rates * (size_of::<Rate>() + ALLOCATION_BYTES);
    2 * size_of::<u32>() + if count > 0 { watch } else { 0 }
}

fn place_watch(watches: &mut Vec<Watch>, watch: Option<Watch>) -> u32 {
    let Some(watch) = watch else { return NONE };
    watches.push(watch);
    u32::try_from(watches.len() - 1).expect("fewer watches than series")
}

/// A transition that `seen` caused by the number `found` that the rule looks at.
fn transition(
    (rule, entry): (&Rule, &SeriesEntry),
    change: Change,
    found: f64,
    seen: &Observation,
) -> Transition {
    let key = entry.key();
    // The detector expects values, and no rates.
    let is_rate = rule.condition.subject == Subject::Rate;
    let nothing = Expectation { expected: f64::NAN, lower: f64::NAN, upper: f64::NAN };
    let Expectation { expected, lower, upper } = if is_rate { nothing } else { seen.expectation };
    let Change { kind, onset, historical } = change;
    Transition {
        key: alert_key(key.db(), rule.hash, entry.id, onset),
        rule: rule.name.clone(),
        rule_version: rule.version.clone(),
        priority: rule.priority.clone(),
        series_id: entry.id,
        db: key.db().to_owned(),
        metric: key.metric().to_owned(),
        labels: key.labels().to_vec(),
        kind,
        reason: reason(rule, kind, found, seen),
        historical,
        onset,
        event: seen.time,
        severity: seen.severity,
        value: if is_rate { found } else { seen.value },
        expected,
        lower,
        upper,
        channel: seen.channel,
        received: seen.received,
        sparkline: String::new(),
    }
}
