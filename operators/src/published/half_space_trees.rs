//! Trees of random half-spaces, which count where samples fall.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use super::splits::{DEPTH, FEATURES, LEAVES, SPLITS, TREES};
use crate::extremes::Extremes;
use crate::light::Expectation;
use crate::numeric::{bounded, bounded_f64, larger, narrow};

/// Samples of the first window, which only tells the scale, and by what the next ones are longer.
const WINDOW_FIRST: u16 = 64;
const WINDOW_GROWTH: u16 = 4;
/// Samples of a window, once the series is old: with 250, which the source has, KPI event-F1 is .44 and not .52.
const WINDOW: u16 = 1_000;
/// A part of space that at most this share of a window fell into is not looked at more closely: the source's.
const FEW: f32 = 0.1;
/// What of each value is looked at beside itself: its distance from the values so many samples before.
///
/// With the values one and two samples before themselves NAB has 33 and KPI event-F1 .09 (in windows of 250), with the last three steps 43 and .52.
const LAGS: [usize; FEATURES - 1] = [1, 3, 7];
/// Values that are kept: the longest lag, and this one.
const KEPT: usize = 8;
/// Standard deviations of the last window on each side of its mean that make up the unit cube; the parts of
/// space go twice as far, and everything beyond belongs to the outermost one.
const REACH: f32 = 6.0;
/// Standard deviations of normal noise per mean absolute deviation: the square root of pi / 2. Standard deviations themselves,
/// which one outlier doubles, have 5 points of NAB less.
const NORMAL_OF_MEAN: f32 = 1.253_314;
/// The least width of the cube: what is constant can be divided by it.
const WIDTH_MIN: f32 = 1e-30;
/// Standard deviations from the mean that 98 % of a normal distribution lie within.
const BAND: f32 = 2.326;

/// Scores a sample by how few of the last window's samples fell into the same parts of space.
///
/// A sample is a point of four coordinates: `x`, and its distances from the values 1, 3 and 7 samples before, each
/// less its mean in a window, in twelfths of 1.2533 mean absolute deviations there. 25 trees cut space in halves, six times:
/// coordinate and place are random, see [`SPLITS`]. A window of `n` samples counts how many of them fall into
/// each part; the next one's are scored by these counts `r`:
///
/// ```text
/// mass = sum over trees of r 2^k, in the first part on the way down with r < .1 n, or the last one; k cuts
/// d    = log2((25 n 2^6 + 1) / (mass + 1))
/// severity = that of d among the last 8,000 to 16,000 of them ([`Extremes`])
/// ```
///
/// Source: Tan, Ting, Liu, "Fast Anomaly Detection for Streaming Data" (2011). Deviations: ranges are not known before, so that each window is
/// scaled by the one before it, and scored in the scale in which it was counted; windows of 1,000, after a first of 64
/// and a second of 256; six cuts and not fifteen, for the memory; the logarithm of the mass, whose tail is
/// an exponential one. The mass itself has a KPI event-F1 of .03. Other seeds move NAB by 5 points and KPI event-F1 by .02.
///
/// Deterministic: the trees are constants. Severity: about -log10 of the chance of a mass at least this small. Expected is the
/// mean of the last window, the band holds 98 % of normal noise about it. NaN and infinities never come here. Constant
/// input scores 0. Weak against seasons, of which a window sees a part, and slow: a new level is new for up
/// to two windows. State: 10 kB. Time: 50 ways of six steps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HalfSpaceTrees {
    first: f64,
    /// The last values, less the first one; the newest is the first of them.
    last: [f32; KEPT],
    /// Values up to [`KEPT`].
    known: u8,
    /// Samples in the window that is being counted, and at most.
    count: u16,
    length: u16,
    /// How that window is scaled; none in the first one.
    scale: Option<[Scale; FEATURES]>,
    moments: [Moments; FEATURES],
    /// Samples of it in the last parts.
    leaves: [[u16; LEAVES]; TREES],
    reference: Option<Reference>,
    tail: Extremes<5>,
}

/// The window before, as it was counted.
#[derive(Clone, Debug, PartialEq)]
struct Reference {
    length: u16,
    scale: [Scale; FEATURES],
    /// Samples in each part: the whole at 1, the halves of part `i` at `2 i` and `2 i + 1`.
    parts: [[u16; 2 * LEAVES]; TREES],
}

/// Where the unit interval lies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Scale {
    low: f32,
    width: f32,
}

