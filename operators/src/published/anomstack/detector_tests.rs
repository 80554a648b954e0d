use super::*;
use crate::full::tests::{KINDS, Kind, samples};
use crate::testing::Rng;
use tidewatch_metrics::Severity;

/// What pyod says of one row, by models that were fitted to the first rows of [`series`].
struct Told {
    trained: usize,
    row: usize,
    /// Decision scores of PCA and KNN.
    decision: [f64; 2],
    /// The second column of their `predict_proba`.
    scaled: [f64; 2],
    /// The mean of both, rounded to 3 digits.
    score: f64,
}

/// pyod 3.6.7 with scikit-learn 1.9.1 and pandas: `diff(1)`, `rolling(3).mean()`, five `shift`s and `dropna` of the same series;
/// `PCA(contamination=0.01)` and `KNN(contamination=0.01)` fitted to the first `trained` rows, and asked for
/// `decision_function` and `predict_proba` of row `row`.
const TOLD: [Told; 20] = [
    Told {
        trained: 6,
        row: 6,
        decision: [4.5531846517e+33, 3.5869160566e+00],
        scaled: [1.0000000000, 0.7601672805],
        score: 0.88,
    },
    Told {
        trained: 6,
        row: 7,
        decision: [4.9912720752e+33, 3.4911649090e+00],
        scaled: [1.0000000000, 0.6926619855],
        score: 0.846,
    },
    Told {
        trained: 6,
        row: 8,
        decision: [5.8675328986e+33, 3.7031909277e+00],
        scaled: [1.0000000000, 0.8421419584],
        score: 0.921,
    },
    Told {
        trained: 6,
        row: 9,
        decision: [6.0176624032e+33, 3.6769911166e+00],
        scaled: [1.0000000000, 0.8236708902],
        score: 0.912,
    },
    Told {
        trained: 6,
        row: 10,
        decision: [5.0656298872e+33, 3.6304848053e+00],
        scaled: [1.0000000000, 0.7908835833],
        score: 0.895,
    },
    Told {
        trained: 30,
        row: 30,
        decision: [1.0320881256e+02, 1.9183784249e+00],
        scaled: [0.3714097143, 0.1651808251],
        score: 0.268,
    },
    Told {
        trained: 30,
        row: 31,
        decision: [9.5752917959e+01, 2.0359321038e+00],
        scaled: [0.3037489044, 0.2297919322],
        score: 0.267,
    },
    Told {
        trained: 30,
        row: 32,
        decision: [9.0042176376e+01, 1.9178056512e+00],
        scaled: [0.2519250226, 0.1648660110],
        score: 0.208,
    },
    Told {
        trained: 30,
        row: 33,
        decision: [1.1104846451e+02, 2.4392021301e+00],
        scaled: [0.4425530482, 0.4514415063],
        score: 0.447,
    },
    Told {
        trained: 30,
        row: 34,
        decision: [1.2299453549e+02, 2.5700631528e+00],
        scaled: [0.5509613453, 0.5233667377],
        score: 0.537,
    },
    Told {
        trained: 200,
        row: 200,
        decision: [1.2905159893e+02, 1.4209303180e+00],
        scaled: [0.0738499759, 0.0209964467],
        score: 0.047,
    },
    Told {
        trained: 200,
        row: 201,
        decision: [1.0059614051e+02, 1.4528729620e+00],
        scaled: [0.0396020622, 0.0223609020],
        score: 0.031,
    },
    Told {
        trained: 200,
        row: 202,
        decision: [1.5545012256e+02, 2.2070554479e+00],
        scaled: [0.1056222406, 0.0545764028],
        score: 0.08,
    },
    Told {
        trained: 200,
        row: 203,
        decision: [1.2793957753e+02, 2.1326264800e+00],
        scaled: [0.0725115889, 0.0513971106],
        score: 0.062,
    },
    Told {
        trained: 200,
        row: 204,
        decision: [1.4721779028e+02, 2.1111682193e+00],
        scaled: [0.0957141168, 0.0504805040],
        score: 0.073,
    },
    Told {
        trained: 400,
        row: 400,
        decision: [7.8595774459e+01, 1.1522311915e+00],
        scaled: [0.0547619464, 0.0142531714],
        score: 0.035,
    },
    Told {
        trained: 400,
        row: 401,
        decision: [7.4685541528e+01, 1.2287252032e+00],
        scaled: [0.0481844460, 0.0177644446],
        score: 0.033,
    },
    Told {
        trained: 400,
        row: 402,
        decision: [6.8504202135e+01, 1.2624381173e+00],
        scaled: [0.0377866606, 0.0193119547],
        score: 0.029,
    },
    Told {
        trained: 400,
        row: 403,
        decision: [7.6298771163e+01, 1.2257411661e+00],
        scaled: [0.0508980998, 0.0176274696],
        score: 0.034,
    },
    Told {
        trained: 400,
        row: 404,
        decision: [6.2432649126e+01, 1.0968705484e+00],
        scaled: [0.0275735497, 0.0117119745],
        score: 0.02,
    },
];

