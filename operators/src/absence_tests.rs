use std::sync::Arc;

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::fields::{FieldReader, FieldWriter};
use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{
    EventTime, SeriesKey, SeriesRef, Slot, Subject, Transition, TransitionKind, UnixNanos,
};

use TransitionKind::{Firing, Pending, Resolved};

use crate::limits::ABSENCES_PER_TICK;
use crate::testing::{Rng, START_SECONDS, Table, entry, seconds};
use crate::{Emitted, Pipeline, PipelineConfig, RuleConfig, RuleSet};

fn received(second: i64) -> UnixNanos {
    UnixNanos::new((START_SECONDS + second) * NANOS_PER_SECOND)
}

fn rules(when: &str, hold: i64, keep: i64) -> Arc<RuleSet> {
    let config = RuleConfig {
        name: "r".to_owned(),
        when: when.to_owned(),
        for_nanos: hold * NANOS_PER_SECOND,
        keep_firing_nanos: keep * NANOS_PER_SECOND,
        ..RuleConfig::default()
    };
    Arc::new(RuleSet::new(vec![config]).unwrap())
}

/// A pipeline under one rule, and what it has told.
struct Listener {
    pipeline: Pipeline,
    out: Emitted,
}

impl Listener {
    fn new(entries: impl IntoIterator<Item = Arc<SeriesEntry>>, rules: Arc<RuleSet>) -> Self {
        let mut pipeline = Pipeline::new(PipelineConfig::default());
        pipeline.set_rules(rules, received(0), &mut Emitted::default());
        for (series, entry) in (0..).zip(entries) {
            pipeline.add_series(SeriesRef(series), entry);
        }
        Self { pipeline, out: Emitted::default() }
    }

    fn one(when: &str, hold: i64, keep: i64) -> Self {
        Self::new([entry("0")], rules(when, hold, keep))
    }

    /// A sample of `second` that comes at `at`.
    fn hear(&mut self, series: u32, second: i64, at: i64, value: f64) {
        let mut table = Table::default();
        table.push(series, seconds(second), value);
        table.apply(&mut self.pipeline, 0..1, received(at), &mut self.out);
    }

    /// Samples of the first series that come as they happen.
    fn samples(&mut self, at: impl IntoIterator<Item = i64>) {
        at.into_iter().for_each(|second| self.hear(0, second, second, 7.5));
    }

    fn tick(&mut self, second: i64) {
        self.pipeline.tick(received(second), &mut self.out);
    }

    fn told(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.out.transitions)
    }

    fn story(&mut self) -> Vec<(TransitionKind, i64, i64)> {
        let second = |time: EventTime| time.nanos() / NANOS_PER_SECOND - START_SECONDS;
        self.told().iter().map(|t| (t.kind, second(t.onset), second(t.event))).collect()
    }
}

#[test]
fn a_series_is_absent_when_no_sample_has_come_for_longer_than_the_bound() {
    let mut listener = Listener::one("absent > 300", 0, 0);
    listener.samples([0, 10, 20]);
    listener.tick(320);
    assert_eq!(listener.told(), [], "300 s are not more than 300 s");
    assert_eq!(
        listener.pipeline.next_deadline().map(UnixNanos::nanos),
        Some(received(320).nanos() + 1)
    );
    listener.tick(321);
    listener.tick(9_999);
    listener.samples([10_000, 10_010]);
    let told = listener.told();
    assert_eq!(told.len(), 2);
    let (firing, resolved) = (&told[0], &told[1]);
    assert_eq!((firing.kind, firing.onset, firing.event), (Firing, seconds(320), seconds(320)));
    assert_eq!((firing.received, firing.value, firing.historical), (received(321), 7.5, false));
    assert_eq!(firing.reason, "stopped reporting: no sample for 5m, last value 7.5");
    assert!(firing.expected.is_nan() && firing.severity.steps() == 0);
    assert_eq!((resolved.kind, resolved.event), (Resolved, seconds(10_000)));
    assert_eq!((resolved.key, resolved.reason.as_str()), (firing.key, "samples again, value 7.5"));
    listener.tick(10_311);
    let again = listener.told();
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].key, firing.key, "another silence, another alert");
}

