use std::sync::Arc;

use tidewatch_metrics::TransitionKind::{Amended, Firing, Pending, Resolved};
use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{EventTime, Severity, TransitionKind};

use super::*;
use crate::percentile::testing::{HOSTS, Shards, assert_cut_or_changed, at, config, second_of};
use crate::testing::Rng;
use crate::{PercentilesConfig, RuleConfig, WindowSet};

const HIGH: &str = r#"percentile("latency", 0.5) > 10"#;

fn rule(when: &str, hold: i64, keep_firing: i64) -> RuleConfig {
    RuleConfig {
        name: "high".to_owned(),
        when: when.to_owned(),
        for_nanos: hold * NANOS_PER_SECOND,
        keep_firing_nanos: keep_firing * NANOS_PER_SECOND,
        priority: "page".to_owned(),
        ..RuleConfig::default()
    }
}

fn set(rules: &[RuleConfig], percentiles: &[PercentilesConfig]) -> Arc<RuleSet> {
    Arc::new(RuleSet::with_percentiles(rules, percentiles).unwrap())
}

/// Windows of a minute that begin 20 seconds before the tests do, and close at once.
fn minutes() -> PercentilesConfig {
    config(60, 60, 0, 600)
}

/// One host under one rule.
struct Host {
    shards: Shards,
    told: Vec<Transition>,
}

impl Host {
    fn under(rule: RuleConfig) -> Self {
        Self { shards: Shards::new(1, &set(&[rule], &[minutes()])), told: Vec::new() }
    }

    /// Writes a value into the middle of a minute, and ticks when its window is over.
    fn minute(&mut self, minute: i64, value: f64) {
        self.shards.write(0, minute * 60, value);
        self.tick(minute * 60 + 40);
    }

    fn tick(&mut self, second: i64) {
        self.told.extend(self.shards.tick(second).transitions);
    }

    /// Kind, onset and event of what was told since the last call; windows by their minutes.
    fn story(&mut self) -> Vec<(TransitionKind, i64, i64)> {
        let minute = |time| (second_of(time) - 40) / 60;
        let told = std::mem::take(&mut self.told);
        told.iter().map(|t| (t.kind, minute(t.onset), minute(t.event))).collect()
    }
}

#[test]
fn an_alert_on_windows_lives_by_their_ends_and_says_which_they_were() {
    let mut by_host = minutes();
    by_host.by = vec!["host".to_owned()];
    let rules = set(&[rule(HIGH, 60, 120)], &[by_host]);
    let mut shards = Shards::new(1, &rules);
    let mut told = Vec::new();
    for (minute, value) in (0..).zip([5.0, 20.0, 20.0, 5.0, 20.0, 5.0, 5.0]) {
        shards.write(3, minute * 60, value);
        told.extend(shards.tick(minute * 60 + 40).transitions);
    }
    let kinds: Vec<_> = told.iter().map(|t| (t.kind, second_of(t.event))).collect();
    assert_eq!(kinds, [(Pending, 100), (Firing, 160), (Resolved, 400)]);
    let first = &told[0];
    for one in &told {
        assert_eq!((one.key, second_of(one.onset), one.revision), (first.key, 100, 0));
        assert_eq!((one.metric.as_str(), one.db.as_str()), ("cpu", "default"));
        assert_eq!(one.labels, [("host".to_owned(), "3".to_owned())]);
        assert_eq!((one.subject, one.severity), (first.subject, Severity::ZERO));
        assert!(one.subject.series().is_none() && one.expected.is_nan() && !one.historical);
    }
    assert_eq!((told[1].value, told[1].received), (20.0, at(160)));
    assert_eq!((told[1].sparkline.as_str(), told[2].sparkline.as_str()), ("▁██", "▁██▁█▁▁"));
    let reasons: Vec<&str> = told.iter().map(|t| t.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            r#"percentile("latency", 0.5) 20.0 > 10, fires after 1m, of 1 values in 1m"#,
            r#"percentile("latency", 0.5) 20.0 > 10 for 1m, of 1 values in 1m"#,
            r#"percentile("latency", 0.5) 5.0, not > 10 for 2m, of 1 values in 1m"#,
        ]
    );
}

