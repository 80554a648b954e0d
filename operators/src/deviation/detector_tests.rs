use tidewatch_metrics::EventTime;

use super::*;
use crate::testing::{Rng, season, seconds};
use crate::time_zone::LocalTime;

#[test]
fn mean_and_variance_of_the_distance_are_those_of_the_whole_history() {
    let mut rng = Rng::new(1);
    let mut deviation = Deviation::new();
    let mut history: Vec<f64> = Vec::new();
    for samples in 1..=500 {
        let distance = 100.0 + rng.normal();
        history.push(distance);
        deviation.learn_standing(distance, samples);
        let count = history.len() as f64;
        let mean = history.iter().sum::<f64>() / count;
        let variance = history.iter().map(|e| (e - mean) * (e - mean)).sum::<f64>() / count;
        assert!((deviation.mean - mean).abs() < 1e-9, "sample {samples}");
        assert!((deviation.variance - variance).abs() < 1e-9, "sample {samples}");
    }
}

fn observe(
    baseline: &mut Baseline,
    deviation: &mut Deviation,
    time: EventTime,
    value: f64,
) -> (f32, Expectation) {
    let view = baseline.look(LocalTime::utc(time), value);
    let (severity, expectation, miss) = deviation.look(&view, baseline);
    deviation.learn(&view, &miss, Lesson::ALL);
    baseline.learn(&view);
    (severity, expectation)
}

/// The share of samples within the band, and the mean distance from what was expected, after a fortnight.
fn follow(mut value: impl FnMut(i64) -> f64) -> (f64, f64) {
    let mut baseline = Baseline::new(value(0));
    let mut deviation = Deviation::new();
    let (mut within, mut off, mut count) = (0.0, 0.0, 0.0);
    for index in 1..288 * 30 {
        let x = value(index);
        let (_, expectation) = observe(&mut baseline, &mut deviation, seconds(index * 300), x);
        if index >= 288 * 14 {
            within += f64::from(expectation.lower <= x && x <= expectation.upper);
            off += (expectation.expected - x).abs();
            count += 1.0;
        }
    }
    (within / count, off / count)
}

#[test]
fn the_best_forecaster_is_followed_and_the_band_holds_98_percent() {
    let mut rng = Rng::new(2);
    // White noise: its mean is the best, about which it is .8 off.
    let (within, off) = follow(|_| rng.normal());
    assert!((0.965..0.99).contains(&within) && off < 0.82, "{within} {off}");
    // A random walk: its last values.
    let mut level = 0.0;
    let mut rng = Rng::new(3);
    let (within, off) = follow(|_| {
        level += rng.normal();
        level
    });
    assert!((0.95..0.995).contains(&within) && off < 1.4, "{within} {off}");
    // A season with noise: the profile, or hours that go up to 2.6 up and down.
    let mut rng = Rng::new(4);
    let (within, off) = follow(|index| season(seconds(index * 300)) + rng.normal());
    assert!((0.95..0.995).contains(&within) && off < 1.1, "{within} {off}");
}

#[test]
fn an_anomaly_that_comes_back_is_one_again() {
    let mut rng = Rng::new(5);
    let mut baseline = Baseline::new(0.0);
    let mut deviation = Deviation::new();
    for index in 0..6_000 {
        let is_spike = index % 1_000 == 999;
        let value = rng.normal() + if is_spike { 30.0 } else { 0.0 };
        let (severity, _) = observe(&mut baseline, &mut deviation, seconds(index * 300), value);
        assert!(!is_spike || severity > 4.0, "{index}: {severity}");
    }
}
