use proptest::prelude::*;
use tidewatch_metrics::{SeriesRef, UnixNanos};

use super::*;
use crate::detect::{DataRange, DetectRule, Direction};
use crate::series_kind::SeriesKind;
use crate::testing::{Rng, START_SECONDS, Table, entry, season, seconds};
use crate::{
    DetectConfig, Emitted, Judgement, Pipeline, PipelineConfig, RuleConfig, SeriesDetector,
};

const HOSTS: u32 = 5;

fn received(second: i64) -> UnixNanos {
    UnixNanos::new((START_SECONDS + second) * 1_000_000_000)
}

fn detect(hosts: &str, model: Model, knobs: Knobs) -> DetectRule {
    let config = DetectConfig {
        matchers: vec![("host".to_owned(), format!("~ [{hosts}]"))],
        model,
        direction: knobs.direction,
        min_deviation: knobs.min_deviation,
        range: knobs.range.map(|DataRange { low, high }| [low, high]),
        min_samples: knobs.min_samples,
        kind: knobs.kind,
        time_zone: knobs.time_zone,
    };
    DetectRule::new(&config).unwrap()
}

/// The rules with one that watches all hosts with even numbers and tells of every sample.
fn rules(detects: Vec<DetectRule>) -> Arc<RuleSet> {
    let rule = RuleConfig {
        name: "each".to_owned(),
        matchers: vec![("host".to_owned(), "~ [024]".to_owned())],
        when: "severity > 3".to_owned(),
        ..RuleConfig::default()
    };
    Arc::new(RuleSet::new(vec![rule]).unwrap().with_detection(detects).unwrap())
}

fn mixed() -> Vec<DetectRule> {
    let range = Some(DataRange { low: 0.0, high: 80.0 });
    let above = Knobs { direction: Direction::Above, min_samples: 300, ..Knobs::NONE };
    vec![
        detect("1", Model::Auto, Knobs { range, ..Knobs::NONE }),
        detect("2", Model::Light, Knobs { range, min_deviation: 6.0, ..Knobs::NONE }),
        detect("1-3", Model::Deviation, above),
        detect("4", Model::Novelty, Knobs::NONE),
    ]
}

fn pipeline(rules: Arc<RuleSet>) -> Pipeline {
    let mut pipeline = Pipeline::new(PipelineConfig::default());
    pipeline.set_rules(rules, received(0), &mut Emitted::default());
    for host in 0..HOSTS {
        pipeline.add_series(SeriesRef(host), entry(&host.to_string()));
    }
    pipeline
}

/// A season with noise, peaks on both sides, values without a number, and repeats.
fn table(seed: u64, samples: i64) -> Table {
    let mut rng = Rng::new(seed);
    let mut table = Table::default();
    for index in 0..samples {
        for host in 0..HOSTS {
            let time = seconds(index * 300);
            let value = season(time) + rng.normal();
            let (time, value) = match rng.below(60) {
                0 => (time, value + 45.0),
                1 => (time, value - 52.0),
                2 => (time, f64::NAN),
                3 => (seconds(index * 300 - 900), value),
                4 => (time, value + 5.0),
                _ => (time, value),
            };
            table.push(host, time, value);
        }
    }
    table
}

/// What is put out for a row, as far as both have it; a row that is not scored has no judgement.
fn bits(severity: Severity, flags: tidewatch_metrics::Flags) -> (u16, bool, Channel) {
    (severity.steps(), flags.is_onset(), flags.channel())
}

fn alone(table: &Table, detections: &[Detection]) -> Vec<Option<Judgement>> {
    let mut detectors: Vec<_> = detections.iter().map(SeriesDetector::tuned).collect();
    let rows = table.series.iter().zip(&table.times).zip(&table.values);
    rows.map(|((host, time), value)| detectors[*host as usize].observe(*time, *value)).collect()
}

/// The same for all hosts.
fn each(detection: Detection) -> Vec<Detection> {
    vec![detection; HOSTS as usize]
}

fn detections(rules: &RuleSet) -> Vec<Detection> {
    (0..HOSTS).map(|host| rules.detection(&entry(&host.to_string()).key())).collect()
}

