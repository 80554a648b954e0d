//! Priming over the whole engine, on a simulated disk: what a detector says that has learnt from stored rows is what one says
//! that has seen them, wherever a crash hits, on any shards; and a replay of the log comes to the same.

use std::collections::BTreeMap;

use tidewatch_env::{Disk, OpenMode, Rng, SimClock, SimDisk};
use tidewatch_metrics::{SeriesKey, SeriesRef};
use tidewatch_operators::{DetectConfig, DetectRule, Direction, Model, RuleConfig, SeriesDetector};
use tidewatch_segments::{HeadColumns, MetricName};
use tidewatch_wal::WalConfig;

use super::*;
use crate::checkpoint::CheckpointStore;
use crate::deletes::DeleteRecord;
use crate::idempotency::crash_tests::Node;
use crate::record::KIND_DELETE;
use crate::shard::Shard;
use crate::testing::{SECOND, START, machine, replay};
use crate::{EngineError, OPERATORS_VERSION, Verdict};

const METRICS: [&str; 2] = ["load", "temp"];
const HOSTS: usize = 5;
/// Seconds between the rows of a series.
const STEP: i64 = 300;

/// Host 0 has the light detector for ever.
fn rules(detects: bool) -> RuleSet {
    let by = |hosts: &str, config: &DetectConfig| {
        let matchers = vec![("host".to_owned(), format!("~ [{hosts}]"))];
        DetectRule::new(&DetectConfig { matchers, ..config.clone() }).unwrap()
    };
    let of = |model| DetectConfig { model, ..DetectConfig::default() };
    let all = vec![
        by("1", &of(Model::Novelty)),
        by("2", &DetectConfig { range: Some([-50.0, 50.0]), min_samples: 400, ..of(Model::Auto) }),
        by("3", &DetectConfig { direction: Direction::Above, ..of(Model::Deviation) }),
        by("4", &of(Model::Auto)),
    ];
    let rule = RuleConfig {
        name: "odd".to_owned(),
        when: "severity > 4".to_owned(),
        ..RuleConfig::default()
    };
    let rules = RuleSet::new(vec![rule]).unwrap();
    rules.with_detection(if detects { all } else { Vec::new() }).unwrap()
}

fn config(shards: usize, detects: bool) -> EngineConfig {
    let mut config = EngineConfig::new("/data".into());
    config.shards = shards;
    config.wal = WalConfig { segment_bytes_max: 1 << 20, frame_bytes_max: 900 << 10 };
    config.rules = Arc::new(rules(detects));
    // Two or three series at a time, so that there are many batches.
    config.priming_bytes_max = 9_000;
    config.ingest.future_nanos_max = None;
    config
}

/// A row as it is sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    metric: usize,
    host: usize,
    time: EventTime,
    value: f64,
}

/// So many moments of all series: noise about the hours of the day, with peaks, impossible values, and late rows.
fn rows(seed: u64, moments: i64) -> Vec<Vec<Sent>> {
    let mut rng = Rng::from_seed(seed);
    let mut moment = |at: i64| {
        let mut rows = Vec::new();
        for metric in 0..METRICS.len() {
            for host in 0..HOSTS {
                let hour = i32::try_from(at * STEP / 3_600 % 24).unwrap();
                let noise = rng.unit_f64() + rng.unit_f64() + rng.unit_f64();
                let (back, event) = match rng.below(80) {
                    0 => (0, 15.0),
                    1 => (0, -15.0),
                    2 => (0, 900.0),
                    3 => (2 * STEP, 0.0),
                    _ => (0, 0.0),
                };
                let time = EventTime::new((START + at * STEP - back) * SECOND);
                let value = f64::from((hour - 12).abs()) + noise + event;
                rows.push(Sent { metric, host, time, value });
            }
        }
        rows
    };
    (0..moments).map(&mut moment).collect()
}

fn body(rows: &[Vec<Sent>]) -> String {
    let line = |row: &Sent| {
        let Sent { metric, host, time, value } = row;
        format!("{},host={host} value={value} {}\n", METRICS[*metric], time.nanos())
    };
    rows.iter().flatten().map(line).collect()
}

