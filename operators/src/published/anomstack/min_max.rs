//! Scores between the least and the greatest of the training.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

/// The least and the greatest score of what was fitted to; the least is beyond the greatest while there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MinMax {
    least: f64,
    greatest: f64,
}

impl MinMax {
    pub(super) const NONE: Self = Self { least: f64::INFINITY, greatest: f64::NEG_INFINITY };

    pub(super) fn learn(&mut self, score: f64) {
        if score < self.least {
            self.least = score;
        }
        if score > self.greatest {
            self.greatest = score;
        }
    }

    /// Where a score lies between the two, held within 0 and 1. Where both are the same, what is greater is 1.
    pub(super) fn scale(self, score: f64) -> f64 {
        if score <= self.least {
            0.0
        } else if score >= self.greatest {
            1.0
        } else {
            (score - self.least) / (self.greatest - self.least)
        }
    }

    pub(super) fn encode(self, out: &mut FieldWriter) {
        out.f64(self.least);
        out.f64(self.greatest);
    }

    /// What [`MinMax::encode`] wrote; `None` where it cannot have written it.
    pub(super) fn decode(fields: &mut FieldReader<'_>) -> Option<Self> {
        let (least, greatest) = (fields.f64()?, fields.f64()?);
        let is_possible = 0.0 <= least && least <= greatest && greatest < f64::INFINITY;
        is_possible.then_some(Self { least, greatest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_lie_between_the_least_and_the_greatest() {
        let mut ends = MinMax::NONE;
        [3.0, 1.0, 5.0].into_iter().for_each(|score| ends.learn(score));
        let scaled = [0.0, 1.0, 2.0, 5.0, 9.0].map(|score| ends.scale(score));
        assert_eq!(scaled.map(f64::to_bits), [0.0, 0.0, 0.25, 1.0, 1.0].map(f64::to_bits));
        let mut flat = MinMax::NONE;
        flat.learn(2.0);
        let scaled = [1.0, 2.0, 2.1].map(|score| flat.scale(score));
        assert_eq!(scaled.map(f64::to_bits), [0.0, 0.0, 1.0].map(f64::to_bits));
    }
}