#[test]
fn the_first_match_counts() {
    let found = detections(&rules(mixed()));
    let models = found.iter().map(|detection| detection.model);
    let expected = [Model::Light, Model::Auto, Model::Light, Model::Deviation, Model::Novelty];
    assert!(models.eq(expected), "{found:?}");
    assert_eq!(found[0], Detection::default());
    assert_eq!((found[1].knobs.min_samples, found[2].knobs.min_deviation), (0, 6.0));
    assert_eq!(found[3].knobs.direction, Direction::Above);
}

#[test]
fn every_series_is_scored_by_its_own_model_and_knobs_as_if_it_were_alone() {
    let (rules, table) = (rules(mixed()), table(1, 1_500));
    let told = alone(&table, &detections(&rules));
    let (mut pipeline, mut out) = (pipeline(rules), Emitted::default());
    for start in (0..table.len()).step_by(97) {
        let end = table.len().min(start + 97);
        table.apply(&mut pipeline, start..end, received(0), &mut out);
    }
    let mut channels = Vec::new();
    for (row, told) in told.iter().enumerate() {
        let put = bits(out.severities[row], out.flags[row]);
        let told = told.map_or((0, false, Channel::None), |told| bits(told.severity, told.flags));
        assert_eq!(put, told, "row {row} of host {}", table.series[row]);
        channels.push((table.series[row], told.2));
    }
    for fired in [
        (0, Channel::Deviation),
        (1, Channel::Range),
        (1, Channel::Novelty),
        (1, Channel::Deviation),
        (2, Channel::Range),
        (2, Channel::Deviation),
        (3, Channel::Deviation),
        (4, Channel::Novelty),
    ] {
        assert!(channels.contains(&fired), "{fired:?}");
    }
    // What alerts say was expected is what the series' detector expected, or the range.
    let mut compared = 0;
    for transition in &out.transitions {
        let is_cause = |row: &usize| {
            table.times[*row] == transition.event
                && transition.labels[0].1 == table.series[*row].to_string()
        };
        let judged = (0..table.len()).filter(is_cause).find_map(|row| told[row]).unwrap();
        for (one, other) in [
            (transition.expected, judged.expected),
            (transition.lower, judged.lower),
            (transition.upper, judged.upper),
        ] {
            assert_eq!(one.to_bits(), other.to_bits(), "{transition:?}");
        }
        compared += 1;
    }
    assert!(compared > 50, "{compared}");
}

#[test]
fn knobs_silence_what_they_name_and_nothing_else() {
    let table = table(2, 1_500);
    let rows = || table.series.iter().zip(&table.times).zip(&table.values);
    for model in Model::ALL {
        let plain = alone(&table, &each(Detection::by(model)));
        let tuned = |knobs| alone(&table, &each(Detection { model, knobs }));
        let above = tuned(Knobs { direction: Direction::Above, ..Knobs::NONE });
        let below = tuned(Knobs { direction: Direction::Below, ..Knobs::NONE });
        let far = tuned(Knobs { min_deviation: 20.0, ..Knobs::NONE });
        let (mut ups, mut downs, mut near) = (0, 0, 0);
        for (row, (_, value)) in rows().enumerate() {
            let Some(judged) = plain[row] else { continue };
            let severity = |of: &[Option<Judgement>]| of[row].unwrap().severity;
            let is = |kept: bool| if kept { judged.severity } else { Severity::ZERO };
            let distance = value - judged.expected;
            assert_eq!(severity(&above), is(distance >= 0.0), "{model}, row {row}");
            assert_eq!(severity(&below), is(distance <= 0.0), "{model}, row {row}");
            assert_eq!(severity(&far), is(distance.abs() >= 20.0), "{model}, row {row}");
            let loud = judged.severity.to_f32() > 2.0;
            ups += u32::from(loud && distance > 0.0);
            downs += u32::from(loud && distance < 0.0);
            near += u32::from(judged.severity > Severity::ZERO && distance.abs() < 20.0);
        }
        assert!(ups > 20 && downs > 20 && near > 20, "{model}: {ups} {downs} {near}");
    }
}

