use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::datatypes::{TimestampNanosecondType, UInt32Type, UInt64Type};
use tidewatch_env::{Clock, Disk, Rng, SimClock, SimDisk};
use tidewatch_metrics::TransitionId;
use tidewatch_operators::{PercentilesConfig, RuleConfig, RuleSet};
use tidewatch_segments::{EventFile, FileKind, Manifest, percentiles_batch};
use tidewatch_wal::{WalConfig, WalReader};

use super::*;
use crate::config::EngineConfig;
use crate::idempotency::crash_tests::Node;
use crate::record::{LogRecord, decode};
use crate::{EngineError, Verdict, VerifyConfig, VerifyReport, verify};

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_700_000_000;
const HOSTS: u64 = 12;

fn config(shards: usize, window_s: i64) -> EngineConfig {
    let percentiles = |name: &str, by: &[&str], slides: i64| PercentilesConfig {
        name: name.to_owned(),
        matchers: vec![("metric".to_owned(), "latency".to_owned())],
        by: by.iter().map(|label| (*label).to_owned()).collect(),
        window_nanos: window_s * SECOND,
        slide_nanos: window_s * SECOND / slides,
        quantiles: vec![0.5, 0.99],
        lateness_nanos: 2 * SECOND,
        keep_nanos: 10_000 * SECOND,
    };
    let all = [percentiles("all", &[], 1), percentiles("zone", &["zone"], 2)];
    let rule = |name: &str, when: &str| RuleConfig {
        name: name.to_owned(),
        when: when.to_owned(),
        for_nanos: window_s * SECOND / 2,
        ..RuleConfig::default()
    };
    let rules = [
        rule("high", r#"percentile("zone", 0.5) > 500"#),
        rule("low", r#"percentile("all", 0.25) < 300"#),
    ];
    let mut config = EngineConfig::new("/data".into());
    config.shards = shards;
    config.wal = WalConfig { segment_bytes_max: 1 << 20, frame_bytes_max: 900 << 10 };
    config.rules = Arc::new(RuleSet::with_percentiles(&rules, &all).unwrap());
    config
}

fn machine(seed: u64) -> (SimDisk, Arc<SimClock>) {
    (SimDisk::new(seed), Arc::new(SimClock::new(UnixNanos::new(START * SECOND))))
}

/// Lines of one moment, of some hosts; one in ten is late.
fn lines(rng: &mut Rng, second: i64) -> (String, u64) {
    let count = 1 + rng.below(8);
    let line = |rng: &mut Rng| {
        let (host, value) = (rng.below(HOSTS), rng.below(1_000));
        let late = if rng.below(10) == 0 { rng.below(40) } else { rng.below(2) };
        let time = (START + second - i64::try_from(late).unwrap()) * SECOND;
        format!("latency,host={host},zone={} value={value} {time}\n", host % 3)
    };
    ((0..count).map(|_| line(rng)).collect(), count)
}

/// Every window in files and in memory: name, labels, start and revision, and how many rows it counted.
pub(crate) fn windows(disk: &SimDisk, node: &Node) -> BTreeMap<(String, String, i64, u32), u64> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let dir = std::path::Path::new("/data/segments");
    let manifest = Manifest::open_read_only(&*disk, dir).unwrap();
    let mut batches = Vec::new();
    for meta in manifest.files_of(FileKind::Percentiles) {
        let file = EventFile::open(Arc::clone(&disk), dir, Arc::clone(meta));
        batches.extend(file.read().unwrap());
    }
    let tail = node.windows.tail(manifest.windows_lsn(), Lsn::new(u64::MAX)).unwrap();
    batches.push(percentiles_batch(&tail));
    let mut found = BTreeMap::new();
    for batch in batches {
        let text = |name: &str| batch[name].as_string::<i32>().clone();
        let (names, labels) = (text("name"), text("labels"));
        let starts = batch["window_start"].as_primitive::<TimestampNanosecondType>();
        let revisions = batch["revision"].as_primitive::<UInt32Type>();
        let counts = batch["count"].as_primitive::<UInt64Type>();
        for row in (0..batch.num_rows()).step_by(2) {
            let (name, labels) = (names.value(row).to_owned(), labels.value(row).to_owned());
            let key = (name, labels, starts.value(row), revisions.value(row));
            let before = found.insert(key.clone(), counts.value(row));
            assert_eq!(before, None, "{key:?} is there twice");
        }
    }
    found
}

/// Rows in the last revisions of the windows of `name`. Checks that no revision is left out.
fn counted(found: &BTreeMap<(String, String, i64, u32), u64>, of: &str) -> u64 {
    let mut last: BTreeMap<(&str, i64), (u32, u64)> = BTreeMap::new();
    for ((name, labels, start, revision), count) in found {
        if name == of {
            let before = last.insert((labels, *start), (*revision, *count));
            let (revision_before, count_before) = before.unwrap_or_default();
            assert_eq!(*revision, revision_before + 1, "{labels} {start}");
            assert!(*count > count_before, "a revision has further rows");
        }
    }
    last.values().map(|(_, count)| count).sum()
}

/// The transitions in the log, none of them twice.
fn logged(disk: &SimDisk) -> BTreeSet<TransitionId> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let [wal, archive] = ["/data/wal", "/data/archive"].map(std::path::Path::new);
    let mut reader = WalReader::open_with_archive(disk, wal, archive, Lsn::new(1)).unwrap();
    let mut ids = BTreeSet::new();
    while let Some(record) = reader.next_record().unwrap() {
        if let Some(LogRecord::Transition(one)) = decode(record.kind, record.payload) {
            assert!(one.transition.subject.series().is_none());
            assert!(ids.insert(one.transition.id()), "{:?} is logged twice", one.transition);
        }
    }
    ids
}