/// Writes moments, a few at a time.
fn write(node: &mut Node, clock: &SimClock, rows: &[Vec<Sent>]) -> Result<(), EngineError> {
    for rows in rows.chunks(50) {
        clock.advance(Duration::from_secs(1));
        node.write(&body(rows))?;
        node.note()?;
    }
    Ok(())
}

/// Severities of rows in order, by series and time.
type Severities = BTreeMap<(String, EventTime), u16>;

fn name(metric: usize, host: usize) -> String {
    format!("{} {host}", METRICS[metric])
}

/// What detectors say of moment number `from` on that have seen all rows since moment `since`.
fn oracle(rows: &[Vec<Sent>], since: usize, from: usize) -> Severities {
    let mut told = Severities::new();
    for (metric, name_of_metric) in METRICS.into_iter().enumerate() {
        for host in 1..HOSTS {
            let labels = vec![("host".to_owned(), host.to_string())];
            let key = SeriesKey::new("default", name_of_metric, "value", labels).unwrap();
            let mut detector = SeriesDetector::tuned(&rules(true).detection(&key));
            let mut last = EventTime::MIN;
            for (moment, row) in
                rows.iter().enumerate().flat_map(|(at, rows)| rows.iter().map(move |row| (at, row)))
            {
                if (row.metric, row.host) != (metric, host) || row.time <= last {
                    continue;
                }
                last = row.time;
                if moment < since {
                    continue;
                }
                let judged = detector.observe(row.time, row.value).expect("it is in order");
                if moment >= from {
                    told.insert((name(metric, host), row.time), judged.severity.steps());
                }
            }
        }
    }
    told
}

/// Severities of rows in heads, from `from` on, of series with a full detector.
fn stored(node: &Node, from: EventTime) -> Severities {
    let snapshot = node.published.snapshot(node.shared.progress.durable()).unwrap();
    let mut told = Severities::new();
    for chunk in snapshot.heads.iter().flat_map(|head| head.chunks()) {
        let mut columns = HeadColumns::default();
        chunk.copy(0..chunk.rows(), &mut columns);
        for row in 0..columns.len() {
            let key = snapshot.catalog.get(SeriesRef(columns.series[row])).unwrap().key();
            let is_late = tidewatch_metrics::Flags::from_bits(columns.flags[row]).is_late();
            let time = EventTime::new(columns.times[row]);
            if !is_late && time >= from && key.labels()[0].1 != "0" {
                let name =
                    format!("{} {}", key.metric().trim_end_matches("_value"), key.labels()[0].1);
                told.insert((name, time), columns.severities[row]);
            }
        }
    }
    told
}

fn lacking(node: &mut Node) -> Vec<Lacking> {
    let shards = &node.committer.dispatch_mut().shards;
    let mut lacking: Vec<_> = shards.iter().flat_map(Shard::lacking_history).collect();
    lacking.sort_unstable();
    lacking
}

/// Primes as the thread does; `between` is called with 0 when a batch has read what is stored, and behind every record with
/// its number.
fn prime_with(
    node: &mut Node,
    config: &EngineConfig,
    suspects: &Arc<Suspects>,
    mut between: impl FnMut(&mut Node, usize) -> Result<(), EngineError>,
) -> Result<u64, EngineError> {
    let mut priming = Priming::new(config, &node.shared, suspects);
    priming.begin(lacking(node));
    let (mut taught, mut records) = (0, 0);
    while let Some(mut batch) = priming.next_batch() {
        let mut pace = |rows| {
            taught += rows;
            true
        };
        assert!(priming.teach(&mut batch, &mut pace));
        between(node, 0)?;
        Priming::go_on(&mut batch, &lacking(node));
        assert!(priming.teach(&mut batch, &mut pace));
        let mut from = 0;
        while let Some((series, append)) = priming.record(&batch, from, Box::new(drop)) {
            node.committer.commit(&mut vec![append])?;
            from += series;
            records += 1;
            between(node, records)?;
        }
    }
    Ok(taught)
}

