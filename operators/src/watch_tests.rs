use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use proptest::prelude::*;
use tidewatch_metrics::time::NANOS_PER_SECOND;
use tidewatch_metrics::{Flags, Lsn, SeriesCatalog, SeriesId, SeriesRef, TransitionKind};

use super::*;
use crate::budget::{Budget, Company, HEATS};
use crate::fleet::Content;
use crate::testing::{Rng, START_SECONDS, seconds};
use crate::{Emitted, OutputHash, Pipeline, Rows, RuleConfig, Run};

/// The slots that the tests' series live in, and how many live in each.
const TEST_SLOTS: [u8; 7] = [0, 1, 77, 128, 200, 254, 255];
const SERIES_PER_SLOT: usize = 9;
/// Seconds between the samples of a series.
const STEP_SECONDS: i64 = 100;

/// A record of the log, as far as operators see it.
#[derive(Clone, Debug)]
enum Record {
    Rows { received: UnixNanos, rows: Vec<(SeriesRef, EventTime, f64)> },
    Tick(UnixNanos),
    Rules(Arc<RuleSet>, UnixNanos),
}

fn received(second: i64) -> UnixNanos {
    UnixNanos::new((START_SECONDS + second) * NANOS_PER_SECOND)
}

/// One rule that does not change, one that does, one that is not always there, and some without a budget.
fn rules(era: usize) -> Arc<RuleSet> {
    let rule = |name: &str, when: &str, budget| RuleConfig {
        name: name.to_owned(),
        when: when.to_owned(),
        budget,
        ..RuleConfig::default()
    };
    let minutes = |count: i64| count * 60 * NANOS_PER_SECOND;
    let mut all = vec![
        rule("all", "severity > 2", Some(300.0)),
        RuleConfig {
            for_nanos: minutes(5),
            keep_firing_nanos: minutes(10),
            matchers: vec![("host".to_owned(), "~ .*[0-6]".to_owned())],
            ..rule("changes", "score >= 0.4", Some(if era == 1 { 20.0 } else { 1_000.0 }))
        },
        rule("plain", "severity > 3", None),
        rule("silent", "absent", None),
    ];
    if era != 1 {
        all.push(rule("any", "severity >= 0", Some(1e6)));
    }
    Arc::new(RuleSet::new(all).unwrap())
}

/// Series of the tests' slots. References have nothing to do with slots, nor with the order of appearance.
fn catalog() -> SeriesCatalog {
    let catalog = SeriesCatalog::new(TEST_SLOTS.len() * SERIES_PER_SLOT);
    let mut counts = [0; 256];
    let keys = (0_u32..).map(|host| {
        let labels = vec![("host".to_owned(), host.to_string())];
        SeriesKey::new("default", "cpu", "value", labels).unwrap()
    });
    let mut is_wanted = |key: &SeriesKey| {
        let slot = key.id().slot().0;
        counts[usize::from(slot)] += 1;
        TEST_SLOTS.contains(&slot) && counts[usize::from(slot)] <= SERIES_PER_SLOT
    };
    for key in keys.filter(|key| is_wanted(key)).take(TEST_SLOTS.len() * SERIES_PER_SLOT) {
        catalog.register(&key).unwrap();
    }
    catalog
}

/// Noise with spikes of one, outages of many, late rows, silences, and series that come later.
fn log(seed: u64, samples: i64) -> Vec<Record> {
    let mut rng = Rng::new(seed);
    let series = u32::try_from(TEST_SLOTS.len() * SERIES_PER_SLOT).unwrap();
    let begins: Vec<u64> = (0..series).map(|_| rng.below(80).saturating_sub(40)).collect();
    let mut records = vec![Record::Rules(rules(0), received(0))];
    for index in 0..samples {
        let outage =
            if index > 60 && rng.below(30) == 0 { 35.0 + rng.uniform() * 20.0 } else { 0.0 };
        let mut rows = Vec::new();
        for local in
            (0..series).filter(|local| u64::try_from(index).unwrap() >= begins[*local as usize])
        {
            let mut time = seconds(index * STEP_SECONDS + i64::from(local % 90));
            let mut value = 10.0 * rng.normal();
            match rng.below(100) {
                0..2 => value += 20.0 + 60.0 * rng.uniform(),
                2 => time = seconds(index * STEP_SECONDS - 500),
                3 => value = f64::NAN,
                4..8 => continue,
                _ if local % 3 != 0 => value += outage,
                _ => {}
            }
            rows.push((SeriesRef(local), time, value));
        }
        let now = index * STEP_SECONDS + 95;
        let rest = rows.split_off(usize::try_from(rng.below(rows.len() as u64 + 1)).unwrap());
        for rows in [rows, rest].into_iter().filter(|rows| !rows.is_empty()) {
            records.push(Record::Rows { received: received(now), rows });
        }
        if rng.below(3) == 0 {
            records.push(Record::Tick(received(now)));
        }
        for (share, era) in [(3, 1), (5, 2), (6, 2)] {
            if index == samples * share / 7 {
                records.push(Record::Rules(rules(era), received(now)));
            }
        }
    }
    records
}