#[test]
fn an_absence_is_pending_for_as_long_as_the_rule_says() {
    let mut listener = Listener::one("absent > 60", 30, 0);
    listener.samples([0]);
    listener.tick(61);
    listener.tick(90);
    assert_eq!(
        listener.out.transitions[0].reason,
        "stopped reporting: no sample for 1m, fires after 30s more, last value 7.5"
    );
    assert_eq!(listener.story(), [(Pending, 60, 60)]);
    listener.tick(91);
    assert_eq!(
        listener.out.transitions[0].reason,
        "stopped reporting: no sample for 1m30s, last value 7.5"
    );
    assert_eq!(listener.story(), [(Firing, 60, 90)]);
    listener.samples([100]);
    assert_eq!(listener.story(), [(Resolved, 60, 100)]);
    listener.tick(161);
    listener.samples([170]);
    listener.tick(220);
    assert_eq!(listener.story(), [(Pending, 160, 160)], "what ends early says nothing more");
}

#[test]
fn an_absence_resolves_after_samples_for_keep_firing() {
    let mut listener = Listener::one("absent > 60", 0, 20);
    listener.samples([0]);
    listener.tick(61);
    listener.samples([100, 110]);
    listener.tick(171);
    assert_eq!(listener.story(), [(Firing, 60, 60)], "silent again, and never resolved");
    listener.samples([200, 210, 219]);
    assert_eq!(listener.told(), []);
    listener.samples([220]);
    assert_eq!(listener.out.transitions[0].reason, "samples again for 20s, value 7.5");
    assert_eq!(listener.story(), [(Resolved, 60, 220)]);
}

#[test]
fn late_rows_and_rows_without_a_number_are_no_reports() {
    let mut listener = Listener::one("absent > 60", 0, 0);
    listener.samples([100]);
    listener.hear(0, 50, 150, 1.0);
    listener.hear(0, 150, 151, f64::NAN);
    listener.tick(161);
    assert_eq!(listener.story(), [(Firing, 160, 160)]);
}

#[test]
fn who_loads_history_is_not_awaited_and_who_goes_on_live_is() {
    let mut listener = Listener::one("absent > 60", 0, 0);
    (0..10).for_each(|i| listener.hear(0, i * 60, 50_000, 1.0));
    listener.tick(60_000);
    assert_eq!((listener.told(), listener.pipeline.next_deadline()), (vec![], None));
    listener.hear(0, 60_000 - 3_600, 60_000, 1.0);
    listener.tick(60_061);
    assert_eq!(listener.story(), [(Firing, 56_460, 56_460)], "an hour old is live");
    // History again ends the absence, and nothing is awaited behind it.
    listener.hear(0, 57_000, 70_000, 1.0);
    listener.tick(99_999);
    assert_eq!(listener.story(), [(Resolved, 56_460, 57_000)]);
}

#[test]
fn a_learnt_patience_is_two_gaps_and_a_half() {
    let mut listener = Listener::one("absent", 0, 0);
    listener.samples((0..8).map(|i| i * 20));
    listener.tick(9_000);
    assert_eq!(listener.told(), [], "seven gaps do not teach");
    listener.samples([9_020, 9_040]);
    listener.tick(9_090);
    assert_eq!(listener.told(), []);
    listener.tick(9_091);
    assert_eq!(
        listener.out.transitions[0].reason,
        "stopped reporting: no sample for 50s, one in 20s before, last value 7.5"
    );
    assert_eq!(listener.story(), [(Firing, 9_090, 9_090)]);
}

#[test]
fn who_stops_is_told_within_three_cadences_and_who_does_not_is_not() {
    for cadence in [3, 10, 60, 300, 3_600] {
        let mut listener = Listener::one("absent", 0, 0);
        for report in 0..200 {
            // Each tenth report is missing.
            if report % 10 != 9 {
                listener.samples([report * cadence]);
            }
            (report * cadence..(report + 1) * cadence).for_each(|second| listener.tick(second));
        }
        assert_eq!(listener.told(), [], "a report in {cadence} s");
        let last = 198 * cadence;
        let told = (last..last + 10 * cadence).find(|second| {
            listener.tick(*second);
            !listener.told().is_empty()
        });
        assert!(told.unwrap() <= last + 3 * cadence, "a report in {cadence} s: {told:?}");
    }
}

