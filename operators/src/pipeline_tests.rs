use proptest::prelude::*;
use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{AnomalyKind, Lsn, Transition, TransitionKind};

use super::*;
use crate::testing::{Rng, START_SECONDS, Table, entry, season, seconds};
use crate::{RuleConfig, Run};

fn rules(all: &[(&str, &str, i64, i64)]) -> Arc<RuleSet> {
    let config = |(name, when, hold, keep): &(&str, &str, i64, i64)| RuleConfig {
        name: (*name).to_owned(),
        matchers: vec![("metric".to_owned(), "cpu".to_owned())],
        when: (*when).to_owned(),
        for_nanos: hold * NANOS_PER_SECOND,
        keep_firing_nanos: keep * NANOS_PER_SECOND,
        priority: "page".to_owned(),
        ..RuleConfig::default()
    };
    Arc::new(RuleSet::new(all.iter().map(config).collect()).unwrap())
}

fn received(second: i64) -> UnixNanos {
    UnixNanos::new((START_SECONDS + second) * NANOS_PER_SECOND)
}

fn pipeline(series: usize, rules: Arc<RuleSet>) -> Pipeline {
    let mut pipeline = Pipeline::new(PipelineConfig::default());
    pipeline.set_rules(rules, received(0), &mut Emitted::default());
    for host in 0..series {
        assert_eq!(
            pipeline.add_series(SeriesRef(u32::try_from(host).unwrap()), entry(&host.to_string()))
                as usize,
            host
        );
    }
    pipeline
}

/// One series, one rule; each row is received as it happens.
fn lives(when: &str, hold: i64, keep: i64, samples: &[(i64, f64)]) -> Vec<Transition> {
    let mut pipeline = pipeline(1, rules(&[("r", when, hold, keep)]));
    let mut out = Emitted::default();
    let mut table = Table::default();
    for (index, (second, value)) in samples.iter().enumerate() {
        table.push(0, seconds(*second), *value);
        table.apply(&mut pipeline, index..index + 1, received(*second), &mut out);
    }
    out.transitions
}

fn story(transitions: &[Transition]) -> Vec<(TransitionKind, i64, i64)> {
    let second = |time: EventTime| time.nanos() / NANOS_PER_SECOND - START_SECONDS;
    transitions.iter().map(|t| (t.kind, second(t.onset), second(t.event))).collect()
}

use TransitionKind::{Firing, Pending, Resolved};

#[test]
fn an_alert_is_pending_fires_after_for_and_resolves_after_keep_firing() {
    let samples = [
        (0, 1.0),
        (10, 9.0),
        (20, 9.0),
        (30, 9.0),
        (40, 9.0), // holds since 10, fires at 40
        (50, 1.0),
        (60, 9.0),
        (70, 1.0),
        (80, 1.0),
        (90, 9.0), // never false for 25 s
        (100, 1.0),
        (110, 1.0),
        (115, 1.0),
        (120, 9.0), // false since 90, resolved at 115
    ];
    let found = lives("value > 5", 30, 25, &samples);
    let expected = [(Pending, 10, 10), (Firing, 10, 40), (Resolved, 10, 115), (Pending, 120, 120)];
    assert_eq!(story(&found), expected);
    assert!(found[..3].iter().all(|t| t.key == found[0].key), "one key for one alert");
    assert_ne!(found[3].key, found[0].key);
    assert_eq!(found[1].reason, "value 9.0 > 5 for 30s");
    assert_eq!(found[1].sparkline, "▁████");
    assert!(found[1].expected.is_nan(), "nothing is expected in the burn-in");
    assert_eq!((found[1].db.as_str(), found[1].metric.as_str()), ("default", "cpu"));
    assert_eq!(found[1].labels, [("host".to_owned(), "0".to_owned())]);
}

#[test]
fn without_for_and_keep_firing_an_alert_fires_and_resolves_at_once() {
    let samples = [(0, 1.0), (10, 9.0), (20, 9.0), (30, 1.0), (40, 9.0)];
    let found = lives("value > 5", 0, 0, &samples);
    assert_eq!(story(&found), [(Firing, 10, 10), (Resolved, 10, 30), (Firing, 40, 40)]);
}

