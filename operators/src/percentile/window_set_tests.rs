use std::collections::BTreeMap as Map;

use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::sketch::RELATIVE_ERROR_MAX;

use super::*;
use crate::PercentilesConfig;
use crate::percentile::ClosedWindow;
use crate::percentile::testing::{
    HOSTS, Shards, assert_cut_or_changed, at, config, rules, second_of,
};
use crate::testing::{Rng, START_SECONDS};

/// Start, revision and count of each window.
fn story(closed: &[ClosedWindow]) -> Vec<(i64, u32, u64)> {
    closed.iter().map(|w| (second_of(w.start), w.revision, w.sketch.count())).collect()
}

#[test]
fn windows_are_aligned_to_the_epoch_and_half_open() {
    // The tests begin 20 seconds after a full minute.
    let mut shards = Shards::new(1, &rules(&[config(60, 60, 0, 600)]));
    for second in [0, 39, 40, 99, 100] {
        shards.write(0, second, 1.0);
    }
    let found = shards.tick(1);
    assert_eq!(story(&found.closed), [(-20, 1, 2), (40, 1, 2)]);
    assert_eq!(second_of(found.closed[1].end), 100);
    assert_eq!(story(&shards.tick(160).closed), [(100, 1, 1)]);
}

#[test]
fn a_window_closes_by_newer_rows_or_by_ticks_but_not_before_its_lateness() {
    let rules = rules(&[config(60, 60, 30, 600)]);
    let mut by_rows = Shards::new(1, &rules);
    by_rows.write(0, 0, 1.0);
    by_rows.write(0, 69, 2.0);
    assert!(by_rows.tick(2).closed.is_empty(), "the end is at 40, the lateness over at 70");
    by_rows.write(0, 70, 2.0);
    assert_eq!(story(&by_rows.tick(3).closed), [(-20, 1, 1)]);
    let mut by_ticks = Shards::new(1, &rules);
    by_ticks.write(0, 0, 1.0);
    assert!(by_ticks.tick(1).closed.is_empty());
    assert_eq!(by_ticks.set.closes_at(), Some(at(70)));
    assert!(by_ticks.tick(69).closed.is_empty());
    assert_eq!(story(&by_ticks.tick(70).closed), [(-20, 1, 1)]);
    assert_eq!(by_ticks.set.closes_at(), None);
}

#[test]
fn rows_of_long_ago_have_their_lateness_from_when_they_come() {
    let mut shards = Shards::new(1, &rules(&[config(60, 60, 30, 600)]));
    shards.write(0, -86_400, 1.0);
    assert!(shards.tick(0).closed.is_empty(), "more of the same time may be on its way");
    shards.write(1, -86_400, 2.0);
    assert!(shards.tick(29).closed.is_empty());
    assert_eq!(story(&shards.tick(30).closed), [(-86_420, 1, 2)]);
}

#[test]
fn late_rows_make_a_further_revision_until_the_window_is_forgotten() {
    let mut shards = Shards::new(1, &rules(&[config(60, 60, 30, 300)]));
    shards.write(0, 0, 1.0);
    shards.tick(1);
    assert_eq!(story(&shards.tick(70).closed), [(-20, 1, 1)]);
    shards.write(0, 1, 5.0);
    assert!(shards.tick(80).closed.is_empty(), "further rows may come with it");
    shards.write(0, 1, 6.0);
    assert!(shards.tick(109).closed.is_empty());
    assert_eq!(story(&shards.tick(110).closed), [(-20, 2, 3)]);
    shards.write(0, 2, 7.0);
    let outcome = shards.tick(408);
    assert_eq!(outcome.rows_late, 0, "held for 300 s since its rows at tick 109");
    assert_eq!(story(&shards.tick(438).closed), [(-20, 3, 4)]);
    assert_eq!(shards.set.held().1, 1);
    shards.tick(408 + 299);
    assert_eq!(shards.set.held().1, 1);
    shards.tick(408 + 300);
    assert_eq!(shards.set.held().1, 0, "forgotten");
    shards.write(0, 3, 9.0);
    let outcome = shards.tick(800);
    assert_eq!((outcome.rows_late, outcome.closed.len()), (1, 0));
}

#[test]
fn groups_are_apart_by_label_and_rows_without_a_number_are_counted_apart() {
    let mut by_host = config(60, 60, 0, 600);
    by_host.by = vec!["host".to_owned(), "metric".to_owned(), "absent".to_owned()];
    let mut shards = Shards::new(2, &rules(&[by_host]));
    shards.write(0, 0, 1.0);
    shards.write(1, 0, 2.0);
    shards.write(1, 5, f64::NAN);
    let closed = shards.tick(40).closed;
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(closed[0].labels(), [label("host", "0"), label("metric", "cpu")]);
    assert_eq!((closed[0].db(), &*closed[0].rule.name), ("default", "latency"));
    assert_eq!(closed[1].labels(), [label("host", "1"), label("metric", "cpu")]);
    assert_eq!((closed[1].sketch.count(), closed[1].sketch.excluded()), (1, 1));
    assert_eq!(*closed[0].rule.quantiles, [0.5, 0.99]);
}

