//! Four simple forecasters and their weighted mean.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use super::week::Week;
use crate::baseline::View;
use crate::episode::Lesson;
use crate::numeric::{bounded, bounded_f64, larger, narrow, smaller};

const COUNT: usize = 4;
/// Weight of a sample in the quick mean. The reference has .3; at .5 KPI event-F1 is .02 higher.
const QUICK_RATE: f64 = 0.5;
/// Weight of a sample in the mean of about a hundred samples.
const STEADY_RATE: f64 = 0.01;
/// The least rate of the mean errors: 200 samples, as in the reference; .002 and .02 do no better.
const ERROR_RATE: f32 = 0.005;
/// Mean errors below this are taken for it: a forecaster that was never wrong has no infinite weight.
const ERROR_MIN: f32 = 1e-30;

/// Forecasts a sample by the best of four.
///
/// With value `x`, slow mean `mu`, profile `P(t)` and departures `W` by hour of the week:
///
/// ```text
/// p1' = p1 + .5 (x - p1)         p2' = p2 + .01 (x - p2)
/// p3  = mu + P(t)                p4  = mu + W[hour of the week], p3 while that hour is unknown
/// forecast = sum p_i E_i^-4 / sum E_i^-4
/// E_i' = E_i + max(1 / t, .005) (|x - p_i| - E_i)
/// ```
///
/// Source: combination by inverse error (Bates, Granger 1969), with the reference detector's power 4, which
/// is nearly a choice of the best. All but p1 learn once a step ([`Pace`](crate::pace::Pace)). Behind a pause p1 is p3, because the
/// sample before says nothing; what an episode lets through says [`Lesson`]. Until sample 1 there is no error, and the first value is forecast.
/// State: 32 bytes and the week. Time: O(1), four divisions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Forecasters {
    quick: f64,
    steady: f64,
    errors: [f32; COUNT],
    week: Week,
}

/// What is expected of one sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forecast {
    pub(super) value: f64,
    each: [f64; COUNT],
}

impl Forecasters {
    pub(super) fn new() -> Self {
        Self { quick: 0.0, steady: 0.0, errors: [0.0; COUNT], week: Week::new() }
    }

    /// What is expected of the sample of a view.
    pub(super) fn look(&self, view: &View) -> Forecast {
        let daily = view.mean + f64::from(view.season);
        let weekly = self.week.get(view.week_slot);
        let weekly = weekly.map_or(daily, |departure| view.mean + f64::from(departure));
        let each = [self.quick, self.steady, daily, weekly];
        Forecast { value: self.combine(&each), each }
    }

    /// Learns the sample of a view.
    pub(super) fn learn(&mut self, view: &View, forecast: &Forecast, lesson: Lesson) {
        if lesson.values {
            self.quick += QUICK_RATE * (view.value - self.quick);
        }
        if !lesson.ends_step {
            return;
        }
        if lesson.distances {
            self.learn_errors(&forecast.each, view);
        }
        if lesson.values {
            self.steady += STEADY_RATE * (view.value - self.steady);
            self.week.learn(view.week_slot, view.departure);
        }
    }

    /// Goes back to mean and season behind a pause: the last sample says nothing of this one.
    pub(super) fn resume(&mut self, view: &View) {
        self.quick = view.mean + f64::from(view.season);
    }

    /// The level is another one.
    pub(super) fn shift(&mut self, level: f64) {
        self.quick = level;
        self.steady = level;
    }

    fn combine(&self, forecasts: &[f64; COUNT]) -> f64 {
        let least = larger(self.errors.into_iter().fold(f32::INFINITY, smaller), ERROR_MIN);
        let (mut sum, mut weights) = (0.0, 0.0);
        for (forecast, error) in forecasts.iter().zip(self.errors) {
            let ratio = least / larger(error, ERROR_MIN);
            let weight = f64::from(ratio * ratio * ratio * ratio);
            sum += weight * forecast;
            weights += weight;
        }
        sum / weights
    }

    #[expect(clippy::cast_precision_loss, reason = "1 / t is below the least rate by then")]
    fn learn_errors(&mut self, forecasts: &[f64; COUNT], view: &View) {
        if view.samples == 0 {
            return;
        }
        let rate = larger(1.0 / view.samples as f32, ERROR_RATE);
        for (error, forecast) in self.errors.iter_mut().zip(forecasts) {
            *error += rate * (narrow(view.value - forecast).abs() - *error);
        }
    }

    pub(super) fn encode(&self, out: &mut FieldWriter) {
        out.f64(self.quick);
        out.f64(self.steady);
        self.errors.iter().for_each(|error| out.f32(*error));
        self.week.encode(out);
    }

    /// What [`Forecasters::encode`] wrote; `None` where it cannot have written it.
    pub(super) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let mut read = Self::new();
        read.quick = bounded_f64(fields.f64()?)?;
        read.steady = bounded_f64(fields.f64()?)?;
        for error in &mut read.errors {
            *error = bounded(fields.f32()?).filter(|error| *error >= 0.0)?;
        }
        read.week = Week::decode(fields)?;
        Some(read)
    }
}
