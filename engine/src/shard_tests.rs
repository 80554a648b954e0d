//! Rules on rates and silence over the whole engine: what is told depends neither on shards nor on checkpoints, flushes
//! and crashes, and a replay of the log comes to the same.

use std::time::Duration;

use tidewatch_env::{Rng, SimClock, SimDisk};
use tidewatch_metrics::TransitionKind;
use tidewatch_operators::{RuleConfig, RuleSet};
use tidewatch_wal::WalConfig;

use super::*;
use crate::config::EngineConfig;
use crate::idempotency::crash_tests::Node;
use crate::testing::{SECOND, START, Told, machine, note, replay};
use crate::{EngineError, testing};

const HOSTS: u64 = 12;
/// Seconds of a life.
const LIFE: i64 = 70;

fn config(shards: usize) -> EngineConfig {
    let rule = |name: &str, when: &str, hold: i64, keep: i64| RuleConfig {
        name: name.to_owned(),
        when: when.to_owned(),
        for_nanos: hold * SECOND,
        keep_firing_nanos: keep * SECOND,
        ..RuleConfig::default()
    };
    let rules = vec![
        rule("busy", "rate > 60", 1, 0),
        rule("silent", "absent > 4", 0, 3),
        rule("gone", "absent > 6", 5, 0),
        rule("odd", "absent", 0, 0),
    ];
    let mut config = EngineConfig::new("/data".into());
    config.shards = shards;
    config.wal = WalConfig { segment_bytes_max: 1 << 20, frame_bytes_max: 900 << 10 };
    config.rules = Arc::new(RuleSet::new(rules).unwrap());
    config
}

/// Hosts that count, fall silent for some time, begin anew, and are late.
struct Hosts {
    rng: Rng,
    /// Per host its counter, and the second from which on it is not silent.
    all: Vec<(u64, i64)>,
}

impl Hosts {
    fn new(seed: u64) -> Self {
        Self { rng: Rng::from_seed(seed), all: vec![(0, 0); usize::try_from(HOSTS).unwrap()] }
    }

    fn lines(&mut self, second: i64) -> String {
        let mut body = String::new();
        for (host, (counter, silent)) in self.all.iter_mut().enumerate() {
            *counter += self.rng.below(100);
            match self.rng.below(40) {
                0 => *silent = second + 2 + i64::try_from(self.rng.below(60)).unwrap(),
                1 => *counter = 0,
                _ => {}
            }
            if second >= *silent && self.rng.below(3) > 0 {
                let late = if self.rng.below(15) == 0 { 30 } else { 0 };
                let time = (START + second - late) * SECOND;
                body.push_str(&format!("requests,host={host} value={counter} {time}\n"));
            }
        }
        body
    }
}

/// Two hundred seconds with a start at every 70th.
fn play(seed: u64, shards: [usize; 3], stores: bool) -> (SimDisk, Told) {
    let mut hosts = Hosts::new(seed);
    testing::play(seed, &shards.map(config), LIFE, stores.then_some(10), |node, second| {
        let body = hosts.lines(second);
        // Nobody writes for a while: the idle log ticks.
        if (30..50).contains(&(second % LIFE)) || body.is_empty() {
            node.committer.tick_if_awaited().unwrap();
        } else {
            node.write(&body).unwrap();
        }
    })
}

#[test]
fn rates_and_silences_are_told_alike_on_any_shards_and_over_checkpoints_and_starts() {
    for seed in 1..5 {
        let (disk, told) = play(seed, [1, 1, 1], false);
        let count =
            |rule: &str, kind| told.values().filter(|t| t.rule == rule && t.kind == kind).count();
        for rule in ["busy", "silent", "gone", "odd"] {
            let counts =
                (count(rule, TransitionKind::Firing), count(rule, TransitionKind::Resolved));
            assert!(counts.0 > 3 && counts.1 > 2, "SEED={seed}: {rule} {counts:?}");
        }
        let compared = replay(&disk, 2, Some(3)).alerts_compared;
        assert_eq!(compared, told.len() as u64, "SEED={seed}");
        for shards in [[2, 7, 1], [7, 2, 2]] {
            let (disk, again) = play(seed, shards, true);
            let keys = |told: &Told| told.keys().copied().collect::<Vec<_>>();
            assert_eq!(keys(&again), keys(&told), "SEED={seed}, {shards:?}");
            assert_eq!(format!("{again:?}"), format!("{told:?}"), "SEED={seed}, {shards:?}");
            for (shards, rechunk) in [(1, None), (2, Some(7)), (7, Some(3))] {
                assert!(replay(&disk, shards, rechunk).alerts_compared > 10);
            }
        }
    }
}

/// A short life with everything in it; gives up where the disk does.
fn short(disk: &SimDisk, clock: &Arc<SimClock>, seed: u64) -> Result<(), EngineError> {
    let (mut hosts, mut told) = (Hosts::new(seed), Told::new());
    let mut node = Node::start_as(disk, clock, &config(2))?;
    for second in 0..40 {
        clock.advance(Duration::from_secs(1));
        match second {
            25..35 => drop(node.committer.tick_if_awaited()?),
            _ => drop(node.write(&hosts.lines(second))?),
        }
        note(&mut node, &mut told)?;
        match second {
            9 | 31 => node.checkpoint()?,
            20 => node.flush()?,
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn wherever_a_crash_hits_silences_are_told_once_and_replay_agrees() {
    let (disk, clock) = machine(3);
    short(&disk, &clock, 3).unwrap();
    let ops = disk.ops();
    assert!(ops > 150, "{ops}");
    let mut compared = 0;
    for op in (1..=ops).step_by(if cfg!(slow) { 1 } else { 11 }) {
        let (disk, clock) = machine(op);
        disk.crash_at(op);
        if short(&disk, &clock, 3).is_ok() {
            continue;
        }
        let disk = disk.reboot(op);
        let shards = [1, 2, 7][usize::try_from(op % 3).unwrap()];
        let mut node = Node::start_as(&disk, &clock, &config(shards))
            .unwrap_or_else(|error| panic!("op {op}: {error}"));
        let mut told = Told::new();
        for _ in 0..30 {
            clock.advance(Duration::from_secs(1));
            node.committer.tick_if_awaited().unwrap();
            note(&mut node, &mut told).unwrap();
        }
        drop(node);
        compared += replay(&disk, 2, Some(op)).alerts_compared;
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn an_idle_log_ticks_when_a_silence_is_due_and_only_then() {
    let (disk, clock) = machine(9);
    let mut node = Node::start_as(&disk, &clock, &config(2)).unwrap();
    node.write(&format!("requests,host=a value=1 {}\n", START * SECOND)).unwrap();
    let quiet = node.committer.last_lsn();
    let mut ticked = Vec::new();
    for second in 1..60 {
        clock.advance(Duration::from_secs(1));
        if node.committer.tick_if_awaited().unwrap() {
            ticked.push(second);
        }
    }
    // Behind 4 s the silent one fires, behind 6 s the gone one is pending, behind 11 s it fires.
    assert_eq!(ticked, [5, 7, 12]);
    assert_eq!(node.committer.last_lsn().get(), quiet.get() + 3);
    assert!(!node.committer.awaits_time());
    let mut told = Told::new();
    note(&mut node, &mut told).unwrap();
    assert_eq!(told.len(), 3);
}
