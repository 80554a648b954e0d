//! Level, trend and season, smoothed exponentially.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::baseline::Moment;
use crate::extremes::Extremes;
use crate::light::Expectation;
use crate::numeric::{bounded, bounded_f64, larger, narrow, smaller};
use crate::profile::SLOTS;
use crate::time_zone::LocalTime;

/// Values are held within this distance of the series' first one.
const VALUE_MAX: f64 = 1e30;
/// How much of an error the level follows (alpha). With .03, .1, .3 and .5 KPI event-F1 is .50, .49, .52 and .54; NAB 62, 59, 62 and 61.
const LEVEL_RATE: f64 = 0.5;
/// How much of the level's step the trend follows (beta): .0001 and .01 do the same.
const TREND_RATE: f64 = 0.001;
/// The least share of a departure that an hour of the season follows (gamma); there are many samples to an hour. With .1 NAB
/// is 4 points lower, and KPI event-F1 .02 higher.
const SEASON_RATE: f32 = 0.03;
/// The least rate of the slow mean: three and a half days at five minutes.
const MEAN_RATE: f64 = 0.001;
/// The least rate of the scale: a hundred samples.
const SCALE_RATE: f32 = 0.01;
/// Samples that only teach.
const SCORED_MIN: u32 = 40;
/// An error counts at most this many scales towards level, trend and season, and towards the scale one more.
///
/// 3 mean absolute errors are 2.4 standard deviations of normal noise; Gelper, Fried and Croux have 2 of these.
const CLIP: f64 = 3.0;
const SCALE_CLIP: f32 = 4.0;
/// So many errors beyond the clip in a row are no outliers any more, and count whole: a new level. Without this a series that was
/// constant for long, whose scale has become small, would need days to reach one.
const RUN: u8 = 12;
/// Half the width of the band, in mean absolute errors: 98 % of normal noise lie within.
const BAND: f32 = 2.915;

/// Scores a sample by its distance from level, trend and season.
///
/// With sample `x` (less the series' first one) after `t` others, season `S(t)` on the line between the centres of the hours of the
/// day, and `n` samples of this hour before:
///
/// ```text
/// e = x - (l + b + S(t))          e* = e held within 3 s of 0, from sample 40 on; e where 12 in a row were beyond
/// l' = l + b + .5 e*              b' = b + .5 .001 e*
/// x* = x - (e - e*)               mu' = mu + max(1 / (t + 1), .001) (x* - mu)
/// S[hour]' = S[hour] + max(1 / (n + 1), .03) (x* - mu' - S[hour])
/// s' = s + max(1 / t, .01) (min(|e|, 4 s) - s)        with |e| where e* = e
/// severity = max(that of max(e, 0), that of max(-e, 0)), two tails ([`Extremes`])
/// ```
///
/// Source: Holt, "Forecasting seasonals and trends by exponentially weighted moving averages" (1957); Winters, "Forecasting sales by
/// exponentially weighted moving averages" (1960), the additive form, written by its errors; the clip by Gelper, Fried, Croux,
/// "Robust forecasting with exponential and Holt-Winters smoothing" (2010). Deviations:
///
/// - The season is one of hours and not of samples, so that gaps and other intervals leave it in place. Level and trend go by samples.
/// - It follows departures from a slow mean, not from the level: a level that is quick enough for metrics takes the season's
///   place. After 60 days of a sine at an hour, with amplitude 10, Winters' own is 1.9 off on average, the last value 1.6, this less than .2.
/// - The scale is a clipped mean, as the light detector's, where Gelper and others have a tau scale.
/// - `e` goes to the tails: with `e / s` KPI event-F1 is .02 lower and NAB 5 points; one tail for both sides has .05
///   more of the one and 8 points less of the other.
///
/// Severity: about -log10 of the chance of an error at least this large. Expected is the forecast, the band holds 98 % of
/// normal noise. NaN and infinities never come here. Constant input scores 0, and its first movement `log10(n + 1)`. Weak against
/// slow changes and all but the begin of quick ones, half of which the level follows; and where the week has a season.
/// State: 450 bytes. Time: O(1), and a look at 24 counts when the hour changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HoltWinters {
    first: f64,
    level: f64,
    trend: f64,
    /// The slow mean.
    mean: f64,
    season: [f32; SLOTS],
    counts: [u8; SLOTS],
    /// The hour of the last sample, and whether all hours had one.
    hour: u8,
    all_visited: bool,
    /// Mean absolute error.
    scale: f32,
    /// Errors beyond the clip up to the last one.
    run: u8,
    samples: u32,
    above: Extremes<5>,
    below: Extremes<5>,
}

impl HoltWinters {
    pub(crate) fn new(first: f64) -> Self {
        Self {
            first,
            level: 0.0,
            trend: 0.0,
            mean: 0.0,
            season: [0.0; SLOTS],
            counts: [0; SLOTS],
            hour: 0,
            all_visited: false,
            scale: 0.0,
            run: 0,
            samples: 0,
            above: Extremes::NEW,
            below: Extremes::NEW,
        }
    }

