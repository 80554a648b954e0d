//! How unlikely a distance is, from a robust scale and an exponential tail.

use std::f32::consts::LOG10_E;

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::hash::Digest;
use crate::numeric::smaller;

/// Share of samples that the threshold leaves above itself.
///
/// Small enough that a healthy tail is nearly exponential there, large enough that a hundred
/// exceedances come within half a day at ten seconds.
const EXCEEDANCE: f32 = 0.02;
/// `-log10(EXCEEDANCE)`: the severity of a distance at the threshold.
const EXCEEDANCE_SEVERITY: f32 = 1.698_97;
/// Start of the threshold and of the mean excess: a tail between a normal (2.9; 0.46) and a Laplace
/// distribution (3.9; 1), in mean absolute deviations.
const THRESHOLD_START: f32 = 3.0;
const EXCESS_START: f32 = 0.6;
/// Below these a distribution is flatter than any that noise has; they keep quantised and bounded
/// noise from making its own maximum an anomaly.
const THRESHOLD_MIN: f32 = 1.0;
const EXCESS_MIN: f32 = 0.25;
/// One exceedance moves the mean excess by this share.
const EXCESS_RATE: f32 = 1.0 / 32.0;
/// A single exceedance counts at most this many mean excesses: one anomaly may double, not drown,
/// what is known of the tail.
const EXCESS_CLIP: f32 = 30.0;
/// Step of the quantile's stochastic approximation, in mean excesses.
const THRESHOLD_RATE: f32 = 0.05;
/// A distance counts at most this many scales towards the scale.
const SCALE_CLIP: f32 = 4.0;
/// Distances beyond this many scales are told apart no more.
const DISTANCE_MAX: f32 = 1e9;
/// A distance below this share of the threshold is not above it, however product and quotient were rounded.
const SURELY_WITHIN: f32 = 1.0 - 1e-6;
/// Severity is capped here, as in the reference detector.
pub(crate) const SEVERITY_MAX: f32 = 100.0;

/// A robust scale and the tail above its 98 % quantile.
///
/// With distance `d >= 0`, scale `s`, threshold `u`, mean excess `m`, rate `a`:
///
/// ```text
/// z        = d / s
/// severity = log10(1 / 0.02) + (z - u) / (m ln 10)      where z > u, else 0
/// s'       = s + a (min(d, 4 s) - s)
/// u'       = u + 0.05 m ([z > u] - 0.02)                 (quantile by stochastic approximation)
/// m'       = m + (min(z - u, 30 m) - m) / 32             where z > u
/// ```
///
/// Source: exponential peaks over threshold (Pickands 1975; Siffer et al., "SPOT", 2017, with shape
/// 0), quantile after Robbins and Monro (1951). Deviation: SPOT keeps its peaks and refits, here two
/// numbers are updated. Severity: about -log10 of the chance of a distance at least this large, 0 to 100.
/// Weak where the tail is heavier than exponential: then `m` is a mean over what was seen, and the
/// largest values are called rarer than they are. Scale 0 (nothing ever moved): no severity.
/// State: 12 bytes. Time: O(1), one division, a second one for one sample in fifty.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(crate) struct Tail {
    pub(crate) scale: f32,
    pub(crate) threshold: f32,
    pub(crate) excess: f32,
}

impl Tail {
    pub(crate) const NEW: Self =
        Self { scale: 0.0, threshold: THRESHOLD_START, excess: EXCESS_START };

    /// The distance in scales where that is above the threshold, else something that is not; 0 where there is no scale yet.
    #[inline]
    pub(crate) fn standing(&self, distance: f32) -> f32 {
        if distance < SURELY_WITHIN * self.reach() {
            return 0.0;
        }
        if self.scale > 0.0 { smaller(distance / self.scale, DISTANCE_MAX) } else { 0.0 }
    }

    /// The severity of a distance of `z` scales.
    pub(crate) fn severity(&self, z: f32) -> f32 {
        if z <= self.threshold {
            return 0.0;
        }
        let tail = (z - self.threshold) / self.excess * LOG10_E;
        smaller(EXCEEDANCE_SEVERITY + tail, SEVERITY_MAX)
    }