#[test]
fn a_pending_alert_that_ends_early_says_nothing_more() {
    let samples = [(0, 9.0), (10, 9.0), (20, 1.0), (60, 9.0)];
    let found = lives("value > 5", 30, 0, &samples);
    assert_eq!(story(&found), [(Pending, 0, 0), (Pending, 60, 60)]);
}

#[test]
fn late_rows_and_rows_without_a_number_drive_no_rule() {
    let samples =
        [(100, 1.0), (50, 9.0), (100, 9.0), (110, f64::NAN), (120, f64::INFINITY), (130, 1.0)];
    assert_eq!(lives("value > 5", 0, 0, &samples), []);
    assert_eq!(lives("value != 1", 0, 0, &samples), []);
}

#[test]
fn a_rule_on_a_rate_looks_at_samples_in_order_and_tells_the_rate() {
    let samples = [
        (0, 1_000.0),
        (10, 1_010.0),
        (20, 1_120.0), // 11 a second
        (5, 9_999.0),  // late
        (25, f64::NAN),
        (30, 240.0), // began anew: 24 a second
        (40, 250.0),
        (50, 251.0),
    ];
    let found = lives("rate > 10", 10, 15, &samples);
    assert_eq!(story(&found), [(Pending, 20, 20), (Firing, 20, 30), (Resolved, 20, 50)]);
    assert_eq!(found.iter().map(|t| t.value).collect::<Vec<_>>(), [11.0, 24.0, 0.1]);
    assert_eq!(found[1].reason, "rate 24.0 > 10 for 10s, value 240.0");
    assert!(found.iter().all(|t| t.expected.is_nan() && t.upper.is_nan()), "values are expected");
    assert_eq!(lives("rate >= 0", 0, 0, &samples[..1]), [], "no rate at the first sample");
}

#[test]
fn a_rule_on_a_rate_that_is_gone_tells_the_last_rate_and_a_kept_one_goes_on() {
    let rate = |name| (name, "rate > 1", 0, 0);
    let mut pipeline = pipeline(1, rules(&[rate("gone"), rate("kept")]));
    let (mut out, mut table) = (Emitted::default(), Table::default());
    for (second, value) in [(0, 0.0), (10, 50.0), (20, 55.0)] {
        table.push(0, seconds(second), value);
    }
    table.apply(&mut pipeline, 0..2, received(10), &mut out);
    out.clear();
    pipeline.set_rules(rules(&[rate("kept")]), received(11), &mut out);
    assert_eq!((out.transitions[0].value, out.transitions.len()), (5.0, 1));
    table.apply(&mut pipeline, 2..3, received(20), &mut out);
    let resolved = &out.transitions[1];
    assert_eq!((resolved.kind, resolved.value), (Resolved, 0.5), "the sample before is known");
}

#[test]
fn an_alert_on_a_new_level_says_what_it_is_from_what_it_came_and_that_it_is_normal() {
    let mut rng = Rng::new(7);
    let rule = RuleConfig {
        name: "odd".to_owned(),
        when: "severity > 6".to_owned(),
        ..RuleConfig::default()
    };
    let rules = RuleSet::new(vec![rule]).unwrap().with_model_for_others(crate::Model::Auto);
    let mut pipeline = pipeline(1, Arc::new(rules));
    let (mut out, mut table) = (Emitted::default(), Table::default());
    let (minute, day) = (60, 86_400);
    for index in 0..6 * day / minute {
        let level = if index * minute < 5 * day { 41.0 } else { 93.0 };
        table.push(0, seconds(index * minute), level + rng.normal());
    }
    for index in 0..table.len() {
        let second = i64::try_from(index).unwrap() * minute;
        table.apply(&mut pipeline, index..index + 1, received(second), &mut out);
    }
    let [firing, resolved] = &out.transitions[..] else { panic!("{:?}", out.transitions) };
    let kinds = [firing, resolved].map(|t| (t.kind, t.anomaly));
    assert_eq!(kinds, [(Firing, AnomalyKind::Spike), (Resolved, AnomalyKind::LevelShift)]);
    assert!(firing.reason.starts_with("spike: severity "), "{}", firing.reason);
    let [(_, onset, begin), (_, _, end)] = story(&out.transitions)[..] else { unreachable!() };
    assert_eq!((onset, begin), (5 * day, 5 * day));
    assert!((8 * 3_600..9 * 3_600).contains(&(end - begin)), "normal after eight hours: {end}");
    let said = &resolved.reason;
    assert!(said.starts_with("level shift: severity 0.0, no longer > 6, value 9"), "{said}");
    assert!(said.contains("): normal from here on, 4") && said.ends_with(" before"), "{said}");
}

