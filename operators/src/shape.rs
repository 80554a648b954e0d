//! What an anomaly looks like while it goes on.

use std::cmp::Ordering;

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{AnomalyKind, EventTime, Severity};

/// From this severity on a sample has a kind: below the level of single dashboards, so that whoever looks closer knows it too.
pub(crate) const KIND_MIN: f32 = 3.0;
const KIND_MIN_STEPS: u16 = 3 * 64;
/// Calm samples that end a stretch: those that end an episode.
const CALM_SAMPLES: u8 = 8;
/// Changes of the side before it is noise that has changed.
const CHANGES_MIN: u16 = 2;
/// What has lasted so long, in anomalies and in seconds, is more than a spike or a drop.
pub(crate) const LASTING_SAMPLES: u16 = 8;
pub(crate) const LASTING_SECONDS: f32 = 120.0;

/// Counts the anomalies of one stretch, to say what it looks like so far.
///
/// A stretch begins with a sample whose severity is at least 3 and ends with 8 that are below, in a row. What is on the other side of what
/// was expected than the greatest anomaly so far, and has less than a quarter of its severity, is what comes back, beside what was learnt
/// meanwhile: it is no anomaly here. With `n` samples, `a` anomalies, and `c` changes of the side among those with at least that quarter:
///
/// ```text
/// flatline         the first anomaly was one of a run of equal values that is 1.5 times as long as any before; until it moves
/// variance_change  c >= 2 and c >= a / 4
/// lasting          a >= 8, a >= 3/4 n, and two minutes since the first one:
///   seasonal_break   at least half of the anomalies have values that are usual for another hour of the day
///   level_shift      any other
/// spike, drop      by the side of the sample, or of the greatest one where it comes back: everything else
/// ```
///
/// So a shift is a spike or a drop at first: nobody knows better then. Weak against shapes that are none of these, as a slow
/// rise: it is a level shift. Counts are halved before they overflow. State: 16 bytes. Time: O(1), and of an
/// anomaly O(24).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The second of the first anomaly, modulo 2^32.
    begun: u32,
    samples: u16,
    /// Anomalies; 0 = no stretch is on.
    anomalies: u16,
    changes: u16,
    /// Steps of the greatest severity.
    peak: u16,
    /// Anomalies that would be usual at another hour.
    usual: u16,
    /// Calm samples in a row.
    calm: u8,
    /// [`STILL`] and the others.
    marks: u8,
}

/// The stretch began in a run of equal values, which goes on.
const STILL: u8 = 1;
/// The greatest anomaly is below what was expected.
const PEAK_BELOW: u8 = 2;
/// The last one that is not small beside it is.
const BELOW: u8 = 4;
const MARKS: u8 = STILL | PEAK_BELOW | BELOW;

/// What of a sample its shape depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) time: EventTime,
    pub(crate) value: f64,
    /// NaN where nothing is expected: then nothing is said.
    pub(crate) expected: f64,
    /// It is one of a run of equal values that is longer than any before.
    pub(crate) is_still: bool,
}

impl Shape {
    /// Takes the next sample; `is_usual` says whether another hour of the day has such values.
    #[inline]
    pub(crate) fn observe(
        &mut self,
        severity: Severity,
        sight: &Sight,
        is_usual: impl FnOnce() -> bool,
    ) -> AnomalyKind {
        if severity.steps() >= KIND_MIN_STEPS {
            return self.take(severity.steps(), sight, is_usual);
        }
        if self.anomalies > 0 {
            self.pass();
        }
        AnomalyKind::None
    }

    /// A calm sample of a stretch.
    fn pass(&mut self) {
        self.calm += 1;
        if self.calm >= CALM_SAMPLES {
            *self = Self::default();
        } else {
            self.count();
        }
    }

    #[cold]
    fn take(
        &mut self,
        severity: u16,
        sight: &Sight,
        is_usual: impl FnOnce() -> bool,
    ) -> AnomalyKind {
        let side = sight.value.partial_cmp(&sight.expected);
        let Some(side) = side else { return AnomalyKind::None };
        let now = second(sight.time);
        let below = if side == Ordering::Less { BELOW } else { 0 };
        if self.anomalies == 0 {
            self.begun = now;
            self.marks = STILL | below;
        }
        self.calm = 0;
        self.count();
        if !sight.is_still {
            self.marks &= !STILL;
        }
        let is_strong = u32::from(severity) * 4 >= u32::from(self.peak);
        let peak_below = self.marks & PEAK_BELOW != 0;
        if !is_strong && peak_below != (below != 0) {
            return self.kind(now, peak_below);
        }
        self.anomalies += 1;
        self.usual += u16::from(is_usual());
        if is_strong {
            self.changes += u16::from(self.marks & BELOW != below);
            self.marks = self.marks & !BELOW | below;
        }
        if severity > self.peak {
            self.peak = severity;
            self.marks = self.marks & !PEAK_BELOW | if below == 0 { 0 } else { PEAK_BELOW };
        }
        self.kind(now, below != 0)
    }

    /// What it looks like at `now`, and by which side it is told if it does not last.
    fn kind(&self, now: u32, is_below: bool) -> AnomalyKind {
        let Self { begun, samples, anomalies, changes, usual, marks, .. } = *self;
        let is_dense = 4 * u32::from(anomalies) >= 3 * u32::from(samples);
        let lasts = anomalies >= LASTING_SAMPLES
            && f64::from(now.wrapping_sub(begun)) >= f64::from(LASTING_SECONDS);
        if marks & STILL != 0 {
            AnomalyKind::Flatline
        } else if changes >= CHANGES_MIN && 4 * u32::from(changes) >= u32::from(anomalies) {
            AnomalyKind::VarianceChange
        } else if lasts && is_dense {
            let is_broken = 2 * u32::from(usual) >= u32::from(anomalies);
            if is_broken { AnomalyKind::SeasonalBreak } else { AnomalyKind::LevelShift }
        } else {
            beside(is_below)
        }
    }

    fn count(&mut self) {
        if self.samples == u16::MAX {
            self.samples = self.samples.div_ceil(2);
            self.anomalies = self.anomalies.div_ceil(2);
            self.changes /= 2;
            self.usual /= 2;
        }
        self.samples += 1;
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.u32(self.begun);
        for count in [self.samples, self.anomalies, self.changes, self.usual, self.peak] {
            out.u16(count);
        }
        out.u8(self.calm);
        out.u8(self.marks);
    }

    /// What [`Shape::encode`] wrote; `None` where it cannot have written it.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let begun = fields.u32()?;
        let (samples, anomalies, changes) = (fields.u16()?, fields.u16()?, fields.u16()?);
        let (usual, peak) = (fields.u16()?, fields.u16()?);
        let (calm, marks) = (fields.u8()?, fields.u8()?);
        let counted = changes.max(usual) <= anomalies && anomalies <= samples;
        let fits = counted && calm < CALM_SAMPLES && marks & !MARKS == 0;
        fits.then_some(Self { begun, samples, anomalies, changes, peak, usual, calm, marks })
    }
}

/// What is beside the expectation for a moment.
pub(crate) fn beside(is_below: bool) -> AnomalyKind {
    if is_below { AnomalyKind::Drop } else { AnomalyKind::Spike }
}

fn second(time: EventTime) -> u32 {
    let seconds = time.nanos().div_euclid(NANOS_PER_SECOND);
    u32::try_from(seconds.rem_euclid(1 << 32)).expect("a remainder of 2^32")
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
