//! The series that a `[[detect]]` matches, and their detectors.

use std::sync::Arc;

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::fields::FieldWriter;
use tidewatch_metrics::{AnomalyKind, Channel, EventTime, SeriesKey, SeriesRef, Severity};

use crate::RuleSet;
use crate::counter::Growth;
use crate::detect::room::Room;
use crate::detect::{Detection, Knobs};
use crate::full::{FullDetector, Heard, Hears, Measure};
use crate::hash::Digest;
use crate::light::{self, Light, Verdict};
use crate::model::Model;
use crate::state::{NONE, SeriesState};
use crate::still_run;
use crate::time_zone::{LocalTime, TimeZone};

/// How series are scored that are not scored by the light model without knobs.
///
/// Which `[[detect]]` a series has, and whether there is room for its detector, is decided once, when it is met and
/// when the rules change. A series that has none costs nothing while there is no `[[detect]]`, else 4 bytes, and its
/// rows nothing.
#[derive(Debug, Default)]
pub(crate) struct Detectors {
    rules: Arc<RuleSet>,
    room: Room,
    /// Series that have the light detector because there was no room for theirs.
    turned_away: u32,
    /// Series whose full detector lacks their history.
    lacking: u32,
    /// Per series the index of its place, or [`NONE`]; empty while there is no `[[detect]]`.
    places: Vec<u32>,
    tuned: Vec<Tuned>,
}

/// How a series begins.
#[derive(Debug)]
pub(crate) struct Beginning {
    tuned: Option<Tuned>,
    is_turned_away: bool,
}

/// What there is of a series' full detector in stored state.
#[derive(Debug)]
pub(crate) enum StoredDetector {
    /// The series had none.
    None,
    Known(Box<FullDetector>),
    /// It is of a version that is not read any more.
    Outdated,
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
    pub(crate) fn begin(&self, entry: &SeriesEntry) -> Beginning {
        let wanted = self.wanted(entry);
        let model = wanted.map_or(Model::Light, |(_, detection)| detection.model);
        let fits = self.room.fits(entry.id.slot(), model);
        Self::beginning(wanted, if fits { model } else { Model::Light })
    }

    /// What a series has that was restored, with its full detector or without; `None` where the rules do not give it that.
    ///
    /// In place of an outdated one it has a new one, which lacks the history of a series that `has_rows`.
    pub(crate) fn restore(
        &self,
        entry: &SeriesEntry,
        stored: StoredDetector,
        has_rows: bool,
    ) -> Option<Beginning> {
        let wanted = self.wanted(entry);
        let model = wanted.map_or(Model::Light, |(_, detection)| detection.model);
        let full = match stored {
            StoredDetector::None => None,
            StoredDetector::Known(full) => Some(*full),
            StoredDetector::Outdated => {
                let mut full = FullDetector::new(model)?;
                full.set_lacks_history(has_rows);
                Some(full)
            }
        };
        let is_light = full.is_none() && (model == Model::Light || self.room.is_limited());
        let fits = is_light || full.as_ref().is_some_and(|full| full.model() == model);
        let mut beginning = Self::beginning(wanted, if is_light { Model::Light } else { model });
        if let Some(tuned) = &mut beginning.tuned {
            tuned.full = full;
        }
        fits.then_some(beginning)
    }

    /// Takes the next series; returns whether it is tuned.
    pub(crate) fn add_series(&mut self, entry: &SeriesEntry, beginning: Beginning) -> bool {
        let Beginning { tuned, is_turned_away } = beginning;
        let model = tuned.as_ref().map_or(Model::Light, Tuned::model);
        entry.set_detector(model.code());
        if self.rules.detects().is_empty() {
            return false;
        }
        self.room.take(entry.id.slot(), model);
        self.turned_away += u32::from(is_turned_away);
        let Some(tuned) = tuned else {
            self.places.push(NONE);
            return false;
        };
        let lacks = tuned.full.as_ref().is_some_and(FullDetector::lacks_history);
        self.lacking += u32::from(lacks);
        self.places.push(u32::try_from(self.tuned.len()).expect("fewer than 2^32 series"));
        self.tuned.push(tuned);
        true
    }

    /// The full detector of the series, if it has one, began although the series had rows before.
    pub(crate) fn lack_history(&mut self, local: usize) {
        let full = self.at(local).and_then(|tuned| tuned.full.as_mut());
        if let Some(full) = full.filter(|full| !full.lacks_history()) {
            full.set_lacks_history(true);
            self.lacking += 1;
        }
    }