#[test]
fn an_alert_says_what_was_expected_before_the_sample() {
    let mut rng = Rng::new(5);
    let mut samples: Vec<(i64, f64)> = (0..200).map(|i| (i * 10, 41.0 + rng.normal())).collect();
    samples.push((2_000, 93.1));
    let found = lives("severity > 6", 0, 0, &samples);
    assert_eq!(found.len(), 1);
    let alert = &found[0];
    assert!((alert.expected - 41.0).abs() < 2.0, "{alert:?}");
    assert!(alert.lower > 35.0 && alert.upper < 47.0 && alert.severity.to_f32() > 6.0);
    assert_eq!(alert.channel, tidewatch_metrics::Channel::Deviation);
    assert_eq!(alert.anomaly, AnomalyKind::Spike);
    let (start, numbers) = alert.reason.split_once(", ").unwrap();
    assert!(start.starts_with("spike: severity ") && start.ends_with(" > 6"), "{start}");
    assert!(numbers.starts_with("value 93.1 expected 4"), "{numbers}");
}

#[test]
fn an_alert_that_began_too_old_is_historical_to_its_end() {
    let mut pipeline = pipeline(1, rules(&[("r", "value > 5", 0, 0)]));
    let mut table = Table::default();
    for (second, value) in [(0, 9.0), (10, 1.0), (4_000, 9.0), (4_010, 1.0)] {
        table.push(0, seconds(second), value);
    }
    let mut out = Emitted::default();
    table.apply(&mut pipeline, 0..1, received(3_601), &mut out);
    table.apply(&mut pipeline, 1..3, received(3_602), &mut out);
    table.apply(&mut pipeline, 3..4, received(99_999), &mut out);
    let historical: Vec<bool> = out.transitions.iter().map(|t| t.historical).collect();
    assert_eq!(historical, [true, true, false, false], "who heard the beginning hears the end");
}

#[test]
fn a_changed_rule_resolves_its_alerts_and_an_unchanged_one_keeps_them() {
    let mut pipeline =
        pipeline(8, rules(&[("kept", "value > 5", 0, 0), ("old", "value > 6", 0, 0)]));
    let mut out = Emitted::default();
    let mut table = Table::default();
    (0..8).for_each(|series| table.push(series, seconds(0), 9.0));
    table.apply(&mut pipeline, 0..8, received(0), &mut out);
    assert_eq!(out.transitions.len(), 16);
    out.clear();
    let changed = rules(&[("old", "value > 7", 0, 0), ("kept", "value > 5", 0, 0)]);
    pipeline.set_rules(changed, received(5), &mut out);
    let ended = &out.transitions;
    assert_eq!(ended.len(), 8);
    assert!(ended.iter().all(|t| t.kind == Resolved && t.rule == "old"));
    assert!(ended.iter().all(|t| t.reason == "rule_changed" && t.received == received(5)));
    assert!(ended.is_sorted_by_key(|t| t.subject), "one order for every spread");
    assert_eq!((ended[0].event, ended[0].value.to_bits()), (seconds(0), 9.0_f64.to_bits()));
    out.clear();
    (0..8).for_each(|series| table.push(series, seconds(10), 8.0));
    table.apply(&mut pipeline, 8..16, received(10), &mut out);
    assert_eq!(out.transitions.len(), 8, "the new version fires, the kept rule has fired");
    assert!(out.transitions.iter().all(|t| t.rule == "old"));
    pipeline.set_rules(Arc::default(), received(11), &mut out);
    assert_eq!(out.transitions.len(), 24, "no rule, no alert");
}