#[test]
fn who_reports_often_has_half_a_minute_to_come_back_after_a_start() {
    let same = || rules("absent", 0, 0);
    let mut listener = Listener::new([entry("0"), entry("1")], same());
    for second in 0..20 {
        (0..2).for_each(|series| listener.hear(series, second, second, 7.5));
    }
    let Listener { pipeline, out } = &mut listener;
    pipeline.set_rules(same(), received(30), out);
    listener.hear(0, 55, 55, 7.5);
    listener.tick(57);
    assert_eq!(listener.told(), []);
    listener.tick(58);
    assert_eq!(listener.story(), [(Firing, 57, 57)], "the one that came back, and stopped");
    listener.tick(60);
    assert_eq!(listener.told(), []);
    listener.tick(61);
    assert_eq!(listener.story(), [(Firing, 21, 21)]);
}

#[test]
fn a_patience_that_shrinks_is_met_at_its_time() {
    let mut listener = Listener::one("absent", 0, 0);
    listener.samples((0..9).map(|i| i * 600));
    let first = listener.pipeline.next_deadline();
    listener.samples((1..=9).map(|i| 4_800 + i * 10));
    assert!(listener.pipeline.next_deadline() < first, "the deadline of the longer one is gone");
    listener.tick(4_916);
    assert_eq!(listener.story(), [(Firing, 4_915, 4_915)]);
}

#[test]
fn a_start_listens_anew_and_keeps_what_it_knew() {
    let same = || rules("absent > 60", 0, 0);
    let mut listener = Listener::new([entry("0"), entry("1")], same());
    listener.hear(0, 0, 0, 1.0);
    listener.tick(61);
    assert_eq!(listener.story(), [(Firing, 60, 60)]);
    listener.hear(1, 70, 70, 1.0);
    let Listener { pipeline, out } = &mut listener;
    pipeline.set_rules(same(), received(5_000), out);
    listener.tick(5_060);
    assert_eq!(listener.told(), [], "nobody listened before 5,000");
    listener.tick(5_061);
    assert_eq!(listener.story(), [(Firing, 130, 130)]);
    listener.hear(0, 5_070, 5_070, 1.0);
    assert_eq!(listener.story(), [(Resolved, 60, 5_070)], "it has fired before the start");
    let Listener { pipeline, out } = &mut listener;
    pipeline.set_rules(rules("absent > 61", 0, 0), received(5_080), out);
    assert_eq!(listener.out.transitions[0].reason, "rule_changed");
    assert_eq!(listener.story().len(), 1);
    listener.tick(9_999);
    assert_eq!(listener.told(), [], "a new rule awaits who has reported to it");
}

#[test]
fn log_time_that_is_ahead_of_a_record_counts() {
    let mut listener = Listener::one("absent > 60", 0, 0);
    listener.tick(1_000);
    listener.samples([10]);
    listener.tick(1_060);
    assert_eq!(listener.told(), [], "it came when log time was 1,000");
    listener.tick(1_061);
    assert_eq!(listener.story(), [(Firing, 70, 70)]);
}

#[test]
fn a_tick_looks_at_so_many_silences_of_a_slot_and_the_next_one_goes_on() {
    let key = |host: u32| {
        let labels = vec![("host".to_owned(), host.to_string())];
        SeriesKey::new("default", "cpu", "value", labels).unwrap()
    };
    let slot = Slot(9);
    let hosts = (0..).filter(|host| key(*host).id().slot() == slot);
    let entries = hosts.take(ABSENCES_PER_TICK + 6).map(|host| entry(&host.to_string()));
    let entries: Vec<_> = entries.collect();
    let mut listener = Listener::new(entries.iter().cloned(), rules("absent > 60", 0, 0));
    let series = u32::try_from(ABSENCES_PER_TICK + 6).unwrap();
    // The last ones fall silent first.
    (0..series).for_each(|local| {
        listener.hear(local, 100 - i64::from(local), 100 - i64::from(local), 1.0);
    });
    listener.tick(161);
    let told = listener.told();
    assert_eq!(told.len(), ABSENCES_PER_TICK);
    assert!(told.is_sorted_by_key(|t| t.onset) && told[0].onset == seconds(160 - 69));
    listener.tick(161);
    assert_eq!(listener.told(), [], "log time has not gone on");

    let mut state = FieldWriter::default();
    listener.pipeline.encode_slot(slot, &mut state);
    let mut restored = Listener::new([], rules("absent > 60", 0, 0));
    let entry = |series: SeriesRef| entries.get(series.index()).cloned();
    let fields = &mut FieldReader::new(state.as_bytes());
    assert!(restored.pipeline.restore_slot(slot, fields, entry).is_some());
    // Ticks come again where another slot needs them.
    restored.tick(150);
    restored.tick(161);
    assert_eq!(restored.told(), [], "the slot has seen this tick");

    listener.tick(162);
    restored.tick(162);
    let told = listener.told();
    assert_eq!(told.len(), 6);
    assert_eq!(format!("{:?}", restored.told()), format!("{told:?}"));
}

