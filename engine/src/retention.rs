//! For how long samples are kept: `storage.retention`, `[[retention]]`, and what was said of single metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_operators::Selector;
use tidewatch_segments::{MetricName, Retention};
use twox_hash::XxHash3_64;

/// What was said of a series' metric tells how long its samples are kept, else the first rule that matches the series.
#[derive(Clone, Debug)]
pub struct RetentionRules {
    /// In nanoseconds.
    metrics: BTreeMap<MetricName, i64>,
    rules: Vec<(Selector, Option<i64>)>,
    otherwise: Option<i64>,
    keeps: Vec<Option<i64>>,
    hash: u64,
}

impl Default for RetentionRules {
    fn default() -> Self {
        Self::new(Vec::new(), Duration::ZERO)
    }
}

impl RetentionRules {
    /// These rules in their order, and what holds for all other series. Zero is for ever.
    #[must_use]
    pub fn new(rules: Vec<(Selector, Duration)>, otherwise: Duration) -> Self {
        let limited = |keep: Duration| (!keep.is_zero()).then(|| nanos(keep));
        let rules = rules.into_iter().map(|(series, keep)| (series, limited(keep))).collect();
        Self::of(BTreeMap::new(), rules, limited(otherwise))
    }

    /// The same rules, in front of which this is said of single metrics, and nothing that was said before.
    #[must_use]
    pub fn with_metrics(&self, metrics: &BTreeMap<MetricName, Duration>) -> Self {
        let metrics = metrics.iter().map(|(name, keep)| (name.clone(), nanos(*keep))).collect();
        Self::of(metrics, self.rules.clone(), self.otherwise)
    }

    fn of(
        metrics: BTreeMap<MetricName, i64>,
        rules: Vec<(Selector, Option<i64>)>,
        otherwise: Option<i64>,
    ) -> Self {
        let of_rules = rules.iter().map(|(_, keep)| *keep);
        let of_metrics = metrics.values().map(|keep| Some(*keep));
        let mut keeps: Vec<_> = of_rules.chain(of_metrics).chain([otherwise]).collect();
        keeps.sort_unstable();
        keeps.dedup();
        let names = metrics.iter().map(|(name, keep)| format!("{name:?}: {keep}\n"));
        let lines = rules.iter().map(|(series, keep)| format!("{series}: {keep:?}\n"));
        let text = names.chain(lines).collect::<String>() + &format!("{otherwise:?}");
        let hash = XxHash3_64::oneshot(text.as_bytes());
        Self { metrics, rules, otherwise, keeps, hash }
    }

    /// Whether anything is ever removed.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.keeps.iter().any(Option::is_some)
    }
}

impl Retention for RetentionRules {
    fn keep_nanos(&self, series: &SeriesEntry) -> Option<i64> {
        if self.rules.is_empty() && self.metrics.is_empty() {
            return self.otherwise;
        }
        let key = series.key();
        let name = MetricName { db: key.db().to_owned(), metric: key.metric().to_owned() };
        if let Some(keep) = self.metrics.get(&name) {
            return Some(*keep);
        }
        let rule = self.rules.iter().find(|(selector, _)| selector.matches(&key));
        rule.map_or(self.otherwise, |(_, keep)| *keep)
    }

    fn keeps(&self) -> &[Option<i64>] {
        &self.keeps
    }

    fn rules(&self) -> u64 {
        self.hash
    }
}

/// The rules that are in force, which may change while the engine runs.
#[derive(Debug, Default)]
pub struct RetentionInForce {
    rules: RwLock<Arc<RetentionRules>>,
}

impl RetentionInForce {
    /// These rules, for the time being.
    #[must_use]
    pub fn new(rules: RetentionRules) -> Self {
        Self { rules: RwLock::new(Arc::new(rules)) }
    }

    /// The rules at this moment.
    #[must_use]
    pub fn get(&self) -> Arc<RetentionRules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts rules in force; segments are gone through again for them.
    pub fn set(&self, rules: RetentionRules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}

fn nanos(keep: Duration) -> i64 {
    i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tidewatch_metrics::{SeriesCatalog, SeriesKey};

    use super::*;

    fn keep(rules: &RetentionRules, db: &str, metric: &str) -> Option<i64> {
        let catalog = SeriesCatalog::new(1);
        let key = SeriesKey::new(db, metric, "value", Vec::new()).unwrap();
        rules.keep_nanos(&catalog.register(&key).unwrap().1)
    }

    #[test]
    fn what_is_said_of_a_metric_goes_before_rules_and_may_be_taken_back() {
        let day = Duration::from_secs(86_400);
        let any = Selector::new(&[("metric".to_owned(), "~ .*".to_owned())]).unwrap();
        let rules = RetentionRules::new(vec![(any, 9 * day)], Duration::ZERO);
        let name = MetricName { db: "default".to_owned(), metric: "~ .*".to_owned() };
        let said = rules.with_metrics(&BTreeMap::from([(name, 2 * day)]));
        assert_eq!(keep(&said, "default", "~ .*"), Some(nanos(2 * day)), "a name is no pattern");
        assert_eq!(keep(&said, "default", "cpu"), Some(nanos(9 * day)));
        assert_eq!(keep(&said, "lab", "~ .*"), Some(nanos(9 * day)), "of another database");
        assert_eq!(said.keeps(), [None, Some(nanos(2 * day)), Some(nanos(9 * day))]);
        assert_ne!(said.rules(), rules.rules(), "segments are gone through again");
        let back = said.with_metrics(&BTreeMap::new());
        assert_eq!((back.rules(), back.keeps()), (rules.rules(), rules.keeps()));
    }
}
