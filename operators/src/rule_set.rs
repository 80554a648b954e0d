//! All rules in force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewatch_metrics::SeriesKey;
use tidewatch_metrics::series::SLOTS;

use crate::canonical::{Lines, line};
use crate::detect::{self, DetectRule, Detection};
use crate::limits::{DETECTS_MAX, PERCENTILES_MAX, RULES_MAX, WINDOW_RULES_MAX};
use crate::model::Model;
use crate::percentile::{self, PercentilesRule};
use crate::rule::Rule;
use crate::rule_error::{RuleError, RuleProblem, RuleTextError};
use crate::time_zone::{self, TimeZone};
use crate::{DetectConfig, PercentilesConfig, RuleConfig, canonical};

/// The last line of the text, where full detectors have a limit.
const DETECTOR_BYTES: &str = "detector_bytes ";

/// Checked rules and percentiles, each in the order of their names, which are unique, and detection. The default is none.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
    percentiles: Vec<Arc<PercentilesRule>>,
    /// In the order given: the first that matches a series counts.
    detects: Vec<DetectRule>,
    /// Bytes of full detectors in each slot; none is without limit.
    detector_bytes: Option<u64>,
    /// Of each percentiles, the indices of the rules on their windows, ascending.
    watching: Vec<Vec<usize>>,
}

impl RuleSet {
    /// Checks rules; their order does not matter.
    ///
    /// # Errors
    /// All problems at once, in the order of the rules given.
    #[expect(clippy::needless_pass_by_value, reason = "the configuration is spent here")]
    pub fn new(configs: Vec<RuleConfig>) -> Result<Self, Vec<RuleError>> {
        Self::with_percentiles(&configs, &[])
    }

    /// Checks rules and percentiles; their order does not matter.
    ///
    /// # Errors
    /// All problems at once, in the order of what was given.
    pub fn with_percentiles(
        rules: &[RuleConfig],
        percentiles: &[PercentilesConfig],
    ) -> Result<Self, Vec<RuleError>> {
        let mut errors = Vec::new();
        let names = percentiles.iter().map(|config| config.name.as_str()).collect();
        let rules = compile_rules(rules, &mut errors);
        let percentiles = compile_percentiles(percentiles, &mut errors);
        let watching = find_watching(&rules, &percentiles, &names, &mut errors);
        if errors.is_empty() {
            Ok(Self { rules, percentiles, watching, ..Self::default() })
        } else {
            Err(errors)
        }
    }

    /// With detection instead of what there was, the most important first.
    ///
    /// # Errors
    /// `TooManyDetects`.
    pub fn with_detection(mut self, detects: Vec<DetectRule>) -> Result<Self, Vec<RuleError>> {
        self.detects = at_most(DETECTS_MAX, detects)?;
        Ok(self)
    }

    /// With a model for the series that no `[[detect]]` matches: one more behind all others.
    ///
    /// # Panics
    /// Never: an entry without matchers is always good.
    #[must_use]
    pub fn with_model_for_others(mut self, model: Model) -> Self {
        let config = DetectConfig { model, ..DetectConfig::default() };
        let others = DetectRule::new(&config).expect("nothing is asked of a series");
        self.detects.push(others);
        self
    }

    /// With at most `bytes` for full detectors, as they are counted, an equal share for each slot. Series that find no
    /// room in their slot are scored by the light model.
    ///
    /// The limit is a part of the text. It has three binary digits that are not 0, so that a few bytes more or less of
    /// the machine's memory do not change which series have one.
    #[must_use]
    pub fn with_detector_bytes(mut self, bytes: u64) -> Self {
        let share = bytes / SLOTS as u64;
        let lesser = (u64::BITS - share.leading_zeros()).saturating_sub(3);
        self.detector_bytes = Some(share >> lesser << lesser);
        self
    }

    /// The text that is logged: equal for equal rules, whatever their order and spelling.
    #[must_use]
    pub fn canonical_text(&self) -> String {
        let rules = self.rules.iter().map(|rule| rule.text.as_str());
        let percentiles = self.percentiles.iter().map(|rule| rule.text.as_str());
        let detects = self.detects.iter().map(|rule| rule.text.as_str());
        let mut text: String = rules.chain(percentiles).collect();
        self.time_zones().values().for_each(|zone| time_zone::text::write(zone, &mut text));
        text.extend(detects);
        if let Some(bytes) = self.detector_bytes {
            line(&mut text, "detector_bytes", &[&bytes]);
        }
        text
    }

