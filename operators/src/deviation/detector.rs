//! The distance from the forecast, as a severity.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use super::forecasters::Forecasters;
use crate::baseline::{Baseline, View};
use crate::extremes::Extremes;
use crate::light::Expectation;
use crate::numeric::{bounded_f64, larger, narrow};

/// Samples that are not scored: the reference's.
const SCORED_MIN: u32 = 80;
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
/// T = max(severity of max(e, 0), severity of max(-e, 0))     two tails, [`Extremes`]
/// Z = min(|e - m| / sqrt(v), 30)                             0 while v = 0
/// severity = T + .2 Z                                        from sample 80 on
/// m' = m + a (e - m)     v' = (1 - a)(v + a (e - m)^2)       a = max(1 / t, .002)
/// ```
///
/// Source: the reference detector, its forecasters; mean and variance by Finch (2009). Deviations: `e` is
/// scaled by the hour, distances on the other side count as 0. Severity: about -log10 of a chance, 0 to 106;
/// half of all samples have some tenths, which are no severity. Expected is the forecast, the band holds 98 %
/// of what is normal about it.
///
/// NaN and infinities never come here. Constant input scores 0. Weak against slow changes, which the
/// quick mean follows, and right after an anomaly, which it has followed. State: 680 bytes. Time: O(1).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deviation {
    forecasters: Forecasters,
    mean: f64,
    variance: f64,
    above: Extremes,
    below: Extremes,
}

impl Deviation {
    pub(crate) fn new() -> Self {
        Self {
            forecasters: Forecasters::new(),
            mean: 0.0,
            variance: 0.0,
            above: Extremes::NEW,
            below: Extremes::NEW,
        }
    }

    /// The severity of a sample, which is learnt, and what was expected of it.
    pub(crate) fn observe(&mut self, view: &View, baseline: &Baseline) -> (f32, Expectation) {
        let forecast = self.forecasters.observe(view);
        let scale = f64::from(view.scale);
        if view.samples == 0 {
            return (0.0, Expectation::NONE);
        }
        let distance = (view.value - forecast) * scale;
        let (mut severity, mut expectation) = (0.0, Expectation::NONE);
        if view.samples >= SCORED_MIN {
            expectation = self.expect(baseline.first() + forecast, scale);
            let narrow = narrow(distance);
            // Zero first: where both are equal it is the one without a sign.
            let above = self.above.observe(larger(0.0, narrow));
            let below = self.below.observe(larger(0.0, -narrow));
            severity = larger(above, below) + STANDING_SHARE * self.standing(distance);
        }
        self.learn(distance, view.samples);
        (severity, expectation)
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

    fn learn(&mut self, distance: f64, samples: u32) {
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
        self.above.encode(out);
        self.below.encode(out);
    }

    /// What [`Deviation::encode`] wrote; `None` where it cannot have written it.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        Some(Self {
            forecasters: Forecasters::decode(fields)?,
            mean: bounded_f64(fields.f64()?)?,
            variance: fields.f64().filter(|v| *v >= 0.0 && *v < f64::INFINITY)?,
            above: Extremes::decode(fields)?,
            below: Extremes::decode(fields)?,
        })
    }
}

#[cfg(test)]
#[path = "detector_tests.rs"]
mod tests;
