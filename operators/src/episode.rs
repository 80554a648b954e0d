//! Whether an anomaly is on: nothing of it is learnt, until it has lasted so long that it is the new normal.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::numeric::{bounded, larger};
use crate::pace::Beat;

/// An anomaly for the sake of learning: the fleets' level. With a model's own severity, before it is held against
/// the series', 6 freezes so often that KPI event-F1 of deviation falls by .1, and 10 does what this does.
const HOT: f32 = 6.0;
/// Calm samples that end an episode: the light detector's. With 3 and 16 NAB falls by one and two points.
const CALM_SAMPLES: u8 = 8;
/// What an episode of at most so many samples brought is known: eight anomalies and eight calm ones. Peaks that come back are
/// how a series is, outages that do are outages. At 12 NAB falls by two points, at 24 an hour at five minutes is a peak.
const KNOWN_SAMPLES_MAX: u16 = 16;
/// An episode that is longer than this, in seconds and in samples, is the new normal: longer than most outages, shorter
/// than a working day. From one hour to a day auto's KPI event-F1 stays within .001
/// and its NAB within a point; deviation alone loses .02.
const ACCEPT_SECONDS: f32 = 8.0 * 3_600.0;
const ACCEPT_SAMPLES: u16 = 24;
/// Steps behind that which are not scored: a short burn-in. The first ones do not teach the tails.
const SETTLE_STEPS: u8 = 40;
const SETTLE_VALUES: u8 = 20;
/// For so many seconds behind a new normal no episode begins: a series that does not stand still there would go from one
/// into the next and learn next to nothing.
const REST_SECONDS: f32 = 24.0 * 3_600.0;
/// A sample is back once it departs by less than this share of the episode's departure, on its side.
const BACK_SHARE: f32 = 0.5;
/// Weight of a sample in the episode's departure.
const DEPARTURE_RATE: f32 = 0.125;

/// The anomaly that is on, if there is one.
///
/// ```text
/// begins   with a severity of at least 6
/// ends     with 8 samples in a row below 6, or back: departing less than half as much as the episode, or to the other side;
///          if the last one is not below 6, the next 40 steps are learnt and not scored
/// shifts   after 8 hours and 24 samples: the slow mean goes by the mean departure of the last ones,
///          40 steps are learnt and not scored, and for a day no episode begins
/// ```
///
/// While it is on, forecasters, baseline, sets and tails stay what they were, so that each sample is scored as if it were
/// the first one: an outage to its end, and the day after as the day before. What was met is known at the end of an episode of
/// up to 16 samples, and of one that is the new normal: of each view the least and the greatest value, and of each tail
/// the distance of the first sample. So a peak that comes back is no news for novelty, and of anything longer nothing is learnt.
///
/// Source: the light detector's episodes. State: 12 bytes. Time: O(1). Weak where a series goes on
/// wandering while it is frozen: it comes back to what is known only by then.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Episode {
    /// Since it began; while none is on, until one may begin.
    seconds: f32,
    /// Mean departure of its samples from what the baseline knows.
    departure: f32,
    /// Since it began, this one included; 0 = none is on.
    samples: u16,
    /// Samples since its last anomaly.
    calm: u8,
    /// Steps that are left of a new normal's burn-in.
    settling: u8,
}

/// What a sample teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lesson {
    /// Values, levels and forecasts that are normal.
    pub(crate) values: bool,
    /// How far from them is normal.
    pub(crate) distances: bool,
    /// It ends a step, or a stretch, and teaches what is learnt so slowly.
    pub(crate) ends_step: bool,
    pub(crate) ends_stretch: bool,
    /// An anomaly: it is remembered until the episode ends.
    pub(crate) is_met: bool,
    /// The episode ended.
    pub(crate) is_over: bool,
    /// What was met in it is known from here on.
    pub(crate) is_known: bool,
    /// What it left is the new normal.
    pub(crate) shifts: bool,
}