#[test]
fn a_new_time_base_restarts_the_clocks_of_alerts() {
    let mut pipeline = pipeline(1, rules(&[("r", "value > 5", 0, 60)]));
    let mut out = Emitted::default();
    let mut table = Table::default();
    table.push(0, seconds(100_000), 9.0);
    (0..35).for_each(|i| table.push(0, seconds(i * 10), 1.0));
    (35..42).for_each(|i| table.push(0, seconds(i * 10), 1.0));
    for row in 0..table.len() {
        pipeline.tick(received(i64::try_from(row).unwrap() * 4), &mut out);
        table.apply(&mut pipeline, row..row + 1, received(100_000), &mut out);
    }
    // Row 33 is the first of the new base, at 320 s: the condition has not held since then.
    let expected = [(Firing, 100_000, 100_000), (Resolved, 100_000, 380)];
    assert_eq!(story(&out.transitions), expected);
    assert!(out.flags[33..].iter().all(|flags| flags.is_late()), "scored, and still late");
}

#[test]
fn a_row_without_a_number_is_stored_in_order_and_not_scored() {
    let mut pipeline = pipeline(1, Arc::default());
    let mut table = Table::default();
    for (second, value) in [(0, 1.0), (20, f64::NAN), (10, 2.0), (30, f64::NEG_INFINITY)] {
        table.push(0, seconds(second), value);
    }
    let mut out = Emitted::default();
    table.apply(&mut pipeline, 0..4, received(0), &mut out);
    let late: Vec<bool> = out.flags.iter().map(|flags| flags.is_late()).collect();
    assert_eq!(late, [false, false, true, false]);
    let explained = pipeline.explain(0);
    assert_eq!((explained.samples, explained.last_time), (1, seconds(30)));
    assert_eq!(pipeline.output_hash().samples, 4);
}

/// Noise, seasons, steps, disorder, repeats and holes of `series` series, in log order.
fn scenario(seed: u64, series: u32, samples: i64) -> Table {
    let mut rng = Rng::new(seed);
    let mut table = Table::default();
    for index in 0..samples {
        for local in 0..series {
            let mut time = seconds(index * 60 + i64::from(local));
            let step = if index > samples / 2 && local % 5 == 0 { 30.0 } else { 0.0 };
            let mut value = season(time) + step + rng.normal();
            match rng.below(200) {
                0 => value = f64::NAN,
                1 => value += 40.0,
                2 => time = seconds(index * 60 - 5_000),
                3 => continue,
                _ => {}
            }
            table.push(local, time, value);
        }
    }
    table
}

const RATE: (&str, &str, i64, i64) = ("c", "rate > 0.3", 60, 60);
const ABSENT: (&str, &str, i64, i64) = ("d", "absent > 5000", 2_000, 60);

/// Everything that a run puts out, and its hashes.
fn run(table: &Table, cuts: &[usize]) -> (Emitted, OutputHash, u64) {
    let mut pipeline = pipeline(
        7,
        rules(&[("a", "severity > 6", 0, 60), ("b", "value > 75", 120, 0), RATE, ABSENT]),
    );
    let mut out = Emitted::default();
    // Records of 100 rows with a tick after each ten thousand; the cuts only group them.
    let mut start = 0;
    let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut % table.len()).collect();
    bounds.push(table.len());
    bounds.extend((0..table.len()).step_by(2_000));
    bounds.sort_unstable();
    for end in bounds {
        let ends = (start + 1..=end).filter(|row| row % 100 == 0 || *row == end);
        let runs: Vec<Run> = ends
            .map(|row| Run {
                end: row - start,
                lsn: Lsn::new(1),
                received: received(i64::try_from((row - 1) / 100).unwrap() * 700),
            })
            .collect();
        let rows = Rows {
            series: &table.series[start..end],
            times: &table.times[start..end],
            values: &table.values[start..end],
            runs: &runs,
        };
        pipeline.apply(&rows, &mut out);
        if end % 2_000 == 0 {
            pipeline.tick(received(i64::try_from(end).unwrap() * 7), &mut out);
        }
        start = end;
    }
    (out, pipeline.output_hash(), pipeline.state_hash())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_cut_into_batches_changes_no_bit(
        seed in 1_u64..1_000,
        cuts in proptest::collection::vec(any::<usize>(), 0..40),
    ) {
        let table = scenario(seed, 7, 1_500);
        let (whole, output, state) = run(&table, &[]);
        let (cut, cut_output, cut_state) = run(&table, &cuts);
        prop_assert_eq!(&cut.severities, &whole.severities);
        prop_assert_eq!(&cut.flags, &whole.flags);
        prop_assert_eq!(format!("{:?}", cut.transitions), format!("{:?}", whole.transitions));
        prop_assert_eq!((cut_output, cut_state), (output, state));
        prop_assert!(whole.transitions.len() > 2, "the scenario raises alerts");
    }
}