/// A pipeline of some slots, and the dense indices that it gave.
struct Runner {
    pipeline: Pipeline,
    locals: BTreeMap<SeriesRef, u32>,
    slots: BTreeSet<Slot>,
}

impl Runner {
    fn new(slots: BTreeSet<Slot>) -> Self {
        let pipeline = Pipeline::new(PipelineConfig::default());
        Self { pipeline, locals: BTreeMap::new(), slots }
    }

    fn step(&mut self, catalog: &SeriesCatalog, records: &[Record]) -> Emitted {
        let mut out = Emitted::default();
        match records {
            [Record::Tick(now)] => self.pipeline.tick(*now, &mut out),
            [Record::Rules(rules, at)] => {
                self.pipeline.set_rules(Arc::clone(rules), *at, &mut out);
            }
            records => self.apply(catalog, records, &mut out),
        }
        out
    }

    /// Applies records of rows as one batch: all of their series are added before the first row.
    fn apply(&mut self, catalog: &SeriesCatalog, records: &[Record], out: &mut Emitted) {
        let Self { pipeline, locals, slots } = self;
        let (mut series, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let mut runs = Vec::new();
        for record in records {
            let Record::Rows { received, rows } = record else { panic!("only rows go together") };
            for (reference, time, value) in rows {
                let entry = catalog.get(*reference).unwrap();
                if slots.contains(&entry.id.slot()) {
                    let meet = || pipeline.add_series(*reference, entry);
                    series.push(*locals.entry(*reference).or_insert_with(meet));
                    times.push(*time);
                    values.push(*value);
                }
            }
            runs.push(Run { end: series.len(), lsn: Lsn::new(1), received: *received });
        }
        let rows = Rows { series: &series, times: &times, values: &values, runs: &runs };
        pipeline.apply(&rows, out);
    }

    /// The fleets are what a count of all watches comes to.
    fn check_fleets(&self) {
        let Watches { rules, places, watches, fleets, .. } = &self.pipeline.watches;
        let mut naive = Content::new();
        for (place, entry) in places.iter().zip(&self.pipeline.entries) {
            let Some(watch) = watches.get(*place as usize) else { continue };
            for watched in &watch.alerts {
                let rule = &rules.rules()[watched.rule];
                assert_eq!(rule.budget.is_some(), watched.standing().is_some());
                let (Some(budget), Some(standing)) = (&rule.budget, watched.standing()) else {
                    continue;
                };
                let fleet = naive.entry((watched.rule, entry.id.slot())).or_default();
                fleet.0 += u32::from(standing.round() != i32::MIN);
                if let Some(heat) = budget.heat(watch.severity) {
                    *fleet.1.entry((standing.round(), heat)).or_default() += 1;
                }
            }
        }
        assert_eq!(fleets.content(), naive);
    }
}

/// Records in order, rows of some together: never beyond a tick or a change of rules.
fn batches(records: &[Record], rng: &mut Rng) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let mut start = 0;
    while start < records.len() {
        let rows = records[start..].iter().take_while(|r| matches!(r, Record::Rows { .. }));
        let most = 1 + usize::try_from(rng.below(6)).unwrap();
        let end = start + rows.count().min(most).max(1);
        batches.push(start..end);
        start = end;
    }
    batches
}

/// What was told, in an order that no distribution changes.
fn told(transitions: &[Transition]) -> Vec<String> {
    let mut told: Vec<String> = transitions.iter().map(|told| format!("{told:?}")).collect();
    told.sort();
    told
}

/// A run of all records, its transitions, and its sums.
fn whole(catalog: &SeriesCatalog, records: &[Record]) -> (Vec<Transition>, (OutputHash, u64)) {
    let mut runner = Runner::new(TEST_SLOTS.map(Slot).into());
    let mut all = Vec::new();
    for record in records {
        all.extend(runner.step(catalog, std::slice::from_ref(record)).transitions);
    }
    runner.check_fleets();
    (all, (runner.pipeline.output_hash(), runner.pipeline.state_hash()))
}

