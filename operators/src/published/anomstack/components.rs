//! Distance from principal components.

use super::detector::{FEATURES, row, rows};
use super::min_max::MinMax;

/// Sweeps of Jacobi's rotations, at most: seven or eight make a matrix of six rows diagonal to the last bit.
const SWEEPS_MAX: usize = 16;
/// A component has at least this share of the variance: pyod divides by it, also where it is 0 but for rounding.
const SHARE_MIN: f64 = 1e-12;

/// The square of [`FEATURES`].
type Matrix = [[f64; FEATURES]; FEATURES];

/// Scores a row by its distances from the principal components of the training.
///
/// With the row `z` in standard deviations from the mean, eigenvectors `v_j` of the training's correlations, the greatest
/// element of each positive, and their shares of the variance `w_j`:
///
/// ```text
/// score = sum over j of |z - v_j| / w_j
/// ```
///
/// Source: pyod's `PCA` with its defaults, after Shyu and others, "A novel anomaly detection scheme based on principal
/// component classifier" (2003); the distance from the end of a vector, where one would expect that along it, is pyod's. Eigenvectors
/// by Jacobi's rotations. Deviations: `w_j` is at least 1e-12; of a training without variance `v_j` is 0 and `w_j` 1, where pyod has
/// no number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Components {
    pub(super) means: [f64; FEATURES],
    pub(super) deviations: [f64; FEATURES],
    vectors: Matrix,
    shares: [f64; FEATURES],
    ends: MinMax,
}

impl Components {
    /// Of all rows of a window; time: some hundred operations a row.
    pub(super) fn fit(changes: &[f32]) -> Self {
        let (means, deviations) = moments(changes);
        let mut fitted = Self {
            means,
            deviations,
            vectors: [[0.0; FEATURES]; FEATURES],
            shares: [1.0; FEATURES],
            ends: MinMax::NONE,
        };
        let mut products: Matrix = [[0.0; FEATURES]; FEATURES];
        for at in rows(changes) {
            let z = fitted.standing(&row(changes, at));
            for (left, products) in z.iter().zip(&mut products) {
                products.iter_mut().zip(&z).for_each(|(sum, right)| *sum += left * right);
            }
        }
        (fitted.vectors, fitted.shares) = principal(products);
        for at in rows(changes) {
            let score = fitted.score(&row(changes, at));
            fitted.ends.learn(score);
        }
        fitted
    }

    /// The score of a row within those of the training: 0 to 1.
    pub(super) fn scaled_score(&self, row: &[f64; FEATURES]) -> f64 {
        self.ends.scale(self.score(row))
    }

    /// Its decision score.
    pub(super) fn score(&self, row: &[f64; FEATURES]) -> f64 {
        let z = self.standing(row);
        let mut score = 0.0;
        for (vector, share) in self.vectors.iter().zip(&self.shares) {
            let squares = z.iter().zip(vector).fold(0.0, |sum, (z, v)| sum + (z - v) * (z - v));
            score += squares.sqrt() / share;
        }
        score
    }

    fn standing(&self, row: &[f64; FEATURES]) -> [f64; FEATURES] {
        let mut z = *row;
        for ((z, mean), deviation) in z.iter_mut().zip(&self.means).zip(&self.deviations) {
            *z = (*z - mean) / deviation;
        }
        z
    }
}

/// Mean and standard deviation of each feature; 1 in place of a deviation of 0.
fn moments(changes: &[f32]) -> ([f64; FEATURES], [f64; FEATURES]) {
    let count = rows(changes).len() as f64;
    let mut means = [0.0; FEATURES];
    for at in rows(changes) {
        means.iter_mut().zip(row(changes, at)).for_each(|(sum, value)| *sum += value);
    }
    means.iter_mut().for_each(|sum| *sum /= count);
    let mut deviations = [0.0; FEATURES];
    for at in rows(changes) {
        let off = row(changes, at).into_iter().zip(&means).map(|(value, mean)| value - mean);
        deviations.iter_mut().zip(off).for_each(|(sum, off)| *sum += off * off);
    }
    for sum in &mut deviations {
        let deviation = (*sum / count).sqrt();
        *sum = if deviation > 0.0 { deviation } else { 1.0 };
    }
    (means, deviations)
}