/// Lets time pass without rows until all windows have closed.
fn let_close(node: &mut Node, clock: &SimClock) {
    for _ in 0..200 {
        clock.advance(std::time::Duration::from_secs(1));
        node.committer.tick_if_awaited().unwrap();
    }
    assert_eq!(node.windows.lock().set.closes_at(), None, "ticks come also without rows");
    node.note().unwrap();
}

fn replay(disk: &SimDisk, shards: usize, rechunk: Option<u64>) -> VerifyReport {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let config = VerifyConfig { shards, rechunk };
    let report = verify(&disk, std::path::Path::new("/data"), config, |_| {}).unwrap();
    assert_eq!(report.result, Verdict::Identical, "{report:?}");
    report
}

#[test]
fn windows_outlive_restarts_checkpoints_and_other_numbers_of_shards() {
    for seed in 1..6 {
        let (disk, clock) = machine(seed);
        let mut rng = Rng::from_seed(seed);
        let mut node = Node::start_as(&disk, &clock, &config(2, 10)).unwrap();
        for second in 0..150 {
            clock.advance(std::time::Duration::from_secs(1));
            let (body, _) = lines(&mut rng, second);
            node.write(&body).unwrap();
            match rng.below(12) {
                0 => node.flush().unwrap(),
                1 => node.checkpoint().unwrap(),
                2 => {
                    drop(node);
                    let shards = [1, 2, 7][usize::try_from(rng.below(3)).unwrap()];
                    node = Node::start_as(&disk, &clock, &config(shards, 10)).unwrap();
                }
                3..6 => node.note().unwrap(),
                _ => {}
            }
        }
        let_close(&mut node, &clock);
        let found = windows(&disk, &node);
        let samples = node.samples();
        assert_eq!(counted(&found, "all"), samples, "SEED={seed}");
        assert_eq!(counted(&found, "zone"), 2 * samples, "SEED={seed}: each row is in two windows");
        assert!(found.keys().any(|(.., revision)| *revision > 1));
        node.checkpoint().unwrap();
        drop(node);
        let reports = [(1, None), (2, Some(7)), (7, Some(3))].map(|(n, cut)| replay(&disk, n, cut));
        assert!(reports[0].windows_compared > 50, "SEED={seed}: {reports:?}");
        assert!(reports.iter().all(|r| r.windows_compared == reports[0].windows_compared));
        let logged = logged(&disk).len() as u64;
        assert!(logged > 20, "SEED={seed}: {logged}");
        assert!(reports.iter().all(|r| r.alerts_compared == logged), "SEED={seed}: {reports:?}");
    }
}

