//! How often a series has samples, which of them end a step, and pauses.

use tidewatch_metrics::EventTime;
use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::numeric::{larger, narrow, seconds, smaller};

/// Of a series that is quicker, one sample in so many seconds teaches what is learnt slowly.
///
/// With five minutes a series at a minute has a fifth of its samples to learn from, and KPI event-F1 of
/// novelty falls by .14; a series at a second then has the memory that one at a minute has.
const STEP_SECONDS: f32 = 60.0;
/// A step is at most this share of what was seen: who begins learns of each sample.
const STEP_SHARE: f32 = 1.0 / 80.0;
/// Seconds of a stretch: what is promised to fleets is promised per five minutes.
pub(crate) const STRETCH_SECONDS: f32 = 300.0;
/// One gap moves the interval by at most this share of it, and by more while there are few.
const INTERVAL_RATE: f32 = 0.05;
/// A pause is longer than so many intervals: the light detector's.
const PAUSE_INTERVALS: f32 = 8.0;
/// Samples after a pause that are not scored: the light detector's.
const QUIET_SAMPLES: u8 = 8;
/// Where samples are quicker than steps, so many seconds at most: as long as the pause was, and no longer than a
/// series at a step's pace.
const QUIET_SECONDS_MAX: f32 = 8.0 * STEP_SECONDS;
/// A gap counts at most so many intervals for what goes by seconds.
const GAP_INTERVALS_MAX: f32 = 4.0;
/// Seconds that are told apart: 30 years.
const SECONDS_MAX: f32 = 1e9;

/// The interval between samples, steps of a minute, stretches of five, and pauses.
///
/// With `g` seconds since the sample before, which is the `n`-th gap, and interval `i`:
///
/// ```text
/// i' = i + clip(g - i, i max(1 / n, .05))     i = g for the first gap
/// step = min(1 min, t / 80) after t seconds, or one sample where i >= step / 2: the sample that fills it ends it
/// a stretch is a sample where i >= 150 s, else five minutes
/// pause: g > 8 i, or a time that is not later, which is a new time base
/// quiet: 8 samples behind a pause, and where i < 30 s as long as the pause was, up to 8 minutes
/// ```
///
/// Source: Huber's location (1964) with so narrow a clip that it is a median: up to half of the gaps may be of
/// any length. A cadence that changes by a factor of 6 is known after 37 gaps. Samples that were not scored
/// (no number, out of the data's range) are gaps. State: 40 bytes. Time: O(1).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pace {
    /// The time of the last sample.
    last: EventTime,
    /// Seconds; 0 until there is a gap.
    interval: f32,
    /// Seconds of the step so far, and of the stretch.
    step: f32,
    stretch: f32,
    /// Seconds that were seen, up to what matters.
    seen: f32,
    /// Seconds that are still quiet, and samples.
    quiet_seconds: f32,
    quiet_samples: u8,
    /// Gaps that were heard, up to what matters.
    gaps: u8,
}

/// What a sample's time says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Beat {
    /// Seconds since the sample before, at most four intervals; 0 behind a pause.
    pub(crate) seconds: f32,
    /// Ends a step: what is learnt slowly is learnt of this sample.
    pub(crate) ends_step: bool,
    pub(crate) ends_stretch: bool,
    /// The first one behind a pause: what goes from sample to sample begins anew.
    pub(crate) resumes: bool,
    /// Too soon behind a pause to be scored.
    pub(crate) is_quiet: bool,
}

impl Beat {
    /// Of the first sample.
    pub(crate) const FIRST: Self =
        Self { seconds: 0.0, ends_step: true, ends_stretch: true, resumes: false, is_quiet: false };
}

impl Pace {
    /// The pace of a series whose first sample comes.
    pub(crate) fn new() -> Self {
        Self {
            last: EventTime::MIN,
            interval: 0.0,
            step: 0.0,
            stretch: 0.0,
            seen: 0.0,
            quiet_seconds: 0.0,
            quiet_samples: 0,
            gaps: 0,
        }
    }

    /// Seconds since the last sample, as they are; something that means nothing before the first one.
    pub(crate) fn since(&self, time: EventTime) -> f64 {
        seconds(time.nanos().saturating_sub(self.last.nanos()))
    }

    /// Takes the time of the next sample.
    pub(crate) fn observe(&mut self, time: EventTime) -> Beat {
        let last = std::mem::replace(&mut self.last, time);
        if last == EventTime::MIN {
            return Beat::FIRST;
        }
        let gap = smaller(seconds_of(time.nanos().saturating_sub(last.nanos())), SECONDS_MAX);
        let is_later = time > last;
        let is_long = self.gaps > 0 && gap > PAUSE_INTERVALS * self.interval;
        if is_later {
            self.learn(gap);
        }
        let resumes = !is_later || is_long;
        if resumes {
            self.quiet_samples = QUIET_SAMPLES;
            self.quiet_seconds = gap.clamp(0.0, QUIET_SECONDS_MAX);
        } else {
            self.quiet_seconds = larger(self.quiet_seconds - gap, 0.0);
        }
        let waits = self.interval < 0.5 * STEP_SECONDS && self.quiet_seconds > 0.0;
        let is_quiet = self.quiet_samples > 0 || waits;
        self.quiet_samples = self.quiet_samples.saturating_sub(1);
        let seconds = if resumes { 0.0 } else { smaller(gap, GAP_INTERVALS_MAX * self.interval) };
        let length = STEP_SHARE * self.seen;
        if length < STEP_SECONDS {
            self.seen += seconds;
        }
        let length = smaller(length, STEP_SECONDS);
        let ends_step = fill(&mut self.step, length, seconds, self.interval);
        let ends_stretch = fill(&mut self.stretch, STRETCH_SECONDS, seconds, self.interval);
        Beat { seconds, ends_step, ends_stretch, resumes, is_quiet }
    }

    fn learn(&mut self, gap: f32) {
        if self.gaps == 0 {
            self.interval = gap;
        } else {
            let rate = larger(1.0 / (f32::from(self.gaps) + 1.0), INTERVAL_RATE);
            let limit = rate * self.interval;
            self.interval += (gap - self.interval).clamp(-limit, limit);
        }
        self.gaps = self.gaps.saturating_add(1);
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.i64(self.last.nanos());
        for seconds in [self.interval, self.step, self.stretch, self.seen, self.quiet_seconds] {
            out.f32(seconds);
        }
        out.u8(self.quiet_samples);
        out.u8(self.gaps);
    }

    /// What [`Pace::encode`] wrote; `None` where it cannot have written it.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let last = EventTime::new(fields.i64()?);
        let mut seconds = || fields.f32().filter(|value| (0.0..=2.0 * SECONDS_MAX).contains(value));
        Some(Self {
            last,
            interval: seconds()?,
            step: seconds()?,
            stretch: seconds()?,
            seen: seconds()?,
            quiet_seconds: seconds()?,
            quiet_samples: fields.u8()?,
            gaps: fields.u8()?,
        })
    }
}

/// Fills what is `length` seconds long; returns whether it is full, to the nearest sample.
fn fill(filled: &mut f32, length: f32, seconds: f32, interval: f32) -> bool {
    *filled += seconds;
    let ends = interval >= 0.5 * length || *filled + 0.5 * interval >= length;
    if ends {
        *filled = 0.0;
    }
    ends
}

fn seconds_of(nanos: i64) -> f32 {
    narrow(seconds(nanos))
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
