//! Where and when windows close, for the rules on them.

use std::sync::Arc;

use tidewatch_metrics::{
    AnomalyKind, Channel, EventTime, Lsn, Severity, Subject, Transition, TransitionKind, UnixNanos,
};

use crate::RuleSet;
use crate::hash::group_alert_key;
use crate::matcher::METRIC;
use crate::percentile::PercentilesRule;
use crate::percentile::group_key::GroupKey;
use crate::quantile::QuantileCondition;
use crate::rule::Rule;

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

/// What a rule has to tell.
#[derive(Debug)]
pub(crate) struct Telling {
    pub(crate) kind: TransitionKind,
    pub(crate) onset: EventTime,
    pub(crate) historical: bool,
    pub(crate) event: EventTime,
    pub(crate) value: f64,
    pub(crate) revision: u32,
    pub(crate) reason: String,
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
    pub(crate) fn rules_on(
        &self,
    ) -> impl Iterator<Item = (usize, &'a Rule, &'a QuantileCondition)> {
        let Self { rules, percentiles, key, index, .. } = *self;
        rules.watching(index).iter().filter_map(move |index| {
            let rule = rules.rules().get(*index)?;
            let condition = rule.when.quantile()?;
            rule.matches_group(percentiles, key).then_some((*index, rule, condition))
        })
    }

    /// What a rule tells of the group, which was met at the record `born`; but for the picture.
    pub(crate) fn transition(&self, rule: &Rule, born: Lsn, told: Telling) -> Transition {
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
            anomaly: AnomalyKind::None,
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
