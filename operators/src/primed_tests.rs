use std::ops::Range;
use std::sync::Arc;

use tidewatch_metrics::series::SLOTS;
use tidewatch_metrics::{Flags, Severity, Slot, UnixNanos};

use super::*;
use crate::detect::{DataRange, DetectRule, Direction, Knobs};
use crate::hash::Digest;
use crate::testing::{Rng, Table, entry, season, seconds};
use crate::{DetectConfig, Emitted, PipelineConfig, RuleSet};

const HOSTS: u32 = 6;
const MODELS: [Model; 6] =
    [Model::Light, Model::Auto, Model::Novelty, Model::Deviation, Model::HoltWinters, Model::Auto];
/// Two days more than `auto` hears everything of the light detector, and half of that.
const SHORT: i64 = 500;
const LONG: i64 = 1_600;

fn knobs(host: u32) -> Knobs {
    let range = Some(DataRange { low: 0.0, high: 80.0 });
    match host {
        2 => Knobs { range, ..Knobs::NONE },
        5 => Knobs {
            direction: Direction::Above,
            min_samples: 300,
            range,
            min_deviation: 2.0,
            time_zone: "Australia/Lord_Howe".parse().unwrap(),
            ..Knobs::NONE
        },
        _ => Knobs::NONE,
    }
}

/// Each host has its model, with the hosts' number added.
fn rules(turn: usize) -> Arc<RuleSet> {
    let detect = |host: u32| {
        let knobs = knobs(host);
        DetectRule::new(&DetectConfig {
            matchers: vec![("host".to_owned(), host.to_string())],
            model: MODELS[(host as usize + turn) % MODELS.len()],
            direction: knobs.direction,
            min_deviation: knobs.min_deviation,
            range: knobs.range.map(|DataRange { low, high }| [low, high]),
            min_samples: knobs.min_samples,
            kind: knobs.kind,
            time_zone: knobs.time_zone,
        })
    };
    let detects = (0..HOSTS).map(|host| detect(host).unwrap()).collect();
    Arc::new(RuleSet::default().with_detection(detects).unwrap())
}

fn set_rules(pipeline: &mut Pipeline, rules: Arc<RuleSet>) {
    pipeline.set_rules(rules, UnixNanos::new(0), &mut Emitted::default());
}

fn pipeline(rules: Arc<RuleSet>) -> Pipeline {
    let mut pipeline = Pipeline::new(PipelineConfig::default());
    set_rules(&mut pipeline, rules);
    for host in 0..HOSTS {
        pipeline.add_series(SeriesRef(10 + host), entry(&host.to_string()));
    }
    pipeline
}

/// A season with noise, peaks on both sides, runs, values without a number, and late rows.
fn table(seed: u64, samples: i64) -> Table {
    let mut rng = Rng::new(seed);
    let mut table = Table::default();
    for index in 0..samples {
        for host in 0..HOSTS {
            let time = seconds(index * 300);
            let value = season(time) + rng.normal();
            let (time, value) = match rng.below(60) {
                0 => (time, value + 45.0),
                1 => (time, -value),
                2 => (time, f64::NAN),
                3 => (seconds(index * 300 - 900), value),
                _ if index % 400 < 30 => (time, 50.0),
                _ => (time, value),
            };
            table.push(host, time, value);
        }
    }
    table
}

fn apply(pipeline: &mut Pipeline, table: &Table, rows: Range<usize>) -> Vec<(Severity, Flags)> {
    let mut out = Emitted::default();
    table.apply(pipeline, rows, UnixNanos::new(0), &mut out);
    out.severities.into_iter().zip(out.flags).collect()
}

fn primer(rules: &RuleSet, host: u32, table: &Table, rows: Range<usize>) -> Primer {
    let mut primer = Primer::new(&rules.detection(&entry(&host.to_string()).key())).unwrap();
    for row in rows.filter(|row| table.series[*row] == host) {
        primer.observe(table.times[row], table.values[row]);
    }
    primer
}

fn hash_of(pipeline: &Pipeline, host: u32) -> u64 {
    pipeline.series_hash(host, &mut Digest::default())
}

