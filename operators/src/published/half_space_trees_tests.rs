use super::*;
use crate::full::tests::{KINDS, samples};
use crate::full_oracle;
use crate::testing::Rng;

/// A window's points, and how long it was meant to be.
struct Window {
    points: Vec<[f32; 4]>,
    length: usize,
}

/// The windows of a history: 64 samples, 256, and then 1,000 each, from the eighth sample on.
fn windows(values: &[f32]) -> Vec<Window> {
    let points: Vec<[f32; 4]> = (7..values.len())
        .map(|t| {
            let x = values[t];
            [x, x - values[t - 1], x - values[t - 3], x - values[t - 7]]
        })
        .collect();
    let mut rest = &points[..];
    let mut windows = Vec::new();
    for length in [64, 256].into_iter().chain(std::iter::repeat(1_000)) {
        let (window, later) = rest.split_at(length.min(rest.len()));
        windows.push(Window { points: window.to_vec(), length });
        rest = later;
        if rest.is_empty() {
            return windows;
        }
    }
    windows
}

/// Lower end and width of each coordinate in a window.
fn scale_of(points: &[[f32; 4]]) -> [(f32, f32); 4] {
    [0, 1, 2, 3].map(|feature| {
        let (mut mean, mut distances) = (0.0_f64, 0.0_f64);
        for (t, point) in (1_u16..).zip(points) {
            let off = f64::from(point[feature]) - mean;
            mean += off / f64::from(t);
            distances += off.abs();
        }
        let count = f64::from(u16::try_from(points.len()).unwrap());
        let half = 6.0 * (narrow(distances / count) * 1.253_314);
        let half = if half < 1e-30 { 1e-30 } else { half };
        (narrow(mean) - half, 2.0 * half)
    })
}

fn in_scale(point: &[f32; 4], scale: &[(f32, f32); 4]) -> [f32; 4] {
    [0, 1, 2, 3].map(|feature| (point[feature] - scale[feature].0) / scale[feature].1)
}

/// Whether a point lies in a part of a tree: by the way back from the part to the whole.
fn holds(tree: usize, part: usize, point: &[f32; 4]) -> bool {
    let mut child = part;
    while child > 1 {
        let split = SPLITS[tree][child / 2];
        let is_below = point[usize::from(split.feature)] < split.at;
        if is_below != child.is_multiple_of(2) {
            return false;
        }
        child /= 2;
    }
    true
}

/// The distance of a point from a window in the scale of the window before that.
fn naive_distance(point: &[f32; 4], window: &Window, scale: &[(f32, f32); 4]) -> f32 {
    let point = in_scale(point, scale);
    let others: Vec<[f32; 4]> = window.points.iter().map(|point| in_scale(point, scale)).collect();
    let mut mass = 0;
    for tree in 0..25 {
        for cuts in 0..=6 {
            let part = (1 << cuts..2 << cuts).find(|part| holds(tree, *part, &point)).unwrap();
            let count = others.iter().filter(|other| holds(tree, part, other)).count();
            if cuts == 6 || (count as f32) < 0.1 * window.length as f32 {
                mass += count << cuts;
                break;
            }
        }
    }
    let d = libm::log2f(((25 * window.length * 64) as f32 + 1.0) / (mass as f32 + 1.0));
    if d > 0.0 { d } else { 0.0 }
}

#[test]
fn severities_are_bit_by_bit_those_of_the_whole_history() {
    for (seed, kind) in (1..).zip(KINDS) {
        let samples = samples(kind, seed, 1_500, 60);
        let first = samples[0].1;
        let values: Vec<f32> = samples.iter().map(|(_, value)| narrow(value - first)).collect();
        let mut trees = HalfSpaceTrees::new(first);
        let severities: Vec<f32> =
            samples.iter().map(|(_, value)| trees.observe(*value).0).collect();
        let windows = windows(&values);
        let (mut row, mut distances) = (7, Vec::new());
        for (index, window) in windows.iter().enumerate() {
            for point in &window.points {
                let mut told = 0.0;
                if index >= 2 {
                    let scale = scale_of(&windows[index - 2].points);
                    distances.push(naive_distance(point, &windows[index - 1], &scale));
                    told = full_oracle::severity(&distances);
                }
                assert_eq!(severities[row].to_bits(), told.to_bits(), "{kind:?}, row {row}");
                row += 1;
            }
        }
        assert_eq!(row, values.len());
    }
}

#[test]
fn a_spike_lies_where_nothing_was_and_expected_is_the_last_windows_mean() {
    let mut rng = Rng::new(3);
    let mut trees = HalfSpaceTrees::new(100.0);
    let mut healthy: f32 = 0.0;
    for row in 0..6_000 {
        let (severity, expectation) = trees.observe(100.0 + rng.normal());
        assert_eq!(expectation.expected.is_nan(), row < 7 + 64 + 256, "row {row}");
        if row > 3_000 {
            healthy = larger(healthy, severity);
            assert!((expectation.expected - 100.0).abs() < 0.2, "{expectation:?}");
            let half = expectation.upper - expectation.expected;
            assert!((2.0..2.6).contains(&half), "{expectation:?}");
        }
    }
    let (severity, _) = trees.observe(130.0);
    assert!(severity > 4.0 && severity > healthy, "{severity}; {healthy} among healthy samples");
}

#[test]
fn constant_input_has_no_severity() {
    let mut trees = HalfSpaceTrees::new(7.0);
    for row in 0..3_000 {
        let (severity, expectation) = trees.observe(7.0);
        assert!(severity <= 0.0, "row {row}");
        assert!(expectation.expected.is_nan() || (expectation.expected - 7.0).abs() < 1e-12);
    }
}