/// Runs the log on `count` pipelines up to a cut, writes their slots, and goes on with as many that have read these.
fn spread(
    catalog: &SeriesCatalog,
    records: &[Record],
    (cut, count): (usize, usize),
    rng: &mut Rng,
) -> (Vec<Transition>, (OutputHash, u64)) {
    let (before, after) = records.split_at(cut);
    let in_force = before.iter().rev().find_map(|record| match record {
        Record::Rules(rules, _) => Some(rules),
        Record::Rows { .. } | Record::Tick(_) => None,
    });
    let mut slots = TEST_SLOTS.map(Slot);
    slots.sort_by_cached_key(|_| rng.next());
    let owned = |owner| slots.iter().copied().skip(owner).step_by(count).collect();
    let (mut all, mut bytes) = (Vec::new(), BTreeMap::new());
    for owner in 0..count {
        let mut runner = Runner::new(owned(owner));
        for batch in batches(before, rng) {
            all.extend(runner.step(catalog, &before[batch]).transitions);
            runner.check_fleets();
        }
        for slot in &runner.slots {
            let mut out = FieldWriter::default();
            runner.pipeline.encode_slot(*slot, &mut out);
            bytes.insert(*slot, out.into_bytes());
        }
    }
    slots.sort_by_cached_key(|_| rng.next());
    let owned = |owner| slots.iter().copied().skip(owner).step_by(count).collect();
    let (mut output, mut state) = (OutputHash::default(), 0_u64);
    for owner in 0..count {
        let mut runner = Runner::new(owned(owner));
        let rules = in_force.map(Arc::clone).unwrap_or_default();
        runner.pipeline.set_rules(rules, received(0), &mut Emitted::default());
        for slot in &runner.slots {
            let mut fields = FieldReader::new(&bytes[slot]);
            let entry = |series| catalog.get(series);
            let pairs = runner.pipeline.restore_slot(*slot, &mut fields, entry).unwrap();
            runner.locals.extend(pairs);
        }
        runner.check_fleets();
        for batch in batches(after, rng) {
            all.extend(runner.step(catalog, &after[batch]).transitions);
            runner.check_fleets();
        }
        output = output.plus(runner.pipeline.output_hash());
        state = state.wrapping_add(runner.pipeline.state_hash());
    }
    (all, (output, state))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn fleets_are_what_all_watches_come_to_through_restores_rules_and_spreads(
        seed in 1_u64..1_000_000,
        cut in any::<prop::sample::Index>(),
    ) {
        let (catalog, records, mut rng) = (catalog(), log(seed, 250), Rng::new(seed));
        let cut = cut.index(records.len());
        let (transitions, hashes) = whole(&catalog, &records);
        for count in [1, 2, 7] {
            let (again, sums) = spread(&catalog, &records, (cut, count), &mut rng);
            prop_assert_eq!(told(&again), told(&transitions), "{} pipelines, cut at {}", count, cut);
            prop_assert_eq!(sums, hashes, "{} pipelines, cut at {}", count, cut);
        }
    }
}

/// The rule `all` by its definition: every sample looks at all series of its slot.
#[derive(Default)]
struct Naive {
    last: BTreeMap<SeriesId, (Severity, i64)>,
    firing: BTreeSet<SeriesId>,
}

impl Naive {
    /// Whether an alert begins, or one ends; and whether the budget was against it.
    fn observe(
        &mut self,
        (budget, bound): (&Budget, f32),
        id: SeriesId,
        (severity, time): (Severity, EventTime),
    ) -> (Option<TransitionKind>, bool) {
        let round = time.nanos().div_euclid(300 * NANOS_PER_SECOND);
        self.last.insert(id, (severity, round));
        if severity.to_f32() <= bound {
            let ended = self.firing.remove(&id);
            return (ended.then_some(TransitionKind::Resolved), false);
        }
        if self.firing.contains(&id) {
            return (None, false);
        }
        let of_slot = self.last.iter().filter(|(other, _)| other.slot() == id.slot());
        let mut company = Company { series: 0, others: [0; HEATS] };
        for (other, (severity, other_round)) in of_slot {
            company.series += 1;
            if *other != id && severity.to_f32() > bound && (other_round - round).abs() <= 1 {
                // Half units from the first step above the bound on.
                let beyond = severity.to_f32() - bound - 1.0 / 64.0;
                let level = (0..HEATS).rev().find(|level| beyond >= *level as f32 / 2.0).unwrap();
                company.others[level] += 1;
            }
        }
        let passes = budget.passed(severity, &company).is_some();
        if passes {
            self.firing.insert(id);
        }
        (passes.then_some(TransitionKind::Firing), !passes)
    }
}

