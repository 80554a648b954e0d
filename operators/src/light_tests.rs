use tidewatch_metrics::SeriesId;

use super::*;
use crate::testing::{Rng, season as daily, seconds};

/// One series with its detector.
struct Fed {
    light: Light,
    state: SeriesState,
}

impl Fed {
    fn new() -> Self {
        Self { light: Light::default(), state: SeriesState::new(SeriesId::new(1)) }
    }

    /// Feeds a value and returns its severity.
    fn row(&mut self, time: EventTime, value: f64) -> f32 {
        let s = &mut self.state;
        let last = std::mem::replace(&mut s.last_time, time);
        let step = (last != EventTime::MIN).then(|| time.nanos() - last.nanos());
        let time = LocalTime::utc(time);
        let dt = self.light.advance(s, time, step);
        self.light.score(s, time, value, dt).severity
    }

    fn explain(&self) -> Explanation {
        Light::explain(&self.state, LocalTime::utc(self.state.last_time))
    }
}

/// Samples of `days` days at `interval` seconds, by time and index.
fn feed(fed: &mut Fed, interval: i64, days: i64, mut value: impl FnMut(EventTime) -> f64) -> f32 {
    let mut worst = 0.0;
    for index in 0..days * 86_400 / interval {
        let time = seconds(index * interval);
        worst = larger(worst, fed.row(time, value(time)));
    }
    worst
}

fn assert_close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{what}: {found} {expected}");
}

#[test]
fn levels_and_scale_are_those_of_the_naive_computation_over_the_whole_history() {
    let mut rng = Rng::new(3);
    let mut fed = Fed::new();
    let mut history: Vec<f64> = Vec::new();
    for index in 0..2_000_i64 {
        let x = 1e9 + rng.uniform();
        history.push(x);
        fed.row(seconds(index * 10), x);
        if index % 397 != 5 {
            continue;
        }
        // Bounded noise is never clipped, so that every quantity has a closed form.
        let mut quick = vec![history[0]];
        for now in 1..history.len() {
            let weights = (1..=now).map(|i| 0.3 * libm::pow(0.7, (now - i) as f64) * history[i]);
            quick.push(weights.sum::<f64>() + libm::pow(0.7, now as f64) * history[0]);
        }
        let distances: Vec<f64> =
            (1..history.len()).map(|i| (history[i] - quick[i - 1]).abs()).collect();
        let (early, late) = distances.split_at(distances.len().min(255));
        let fade = 1.0 - 1.0 / 256.0;
        let mut scale = early.iter().sum::<f64>() / (early.len() + 1) as f64;
        scale *= libm::pow(fade, late.len() as f64);
        let newest_first = late.iter().rev().enumerate();
        scale += newest_first.map(|(i, d)| libm::pow(fade, i as f64) * d / 256.0).sum::<f64>();
        let mean = history.iter().sum::<f64>() / history.len() as f64;
        assert_close(fed.state.quick - 1e9, quick[history.len() - 1] - 1e9, "quick level");
        assert_close(f64::from(fed.state.near.scale), scale, "scale");
        assert_close(fed.state.slow - 1e9, mean - 1e9, "slow level");
    }
}

#[test]
fn the_profile_is_that_of_the_naive_hourly_means() {
    let mut rng = Rng::new(4);
    let mut fed = Fed::new();
    let mut hours = std::collections::BTreeMap::<i64, Vec<f64>>::new();
    for index in 0.. {
        let time = seconds(index * 60);
        let x = daily(time) + rng.uniform() + 1e-4 * index as f64;
        fed.row(time, x);
        if fed.state.is(SEASONAL) {
            break;
        }
        hours.entry(time.nanos() / SLOT_NANOS).or_default().push(x);
    }
    let means: Vec<(i64, f64)> = hours
        .iter()
        .map(|(h, xs)| (*h, xs.iter().sum::<f64>() / xs.len() as f64))
        .skip(1)
        .collect();
    assert_eq!(means.len(), 25, "24 whole hours and the first one again");
    let change = means[24].1 - means[0].1;
    let detrended = |j: usize| means[j].1 + change * (24 - j) as f64 / 24.0;
    let level = (0..24).map(detrended).sum::<f64>() / 24.0;
    for (j, (hour, _)) in means.iter().take(24).enumerate() {
        let slot = usize::try_from(hour % 24).unwrap();
        let found = fed.light.profile(&fed.state).unwrap().about(slot).here;
        let expected = detrended(j) - level;
        assert!((f64::from(found) - expected).abs() < 0.02, "hour {hour}: {found} {expected}");
    }
}

