use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000_000;

fn curve(points: &[(i64, f64)]) -> Curve {
    let mut curve = Curve::default();
    points.iter().for_each(|(time, value)| curve.push(Point { time: *time, value: *value }));
    curve
}

fn measures(points: &[(i64, f64)]) -> [Option<f64>; 3] {
    [Measure::Increase, Measure::Rate, Measure::Integral].map(|of| curve(points).measure(of))
}

#[test]
fn a_curve_of_three_points_is_measured_as_by_hand() {
    let points = [(0, 10.0), (10 * SECOND, 30.0), (40 * SECOND, 60.0)];
    assert_eq!(measures(&points), [Some(50.0), Some(1.25), Some(1_550.0)]);
}

#[test]
fn a_fall_says_that_the_counter_began_again_at_zero() {
    let points = [(0, 100.0), (SECOND, 130.0), (2 * SECOND, 20.0), (3 * SECOND, 25.0)];
    assert_eq!(measures(&points)[..2], [Some(55.0), Some(55.0 / 3.0)]);
    let again = [(0, 5.0), (SECOND, 3.0), (2 * SECOND, 3.0), (3 * SECOND, 1.0)];
    assert_eq!(measures(&again)[0], Some(4.0), "each fall counts, an equal value does not");
}

#[test]
fn no_point_has_no_measure_and_a_single_one_no_rate() {
    assert_eq!(measures(&[]), [None; 3]);
    assert_eq!(measures(&[(7, 3.0)]), [Some(0.0), None, Some(0.0)]);
    assert_eq!(measures(&[(7, 3.0), (7, 5.0)]), [Some(0.0), None, Some(0.0)], "one time");
    assert_eq!(measures(&[(7, f64::NAN), (9, f64::INFINITY)]), [None; 3]);
}

#[test]
fn of_several_values_of_one_time_the_greatest_counts_whatever_came_first() {
    let expected = measures(&[(0, 1.0), (SECOND, 4.0), (2 * SECOND, 6.0)]);
    let points = [(0, 1.0), (SECOND, 2.0), (SECOND, 4.0), (2 * SECOND, 6.0)];
    assert_eq!(measures(&points), expected);
    let turned: Vec<_> = points.into_iter().rev().collect();
    assert_eq!(measures(&turned), expected);
}

#[test]
fn the_first_and_the_last_time_that_there_are_do_not_overflow() {
    let [increase, rate, integral] = measures(&[(i64::MAX, 2.0), (i64::MIN, 0.0)]);
    let span = 18_446_744_073.709_55;
    assert_eq!(increase, Some(2.0));
    assert!((rate.unwrap() * span / 2.0 - 1.0).abs() < 1e-12, "{rate:?}");
    assert!((integral.unwrap() / span - 1.0).abs() < 1e-12, "{integral:?}");
    let huge = measures(&[(0, f64::MAX), (SECOND, f64::MAX)]);
    assert_eq!(huge, [Some(0.0), Some(0.0), Some(f64::MAX)], "nor do the greatest values");
}

/// The formulas as they stand, over the whole history.
fn naive(points: &[(i64, f64)]) -> [Option<f64>; 3] {
    let mut all: BTreeMap<i64, f64> = BTreeMap::new();
    for (time, value) in points.iter().filter(|(_, value)| value.is_finite()) {
        let known = all.entry(*time).or_insert(*value);
        if value > known {
            *known = *value;
        }
    }
    let all: Vec<(i64, f64)> = all.into_iter().collect();
    let seconds = |from: i64, to: i64| (i128::from(to) - i128::from(from)) as f64 / 1e9;
    let (mut increase, mut integral) = (0.0, 0.0);
    for pair in all.windows(2) {
        let [(from, before), (to, value)] = [pair[0], pair[1]];
        increase += if value >= before { value - before } else { value };
        integral += (value + before) / 2.0 * seconds(from, to);
    }
    let some = |of| (!all.is_empty()).then_some(of);
    let rate = (all.len() > 1).then(|| increase / seconds(all[0].0, all[all.len() - 1].0));
    [some(increase), rate, some(integral)]
}

proptest! {
    #[test]
    fn any_points_in_any_order_have_the_measures_of_the_formulas(
        points in prop::collection::vec(
            (prop_oneof![0..40_i64, any::<i64>()], prop_oneof![
                8 => 0.0..1e6_f64, 4 => (0..5_u8).prop_map(f64::from), 1 => Just(f64::NAN),
                1 => Just(f64::NEG_INFINITY),
            ]),
            0..60,
        )
    ) {
        for (ours, naive) in measures(&points).into_iter().zip(naive(&points)) {
            match (ours, naive) {
                (Some(ours), Some(naive)) => {
                    prop_assert!((ours - naive).abs() <= 1e-9 * naive.abs().max(1.0), "{ours} {naive}");
                }
                (ours, naive) => prop_assert_eq!(ours, naive),
            }
        }
    }
}
