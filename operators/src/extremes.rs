//! How unlikely a distance is, from the greatest distances of the last days.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::numeric::{BOUND, coarse, from_coarse, larger, smaller};
use crate::tail::SEVERITY_MAX;

/// Distances that are kept of each generation.
///
/// With 16 the mean excess is known to a quarter only and NAB falls by 2 points; 64 reach so far into the bulk
/// that the tail is not exponential, with the same loss.
const KEPT: usize = 32;
/// Samples of a generation: 5.6 days at a minute, 28 at five minutes.
///
/// With 4,000 an anomaly of last week is news again, with 16,000 what is normal is known for too long: KPI
/// event-F1 of novelty falls from .51 to .46 and to .45.
pub(crate) const GENERATION: u16 = 8_000;
/// The same where nothing is known of an earlier one, for a tail that [renews](Extremes::renew) itself: at five minutes the two
/// weeks in which a series' weeks are learnt.
const GENERATION_FIRST: u16 = 4_000;
/// From so many distances on the current generation may say that the earlier one is outlived, and it does where it has less than a
/// quarter of the extremes that are its due: of a series that stays as it is one or two in a hundred.
const OUTLIVING_MIN: u16 = 2_000;
const OUTLIVING_SHARE: u32 = 4;
/// Distances before any is scored, as in the reference.
const COUNT_MIN: u32 = 50;
/// At most one in this many distances is called extreme, while there are few.
const EXTREME_SHARE: u32 = 4;
/// The greatest distances of this and the previous generation, and the exponential tail above them.
///
/// With distance `d >= 0`, the greatest of each step learnt, `n` distances learnt in both generations and the `k` greatest of them,
/// `k = min(32, n / 4, how many are not 0)`:
///
/// ```text
/// u = the least of the k          m = max(mean of the k - u, u PERCENT / 100)
/// severity = ((d - u) / m + ln(n / k)) / ln 10      where d > u, else 0
/// severity = log10((n + 1) / (k + 1))               where k < 2 and d > 0 (rule of succession)
/// ```
///
/// Source: exponential peaks over threshold (Pickands 1975; Siffer et al., "SPOT", 2017, with shape 0), with
/// Weissman's estimator of the k greatest (1978). Deviations from the reference: only distances that are not
/// 0 count as extreme, else a series that mostly repeats itself would call everything else impossible; `m`
/// has a floor that is a share of `u`, at least .05: below, a step of the kept distances would be many mean excesses. Severity: about -log10 of the chance of a distance at least this
/// large, 0 to 100, and 0 for the first 50. Weak where the tail is heavier than exponential: values there are
/// called rarer than they are.
/// State: 144 bytes; distances are kept in 16 bits, to one part in 256, and compared at that resolution. `u`
/// and `m` are kept until they change. Time: O(1), and O(32) for a distance that is among the greatest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Extremes<const PERCENT: u8> {
    /// The greatest first; zeros are not kept.
    current: [u16; KEPT],
    earlier: [u16; KEPT],
    current_kept: u8,
    earlier_kept: u8,
    /// `k` of the formula.
    extreme: u8,
    current_count: u16,
    earlier_count: u16,
    /// `u` of the formula; 0 while there is none.
    threshold: u16,
    /// The greatest distance of the step so far.
    waiting: u16,
    /// `m` of the formula.
    excess: f32,
}

impl<const PERCENT: u8> Extremes<PERCENT> {
    pub(crate) const NEW: Self = Self {
        current: [0; KEPT],
        earlier: [0; KEPT],
        current_kept: 0,
        earlier_kept: 0,
        extreme: 0,
        current_count: 0,
        earlier_count: 0,
        threshold: 0,
        waiting: 0,
        excess: 0.0,
    };

    /// The severity of a distance, at least 0 and at most 1e32.
    #[inline]
    pub(crate) fn severity(&self, distance: f32) -> f32 {
        self.severity_with(distance, 0.0)
    }

    /// The same, with a mean excess of at least so much.
    #[inline]
    pub(crate) fn severity_with(&self, distance: f32, excess_min: f32) -> f32 {
        let distance = coarse(distance);
        if distance > self.threshold { self.severity_above(distance, excess_min) } else { 0.0 }
    }

    /// Learns a distance: the greatest of each step.
    pub(crate) fn learn(&mut self, distance: f32, ends_step: bool) {
        let distance = coarse(distance).max(self.waiting);
        self.waiting = if ends_step { 0 } else { distance };
        if ends_step {
            self.count_in(distance);
        }
    }

    /// The severity of a distance that is a step of its own, before it is learnt.
    pub(crate) fn observe(&mut self, distance: f32) -> f32 {
        let severity = self.severity(distance);
        self.learn(distance, true);
        severity
    }

    /// Behind a step: the first generation is a short one, and an earlier one is forgotten once the current one
    /// has hardly any distance among the greatest of both.
    ///
    /// For distances that shrink while a series is learnt: what its first days brought would hide for two months what is rare later.
    pub(crate) fn renew(&mut self) {
        if self.earlier_count == 0 {
            if self.current_count == GENERATION_FIRST {
                self.turn();
                self.fit();
            }
        } else if self.current_count >= OUTLIVING_MIN && self.is_outlived() {
            (self.earlier, self.earlier_kept, self.earlier_count) = ([0; KEPT], 0, 0);
            self.fit();
        }
    }

