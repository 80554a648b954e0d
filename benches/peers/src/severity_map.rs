//! From a peer's score to a severity, which is what the judge takes.

use tidewatch_metrics::Severity;

/// What one unit of score is worth: fine enough that rounding to 1/64 loses nothing that counts.
const FIXED: f64 = 64.0;
/// The greatest scores that are kept of each generation, and what a generation is.
const GREATEST: usize = 32;
const GENERATION: usize = 8_000;
/// Scores without which nothing is known of a tail.
const SCORES_MIN: usize = 50;
/// Severities of our detectors end there.
const SEVERITY_MAX: f64 = 100.0;

/// How scores become severities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Map {
    /// 64 times the score: its order within and between series stays, hence figures at the best level are the peer's own.
    Fixed,
    /// The chance of a score at least this great in this series, by the tail that our published models have.
    Tail,
}

impl Map {
    /// The severities of a series' scores; none is one where the peer said nothing.
    pub(crate) fn severities(self, scores: &[f64]) -> Vec<Severity> {
        let mut tail = Tail::default();
        let severity = |score: &f64| match self {
            Self::Fixed => FIXED * score,
            Self::Tail if *score > 0.0 => tail.observe(*score),
            Self::Tail => 0.0,
        };
        scores.iter().map(severity).map(stored).collect()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a severity has steps of 1/64")]
fn stored(severity: f64) -> Severity {
    Severity::from_f32(severity as f32)
}

/// An exponential tail behind the greatest of the last 8,000 to 16,000 scores.
///
/// ```text
/// k = min(32, n / 4) of n scores, u the k-th greatest, m = mean of the k greatest - u
/// severity = ((score - u) / m + ln(n / k)) / ln 10   where score > u, else 0
/// ```
#[derive(Clone, Debug, Default)]
struct Tail {
    /// Of this generation and of the one before, the greatest first.
    greatest: [Vec<f64>; 2],
    counts: [usize; 2],
}

impl Tail {
    /// The severity of a score, which is then kept.
    fn observe(&mut self, score: f64) -> f64 {
        let severity = self.severity(score);
        let [greatest, before] = &mut self.greatest;
        let place = greatest.partition_point(|kept| *kept > score);
        greatest.insert(place, score);
        greatest.truncate(GREATEST);
        self.counts[0] += 1;
        if self.counts[0] == GENERATION {
            *before = std::mem::take(greatest);
            self.counts = [0, GENERATION];
        }
        severity
    }

    fn severity(&self, score: f64) -> f64 {
        let count = self.counts.iter().sum::<usize>();
        if count < SCORES_MIN {
            return 0.0;
        }
        let mut all: Vec<f64> = self.greatest.concat();
        all.sort_unstable_by(|one, other| other.total_cmp(one));
        all.truncate(GREATEST.min(count / 4));
        let kept = all.len() as f64;
        let Some(least) = all.last().copied().filter(|least| score > *least) else {
            return 0.0;
        };
        // What is constant has a tail of no length.
        let length = all.iter().sum::<f64>() / kept - least + 1e-12 * (least.abs() + 1e-12);
        let chance = (score - least) / length + (count as f64 / kept).ln();
        (chance / std::f64::consts::LN_10).min(SEVERITY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_exponential_scores_has_a_tail_and_a_thousandth_is_a_severity_of_three() {
        // The quantiles of an exponential distribution, in an order without a pattern.
        let scores: Vec<f64> = (0..7_919_u32)
            .map(|i| -((f64::from(i * 3_571 % 7_919) + 0.5) / 7_919.0).ln())
            .collect();
        let mut tail = Tail::default();
        scores.iter().for_each(|score| {
            tail.observe(*score);
        });
        let severity = tail.severity(1_000.0_f64.ln());
        assert!((severity - 3.0).abs() < 0.2, "{severity}");
        assert!(tail.severity(1.0) < 0.1);
        assert!((tail.severity(1e9) - 100.0).abs() < 0.1);
    }

    #[test]
    fn what_was_not_scored_is_not_learnt_and_a_fixed_map_keeps_the_order() {
        let scores = [0.0, 0.5, 0.25, 0.0];
        let steps: Vec<u16> =
            Map::Fixed.severities(&scores).into_iter().map(Severity::steps).collect();
        assert_eq!(steps, [0, 2_048, 1_024, 0]);
        assert!(Map::Tail.severities(&[0.0; 100]).iter().all(|it| *it == Severity::ZERO));
    }
}
