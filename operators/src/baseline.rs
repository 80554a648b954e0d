//! Slow mean, daily profile and hourly spread: what novelty and deviation share.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::numeric::{bounded, bounded_f64, larger, nanos_f64, narrow, smaller};
use crate::profile::{SLOT_NANOS, SLOTS, another_has};
use crate::time_zone::LocalTime;

/// Hours of a week.
pub(crate) const WEEK_SLOTS: usize = 168;
/// Values are held within this distance of the series' first one.
const VALUE_MAX: f64 = 1e30;
/// The slow mean's rate once it is old: three and a half days at five minutes.
const MEAN_RATE: f64 = 0.001;
/// The rate of an hour's profile. At .05 and .2 NAB falls by 3 points.
const PROFILE_RATE: f32 = 0.1;
/// The rate of an hour's spread: about eight days of an hour at five minutes.
const SPREAD_RATE: f32 = 0.01;
/// Residuals of an hour before its spread is used, and before it clips.
const SPREAD_COUNT_MIN: u8 = 10;
const SPREAD_COUNT_SETTLED: u8 = 20;
/// A residual counts at most this many spreads towards the spread: what is that far out says nothing of it.
const SPREAD_CLIP: f32 = 8.0;
/// The clip is at least that of an hour with this share of the typical spread: still hours can wake up.
const SPREAD_CLIP_SHARE: f32 = 0.1;
/// An hour counts as at most this much calmer than the typical one. At 1 (calm hours are not looked at
/// more closely) NAB of novelty falls by 4 points, between .1 and .3 nothing changes.
const SPREAD_SHARE_MIN: f32 = 0.3;
/// A typical spread below this is none: shares of it could become 0.
const SPREAD_MIN: f32 = 1e-30;

/// Slow mean, daily profile and spread about them.
///
/// Learnt once a step ([`Pace`](crate::pace::Pace)), so that a series at a second has the memory of one at a minute.
/// With value `v` (the sample less the series' first), `t` samples before it, `b` its hour of the day,
/// `C[b]` how many came in this hour before, and profile `P(t)` on the line between the centres of the hours:
///
/// ```text
/// mu'   = mu + max(1 / (t + 1), .001) (v - mu)           mu = v at first
/// dev   = v - mu'       r = dev - P(t) where C[b] > 0, else 0
/// P[b]' = P[b] + max(1 / (C[b] + 1), .1) (dev - P[b])
/// S[b]' = S[b] + max(1 / C[b], .01) (min(|r|, 8 S[b]) - S[b])
/// scale = mean of S / max(S(t), .3 mean of S)            1 until C[b] > 10
/// ```
///
/// A sample of an anomaly is not learnt: `mu' = mu + max(1 / (t + 1), .001) P(t)`, as for the sample that was expected.
/// `scale` makes residuals of calm and of busy hours comparable: that alone is worth 2 points of NAB and .05
/// of KPI event-F1 for novelty.
///
/// Source: the reference detector's steps 1 and 2. Deviations: the line between the hours, once all were
/// seen, where the reference has steps that are novelties of their own; the spread; the mean of `S` is taken
/// anew when the hour changes. Values are held within ±1e30 of the first one. Weak against a season that is
/// not a day, and where the day follows other clocks than the hours do. State: 264 bytes. Time: O(1), O(24) when the hour changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Baseline {
    first: f64,
    mean: f64,
    profile: [f32; SLOTS],
    spread: [f32; SLOTS],
    /// Mean of `spread` over the hours whose spread is used; 0 while there is none.
    typical_spread: f32,
    samples: u32,
    counts: [u8; SLOTS],
    /// The hour of the last sample.
    hour: u8,
    all_visited: bool,
}