#[test]
fn alerts_begin_where_a_look_at_all_series_of_the_slot_says_so() {
    let (mut begun, mut together, mut refused) = (0, 0, 0);
    for seed in 1..=8 {
        let catalog = catalog();
        let mut runner = Runner::new(TEST_SLOTS.map(Slot).into());
        let mut naive = Naive::default();
        let budget = rules(0).rules()[0].budget.unwrap();
        for record in log(seed, 300) {
            let out = runner.step(&catalog, std::slice::from_ref(&record));
            let Record::Rows { rows, .. } = &record else { continue };
            let mut expected = Vec::new();
            for ((row, severity), flags) in rows.iter().zip(&out.severities).zip(&out.flags) {
                let (series, time, value) = *row;
                if flags.is_late() || !value.is_finite() {
                    assert!(*flags == Flags::LATE || !value.is_finite(), "none goes back for good");
                    continue;
                }
                let id = catalog.get(series).unwrap().id;
                let (kind, was_refused) = naive.observe((&budget, 2.0), id, (*severity, time));
                expected.extend(kind.map(|kind| (Subject::Series(id), time, kind)));
                refused += u32::from(was_refused);
            }
            let of_rule = out.transitions.iter().filter(|told| told.rule == "all");
            let found: Vec<_> =
                of_rule.clone().map(|told| (told.subject, told.event, told.kind)).collect();
            assert_eq!(found, expected, "SEED={seed}");
            let begins = of_rule.filter(|told| told.kind == TransitionKind::Firing);
            begun += begins.clone().count();
            together += begins.filter(|told| told.reason.contains(" of them at once")).count();
        }
    }
    let counts = format!("{begun} begun, {together} of them together, {refused} refused");
    assert!(begun > together + 100 && together > 50 && refused > 100, "{counts}");
}

#[test]
fn who_is_refused_may_begin_later_and_who_has_begun_goes_on_below_the_level() {
    let catalog = catalog();
    let rule = RuleConfig {
        name: "odd".to_owned(),
        when: "severity > 1".to_owned(),
        budget: Some(0.001),
        ..RuleConfig::default()
    };
    let rules = Arc::new(RuleSet::new(vec![rule]).unwrap());
    let mut runner = Runner::new(TEST_SLOTS.map(Slot).into());
    runner.step(&catalog, &[Record::Rules(rules, received(0))]);
    let mut rng = Rng::new(9);
    let mut story = Vec::new();
    // The level is log10(256 * 2016 / 0.001), 8.7, all the time: the series is the only one.
    for index in 0..400 {
        let value = match index {
            300..302 => 7.0,
            302 => 1_000.0,
            303..305 => 7.0,
            _ => rng.normal().clamp(-1.0, 1.0),
        };
        let rows = vec![(SeriesRef(3), seconds(index * 10), value)];
        let out = runner.step(&catalog, &[Record::Rows { received: received(index * 10), rows }]);
        let is_odd = out.severities[0].to_f32() > 1.0;
        assert!(!(300..305).contains(&index) || is_odd, "{index}");
        story.extend(out.transitions.iter().map(|told| (index, told.kind)));
    }
    let ends = story.get(1).copied();
    assert_eq!(story[0], (302, TransitionKind::Firing));
    assert!(ends.is_some_and(|(at, kind)| at >= 305 && kind == TransitionKind::Resolved));
    assert_eq!(story.len(), 2, "{story:?}");
}

#[test]
fn a_rule_that_is_new_counts_the_series_that_reported_before_it_and_no_others() {
    let catalog = catalog();
    let mut runner = Runner::new(TEST_SLOTS.map(Slot).into());
    let row = |local, second| (SeriesRef(local), seconds(second), 1.0);
    let rows = (0..40).map(|local| row(local, 10)).collect();
    runner.step(&catalog, &[Record::Rows { received: received(10), rows }]);
    runner.step(&catalog, &[Record::Rules(rules(0), received(20))]);
    let counted = |runner: &Runner| {
        let content = runner.pipeline.watches.fleets.content();
        content.iter().filter(|((rule, _), _)| *rule == 0).map(|(_, (series, _))| series).sum()
    };
    let known: u32 = counted(&runner);
    assert_eq!(known, 40);
    // A series without a sample in order is not there yet, one more sample of a known one changes nothing.
    let mut silent = row(50, 30);
    silent.2 = f64::NAN;
    let rows = vec![row(3, 30), silent, row(60, 30)];
    runner.step(&catalog, &[Record::Rows { received: received(30), rows }]);
    let known: u32 = counted(&runner);
    assert_eq!(known, 41);
}