    /// The rules of a canonical text.
    ///
    /// # Errors
    /// [`RuleTextError`] says which line, or which rule.
    pub fn from_canonical_text(text: &str) -> Result<Self, RuleTextError> {
        let (text, bytes) = canonical::split(text, DETECTOR_BYTES);
        let (before, detects) = canonical::split(text, detect::text::FIRST);
        let (before, zones) = canonical::split(before, time_zone::text::FIRST);
        let (rules, percentiles) = canonical::split(before, percentile::FIRST);
        let zones_begin = before.lines().count();
        let detects_begin = zones_begin + zones.lines().count();
        let zones = time_zone::text::parse(zones, zones_begin)?;
        let detects = detect::text::parse(detects, &zones, detects_begin)?;
        let percentiles = percentile::parse(percentiles, rules.lines().count())?;
        let set = Self::with_percentiles(&canonical::parse(rules)?, &percentiles)
            .map_err(RuleTextError::Rules)?;
        let detects = compile_detects(&detects).map_err(RuleTextError::Rules)?;
        // With the one for all others.
        let detects = at_most(DETECTS_MAX + 1, detects).map_err(RuleTextError::Rules)?;
        let mut set = Self { detects, ..set };
        let mut lines = Lines::new(bytes, text.lines().count());
        if !lines.is_empty() {
            set.detector_bytes = Some(lines.parsed(DETECTOR_BYTES, |rest| rest.parse().ok())?);
        }
        Ok(set)
    }

    /// The time zones but UTC that any `[[detect]]` names, by their names.
    fn time_zones(&self) -> BTreeMap<&str, &TimeZone> {
        let zones = self.detects.iter().map(|rule| &rule.detection.knobs.time_zone);
        zones.filter(|zone| !zone.is_utc()).map(|zone| (zone.name(), zone)).collect()
    }

    /// Bytes of full detectors in each slot, at most; none is without limit.
    pub(crate) fn detector_bytes(&self) -> Option<u64> {
        self.detector_bytes
    }

    /// How a series is to be scored, as long as there is room for its detector.
    #[must_use]
    pub fn detection(&self, key: &SeriesKey) -> Detection {
        self.detect_rule(key).map_or_else(Detection::default, |(_, detection)| detection.clone())
    }

    /// Whether any `[[detect]]` asks for a full detector.
    #[must_use]
    pub fn has_full_detection(&self) -> bool {
        self.detects.iter().any(|rule| rule.detection.model != Model::Light)
    }

    /// Whether there is any `[[detect]]`; without one all series are scored alike.
    #[must_use]
    pub fn has_detection(&self) -> bool {
        !self.detects.is_empty()
    }

    /// Number of rules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule; there may be percentiles.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What is counted, in the order of the names.
    #[must_use]
    pub fn percentiles(&self) -> &[Arc<PercentilesRule>] {
        &self.percentiles
    }

    /// The first `[[detect]]` that matches a series, and its index.
    pub(crate) fn detect_rule(&self, key: &SeriesKey) -> Option<(usize, &Detection)> {
        let index = self.detects.iter().position(|rule| rule.matches(key))?;
        Some((index, &self.detects[index].detection))
    }

