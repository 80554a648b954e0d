//! The peer that wants the whole series at once, and says where it changed.

use augurs::changepoint::{Detector as _, NormalGammaDetector};

/// 1 for the values where something changes and 0 for the others: Bayesian online changepoints of normal values,
/// Adams and MacKay (2007), as the `default` of the peer has them.
///
/// The prior is about mean 0 and deviation 1: values are standardized, by all of them.
pub(crate) fn scores(values: &[f64]) -> Vec<f64> {
    let values = standardized(values);
    let mut scores = vec![0.0; values.len()];
    let found = NormalGammaDetector::default().detect_changepoints(&values);
    // The first sample begins a run, and is no change.
    for row in found.into_iter().filter(|row| *row > 0) {
        if let Some(score) = scores.get_mut(row) {
            *score = 1.0;
        }
    }
    scores
}

/// The values less their mean, by their standard deviation; zeros of what is constant.
fn standardized(values: &[f64]) -> Vec<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let scale = if variance > 0.0 { variance.sqrt().recip() } else { 0.0 };
    values.iter().map(|value| (value - mean) * scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_change_and_the_begin_is_none() {
        let wave = |row: i32| f64::from(row * 7 % 11) / 11.0;
        let values: Vec<f64> =
            (0..200).map(|row| wave(row) + if row < 100 { 0.0 } else { 50.0 }).collect();
        let scores = scores(&values);
        assert_eq!(scores.len(), 200);
        let found: Vec<usize> = (0..200).filter(|row| scores[*row] > 0.0).collect();
        assert!(found.iter().any(|row| row.abs_diff(100) <= 2), "{found:?}");
        assert!(!found.contains(&0), "{found:?}");
    }

    #[test]
    fn constant_values_are_zeros() {
        assert!(standardized(&[5.0; 4]).iter().all(|value| value.abs() < 1e-12));
    }
}