/// A run of samples and ticks, as rules on silence see it, computed from scratch at every tick.
#[derive(Default)]
struct Naive {
    now: i64,
    /// Per series: event time and log time of the last report, and whether it is awaited; the onset where it is absent.
    last: std::collections::BTreeMap<u32, (i64, i64, bool, Option<i64>)>,
    told: Vec<(u32, TransitionKind, i64)>,
}

impl Naive {
    fn hear(&mut self, series: u32, second: i64, at: i64) {
        let before = self.last.get(&series).copied();
        if before.is_some_and(|(last, ..)| second <= last) {
            return;
        }
        if let Some((.., Some(onset))) = before {
            self.told.push((series, Resolved, onset));
        }
        self.last.insert(series, (second, at.max(self.now), at - second <= 3_600, None));
    }

    fn tick(&mut self, at: i64, bound: i64) {
        self.now = self.now.max(at);
        for (series, (last, heard, is_awaited, onset)) in &mut self.last {
            if *is_awaited && onset.is_none() && self.now - *heard > bound {
                *onset = Some(*last + bound);
                self.told.push((*series, Firing, *last + bound));
            }
        }
    }
}

#[test]
fn silences_are_those_of_a_naive_listener_on_any_number_of_pipelines() {
    const SERIES: u32 = 12;
    let entries: Vec<_> = (0..SERIES).map(|series| entry(&series.to_string())).collect();
    for seed in 1..=30 {
        let mut rng = Rng::new(seed);
        let mut naive = Naive::default();
        let mut spread: Vec<Vec<Listener>> = [1, 2, 7]
            .map(|count: u32| {
                let listener = |shard| {
                    let own = (0..SERIES).filter(|series| series % count == shard);
                    let own = own.map(|series| Arc::clone(&entries[series as usize]));
                    Listener::new(own, rules("absent > 90", 0, 0))
                };
                (0..count).map(listener).collect()
            })
            .into();
        let mut at = 0;
        for _ in 0..1_500 {
            at += i64::try_from(rng.below(12)).unwrap();
            // Now and then a clock is wrong.
            let at = if rng.below(50) == 0 { at - 40 } else { at };
            if rng.below(4) == 0 {
                naive.tick(at, 90);
                spread.iter_mut().flatten().for_each(|listener| listener.tick(at));
                continue;
            }
            let series =
                u32::try_from(rng.below(SERIES.into()) * rng.below(SERIES.into()) / 11).unwrap();
            let old = [0, 0, 0, 0, 200, 5_000][usize::try_from(rng.below(6)).unwrap()];
            naive.hear(series, at - old, at);
            for listeners in &mut spread {
                let count = u32::try_from(listeners.len()).unwrap();
                listeners[(series % count) as usize].hear(series / count, at - old, at, 1.0);
            }
        }
        let mut expected = naive.told;
        assert!(expected.len() > 20, "seed {seed}: {} transitions", expected.len());
        expected.sort_unstable_by_key(|(series, kind, onset)| (*series, *onset, *kind));
        let expected: Vec<_> =
            expected.into_iter().map(|(s, kind, onset)| (Some(s), kind, seconds(onset))).collect();
        for listeners in &mut spread {
            let count = listeners.len();
            let told = listeners.iter_mut().flat_map(Listener::told);
            let series = |id| {
                (0..SERIES).zip(&entries).find(|(_, e)| id == Subject::Series(e.id)).map(|(s, _)| s)
            };
            let mut told: Vec<_> = told.map(|t| (series(t.subject), t.kind, t.onset)).collect();
            told.sort_unstable_by_key(|(series, kind, onset)| (*series, *onset, *kind));
            assert_eq!(told, expected, "seed {seed}, {count} pipelines");
        }
    }
}