/// What can happen to a series after two healthy days.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Spike,
    Drop,
    Shift,
    Variance,
    SeasonInverted,
    Flatline,
    Jitter,
}

#[test]
fn every_kind_of_anomaly_is_found_within_few_samples() {
    use Fault::{Drop, Flatline, Jitter, SeasonInverted, Shift, Spike, Variance};
    for interval in [10, 60, 300] {
        for seed in 1..=5 {
            let cases = [
                (Spike, 1, 7.0),
                (Drop, 1, 7.0),
                (Shift, 6, 7.0),
                (Variance, 20, 6.5),
                (SeasonInverted, 8, 7.0),
                (Flatline, 16, 6.5),
                (Jitter, 16, 6.5),
            ];
            for (fault, within, severity) in cases {
                let mut fed = Fed::new();
                let mut rng = Rng::new(seed);
                let healthy = feed(&mut fed, interval, 2, |time| daily(time) + rng.normal());
                assert!(healthy < 6.0, "{fault:?} {interval} s SEED={seed}: healthy {healthy}");
                let stuck = fed.state.last_value;
                let mut worst = 0.0;
                // 04:13 UTC: the season is near its height.
                let start = 2 * 86_400 + 6 * 3_600;
                for index in (2 * 86_400 / interval)..(start / interval) {
                    let time = seconds(index * interval);
                    fed.row(time, daily(time) + rng.normal());
                }
                for index in start / interval..start / interval + within {
                    let time = seconds(index * interval);
                    let (season, noise) = (daily(time), rng.normal());
                    let value = match fault {
                        Spike => season + 12.0,
                        Drop => season - 12.0,
                        Shift => season + 8.0 + noise,
                        Variance => season + 6.0 * noise,
                        SeasonInverted => 100.0 - season + noise,
                        Flatline => stuck,
                        Jitter => stuck + 1e-4 * noise,
                    };
                    worst = larger(worst, fed.row(time, value));
                }
                assert!(worst > severity, "{fault:?} {interval} s SEED={seed}: only {worst}");
            }
        }
    }
}

#[test]
fn healthy_noise_gives_at_most_one_false_anomaly_in_200_000_samples() {
    for interval in [10, 60, 300] {
        let mut anomalies = 0;
        for seed in 1..=10 {
            let mut fed = Fed::new();
            let mut rng = Rng::new(seed);
            for index in 0..20_000 {
                let time = seconds(index * interval);
                let severity = fed.row(time, daily(time) + rng.normal());
                anomalies += u32::from(severity >= 6.0);
            }
        }
        assert!(anomalies <= 1, "{anomalies} in 200,000 at {interval} s");
    }
}

/// Anomalies in 50,000 samples at 60 s of values made one after the other.
fn anomalies_of(seed: u64, mut next: impl FnMut(&mut Rng) -> f64) -> usize {
    let mut fed = Fed::new();
    let mut rng = Rng::new(seed);
    (0..50_000).filter(|i| fed.row(seconds(i * 60), next(&mut rng)) >= 6.0).count()
}

#[test]
fn what_is_not_normal_noise_does_not_flood() {
    let mut counter = 0.0;
    assert_eq!(anomalies_of(1, |_| 42.0), 0, "constant");
    let counted = anomalies_of(2, |rng| {
        counter += 100.0 + 10.0 * rng.normal();
        counter
    });
    assert_eq!(counted, 0, "counter");
    let mut walk = 0.0;
    let walked = anomalies_of(3, |rng| {
        walk += rng.normal();
        walk
    });
    assert!(walked <= 1, "random walk: {walked}");
    let heavy = anomalies_of(4, |rng| {
        let chi = (0..3).map(|_| rng.normal()).map(|n| n * n).sum::<f64>() / 3.0;
        rng.normal() / chi.sqrt()
    });
    assert!(heavy < 25, "Student with 3 degrees of freedom: {heavy}");
    let skewed = anomalies_of(5, |rng| libm::exp(rng.normal()));
    assert!(skewed < 25, "lognormal: {skewed}");
    let counts = anomalies_of(6, |rng| (rng.exponential() * 2.0).floor().into());
    assert!(counts < 15, "geometric: {counts}");
}