    /// How many series have a full detector that lacks their history.
    pub(crate) fn lacking(&self) -> u32 {
        self.lacking
    }

    /// The full detector of the series lacks nothing from here on: it is `primed`, or where that is none the one it has.
    pub(crate) fn end_lack(&mut self, local: u32, primed: Option<FullDetector>) {
        let full = self.at(local as usize).and_then(|tuned| tuned.full.as_mut());
        let full = full.filter(|full| full.lacks_history()).expect("the detector lacks history");
        if let Some(primed) = primed {
            *full = primed;
        }
        full.set_lacks_history(false);
        self.lacking -= 1;
    }

    /// Puts rules in force; returns which series have another model now, or one that tells hours by other clocks, by their
    /// dense indices. They begin anew.
    ///
    /// Room goes to the first `[[detect]]` first; of its series to those that have their detector already, then in the
    /// order of the references.
    pub(crate) fn set_rules(
        &mut self,
        rules: Arc<RuleSet>,
        entries: &[Arc<SeriesEntry>],
        refs: &[SeriesRef],
    ) -> Vec<usize> {
        let is_empty = rules.detects().is_empty();
        let room = Room::of(&rules);
        let mut old = std::mem::replace(self, Self { rules, room, ..Self::default() });
        if is_empty && old.rules.detects().is_empty() {
            return Vec::new();
        }
        let models = self.models(&old, entries, refs);
        let mut changed = Vec::new();
        for ((index, entry), model) in (0_u32..).zip(entries).zip(models) {
            let local = index as usize;
            let wanted = self.wanted(entry);
            let new_zone =
                wanted.map_or(&TimeZone::UTC, |(_, detection)| &detection.knobs.time_zone);
            let moves = model.knows_hours() && new_zone.is_elsewhere(old.time_zone(index));
            let full = old.at(local).and_then(|tuned| tuned.full.take());
            let mut beginning = Self::beginning(wanted, model);
            if moves || model != full.as_ref().map_or(Model::Light, FullDetector::model) {
                changed.push(local);
            } else if let Some(tuned) = &mut beginning.tuned {
                tuned.full = full;
            }
            self.add_series(entry, beginning);
        }
        changed
    }

    /// Which model each series gets.
    fn models(&self, old: &Self, entries: &[Arc<SeriesEntry>], refs: &[SeriesRef]) -> Vec<Model> {
        let mut models = vec![Model::Light; entries.len()];
        let mut wanting = Vec::new();
        for (local, entry) in entries.iter().enumerate() {
            let Some((rule, Detection { model, .. })) = self.wanted(entry) else { continue };
            if *model != Model::Light {
                let index = u32::try_from(local).expect("fewer than 2^32 series");
                let has_it = old.full(index).is_some_and(|full| full.model() == *model);
                wanting.push((rule, !has_it, refs[local], local, *model));
            }
        }
        wanting.sort_unstable_by_key(|(rule, has_not, series, ..)| (*rule, *has_not, *series));
        let mut room = Room::of(&self.rules);
        for (.., local, model) in wanting {
            let slot = entries[local].id.slot();
            if room.fits(slot, model) {
                room.take(slot, model);
                models[local] = model;
            }
        }
        models
    }

    /// The `[[detect]]` of a series, if it says anything but the default.
    fn wanted(&self, entry: &SeriesEntry) -> Option<(u32, &Detection)> {
        if self.rules.detects().is_empty() {
            return None;
        }
        let (rule, detection) = self.rules.detect_rule(&entry.key())?;
        let rule = u32::try_from(rule).expect("fewer rules than the limit");
        (*detection != Detection::default()).then_some((rule, detection))
    }

    /// A series that wants a detection and is given a model.
    fn beginning(wanted: Option<(u32, &Detection)>, model: Model) -> Beginning {
        let Some((rule, detection)) = wanted else {
            return Beginning { tuned: None, is_turned_away: false };
        };
        let is_turned_away = detection.model != model;
        let given = Detection { model, knobs: detection.knobs.clone() };
        let tuned = Tuned { rule, full: FullDetector::new(model) };
        Beginning { tuned: (given != Detection::default()).then_some(tuned), is_turned_away }
    }

    /// Series that have the light detector because there was no room for theirs.
    pub(crate) fn turned_away(&self) -> u32 {
        self.turned_away
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
        let knobs = &self.rules.detects()[tuned.rule as usize].detection.knobs;
        judge(tuned.full.as_mut(), knobs, state, light, sample)
    }