/// The least value of each window is above 10.
const LEAST: &str = r#"percentile("latency", 0) > 10"#;

#[test]
fn late_rows_amend_an_alert_from_its_onset_to_its_resolution_and_nothing_else() {
    let mut host = Host::under(rule(LEAST, 0, 0));
    for (minute, value) in (0..).zip([5.0, 20.0, 20.0, 5.0, 5.0]) {
        host.minute(minute, value);
    }
    assert_eq!(host.story(), [(Firing, 1, 1), (Resolved, 1, 3)]);
    for (minute, value) in [(0, 1.0), (4, 1.0), (2, 25.0)] {
        host.minute(minute, value);
        assert_eq!(host.story(), [], "of no alert, or the percentile is what it was: {minute}");
    }
    for (minute, value, reason) in [
        (1, 12.0, "20.0 -> 12.0, still > 10 there, of 2 values in 1m, revision 2"),
        (1, 2.0, "12.0 -> 2.0, no longer > 10 there, of 3 values in 1m, revision 3"),
        (1, 1.0, "2.0 -> 1.0, not > 10 there, of 4 values in 1m, revision 4"),
        (2, 9.0, "20.0 -> 9.0, no longer > 10 there, of 3 values in 1m, revision 3"),
        (3, 4.0, "5.0 -> 4.0, not > 10 there, of 2 values in 1m, revision 2"),
    ] {
        host.minute(minute, value);
        let told = host.told.last().expect("an amendment");
        assert_eq!(told.reason, format!("percentile(\"latency\", 0) {reason}"));
        assert!(told.value.to_bits() == value.to_bits() && told.revision > 1);
        assert_eq!(host.story(), [(Amended, 1, minute)]);
    }
    host.minute(5, 20.0);
    assert_eq!(host.story(), [(Firing, 5, 5)], "the life of alerts goes on from the last window");
}

#[test]
fn a_window_that_rows_come_to_late_amends_only_the_alert_that_is_around_it() {
    let mut host = Host::under(rule(LEAST, 0, 0));
    for minute in [1, 3, 5] {
        host.minute(minute, 20.0);
    }
    host.minute(7, 5.0);
    host.minute(9, 20.0);
    let (first, second) = (host.told[0].key, host.told[2].key);
    assert_eq!(host.story(), [(Firing, 1, 1), (Resolved, 1, 7), (Firing, 9, 9)]);
    for minute in [0, 8] {
        host.minute(minute, 2.0);
        assert_eq!(host.story(), [], "minute {minute} is before an onset");
    }
    host.minute(4, 3.0);
    let reason =
        "3.0 in a window that rows came to late, not > 10 there, of 1 values in 1m, revision 1";
    assert_eq!(host.told[0].reason, format!("percentile(\"latency\", 0) {reason}"));
    assert_eq!((host.told[0].key, host.story()), (first, vec![(Amended, 1, 4)]));
    host.minute(4, 2.0);
    assert!(host.told[0].reason.contains("3.0 -> 2.0, not > 10"), "{:?}", host.told);
    host.story();
    host.minute(9, 1.0);
    assert_eq!((host.told[0].key, host.story()), (second, vec![(Amended, 9, 9)]));
}

#[test]
fn an_amendment_is_of_a_pending_alert_as_well_and_of_its_own_identity() {
    let mut host = Host::under(rule(LEAST, 600, 0));
    host.minute(1, 20.0);
    host.minute(1, 15.0);
    host.minute(1, 12.0);
    let ids: Vec<_> = host.told.iter().map(Transition::id).collect();
    assert_eq!(host.story(), [(Pending, 1, 1), (Amended, 1, 1), (Amended, 1, 1)]);
    assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
    host.minute(2, 1.0);
    host.minute(1, 2.0);
    assert_eq!(
        host.story(),
        [(Amended, 1, 1)],
        "it ended without a word, and is stored all the same"
    );
}

#[test]
fn a_window_without_numbers_leaves_the_alert_as_it_is() {
    let mut host = Host::under(rule(LEAST, 0, 0));
    host.minute(0, 20.0);
    host.minute(1, f64::NAN);
    assert_eq!(host.story(), [(Firing, 0, 0)]);
    host.minute(2, 5.0);
    assert_eq!(host.story(), [(Resolved, 0, 2)]);
}

