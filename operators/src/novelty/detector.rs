//! The three views and their sum.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use super::set::{Room, Set};
use crate::baseline::{Baseline, View};
use crate::extremes::Extremes;
use crate::light::Expectation;
use crate::numeric::{bounded, narrow};

/// Samples that only teach the baseline, and those that are learnt but not scored: the reference's.
const SEEN_MIN: u32 = 20;
pub(crate) const SCORED_MIN: u32 = 80;
/// Residuals that are averaged in the third view.
const SMOOTHED: usize = 6;
/// Above this the sum of the views promises too much: in healthy noise, normal or Laplace, a unit more of it is
/// two thirds as likely, not a tenth. The views are not independent, and a record is further from all before it
/// than they were from each other. So a unit counts a third from there on, which leaves single dashboards' level
/// of 4 as it is, takes half to four fifths of the healthy onsets above the fleets' 6, and gives the sum with
/// deviation .02 of KPI event-F1. Between a knee of 4 and 5, and a quarter and .4 of a unit, little changes.
const KNEE: f32 = 5.0;
const ABOVE_KNEE: f32 = 1.0 / 3.0;
/// Half the width of the band, in mean absolute residuals: 98 % of what is normal (2.9) or Laplace (3.9)
/// about the baseline lie within, roughly; the light detector begins with the same.
const BAND: f32 = 3.0;

/// Scores a sample by its distance from all that was seen before, in three views.
///
/// With value `x`, residual `r` and `scale` as in [`Baseline`]:
///
/// ```text
/// y1 = x        y2 = r scale        y3 = mean of the last 6 r, times scale
/// d_i = distance of y_i from the values of its set ([`Set`]), learnt from sample 20 on
/// s = sum over i of the severity of d_i ([`Extremes`]), each at most 100, from sample 80 on
/// severity = s where s <= 5, else 5 + (s - 5) / 3
/// ```
///
/// Source: the reference detector, its novelty sets and tails. Deviations: residuals times the hour's scale,
/// and the knee; see also the two parts. The sum says more than the greatest: a sample that is news in two views is
/// rarer than in one. Severity: up to 5 about -log10 of a chance, beyond that less, see the constant; 0 to 104.
/// Expected is slow mean and profile, the band holds 98 % of healthy samples.
///
/// NaN and infinities never come here. Constant input scores 0, and the first other value after `n` samples
/// log10(n + 1) in each view, before the knee.
/// Weak where the same anomaly comes back, against departures within what was seen, and in white noise,
/// whose records it overrates.
/// State: 520 bytes, and 192 to 1,260 for the values of the sets. Time: about 312 comparisons of floats.
#[derive(Clone, Debug)]
pub(crate) struct Novelty {
    sets: [Set; 3],
    values: Room<3>,
    extremes: [Extremes; 3],
    residuals: [f32; SMOOTHED],
    /// Residuals that were kept, modulo their number, and whether all places have one.
    next: u8,
    all: bool,
}

impl Novelty {
    /// Bytes on the heap, at most.
    pub(crate) const HEAP_BYTES_MAX: usize = Room::<3>::BYTES_MAX;

    pub(crate) fn new() -> Self {
        Self {
            sets: [Set::default(); 3],
            values: Room::new(),
            extremes: [Extremes::NEW; 3],
            residuals: [0.0; SMOOTHED],
            next: 0,
            all: false,
        }
    }

    /// The severity of a sample, which is learnt.
    pub(crate) fn observe(&mut self, view: &View) -> f32 {
        let smooth = self.smooth(view.residual);
        if view.samples < SEEN_MIN {
            return 0.0;
        }
        let views = [narrow(view.value), view.residual * view.scale, smooth * view.scale];
        let mut severity = 0.0;
        for (index, y) in views.into_iter().enumerate() {
            let values = self.values.of(&self.sets, index);
            let distance = self.sets[index].observe(y, values);
            if view.samples >= SCORED_MIN {
                severity += self.extremes[index].observe(distance);
            }
        }
        if severity > KNEE { KNEE + ABOVE_KNEE * (severity - KNEE) } else { severity }
    }

    /// What is expected of the sample of a view.
    pub(crate) fn expect(view: &View, baseline: &Baseline) -> Expectation {
        if view.samples < SCORED_MIN {
            return Expectation::NONE;
        }
        let expected = baseline.first() + (view.mean + f64::from(view.season));
        let reach = f64::from(BAND * view.spread);
        Expectation { expected, lower: expected - reach, upper: expected + reach }
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.values.heap_bytes()
    }

    /// Mean of the last residuals, this one included, summed from the oldest on.
    fn smooth(&mut self, residual: f32) -> f32 {
        let next = usize::from(self.next);
        self.residuals[next] = residual;
        self.all = self.all || next + 1 == SMOOTHED;
        self.next = if next + 1 == SMOOTHED { 0 } else { self.next + 1 };
        let (newer, older) = self.residuals.split_at(next + 1);
        let older = if self.all { older } else { &[] };
        let mut sum = 0.0;
        let mut count = 0.0;
        for residual in older.iter().chain(newer) {
            sum += residual;
            count += 1.0;
        }
        sum / count
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        self.values.encode(&self.sets, out);
        self.extremes.iter().for_each(|extremes| extremes.encode(out));
        self.residuals.iter().for_each(|residual| out.f32(*residual));
        out.u8(self.next);
        out.u8(u8::from(self.all));
    }

    /// What [`Novelty::encode`] wrote; `None` where it cannot have written it.
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let mut read = Self::new();
        (read.values, read.sets) = Room::decode(fields)?;
        for extremes in &mut read.extremes {
            *extremes = Extremes::decode(fields)?;
        }
        for residual in &mut read.residuals {
            *residual = bounded(fields.f32()?)?;
        }
        read.next = fields.u8().filter(|next| usize::from(*next) < SMOOTHED)?;
        read.all = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(read)
    }
}

#[cfg(test)]
#[path = "detector_tests.rs"]
mod tests;