    /// The severity of a finite value, which is learnt, and what was expected of it.
    pub(crate) fn observe(&mut self, time: LocalTime, value: f64) -> (f32, Expectation) {
        let moment = Moment::of(time);
        let x = (value - self.first).clamp(-VALUE_MAX, VALUE_MAX);
        if usize::from(self.hour) != moment.slot {
            self.hour = u8::try_from(moment.slot).expect("below 24");
            self.all_visited = self.counts.iter().all(|count| *count > 0);
        }
        let forecast = self.forecast(moment);
        let expectation = self.expectation(forecast);
        let error = x - forecast;
        let mut severity = 0.0;
        if self.samples >= SCORED_MIN {
            let narrow = narrow(error);
            // Zero first: where both are equal it is the one without a sign.
            let above = self.above.observe(larger(0.0, narrow));
            let below = self.below.observe(larger(0.0, -narrow));
            severity = larger(above, below);
        }
        self.learn(moment.slot, x, error);
        (severity, expectation)
    }

    /// What would be expected of a sample at `time`.
    pub(crate) fn expect(&self, time: LocalTime) -> Expectation {
        let moment = Moment::of(time);
        let mut now = self.clone();
        if usize::from(self.hour) != moment.slot {
            now.all_visited = self.counts.iter().all(|count| *count > 0);
        }
        self.expectation(now.forecast(moment))
    }

    fn expectation(&self, forecast: f64) -> Expectation {
        if self.samples < SCORED_MIN {
            return Expectation::NONE;
        }
        let expected = self.first + forecast;
        let reach = f64::from(BAND * self.scale);
        Expectation { expected, lower: expected - reach, upper: expected + reach }
    }

    fn forecast(&self, moment: Moment) -> f64 {
        let season =
            if self.all_visited { moment.of_table(&self.season) } else { self.season[moment.slot] };
        self.level + self.trend + f64::from(season)
    }

    fn learn(&mut self, slot: usize, x: f64, error: f64) {
        let clip = CLIP * f64::from(self.scale);
        let is_far = self.samples >= SCORED_MIN && clip > 0.0 && error.abs() > clip;
        self.run = if is_far { self.run.saturating_add(1) } else { 0 };
        let is_clipped = is_far && self.run < RUN;
        let heard = if is_clipped { error.clamp(-clip, clip) } else { error };
        let held = |value: f64| value.clamp(-VALUE_MAX, VALUE_MAX);
        self.level = held(self.level + self.trend + LEVEL_RATE * heard);
        self.trend = held(self.trend + LEVEL_RATE * TREND_RATE * heard);
        self.learn_season(slot, x - (error - heard));
        if self.samples > 0 {
            let size = narrow(error).abs();
            let size = if is_clipped { smaller(size, SCALE_CLIP * self.scale) } else { size };
            self.scale += self.rate(SCALE_RATE) * (size - self.scale);
        }
        self.samples = self.samples.saturating_add(1);
    }

    /// One in so many samples, at least `least`.
    #[expect(clippy::cast_precision_loss, reason = "it is below the least rate by then")]
    fn rate(&self, least: f32) -> f32 {
        larger(1.0 / self.samples as f32, least)
    }

    fn learn_season(&mut self, slot: usize, x: f64) {
        let rate = 1.0 / (f64::from(self.samples) + 1.0);
        self.mean += if rate > MEAN_RATE { rate } else { MEAN_RATE } * (x - self.mean);
        let (count, season) = (&mut self.counts[slot], &mut self.season[slot]);
        let rate = larger(1.0 / (f32::from(*count) + 1.0), SEASON_RATE);
        *season += rate * (narrow(x - self.mean) - *season);
        *count = count.saturating_add(1);
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        [self.first, self.level, self.trend, self.mean]
            .into_iter()
            .for_each(|value| out.f64(value));
        self.season.iter().for_each(|value| out.f32(*value));
        self.counts.iter().for_each(|count| out.u8(*count));
        out.u8(self.hour);
        out.u8(u8::from(self.all_visited));
        out.f32(self.scale);
        out.u8(self.run);
        out.u32(self.samples);
        self.above.encode(out);
        self.below.encode(out);
    }

    /// What [`HoltWinters::encode`] wrote; `None` where it cannot have written it.
    #[deny(clippy::indexing_slicing)]
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let mut read = Self::new(fields.f64().filter(|first| first.is_finite())?);
        read.level = bounded_f64(fields.f64()?)?;
        read.trend = bounded_f64(fields.f64()?)?;
        read.mean = bounded_f64(fields.f64()?)?;
        for value in &mut read.season {
            *value = bounded(fields.f32()?)?;
        }
        for count in &mut read.counts {
            *count = fields.u8()?;
        }
        read.hour = fields.u8().filter(|hour| usize::from(*hour) < SLOTS)?;
        read.all_visited = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        read.scale = bounded(fields.f32()?).filter(|scale| *scale >= 0.0)?;
        read.run = fields.u8()?;
        read.samples = fields.u32()?;
        read.above = Extremes::decode(fields)?;
        read.below = Extremes::decode(fields)?;
        Some(read)
    }
}

#[cfg(test)]
#[path = "holt_winters_tests.rs"]
mod tests;