    /// Whether fewer of the greatest distances are of the current generation than a quarter of its share in all.
    fn is_outlived(&self) -> bool {
        if usize::from(self.extreme) < KEPT {
            return false;
        }
        let current = &self.current[..usize::from(self.current_kept)];
        let here = current.iter().map(|d| u32::from(*d >= self.threshold)).sum::<u32>();
        here * OUTLIVING_SHARE * self.count()
            < u32::from(self.extreme) * u32::from(self.current_count)
    }

    /// Takes nothing of the step so far.
    pub(crate) fn forget(&mut self) {
        self.waiting = 0;
    }

    fn count(&self) -> u32 {
        u32::from(self.current_count) + u32::from(self.earlier_count)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^24")]
    fn severity_above(&self, distance: u16, excess_min: f32) -> f32 {
        let count = self.count();
        if count < COUNT_MIN {
            return 0.0;
        }
        let (count, extreme) = (count as f32, f32::from(self.extreme));
        if self.extreme < 2 {
            return libm::log10f((count + 1.0) / (extreme + 1.0));
        }
        let above = from_coarse(distance) - from_coarse(self.threshold);
        let tail = (above / larger(self.excess, excess_min) + libm::logf(count / extreme))
            * std::f32::consts::LOG10_E;
        smaller(tail, SEVERITY_MAX)
    }

    fn count_in(&mut self, distance: u16) {
        let least = self.current[KEPT - 1];
        if distance > least {
            self.insert(distance);
        }
        self.current_count += 1;
        if self.current_count == GENERATION {
            self.turn();
        }
        let moved = distance > self.threshold || self.current_count == 0;
        if moved || self.extreme_now() != self.extreme {
            self.fit();
        }
    }

    /// Begins a generation, and forgets the earlier one.
    fn turn(&mut self) {
        self.earlier = std::mem::replace(&mut self.current, [0; KEPT]);
        self.earlier_kept = std::mem::take(&mut self.current_kept);
        self.earlier_count = std::mem::take(&mut self.current_count);
    }

    fn insert(&mut self, distance: u16) {
        let kept = usize::from(self.current_kept);
        let place = self.current[..kept].partition_point(|other| *other >= distance);
        if kept < KEPT {
            self.current_kept += 1;
        }
        let end = usize::from(self.current_kept);
        self.current.copy_within(place..end - 1, place + 1);
        self.current[place] = distance;
    }

    /// `k` of the formula, from what is kept now.
    #[expect(clippy::cast_possible_truncation, reason = "at most 32")]
    fn extreme_now(&self) -> u8 {
        let kept = u32::from(self.current_kept) + u32::from(self.earlier_kept);
        kept.min(self.count() / EXTREME_SHARE).min(KEPT as u32) as u8
    }

    /// Fits the tail to the greatest of both generations.
    fn fit(&mut self) {
        self.extreme = self.extreme_now();
        if self.extreme < 2 {
            self.threshold = 0;
            self.excess = 0.0;
            return;
        }
        let (mut here, mut before) = (0, 0);
        let mut sum = 0.0;
        for _ in 0..self.extreme {
            let current = self.current.get(here).copied().unwrap_or(0);
            let earlier = self.earlier.get(before).copied().unwrap_or(0);
            if current >= earlier {
                here += 1;
                self.threshold = current;
            } else {
                before += 1;
                self.threshold = earlier;
            }
            sum += from_coarse(self.threshold);
        }
        let threshold = from_coarse(self.threshold);
        let excess = sum / f32::from(self.extreme) - threshold;
        self.excess = larger(excess, f32::from(PERCENT) / 100.0 * threshold);
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        let generations = [
            (self.current_count, self.current_kept, &self.current),
            (self.earlier_count, self.earlier_kept, &self.earlier),
        ];
        for (count, kept, distances) in generations {
            out.u16(count);
            out.u8(kept);
            distances[..usize::from(kept)].iter().for_each(|distance| out.u16(*distance));
        }
        out.u16(self.waiting);
    }

    /// What [`Extremes::encode`] wrote; `None` where it cannot have written it.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let mut read = Self::NEW;
        (read.current_count, read.current_kept) = decode_generation(fields, &mut read.current)?;
        (read.earlier_count, read.earlier_kept) = decode_generation(fields, &mut read.earlier)?;
        read.waiting = fields.u16().filter(|distance| *distance <= coarse(BOUND))?;
        if read.current_count >= GENERATION {
            return None;
        }
        read.fit();
        Some(read)
    }
}

/// Count and number of distances of one generation, and into `distances` what they are.
#[deny(clippy::indexing_slicing)]
fn decode_generation(
    fields: &mut FieldReader<'_>,
    distances: &mut [u16; KEPT],
) -> Option<(u16, u8)> {
    let (count, kept) = (fields.u16()?, fields.u8()?);
    let mut last = coarse(BOUND);
    for distance in distances.get_mut(..usize::from(kept))? {
        *distance = fields.u16()?;
        if *distance == 0 || *distance > last {
            return None;
        }
        last = *distance;
    }
    (count <= GENERATION && u16::from(kept) <= count).then_some((count, kept))
}

#[cfg(test)]
#[path = "extremes_tests.rs"]
mod tests;
