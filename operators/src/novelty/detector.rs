//! The three views and their sum.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use super::set::{Look, Room, Set, VIEWS};
use crate::baseline::{Baseline, View};
use crate::episode::Lesson;
use crate::extremes::Extremes;
use crate::light::Expectation;
use crate::numeric::{bounded, larger, narrow, smaller};

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
/// The mean excess of distances is at least this share of the least extreme one, in per cent.
///
/// Greatest distances that resemble each other are those of few states or of one bad hour, or the gaps of a full set, which are no
/// larger than its resolution: they do not say that nothing lies beyond, and the next record does. From 5 to 30 the false alarms of
/// two-valued series at a minute fall to a hundredth and of normal noise to a quarter, from 30 to 50 those of all healthy
/// series at five minutes in their third and fourth month by a third. At 70 they fall by as much again, and outages that come back in
/// a weekly season at a minute are told of more than twice as often as they come.
const EXCESS_PERCENT: u8 = 50;
/// Half the width of the band, in mean absolute residuals: 98 % of what is normal (2.9) or Laplace (3.9)
/// about the baseline lie within, roughly; the light detector begins with the same.
const BAND: f32 = 3.0;

/// Scores a sample by its distance from all that was seen before, in three views.
///
/// With value `x`, residual `r` and `scale` as in [`Baseline`]:
///
/// ```text
/// y1 = x        y2 = r scale        y3 = mean of r and the last 5 that ended a step, times scale
/// d_i = distance of y_i from the values of its set ([`Set`]), learnt from step 20 on
/// s = sum over i of the severity of d_i ([`Extremes`]), each at most 100, from step 80 on
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
/// Of an anomaly that is on nothing is learnt; at its end the sets get the least and the greatest value of each view
/// ([`Episode`](crate::episode::Episode)).
/// Weak where the same anomaly comes back, against departures within what was seen, and in white noise,
/// whose records it overrates.
/// State: 560 bytes, and 128 or 840 for the values of the sets. Time: about 312 comparisons of floats.
#[derive(Clone, Debug)]
pub(crate) struct Novelty {
    sets: [Set; VIEWS],
    values: Room,
    extremes: [Extremes<EXCESS_PERCENT>; VIEWS],
    residuals: [f32; SMOOTHED],
    /// Residuals that were kept, modulo their number, and whether all places have one.
    next: u8,
    all: bool,
    /// Whether there was an anomaly that is not known yet, and the least and greatest value of each view in it.
    met: bool,
    least: [f32; VIEWS],
    greatest: [f32; VIEWS],
}

/// What was seen of one sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News {
    residual: f32,
    /// Distances mean something.
    is_scored: bool,
    looks: Option<[Look; VIEWS]>,
}

impl Novelty {
    /// Bytes on the heap, at most.
    pub(crate) const HEAP_BYTES_MAX: usize = Room::BYTES_MAX;

    pub(crate) fn new() -> Self {
        Self {
            sets: [Set::default(); VIEWS],
            values: Room::new(),
            extremes: [Extremes::NEW; VIEWS],
            residuals: [0.0; SMOOTHED],
            next: 0,
            all: false,
            met: false,
            least: [0.0; VIEWS],
            greatest: [0.0; VIEWS],
        }
    }

    /// The severity of a sample, and what [`Novelty::learn`] has to know of it.
    pub(crate) fn look(&self, view: &View) -> (f32, News) {
        let is_scored = view.samples >= SCORED_MIN;
        let mut news = News { residual: view.residual, is_scored, looks: None };
        if view.samples < SEEN_MIN {
            return (0.0, news);
        }
        let smooth = self.smooth(view.residual);
        let ys = [narrow(view.value), view.residual * view.scale, smooth * view.scale];
        let look = |index: usize| self.sets[index].look(ys[index], self.values.of(index));
        let looks = [look(0), look(1), look(2)];
        let mut severity = 0.0;
        if is_scored {
            for (extremes, look) in self.extremes.iter().zip(&looks) {
                severity += extremes.severity(look.distance);
            }
        }
        news.looks = Some(looks);
        (if severity > KNEE { KNEE + ABOVE_KNEE * (severity - KNEE) } else { severity }, news)
    }

