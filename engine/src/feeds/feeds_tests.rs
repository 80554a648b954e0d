//! Feeds across crashes, flushes, checkpoints and starts, on a simulated disk. The oracle is what tables have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use tidewatch_env::{Disk, Rng, SimClock, SimDisk};
use tidewatch_metrics::{Channel, EventTime, Flags, SeriesRef, UnixNanos};
use tidewatch_operators::{PercentilesConfig, RuleSet};
use tidewatch_segments::{EventFile, FileKind};
use tidewatch_sinks::{FeedAttempt, FeedRecord, FeedSink, FeedTarget};
use tidewatch_wal::WalConfig;

use super::courier::{FeedCourier, Step};
use super::*;
use crate::EngineError;
use crate::config::EngineConfig;
use crate::idempotency::crash_tests::Node;
use crate::lab::stored::{ReadFiles, rows_of};
use crate::letters::restart_tests::store_bad;
use crate::limits::FEED_BYTES_MAX;
use crate::progress::Progress;
use crate::windows::tests::windows;

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_700_000_000;
const SEVERITY_MIN: f32 = 1.5;

/// A row of each kind, with their records.
pub(crate) fn rows() -> Vec<(Lsn, FeedRow)> {
    let scored = ScoredRow {
        series: SeriesRef(3),
        time: EventTime::new(1_700),
        value: -0.5,
        severity: Severity::from_f32(7.25),
        flags: Flags::ONSET.with_channel(Channel::Deviation),
    };
    let headers = vec![("idempotency-key".into(), "k".to_owned())];
    let told = FeedRecord { key: Some(b"k"[..].into()), value: b"{}"[..].into(), headers };
    let bare = FeedRecord { key: None, value: b""[..].into(), headers: Vec::new() };
    let rows =
        [FeedRow::Scored(scored), FeedRow::Told(Arc::new(told)), FeedRow::Told(Arc::new(bare))];
    [78, 79, 79].map(Lsn::new).into_iter().zip(rows).collect()
}

/// A topic that survives crashes, and fails as often as it is told to.
#[derive(Clone, Debug, Default)]
struct Topic(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    records: Vec<FeedRecord>,
    attempts: u64,
    /// Every so many attempts one fails, with half of its rows taken; 0 = none, 1 = all.
    fails_every: u64,
}

impl FeedTarget for Topic {
    fn open(&self) -> Box<dyn FeedSink> {
        Box::new(self.clone())
    }
}

impl FeedSink for Topic {
    fn send(&mut self, records: &[FeedRecord]) -> FeedAttempt {
        let mut log = self.0.lock().unwrap();
        log.attempts += 1;
        let fails = log.fails_every > 0 && log.attempts.is_multiple_of(log.fails_every);
        let taken = if fails { records.len() / 2 } else { records.len() };
        log.records.extend_from_slice(&records[..taken]);
        if fails {
            FeedAttempt::Retry("no answer".to_owned())
        } else {
            FeedAttempt::Taken(Vec::new())
        }
    }

    fn look(&mut self) -> Option<String> {
        None
    }
}

impl Topic {
    /// Dedupe keys. Whatever came twice came with the same bytes; a key's first copies are in order of `order`.
    fn keys(&self) -> BTreeSet<String> {
        let log = self.0.lock().unwrap();
        let mut seen: BTreeMap<&str, &FeedRecord> = BTreeMap::new();
        for record in &log.records {
            let header = record.headers.iter().find(|(name, _)| name == "idempotency-key");
            let (_, key) = header.expect("every record has one");
            let before = seen.insert(key, record);
            assert!(before.is_none_or(|before| before == record), "{before:?} {record:?}");
        }
        seen.into_keys().map(str::to_owned).collect()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().records.len()
    }

    fn fail_every(&self, attempts: u64) {
        self.0.lock().unwrap().fails_every = attempts;
    }
}

/// Severities, percentiles, dead letters.
#[derive(Clone, Debug, Default)]
struct Topics([Topic; 3]);

impl Topics {
    fn configs(&self) -> Vec<FeedConfig> {
        let severity_min = Severity::from_f32(SEVERITY_MIN);
        let contents = [
            FeedContent::Severities { severity_min },
            FeedContent::Percentiles,
            FeedContent::DeadLetters,
        ];
        let config = |(content, topic): (FeedContent, &Topic)| FeedConfig {
            name: "topic".to_owned(),
            content,
            target: Arc::new(topic.clone()),
        };
        contents.into_iter().zip(&self.0).map(config).collect()
    }
}

