use super::*;
use crate::testing::{Rng, seconds};

/// What was seen of a sample: severity, value less what was expected, whether it stands still, whether it is usual elsewhere.
type Seen = (EventTime, f32, f64, bool, bool);

/// What the stretches of the whole history say of their last sample.
fn naive(history: &[Seen]) -> AnomalyKind {
    let (last, before) = history.split_last().unwrap();
    let is_anomaly = |seen: &Seen| seen.1 >= KIND_MIN;
    if !is_anomaly(last) {
        return AnomalyKind::None;
    }
    // The stretch goes back to the first anomaly that no 8 calm samples part from the next one.
    let mut first = before.len();
    let mut calm = 0;
    for (index, seen) in before.iter().enumerate().rev() {
        calm = if is_anomaly(seen) { 0 } else { calm + 1 };
        if calm >= 8 {
            break;
        }
        first = if is_anomaly(seen) { index } else { first };
    }
    let stretch = &history[first..];
    let is_still = stretch.iter().filter(|seen| is_anomaly(seen)).all(|seen| seen.3);
    let (mut peak, mut peak_side, mut told_side) = (0.0, 0.0, 0.0);
    let (mut anomalies, mut strong) = (Vec::<&Seen>::new(), Vec::new());
    for seen in stretch.iter().filter(|seen| is_anomaly(seen)) {
        let is_strong = 4.0 * seen.1 >= peak;
        let comes_back = !is_strong && seen.2 * peak_side < 0.0;
        told_side = if comes_back { peak_side } else { seen.2 };
        if comes_back {
            continue;
        }
        anomalies.push(seen);
        strong.extend(is_strong.then_some(seen.2));
        if seen.1 > peak {
            (peak, peak_side) = (seen.1, seen.2);
        }
    }
    let count = anomalies.len();
    let changes = strong.windows(2).filter(|pair| pair[0] * pair[1] < 0.0).count();
    let usual = anomalies.iter().filter(|seen| seen.4).count();
    let seconds = (last.0.nanos() - stretch[0].0.nanos()) / NANOS_PER_SECOND;
    match () {
        () if is_still => AnomalyKind::Flatline,
        () if changes >= 2 && 4 * changes >= count => AnomalyKind::VarianceChange,
        () if count < 8 || 4 * count < 3 * stretch.len() || seconds < 120 => {
            match told_side < 0.0 {
                true => AnomalyKind::Drop,
                false => AnomalyKind::Spike,
            }
        }
        () if 2 * usual >= count => AnomalyKind::SeasonalBreak,
        () => AnomalyKind::LevelShift,
    }
}

fn observe(shape: &mut Shape, seen: &Seen) -> AnomalyKind {
    let (time, severity, departure, is_still, is_usual) = *seen;
    let sight = Sight { time, value: 5.0 + departure, expected: 5.0, is_still };
    shape.observe(Severity::from_f32(severity), &sight, || is_usual)
}

/// Stretches of every kind, in turn.
fn history(seed: u64, interval: i64) -> Vec<Seen> {
    let mut rng = Rng::new(seed);
    let (mut above, mut still, mut usual, mut hot) = (0.5, 0.0, 0.0, 0.0);
    let sample = |index: i64| {
        if rng.uniform() < 0.03 {
            (above, usual) = (rng.uniform(), rng.uniform());
            still = if rng.uniform() < 0.3 { 0.98 } else { 0.0 };
            hot = if rng.uniform() < 0.5 { 0.03 } else { 0.95 };
        }
        let low = if rng.uniform() < 0.5 { 7.0 } else { 8.0 };
        let high = if rng.uniform() < 0.1 { 40.0 } else { low };
        let severity = if rng.uniform() < hot { high } else { 2.9 };
        let side = if rng.uniform() < above { 1.0 } else { -1.0 };
        let (is_still, is_usual) = (rng.uniform() < still, rng.uniform() < usual);
        (seconds(index * interval), severity, side, is_still, is_usual)
    };
    (0..2_000).map(sample).collect()
}

#[test]
fn what_is_said_is_what_the_whole_history_says_also_behind_a_restart() {
    let mut said = std::collections::BTreeSet::new();
    for seed in 1..=6 {
        for interval in [1, 20, 300] {
            let history = history(seed, interval);
            let mut shape = Shape::default();
            for (index, seen) in history.iter().enumerate() {
                let kind = observe(&mut shape, seen);
                assert_eq!(kind, naive(&history[..=index]), "SEED={seed}, {interval} s, {index}");
                said.insert(kind);
                let mut out = FieldWriter::default();
                shape.encode(&mut out);
                let bytes = out.into_bytes();
                let read = Shape::decode(&mut FieldReader::new(&bytes));
                assert_eq!(read.as_ref(), Some(&shape), "SEED={seed}, {interval} s, {index}");
            }
        }
    }
    assert_eq!(said.len(), 7, "{said:?}");
}

#[test]
fn what_is_expected_of_nothing_has_no_kind() {
    let mut shape = Shape::default();
    let sight = Sight { time: seconds(1), value: 5.0, expected: f64::NAN, is_still: false };
    assert_eq!(shape.observe(Severity::from_f32(50.0), &sight, || true), AnomalyKind::None);
    assert_eq!(shape, Shape::default());
}

#[test]
fn a_stretch_of_any_length_stays_within_its_counts() {
    let mut shape = Shape::default();
    for index in 0..200_000 {
        let kind = observe(&mut shape, &(seconds(index), 9.0, 1.0, false, false));
        assert!(index < 200 || kind == AnomalyKind::LevelShift, "{index}: {kind:?}");
    }
    let calm = |index: i64| (seconds(200_000 + index), 0.0, 0.0, false, false);
    assert!((0..8).all(|index| observe(&mut shape, &calm(index)) == AnomalyKind::None));
    assert_eq!(shape, Shape::default());
}
