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
fn of_the_light_detector_counts_half_of_what_is_beyond_until_enough_was_seen() {
    let mut rng = Rng::new(5);
    let young = seen(1, 0.3, &mut rng);
    let limit = 3.0 + libm::log10f(288.0);
    assert_eq!(young.severity(0.0, 4.0), (4.0, true), "below the limit it counts");
    assert_eq!(young.severity(5.0, 4.0), (5.0, false), "the greater one of both");
    let (severity, is_light) = young.severity(90.0, limit + 10.0);
    assert!((severity - limit - 5.0).abs() < 1e-4 && is_light, "{severity}");
    assert_eq!(seen(4, 0.3, &mut rng).severity(1.0, 90.0), (90.0, true));
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
