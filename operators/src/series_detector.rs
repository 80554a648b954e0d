//! The detector of one series by itself, for what is asked afterwards.

use tidewatch_metrics::{AnomalyKind, Channel, EventTime, Flags, SeriesId, Severity};

use crate::detect::{Detection, Knobs, Sample, judge};
use crate::full::FullDetector;
use crate::light::{Expectation, Light, Verdict};
use crate::model::Model;
use crate::order::{Order, Place};
use crate::profile::Profile;
use crate::state::{SeriesState, WATCHED};

/// What the pipeline says of the rows of one series, told again without rules and without a log.
///
/// A function of the rows alone: given those that a series had in order since it began, the answers are
/// those of [`Pipeline`](crate::Pipeline), bit by bit. Begun later, it comes near them as it learns.
/// Rows that are not later than the one before are refused for ever: whether a series took a new time
/// base depends on when they came. State: of the light detector 128 bytes, and 120 for the daily profile; full ones have
/// theirs beside that, see [`SeriesDetector::state_bytes`].
#[derive(Debug)]
pub struct SeriesDetector {
    state: SeriesState,
    order: Order,
    light: Light,
    knobs: Knobs,
    /// In place of the light detector, which is heard while it is young.
    full: Option<FullDetector>,
}

/// What the detector says of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// What was expected before the row; NaN during the burn-in, and where data cannot have the value.
    pub expected: f64,
    /// The lower end of the band that holds 98 % of healthy samples; NaN during the burn-in. Of a value that data cannot
    /// have the lower end of the range.
    pub lower: f64,
    /// The upper end of that band or range; NaN during the burn-in.
    pub upper: f64,
    /// How unlikely the row was.
    pub severity: Severity,
    /// The channel that fired, and whether the severity is an onset.
    pub flags: Flags,
}

impl Judgement {
    /// Of a row that is not scored.
    pub const NOT_SCORED: Self = Self {
        expected: f64::NAN,
        lower: f64::NAN,
        upper: f64::NAN,
        severity: Severity::ZERO,
        flags: Flags::NONE,
    };

    /// What a verdict says in public.
    pub(crate) fn of(verdict: Verdict) -> Self {
        let Verdict { expectation, severity, flags } = verdict;
        let Expectation { expected, lower, upper } = expectation.unwrap_or(Expectation::NONE);
        Self { expected, lower, upper, severity, flags }
    }

    /// The severity where it is an onset, 0 elsewhere: de-duplicated, as it is stored.
    #[must_use]
    pub fn onset_severity(&self) -> Severity {
        if self.flags.is_onset() { self.severity } else { Severity::ZERO }
    }

    /// What the anomaly looks like that the row is of.
    #[must_use]
    pub fn kind(&self) -> AnomalyKind {
        self.flags.kind()
    }

    /// The channel that fired.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.flags.channel()
    }
}

impl Default for SeriesDetector {
    fn default() -> Self {
        Self::new(Model::Light)
    }
}

impl SeriesDetector {
    /// A detector of a series that has not begun.
    #[must_use]
    pub fn new(model: Model) -> Self {
        Self::tuned(&Detection::by(model))
    }

    /// A detector with its knobs, of a series that has not begun.
    #[must_use]
    pub fn tuned(detection: &Detection) -> Self {
        let mut state = SeriesState::new(SeriesId::new(0));
        state.marks |= WATCHED;
        let (order, light) = (Order::default(), Light::default());
        let full = FullDetector::new(detection.model);
        Self { state, order, light, knobs: detection.knobs.clone(), full }
    }

    /// Takes the next row. `None` for one that is not scored: not later than the row before, or without
    /// a finite value.
    pub fn observe(&mut self, time: EventTime, value: f64) -> Option<Judgement> {
        let place = self.order.observe(&mut self.state, 0, time, None).place();
        if place == Place::Refused || !value.is_finite() {
            return None;
        }
        let sample = Sample { time, value, step: place.step() };
        let Self { state, light, knobs, full, .. } = self;
        Some(Judgement::of(judge(full.as_mut(), knobs, state, light, &sample)))
    }

    /// What it has come to, for whoever carries it elsewhere.
    pub(crate) fn parts(&self) -> (&SeriesState, Option<&Profile>, Option<&FullDetector>) {
        (&self.state, self.light.profile(&self.state), self.full.as_ref())
    }

    /// Bytes that the series' state takes, with the heap's, but without the room that a [`Pipeline`](crate::Pipeline)'s lists
    /// keep for the next one.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        let profile = self.light.profile(&self.state).map_or(0, |_| size_of::<Profile>());
        let light = size_of::<SeriesState>() + profile;
        light + self.full.as_ref().map_or(0, FullDetector::bytes)
    }
}

#[cfg(test)]
#[path = "series_detector_tests.rs"]
mod tests;