fn prime(node: &mut Node, config: &EngineConfig) -> Result<u64, EngineError> {
    prime_with(node, config, &Arc::default(), |_, _| Ok(()))
}

/// A life with the light detector, rows in several segments and the last ones in heads.
fn past(rows: &[Vec<Sent>]) -> (SimDisk, Arc<SimClock>) {
    let (disk, clock) = machine(1);
    let mut node = Node::start_as(&disk, &clock, &config(2, false)).unwrap();
    for part in rows.chunks(rows.len() / 4) {
        node.flush().unwrap();
        write(&mut node, &clock, part).unwrap();
    }
    drop(node);
    (disk, clock)
}

fn same(told: &Severities, expected: &Severities, why: &str) {
    assert_eq!(told.len(), expected.len(), "{why}");
    for (key, expected) in expected {
        assert_eq!(told.get(key), Some(expected), "{why}: {key:?}");
    }
}

#[test]
fn what_has_learnt_from_stored_rows_says_what_it_would_say_had_it_seen_them() {
    // Five days, and half of one.
    let (history, early, more) = (1_440, 12, 42);
    let rows = rows(11, 1_584);
    for shards in [1, 2, 7] {
        let (disk, clock) = past(&rows[..history]);
        let config = config(shards, true);
        let mut node = Node::start_as(&disk, &clock, &config).unwrap();
        assert_eq!(lacking(&mut node).len(), 8);
        // Before it is primed it has begun anew; and half a day is too little.
        write(&mut node, &clock, &rows[history..history + early]).unwrap();
        let begun = stored(&node, rows[history][0].time);
        assert!(begun.values().all(|severity| *severity == 0 || *severity == 6_400), "{begun:?}");
        // Some rows come while others are read.
        let mut meanwhile = rows[history + early..history + more].chunks(10);
        let writes = |node: &mut Node, records| {
            let rows = if records == 0 { meanwhile.next() } else { None };
            // Without a tick behind them: a replay that cuts rows anew has them in hand when it comes to the record.
            rows.map_or(Ok(()), |rows| node.write(&body(rows)))
        };
        let taught = prime_with(&mut node, &config, &Arc::default(), writes).unwrap();
        assert!(meanwhile.next().is_none());
        // Of each series, but for late rows, and none of them twice.
        let all = 8 * u64::try_from(history + more).unwrap();
        assert!((all * 9 / 10..=all).contains(&taught), "{taught} of {all}");
        assert_eq!(lacking(&mut node), []);
        node.flush().unwrap();
        write(&mut node, &clock, &rows[history + more..]).unwrap();
        let told = stored(&node, rows[history + more][0].time);
        let expected = oracle(&rows, 0, history + more);
        assert!(expected.values().filter(|severity| **severity > 6 * 64).count() > 3);
        same(&told, &expected, &format!("{shards} shards"));
        drop(node);
        for (shards, rechunk) in [(1, None), (2, Some(7)), (7, Some(3))] {
            let report = replay(&disk, shards, rechunk);
            assert!(report.severities_compared > 1_000 && report.alerts_compared > 3, "{report:?}");
        }
    }
}