/// A triangle of 48 samples with noise and four spikes, in steps of 3/64, so that all changes are exact.
fn series(count: i64) -> Vec<f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        i64::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 54).unwrap()
    };
    let step = |at: i64| {
        let spike = if [140, 141, 260, 333].contains(&at) { 900 } else { 0 };
        next() / 8 + 10 * (at % 48 - 24).abs() + spike
    };
    (0..count).map(step).map(|steps| steps as f64 * 3.0 / 64.0).collect()
}

fn changes_of(values: &[f64]) -> Vec<f32> {
    (3..values.len()).map(|t| narrow((values[t] - values[t - 3]) / 3.0)).collect()
}

#[test]
fn scores_are_those_of_pyod() {
    let changes = changes_of(&series(420));
    for Told { trained, row: at, decision, scaled, score } in TOLD {
        let training = &changes[..trained + 5];
        let mut models = Models::fit(training);
        models.neighbours.learn_ends(training);
        let point = row(&changes, at);
        let found = [models.components.score(&point), models.neighbours.score(training, &point)];
        for (model, (found, told)) in found.into_iter().zip(decision).enumerate() {
            // Six rows have five directions: pyod divides by what rounding leaves of the sixth.
            let is_told = trained > 6 || model == 1;
            let off = (found - told).abs() / told;
            assert!(!is_told || off < 1e-9, "{trained} rows, {at}, {model}: {found}, not {told}");
        }
        let found = [
            models.components.scaled_score(&point),
            models.neighbours.scaled_score(training, &point),
        ];
        for (found, told) in found.into_iter().zip(scaled) {
            assert!((found - told).abs() < 1e-6, "{trained} rows, {at}: {found}, not {told}");
        }
        let found = models.score(&changes, &point);
        assert!((found - score).abs() < 1e-12, "{trained} rows, {at}: {found}, not {score}");
    }
}

/// All that was told of a series, and how many samples there were when the models were last fitted.
#[derive(Default)]
struct Naive {
    values: Vec<f64>,
    fitted_at: Option<usize>,
}

/// The fifth least distance from the rows, without the row at `but`.
fn fifth(rows: &[[f64; 6]], point: &[f64; 6], but: Option<usize>) -> f64 {
    let others = rows.iter().enumerate().filter(|(at, _)| Some(*at) != but);
    let mut distances: Vec<f64> = others
        .map(|(_, other)| {
            let off = other.iter().zip(point).rev().map(|(other, x)| other - x);
            off.fold(0.0, |sum, off| sum + off * off)
        })
        .collect();
    distances.sort_by(f64::total_cmp);
    distances[4].sqrt()
}

impl Naive {
    /// The score of the next value, where it is asked for.
    fn observe(&mut self, value: f64, is_asked: bool) -> Option<f64> {
        let first = self.values.first().copied().unwrap_or(value);
        self.values.push(value);
        let values: Vec<f64> =
            self.values.iter().map(|value| (value - first).clamp(-1e30, 1e30)).collect();
        let rows_of = |values: &[f64]| -> Vec<[f64; 6]> {
            let changes = changes_of(values);
            changes.windows(6).map(|six| [5, 4, 3, 2, 1, 0].map(|at| f64::from(six[at]))).collect()
        };
        let count = values.len();
        let mut score = None;
        if let Some(fitted_at) = self.fitted_at.filter(|_| is_asked) {
            let training = &values[fitted_at.saturating_sub(2_500)..fitted_at];
            let rows = rows_of(training);
            let point = rows_of(&values[count - 9..])[0];
            let (mut least, mut greatest) = (f64::INFINITY, 0.0_f64);
            for (at, row) in rows.iter().enumerate() {
                let distance = fifth(&rows, row, Some(at));
                least = if distance < least { distance } else { least };
                greatest = if distance > greatest { distance } else { greatest };
            }
            let distance = fifth(&rows, &point, None);
            let near = if distance <= least {
                0.0
            } else if distance >= greatest {
                1.0
            } else {
                (distance - least) / (greatest - least)
            };
            let far = Components::fit(&changes_of(training)).scaled_score(&point);
            score = Some((f64::midpoint(far, near) * 1_000.0 + 0.5).floor() / 1_000.0);
        }
        let trained = self.fitted_at.map(|at| at.min(2_500) - 3);
        let wait = trained.map_or(14, |trained| 1 + trained / 50);
        if count >= self.fitted_at.unwrap_or(0) + wait {
            self.fitted_at = Some(count);
        }
        score
    }
}

