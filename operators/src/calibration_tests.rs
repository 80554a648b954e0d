use super::*;
use crate::testing::Rng;

/// A calibration that has seen so many days of five minutes, in which the model said exponential severities of mean `mean`.
fn seen(days: u16, mean: f32, rng: &mut Rng) -> Calibration {
    let mut calibration = Calibration::NEW;
    for _ in 0..288 * u32::from(days) {
        calibration.pass(300.0);
        calibration.learn(mean * rng.exponential(), true);
    }
    calibration
}

#[test]
fn six_is_passed_by_a_few_in_a_million_whatever_the_model_says() {
    let mut rng = Rng::new(1);
    // Means of .4 to .8 promise, at 6, one in 3 million and one in 1,800.
    for mean in [0.4, 0.6, 0.8] {
        let mut passed = 0;
        for _ in 0..30 {
            let calibration = seen(28, mean, &mut rng);
            for _ in 0..100_000 {
                passed += u32::from(calibration.severity(mean * rng.exponential(), 0.0).0 >= 6.0);
            }
        }
        // Twice one in a million are promised; the mean excess of 32 is known to a sixth, and a
        // model that says less than it may is left alone.
        assert!(passed <= 30, "mean {mean}: {passed} of 3 million");
    }
}

#[test]
fn below_the_fleets_level_and_in_their_order_severities_stay() {
    let mut rng = Rng::new(2);
    let calibration = seen(28, 1.0, &mut rng);
    let mut last = 0.0;
    for step in 0..2_000_u16 {
        let of_model = f32::from(step) / 64.0;
        let severity = calibration.severity(of_model, 0.0).0;
        assert!(severity <= of_model && severity >= last, "{of_model}: {severity}");
        assert!(of_model > BELIEVED || severity >= of_model, "{of_model}: {severity}");
        last = severity;
    }
    assert!(last > 8.0, "what is far enough is passed on: {last}");
}

#[test]
fn who_has_seen_little_promises_little() {
    let mut rng = Rng::new(3);
    let calibration = seen(1, 0.3, &mut rng);
    let most = calibration.severity(90.0, 0.0).0;
    assert!((most - 3.0 - libm::log10f(288.0)).abs() < 1e-4, "{most}");
    assert!(Calibration::NEW.severity(90.0, 0.0).0 <= 3.0);
    assert!(seen(4, 0.3, &mut rng).severity(90.0, 0.0).0 > 6.0, "after three and a half days");
}

#[test]
fn of_the_light_detector_counts_less_of_what_is_beyond_until_enough_was_seen() {
    let mut rng = Rng::new(5);
    let young = seen(1, 0.3, &mut rng);
    let limit = 3.0 + libm::log10f(288.0);
    assert_eq!(young.severity(0.0, 4.0), (4.0, true), "below the limit it counts");
    assert_eq!(young.severity(5.0, 4.0), (5.0, false), "the greater one of both");
    let (severity, is_light) = young.severity(90.0, 2.0 * limit);
    assert!((severity / limit - 1.277_26).abs() < 1e-4 && is_light, "{severity}");
    assert_eq!(seen(4, 0.3, &mut rng).severity(1.0, 90.0), (90.0, true));
}

#[test]
fn what_was_never_seen_counts_less_the_farther_it_is() {
    assert!((borne_out(7.0, 7.0) - 7.0).abs() < 1e-6 && (borne_out(3.0, 7.0) - 3.0).abs() < 1e-6);
    assert!((borne_out(14.0, 7.0) / 7.0 - 1.277_26).abs() < 1e-4);
    let mut rng = Rng::new(6);
    let (week, year) = (seen(7, 0.3, &mut rng), seen(364, 0.3, &mut rng));
    let [week, year] = [week, year].map(|calibration| calibration.severity(40.0, 0.0).0);
    assert!(9.0 < week && week + 0.8 < year, "{week} after a week, {year} after a year");
}

#[test]
fn a_quiet_series_is_not_sure_that_nothing_is_rarer() {
    let mut rng = Rng::new(7);
    // The greatest of 16,000 are all below .3, with a mean excess of .02.
    let quiet = seen(56, 0.02, &mut rng);
    let at = |of_model: f32| quiet.severity(of_model, 0.0).0;
    assert!(at(6.2) < 6.0 && at(8.5) > 6.0, "{}, {}", at(6.2), at(8.5));
}

#[test]
fn the_first_days_are_forgotten_once_they_are_outlived() {
    let mut rng = Rng::new(8);
    let mut teach = |calibration: &mut Calibration, stretches: u32, mean: f32| {
        for _ in 0..stretches {
            calibration.pass(300.0);
            calibration.learn(mean * rng.exponential(), true);
        }
    };
    // Two weeks in which all is news, and quiet ones.
    let mut calibration = Calibration::NEW;
    teach(&mut calibration, 4_000, 2.0);
    teach(&mut calibration, 1_999, 0.1);
    assert!(calibration.severity(9.5, 0.0).0 < 6.0);
    teach(&mut calibration, 1, 0.1);
    assert!(calibration.severity(9.5, 0.0).0 > 6.0, "a week is enough");
    // A fifth is another series; the same is not.
    let [mut quiet, mut same] = [Calibration::NEW, Calibration::NEW];
    teach(&mut quiet, 4_000, 0.1);
    teach(&mut same, 4_000, 0.1);
    teach(&mut quiet, 2_000, 0.02);
    teach(&mut same, 2_000, 0.1);
    let [quiet, same] = [quiet, same].map(|calibration| calibration.tail.severity(0.7));
    assert!(
        quiet > same + 2.0 && same > 1.0,
        "{quiet}, {same}: who stays as it was forgets nothing"
    );
}

#[test]
fn an_anomaly_counts_as_ten_at_most() {
    let mut rng = Rng::new(4);
    let mut one = seen(10, 0.5, &mut rng);
    let mut other = one.clone();
    one.learn(100.0, true);
    other.learn(10.0, true);
    assert_eq!(one, other);
}
