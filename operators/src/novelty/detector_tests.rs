use tidewatch_metrics::EventTime;

use super::*;
use crate::testing::{Rng, seconds};
use crate::time_zone::LocalTime;

fn view(baseline: &mut Baseline, time: EventTime, value: f64) -> View {
    let view = baseline.look(LocalTime::utc(time), value);
    baseline.learn(&view);
    view
}

#[test]
fn the_smooth_residual_is_the_mean_of_the_last_six() {
    let mut rng = Rng::new(1);
    let mut novelty = Novelty::new();
    let mut history: Vec<f32> = Vec::new();
    for _ in 0..50 {
        let residual = rng.exponential();
        history.push(residual);
        let last = &history[history.len().saturating_sub(6)..];
        let mean = last.iter().sum::<f32>() / last.len() as f32;
        assert!((novelty.smooth(residual) - mean).abs() < 1e-6);
        novelty.note(residual, true);
    }
}

#[test]
fn what_came_before_is_no_news_and_what_did_not_is() {
    let mut rng = Rng::new(2);
    let mut baseline = Baseline::new(0.0);
    let mut novelty = Novelty::new();
    let mut first = 0.0;
    for index in 0..3_000 {
        // The same spike three times, in hours of every kind.
        let is_spike = matches!(index, 1_000 | 1_700 | 2_400);
        let value = if is_spike { 30.0 } else { rng.normal() };
        let view = view(&mut baseline, seconds(index * 300), value);
        let (severity, news) = novelty.look(&view);
        novelty.learn(&news, Lesson::ALL);
        match index {
            1_000 => first = severity,
            1_700 | 2_400 => assert!(severity < 0.6 * first, "{index}: {severity} {first}"),
            _ => {}
        }
    }
    assert!(first > 8.0, "{first}");
}

#[test]
fn the_band_holds_about_98_percent_of_normal_noise() {
    let mut rng = Rng::new(4);
    let mut baseline = Baseline::new(0.0);
    let mut within = 0;
    for index in 0..10_000 {
        let value = 5.0 + rng.normal();
        let view = view(&mut baseline, seconds(index * 300), value);
        let expectation = Novelty::expect(&view, &baseline);
        let held = expectation.lower <= value && value <= expectation.upper;
        within += u32::from(index >= 2_000 && held);
    }
    assert!((7_720..7_960).contains(&within), "{within} of 8000");
}