impl Lesson {
    /// Of a healthy sample that ends a step.
    #[cfg(test)]
    pub(crate) const ALL: Self = Self {
        values: true,
        distances: true,
        ends_step: true,
        ends_stretch: true,
        ..Self::NOTHING
    };
    const NOTHING: Self = Self {
        values: false,
        distances: false,
        ends_step: false,
        ends_stretch: false,
        is_met: false,
        is_over: false,
        is_known: false,
        shifts: false,
    };
}

impl Lesson {
    /// An episode ended that was too long to be learnt.
    pub(crate) fn forgets(&self) -> bool {
        self.is_over && !self.is_known
    }
}

impl Episode {
    /// Whether severities are put out: not while a new normal is learnt.
    pub(crate) fn is_scored(&self) -> bool {
        self.settling == 0
    }

    /// Whether an anomaly is on.
    pub(crate) fn is_on(&self) -> bool {
        self.samples > 0
    }

    /// The mean departure of an episode, also once it has shifted.
    pub(crate) fn departure(&self) -> f32 {
        self.departure
    }

    /// Takes the severity of a sample, and how far from the baseline it is.
    pub(crate) fn observe(&mut self, severity: f32, departure: f32, beat: &Beat) -> Lesson {
        if self.samples > 0 {
            return self.go_on(severity, departure, beat);
        }
        let settled = SETTLE_STEPS - self.settling >= SETTLE_VALUES;
        let lesson = Lesson {
            values: true,
            distances: !beat.is_quiet && settled,
            ends_step: beat.ends_step,
            ends_stretch: beat.ends_stretch,
            ..Lesson::NOTHING
        };
        let rests = self.seconds > 0.0;
        self.seconds = larger(self.seconds - beat.seconds, 0.0);
        if self.settling > 0 {
            self.settling -= u8::from(beat.ends_step);
        } else if severity >= HOT && !rests {
            *self = Self { samples: 1, departure, ..Self::default() };
            // The distances wait for the step's end, which comes behind the episode.
            return Lesson { distances: true, is_met: true, ..Lesson::NOTHING };
        }
        lesson
    }

    fn go_on(&mut self, severity: f32, departure: f32, beat: &Beat) -> Lesson {
        self.samples = self.samples.saturating_add(1);
        self.seconds += beat.seconds;
        let side = if self.departure < 0.0 { -departure } else { departure };
        let is_back = side < BACK_SHARE * self.departure.abs();
        if !is_back {
            self.departure += DEPARTURE_RATE * (departure - self.departure);
        }
        self.calm = if severity < HOT || is_back { self.calm + 1 } else { 0 };
        let shifts = self.seconds > ACCEPT_SECONDS && self.samples > ACCEPT_SAMPLES;
        if self.calm >= CALM_SAMPLES {
            // What is known is from before: if it says that this is no health, it is too old to say so.
            let settling = if severity < HOT { 0 } else { SETTLE_STEPS };
            let is_known = self.samples <= KNOWN_SAMPLES_MAX;
            *self = Self { settling, ..Self::default() };
            return Lesson { is_over: true, is_known, ..Lesson::NOTHING };
        }
        if shifts {
            let (departure, seconds) = (self.departure, REST_SECONDS);
            *self = Self { departure, seconds, settling: SETTLE_STEPS, ..Self::default() };
            return Lesson { is_over: true, is_known: true, shifts, ..Lesson::NOTHING };
        }
        Lesson { is_met: self.calm == 0, ..Lesson::NOTHING }
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.f32(self.seconds);
        out.f32(self.departure);
        out.u16(self.samples);
        out.u8(self.calm);
        out.u8(self.settling);
    }

    /// What [`Episode::encode`] wrote; `None` where it cannot have written it.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        Some(Self {
            seconds: bounded(fields.f32()?).filter(|seconds| *seconds >= 0.0)?,
            departure: bounded(fields.f32()?)?,
            samples: fields.u16()?,
            calm: fields.u8().filter(|calm| *calm < CALM_SAMPLES)?,
            settling: fields.u8().filter(|steps| *steps <= SETTLE_STEPS)?,
        })
    }
}

#[cfg(test)]
#[path = "episode_tests.rs"]
mod tests;