fn config(shards: usize, topics: &Topics) -> EngineConfig {
    let percentiles = PercentilesConfig {
        name: "by zone".to_owned(),
        matchers: vec![("metric".to_owned(), "load".to_owned())],
        by: vec!["zone".to_owned()],
        window_nanos: 5 * SECOND,
        slide_nanos: 5 * SECOND,
        quantiles: vec![0.5, 0.99],
        lateness_nanos: 2 * SECOND,
        keep_nanos: 10_000 * SECOND,
    };
    let mut config = EngineConfig::new("/data".into());
    config.shards = shards;
    config.wal = WalConfig { segment_bytes_max: 1 << 20, frame_bytes_max: 900 << 10 };
    config.replay.keep = std::time::Duration::ZERO;
    config.rules = Arc::new(RuleSet::with_percentiles(&[], &[percentiles]).unwrap());
    config.feeds = topics.configs();
    config
}

fn machine(seed: u64) -> (SimDisk, Arc<SimClock>) {
    (SimDisk::new(seed), Arc::new(SimClock::new(UnixNanos::new(START * SECOND))))
}

/// Four samples of each of three hosts; one in fifty is far out, some are late.
fn lines(rng: &mut Rng, second: i64) -> String {
    let mut body = String::new();
    for (host, quarter) in (0..12).map(|index| (index % 3, index / 3)) {
        let late = if rng.below(40) == 0 { 20 } else { 0 };
        let time = (START + second - late) * SECOND + quarter * SECOND / 4;
        let far = if rng.below(50) == 0 { 500 } else { 0 };
        let value = 100 + rng.below(10) + far;
        body.push_str(&format!("load,host={host},zone={} value={value} {time}\n", host % 2));
    }
    body
}

/// Sends what waits, and notes how far; the attempts that failed are made again as often as `patience` says.
fn deliver(node: &mut Node, patience: u32) -> Result<(), EngineError> {
    for courier in &node.feeds {
        let mut sink = courier.feed.config().target.open();
        let mut failures = 0;
        while failures < patience {
            match courier.step(&mut *sink) {
                Step::Sent => {}
                Step::Failed => failures += 1,
                Step::Idle | Step::Early => break,
            }
        }
        courier.note();
    }
    node.note()
}

/// What tables have of each feed: dedupe keys.
fn stored(disk: &SimDisk, node: &Node) -> [BTreeSet<String>; 3] {
    let snapshot = node.published.snapshot(node.committer.last_lsn()).unwrap();
    let rows = rows_of(&snapshot, disk, &ReadFiles::default()).unwrap();
    let severe =
        rows.iter().filter(|row| Severity::from_steps(row.severity).to_f32() >= SEVERITY_MIN);
    let severe = severe.map(|row| format!("{}:{}", row.sent.series, row.sent.time));
    let closed = windows(disk, node);
    let closed = closed.keys().map(|(name, labels, start, revision)| {
        format!("default/{name}/{labels}:{start}:{revision}")
    });
    let manifest = node.published.manifest();
    let tail = node.letters.tail(manifest.letters_lsn(), Lsn::new(u64::MAX)).unwrap();
    let mut offsets: Vec<u64> = tail.rows.iter().map(|row| row.letter.offset).collect();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    for meta in manifest.files_of(FileKind::DeadLetters) {
        let dir = std::path::Path::new("/data/segments");
        let file = EventFile::open(Arc::clone(&shared), dir, Arc::clone(meta));
        for batch in file.read().unwrap() {
            offsets.extend(batch["offset"].as_primitive::<UInt64Type>().values());
        }
    }
    let letters = offsets.iter().map(|offset| format!("main/metrics/{:032x}/3:{offset}", 7));
    [severe.collect(), closed.collect(), letters.collect()]
}

fn assert_same(disk: &SimDisk, node: &Node, topics: &Topics, what: &str) {
    let names = ["severities", "percentiles", "dead letters"];
    for ((topic, stored), name) in topics.0.iter().zip(stored(disk, node)).zip(names) {
        assert_eq!(topic.keys(), stored, "{what}: {name}");
    }
}

