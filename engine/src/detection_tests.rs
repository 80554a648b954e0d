//! `[[detect]]` over the whole engine: what series' models say depends neither on shards nor on checkpoints, flushes, starts
//! and crashes; a changed `[[detect]]` takes effect with its start; and a replay of the log comes to the same.

use std::time::Duration;

use tidewatch_env::{Rng, SimClock, SimDisk};
use tidewatch_metrics::{EventTime, SeriesKey, Transition, TransitionKind};
use tidewatch_operators::{
    DetectConfig, DetectRule, Detection, Direction, Model, RuleConfig, RuleSet, SeriesDetector,
};
use tidewatch_wal::WalConfig;

use super::*;
use crate::config::EngineConfig;
use crate::idempotency::crash_tests::Node;
use crate::testing::{SECOND, START, Told, machine, note, replay};
use crate::{EngineError, testing};

const HOSTS: usize = 7;
/// Seconds of a life: more than the burn-in of every model.
const LIFE: i64 = 130;
/// From which severity on the rule holds.
const LEVEL: f32 = 2.0;

/// Host, whether it fires, event time, severity, and what was expected.
type Line = (String, TransitionKind, EventTime, u16, [u64; 3]);

fn detect(hosts: &str, config: &DetectConfig) -> DetectRule {
    let matchers = vec![("host".to_owned(), format!("~ [{hosts}]"))];
    DetectRule::new(&DetectConfig { matchers, ..config.clone() }).unwrap()
}

/// The detection of a life. Host 0 never has any, host 1 always the same, the others change model or knobs; those that keep
/// their model keep their range, which is a knob that decides what is learnt. Host 6 moves once, and its new zone gets another name.
fn detects(life: usize) -> Vec<DetectRule> {
    let by = |model| DetectConfig { model, ..DetectConfig::default() };
    let range = Some([-1e3, 1e3]);
    let zone = ["Europe/Berlin", "Asia/Kolkata", "Asia/Calcutta"][life].parse().unwrap();
    let there = DetectConfig { time_zone: zone, ..by(Model::Auto) };
    let mut all = vec![detect("1", &by(Model::Auto)), detect("6", &there)];
    match life {
        0 => all.extend([
            detect("2", &by(Model::Novelty)),
            detect("3", &DetectConfig { range, ..by(Model::Light) }),
            detect("4", &DetectConfig { direction: Direction::Below, range, ..by(Model::Auto) }),
        ]),
        1 => all.extend([
            detect("2", &by(Model::Deviation)),
            detect("3", &DetectConfig { range, min_deviation: 3.0, ..by(Model::Light) }),
            detect("4", &DetectConfig { range, ..by(Model::Auto) }),
            detect("5", &DetectConfig { min_samples: 100, ..by(Model::Auto) }),
        ]),
        _ => all.extend([
            detect("3", &DetectConfig { min_deviation: 5.0, ..by(Model::Deviation) }),
            detect("4", &DetectConfig { min_deviation: 5.0, range, ..by(Model::Auto) }),
        ]),
    }
    all
}

fn rules(life: usize) -> RuleSet {
    let rule = RuleConfig {
        name: "odd".to_owned(),
        when: format!("severity > {LEVEL}"),
        ..RuleConfig::default()
    };
    RuleSet::new(vec![rule]).unwrap().with_detection(detects(life)).unwrap()
}

fn config(shards: usize, life: usize) -> EngineConfig {
    let mut config = EngineConfig::new("/data".into());
    config.shards = shards;
    config.wal = WalConfig { segment_bytes_max: 1 << 20, frame_bytes_max: 900 << 10 };
    config.rules = Arc::new(rules(life));
    config
}

/// A row as it is sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    life: usize,
    host: usize,
    time: EventTime,
    value: f64,
}

/// Noise about a wave, with peaks on both sides, impossible values, repeats and late rows.
fn rows(seed: u64) -> Vec<Vec<Sent>> {
    let mut rng = Rng::from_seed(seed);
    let second = |second: i64, rng: &mut Rng| {
        let row = |host: usize, rng: &mut Rng| {
            let life = usize::try_from(second / LIFE).unwrap();
            let wave = f64::from(u32::try_from(second % 20).unwrap()) / 4.0;
            let value = wave + rng.unit_f64() + rng.unit_f64();
            let (back, value) = match rng.below(40) {
                0 => (0, value + 9.0),
                1 => (0, value - 9.0),
                2 => (0, value + 2e3),
                3 => (20, value),
                4 => (1, value),
                _ => (0, value),
            };
            let time = EventTime::new((START + second - back) * SECOND);
            Sent { life, host, time, value }
        };
        (0..HOSTS).map(|host| row(host, rng)).collect()
    };
    (0..3 * LIFE).map(|at| second(at, &mut rng)).collect()
}

