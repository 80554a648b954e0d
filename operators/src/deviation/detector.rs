//! The distance from the forecast, as a severity.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use super::forecasters::{Forecast, Forecasters};
use crate::baseline::{Baseline, View};
use crate::episode::Lesson;
use crate::extremes::Extremes;
use crate::light::Expectation;
use crate::novelty::SCORED_MIN;
use crate::numeric::{bounded_f64, narrow};

/// The mean excess is at least this share of the least extreme distance, in per cent. More finds shifts and noisier noise
/// at the fleets' level no more.
const EXCESS_PERCENT: u8 = 5;
/// The least rate of the distance's mean and variance: 500 samples, as in the reference. A rate of .01
/// forgets a noisy week's end too soon: KPI event-F1 falls by .07.
const STANDING_RATE: f64 = 0.002;
/// Standard deviations that are told apart, and what one of them adds.
///
/// The tail knows days, the standing hours: without it KPI event-F1 is .57 instead of .65, with half as much
/// .63, and twice as much gains nothing.
const STANDING_MAX: f64 = 30.0;
const STANDING_SHARE: f32 = 0.2;
/// Standard deviations from the mean that 98 % of a normal distribution lie within.
const BAND: f64 = 2.326;

/// Scores a sample by its distance from a forecast.
///
/// With forecast `f` ([`Forecasters`]) of sample `x`, the hour's `scale` ([`Baseline`]) and the mean `m` and
/// variance `v` of the distance so far:
///
/// ```text
/// e = (x - f) scale
/// T = severity of |e| ([`Extremes`])
/// Z = min(|e - m| / sqrt(v), 30)                             0 while v = 0
/// severity = T + .2 Z                                        from sample 80 on
/// m' = m + a (e - m)     v' = (1 - a)(v + a (e - m)^2)       a = max(1 / t, .002)
/// ```
///
/// Source: the reference detector, its forecasters; mean and variance by Finch (2009). Deviations: `e` is
/// scaled by the hour; one tail for both sides, where the reference has two: KPI event-F1 is .02 higher, and
/// auto's too. Severity: about -log10 of a chance, 0 to 106;
/// half of all samples have some tenths, which are no severity. Expected is the forecast, the band holds 98 %
/// of what is normal about it.
///
/// NaN and infinities never come here. Constant input scores 0. Weak against slow changes, which the
/// quick mean follows, and against what goes on rising while little is known of it. State: 540 bytes. Time: O(1).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deviation {
    forecasters: Forecasters,
    mean: f64,
    variance: f64,
    tail: Extremes<EXCESS_PERCENT>,
}

/// How far one sample was from what was expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Miss {
    forecast: Forecast,
    /// From the forecast, times the hour's scale.
    distance: f64,
}

impl Deviation {
    pub(crate) fn new() -> Self {
        Self { forecasters: Forecasters::new(), mean: 0.0, variance: 0.0, tail: Extremes::NEW }
    }

    /// The severity of a sample, what was expected of it, and what [`Deviation::learn`] has to know of it.
    pub(crate) fn look(&self, view: &View, baseline: &Baseline) -> (f32, Expectation, Miss) {
        let forecast = self.forecasters.look(view);
        let scale = f64::from(view.scale);
        let miss = Miss { distance: (view.value - forecast.value) * scale, forecast };
        if view.samples < SCORED_MIN {
            return (0.0, Expectation::NONE, miss);
        }
        let expectation = self.expect(baseline.first() + forecast.value, scale);
        let tail = self.tail.severity(narrow(miss.distance).abs());
        (tail + STANDING_SHARE * self.standing(miss.distance), expectation, miss)
    }

    /// Learns a sample, or as much of it as the lesson says.
    pub(crate) fn learn(&mut self, view: &View, miss: &Miss, lesson: Lesson) {
        self.forecasters.learn(view, &miss.forecast, lesson);
        if lesson.forgets() {
            self.tail.forget();
        }
        if !lesson.distances || view.samples == 0 {
            return;
        }
        if view.samples >= SCORED_MIN {
            self.tail.learn(narrow(miss.distance).abs(), lesson.ends_step);
        }
        if lesson.ends_step {
            self.learn_standing(miss.distance, view.samples);
        }
    }

    /// Begins anew with what goes from sample to sample, before the first one behind a pause.
    pub(crate) fn resume(&mut self, view: &View) {
        self.forecasters.resume(view);
    }

    /// Samples are expected so far from mean and profile from here on.
    pub(crate) fn shift(&mut self, view: &View, departure: f32) {
        self.forecasters.shift(view.mean + f64::from(view.season + departure));
    }

    fn expect(&self, forecast: f64, scale: f64) -> Expectation {
        let centre = forecast + self.mean / scale;
        let reach = BAND * self.variance.sqrt() / scale;
        // A band that the mean error has moved off the forecast would say that the expected is unusual.
        let lower = if centre - reach < forecast { centre - reach } else { forecast };
        let upper = if centre + reach > forecast { centre + reach } else { forecast };
        Expectation { expected: forecast, lower, upper }
    }

    /// Standard deviations from the mean distance.
    fn standing(&self, distance: f64) -> f32 {
        if self.variance <= 0.0 {
            return 0.0;
        }
        let standing = (distance - self.mean).abs() / self.variance.sqrt();
        narrow(if standing < STANDING_MAX { standing } else { STANDING_MAX })
    }

    fn learn_standing(&mut self, distance: f64, samples: u32) {
        let rate = 1.0 / f64::from(samples);
        let rate = if rate > STANDING_RATE { rate } else { STANDING_RATE };
        let off = distance - self.mean;
        self.mean += rate * off;
        self.variance = (1.0 - rate) * (self.variance + rate * off * off);
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        self.forecasters.encode(out);
        out.f64(self.mean);
        out.f64(self.variance);
        self.tail.encode(out);
    }

    /// What [`Deviation::encode`] wrote; `None` where it cannot have written it.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        Some(Self {
            forecasters: Forecasters::decode(fields)?,
            mean: bounded_f64(fields.f64()?)?,
            variance: fields.f64().filter(|v| *v >= 0.0 && *v < f64::INFINITY)?,
            tail: Extremes::decode(fields)?,
        })
    }
}

#[cfg(test)]
#[path = "detector_tests.rs"]
mod tests;
