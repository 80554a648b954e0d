use super::*;
use crate::full::tests::{KINDS, samples};
use crate::full_oracle;
use crate::testing::Rng;

fn median(values: &[f32]) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let (lower, upper) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    lower + (upper - lower) / 2.0
}

/// Median and scale of the 256 before the last one of a history.
fn naive(history: &[f32]) -> Option<(f32, f32)> {
    let before = &history[..history.len() - 1];
    let window = &before[before.len().saturating_sub(256)..];
    if window.len() < 40 {
        return None;
    }
    let median_of_window = median(window);
    let distances: Vec<f32> = window.iter().map(|x| (x - median_of_window).abs()).collect();
    let deviation = median(&distances);
    if deviation > 0.0 {
        return Some((median_of_window, deviation / 0.6745));
    }
    let mut ascending = window.to_vec();
    ascending.sort_by(f32::total_cmp);
    let sum = ascending.iter().fold(0.0, |sum, x| sum + (x - median_of_window).abs());
    Some((median_of_window, sum / window.len() as f32 * 1.253_314))
}

#[test]
fn severities_and_bands_are_bit_by_bit_those_of_the_whole_history() {
    for (seed, kind) in (1..).zip(KINDS) {
        let samples = samples(kind, seed, 1_500, 60);
        let first = samples[0].1;
        let mut mad = Mad::new(first);
        let (mut history, mut scores) = (Vec::new(), Vec::new());
        for (row, (_, value)) in samples.iter().enumerate() {
            #[expect(clippy::cast_possible_truncation, reason = "held within the range of f32")]
            history.push((value - first).clamp(-1e30, 1e30) as f32);
            let (severity, expectation) = mad.observe(*value);
            let Some((median, scale)) = naive(&history) else {
                assert!(severity <= 0.0 && expectation.expected.is_nan(), "{kind:?}, row {row}");
                continue;
            };
            let distance = (history[row] - median).abs();
            let score = if scale > 0.0 {
                if distance / scale < 1e3 { distance / scale } else { 1e3 }
            } else {
                1e3 * f32::from(distance > 0.0)
            };
            scores.push(score);
            let told = full_oracle::severity(&scores);
            assert_eq!(severity.to_bits(), told.to_bits(), "{kind:?}, row {row}: {score}");
            let expected = first + f64::from(median);
            let upper = expected + f64::from(2.326 * scale);
            assert_eq!(expectation.expected.to_bits(), expected.to_bits(), "{kind:?}, row {row}");
            assert_eq!(expectation.upper.to_bits(), upper.to_bits(), "{kind:?}, row {row}");
        }
    }
}

#[test]
fn the_score_of_normal_noise_is_a_standard_deviation() {
    let mut rng = Rng::new(1);
    let mut mad = Mad::new(100.0);
    for _ in 0..5_000 {
        mad.observe(100.0 + 3.0 * rng.normal());
    }
    let Centre { median, scale } = mad.centre().unwrap();
    assert!(median.abs() < 0.8 && (2.5..3.5).contains(&scale), "{median} {scale}");
    let (severity, _) = mad.observe(100.0 + 40.0);
    assert!(severity > 6.0, "{severity}");
}

#[test]
fn a_third_of_outliers_moves_neither_median_nor_scale() {
    let mut rng = Rng::new(2);
    let mut mad = Mad::new(0.0);
    for row in 0..256 {
        mad.observe(if row % 3 == 0 { 1e6 } else { rng.normal() });
    }
    let Centre { median, scale } = mad.centre().unwrap();
    assert!(median < 1.5 && scale < 3.0, "{median} {scale}");
}

#[test]
fn the_first_movement_of_a_constant_series_is_as_unusual_as_it_is_old() {
    let mut mad = Mad::new(5.0);
    for row in 0..1_000 {
        let (severity, expectation) = mad.observe(5.0);
        assert!(severity <= 0.0, "row {row}");
        let is_known = row >= 40;
        assert_eq!(is_known, expectation.upper.to_bits() == 5.0_f64.to_bits(), "row {row}");
    }
    let (severity, _) = mad.observe(5.5);
    assert_eq!(severity.to_bits(), libm::log10f(961.0).to_bits());
}
