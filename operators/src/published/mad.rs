//! The robust z-score over a trailing window.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use crate::extremes::Extremes;
use crate::light::Expectation;
use crate::numeric::{bounded, narrow, smaller};

/// Samples that a sample is compared with: 21 hours at five minutes.
///
/// With 128 and 512 NAB is 3 and 1 points lower, KPI event-F1 .01 higher and the same; with 512 delay-7 F1 falls from .75 to .28.
const WINDOW: usize = 256;
/// Samples before any is scored: the median absolute deviation of fewer is known to a quarter only.
const SCORED_MIN: usize = 40;
/// The median absolute deviation of normal noise, in standard deviations, as Iglewicz and Hoaglin have it.
const MAD_OF_NORMAL: f32 = 0.6745;
/// Standard deviations of normal noise per mean absolute deviation: the square root of pi / 2.
const NORMAL_OF_MEAN: f32 = 1.253_314;
/// Scores are told apart up to here; with 1e9 NAB is 2 points lower, because one jump of a still series would be the measure of all that
/// follows. The score of a movement in a series that never moved before is this one.
const SCORE_MAX: f32 = 1e3;
/// Standard deviations from the mean that 98 % of a normal distribution lie within.
const BAND: f32 = 2.326;

/// Scores a sample by its distance from the median of the last 256, in median absolute deviations.
///
/// With sample `x` and the samples `w` before it, 256 at most:
///
/// ```text
/// m = median of w        mad = median of |w - m|
/// s = mad / .6745        where mad = 0: 1.2533 times the mean of |w - m|
/// z = min(|x - m| / s, 1000)          where s = 0: 1000, and 0 for x = m
/// severity = that of z among the last 8,000 to 16,000 of them ([`Extremes`])
/// ```
///
/// Source: the modified z-score of Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993), whose level is
/// 3.5; the mean where most samples are equal is a habit of statistics programs. Deviations: the window
/// trails and ends before the sample; a severity in place of the score. `-log10` of the normal law's tail for `z` was tried
/// for it: no series is normal, NAB has 28 with it instead of 51, at a level of 92, and KPI event-F1 .21 instead of .47.
///
/// Expected is the median, the band holds 98 % of normal noise. NaN and infinities never come here. Constant input
/// scores 0, and its first movement after `n` samples `log10(n + 1)` at most. Weak against seasons, which are its spread,
/// and for half a window behind a new level. State: 2.2 kB; values are kept in 32 bits, less the first one. Time: O(256), some
/// 128 comparisons and a copy of 1 kB.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mad {
    first: f64,
    /// How many samples there are.
    count: u16,
    /// Where the next one goes, in place of the oldest.
    next: u16,
    /// In the order in which they came.
    arrived: [f32; WINDOW],
    /// The same, ascending.
    sorted: [f32; WINDOW],
    tail: Extremes<5>,
}

/// Median and scale of a window.
#[derive(Clone, Copy, Debug)]
struct Centre {
    median: f32,
    /// 0 where all samples are equal.
    scale: f32,
}

impl Mad {
    pub(crate) fn new(first: f64) -> Self {
        let (arrived, sorted) = ([0.0; WINDOW], [0.0; WINDOW]);
        Self { first, count: 0, next: 0, arrived, sorted, tail: Extremes::NEW }
    }

    /// The severity of a finite value, which is learnt, and what was expected of it.
    pub(crate) fn observe(&mut self, value: f64) -> (f32, Expectation) {
        // A zero has no sign: the window's order could not tell which of two leaves.
        let x = narrow(value - self.first) + 0.0;
        let centre = self.centre();
        let severity = centre.map_or(0.0, |centre| self.tail.observe(centre.score(x)));
        self.learn(x);
        (severity, self.expectation(centre))
    }

    /// What would be expected of the next sample.
    pub(crate) fn expect(&self) -> Expectation {
        self.expectation(self.centre())
    }