#[test]
fn a_checkpoint_has_what_was_primed_and_a_start_from_it_primes_the_rest() {
    let rows = rows(12, 700);
    let (disk, clock) = past(&rows[..600]);
    let mut node = Node::start_as(&disk, &clock, &config(2, true)).unwrap();
    let stops = |node: &mut Node, records| {
        if records != 2 { Ok(()) } else { node.checkpoint().and(Err(EngineError::Closed)) }
    };
    let stopped = prime_with(&mut node, &config(2, true), &Arc::default(), stops);
    assert!(matches!(stopped, Err(EngineError::Closed)), "{stopped:?}");
    let left = lacking(&mut node);
    assert!((1..8).contains(&left.len()), "{left:?}");
    let state = |node: &mut Node| {
        let shards = &node.committer.dispatch_mut().shards;
        shards.iter().map(Shard::state_hash).fold(0, u64::wrapping_add)
    };
    let before = state(&mut node);
    drop(node);
    let mut node = Node::start_as(&disk, &clock, &config(7, true)).unwrap();
    assert_eq!((lacking(&mut node), state(&mut node)), (left, before));
    prime(&mut node, &config(7, true)).unwrap();
    node.flush().unwrap();
    write(&mut node, &clock, &rows[600..]).unwrap();
    same(&stored(&node, rows[600][0].time), &oracle(&rows, 0, 600), "from a checkpoint");
    node.checkpoint().unwrap();
    drop(node);
    for shards in [1, 2, 7] {
        assert!(replay(&disk, shards, Some(5)).states_compared > 0);
    }
}

#[test]
fn wherever_a_crash_hits_the_next_start_goes_on_and_replay_agrees() {
    let (history, end) = (500, 560);
    let rows = rows(13, end);
    let (past, clock) = past(&rows[..usize::try_from(history).unwrap()]);
    let history = usize::try_from(history).unwrap();
    let expected = oracle(&rows, 0, history);
    let life = |disk: &SimDisk| -> Result<(), EngineError> {
        let mut node = Node::start_as(disk, &clock, &config(2, true))?;
        prime_with(&mut node, &config(2, true), &Arc::default(), |node, records| match records {
            1 => node.flush(),
            2 => node.checkpoint(),
            _ => Ok(()),
        })?;
        node.checkpoint()
    };
    let whole = past.reboot_keeping_all();
    life(&whole).unwrap();
    let (mut begun, mut left) = (0, 0);
    for op in (1..=whole.ops()).step_by(if cfg!(slow) { 1 } else { 3 }) {
        let disk = past.reboot_keeping_all();
        disk.crash_at(op);
        if life(&disk).is_ok() {
            continue;
        }
        let disk = disk.reboot(op);
        let config = config([1, 2, 7][usize::try_from(op % 3).unwrap()], true);
        let mut node = Node::start_as(&disk, &clock, &config)
            .unwrap_or_else(|error| panic!("op {op}: {error}"));
        let waits = lacking(&mut node).len();
        begun += u32::from(waits == 8);
        left += u32::from((1..8).contains(&waits));
        prime(&mut node, &config).unwrap();
        assert_eq!(lacking(&mut node), [], "op {op}");
        node.flush().unwrap();
        write(&mut node, &clock, &rows[history..]).unwrap();
        same(&stored(&node, rows[history][0].time), &expected, &format!("op {op}"));
        let shards = &node.committer.dispatch_mut().shards;
        let state = shards.iter().map(Shard::state_hash).fold(0, u64::wrapping_add);
        drop(node);
        for shards in [1, 7] {
            let report = replay(&disk, shards, Some(op));
            assert_eq!(report.state_hash, format!("{state:016x}"), "op {op}");
            assert_eq!(report.result, Verdict::Identical);
        }
    }
    assert!(begun > 3 && left > 3, "{begun} {left}");
}

