//! For how long samples are kept: `storage.retention` and `[[retention]]`.

use std::time::Duration;

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_operators::Selector;
use tidewatch_segments::Retention;
use twox_hash::XxHash3_64;

/// The first rule that matches a series tells how long its samples are kept.
#[derive(Clone, Debug)]
pub struct RetentionRules {
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
        let nanos = |keep: Duration| {
            (!keep.is_zero()).then(|| i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX))
        };
        let rules: Vec<_> = rules.into_iter().map(|(series, keep)| (series, nanos(keep))).collect();
        let otherwise = nanos(otherwise);
        let mut keeps: Vec<_> = rules.iter().map(|(_, keep)| *keep).chain([otherwise]).collect();
        keeps.sort_unstable();
        keeps.dedup();
        let lines = rules.iter().map(|(series, keep)| format!("{series}: {keep:?}\n"));
        let text = lines.collect::<String>() + &format!("{otherwise:?}");
        let hash = XxHash3_64::oneshot(text.as_bytes());
        Self { rules, otherwise, keeps, hash }
    }

    /// Whether anything is ever removed.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.keeps.iter().any(Option::is_some)
    }
}

impl Retention for RetentionRules {
    fn keep_nanos(&self, series: &SeriesEntry) -> Option<i64> {
        if self.rules.is_empty() {
            return self.otherwise;
        }
        let key = series.key();
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