    fn expectation(&self, centre: Option<Centre>) -> Expectation {
        let Some(Centre { median, scale }) = centre else { return Expectation::NONE };
        let expected = self.first + f64::from(median);
        let reach = f64::from(BAND * scale);
        Expectation { expected, lower: expected - reach, upper: expected + reach }
    }

    /// None while there are too few samples.
    fn centre(&self) -> Option<Centre> {
        let window = &self.sorted[..usize::from(self.count)];
        if window.len() < SCORED_MIN {
            return None;
        }
        let median = middle(window[(window.len() - 1) / 2], window[window.len() / 2]);
        let mut scale = median_distance(window, median) / MAD_OF_NORMAL;
        if scale <= 0.0 {
            let sum = window.iter().fold(0.0, |sum, sample| sum + (sample - median).abs());
            scale = sum / f32::from(self.count) * NORMAL_OF_MEAN;
        }
        Some(Centre { median, scale })
    }

    fn learn(&mut self, x: f32) {
        let oldest = std::mem::replace(&mut self.arrived[usize::from(self.next)], x);
        let mut count = usize::from(self.count);
        if count == WINDOW {
            let place = self.sorted.partition_point(|sample| *sample < oldest);
            self.sorted.copy_within(place + 1.., place);
            count -= 1;
        } else {
            self.count += 1;
        }
        let place = self.sorted[..count].partition_point(|sample| *sample < x);
        self.sorted.copy_within(place..count, place + 1);
        self.sorted[place] = x;
        self.next = if usize::from(self.next) == WINDOW - 1 { 0 } else { self.next + 1 };
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.f64(self.first);
        out.u16(self.count);
        let (newer, older) = self.arrived[..usize::from(self.count)].split_at(self.oldest());
        older.iter().chain(newer).for_each(|sample| out.f32(*sample));
        self.tail.encode(out);
    }

    fn oldest(&self) -> usize {
        if usize::from(self.count) == WINDOW { usize::from(self.next) } else { 0 }
    }

    /// What [`Mad::encode`] wrote; `None` where it cannot have written it.
    #[deny(clippy::indexing_slicing)]
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let mut read = Self::new(fields.f64().filter(|first| first.is_finite())?);
        read.count = fields.u16()?;
        let count = usize::from(read.count);
        for sample in read.arrived.get_mut(..count)? {
            *sample = bounded(fields.f32()?)? + 0.0;
        }
        read.sorted = read.arrived;
        read.sorted.get_mut(..count)?.sort_unstable_by(f32::total_cmp);
        read.next = if count == WINDOW { 0 } else { read.count };
        read.tail = Extremes::decode(fields)?;
        Some(read)
    }
}

impl Centre {
    fn score(self, x: f32) -> f32 {
        let distance = (x - self.median).abs();
        if self.scale > 0.0 {
            smaller(distance / self.scale, SCORE_MAX)
        } else if distance > 0.0 {
            SCORE_MAX
        } else {
            0.0
        }
    }
}

/// The mean of two; of two that are equal, the same.
fn middle(lower: f32, upper: f32) -> f32 {
    lower + 0.5 * (upper - lower)
}

/// The median of the distances from `centre`: from there outwards, always the nearer side first.
fn median_distance(sorted: &[f32], centre: f32) -> f32 {
    let right = sorted.partition_point(|sample| *sample < centre);
    let (below, above) = sorted.split_at(right);
    let mut below = below.iter().rev().map(|sample| centre - sample).peekable();
    let mut above = above.iter().map(|sample| sample - centre).peekable();
    let mut last = [0.0; 2];
    for _ in 0..=sorted.len() / 2 {
        let is_below = match (below.peek(), above.peek()) {
            (Some(below), Some(above)) => below < above,
            (below, _) => below.is_some(),
        };
        let nearest = if is_below { below.next() } else { above.next() };
        last = [last[1], nearest.unwrap_or(last[1])];
    }
    if sorted.len().is_multiple_of(2) { middle(last[0], last[1]) } else { last[1] }
}

#[cfg(test)]
#[path = "mad_tests.rs"]
mod tests;
