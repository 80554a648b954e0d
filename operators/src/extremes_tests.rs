use super::*;
use crate::testing::Rng;

#[test]
fn severities_of_exponential_distances_are_their_chances() {
    for seed in 1..=5 {
        let mut rng = Rng::new(seed);
        let mut extremes = Extremes::NEW;
        let (mut above_3, mut above_4) = (0, 0);
        for _ in 0..1_000 {
            extremes.observe(rng.exponential());
        }
        for _ in 0..200_000 {
            let severity = extremes.observe(rng.exponential());
            above_3 += u32::from(severity > 3.0);
            above_4 += u32::from(severity > 4.0);
        }
        // 200 and 20 are due; the mean excess of 32 is known to a sixth.
        assert!((120..330).contains(&above_3), "seed {seed}: {above_3} above 3");
        assert!((6..60).contains(&above_4), "seed {seed}: {above_4} above 4");
    }
}

#[test]
fn nothing_is_scored_before_fifty_distances_and_zeros_are_never_extreme() {
    let mut extremes = Extremes::NEW;
    for _ in 0..49 {
        extremes.observe(0.0);
    }
    assert!(extremes.clone().observe(1.0) <= 0.0);
    extremes.observe(0.0);
    assert!((extremes.observe(1.0) - libm::log10f(51.0)).abs() < 1e-6);
    assert!(extremes.observe(0.0) <= 0.0);
    // The second one is as rare as two in 52, however large it is.
    assert!((extremes.observe(1e30) - libm::log10f(53.0 / 2.0)).abs() < 1e-6);
}

#[test]
fn equal_distances_make_a_short_tail_and_not_an_infinite_one() {
    let mut extremes = Extremes::NEW;
    for _ in 0..1_000 {
        assert!(extremes.observe(5.0) < 1.8);
    }
    // One in 256 further is within the resolution; a tenth further is two mean excesses.
    let tail = |d: f32| extremes.clone().observe(d);
    let base = libm::log10f(1_000.0 / 32.0);
    assert!(tail(5.0) <= 0.0 && tail(5.02) < base + 0.06, "{}", tail(5.02));
    assert!((tail(5.5) - base - 2.0 / std::f32::consts::LN_10).abs() < 0.05, "{}", tail(5.5));
}

#[test]
fn a_generation_is_forgotten_after_two() {
    let mut extremes = Extremes::NEW;
    for index in 0..16_000_u16 {
        let d = if index < 40 { 1_000.0 + f32::from(index) } else { 1.0 + f32::from(index % 50) };
        extremes.observe(d);
        if index == 15_998 {
            assert!(extremes.clone().observe(100.0) <= 0.0, "the first samples still count");
        }
    }
    // Both generations are now of 1 to 50.
    assert!(extremes.observe(100.0) > 10.0);
}