#[test]
fn groups_beyond_the_limit_are_refused_until_others_have_no_windows() {
    let mut by_host = config(60, 60, 0, 60);
    by_host.by = vec!["host".to_owned()];
    let mut shards = Shards::new(2, &rules(&[by_host]));
    shards.set.limits.groups_max = 2;
    for host in [3, 1, 2] {
        shards.write(host, 0, 1.0);
    }
    let outcome = shards.tick(1);
    assert_eq!((outcome.rows_refused, shards.set.held().0), (1, 2));
    shards.tick(40);
    shards.tick(120);
    assert_eq!(shards.set.held().1, 0);
    shards.write(2, 120, 1.0);
    shards.write(3, 120, 1.0);
    assert_eq!(shards.tick(121).rows_refused, 0);
    assert_eq!(shards.set.held(), (2, 2, shards.set.bytes));
}

#[test]
fn without_memory_the_windows_longest_without_rows_close_early() {
    let mut shards = Shards::new(1, &rules(&[config(60, 60, 600, 600)]));
    let mut closed = Vec::new();
    shards.set.limits.bytes_max = 20_000;
    for minute in 0..100 {
        shards.write(0, minute * 60, 1.0);
        let outcome = shards.tick(minute);
        closed.extend(outcome.closed);
        assert!(shards.set.bytes <= 20_000, "{}", shards.set.bytes);
    }
    assert!(shards.set.held().1 > 10);
    let starts: Vec<i64> = closed.iter().map(|w| second_of(w.start)).collect();
    assert!(starts.is_sorted() && starts.len() > 50, "{starts:?}");
    shards.write(0, 0, 2.0);
    assert_eq!(shards.tick(100).rows_late, 1, "what was given up does not begin anew");
}

#[test]
fn rules_that_stay_keep_their_windows_and_those_of_others_are_given_up() {
    let (a, b) = (config(60, 60, 30, 600), config(30, 30, 30, 600));
    let named = |name: &str, config: &PercentilesConfig| PercentilesConfig {
        name: name.to_owned(),
        ..config.clone()
    };
    let mut shards = Shards::new(1, &rules(&[named("a", &a), named("b", &b)]));
    shards.write(0, 0, 1.0);
    shards.tick(1);
    shards.write(0, 1, 2.0);
    let outcome = shards.set_rules(&rules(&[named("a", &a), named("c", &b)]), 2);
    assert_eq!((outcome.windows_given_up, outcome.closed.len()), (1, 0));
    shards.write(0, 2, 3.0);
    shards.tick(3);
    let closed = shards.tick(200).closed;
    let found: Vec<_> = closed.iter().map(|w| (&*w.rule.name, w.sketch.count())).collect();
    assert_eq!(found, [("a", 3), ("c", 1)]);
}

#[test]
fn rows_from_before_a_change_of_rules_close_their_windows_at_the_next_tick() {
    let rules = rules(&[config(60, 60, 0, 600)]);
    let mut shards = Shards::new(1, &rules);
    shards.write(0, 0, 1.0);
    assert_eq!(story(&shards.tick(40).closed), [(-20, 1, 1)]);
    shards.write(0, 1, 2.0);
    assert!(shards.set_rules(&rules, 41).closed.is_empty());
    assert_eq!(story(&shards.tick(42).closed), [(-20, 2, 2)]);
}

/// Rows of a while: event time, host and value; some late, some of long ago.
fn noise(seed: u64, rows: i64) -> Vec<(i64, u32, f64)> {
    let mut rng = Rng::new(seed);
    let row = |row: i64| {
        let late = match rng.below(20) {
            0 => i64::try_from(rng.below(200)).unwrap(),
            1 => 40_000 + i64::try_from(rng.below(100)).unwrap(),
            _ => i64::try_from(rng.below(3)).unwrap(),
        };
        let host = u32::try_from(rng.below(u64::from(HOSTS))).unwrap();
        (row / 4 - late, host, 10.0 * rng.normal() + 3.0)
    };
    (0..rows).map(row).collect()
}

fn bits(closed: &[ClosedWindow]) -> Vec<String> {
    let bits = |w: &ClosedWindow| {
        format!("{:?} {} {:?} {:?}", w.start, w.revision, w.labels(), w.sketch.encode())
    };
    closed.iter().map(bits).collect()
}

/// All closed windows and the state's hash at every tick, ticks after these numbers of rows.
fn run(
    shards: usize,
    rules: &Arc<RuleSet>,
    rows: &[(i64, u32, f64)],
) -> (Vec<ClosedWindow>, Vec<u64>) {
    let mut shards = Shards::new(shards, rules);
    let (mut closed, mut hashes) = (Vec::new(), Vec::new());
    for (second, rows) in (0_i64..).zip(rows.chunks(37)) {
        for (time, host, value) in rows {
            shards.write(*host, *time, *value);
        }
        closed.extend(shards.tick(second * 9).closed);
        hashes.push(shards.set.state_hash());
    }
    closed.extend(shards.tick(1_000_000).closed);
    (closed, hashes)
}