/// Mean, and sum of distances from it as it was when each sample came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Moments {
    mean: f64,
    distances: f64,
}

impl HalfSpaceTrees {
    pub(crate) fn new(first: f64) -> Self {
        Self {
            first,
            last: [0.0; KEPT],
            known: 0,
            count: 0,
            length: WINDOW_FIRST,
            scale: None,
            moments: [Moments::default(); FEATURES],
            leaves: [[0; LEAVES]; TREES],
            reference: None,
            tail: Extremes::NEW,
        }
    }

    /// The severity of a finite value, which is learnt, and what was expected of it.
    pub(crate) fn observe(&mut self, value: f64) -> (f32, Expectation) {
        let expectation = self.expect();
        self.last.copy_within(..KEPT - 1, 1);
        self.last[0] = narrow(value - self.first);
        if usize::from(self.known) < KEPT - 1 {
            self.known += 1;
            return (0.0, expectation);
        }
        let mut point = [self.last[0]; FEATURES];
        for (coordinate, lag) in point.iter_mut().skip(1).zip(LAGS) {
            *coordinate -= self.last[lag];
        }
        let mut severity = 0.0;
        if let Some(reference) = &self.reference {
            severity = self.tail.observe(reference.distance(&point));
        }
        self.learn(&point);
        (severity, expectation)
    }

    /// What would be expected of the next sample.
    pub(crate) fn expect(&self) -> Expectation {
        let (Some(_), Some([Scale { low, width }, ..])) = (&self.reference, self.scale) else {
            return Expectation::NONE;
        };
        let expected = self.first + f64::from(low + 0.5 * width);
        let reach = f64::from(BAND / (2.0 * REACH) * width);
        Expectation { expected, lower: expected - reach, upper: expected + reach }
    }

    fn learn(&mut self, point: &[f32; FEATURES]) {
        if let Some(scale) = &self.scale {
            let point = scaled(point, scale);
            for (leaves, splits) in self.leaves.iter_mut().zip(&SPLITS) {
                let mut part = 1;
                for _ in 0..DEPTH {
                    part = splits[part].half(part, &point);
                }
                leaves[part - LEAVES] += 1;
            }
        }
        self.count += 1;
        for (moments, coordinate) in self.moments.iter_mut().zip(point) {
            moments.learn(f64::from(*coordinate), self.count);
        }
        if self.count == self.length {
            self.end_window();
        }
    }

    fn end_window(&mut self) {
        if let Some(scale) = self.scale {
            let parts = self.leaves.map(|leaves| parts_of(&leaves));
            self.reference = Some(Reference { length: self.length, scale, parts });
            self.leaves = [[0; LEAVES]; TREES];
        }
        self.scale = Some(self.moments.map(|moments| moments.scale(self.count)));
        self.moments = [Moments::default(); FEATURES];
        self.count = 0;
        let longer = WINDOW_GROWTH * self.length;
        self.length = if longer < WINDOW { longer } else { WINDOW };
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.f64(self.first);
        self.last.iter().for_each(|value| out.f32(*value));
        out.u8(self.known);
        out.u16(self.count);
        out.u16(self.length);
        for moments in &self.moments {
            out.f64(moments.mean);
            out.f64(moments.distances);
        }
        out.u8(u8::from(self.scale.is_some()) + u8::from(self.reference.is_some()));
        if let Some(scale) = &self.scale {
            encode_counts(scale, &self.leaves, out);
        }
        if let Some(reference) = &self.reference {
            out.u16(reference.length);
            encode_counts(&reference.scale, &reference.parts.map(|parts| leaves_of(&parts)), out);
        }
        self.tail.encode(out);
    }

    /// What [`HalfSpaceTrees::encode`] wrote; `None` where it cannot have written it.
    #[deny(clippy::indexing_slicing)]
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let mut read = Self::new(fields.f64().filter(|first| first.is_finite())?);
        for value in &mut read.last {
            *value = bounded(fields.f32()?)?;
        }
        read.known = fields.u8().filter(|known| usize::from(*known) < KEPT)?;
        read.count = fields.u16()?;
        read.length = fields.u16().filter(|length| read.count < *length && *length <= WINDOW)?;
        for moments in &mut read.moments {
            moments.mean = bounded_f64(fields.f64()?)?;
            moments.distances = fields.f64().filter(|it| *it >= 0.0 && *it < f64::INFINITY)?;
        }
        let windows = fields.u8().filter(|windows| *windows <= 2)?;
        if windows > 0 {
            let (scale, leaves) = decode_counts(read.count, fields)?;
            (read.scale, read.leaves) = (Some(scale), leaves);
        }
        if windows > 1 {
            let length = fields.u16().filter(|length| (1..=WINDOW).contains(length))?;
            let (scale, leaves) = decode_counts(length, fields)?;
            let parts = leaves.map(|leaves| parts_of(&leaves));
            read.reference = Some(Reference { length, scale, parts });
        }
        read.tail = Extremes::decode(fields)?;
        Some(read)
    }
}