/// The eigenvectors of a symmetric matrix, that of the greatest eigenvalue first, and each one's share of all. A matrix without
/// variance has none: its rows are scored by their distance from the mean.
fn principal(mut matrix: Matrix) -> (Matrix, [f64; FEATURES]) {
    let mut vectors: Matrix = [[0.0; FEATURES]; FEATURES];
    vectors.iter_mut().enumerate().for_each(|(at, vector)| vector[at] = 1.0);
    for _ in 0..SWEEPS_MAX {
        let mut is_diagonal = true;
        for p in 0..FEATURES {
            for q in p + 1..FEATURES {
                is_diagonal &= !rotate(&mut matrix, &mut vectors, p, q);
            }
        }
        if is_diagonal {
            break;
        }
    }
    let trace = (0..FEATURES).fold(0.0, |sum, at| sum + matrix[at][at]);
    if trace <= 0.0 {
        return ([[0.0; FEATURES]; FEATURES], [1.0; FEATURES]);
    }
    let mut order = [0, 1, 2, 3, 4, 5];
    order.sort_by(|a, b| matrix[*b][*b].total_cmp(&matrix[*a][*a]));
    let shares = order.map(|at| {
        let share = matrix[at][at] / trace;
        if share > SHARE_MIN { share } else { SHARE_MIN }
    });
    (order.map(|at| with_sign(vectors[at])), shares)
}

/// One of Jacobi's rotations, which makes the element `p, q` 0; `false` where it is nothing beside the diagonal.
///
/// Source: Golub, Van Loan, "Matrix Computations", 8.5.
fn rotate(matrix: &mut Matrix, vectors: &mut Matrix, p: usize, q: usize) -> bool {
    let element = matrix[p][q];
    if element.abs() <= f64::EPSILON * f64::EPSILON * (matrix[p][p].abs() + matrix[q][q].abs()) {
        return false;
    }
    let tau = (matrix[q][q] - matrix[p][p]) / (2.0 * element);
    let root = (1.0 + tau * tau).sqrt();
    let tangent = if tau >= 0.0 { 1.0 / (tau + root) } else { 1.0 / (tau - root) };
    let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
    let sine = tangent * cosine;
    for row in matrix.iter_mut() {
        let (left, right) = (row[p], row[q]);
        row[p] = cosine * left - sine * right;
        row[q] = sine * left + cosine * right;
    }
    let turn = |above: &mut [f64; FEATURES], below: &mut [f64; FEATURES]| {
        for (above, below) in above.iter_mut().zip(below) {
            let (left, right) = (*above, *below);
            *above = cosine * left - sine * right;
            *below = sine * left + cosine * right;
        }
    };
    for rows in [matrix, vectors] {
        let (above, below) = rows.split_at_mut(q);
        turn(&mut above[p], &mut below[0]);
    }
    true
}

/// The vector or its opposite: that whose greatest element is positive.
fn with_sign(vector: [f64; FEATURES]) -> [f64; FEATURES] {
    let mut greatest = vector[0];
    for element in vector {
        if element.abs() > greatest.abs() {
            greatest = element;
        }
    }
    if greatest < 0.0 { vector.map(|element| -element) } else { vector }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    #[test]
    fn eigenvectors_are_turned_by_their_matrix_into_multiples_of_themselves() {
        for seed in 1..=50 {
            let mut rng = Rng::new(seed);
            let factors: Vec<[f64; FEATURES]> =
                (0..9).map(|_| [0.0; FEATURES].map(|_: f64| rng.normal())).collect();
            let mut matrix = [[0.0; FEATURES]; FEATURES];
            for factor in &factors {
                for (p, q) in (0..36).map(|at| (at / 6, at % 6)) {
                    matrix[p][q] += factor[p] * factor[q];
                }
            }
            let trace: f64 = (0..FEATURES).map(|at| matrix[at][at]).sum();
            let (vectors, shares) = principal(matrix);
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(shares.is_sorted_by(|a, b| a >= b));
            for (vector, share) in vectors.iter().zip(shares) {
                let length: f64 = vector.iter().map(|v| v * v).sum();
                assert!((length - 1.0).abs() < 1e-12, "seed {seed}: {length}");
                for p in 0..FEATURES {
                    let turned: f64 = (0..FEATURES).map(|q| matrix[p][q] * vector[q]).sum();
                    let off = turned - share * trace * vector[p];
                    assert!(off.abs() < 1e-11 * trace, "seed {seed}: {off}");
                }
            }
        }
    }

    #[test]
    fn without_variance_all_scores_are_the_same_but_that_of_another_row() {
        let fitted = Components::fit(&[0.0; 30]);
        let nothing = fitted.scaled_score(&[0.0; FEATURES]);
        let something = fitted.scaled_score(&[0.1, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!([nothing, something].map(f64::to_bits), [0.0, 1.0].map(f64::to_bits));
    }
}