/// The hashes of series `0..series` spread over `shards` pipelines, added up.
#[cfg(not(feature = "planted-fault"))]
fn spread(table: &Table, series: u32, shards: u32) -> (OutputHash, u64) {
    let mut sum = (OutputHash::default(), 0_u64);
    for shard in 0..shards {
        let mut pipeline = pipeline(0, rules(&[("a", "severity > 6", 0, 60)]));
        let mine: Vec<u32> = (0..series).filter(|local| local % shards == shard).collect();
        for global in mine.iter().rev() {
            pipeline.add_series(SeriesRef(*global), entry(&global.to_string()));
        }
        let mut part = Table::default();
        for row in 0..table.len() {
            if let Some(place) = mine.iter().rev().position(|global| *global == table.series[row]) {
                part.push(u32::try_from(place).unwrap(), table.times[row], table.values[row]);
            }
        }
        part.apply(&mut pipeline, 0..part.len(), received(0), &mut Emitted::default());
        let output = pipeline.output_hash();
        sum.0.samples += output.samples;
        sum.0.severities = sum.0.severities.wrapping_add(output.severities);
        sum.0.alerts = sum.0.alerts.wrapping_add(output.alerts);
        sum.1 = sum.1.wrapping_add(pipeline.state_hash());
    }
    sum
}

#[test]
#[cfg(not(feature = "planted-fault"))]
fn the_number_of_shards_changes_no_hash() {
    let table = scenario(77, 9, 2_500);
    let one = spread(&table, 9, 1);
    assert_ne!(one.0.alerts, 0);
    assert_eq!(spread(&table, 9, 2), one);
    assert_eq!(spread(&table, 9, 7), one);
}

#[test]
#[cfg(not(feature = "planted-fault"))]
fn the_hashes_of_a_known_input_are_pinned() {
    // Stands in for other machines: whoever computes other hashes computes other severities.
    let table = scenario(2_024, 100, 2_000);
    let (output, state) = spread(&table, 100, 1);
    assert_eq!(output.samples, 199_034);
    assert_eq!(output.severities, 13_663_154_058_894_870_515);
    assert_eq!(output.alerts, 11_895_961_229_964_138_256);
    assert_eq!(state, 8_988_195_203_926_689_193);
}

#[test]
fn hashes_see_a_single_bit_and_not_the_order() {
    let seed = crate::hash::seed(entry("a").id);
    let row = |time: i64, steps: u16, flags: Flags| {
        row_part(seed, EventTime::new(time), Severity::from_steps(steps), flags)
    };
    let all = [
        row(1, 0, Flags::NONE),
        row(2, 0, Flags::NONE),
        row(1, 1, Flags::NONE),
        row(1, 0, Flags::LATE),
        row(1, 0, Flags::ONSET),
        row(1, 256, Flags::NONE),
    ];
    let different: std::collections::BTreeSet<u64> = all.into_iter().collect();
    assert_eq!(different.len(), all.len());
}

#[test]
#[cfg(feature = "planted-fault")]
fn the_planted_fault_flips_one_bit_in_a_thousand() {
    let mut pipeline = pipeline(1, Arc::default());
    let mut table = Table::default();
    (0..3_500).for_each(|i| table.push(0, seconds(i), 1.0));
    let mut out = Emitted::default();
    table.apply(&mut pipeline, 0..3_500, received(0), &mut out);
    let wrong: Vec<usize> =
        (0..3_500).filter(|row| out.severities[*row] != Severity::ZERO).collect();
    assert_eq!(wrong, [999, 1_999, 2_999]);
}
