//! Both models over a trailing window, and their mean.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use super::components::Components;
use super::neighbours::Neighbours;
use crate::light::Expectation;
use crate::numeric::{bounded, narrow};
use crate::tail::SEVERITY_MAX;

/// A change and five before it: `lags_n` is 5.
pub(super) const FEATURES: usize = 6;
/// `smooth_n`: the mean of three differences is a third of the change over three samples.
const SMOOTHED: usize = 3;
/// `train_max_n`: samples that the models are fitted to.
const TRAIN_MAX: usize = 2_500;
/// Changes that so many samples make, and rows of six.
const CHANGES_MAX: usize = TRAIN_MAX - SMOOTHED;
pub(super) const ROWS_MAX: usize = CHANGES_MAX - FEATURES + 1;
/// `train_min_n` is 14: that are 11 changes and 6 rows, one more than there must be neighbours.
const CHANGES_MIN: usize = 14 - SMOOTHED;
/// The models are fitted anew when the samples since then are one more than this share of the changes: at each sample at
/// first, every 50 samples once the window is full.
///
/// There a schedule fits them, every 5 minutes, without the 13 newest samples, so that a sample takes part after 13 or 14; here after
/// 25 on average. With a hundredth NAB is the same within .1, and everything takes twice as long.
const REFIT_SHARE: usize = 50;
const REFIT_MAX: usize = ROWS_MAX / REFIT_SHARE + 1;
/// Values are held within this distance of the series' first one.
const VALUE_MAX: f64 = 1e30;
/// Standard deviations from the mean that 98 % of a normal distribution lie within.
const BAND: f64 = 2.326;

/// Scores a sample as Anomstack's default does: by its last changes, among those of the last 2,500 samples.
///
/// With sample `x_t`:
///
/// ```text
/// v_t = (x_t - x_{t-3}) / 3                          differences (diff_n 1), their mean of three (smooth_n 3)
/// row = v_t, v_{t-1}, …, v_{t-5}                     lags_n 5
/// pca, knn = decision scores of the row ([`Components`], [`Neighbours`]) from the least to the greatest of the training, 0 to 1
/// score = (pca + knn) / 2, rounded to 3 digits       model_combination_method mean
/// severity = 4 score / (1 - score), at most 100      so that severity / (severity + 4) is the score again
/// ```
///
/// Its `alert_threshold` of .8 is the severity 16. From .962 on the severity is 100; below .112 it is 0, as
/// everything below .5.
///
/// Source: Anomstack's documented defaults, and pyod's definitions. Scores agree with pyod's to 1e-6, which a test holds. What it does
/// otherwise, on purpose:
///
/// - A sample is scored when it comes, by models that have not seen it. There it is when schedules have ingested, trained and scored.
/// - `train_min_n` is how many samples a model needs. There it takes the 13 newest away.
/// - The score that alerts are raised on is this one: the smoothing there (`alert_smooth_n`) has no effect on the newest
///   sample, and no snooze holds. Rules have `for` and `keep_firing`.
/// - The age of samples (90 days) does not count, only their number; `freq` does not resample.
/// - Where pyod has no number, because the training has no variance, a row that is no part of it has the score 1.
///
/// It is no measure of chance: one anomaly in the training, and all lesser ones are small. Expected is the sample that
/// makes the change the mean one, the band that of 98 % of normal changes. NaN and infinities never come here. Constant
/// input scores 0, and its first movement 1. State: 18 kB from the first sample on. Time: 110 microseconds on average, most of it for 5 ms
/// every 50 samples.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Anomstack {
    first: f64,
    /// The last values, less the first one, the newest last.
    last: [f64; SMOOTHED],
    /// Values up to three.
    known: u8,
    /// The last changes, the oldest first: those of the training, and those after it.
    changes: [f32; CHANGES_MAX + REFIT_MAX],
    count: u16,
    models: Option<Models>,
}

/// What was fitted to the first changes.
#[derive(Clone, Debug, PartialEq)]
struct Models {
    /// Changes of the training.
    trained: u16,
    components: Components,
    neighbours: Neighbours,
}

/// Where the rows of six changes begin.
pub(super) fn rows(changes: &[f32]) -> std::ops::Range<usize> {
    0..changes.len().saturating_sub(FEATURES - 1)
}

/// The row that begins at `at`, its newest change first.
pub(super) fn row(changes: &[f32], at: usize) -> [f64; FEATURES] {
    let mut row = [0.0; FEATURES];
    let changes = changes[at..at + FEATURES].iter().rev();
    row.iter_mut().zip(changes).for_each(|(value, change)| *value = f64::from(*change));
    row
}

impl Anomstack {
    pub(crate) fn new(first: f64) -> Self {
        Self {
            first,
            last: [0.0; SMOOTHED],
            known: 0,
            changes: [0.0; CHANGES_MAX + REFIT_MAX],
            count: 0,
            models: None,
        }
    }