/// What the baseline says of one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Samples learnt before this one.
    pub(crate) samples: u32,
    /// The sample less the series' first one.
    pub(crate) value: f64,
    /// The slow mean before the sample, in the same unit.
    pub(crate) mean: f64,
    /// The profile before the sample.
    pub(crate) season: f32,
    /// Distance, with its sign, from slow mean and profile.
    pub(crate) residual: f32,
    /// `value` less the slow mean with it.
    pub(crate) departure: f32,
    /// The slow mean with the sample, and by which share of the distance it moved.
    next_mean: f64,
    rate: f64,
    slot: usize,
    /// By what residuals of this hour are multiplied.
    pub(crate) scale: f32,
    /// Mean absolute residual of this hour.
    pub(crate) spread: f32,
    /// Hour of the week, from Thursday on, which the epoch was.
    pub(crate) week_slot: usize,
}

/// Where a moment lies: in which hour, and how far on the way to which neighbour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) slot: usize,
    neighbour: usize,
    weight: f32,
    week_slot: usize,
}

impl Moment {
    pub(crate) fn of(time: LocalTime) -> Self {
        let hours = time.nanos().div_euclid(SLOT_NANOS);
        let within = nanos_f64(time.nanos().rem_euclid(SLOT_NANOS)) / nanos_f64(SLOT_NANOS);
        let index = |slots: i64| usize::try_from(hours.rem_euclid(slots)).expect("not negative");
        let slot = index(24);
        let offset = narrow(within) - 0.5;
        let step = if offset < 0.0 { SLOTS - 1 } else { 1 };
        let neighbour = (slot + step) % SLOTS;
        Self { slot, neighbour, weight: offset.abs(), week_slot: index(168) }
    }

    /// What a table of the hours has, on the line between their centres.
    pub(crate) fn of_table(self, table: &[f32; SLOTS]) -> f32 {
        let here = table[self.slot];
        here + (table[self.neighbour] - here) * self.weight
    }
}

impl Baseline {
    /// The baseline of a series that begins with a finite value.
    pub(crate) fn new(first: f64) -> Self {
        Self {
            first,
            mean: 0.0,
            profile: [0.0; SLOTS],
            spread: [0.0; SLOTS],
            typical_spread: 0.0,
            samples: 0,
            counts: [0; SLOTS],
            hour: 0,
            all_visited: false,
        }
    }

    /// The series' first value, which the others are counted from.
    pub(crate) fn first(&self) -> f64 {
        self.first
    }

    /// The slow mean, in the unit of the values.
    pub(crate) fn usual(&self) -> f64 {
        self.first + self.mean
    }

    /// Looks at a finite value.
    pub(crate) fn look(&mut self, time: LocalTime, value: f64) -> View {
        let value = (value - self.first).clamp(-VALUE_MAX, VALUE_MAX);
        let moment = Moment::of(time);
        let (slot, mean) = (moment.slot, self.mean);
        self.enter_hour(slot);
        let season =
            if self.all_visited { moment.of_table(&self.profile) } else { self.profile[slot] };
        let (scale, spread) = self.scale(moment);

        let rate = 1.0 / (f64::from(self.samples) + 1.0);
        let rate = if rate > MEAN_RATE { rate } else { MEAN_RATE };
        let next_mean = mean + rate * (value - mean);
        let departure = narrow(value - next_mean);
        let residual = if self.counts[slot] > 0 { departure - season } else { 0.0 };
        View {
            samples: self.samples,
            value,
            mean,
            season,
            residual,
            departure,
            next_mean,
            rate,
            slot,
            scale,
            spread,
            week_slot: moment.week_slot,
        }
    }

    /// Learns what it looked at.
    pub(crate) fn learn(&mut self, view: &View) {
        self.mean = view.next_mean;
        self.learn_hour(view.slot, view.departure, view.residual);
        self.samples = self.samples.saturating_add(1);
    }

    /// Goes on as if the sample had been the expected one: a mean that follows the day has to be where it is at this hour.
    pub(crate) fn pass(&mut self, view: &View) {
        self.mean += view.rate * f64::from(view.season);
    }