#[test]
fn what_data_cannot_be_teaches_nothing_is_not_counted_and_has_the_greatest_severity() {
    let mut outside = table(3, 1_200);
    let mut without = outside.clone();
    let range = DataRange { low: -20.0, high: 120.0 };
    let mut rng = Rng::new(4);
    let mut gone = Vec::new();
    for row in 0..outside.len() {
        if rng.below(30) == 0 {
            outside.values[row] = if rng.below(2) == 0 { 1e9 } else { -20.5 };
            without.values[row] = f64::NAN;
            gone.push(row);
        }
    }
    for model in Model::ALL {
        let knobs = Knobs { range: Some(range), min_samples: 100, ..Knobs::NONE };
        let told = alone(&outside, &each(Detection { model, knobs: knobs.clone() }));
        let knobs = Knobs { range: None, ..knobs };
        let plain = alone(&without, &each(Detection { model, knobs }));
        for (row, (told, plain)) in told.iter().zip(&plain).enumerate() {
            let (Some(told), Some(plain)) = (told, plain) else {
                assert!(told.is_none() || gone.contains(&row), "{model}, row {row}");
                let Some(told) = told else { continue };
                assert_eq!((told.severity.to_f32(), told.channel()), (100.0, Channel::Range));
                assert!(told.expected.is_nan());
                assert_eq!((told.lower, told.upper), (-20.0, 120.0));
                continue;
            };
            // Onsets differ: what data cannot be is one, and holds back lesser ones.
            assert_eq!(told.severity, plain.severity, "{model}, row {row}");
            assert_eq!(told.expected.to_bits(), plain.expected.to_bits(), "{model}, row {row}");
        }
    }
}

#[test]
fn a_changed_model_begins_anew_and_everything_else_goes_on() {
    let table = table(5, 2_400);
    let cut = table.len() / 2;
    let knobs = Knobs { direction: Direction::Below, ..Knobs::NONE };
    let before = vec![
        detect("0", Model::Auto, Knobs::NONE),
        detect("1", Model::Novelty, Knobs::NONE),
        detect("2", Model::Deviation, Knobs::NONE),
    ];
    // Host 0 goes back to the light model, 1 and 4 change theirs, 2 gets a knob, 3 has neither.
    let after = vec![
        detect("1", Model::Deviation, Knobs::NONE),
        detect("2", Model::Deviation, knobs),
        detect("4", Model::Auto, Knobs::NONE),
    ];
    let (mut pipeline, mut out) = (pipeline(rules(before.clone())), Emitted::default());
    table.apply(&mut pipeline, 0..cut, received(0), &mut out);
    let profiles = |pipeline: &Pipeline| {
        pipeline.states.iter().filter(|state| pipeline.light.profile(state).is_some()).count()
    };
    assert_eq!(profiles(&pipeline), 3, "of the hosts with the light model, and of a young auto");
    pipeline.set_rules(rules(after.clone()), received(1), &mut out);
    assert_eq!(profiles(&pipeline), 1);
    table.apply(&mut pipeline, cut..table.len(), received(2), &mut out);

    let (old, new) = (rules(before), rules(after));
    for host in 0..HOSTS {
        let key = entry(&host.to_string()).key();
        let (old, new) = (old.detection(&key), new.detection(&key));
        let mut detector = SeriesDetector::tuned(&old);
        // Knobs that change leave the state, whose severities only come out otherwise.
        let mut changed = SeriesDetector::tuned(&new);
        let mut severe = 0;
        let rows = table.series.iter().zip(&table.times).zip(&table.values);
        for (row, ((of, time), value)) in rows.enumerate() {
            if *of != host {
                continue;
            }
            let first = detector.observe(*time, *value);
            let again = if row >= cut || old.model == new.model {
                changed.observe(*time, *value)
            } else {
                None
            };
            // A repeat of a row from before the cut is late for the pipeline alone.
            let told = if row < cut { first } else { again.filter(|_| first.is_some()) };
            let told = told.map_or(Severity::ZERO, |told| told.severity);
            assert_eq!(out.severities[row], told, "row {row} of host {host}");
            severe += u32::from(row >= cut && told > Severity::ZERO);
        }
        assert!(severe > 5, "host {host}: {severe}");
    }
}