fn hold_against_naive(kind: Kind, samples: &[f64], is_asked: impl Fn(usize) -> bool) {
    let mut models = Anomstack::new(samples[0]);
    let mut naive = Naive::default();
    let mut asked = 0;
    for (row, value) in samples.iter().enumerate() {
        let score = models.score(*value);
        if let Some(told) = naive.observe(*value, is_asked(row)) {
            asked += 1;
            assert_eq!(score.to_bits(), told.to_bits(), "{kind:?}, row {row}: {score}, not {told}");
        }
    }
    assert!(asked > 12, "{asked}");
}

#[test]
fn scores_are_bit_by_bit_those_of_the_whole_history() {
    for (seed, kind) in (1..).zip(KINDS) {
        let samples = samples(kind, seed, 300, 60);
        let values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
        hold_against_naive(kind, &values, |row| row < 40 || row.is_multiple_of(11));
    }
    let samples = samples(Kind::HeavyTail, 20, 2_700, 60);
    let values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
    hold_against_naive(Kind::HeavyTail, &values, |row| {
        row > 2_400 && row.is_multiple_of(31) || row > 2_694
    });
}

#[test]
fn the_first_14_samples_only_teach() {
    let mut models = Anomstack::new(0.0);
    let mut rng = Rng::new(2);
    for row in 1..=14 {
        let (severity, expectation) = models.observe(rng.normal());
        assert!(severity <= 0.0 && expectation.expected.is_nan(), "sample {row}");
    }
    let (severity, expectation) = models.observe(1e3);
    assert!(severity >= SEVERITY_MAX && expectation.expected.abs() < 10.0, "{severity}");
}

#[test]
fn severities_lead_back_to_the_score() {
    for thousandths in 0..=1_000_u16 {
        let score = f64::from(thousandths) / 1_000.0;
        let found = f64::from(Severity::from_f32(severity(score)).score());
        let told = if score < 0.112 { 0.0 } else { score.clamp(0.0, 25.0 / 26.0) };
        assert!((found - told).abs() < 0.002, "{score}: {found}");
    }
    assert!((severity(0.8) - 16.0).abs() < 1e-4);
}

#[test]
fn a_spike_passes_their_threshold_and_what_is_healthy_does_not() {
    let mut rng = Rng::new(3);
    let mut models = Anomstack::new(0.0);
    let (mut spikes, mut healthy) = (Vec::new(), Vec::new());
    for row in 0..6_100 {
        let is_spike = row == 2_000 || row == 6_000;
        let score = models.score(rng.normal() + if is_spike { 30.0 } else { 0.0 });
        if is_spike {
            spikes.push(score);
        } else if (2_700..6_000).contains(&row) {
            healthy.push(score);
        }
    }
    assert!(spikes.iter().all(|score| *score > 0.99), "{spikes:?}");
    // For a window the spike is the greatest of the training, and all else small.
    let loud = healthy[..1_700].iter().filter(|score| **score >= 0.8).count();
    assert_eq!(loud, 0);
    let loud = healthy.iter().filter(|score| **score >= 0.8).count();
    assert!(loud > 0 && loud < 50, "behind it the greatest is one of the noise: {loud}");
}

#[test]
fn the_first_movement_of_a_constant_series_has_the_score_1() {
    let mut models = Anomstack::new(4.0);
    for row in 0..3_000 {
        let score = models.score(4.0);
        assert!(score <= 0.0, "row {row}");
    }
    let score = models.score(4.25);
    assert_eq!(score.to_bits(), 1.0_f64.to_bits());
}