impl Reference {
    /// `d` of the formula, at least 0.
    #[expect(clippy::cast_precision_loss, reason = "masses are below 2^24")]
    #[expect(clippy::cast_possible_truncation, reason = "some trees")]
    fn distance(&self, point: &[f32; FEATURES]) -> f32 {
        let point = scaled(point, &self.scale);
        let few = FEW * f32::from(self.length);
        let mut mass = 0;
        for (parts, splits) in self.parts.iter().zip(&SPLITS) {
            let (mut part, mut cuts) = (1, 0);
            while cuts < DEPTH && f32::from(parts[part]) >= few {
                part = splits[part].half(part, &point);
                cuts += 1;
            }
            mass += u32::from(parts[part]) << cuts;
        }
        let most = (u32::from(self.length) << DEPTH) * TREES as u32;
        larger(0.0, libm::log2f((most as f32 + 1.0) / (mass as f32 + 1.0)))
    }
}

impl Moments {
    fn learn(&mut self, value: f64, count: u16) {
        let off = value - self.mean;
        self.mean += off / f64::from(count);
        self.distances += off.abs();
    }

    fn scale(&self, count: u16) -> Scale {
        let deviation = narrow(self.distances / f64::from(count)) * NORMAL_OF_MEAN;
        let half = larger(REACH * deviation, WIDTH_MIN);
        Scale { low: narrow(self.mean) - half, width: 2.0 * half }
    }
}

fn scaled(point: &[f32; FEATURES], scale: &[Scale; FEATURES]) -> [f32; FEATURES] {
    let mut scaled = *point;
    for (coordinate, Scale { low, width }) in scaled.iter_mut().zip(scale) {
        *coordinate = (*coordinate - low) / width;
    }
    scaled
}

/// The counts of all parts from those of the last ones.
fn parts_of(leaves: &[u16; LEAVES]) -> [u16; 2 * LEAVES] {
    let mut parts = [0; 2 * LEAVES];
    parts[LEAVES..].copy_from_slice(leaves);
    for part in (1..LEAVES).rev() {
        parts[part] = parts[2 * part] + parts[2 * part + 1];
    }
    parts
}

fn leaves_of(parts: &[u16; 2 * LEAVES]) -> [u16; LEAVES] {
    let mut leaves = [0; LEAVES];
    leaves.copy_from_slice(&parts[LEAVES..]);
    leaves
}

fn encode_counts(
    scale: &[Scale; FEATURES],
    leaves: &[[u16; LEAVES]; TREES],
    out: &mut FieldWriter,
) {
    for Scale { low, width } in scale {
        out.f32(*low);
        out.f32(*width);
    }
    for leaves in leaves {
        out.column(leaves.iter().map(|count| count.to_le_bytes()));
    }
}

/// Scale and last parts; each tree has `count` samples.
#[deny(clippy::indexing_slicing)]
fn decode_counts(
    count: u16,
    fields: &mut FieldReader<'_>,
) -> Option<([Scale; FEATURES], [[u16; LEAVES]; TREES])> {
    let mut scale = [Scale::default(); FEATURES];
    for Scale { low, width } in &mut scale {
        *low = bounded(fields.f32()?)?;
        *width = bounded(fields.f32()?).filter(|width| *width >= WIDTH_MIN)?;
    }
    let mut trees = [[0; LEAVES]; TREES];
    for leaves in &mut trees {
        let mut sum = 0_u32;
        for (leaf, bytes) in leaves.iter_mut().zip(fields.column::<2>(LEAVES)?) {
            *leaf = u16::from_le_bytes(bytes);
            sum += u32::from(*leaf);
        }
        if sum != u32::from(count) {
            return None;
        }
    }
    Some((scale, trees))
}

#[cfg(test)]
#[path = "half_space_trees_tests.rs"]
mod tests;