    /// The severity of a finite value, which is learnt, and what was expected of it.
    pub(crate) fn observe(&mut self, value: f64) -> (f32, Expectation) {
        let expectation = self.expect();
        let score = self.score(value);
        (severity(score), expectation)
    }

    /// The score of a value, rounded, which is learnt.
    fn score(&mut self, value: f64) -> f64 {
        let value = (value - self.first).clamp(-VALUE_MAX, VALUE_MAX);
        let [before, ..] = self.last;
        self.last.rotate_left(1);
        self.last[SMOOTHED - 1] = value;
        if usize::from(self.known) < SMOOTHED {
            self.known += 1;
            return 0.0;
        }
        self.changes[usize::from(self.count)] = narrow((value - before) / SMOOTHED as f64);
        self.count += 1;
        let changes = &self.changes[..usize::from(self.count)];
        let newest = rows(changes).next_back().map(|at| row(changes, at));
        let score = match (&self.models, newest) {
            (Some(models), Some(row)) => models.score(changes, &row),
            _ => 0.0,
        };
        self.refit();
        score
    }

    /// Fits the models anew, if it is time.
    fn refit(&mut self) {
        let count = usize::from(self.count);
        let trained = self.models.as_ref().map_or(0, |models| usize::from(models.trained));
        let due = if trained == 0 { CHANGES_MIN } else { trained + 1 + trained / REFIT_SHARE };
        if count < due.min(self.changes.len()) {
            return;
        }
        let kept = count.min(CHANGES_MAX);
        self.changes.copy_within(count - kept..count, 0);
        self.count = u16::try_from(kept).expect("at most 2,500");
        let mut models = Models::fit(&self.changes[..kept]);
        models.neighbours.learn_ends(&self.changes[..kept]);
        self.models = Some(models);
    }

    /// What would be expected of the next sample.
    pub(crate) fn expect(&self) -> Expectation {
        let Some(Models { components, .. }) = &self.models else { return Expectation::NONE };
        let expected = self.first + (self.last[0] + SMOOTHED as f64 * components.means[0]);
        let reach = BAND * SMOOTHED as f64 * components.deviations[0];
        Expectation { expected, lower: expected - reach, upper: expected + reach }
    }

    pub(crate) fn encode(&self, out: &mut FieldWriter) {
        out.f64(self.first);
        self.last.iter().for_each(|value| out.f64(*value));
        out.u8(self.known);
        out.u16(self.count);
        let changes = self.changes[..usize::from(self.count)].iter();
        out.column(changes.map(|change| change.to_bits().to_le_bytes()));
        out.u16(self.models.as_ref().map_or(0, |models| models.trained));
        if let Some(models) = &self.models {
            models.neighbours.encode_ends(out);
        }
    }

    /// What [`Anomstack::encode`] wrote; `None` where it cannot have written it. The models are fitted again, but
    /// for what takes long.
    #[deny(clippy::indexing_slicing)]
    pub(crate) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let mut read = Self::new(fields.f64().filter(|first| first.is_finite())?);
        for value in &mut read.last {
            *value = fields.f64().filter(|value| value.abs() <= VALUE_MAX)?;
        }
        read.known = fields.u8().filter(|known| usize::from(*known) <= SMOOTHED)?;
        read.count = fields.u16()?;
        let count = usize::from(read.count);
        // The last place is for the sample with which the models are fitted anew.
        if count >= read.changes.len() {
            return None;
        }
        for (change, bytes) in read.changes.iter_mut().zip(fields.column::<4>(count)?) {
            *change = bounded(f32::from_le_bytes(bytes))?;
        }
        let trained = fields.u16()?;
        if trained > 0 {
            let changes = read.changes.get(..usize::from(trained))?;
            let is_possible = (CHANGES_MIN..=CHANGES_MAX).contains(&changes.len());
            let mut models = Models::fit(changes.get(..count.min(changes.len()))?);
            models.neighbours.decode_ends(fields)?;
            read.models = Some(models).filter(|models| is_possible && models.trained == trained);
            read.models.as_ref()?;
        }
        Some(read)
    }
}

impl Models {
    fn fit(changes: &[f32]) -> Self {
        Self {
            trained: u16::try_from(changes.len()).expect("at most 2,500"),
            components: Components::fit(changes),
            neighbours: Neighbours::fit(changes),
        }
    }

    /// The mean of both, rounded to 3 digits.
    fn score(&self, changes: &[f32], row: &[f64; FEATURES]) -> f64 {
        let training = &changes[..usize::from(self.trained)];
        let near = self.neighbours.scaled_score(training, row);
        let score = (self.components.scaled_score(row) + near) / 2.0;
        (score * 1_000.0 + 0.5).floor() / 1_000.0
    }
}

/// The severity whose score is `score`.
fn severity(score: f64) -> f32 {
    let most = f64::from(SEVERITY_MAX);
    if score * (4.0 + most) >= most { SEVERITY_MAX } else { narrow(4.0 * score / (1.0 - score)) }
}

#[cfg(test)]
#[path = "detector_tests.rs"]
mod tests;