/// A minute with everything in it; gives up where the disk does.
fn minute(disk: &SimDisk, clock: &Arc<SimClock>, topics: &Topics) -> Result<(), EngineError> {
    let mut rng = Rng::from_seed(5);
    let mut node = Node::start_as(disk, clock, &config(2, topics))?;
    for second in 0..60 {
        clock.advance(std::time::Duration::from_secs(1));
        node.write(&lines(&mut rng, second))?;
        if second % 4 == 0 {
            store_bad(&mut node, u64::try_from(second).unwrap())?;
        }
        // For some time, checkpoints included, the topics are away.
        topics
            .0
            .iter()
            .for_each(|topic| topic.fail_every(if (25..45).contains(&second) { 1 } else { 3 }));
        if second % 3 == 0 {
            deliver(&mut node, 2)?;
        }
        match second {
            20 | 35 | 41 => node.checkpoint()?,
            30 => node.flush()?,
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn wherever_a_crash_hits_topics_have_what_tables_have() {
    let (disk, clock) = machine(3);
    let topics = Topics::default();
    minute(&disk, &clock, &topics).unwrap();
    let ops = disk.ops();
    let [severe, closed, lost] = &topics.0;
    assert!(severe.keys().len() > 10 && closed.keys().len() > 10 && lost.keys().len() > 10);
    assert!(ops > 200, "{ops}");
    for op in (1..=ops).step_by(if cfg!(slow) { 1 } else { 13 }) {
        let (disk, clock) = machine(op);
        let topics = Topics::default();
        disk.crash_at(op);
        if minute(&disk, &clock, &topics).is_ok() {
            continue;
        }
        topics.0.iter().for_each(|topic| topic.fail_every(0));
        let disk = disk.reboot(op);
        let shards = [1, 2, 7][usize::try_from(op % 3).unwrap()];
        let mut node = Node::start_as(&disk, &clock, &config(shards, &topics))
            .unwrap_or_else(|error| panic!("op {op}: {error}"));
        deliver(&mut node, 1).unwrap();
        assert_same(&disk, &node, &topics, &format!("op {op}"));
        // A second start has nothing to tell again but what was not noted.
        drop(node);
        let told = topics.0.each_ref().map(Topic::len);
        let mut node = Node::start_as(&disk, &clock, &config(2, &topics)).unwrap();
        deliver(&mut node, 1).unwrap();
        assert_eq!(topics.0.each_ref().map(Topic::len), told, "op {op}");
    }
}

#[test]
fn what_waits_outlives_checkpoints_and_starts_with_any_shards() {
    let (disk, clock) = machine(11);
    let topics = Topics::default();
    topics.0.iter().for_each(|topic| topic.fail_every(1));
    let mut rng = Rng::from_seed(11);
    for (life, shards) in [2, 7, 1, 3].into_iter().enumerate() {
        let mut node = Node::start_as(&disk, &clock, &config(shards, &topics)).unwrap();
        for second in 0..30 {
            clock.advance(std::time::Duration::from_secs(1));
            let second = i64::try_from(life).unwrap() * 30 + second;
            node.write(&lines(&mut rng, second)).unwrap();
            if second % 10 == 3 {
                store_bad(&mut node, u64::try_from(second).unwrap()).unwrap();
            }
            match second % 15 {
                7 => node.checkpoint().unwrap(),
                9 => deliver(&mut node, 1).unwrap(),
                _ => {}
            }
        }
        node.checkpoint().unwrap();
        node.checkpoint().unwrap();
    }
    topics.0.iter().for_each(|topic| topic.fail_every(0));
    let mut node = Node::start_as(&disk, &clock, &config(2, &topics)).unwrap();
    assert!(node.first_lsn() > Lsn::new(1), "the log was cut");
    deliver(&mut node, 1).unwrap();
    assert_same(&disk, &node, &topics, "after four lives");
    assert!(topics.0[0].keys().len() > 20);
}

#[test]
fn a_feed_begins_with_the_start_that_first_has_it() {
    let (disk, clock) = machine(2);
    let topics = Topics::default();
    let mut rng = Rng::from_seed(2);
    let without = EngineConfig { feeds: Vec::new(), ..config(2, &topics) };
    let mut second = 0;
    let mut play = |config: &EngineConfig| {
        let mut node = Node::start_as(&disk, &clock, config).unwrap();
        let from = second;
        for _ in 0..30 {
            clock.advance(std::time::Duration::from_secs(1));
            node.write(&lines(&mut rng, second)).unwrap();
            second += 1;
        }
        store_bad(&mut node, u64::try_from(second).unwrap()).unwrap();
        deliver(&mut node, 1).unwrap();
        (START + from) * SECOND
    };
    play(&without);
    let mut begun = vec![play(&config(2, &topics))];
    play(&without);
    begun.push(play(&config(2, &topics)));
    let times = topics.0[0].keys().into_iter().map(|key| {
        let (_, time) = key.rsplit_once(':').unwrap();
        time.parse::<i64>().unwrap()
    });
    let within = |time: &i64, from: &i64| (*from..from + 30 * SECOND).contains(time);
    let times: Vec<i64> = times.collect();
    assert!(times.iter().all(|time| begun.iter().any(|from| within(time, from))), "{times:?}");
    for from in &begun {
        assert!(times.iter().any(|time| within(time, from)), "none behind {from}");
    }
    assert_eq!(topics.0[2].keys().len(), 2);
}

#[test]
fn without_room_the_oldest_rows_are_left_out_and_counted() {
    let instruments = FeedInstruments::default();
    let topic = Topics::default();
    let feeds = Feeds::new(&topic.configs()[2..], 1, &instruments);
    let [feed] = feeds.each() else { panic!("one feed") };
    let large = |text: &str| {
        let value = text.as_bytes().repeat(1 << 20).into();
        FeedRow::Told(Arc::new(FeedRecord { key: None, value, headers: Vec::new() }))
    };
    for lsn in 1..=40 {
        feed.push_letters(Lsn::new(lsn), std::iter::once(large("x")));
    }
    let left_out = instruments.of("topic").left_out.get();
    let waiting = feed.checkpoint().rows;
    assert_eq!(waiting.len() as u64, 40 - left_out);
    assert!(waiting.iter().map(|(_, row)| row.bytes()).sum::<usize>() <= FEED_BYTES_MAX);
    assert_eq!(waiting.last().unwrap().0, Lsn::new(40));
    assert!(waiting.len() > 14, "{}", waiting.len());
    assert_eq!(instruments.of("topic").waiting_rows.get(), i64::try_from(waiting.len()).unwrap());
    // What is with the topic stays, so that it is acknowledged as a whole.
    let taken = feed.take(Lsn::new(40));
    assert_eq!(taken[0].0, waiting[0].0);
    for lsn in 41..=80 {
        feed.push_letters(Lsn::new(lsn), std::iter::once(large("y")));
    }
    assert_eq!(feed.take(Lsn::new(80)), taken);
    feed.acknowledged(0);
    assert!(feed.take(Lsn::new(80))[0].0 > Lsn::new(41));
}

#[test]
fn a_row_waits_until_no_shard_can_come_with_an_earlier_one() {
    let topic = Topic::default();
    let config = FeedConfig {
        name: "topic".to_owned(),
        content: FeedContent::DeadLetters,
        target: Arc::new(topic.clone()),
    };
    let feed = Arc::new(Feed::new(config, 2, &FeedInstruments::default()));
    let progress = Arc::new(Progress::new(2));
    let (queue, _records) = crossbeam::channel::bounded(1);
    let courier = FeedCourier {
        feed: Arc::clone(&feed),
        catalog: Arc::new(SeriesCatalog::new(1)),
        progress: Arc::clone(&progress),
        queue,
        clock: Arc::new(SimClock::new(UnixNanos::new(START * SECOND))),
        recovered: Arc::new(AtomicBool::new(true)),
        stop: Arc::default(),
    };
    let push = |shard: usize, lsn: u64| {
        let value = lsn.to_string().into_bytes().into();
        let row = FeedRecord { key: None, value, headers: Vec::new() };
        feed.push(shard, Lsn::new(lsn), std::iter::once(FeedRow::Told(Arc::new(row))));
    };
    let sent = || -> Vec<String> {
        let log = topic.0.lock().unwrap();
        let text = |record: &FeedRecord| String::from_utf8(record.value.to_vec()).unwrap();
        log.records.iter().map(text).collect()
    };
    progress.set_durable(Lsn::new(9), UnixNanos::default());
    progress.set_applied(0, Lsn::new(9));
    progress.set_applied(1, Lsn::new(5));
    push(0, 4);
    push(0, 8);
    let mut sink = topic.open();
    assert_eq!(courier.step(&mut *sink), Step::Sent);
    assert_eq!(sent(), ["4"], "the other shard may still come with a row of 6");
    push(1, 6);
    progress.set_applied(1, Lsn::new(9));
    while courier.step(&mut *sink) == Step::Sent {}
    assert_eq!(sent(), ["4", "6", "8"]);
}