#[test]
fn a_window_that_closes_long_after_its_end_is_history() {
    let mut shards = Shards::new(1, &set(&[rule(LEAST, 0, 0)], &[config(60, 60, 30, 600)]));
    shards.set.set_alerts_max_age(100 * NANOS_PER_SECOND);
    let mut host = Host { shards, told: Vec::new() };
    host.shards.write(0, 0, 20.0);
    // The end is at 40, and 30 seconds are waited for in any case.
    host.tick(170);
    host.tick(200);
    host.shards.write(0, 60, 5.0);
    host.tick(201);
    host.tick(231);
    let told: Vec<_> = host.told.iter().map(|t| (t.kind, t.historical)).collect();
    assert_eq!(told, [(Firing, true), (Resolved, true)], "as it began, so it ends");
    let mut shards = Shards::new(1, &set(&[rule(LEAST, 0, 0)], &[config(60, 60, 30, 600)]));
    shards.set.set_alerts_max_age(100 * NANOS_PER_SECOND);
    shards.write(0, 0, 20.0);
    let told = [shards.tick(139).transitions, shards.tick(170).transitions].concat();
    assert_eq!(told.iter().map(|t| t.historical).collect::<Vec<_>>(), [false], "100 s, not more");
}

#[test]
fn rules_that_go_resolve_their_alerts_and_those_that_come_begin_behind_what_has_closed() {
    let (one, other) = (rule(LEAST, 0, 0), rule(r#"percentile("latency", 1) > 10"#, 0, 0));
    let named =
        |name: &str, rule: &RuleConfig| RuleConfig { name: name.to_owned(), ..rule.clone() };
    let rules = set(&[named("a", &one), named("b", &other)], &[minutes()]);
    let mut host = Host { shards: Shards::new(1, &rules), told: Vec::new() };
    host.minute(0, 20.0);
    assert_eq!(host.story(), [(Firing, 0, 0), (Firing, 0, 0)]);

    // "b" stays, under another number, and "a" goes.
    let rules = set(&[named("b", &other), named("c", &one)], &[minutes()]);
    let ended = host.shards.set_rules(&rules, 50).transitions;
    let told: Vec<_> = ended.iter().map(|t| (&*t.rule, t.kind, &*t.reason, t.received)).collect();
    assert_eq!(told, [("a", Resolved, "rule_changed", at(50))]);
    host.minute(1, 5.0);
    let told: Vec<_> = host.told.iter().map(|t| (&*t.rule, t.kind)).collect();
    assert_eq!(told, [("b", Resolved)]);
    host.story();

    // Other percentiles of the same name: the windows are given up, and with them what fires on them.
    host.minute(2, 20.0);
    assert_eq!(host.story(), [(Firing, 2, 2), (Firing, 2, 2)]);
    let longer = config(120, 60, 0, 600);
    let ended = host.shards.set_rules(&set(&[named("b", &other)], &[longer]), 170).transitions;
    let told: Vec<_> = ended.iter().map(|t| (&*t.rule, &*t.reason, second_of(t.event))).collect();
    assert_eq!(told, [("b", "rule_changed", 160), ("c", "rule_changed", 160)]);
}

#[test]
fn a_rule_that_goes_and_comes_back_has_no_alert_twice() {
    let watched = set(&[rule(LEAST, 0, 0)], &[minutes()]);
    for between in [set(&[], &[minutes()]), set(&[], &[])] {
        let mut host = Host { shards: Shards::new(1, &watched), told: Vec::new() };
        host.minute(0, 20.0);
        host.told.extend(host.shards.set_rules(&between, 41).transitions);
        host.told.extend(host.shards.set_rules(&watched, 41).transitions);
        host.minute(0, 30.0);
        host.minute(1, 20.0);
        let ids: std::collections::BTreeSet<_> = host.told.iter().map(Transition::id).collect();
        assert_eq!(ids.len(), host.told.len(), "{:?}", host.told);
        assert!(ids.len() >= 3);
    }
}

#[test]
fn a_group_that_makes_room_for_others_ends_its_alert_aloud() {
    let mut by_host = config(60, 60, 0, 60);
    by_host.by = vec!["host".to_owned()];
    let mut shards = Shards::new(1, &set(&[rule(LEAST, 0, 0)], &[by_host]));
    shards.set.limit_groups(1);
    shards.write(0, 0, 20.0);
    assert_eq!(shards.tick(40).transitions.len(), 1);
    shards.tick(120);
    shards.write(1, 120, 1.0);
    let outcome = shards.tick(121);
    let told: Vec<_> = outcome.transitions.iter().map(|t| (t.kind, &*t.reason)).collect();
    assert_eq!((told, outcome.rows_refused), (vec![(Resolved, "group_forgotten")], 0));
}

#[test]
fn a_match_restricts_the_groups_by_their_labels() {
    let mut by_host = minutes();
    by_host.by = vec!["host".to_owned()];
    let mut some = rule(LEAST, 0, 0);
    some.matchers =
        vec![("host".to_owned(), "~ [13]".to_owned()), ("metric".to_owned(), "cpu".to_owned())];
    let mut shards = Shards::new(2, &set(&[some], &[by_host]));
    (0..HOSTS).for_each(|host| shards.write(host, 0, 20.0));
    let told = shards.tick(40).transitions;
    let hosts: Vec<&str> = told.iter().map(|t| t.labels[0].1.as_str()).collect();
    assert_eq!(hosts, ["1", "3"]);
}

/// Alerts and hashes of the state at every tick, over late rows and rows of long ago; the set goes through its bytes at
/// every tick if asked.
fn run(shards: usize, rules: &Arc<RuleSet>, seed: u64, through: bool) -> (Vec<String>, Vec<u64>) {
    let mut shards = Shards::new(shards, rules);
    let mut rng = Rng::new(seed);
    let (mut told, mut hashes) = (Vec::new(), Vec::new());
    for second in 0..900 {
        for _ in 0..rng.below(6) {
            let late = [0, 0, 0, 1, 15, 40][usize::try_from(rng.below(6)).unwrap()];
            let host = u32::try_from(rng.below(u64::from(HOSTS))).unwrap();
            let wave = if second / 60 % 2 == 0 { 4.0 } else { 14.0 };
            shards.write(host, second - late, wave + 4.0 * rng.normal());
        }
        let outcome = shards.tick(second);
        told.extend(outcome.transitions.iter().map(|t| format!("{t:?}")));
        hashes.push(shards.set.state_hash());
        if through {
            let mut out = FieldWriter::default();
            shards.set.encode(&mut out);
            let mut fields = FieldReader::new(out.as_bytes());
            let again = WindowSet::decode(Arc::clone(rules), &mut fields).expect("a state");
            assert_eq!(fields.end(), Some(()));
            assert_eq!(again.held(), shards.set.held(), "bytes are counted the same");
            shards.set = again;
        }
    }
    (told, hashes)
}

fn noisy_by_host() -> PercentilesConfig {
    let by = vec!["host".to_owned()];
    PercentilesConfig { name: "by host".to_owned(), by, ..config(20, 10, 2, 100) }
}

fn noisy_rules() -> Arc<RuleSet> {
    let named = |name: &str, when: &str, hold, keep| RuleConfig {
        name: name.to_owned(),
        ..rule(when, hold, keep)
    };
    let rules = [
        named("high", HIGH, 10, 10),
        named("median", r#"percentile("by host", 0.5) > 9"#, 0, 0),
        named("tail", r#"percentile("by host", 0.99) > 12"#, 20, 10),
        named("low", r#"percentile("by host", 0) < 3"#, 0, 30),
    ];
    set(&rules, &[config(10, 10, 1, 100), noisy_by_host()])
}

#[test]
fn alerts_are_the_same_on_any_number_of_shards_and_through_their_bytes() {
    let rules = noisy_rules();
    for seed in 1..4 {
        let (told, hashes) = run(1, &rules, seed, false);
        for kind in ["Pending", "Firing", "Resolved", "Amended"] {
            let count = told.iter().filter(|told| told.contains(&format!("kind: {kind}"))).count();
            assert!(count > 10, "SEED={seed}: {count} {kind}");
        }
        for (shards, through) in [(2, false), (7, false), (1, true), (7, true)] {
            let (again, same) = run(shards, &rules, seed, through);
            assert!(again == told && same == hashes, "SEED={seed}, {shards} shards, {through}");
        }
    }
}

#[test]
fn without_late_rows_alerts_are_those_that_their_windows_alone_would_raise() {
    let rules = set(&[rule(HIGH, 10, 20)], &[config(10, 10, 0, 100)]);
    let mut shards = Shards::new(3, &rules);
    let mut rng = Rng::new(5);
    let (mut told, mut windows) = (Vec::new(), Vec::new());
    for second in 0..6_000 {
        let host = u32::try_from(rng.below(u64::from(HOSTS))).unwrap();
        shards.write(host, second, 10.0 + 4.0 * rng.normal());
        let outcome = shards.tick(second);
        windows.extend(outcome.closed);
        told.extend(outcome.transitions.iter().map(|t| (t.kind, t.onset, t.event)));
    }
    // The naive way: from each window alone, how long the condition has held, and how long it has not.
    let mut expected = Vec::new();
    let (mut since, mut fires, mut held) = (None, None, EventTime::MIN);
    for window in &windows {
        let (now, holds) = (window.end, window.sketch.quantile(0.5).unwrap() > 10.0);
        let apart = |from: EventTime| (now.nanos() - from.nanos()) / NANOS_PER_SECOND;
        match (fires, holds) {
            (Some(_), true) => held = now,
            (Some(onset), false) => {
                if apart(held) >= 20 {
                    expected.push((Resolved, onset, now));
                    (fires, since) = (None, None);
                }
            }
            (None, false) => since = None,
            (None, true) => {
                let onset = *since.get_or_insert(now);
                if apart(onset) == 0 {
                    expected.push((Pending, onset, now));
                } else if apart(onset) >= 10 {
                    expected.push((Firing, onset, now));
                    (fires, held) = (Some(onset), now);
                }
            }
        }
    }
    assert!(expected.iter().filter(|(kind, ..)| *kind == Firing).count() > 10);
    assert_eq!(told, expected);
}

/// Windows with alerts on them as format 2 stores them, for ever.
const FIXTURE_2: &[u8] = include_bytes!("../../fixtures/windows-2.bin");
/// Windows as format 1 stored them, for ever: those of [`noisy_rules`] without its rules.
const FIXTURE_1: &[u8] = include_bytes!("../../fixtures/windows-1.bin");

#[test]
fn stored_windows_of_both_formats_are_read_and_those_of_later_ones_refused() {
    let watched = noisy_rules();
    let unwatched = set(&[], &[config(10, 10, 1, 100), noisy_by_host()]);
    for (bytes, rules, others, hash) in [
        (FIXTURE_1, &unwatched, &watched, 16_100_920_633_380_829_532_u64),
        (FIXTURE_2, &watched, &unwatched, 15_024_457_129_382_932_304),
    ] {
        let mut fields = FieldReader::new(bytes);
        let set = WindowSet::decode(Arc::clone(rules), &mut fields).unwrap();
        assert_eq!(fields.end(), Some(()));
        assert_eq!(set.state_hash(), hash, "format {}", bytes[0]);
        assert!(set.held().1 > 50, "{:?}", set.held());
        let mut out = FieldWriter::default();
        set.encode(&mut out);
        assert_eq!(out.as_bytes(), bytes);
        assert!(WindowSet::decode(Arc::clone(others), &mut FieldReader::new(bytes)).is_none());
        let told = format!("{set:?}");
        for part in ["Pending {", "Firing {", "told: {"] {
            assert_eq!(told.contains(part), bytes[0] == 2, "{part}");
        }
        let mut later = bytes.to_vec();
        later[0] = 3;
        assert!(WindowSet::decode(Arc::clone(rules), &mut FieldReader::new(&later)).is_none());
    }
}

#[test]
fn cut_or_changed_bytes_of_watches_are_refused_or_another_state() {
    assert_cut_or_changed(&noisy_rules(), FIXTURE_2, 0x15);
}
