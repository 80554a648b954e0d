//! One `[[percentiles]]`, checked and compiled.

use std::sync::Arc;

use tidewatch_metrics::SeriesKey;
use twox_hash::XxHash3_128;

use crate::PercentilesConfig;
use crate::limits::{
    BY_MAX, QUANTILES_MAX, RULE_NAME_BYTES_MAX, SLIDES_MAX, WINDOW_NANOS_MAX, WINDOW_NANOS_MIN,
};
use crate::matcher::{Matcher, Operator};
use crate::percentile::text::text_of;
use crate::rule::{compile_matchers, is_plain};
use crate::rule_error::{RuleError, RuleProblem};

/// Which rows are counted together, and what is told of them.
///
/// Windows begin at multiples of the slide since 1970 and are half open: a row at a window's end is in the next one.
#[derive(Clone, Debug)]
pub struct PercentilesRule {
    pub(crate) name: Arc<str>,
    /// In canonical order.
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) by: Vec<String>,
    pub(crate) window_nanos: i64,
    pub(crate) slide_nanos: i64,
    /// Ascending.
    pub(crate) quantiles: Arc<[f64]>,
    pub(crate) lateness_nanos: i64,
    pub(crate) keep_nanos: i64,
    /// The canonical text and its xxh3-128.
    pub(crate) text: String,
    pub(crate) hash: u128,
}

impl PercentilesRule {
    /// Checks one; puts every problem into `errors`.
    pub(crate) fn compile(config: &PercentilesConfig, errors: &mut Vec<RuleError>) -> Option<Self> {
        let before = errors.len();
        let mut refuse = |key: String, problem: RuleProblem| {
            let rule = config.name.clone();
            errors.push(RuleError { list: "percentiles", rule, key, problem });
        };
        if config.name.is_empty() || !is_plain(&config.name, RULE_NAME_BYTES_MAX) {
            refuse("name".to_owned(), RuleProblem::Name);
        }
        let matchers = compile_matchers(&config.matchers, &mut refuse);
        if !are_labels(&config.by) {
            refuse("by".to_owned(), RuleProblem::By);
        }
        let (window, slide) = (config.window_nanos, config.slide_nanos);
        for (key, nanos, least) in [
            ("window", window, WINDOW_NANOS_MIN),
            ("lateness", config.lateness_nanos, 0),
            ("keep", config.keep_nanos, 0),
        ] {
            if !(least..=WINDOW_NANOS_MAX).contains(&nanos) {
                refuse(key.to_owned(), RuleProblem::WindowBounds { nanos, least });
            }
        }
        let divides = slide >= WINDOW_NANOS_MIN
            && window % slide == 0
            && (1..=SLIDES_MAX).contains(&(window / slide));
        if !divides {
            refuse("slide".to_owned(), RuleProblem::Slide { nanos: slide });
        }
        let quantiles = sorted_quantiles(&config.quantiles);
        if quantiles.is_none() {
            refuse("quantiles".to_owned(), RuleProblem::Quantiles);
        }
        let quantiles = quantiles.filter(|_| errors.len() == before)?;
        let mut rule = Self {
            name: config.name.as_str().into(),
            matchers,
            by: config.by.clone(),
            window_nanos: window,
            slide_nanos: slide,
            quantiles: quantiles.into(),
            lateness_nanos: config.lateness_nanos,
            keep_nanos: config.keep_nanos,
            text: String::new(),
            hash: 0,
        };
        rule.text = text_of(&rule);
        rule.hash = XxHash3_128::oneshot(rule.text.as_bytes());
        Some(rule)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What is told of each window: ascending, from 0 to 1.
    #[must_use]
    pub fn quantiles(&self) -> &Arc<[f64]> {
        &self.quantiles
    }

    /// Whether rows of the series are counted.
    pub(crate) fn matches(&self, key: &SeriesKey) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(key))
    }

    /// The only value that a label has in the rows that are counted, where the matchers say so.
    pub(crate) fn fixed(&self, label: &str) -> Option<&str> {
        let fixes = |m: &&Matcher| m.operator == Operator::Equal && m.label == label;
        self.matchers.iter().find(fixes).map(|matcher| matcher.text.as_str())
    }

    /// The window that a pane begins ends here. Saturates at the ends of time.
    pub(crate) fn window_end(&self, pane: i64) -> i64 {
        self.pane_start(pane).saturating_add(self.window_nanos)
    }

    /// Where a pane begins.
    pub(crate) fn pane_start(&self, pane: i64) -> i64 {
        pane.saturating_mul(self.slide_nanos)
    }

    /// Panes of one window.
    pub(crate) fn panes(&self) -> i64 {
        self.window_nanos / self.slide_nanos
    }
}

fn are_labels(by: &[String]) -> bool {
    let mut sorted: Vec<&String> = by.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    let plain = |label: &String| !label.is_empty() && is_plain(label, RULE_NAME_BYTES_MAX);
    by.len() <= BY_MAX && sorted.len() == by.len() && by.iter().all(plain)
}

fn sorted_quantiles(quantiles: &[f64]) -> Option<Vec<f64>> {
    // Adding 0 turns -0 into 0.
    let mut sorted: Vec<f64> = quantiles.iter().map(|q| q + 0.0).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.dedup_by_key(|q| q.to_bits());
    let good = sorted.iter().all(|q| (0.0..=1.0).contains(q));
    (good && sorted.len() == quantiles.len() && (1..=QUANTILES_MAX).contains(&sorted.len()))
        .then_some(sorted)
}
