//! One `[[detect]]`, checked and compiled.

use tidewatch_metrics::SeriesKey;

use crate::DetectConfig;
use crate::detect::text::text_of;
use crate::detect::{DataRange, Detection, Knobs};
use crate::limits::MIN_SAMPLES_MAX;
use crate::matcher::Matcher;
use crate::model::Model;
use crate::rule::compile_matchers;
use crate::rule_error::RuleProblem;
use crate::series_kind::SeriesKind;

/// Which series are scored how.
#[derive(Clone, Debug)]
pub struct DetectRule {
    /// In canonical order.
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) detection: Detection,
    /// The canonical text.
    pub(crate) text: String,
}

impl DetectRule {
    /// Checks one.
    ///
    /// # Errors
    /// All problems, each with the key of its configuration.
    pub fn new(config: &DetectConfig) -> Result<Self, Vec<(String, RuleProblem)>> {
        let mut problems = Vec::new();
        let mut refuse = |key: String, problem| problems.push((key, problem));
        let matchers = compile_matchers(&config.matchers, &mut refuse);
        let min_deviation = config.min_deviation;
        if !(min_deviation >= 0.0 && min_deviation.is_finite()) {
            refuse("min_dev_from_expected".to_owned(), RuleProblem::Deviation);
        }
        if config.range.is_some_and(|[low, high]| !has_values(low, high)) {
            refuse("data_range".to_owned(), RuleProblem::DataRange);
        }
        if config.min_samples > MIN_SAMPLES_MAX {
            refuse("min_samples".to_owned(), RuleProblem::MinSamples);
        }
        let is_told_apart = matches!(config.model, Model::Novelty | Model::Deviation | Model::Auto);
        if config.kind != SeriesKind::Auto && !is_told_apart {
            refuse("kind".to_owned(), RuleProblem::Kind { model: config.model });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        // Adding 0 turns -0 into 0: equal numbers have one text.
        let range = config.range.map(|[low, high]| DataRange { low: low + 0.0, high: high + 0.0 });
        let knobs = Knobs {
            direction: config.direction,
            min_deviation: min_deviation + 0.0,
            range,
            min_samples: config.min_samples,
            kind: config.kind,
            time_zone: config.time_zone.clone(),
        };
        let detection = Detection { model: config.model, knobs };
        let text = text_of(&matchers, &detection);
        Ok(Self { matchers, detection, text })
    }

    /// Whether the series is meant.
    pub(crate) fn matches(&self, key: &SeriesKey) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(key))
    }
}

/// Whether finite values lie between these, which may be infinite.
fn has_values(low: f64, high: f64) -> bool {
    low < high && low < f64::INFINITY && high > f64::NEG_INFINITY
}