#[test]
fn windows_are_the_same_bits_with_one_two_and_seven_shards() {
    let mut by_host = config(60, 10, 20, 100);
    by_host.by = vec!["host".to_owned()];
    by_host.name = "by host".to_owned();
    let rules = rules(&[config(60, 60, 20, 100), by_host]);
    for seed in 1..4 {
        let rows = noise(seed, 4_000);
        let (one, hashes) = run(1, &rules, &rows);
        assert!(one.iter().any(|w| w.revision > 1) && one.len() > 500);
        for shards in [2, 7] {
            let (many, same) = run(shards, &rules, &rows);
            assert_eq!(bits(&many), bits(&one), "SEED={seed}, {shards} shards");
            assert_eq!(same, hashes, "SEED={seed}, {shards} shards");
        }
    }
}

/// Windows of rows by sorting, over the whole history.
fn naive(window: i64, slide: i64, rows: &[(i64, u32, f64)]) -> Map<i64, Vec<f64>> {
    let mut windows: Map<i64, Vec<f64>> = Map::new();
    for (time, _, value) in rows {
        let time = time + START_SECONDS;
        let mut start = (time - window).div_euclid(slide) * slide;
        while start <= time {
            if start > time - window {
                windows.entry(start - START_SECONDS).or_default().push(*value);
            }
            start += slide;
        }
    }
    windows.values_mut().for_each(|values| values.sort_by(f64::total_cmp));
    windows
}

#[test]
fn the_last_revision_of_every_window_agrees_with_sorting_its_rows() {
    for (window, slide) in [(60, 60), (60, 10), (30, 15)] {
        // Kept for as long as the rows go on: nothing is too late.
        let rules = rules(&[config(window, slide, 20, 86_400)]);
        let rows = noise(7, 5_000);
        let (closed, _) = run(3, &rules, &rows);
        let mut last: Map<i64, &ClosedWindow> = Map::new();
        for one in &closed {
            let before = last.insert(second_of(one.start), one).map_or(0, |w| w.revision);
            assert_eq!(one.revision, before + 1, "no revision is left out");
        }
        let expected = naive(window, slide, &rows);
        assert!(last.keys().eq(expected.keys()), "{window} by {slide}");
        for (start, values) in expected {
            let found = last[&start];
            assert_eq!(found.sketch.count(), values.len() as u64, "window at {start}");
            for (rank, q) in [(values.len().div_ceil(2), 0.5), (values.len(), 1.0), (1, 0.0)] {
                let (found, wanted) = (found.sketch.quantile(q).unwrap(), values[rank - 1]);
                assert!((found - wanted).abs() <= RELATIVE_ERROR_MAX * wanted.abs());
            }
        }
    }
}

#[test]
fn windows_go_on_from_their_bytes_as_if_nothing_had_happened() {
    let rules = rules(&[config(60, 10, 20, 100)]);
    let rows = noise(11, 3_000);
    let (whole, _) = run(2, &rules, &rows);
    let (mut shards, mut closed) = (Shards::new(2, &rules), Vec::new());
    for (second, rows) in (0_i64..).zip(rows.chunks(37)) {
        for (time, host, value) in rows {
            shards.write(*host, *time, *value);
        }
        closed.extend(shards.tick(second * 9).closed);
        let mut out = FieldWriter::default();
        shards.set.encode(&mut out);
        let mut fields = FieldReader::new(out.as_bytes());
        let again = WindowSet::decode(Arc::clone(&rules), &mut fields).unwrap();
        assert_eq!(fields.end(), Some(()));
        assert_eq!(again.state_hash(), shards.set.state_hash());
        assert_eq!(again.held(), shards.set.held(), "bytes are counted the same");
        shards.set = again;
    }
    closed.extend(shards.tick(1_000_000).closed);
    assert_eq!(bits(&closed), bits(&whole));
}

#[test]
fn bytes_of_other_rules_and_cut_or_changed_bytes_are_refused_or_another_state() {
    let other = rules(&[config(60, 20, 20, 100)]);
    let rules = rules(&[config(60, 10, 20, 100)]);
    let mut shards = Shards::new(1, &rules);
    for (time, host, value) in noise(3, 60) {
        shards.write(host, time, value);
    }
    shards.tick(10);
    let mut out = FieldWriter::default();
    shards.set.encode(&mut out);
    let bytes = out.into_bytes();
    assert!(WindowSet::decode(other, &mut FieldReader::new(&bytes)).is_none());
    assert_cut_or_changed(&rules, &bytes, 0x55);
}

#[test]
fn rows_that_a_checkpoint_has_counted_are_not_counted_again() {
    let rules = rules(&[config(60, 60, 0, 600)]);
    let mut shards = Shards::new(1, &rules);
    // The rows of the tests are all of record 1.
    shards.pipelines[0].set_counted(Lsn::new(1));
    shards.write(0, 0, 1.0);
    assert!(shards.tick(100).closed.is_empty());
    shards.pipelines[0].set_counted(Lsn::ZERO);
    shards.write(0, 0, 1.0);
    assert_eq!(story(&shards.tick(101).closed), [(-20, 1, 1)]);
}