#[test]
fn a_primed_detector_goes_on_as_one_that_had_seen_the_rows() {
    for samples in [SHORT, LONG] {
        let table = table(7, samples + 300);
        let end = usize::try_from(samples).unwrap() * HOSTS as usize;
        let mut whole = pipeline(rules(0));
        apply(&mut whole, &table, 0..end);

        let mut primed = pipeline(Arc::default());
        apply(&mut primed, &table, 0..end);
        set_rules(&mut primed, rules(0));
        assert_eq!(primed.lacking(), 5);
        let lacking = primed.lacking_history();
        assert_eq!(lacking.iter().map(|lacking| lacking.series.0).min(), Some(11));
        // A few rows that it learns by itself before it is primed with them as well.
        let ahead = end + 40 * HOSTS as usize;
        apply(&mut whole, &table, end..ahead);
        apply(&mut primed, &table, end..ahead);
        for host in 1..HOSTS {
            assert_ne!(hash_of(&primed, host), hash_of(&whole, host));
            let state = primer(&rules(0), host, &table, 0..ahead).encode();
            assert!(primed.prime(host, &state));
            assert_eq!(hash_of(&primed, host), hash_of(&whole, host), "{samples}, host {host}");
        }
        assert_eq!((primed.lacking(), primed.lacking_history().len()), (0, 0));
        let is_full = |row: &usize| table.series[*row] > 0;
        let told = |pipeline: &mut Pipeline| {
            let told = apply(pipeline, &table, ahead..table.len());
            let full = (ahead..table.len()).zip(told).filter(|(row, _)| is_full(row));
            full.map(|(_, told)| told).collect::<Vec<_>>()
        };
        let (expected, told) = (told(&mut whole), told(&mut primed));
        assert_eq!(told, expected);
        assert!(told.iter().filter(|(severity, _)| severity.to_f32() > 4.0).count() > 10);
    }
}

#[test]
fn what_is_not_a_state_for_a_series_that_lacks_one_changes_nothing() {
    let table = table(3, SHORT);
    let mut pipeline = pipeline(Arc::default());
    apply(&mut pipeline, &table, 0..table.len());
    let state = primer(&rules(0), 1, &table, 0..table.len()).encode();
    assert!(!pipeline.prime(1, &state), "the light detector is not primed");
    set_rules(&mut pipeline, rules(0));
    let before = pipeline.state_hash();
    assert!(!pipeline.prime(2, &state), "of another model");
    for cut in 0..state.len() {
        assert!(!pipeline.prime(1, &state[..cut]), "cut at {cut}");
    }
    let longer = [&state[..], &[0]].concat();
    assert!(!pipeline.prime(1, &longer));
    let mut later = state.clone();
    later[0] += 1;
    assert!(!pipeline.prime(1, &later), "of another version");
    assert_eq!((pipeline.state_hash(), pipeline.lacking()), (before, 5));
    assert!(pipeline.prime(1, &state));
    let before = pipeline.state_hash();
    assert!(!pipeline.prime(1, &state), "it lacks nothing any more");
    assert_eq!((pipeline.state_hash(), pipeline.lacking()), (before, 4));
}

#[test]
fn a_detector_that_has_seen_as_much_stays_and_lacks_nothing() {
    let table = table(4, LONG);
    let cut = 600 * HOSTS as usize;
    let (mut pipeline, mut other) = (pipeline(Arc::default()), pipeline(rules(0)));
    apply(&mut pipeline, &table, 0..cut);
    set_rules(&mut pipeline, rules(0));
    // Of its own it has seen what the other one has seen from there on.
    let first = table.times[cut];
    apply(&mut pipeline, &table, cut..table.len());
    for host in 1..HOSTS {
        let short = primer(&rules(0), host, &table, 0..cut).encode();
        assert!(pipeline.prime(host, &short));
    }
    assert_eq!(pipeline.lacking(), 0);
    // Late rows of the other one's first moments are not late there.
    let mut rest = Table::default();
    for row in cut..table.len() {
        if table.times[row] >= first {
            rest.push(table.series[row], table.times[row], table.values[row]);
        }
    }
    apply(&mut other, &rest, 0..rest.len());
    let samples = |pipeline: &Pipeline| pipeline.states[3].samples;
    assert_eq!(samples(&pipeline), samples(&other));
}

#[test]
fn what_lacks_history_lacks_it_in_a_checkpoint_too_and_a_series_without_rows_lacks_none() {
    let table = table(5, SHORT);
    let mut pipeline = pipeline(rules(1));
    set_rules(&mut pipeline, rules(0));
    assert_eq!(pipeline.lacking(), 0, "no series had rows");
    apply(&mut pipeline, &table, 0..table.len());
    set_rules(&mut pipeline, rules(2));
    let lacking = pipeline.lacking_history();
    assert_eq!(lacking.len(), 4, "one is light, and one keeps its model");
    let mut restored = Pipeline::new(PipelineConfig::default());
    set_rules(&mut restored, rules(2));
    for slot in 0..SLOTS {
        let slot = Slot(u8::try_from(slot).unwrap());
        let mut bytes = FieldWriter::default();
        pipeline.encode_slot(slot, &mut bytes);
        let entry = |series: SeriesRef| Some(entry(&(series.0 - 10).to_string()));
        let bytes = bytes.into_bytes();
        restored.restore_slot(slot, &mut FieldReader::new(&bytes), entry).unwrap();
    }
    assert_eq!(restored.lacking_history(), lacking);
    assert_eq!(restored.state_hash(), pipeline.state_hash());
    // Another model again: it lacks what it lacked, or has no need of it.
    set_rules(&mut pipeline, Arc::default());
    assert_eq!(pipeline.lacking(), 0);
}