#[test]
fn a_lasting_new_level_becomes_normal_within_two_hours() {
    let mut fed = Fed::new();
    let mut rng = Rng::new(8);
    feed(&mut fed, 60, 2, |time| daily(time) + rng.normal());
    let mut hot = Vec::new();
    for index in 2_880..2_880 + 1_440 {
        let time = seconds(index * 60);
        if fed.row(time, daily(time) + 20.0 + rng.normal()) >= 6.0 {
            hot.push(index - 2_880);
        }
    }
    assert_eq!(hot.first(), Some(&0));
    assert!(hot.len() > 30, "the step is seen while it is new, not for {} samples", hot.len());
    assert!(hot.last() < Some(&120), "still hot after {:?} minutes", hot.last());
}

#[test]
fn nothing_is_scored_in_the_burn_in_and_nothing_is_expected() {
    let mut fed = Fed::new();
    for index in 0..i64::from(BURN_IN) {
        let value = if index % 7 == 0 { 1e6 } else { index as f64 };
        assert!(fed.explain().expected.is_nan());
        assert_eq!(fed.row(seconds(index), value).to_bits(), 0, "sample {index}");
    }
    let explanation = fed.explain();
    assert!(explanation.lower < explanation.expected && explanation.expected < explanation.upper);
    assert_eq!(explanation.samples, BURN_IN);
}

#[test]
fn a_series_that_never_moved_makes_its_first_movement_as_rare_as_its_history_is_long() {
    let mut fed = Fed::new();
    (0..9_999).for_each(|index| assert_eq!(fed.row(seconds(index), 7.0).to_bits(), 0));
    assert!((fed.row(seconds(9_999), 8.0) - 4.0).abs() < 0.01);
}

#[test]
fn a_gap_teaches_before_it_scores_again() {
    let mut fed = Fed::new();
    let mut rng = Rng::new(9);
    feed(&mut fed, 60, 1, |_| rng.normal());
    for index in 0..8 {
        assert_eq!(fed.row(seconds(100_000 + index * 60), 50.0 + rng.normal()).to_bits(), 0);
    }
    assert!(fed.row(seconds(100_000 + 8 * 60), 100.0) > 6.0, "scored again");
}

#[test]
fn extreme_values_keep_the_state_finite() {
    let extremes = [f64::MAX, f64::MIN, 0.0, f64::MIN_POSITIVE, 5e-324, -0.0, 1e300];
    let mut fed = Fed::new();
    let mut rng = Rng::new(10);
    for index in 0..5_000 {
        let pick = usize::try_from(rng.below(extremes.len() as u64)).unwrap();
        let severity = fed.row(seconds(index * 600), extremes[pick]);
        assert!((0.0..=SEVERITY_MAX).contains(&severity));
        let s = &fed.state;
        let floats = [s.quick, s.slow, s.hour_mean, s.drift.into(), s.heat.into()];
        assert!(floats.iter().all(|float| float.is_finite()), "{s:?}");
        for tail in [s.near, s.far] {
            assert!(
                tail.scale.is_finite() && tail.threshold.is_finite() && tail.excess.is_finite()
            );
        }
    }
}

#[test]
fn an_onset_is_a_severity_above_all_of_the_last_hundred_samples() {
    let mut s = SeriesState::new(SeriesId::new(1));
    let mut rng = Rng::new(11);
    let (mut hold, mut last) = (Severity::ZERO, -1_000_i64);
    for index in 0..20_000_i64 {
        let severity = if rng.below(40) == 0 {
            Severity::from_f32(rng.exponential() * 4.0)
        } else {
            Severity::ZERO
        };
        // The reference detector's rule, word for word.
        if index - last > 100 {
            hold = Severity::ZERO;
        }
        let onset = severity > hold;
        if onset {
            (hold, last) = (severity, index);
        }
        let flags = emit(&mut s, severity, Channel::Deviation);
        assert_eq!(flags.is_onset(), onset, "sample {index}");
        let fired = severity > Severity::ZERO;
        assert_eq!(flags.channel() == Channel::Deviation, fired);
    }
}

#[test]
fn the_interval_is_learnt_in_seconds() {
    let mut fed = Fed::new();
    for index in 0..200 {
        fed.row(seconds(index * 15), index as f64);
    }
    assert!((fed.state.interval - 15.0).abs() < 1e-3);
}