    /// The distance that 98 % of the samples stay within.
    pub(crate) fn reach(&self) -> f32 {
        self.threshold * self.scale
    }

    /// Takes a distance into the scale; `settled` clips what lies far out.
    pub(crate) fn learn_scale(&mut self, distance: f32, rate: f32, settled: bool) {
        let clip = SCALE_CLIP * self.scale;
        // A scale of 0 has no say in what is far: the first movement sets it.
        if self.scale <= 0.0 && settled {
            self.scale = distance;
        } else {
            let heard = if settled { smaller(distance, clip) } else { distance };
            self.scale += rate * (heard - self.scale);
        }
    }

    /// Takes a distance of `z` scales into threshold and mean excess, as a `share` of a sample.
    pub(crate) fn learn_tail(&mut self, z: f32, share: f32) {
        let step = share * THRESHOLD_RATE * self.excess;
        if z > self.threshold {
            let heard = smaller(z - self.threshold, EXCESS_CLIP * self.excess);
            self.threshold += step * (1.0 - EXCEEDANCE);
            self.excess += share * EXCESS_RATE * (heard - self.excess);
            if self.excess < EXCESS_MIN {
                self.excess = EXCESS_MIN;
            }
        } else {
            self.threshold -= step * EXCEEDANCE;
            if self.threshold < THRESHOLD_MIN {
                self.threshold = THRESHOLD_MIN;
            }
        }
    }

    pub(crate) fn digest(&self, out: &mut Digest) {
        out.f32(self.scale);
        out.f32(self.threshold);
        out.f32(self.excess);
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.f32(self.scale);
        out.f32(self.threshold);
        out.f32(self.excess);
    }

    /// What [`Tail::encode`] wrote. A scale that is no number is refused: nothing can be clipped to it.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let (scale, threshold, excess) = (fields.f32()?, fields.f32()?, fields.f32()?);
        (!scale.is_nan()).then_some(Self { scale, threshold, excess })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    #[test]
    fn threshold_and_mean_excess_are_those_of_the_whole_history() {
        for seed in 1..=5 {
            let mut rng = Rng::new(seed);
            let mut tail = Tail { scale: 1.0, ..Tail::NEW };
            let history: Vec<f32> = (0..60_000).map(|_| rng.exponential()).collect();
            history.iter().for_each(|z| tail.learn_tail(*z, 1.0));
            let above: Vec<f32> = history.iter().copied().filter(|z| *z > tail.threshold).collect();
            let share = above.len() as f32 / history.len() as f32;
            let excess = above.iter().map(|z| z - tail.threshold).sum::<f32>() / above.len() as f32;
            assert!((0.012..0.032).contains(&share), "seed {seed}: {share} is above, not 0.02");
            let ratio = tail.excess / excess;
            assert!((0.6..1.6).contains(&ratio), "seed {seed}: {} against {excess}", tail.excess);
            // For exponential noise the chance of more than z is e^-z, exactly.
            let severity = tail.severity(14.0);
            assert!(
                (4.0..9.0).contains(&severity),
                "seed {seed}: {severity}, not {}",
                14.0 * LOG10_E
            );
        }
    }

    #[test]
    fn the_scale_is_the_mean_distance_and_one_outlier_hardly_moves_it() {
        let mut tail = Tail::NEW;
        for count in 0..100_u8 {
            tail.learn_scale(f32::from(count % 3), 1.0 / (f32::from(count) + 1.0), false);
        }
        assert!((tail.scale - 0.99).abs() < 1e-4, "{}", tail.scale);
        tail.learn_scale(1e30, 1.0 / 256.0, true);
        assert!(tail.scale < 1.01, "{}", tail.scale);
    }

    #[test]
    fn extremes_stay_finite() {
        let mut tail = Tail::NEW;
        assert_eq!(tail.standing(1e30).to_bits(), 0.0_f32.to_bits(), "no scale, no distance");
        tail.learn_scale(1e-30, 1.0, true);
        let z = tail.standing(1e30);
        assert!(z <= DISTANCE_MAX);
        assert!((tail.severity(z) - SEVERITY_MAX).abs() < 1e-3);
        (0..1_000).for_each(|_| tail.learn_tail(z, 1.0));
        assert!(tail.excess.is_finite() && tail.threshold.is_finite());
    }
}