    /// Learns a sample, or as much of it as the lesson says.
    pub(crate) fn learn(&mut self, news: &News, lesson: Lesson) {
        if lesson.values {
            self.note(news.residual, lesson.ends_step);
        }
        let Some(looks) = news.looks else { return };
        if lesson.distances && news.is_scored {
            for (extremes, look) in self.extremes.iter_mut().zip(&looks) {
                extremes.learn(look.distance, lesson.ends_step);
            }
        }
        if lesson.is_met {
            self.meet(&looks);
        }
        if lesson.is_over {
            self.know(lesson.is_known);
        }
        if lesson.forgets() {
            self.extremes.iter_mut().for_each(Extremes::forget);
        }
        if lesson.values {
            for (index, look) in looks.into_iter().enumerate() {
                self.put(index, look, lesson.ends_step);
            }
        }
    }

    fn put(&mut self, index: usize, look: Look, ends_step: bool) {
        let values = self.values.room(&self.sets, index);
        self.sets[index].learn(look, ends_step, values);
    }

    /// Remembers a sample of an anomaly.
    fn meet(&mut self, looks: &[Look; VIEWS]) {
        let is_first = !std::mem::replace(&mut self.met, true);
        for (index, look) in looks.iter().enumerate() {
            let (least, greatest) = (&mut self.least[index], &mut self.greatest[index]);
            *least = if is_first { look.y } else { smaller(*least, look.y) };
            *greatest = if is_first { look.y } else { larger(*greatest, look.y) };
        }
    }

    /// Puts what was met to what is known, or forgets it.
    fn know(&mut self, is_known: bool) {
        if !std::mem::take(&mut self.met) || !is_known {
            return;
        }
        for index in 0..self.sets.len() {
            for y in [self.least[index], self.greatest[index]] {
                let look = self.sets[index].look(y, self.values.of(index));
                self.put(index, look, false);
            }
        }
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
    fn smooth(&self, residual: f32) -> f32 {
        let next = usize::from(self.next);
        let (newer, older) = self.residuals.split_at(next);
        let older = if self.all { &older[1..] } else { &[] };
        let mut sum = 0.0;
        let mut count = 0.0;
        for residual in older.iter().chain(newer).chain([&residual]) {
            sum += residual;
            count += 1.0;
        }
        sum / count
    }

    /// Keeps the residual that ends a step.
    fn note(&mut self, residual: f32, ends_step: bool) {
        if !ends_step {
            return;
        }
        self.residuals[usize::from(self.next)] = residual;
        self.next += 1;
        if usize::from(self.next) == SMOOTHED {
            self.next = 0;
            self.all = true;
        }
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        self.values.encode(&self.sets, out);
        self.extremes.iter().for_each(|extremes| extremes.encode(out));
        self.residuals.iter().for_each(|residual| out.f32(*residual));
        out.u8(self.next);
        out.u8(u8::from(self.all));
        out.u8(u8::from(self.met));
        if self.met {
            self.least.iter().chain(&self.greatest).for_each(|y| out.f32(*y));
        }
    }

    /// What [`Novelty::encode`] wrote, or an earlier version whose sets were `wide`: floats of 32 bits; `None` where it cannot have
    /// written it.
    pub(crate) fn decode(fields: &mut FieldReader<'_>, wide: bool) -> Option<Self> {
        let mut read = Self::new();
        (read.values, read.sets) = Room::decode(fields, wide)?;
        for extremes in &mut read.extremes {
            *extremes = Extremes::decode(fields)?;
        }
        for residual in &mut read.residuals {
            *residual = bounded(fields.f32()?)?;
        }
        read.next = fields.u8().filter(|next| usize::from(*next) < SMOOTHED)?;
        read.all = flag(fields)?;
        read.met = flag(fields)?;
        if read.met {
            for y in read.least.iter_mut().chain(&mut read.greatest) {
                *y = bounded(fields.f32()?)?;
            }
        }
        Some(read)
    }
}

fn flag(fields: &mut FieldReader<'_>) -> Option<bool> {
    match fields.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
#[path = "detector_tests.rs"]
mod tests;
