use tidewatch_metrics::EventTime;

use super::*;
use crate::testing::{Rng, season, seconds};

fn observe(baseline: &mut Baseline, time: EventTime, value: f64) -> View {
    let view = baseline.look(LocalTime::utc(time), value);
    baseline.learn(&view);
    view
}

#[test]
fn mean_profile_and_spread_are_those_of_the_naive_computation() {
    let mut rng = Rng::new(5);
    let mut baseline = Baseline::new(1e9);
    let mut history: Vec<f64> = Vec::new();
    for index in 0..900 {
        let x = 1e9 + rng.uniform();
        history.push(x - 1e9);
        observe(&mut baseline, seconds(index * 300), x);
        let mean = history.iter().sum::<f64>() / history.len() as f64;
        assert!((baseline.mean - mean).abs() < 1e-9, "sample {index}");
    }
    // Once the rate is steady, the mean is the weighted sum of all that came.
    for index in 900..4_000 {
        let x = 1e9 + rng.uniform();
        history.push(x - 1e9);
        observe(&mut baseline, seconds(index * 300), x);
    }
    let (early, late) = history.split_at(1_000);
    let mut mean = early.iter().sum::<f64>() / 1_000.0 * libm::pow(0.999, late.len() as f64);
    let newest_first = late.iter().rev().enumerate();
    mean += newest_first.map(|(age, v)| 0.001 * libm::pow(0.999, age as f64) * v).sum::<f64>();
    assert!((baseline.mean - mean).abs() < 1e-9);
    // Uniform noise is a quarter from its mean, on average.
    for (hour, spread) in baseline.spread.iter().enumerate() {
        assert!((0.18..0.32).contains(spread), "hour {hour}: {spread}");
    }
}

#[test]
fn a_season_is_learnt_and_no_hour_begins_with_a_step() {
    let mut baseline = Baseline::new(season(seconds(0)));
    let mut worst = 0.0;
    for index in 0..288 * 10 {
        let time = seconds(index * 300);
        let view = observe(&mut baseline, time, season(time));
        if index > 288 * 5 {
            worst = larger(worst, view.residual.abs());
        }
    }
    // Ten up and down: an hour of it is 2.6 at most, half of which a profile of steps would be off by.
    assert!(worst < 0.6, "{worst}");
}

#[test]
fn calm_and_busy_hours_become_comparable() {
    let mut rng = Rng::new(6);
    let mut baseline = Baseline::new(0.0);
    let (mut calm, mut busy) = (0.0, 0.0);
    for index in 0..288 * 20 {
        let time = seconds(index * 300);
        let is_busy = index / 12 % 24 < 12;
        let view = observe(&mut baseline, time, rng.normal() * if is_busy { 4.0 } else { 1.0 });
        if index > 288 * 10 {
            *(if is_busy { &mut busy } else { &mut calm }) += (view.residual * view.scale).abs();
        }
    }
    let ratio = busy / calm;
    assert!((0.7..2.0).contains(&ratio), "{ratio}, and 4 without the scale");
}

#[test]
fn hours_of_the_week_begin_on_thursday_and_go_on_before_the_epoch() {
    let at = |nanos: i64| Moment::of(LocalTime::utc(EventTime::new(nanos)));
    let slot = |hour: i64| at(hour * SLOT_NANOS).week_slot;
    assert_eq!((slot(0), slot(167), slot(168), slot(-1)), (0, 167, 0, 167));
    assert_eq!(at(-1).slot, 23);
    // A quarter past: on the line to the hour before, a quarter of the way.
    let moment = at(SLOT_NANOS / 4);
    assert_eq!((moment.slot, moment.neighbour), (0, 23));
    assert!((moment.weight - 0.25).abs() < 1e-6);
}