    /// Moves the slow mean by as much as samples depart from mean and profile.
    pub(crate) fn shift(&mut self, departure: f32) {
        self.mean = (self.mean + f64::from(departure)).clamp(-VALUE_MAX, VALUE_MAX);
    }

    /// Whether another hour of the day has such values, in a series whose hours differ.
    ///
    /// With the profile's least and greatest hour `l` and `h`, and the typical spread `s`: `h - l > 4 s`, and the value is
    /// within two spreads of `mu + l` to `mu + h`.
    pub(crate) fn has_hour_with(&self, value: f64) -> bool {
        let departure = narrow(value - self.first - self.mean);
        self.all_visited && another_has(&self.profile, departure, 2.0 * self.typical_spread)
    }

    fn enter_hour(&mut self, slot: usize) {
        if usize::from(self.hour) == slot {
            return;
        }
        self.hour = u8::try_from(slot).expect("below 24");
        self.all_visited = self.all_visited || self.counts.iter().all(|count| *count > 0);
        let (mut sum, mut hours) = (0.0, 0.0);
        for (spread, count) in self.spread.iter().zip(&self.counts) {
            if *count > SPREAD_COUNT_MIN {
                sum += spread;
                hours += 1.0;
            }
        }
        self.typical_spread = if hours > 0.0 { sum / hours } else { 0.0 };
    }

    /// By what residuals are multiplied, and their mean size.
    fn scale(&self, moment: Moment) -> (f32, f32) {
        let here = self.spread[moment.slot];
        if self.counts[moment.slot] <= SPREAD_COUNT_MIN || self.typical_spread < SPREAD_MIN {
            return (1.0, here);
        }
        let spread = if self.all_visited { moment.of_table(&self.spread) } else { here };
        let spread = larger(spread, SPREAD_SHARE_MIN * self.typical_spread);
        (self.typical_spread / spread, spread)
    }

    fn learn_hour(&mut self, slot: usize, departure: f32, residual: f32) {
        let known = self.counts[slot];
        self.counts[slot] = known.saturating_add(1);
        let profile = &mut self.profile[slot];
        let rate = larger(1.0 / (f32::from(known) + 1.0), PROFILE_RATE);
        *profile += rate * (departure - *profile);
        if known == 0 {
            return;
        }
        let spread = &mut self.spread[slot];
        let heard = if known > SPREAD_COUNT_SETTLED {
            let usual = larger(*spread, SPREAD_CLIP_SHARE * self.typical_spread);
            smaller(residual.abs(), SPREAD_CLIP * usual)
        } else {
            residual.abs()
        };
        *spread += larger(1.0 / f32::from(known), SPREAD_RATE) * (heard - *spread);
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.f64(self.first);
        out.f64(self.mean);
        for value in self.profile.iter().chain(&self.spread) {
            out.f32(*value);
        }
        out.f32(self.typical_spread);
        out.u32(self.samples);
        self.counts.iter().for_each(|count| out.u8(*count));
        out.u8(self.hour);
        out.u8(u8::from(self.all_visited));
    }

    /// What [`Baseline::encode`] wrote; `None` where it cannot have written it.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let first = fields.f64().filter(|first| first.is_finite())?;
        let mut read = Self::new(first);
        read.mean = bounded_f64(fields.f64()?)?;
        for value in &mut read.profile {
            *value = bounded(fields.f32()?)?;
        }
        for value in &mut read.spread {
            *value = bounded(fields.f32()?).filter(|spread| *spread >= 0.0)?;
        }
        read.typical_spread = bounded(fields.f32()?).filter(|spread| *spread >= 0.0)?;
        read.samples = fields.u32()?;
        for count in &mut read.counts {
            *count = fields.u8()?;
        }
        read.hour = fields.u8().filter(|hour| usize::from(*hour) < SLOTS)?;
        read.all_visited = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(read)
    }
}

#[cfg(test)]
#[path = "baseline_tests.rs"]
mod tests;
