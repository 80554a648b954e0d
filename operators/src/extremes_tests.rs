use super::*;
use crate::testing::Rng;

fn observe(extremes: &mut Extremes<30>, distance: f32) -> f32 {
    let severity = extremes.severity(distance);
    extremes.learn(distance, true);
    severity
}

/// How many of 200,000 distances, exponential less `less`, are above 3 and above 4.
fn passed(less: f32, seed: u64) -> [u32; 2] {
    let mut rng = Rng::new(seed);
    let mut next = || larger(rng.exponential() - less, 0.0);
    let mut extremes = Extremes::<30>::NEW;
    for _ in 0..1_000 {
        observe(&mut extremes, next());
    }
    let mut passed = [0; 2];
    for _ in 0..200_000 {
        let severity = observe(&mut extremes, next());
        passed = [passed[0] + u32::from(severity > 3.0), passed[1] + u32::from(severity > 4.0)];
    }
    passed
}

#[test]
fn severities_of_exponential_distances_are_their_chances() {
    for seed in 1..=5 {
        // Most distances are 0, so that the least of the greatest is near the mean excess. 200 and 20
        // are due; the mean excess of 32 is known to a sixth.
        let [above_3, above_4] = passed(4.0, seed);
        assert!((120..330).contains(&above_3), "seed {seed}: {above_3} above 3");
        assert!((6..60).contains(&above_4), "seed {seed}: {above_4} above 4");
        // A tail that is short beside what it is the tail of is taken for a longer one.
        let [above_3, above_4] = passed(0.0, seed);
        assert!((40..200).contains(&above_3), "seed {seed}: {above_3} above 3");
        assert!(above_4 <= 10, "seed {seed}: {above_4} above 4");
    }
}

#[test]
fn a_step_teaches_its_greatest_distance() {
    let mut rng = Rng::new(6);
    let (mut quick, mut slow) = (Extremes::<30>::NEW, Extremes::<30>::NEW);
    for _ in 0..500 {
        let step: Vec<f32> = (0..10).map(|_| rng.exponential()).collect();
        for (index, distance) in step.iter().enumerate() {
            quick.learn(*distance, index == 9);
        }
        slow.learn(step.into_iter().fold(0.0, larger), true);
        assert_eq!(quick, slow);
    }
}

#[test]
fn nothing_is_scored_before_fifty_distances_and_zeros_are_never_extreme() {
    let mut extremes = Extremes::<30>::NEW;
    for _ in 0..49 {
        observe(&mut extremes, 0.0);
    }
    assert!(extremes.severity(1.0) <= 0.0);
    observe(&mut extremes, 0.0);
    assert!((observe(&mut extremes, 1.0) - libm::log10f(51.0)).abs() < 1e-6);
    assert!(observe(&mut extremes, 0.0) <= 0.0);
    // The second one is as rare as two in 52, however large it is.
    assert!((observe(&mut extremes, 1e30) - libm::log10f(53.0 / 2.0)).abs() < 1e-6);
}

#[test]
fn equal_distances_make_a_short_tail_and_not_an_infinite_one() {
    let mut extremes = Extremes::<30>::NEW;
    for _ in 0..1_000 {
        assert!(observe(&mut extremes, 5.0) < 1.8);
    }
    // One in 256 further is within the resolution; a tenth further is a third of a mean excess.
    let tail = |d: f32| extremes.severity(d);
    let base = libm::log10f(1_000.0 / 32.0);
    assert!(tail(5.0) <= 0.0 && tail(5.02) < base + 0.06, "{}", tail(5.02));
    let third = 1.0 / 3.0 / std::f32::consts::LN_10;
    assert!((tail(5.5) - base - third).abs() < 0.01, "{}", tail(5.5));
}

#[test]
fn a_generation_is_forgotten_after_two() {
    let mut extremes = Extremes::<30>::NEW;
    for index in 0..16_000_u16 {
        let d = if index < 40 { 1_000.0 + f32::from(index) } else { 1.0 + f32::from(index % 50) };
        observe(&mut extremes, d);
        if index == 15_998 {
            assert!(extremes.severity(100.0) <= 0.0, "the first samples still count");
        }
    }
    // Both generations are now of 1 to 50, and 100 is 50 / 15 mean excesses beyond.
    assert!(observe(&mut extremes, 100.0) > 3.8);
}