/// Writes, flushes and checkpoints; gives the rows that were acknowledged.
fn play(disk: &SimDisk, clock: &Arc<SimClock>, seed: u64) -> (u64, Result<(), EngineError>) {
    let mut rng = Rng::from_seed(seed);
    let mut acked = 0;
    let mut run = || {
        let mut node = Node::start_as(disk, clock, &config(2, 4))?;
        for second in 0..12 {
            clock.advance(std::time::Duration::from_secs(1));
            let (body, rows) = lines(&mut rng, second);
            node.write(&body)?;
            acked += rows;
            match second {
                3 | 8 => node.checkpoint()?,
                6 => node.flush()?,
                _ => {}
            }
        }
        Ok(())
    };
    let ended = run();
    (acked, ended)
}

#[test]
fn wherever_a_crash_hits_every_row_of_the_log_is_in_its_windows_once() {
    let (disk, clock) = machine(1);
    let (_, ended) = play(&disk, &clock, 1);
    ended.unwrap();
    let ops = disk.ops();
    assert!(ops > 150, "{ops}");
    for op in (1..=ops).step_by(if cfg!(slow) { 1 } else { 5 }) {
        let (disk, clock) = machine(op);
        disk.crash_at(op);
        let (acked, ended) = play(&disk, &clock, 1);
        if ended.is_ok() {
            continue;
        }
        let disk = disk.reboot(op);
        let shards = [1, 2, 7][usize::try_from(op % 3).unwrap()];
        let mut node = Node::start_as(&disk, &clock, &config(shards, 4))
            .unwrap_or_else(|error| panic!("op {op}: {error}"));
        let_close(&mut node, &clock);
        let found = windows(&disk, &node);
        assert!(node.samples() >= acked, "op {op}");
        assert_eq!(counted(&found, "all"), node.samples(), "op {op}");
        assert_eq!(counted(&found, "zone"), 2 * node.samples(), "op {op}");
        drop(node);
        let report = replay(&disk, 2, Some(op));
        assert_eq!(report.alerts_compared, logged(&disk).len() as u64, "op {op}");
    }
}

#[test]
fn a_changed_window_in_a_file_is_found_by_replay() {
    let (disk, clock) = machine(4);
    let (_, ended) = play(&disk, &clock, 4);
    ended.unwrap();
    let mut node = Node::start_as(&disk, &clock, &config(2, 4)).unwrap();
    let_close(&mut node, &clock);
    // The live run had a row more than the log.
    let mut state = node.windows.lock();
    let last = state.closed.pop_back().unwrap();
    let mut changed = (*last).clone();
    changed.sketch.add(1.0);
    state.closed.push_back(Arc::new(changed));
    drop(state);
    node.windows.want_file();
    node.flush().unwrap();
    drop(node);
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let config = VerifyConfig { shards: 2, rechunk: None };
    let report = verify(&disk, std::path::Path::new("/data"), config, |_| {}).unwrap();
    assert_eq!(report.result, Verdict::Different);
    let difference = report.first_difference.unwrap();
    assert!(difference.contains("windows that closed at record"), "{difference}");
}

#[test]
fn an_idle_log_ticks_only_while_a_window_waits() {
    let (disk, clock) = machine(9);
    let mut node = Node::start_as(&disk, &clock, &config(2, 10)).unwrap();
    node.write(&format!("latency,host=a value=1 {}\n", clock.now().nanos())).unwrap();
    let_close(&mut node, &clock);
    let quiet = node.committer.last_lsn();
    let_close(&mut node, &clock);
    assert_eq!(node.committer.last_lsn(), quiet);
    assert_eq!(windows(&disk, &node).len(), 3, "one of all, two of the zone's slides");
}