    /// The detector of a series that does not have the light one.
    pub(crate) fn full(&self, local: u32) -> Option<&FullDetector> {
        let place = *self.places.get(local as usize)?;
        self.tuned.get(place as usize)?.full.as_ref()
    }

    /// By whose clocks the hours of a series are told.
    pub(crate) fn time_zone(&self, local: u32) -> &TimeZone {
        let place = self.places.get(local as usize).copied().unwrap_or(NONE);
        let tuned = self.tuned.get(place as usize);
        tuned.map_or(&TimeZone::UTC, |tuned| {
            &self.rules.detects()[tuned.rule as usize].detection.knobs.time_zone
        })
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
}

/// A row in order with a finite value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) time: EventTime,
    pub(crate) value: f64,
    /// Nanoseconds behind the row before; none for the first row of a time base.
    pub(crate) step: Option<i64>,
}

/// Scores a sample of one series by `full`, with what that hears of the light detector, or without one by the light
/// detector alone, and learns it.
#[inline]
pub(crate) fn judge(
    full: Option<&mut FullDetector>,
    knobs: &Knobs,
    state: &mut SeriesState,
    light: &mut Light,
    sample: &Sample,
) -> Verdict {
    let Sample { time, value, step } = *sample;
    let local = knobs.time_zone.local(time);
    if let Some((severity, band)) = knobs.judge_range(value) {
        let flags = match full {
            Some(full) => full.emit(severity, Channel::Range),
            None => light::emit(state, severity, Channel::Range),
        };
        let flags = flags.with_kind(AnomalyKind::OutOfRange);
        return Verdict { expectation: Some(band), severity, flags };
    }
    let Some(full) = full else {
        let samples = state.samples;
        let dt = light.advance(state, local, step);
        let expectation = Light::expect(state, local);
        let said = light.score(state, local, value, dt);
        let severity = Severity::from_f32(said.severity);
        let severity = knobs.temper(severity, value, &expectation, samples);
        let flags = light::emit(state, severity, Channel::Deviation);
        let flags = if severity == Severity::ZERO { flags } else { flags.with_kind(said.kind) };
        return Verdict { expectation: Some(expectation), severity, flags };
    };
    let measure = full.measure(time, value, knobs.kind);
    if measure.seen.begins {
        light.begin_anew(state);
    }
    let samples = state.samples;
    let heard = hear(full.hears(), state, light, (sample, local), &measure);
    full.judge_with(local, &measure, &heard, |severity, expectation| {
        knobs.temper(severity, value, expectation, samples)
    })
}

/// What the light detector says of what is looked at of a sample, as far as it is heard; what it is asked for it learns.
fn hear(
    hears: Hears,
    state: &mut SeriesState,
    light: &mut Light,
    (sample, time): (&Sample, LocalTime),
    measure: &Measure,
) -> Heard {
    let seen = &measure.seen;
    match (hears, seen.number) {
        (Hears::All, number) => {
            let dt = light.advance(state, time, sample.step);
            let Some(number) = number else { return Heard::NOTHING };
            let expectation = Light::expect(state, time);
            let severity = light.score(state, time, number, dt).severity;
            let is_chance = |growth: Growth| growth.is_chance(sample.value, expectation.expected);
            let is_silent = measure.is_doubtful || seen.growth.is_some_and(is_chance);
            let severity = if is_silent { 0.0 } else { severity };
            Heard { severity, expectation, is_still: still_run::is_long_still(state) }
        }
        (Hears::Runs, Some(number)) => {
            let severity = still_run::score_run(state, number);
            Heard { severity, is_still: still_run::is_long_still(state), ..Heard::NOTHING }
        }
        (Hears::Runs, None) => Heard::NOTHING,
        (Hears::Nothing, number) => {
            state.samples = state.samples.saturating_add(u32::from(number.is_some()));
            state.last_value = sample.value;
            Heard::NOTHING
        }
    }
}

/// Bytes that a series takes here at most, in lists that grow by doubling; without full detectors where they have a limit
/// of their own.
pub(crate) fn detect_bytes(rules: &RuleSet, key: &SeriesKey) -> usize {
    if rules.detects().is_empty() {
        return 0;
    }
    let detection = rules.detection(key);
    // What a limit is set for is counted there.
    let heap = rules.detector_bytes().map_or(FullDetector::heap_bytes_max(detection.model), |_| 0);
    let tuned = 2 * size_of::<Tuned>() + heap;
    2 * size_of::<u32>() + if detection == Detection::default() { 0 } else { tuned }
}

#[cfg(test)]
#[path = "detectors_tests.rs"]
mod tests;