#[test]
fn deleted_rows_do_not_teach_and_a_delete_does_not_change_the_past() {
    let rows = rows(14, 500);
    let (disk, clock) = past(&rows[..400]);
    let config = config(2, true);
    let mut node = Node::start_as(&disk, &clock, &config).unwrap();
    let delete = |node: &mut Node, upto: usize| {
        let record = DeleteRecord {
            received: tidewatch_metrics::UnixNanos::new(1),
            metric: MetricName { db: "default".to_owned(), metric: "load".to_owned() },
            from: EventTime::MIN,
            to: EventTime::new((START + i64::try_from(upto).unwrap() * STEP) * SECOND - 1),
        };
        node.flush().unwrap();
        let note = Append {
            delete: Some(Box::new(record.clone())),
            ..Append::note(KIND_DELETE, record.encode(), Box::new(drop))
        };
        node.committer.commit(&mut vec![note]).unwrap();
        node.writer.name_deletes().unwrap();
    };
    let cut = 200;
    delete(&mut node, cut);
    prime(&mut node, &config).unwrap();
    write(&mut node, &clock, &rows[400..450]).unwrap();
    let told = stored(&node, rows[400][0].time);
    let (all, since) = (oracle(&rows[..450], 0, 400), oracle(&rows[..450], cut, 400));
    let of = |told: &Severities, metric: &str| -> Severities {
        let rows = told.iter().filter(|((name, _), _)| name.starts_with(metric));
        rows.map(|(key, severity)| (key.clone(), *severity)).collect()
    };
    same(&of(&told, "temp"), &of(&all, "temp"), "nothing of it was deleted");
    same(&of(&told, "load"), &of(&since, "load"), "the rest teaches");
    assert_ne!(of(&since, "load"), of(&all, "load"));
    // All that has taught goes, and the log still tells what it has taught.
    delete(&mut node, 449);
    drop(node);
    replay(&disk, 7, None);
}

#[test]
fn a_segment_that_cannot_be_read_does_not_teach_and_the_others_do() {
    let rows = rows(15, 500);
    let (disk, clock) = past(&rows[..400]);
    let config = config(2, true);
    let mut node = Node::start_as(&disk, &clock, &config).unwrap();
    node.flush().unwrap();
    let manifest = node.published.manifest();
    let file = &manifest.files_of(tidewatch_segments::FileKind::Samples).next().unwrap().file;
    let path = config.segments_dir().join(file);
    let damaged = disk.open(&path, OpenMode::ReadWrite).unwrap();
    let mut whole = [0; 64];
    damaged.read_exact_at(&mut whole, 40).unwrap();
    damaged.write_all_at(&[0xff; 64], 40).unwrap();
    let suspects: Arc<Suspects> = Arc::default();
    prime_with(&mut node, &config, &suspects, |_, _| Ok(())).unwrap();
    assert_eq!(lacking(&mut node), [], "they learn from the others");
    assert!(format!("{suspects:?}").contains(file), "{suspects:?}");
    write(&mut node, &clock, &rows[400..]).unwrap();
    let told = stored(&node, rows[400][0].time);
    assert!(told.values().filter(|severity| **severity > 64).count() > 10, "{told:?}");
    drop(node);
    damaged.write_all_at(&whole, 40).unwrap();
    replay(&disk, 2, None);
}

/// What a release with other operators finds, when the log before the last checkpoint is gone.
#[test]
fn state_of_earlier_operators_is_taken_over_and_of_later_ones_is_not() {
    let (disk, clock) = past(&rows(13, 500));
    let state = |node: &mut Node| {
        let shards = &node.committer.dispatch_mut().shards;
        shards.iter().map(Shard::state_hash).fold(0, u64::wrapping_add)
    };
    let mut before = 0;
    // Each start begins a file of the log.
    for _ in 0..3 {
        let mut node = Node::start_as(&disk, &clock, &config(2, true)).unwrap();
        prime(&mut node, &config(2, true)).unwrap();
        node.flush().unwrap();
        node.checkpoint().unwrap();
        before = state(&mut node);
    }
    let wal = config(2, true).wal_dir();
    let mut names = disk.list(&wal).unwrap();
    names.sort_unstable();
    disk.remove(&wal.join(&names[0])).unwrap();
    let disk_of = Arc::new(disk.clone());
    let store = CheckpointStore::new(disk_of, config(2, true).checkpoints_dir());
    for (operators, taken) in [(OPERATORS_VERSION - 1, true), (OPERATORS_VERSION + 1, false)] {
        for mut index in store.indexes().unwrap() {
            index.operators = operators;
            store.commit(&index).unwrap();
        }
        let started = Node::start_as(&disk, &clock, &config(7, true));
        assert_eq!(started.is_ok(), taken, "{operators}: {:?}", started.err());
        if let Ok(mut node) = started {
            assert_eq!((state(&mut node), lacking(&mut node)), (before, Vec::new()));
        }
    }
}
