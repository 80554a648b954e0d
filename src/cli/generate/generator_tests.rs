use super::*;
use crate::cli::generate::anomaly::{KINDS, Window, plan};

const START: EventTime = EventTime::new(1_760_000_000 * NANOS_PER_SECOND);
const INTERVAL_NANOS: i64 = 10 * NANOS_PER_SECOND;

fn generator(series: usize, seed: u64) -> Generator {
    Generator::new(GeneratorConfig { series, start: START, interval_nanos: INTERVAL_NANOS, seed })
}

/// The bits of `steps` steps, per series.
fn columns(generator: &mut Generator, steps: usize) -> Vec<Vec<f64>> {
    let mut columns = vec![Vec::with_capacity(steps); generator.series().len()];
    let mut values = Vec::new();
    for _ in 0..steps {
        generator.step(&mut values);
        for (column, value) in columns.iter_mut().zip(&values) {
            column.push(*value);
        }
    }
    columns
}

#[test]
fn a_seed_gives_the_same_series_and_another_seed_others() {
    let one = columns(&mut generator(8, 1), 500);
    assert_eq!(one, columns(&mut generator(8, 1), 500));
    assert_ne!(one, columns(&mut generator(8, 2), 500));
    assert_eq!(one, columns(&mut generator(50, 1), 500)[..8], "more series change nothing");
}

#[test]
fn the_values_of_a_seed_are_pinned() {
    let columns = columns(&mut generator(4, 7), 3);
    assert_eq!(columns, PINNED);
}

const PINNED: [[f64; 3]; 4] =
    [[772.0, 779.0, 759.0], [326.2, 315.8, 329.7], [59.68, 65.46, 59.11], [58.1, 57.8, 58.4]];

#[test]
fn an_anomaly_changes_its_series_between_onset_and_end_only() {
    for kind in KINDS {
        let healthy = columns(&mut generator(4, 3), 400);
        let mut disturbed = generator(4, 3);
        let at = |step: i64| EventTime::new(START.nanos() + step * INTERVAL_NANOS);
        disturbed.inject(Anomaly { kind, series: 1, onset: at(100), end: at(200) });
        let disturbed = columns(&mut disturbed, 400);
        for series in [0, 2, 3] {
            assert_eq!(healthy[series], disturbed[series], "{kind:?}");
        }
        assert_eq!(healthy[1][..100], disturbed[1][..100], "{kind:?} begins at its onset");
        assert_eq!(healthy[1][200..], disturbed[1][200..], "{kind:?} leaves nothing behind");
        let differ = (100..200).filter(|&i| (healthy[1][i] - disturbed[1][i]).abs() > 0.0).count();
        assert!(differ > 90, "{kind:?} shows in {differ} of 100 samples");
    }
}

#[test]
fn values_are_within_what_their_meters_show() {
    let mut generator = generator(40, 11);
    let to = EventTime::new(START.nanos() + 8_640 * INTERVAL_NANOS);
    let window = Window { from: START, to, interval_nanos: INTERVAL_NANOS };
    for anomaly in plan(24, 40, window, 11) {
        generator.inject(anomaly);
    }
    for (index, column) in columns(&mut generator, 8_640).iter().enumerate() {
        let decimals = [0, 1, 2, 1][index % 4];
        for value in column {
            assert!(*value >= 0.0 && *value < 1e5, "series {index}: {value}");
            let text = value.to_string();
            let shown = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
            assert!(shown <= decimals, "series {index}: {text}");
            assert!(index % 4 != 3 || *value <= 100.0, "a share of {value} percent");
        }
    }
}

#[test]
fn every_series_moves_and_has_a_name_of_its_own() {
    let mut generator = generator(64, 5);
    let ids: std::collections::BTreeSet<_> =
        generator.series().iter().map(|series| series.key("default").id()).collect();
    assert_eq!(ids.len(), 64);
    for column in columns(&mut generator, 200) {
        let equal = column.windows(2).filter(|pair| pair[0].total_cmp(&pair[1]).is_eq()).count();
        assert!(equal < 60, "a series rests in {equal} of 200 steps");
    }
}
