//! The series that a `[[detect]]` matches, and their detectors.

use std::sync::Arc;

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::fields::FieldWriter;
use tidewatch_metrics::{Channel, EventTime, SeriesKey, Severity};

use crate::RuleSet;
use crate::detect::{Detection, Knobs};
use crate::full::FullDetector;
use crate::hash::Digest;
use crate::light::{self, Expectation, Light, Verdict};
use crate::model::Model;
use crate::state::{NONE, SeriesState};

/// How series are scored that are not scored by the light model without knobs.
///
/// Which `[[detect]]` a series has is decided once, when it is met and when the rules change. A series that
/// has none costs nothing while there is no `[[detect]]`, else 4 bytes, and its rows nothing.
#[derive(Debug, Default)]
pub(crate) struct Detectors {
    rules: Arc<RuleSet>,
    /// Per series the index of its place, or [`NONE`]; empty while there is no `[[detect]]`.
    places: Vec<u32>,
    tuned: Vec<Tuned>,
}

/// A series that a `[[detect]]` matches.
#[derive(Debug)]
pub(crate) struct Tuned {
    /// Index of the `[[detect]]` in the rule set.
    rule: u32,
    /// Instead of the light detector.
    full: Option<FullDetector>,
}

impl Detectors {
    /// What a series has from here on that has not begun.
    pub(crate) fn begin(&self, entry: &SeriesEntry) -> Option<Tuned> {
        if self.rules.detects().is_empty() {
            return None;
        }
        let (rule, detection) = self.rules.detect_rule(&entry.key())?;
        if *detection == Detection::default() {
            return None;
        }
        let rule = u32::try_from(rule).expect("fewer rules than the limit");
        Some(Tuned { rule, full: FullDetector::new(detection.model) })
    }

    /// Takes the next series with what [`Detectors::begin`] gave it, and maybe its state; returns whether it is tuned.
    pub(crate) fn add_series(&mut self, tuned: Option<Tuned>) -> bool {
        if self.rules.detects().is_empty() {
            return false;
        }
        let Some(tuned) = tuned else {
            self.places.push(NONE);
            return false;
        };
        self.places.push(u32::try_from(self.tuned.len()).expect("fewer than 2^32 series"));
        self.tuned.push(tuned);
        true
    }

    /// Puts rules in force; returns which series have another model now, by their dense indices. They begin anew.
    pub(crate) fn set_rules(
        &mut self,
        rules: Arc<RuleSet>,
        entries: &[Arc<SeriesEntry>],
    ) -> Vec<usize> {
        let is_empty = rules.detects().is_empty();
        let mut old = std::mem::replace(self, Self { rules, ..Self::default() });
        let mut changed = Vec::new();
        if is_empty && old.rules.detects().is_empty() {
            return changed;
        }
        for (local, entry) in entries.iter().enumerate() {
            let full = old.at(local).and_then(|tuned| tuned.full.take());
            let mut tuned = self.begin(entry);
            let model = tuned.as_ref().map_or(Model::Light, Tuned::model);
            if model != full.as_ref().map_or(Model::Light, FullDetector::model) {
                changed.push(local);
            } else if let Some(tuned) = &mut tuned {
                tuned.full = full;
            }
            self.add_series(tuned);
        }
        changed
    }

    /// Whether each series is tuned; ends early where no further one is.
    pub(crate) fn all_tuned(&self) -> impl Iterator<Item = bool> {
        self.places.iter().map(|place| *place != NONE)
    }

    /// Scores a finite value of a series that is tuned.
    #[inline]
    pub(crate) fn judge(
        &mut self,
        local: u32,
        state: &mut SeriesState,
        light: &mut Light,
        sample: &Sample,
    ) -> Verdict {
        let place = self.places[local as usize] as usize;
        let tuned = &mut self.tuned[place];
        let knobs = self.rules.detects()[tuned.rule as usize].detection.knobs;
        judge(tuned.full.as_mut(), &knobs, state, light, sample)
    }

    /// The detector of a series that does not have the light one.
    pub(crate) fn full(&self, local: u32) -> Option<&FullDetector> {
        let place = *self.places.get(local as usize)?;
        self.tuned.get(place as usize)?.full.as_ref()
    }

    /// Every bit of a detector's state, and which model it is.
    pub(crate) fn digest(&self, local: u32, out: &mut Digest) {
        let Some(full) = self.full(local) else { return };
        let mut bytes = FieldWriter::default();
        full.encode(&mut bytes);
        out.bytes(&bytes.into_bytes());
    }

    fn at(&mut self, local: usize) -> Option<&mut Tuned> {
        let place = *self.places.get(local)?;
        self.tuned.get_mut(place as usize)
    }
}

impl Tuned {
    /// Which detector scores the series.
    pub(crate) fn model(&self) -> Model {
        self.full.as_ref().map_or(Model::Light, FullDetector::model)
    }

    /// Goes on from a state; `false` where it is that of another model.
    pub(crate) fn restore(&mut self, full: FullDetector) -> bool {
        let fits = self.model() == full.model();
        self.full = Some(full);
        fits
    }
}

/// A row in order with a finite value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) time: EventTime,
    pub(crate) value: f64,
    /// Nanoseconds behind the row before; none for the first row of a time base.
    pub(crate) step: Option<i64>,
}

/// Scores a sample of one series by `full`, or without one by the light detector, and learns it.
#[inline]
pub(crate) fn judge(
    full: Option<&mut FullDetector>,
    knobs: &Knobs,
    state: &mut SeriesState,
    light: &mut Light,
    sample: &Sample,
) -> Verdict {
    let Sample { time, value, step } = *sample;
    if let Some((severity, band)) = knobs.judge_range(value) {
        let flags = match full {
            Some(full) => full.emit(severity, Channel::Range),
            None => light::emit(state, severity, Channel::Range),
        };
        return Verdict { expectation: Some(band), severity, flags };
    }
    let samples = state.samples;
    let temper =
        |severity, expectation: &Expectation| knobs.temper(severity, value, expectation, samples);
    let Some(full) = full else {
        let dt = light.advance(state, time, step);
        let expectation = Light::expect(state, time);
        let severity = Severity::from_f32(Light::score(state, time, value, dt));
        let severity = temper(severity, &expectation);
        let flags = light::emit(state, severity, Channel::Deviation);
        return Verdict { expectation: Some(expectation), severity, flags };
    };
    state.samples = samples.saturating_add(1);
    state.last_value = value;
    full.judge_with(time, value, temper)
}

/// Bytes that a series takes here at most, in lists that grow by doubling.
pub(crate) fn detect_bytes(rules: &RuleSet, key: &SeriesKey) -> usize {
    if rules.detects().is_empty() {
        return 0;
    }
    let detection = rules.detection(key);
    let tuned = 2 * size_of::<Tuned>() + FullDetector::heap_bytes_max(detection.model);
    2 * size_of::<u32>() + if detection == Detection::default() { 0 } else { tuned }
}

#[cfg(test)]
#[path = "detectors_tests.rs"]
mod tests;