#[test]
fn what_is_expected_next_can_be_told_before_it_comes() {
    let detects = Model::ALL.iter().zip(["1", "2", "3", "4"]);
    let detects = detects.map(|(model, host)| detect(host, *model, Knobs::NONE)).collect();
    let (mut pipeline, table) = (pipeline(rules(detects)), table(6, 800));
    let mut out = Emitted::default();
    let last = table.len() - HOSTS as usize;
    table.apply(&mut pipeline, 0..last, received(0), &mut out);
    for local in 1..HOSTS {
        let told = pipeline.explain(local);
        assert!(told.samples > 600 && told.expected.is_finite(), "{told:?}");
        let before = pipeline.state_hash();
        assert_eq!(pipeline.explain(local), told);
        assert_eq!(pipeline.state_hash(), before, "nothing is learnt");
        let Some(full) = pipeline.detectors.full(local) else { continue };
        let judged = full.clone().judge(told.last_time, 1e6);
        let bits = |band: [f64; 3]| band.map(f64::to_bits);
        let expected = bits([judged.expected, judged.lower, judged.upper]);
        assert_eq!(bits([told.expected, told.lower, told.upper]), expected);
    }
    let fresh = entry("1");
    let new = Pipeline::add_series(&mut pipeline, SeriesRef(9), fresh);
    assert!(pipeline.explain(new).expected.is_nan());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn neither_shards_nor_batches_change_a_bit(seed in 1_u64..1_000_000) {
        let (rules, table, mut rng) = (rules(mixed()), table(seed, 400), Rng::new(seed));
        let mut whole = (pipeline(Arc::clone(&rules)), Emitted::default());
        table.apply(&mut whole.0, 0..table.len(), received(0), &mut whole.1);
        let mut state = 0_u64;
        for part in 0..2_u32 {
            let mut pipeline = Pipeline::new(PipelineConfig::default());
            pipeline.set_rules(Arc::clone(&rules), received(0), &mut Emitted::default());
            let mut own = Table::default();
            for host in (part..HOSTS).step_by(2) {
                pipeline.add_series(SeriesRef(host), entry(&host.to_string()));
            }
            let mut rows = Vec::new();
            for row in (0..table.len()).filter(|row| table.series[*row] % 2 == part) {
                own.push(table.series[row] / 2, table.times[row], table.values[row]);
                rows.push(row);
            }
            let (mut out, mut from) = (Emitted::default(), 0);
            while from < own.len() {
                let end = own.len().min(from + 1 + usize::try_from(rng.below(200)).unwrap());
                own.apply(&mut pipeline, from..end, received(0), &mut out);
                from = end;
            }
            for (place, row) in rows.into_iter().enumerate() {
                prop_assert_eq!(out.severities[place], whole.1.severities[row]);
                prop_assert_eq!(out.flags[place], whole.1.flags[row]);
            }
            state = state.wrapping_add(pipeline.state_hash());
        }
        prop_assert_eq!(state, whole.0.state_hash());
    }
}

#[test]
fn the_state_of_every_model_is_part_of_the_hash() {
    let table = table(7, 300);
    let hash = |detects: Vec<DetectRule>, value: f64| {
        let mut table = table.clone();
        // The last finite sample of one host.
        let last = table.len() - HOSTS as usize + 1;
        table.values[last] = value;
        table.times[last] = seconds(1_000_000);
        let mut pipeline = pipeline(rules(detects));
        table.apply(&mut pipeline, 0..table.len(), received(0), &mut Emitted::default());
        pipeline.state_hash()
    };
    let mut hashes = Vec::new();
    for model in Model::ALL {
        for value in [50.0, 50.1] {
            hashes.push(hash(vec![detect("1", model, Knobs::NONE)], value));
        }
    }
    assert_eq!(hash(Vec::new(), 50.0), hashes[0], "light is the default");
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 2 * Model::ALL.len());
}