    pub(crate) fn detects(&self) -> &[DetectRule] {
        &self.detects
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The indices of the rules on the windows of percentiles number `index`, ascending.
    pub(crate) fn watching(&self, index: usize) -> &[usize] {
        self.watching.get(index).map_or(&[], Vec::as_slice)
    }

    /// Whether any rule is about windows.
    pub(crate) fn watches_windows(&self) -> bool {
        self.watching.iter().any(|rules| !rules.is_empty())
    }
}

fn compile_rules(configs: &[RuleConfig], errors: &mut Vec<RuleError>) -> Vec<Rule> {
    let refuse = |config: &RuleConfig, problem| RuleError {
        list: "rule",
        rule: config.name.clone(),
        key: "name".into(),
        problem,
    };
    if let Some(first) = configs.get(RULES_MAX) {
        errors.push(refuse(first, RuleProblem::TooManyRules { count: configs.len() }));
        return Vec::new();
    }
    let mut rules = Vec::with_capacity(configs.len());
    let mut names = BTreeSet::new();
    for config in configs {
        rules.extend(Rule::compile(config, errors));
        if !names.insert(&config.name) {
            errors.push(refuse(config, RuleProblem::DuplicateName));
        }
    }
    rules.sort_by(|a: &Rule, b: &Rule| a.name.cmp(&b.name));
    rules
}

fn compile_percentiles(
    configs: &[PercentilesConfig],
    errors: &mut Vec<RuleError>,
) -> Vec<Arc<PercentilesRule>> {
    let refuse = |config: &PercentilesConfig, problem| {
        let rule = config.name.clone();
        RuleError { list: "percentiles", rule, key: "name".into(), problem }
    };
    if let Some(first) = configs.get(PERCENTILES_MAX) {
        errors.push(refuse(first, RuleProblem::TooManyPercentiles { count: configs.len() }));
        return Vec::new();
    }
    let mut all = Vec::with_capacity(configs.len());
    let mut names = BTreeSet::new();
    for config in configs {
        all.extend(PercentilesRule::compile(config, errors).map(Arc::new));
        if !names.insert(&config.name) {
            errors.push(refuse(config, RuleProblem::DuplicateName));
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn compile_detects(configs: &[DetectConfig]) -> Result<Vec<DetectRule>, Vec<RuleError>> {
    let (mut detects, mut errors) = (Vec::with_capacity(configs.len()), Vec::new());
    for (index, config) in configs.iter().enumerate() {
        match DetectRule::new(config) {
            Ok(rule) => detects.push(rule),
            Err(problems) => {
                let error = |(key, problem): (String, _)| detect_error(index, &key, problem);
                errors.extend(problems.into_iter().map(error));
            }
        }
    }
    if errors.is_empty() { Ok(detects) } else { Err(errors) }
}

fn at_most(max: usize, detects: Vec<DetectRule>) -> Result<Vec<DetectRule>, Vec<RuleError>> {
    let count = detects.len();
    if count <= max {
        return Ok(detects);
    }
    Err(vec![detect_error(max, "match", RuleProblem::TooManyDetects { count })])
}

fn detect_error(index: usize, key: &str, problem: RuleProblem) -> RuleError {
    let (rule, key) = ((index + 1).to_string(), key.to_owned());
    RuleError { list: "detect", rule, key, problem }
}

/// Which rules are about the windows of which percentiles; `names` are those of all that were given.
fn find_watching(
    rules: &[Rule],
    percentiles: &[Arc<PercentilesRule>],
    names: &BTreeSet<&str>,
    errors: &mut Vec<RuleError>,
) -> Vec<Vec<usize>> {
    let mut watching = vec![Vec::new(); percentiles.len()];
    let mut count = 0;
    for (index, rule) in rules.iter().enumerate() {
        let Some(condition) = rule.when.quantile() else { continue };
        let refuse = |key: String, problem| RuleError {
            list: "rule",
            rule: rule.name.clone(),
            key,
            problem,
        };
        count += 1;
        if count == WINDOW_RULES_MAX + 1 {
            let count = rules.iter().filter(|rule| rule.when.quantile().is_some()).count();
            errors.push(refuse("when".to_owned(), RuleProblem::TooManyWindowRules { count }));
        }
        let name = condition.percentiles.as_str();
        if !names.contains(name) {
            let known = names.iter().map(|name| (*name).to_owned()).collect();
            let problem = RuleProblem::UnknownPercentiles { known };
            errors.push(refuse("when".to_owned(), problem));
        }
        let Some(place) = percentiles.iter().position(|known| &*known.name == name) else {
            continue;
        };
        let problems = rule.window_problems(&percentiles[place]);
        errors.extend(problems.map(|(key, problem)| refuse(key, problem)));
        watching[place].push(index);
    }
    watching
}

#[cfg(test)]
#[path = "rule_set_tests.rs"]
mod tests;