fn body(rows: &[Sent]) -> String {
    let line = |row: &Sent| {
        let Sent { host, time, value, .. } = row;
        format!("load,host={host} value={value} {}\n", time.nanos())
    };
    rows.iter().map(line).collect()
}

fn key(host: usize) -> SeriesKey {
    let labels = vec![("host".to_owned(), host.to_string())];
    SeriesKey::new("default", "load", "value", labels).unwrap()
}

/// What has to be told, by detectors that each see one series and no engine.
fn oracle(rows: &[Vec<Sent>]) -> Vec<Line> {
    let mut lines = Vec::new();
    for host in 0..HOSTS {
        let mut greatest = EventTime::MIN;
        let in_order = rows.iter().flatten().filter(|row| row.host == host).filter(|row| {
            let later = row.time > greatest;
            greatest = greatest.max(row.time);
            later
        });
        let in_order: Vec<&Sent> = in_order.collect();
        let detections: Vec<Detection> =
            (0..3).map(|life| rules(life).detection(&key(host))).collect();
        let mut fires = false;
        for life in 0..3 {
            // Since when the model is the same, and its clocks.
            let same = |life: &usize| {
                let moves = host == 6 && *life == 0;
                detections[*life].model == detections[life + 1].model && !moves
            };
            let since = life - (0..life).rev().take_while(same).count();
            let mut detector = SeriesDetector::tuned(&detections[life]);
            for row in in_order.iter().filter(|row| (since..=life).contains(&row.life)) {
                let told = detector.observe(row.time, row.value).expect("the row is in order");
                let holds = told.severity.to_f32() > LEVEL;
                if row.life != life || holds == fires {
                    continue;
                }
                fires = holds;
                let kind = if holds { TransitionKind::Firing } else { TransitionKind::Resolved };
                let band = [told.expected, told.lower, told.upper].map(f64::to_bits);
                lines.push((host.to_string(), kind, row.time, told.severity.steps(), band));
            }
        }
    }
    lines.sort();
    lines
}

fn lines(told: &Told) -> Vec<Line> {
    let line = |t: &Transition| {
        let band = [t.expected, t.lower, t.upper].map(f64::to_bits);
        (t.labels[0].1.clone(), t.kind, t.event, t.severity.steps(), band)
    };
    let mut lines: Vec<Line> = told.values().map(line).collect();
    lines.sort();
    lines
}

/// Three lives, each with its own detection.
fn play(seed: u64, shards: [usize; 3], stores: bool) -> (SimDisk, Told) {
    let lives = [0, 1, 2].map(|life| config(shards[life], life));
    let rows = rows(seed);
    testing::play(seed, &lives, LIFE, stores.then_some(20), |node, second| {
        node.write(&body(&rows[usize::try_from(second).unwrap()])).unwrap();
    })
}

#[test]
fn every_life_tells_what_its_detection_says_on_any_shards_and_over_checkpoints_and_starts() {
    for seed in 1..3 {
        let expected = oracle(&rows(seed));
        for host in 0..HOSTS {
            let count = expected.iter().filter(|line| line.0 == host.to_string()).count();
            assert!(count > 5, "SEED={seed}: host {host} {count}");
        }
        for (shards, stores) in [([1, 1, 1], false), ([2, 7, 1], true), ([7, 2, 2], true)] {
            let (disk, told) = play(seed, shards, stores);
            assert_eq!(lines(&told), expected, "SEED={seed}, {shards:?}");
            for (shards, rechunk) in [(1, None), (2, Some(7)), (7, Some(3))] {
                assert!(replay(&disk, shards, rechunk).alerts_compared > 10, "SEED={seed}");
            }
        }
    }
}

#[test]
fn another_detection_is_another_life() {
    let (disk, _) = play(5, [1, 2, 7], true);
    let state_of = |shards| replay(&disk, shards, None).state_hash;
    assert_eq!(state_of(1), state_of(7));
    // The same rows under one detection for all lives leave another state.
    let (other, clock) = machine(5);
    let mut node = Node::start_as(&other, &clock, &config(2, 0)).unwrap();
    for rows in rows(5) {
        clock.advance(Duration::from_secs(1));
        node.write(&body(&rows)).unwrap();
    }
    drop(node);
    assert_ne!(replay(&other, 1, None).state_hash, state_of(1));
}