#[test]
fn counters_are_scored_in_a_pipeline_as_if_they_were_alone_and_their_values_are_told() {
    let mut rng = Rng::new(11);
    let mut table = Table::default();
    for index in 0..600 {
        for host in 0..HOSTS {
            let from = if index < 400 { 1e6 } else { -400.0 * 60.0 };
            let sum = from + f64::from(index) * 60.0 + rng.uniform();
            table.push(host, seconds(i64::from(index) * 60), sum);
        }
    }
    let of = |kind| Knobs { kind, ..Knobs::NONE };
    let detects = |first| {
        rules(vec![
            detect("0", Model::Auto, of(first)),
            detect("1", Model::Novelty, of(SeriesKind::Counter)),
            detect("2", Model::Deviation, of(SeriesKind::Gauge)),
            detect("3", Model::Auto, of(SeriesKind::Gauge)),
        ])
    };
    let told = alone(&table, &detections(&detects(SeriesKind::Auto)));
    let (mut pipeline, mut out) = (pipeline(detects(SeriesKind::Auto)), Emitted::default());
    table.apply(&mut pipeline, 0..table.len(), received(0), &mut out);
    let mut hot = [0; HOSTS as usize];
    for (row, told) in told.iter().enumerate() {
        let told = told.expect("all are in order");
        let put = bits(out.severities[row], out.flags[row]);
        assert_eq!(put, bits(told.severity, told.flags), "row {row}");
        let is_reset = row / HOSTS as usize == 400;
        let is_hot = is_reset && told.severity.to_f32() > 4.5;
        hot[table.series[row] as usize] += usize::from(is_hot);
    }
    // What is taken for its value, and the light detector's, is unusual when it begins again.
    assert_eq!(hot.map(|rows| rows > 0), [false, false, true, true, true]);
    for host in 0..HOSTS {
        let last = table.values[table.len() - (HOSTS - host) as usize];
        assert_eq!(pipeline.explain(host).last_value.to_bits(), last.to_bits(), "host {host}");
    }
    // A kind that is said later is the kind from the next row on.
    let state = pipeline.state_hash();
    pipeline.set_rules(detects(SeriesKind::Gauge), received(0), &mut out);
    assert_eq!(pipeline.state_hash(), state, "the state stays");
    let mut later = Table::default();
    later.push(0, seconds(36_060), 1_000.0);
    later.apply(&mut pipeline, 0..1, received(0), &mut out);
    let full = pipeline.detectors.full(0).expect("auto");
    assert_eq!(full.last_of_counter(), None);
    assert_eq!(pipeline.explain(0).samples, 1, "what it learnt of the rate is forgotten");
}

fn in_zone(time_zone: TimeZone) -> Knobs {
    Knobs { time_zone, ..Knobs::NONE }
}

/// What all hosts come to where rows are `ahead` nanoseconds later.
fn told_by(model: Model, time_zone: TimeZone, ahead: i64) -> (Pipeline, Emitted) {
    let mut table = table(6, 700);
    for time in &mut table.times {
        *time = EventTime::new(time.nanos() + ahead);
    }
    let mut pipeline = pipeline(rules(vec![detect("0-4", model, in_zone(time_zone))]));
    let mut out = Emitted::default();
    table.apply(&mut pipeline, 0..table.len(), received(0), &mut out);
    (pipeline, out)
}

#[test]
fn hours_are_told_by_the_time_zone_and_everything_else_is_as_in_utc() {
    // Half past five ahead of UTC since 1945.
    let kolkata: TimeZone = "Asia/Kolkata".parse().unwrap();
    let ahead = 19_800 * 1_000_000_000;
    for model in Model::ALL {
        let there = told_by(model, kolkata.clone(), 0);
        let shifted = told_by(model, TimeZone::UTC, ahead);
        let utc = told_by(model, TimeZone::UTC, 0);
        assert_eq!(there.1.severities, shifted.1.severities, "{model}");
        assert_eq!(there.1.flags, shifted.1.flags, "{model}");
        let explain = |(pipeline, _): &(Pipeline, Emitted), host| {
            let told = pipeline.explain(host);
            [told.expected, told.lower, told.upper].map(f64::to_bits)
        };
        for host in 0..HOSTS {
            let told = explain(&there, host);
            assert_eq!(told, explain(&shifted, host), "{model}, host {host}");
            assert_eq!(told != explain(&utc, host), model.knows_hours(), "{model}, host {host}");
        }
        let is_other = there.1.severities != utc.1.severities;
        assert_eq!(is_other, model.knows_hours(), "{model}");
    }
}