/// Two lives by the detection of the first; in the first one Berlin's clocks are told by another database.
fn lives_of_other_data() -> [EngineConfig; 2] {
    let text = rules(0).canonical_text();
    let berlin = text.lines().find(|line| line.starts_with("zone ")).unwrap();
    let elsewhere = text.replace(berlin, "zone \"Europe/Berlin\" 36000 0 32400");
    let of = |text: &str| {
        let rules = Arc::new(RuleSet::from_canonical_text(text).unwrap());
        EngineConfig { rules, ..config(2, 0) }
    };
    [of(&elsewhere), of(&text)]
}

#[test]
fn a_log_is_replayed_by_the_offsets_that_it_holds() {
    let lives = lives_of_other_data();
    let rows = rows(4);
    let play = |lives: &[EngineConfig]| {
        let (disk, told) = testing::play(4, lives, LIFE, Some(20), |node, second| {
            node.write(&body(&rows[usize::try_from(second).unwrap()])).unwrap();
        });
        (replay(&disk, 7, Some(1)), told)
    };
    let (same, _) = play(&[lives[1].clone(), lives[1].clone()]);
    let (other, told) = play(&lives);
    assert!(other.severities_compared > 500, "{other:?}");
    assert_ne!(other.state_hash, same.state_hash, "hours are told by other offsets");
    // The detector has not begun anew with the second life, in whose burn-in it would be silent.
    let burn_in = EventTime::new((START + LIFE + 40) * SECOND);
    let early = lines(&told).into_iter().filter(|line| line.0 == "6" && line.2 < burn_in);
    let begin = EventTime::new((START + LIFE) * SECOND);
    assert!(early.filter(|line| line.2 > begin).count() > 1, "{told:?}");
}

#[test]
fn what_a_crash_leaves_is_recovered_by_the_offsets_of_the_log() {
    let lives = lives_of_other_data();
    let rows = rows(6);
    let (disk, clock) = machine(6);
    let mut node = Node::start_as(&disk, &clock, &lives[0]).unwrap();
    for rows in &rows[..80] {
        clock.advance(Duration::from_secs(1));
        node.write(&body(rows)).unwrap();
    }
    drop(node);
    let disk = disk.reboot(6);
    let before = replay(&disk, 1, None).state_hash;
    // The next program knows other offsets; it takes up what the last one has come to.
    let mut node = Node::start_as(&disk, &clock, &lives[1]).unwrap();
    for rows in &rows[80..100] {
        clock.advance(Duration::from_secs(1));
        node.write(&body(rows)).unwrap();
    }
    node.checkpoint().unwrap();
    drop(node);
    let after = replay(&disk, 7, Some(2));
    assert!(after.states_compared > 0 && after.state_hash != before, "{after:?}");
}

/// A life with everything in it; gives up where the disk does.
fn short(disk: &SimDisk, clock: &Arc<SimClock>, rows: &[Vec<Sent>]) -> Result<(), EngineError> {
    let mut told = Told::new();
    let mut node = Node::start_as(disk, clock, &config(2, 0))?;
    for (second, rows) in rows.iter().enumerate() {
        clock.advance(Duration::from_secs(1));
        node.write(&body(rows))?;
        note(&mut node, &mut told)?;
        match second {
            40 | 95 => node.checkpoint()?,
            70 => node.flush()?,
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn wherever_a_crash_hits_the_next_start_changes_detection_and_replay_agrees() {
    let rows = rows(3);
    let (before, after) = rows.split_at(110);
    let (disk, clock) = machine(3);
    short(&disk, &clock, before).unwrap();
    let ops = disk.ops();
    assert!(ops > 150, "{ops}");
    let mut compared = 0;
    for op in (1..=ops).step_by(if cfg!(slow) { 1 } else { 29 }) {
        let (disk, clock) = machine(op);
        disk.crash_at(op);
        if short(&disk, &clock, before).is_ok() {
            continue;
        }
        let disk = disk.reboot(op);
        let shards = [1, 2, 7][usize::try_from(op % 3).unwrap()];
        let mut node = Node::start_as(&disk, &clock, &config(shards, 1))
            .unwrap_or_else(|error| panic!("op {op}: {error}"));
        let mut told = Told::new();
        for rows in &after[..20] {
            clock.advance(Duration::from_secs(1));
            node.write(&body(rows)).unwrap();
            note(&mut node, &mut told).unwrap();
        }
        node.checkpoint().unwrap();
        drop(node);
        let report = replay(&disk, 2, Some(op));
        compared += report.severities_compared;
        // Once more, from the checkpoint.
        let node = Node::start_as(&disk, &clock, &config(2, 1)).unwrap();
        drop(node);
        replay(&disk, 7, None);
    }
    assert!(compared > 1_000, "{compared}");
}