#[test]
fn a_series_that_moves_to_other_clocks_begins_anew_and_one_whose_clocks_are_known_better_goes_on() {
    let zone = |name: &str| name.parse::<TimeZone>().unwrap();
    let other_data = TimeZone::of_table("Europe/Berlin", 3_600, &[(0, 7_200)]).unwrap();
    let table = table(5, 200);
    for model in Model::ALL {
        for (from, to, moves) in [
            (TimeZone::UTC, zone("Europe/Berlin"), true),
            (zone("Europe/Berlin"), TimeZone::UTC, true),
            (zone("Europe/Berlin"), zone("Asia/Kolkata"), true),
            (zone("Asia/Kolkata"), zone("Asia/Calcutta"), false),
            (zone("Europe/Berlin"), other_data.clone(), false),
            (other_data.clone(), zone("Europe/Berlin"), false),
        ] {
            let what = format!("{model}, {from} to {to}");
            let detects = |zone| rules(vec![detect("1", model, in_zone(zone))]);
            let (mut pipeline, mut out) = (pipeline(detects(from)), Emitted::default());
            table.apply(&mut pipeline, 0..table.len(), received(0), &mut out);
            let before = [0, 1].map(|host| pipeline.explain(host).samples);
            pipeline.set_rules(detects(to), received(0), &mut out);
            let moves = moves && model.knows_hours();
            let after = [0, 1].map(|host| pipeline.explain(host).samples);
            assert_eq!(after, [before[0], if moves { 0 } else { before[1] }], "{what}");
            let lacks = moves && model != Model::Light;
            assert_eq!(pipeline.lacking(), u32::from(lacks), "{what}");
        }
    }
}

#[test]
fn an_hour_that_comes_again_or_never_is_harmless() {
    // In 2024 clocks are set by an hour in Berlin, half of one on Lord Howe and two in Troll, and a day was left out in Apia in 2011.
    let day = 86_400;
    for (name, change) in [
        ("Europe/Berlin", 1_711_846_800),
        ("Europe/Berlin", 1_729_990_800),
        ("Australia/Lord_Howe", 1_712_415_600),
        ("Australia/Lord_Howe", 1_728_142_200),
        ("Antarctica/Troll", 1_711_846_800),
        ("Antarctica/Troll", 1_729_990_800),
        ("Pacific/Apia", 1_325_239_200),
    ] {
        let time_zone: TimeZone = name.parse().unwrap();
        let local = |at: i64| time_zone.local(EventTime::new(at * 1_000_000_000));
        let step = local(change).nanos() - local(change - 1).nanos();
        assert_ne!(step, 1_000_000_000, "{name}: clocks are set at {change}");
        let models = Model::ALL.into_iter().filter(|model| model.knows_hours());
        for (model, days) in models.flat_map(|model| [(model, 1), (model, 5)]) {
            // With one day before, the light detector's first day is cut.
            let knobs = in_zone(time_zone.clone());
            let mut detector = SeriesDetector::tuned(&Detection { model, knobs });
            let mut rng = Rng::new(13);
            let mut off = f64::NAN;
            for at in (change - days * day..change + 3 * day).step_by(900) {
                let noon = local(at).nanos() / 1_000_000_000 % day - day / 2;
                let wave = noon.abs() as f64 / 3_600.0;
                let time = EventTime::new(at * 1_000_000_000);
                let judged = detector.observe(time, wave + rng.normal()).unwrap();
                off = (judged.expected - wave).abs();
                // After so few days not much is known of a series.
                assert!(judged.severity.to_f32() < 8.0, "{name}, {model}: {judged:?} at {at}");
            }
            assert!(off < 4.0, "{name}, {model}: {off}");
        }
    }
}
