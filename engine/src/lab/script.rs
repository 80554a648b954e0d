//! What happens to the engine, and what clients send it: all of it from one seed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::time::Duration;

use tidewatch_env::Rng;
use tidewatch_metrics::{SeriesId, SeriesKey};

use crate::ingest::Durability;

/// When scripts begin, in nanoseconds of the calendar.
pub(super) const BEGIN_NANOS: i64 = 1_700_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Hosts that may send, some of them only later in the script.
const HOSTS: u64 = 9;

/// The metrics of the fields `value` and `load`.
const METRICS: [&str; 2] = ["cpu", "cpu_load"];

/// One run of the engine.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
    /// By their numbers.
    pub(super) requests: Vec<Request>,
    /// By their numbers.
    pub(super) deletes: Vec<Deletion>,
}

/// Rows that somebody wants deleted.
#[derive(Clone, Debug)]
pub(super) struct Deletion {
    pub(super) metric: &'static str,
    pub(super) times: RangeInclusive<i64>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The process is killed, if there is one, and another one starts.
    Start(Life),
    /// Clients send these requests at the same time.
    Write(Vec<usize>),
    /// So many messages of the partition are read.
    Read(u64),
    /// Some of those that were kept as letters are replayed.
    Mend,
    /// Time passes.
    Pass(Duration),
    /// The clock is set forth or back by so many nanoseconds; no time passes.
    Jump(i64),
    /// All heads are frozen and written to segments.
    Flush,
    /// Segments are merged, and gone through for deletes.
    Compact,
    /// Rows are deleted.
    Delete(usize),
    /// A checkpoint is made while clients send these requests.
    Checkpoint(Vec<usize>),
    /// The outbox takes a step, and the receiver answers.
    Outbox,
    /// Nobody has sent anything for a while.
    Idle,
    /// The preallocator takes a step.
    Preallocate,
    /// A tick asks for an output hash.
    Hash,
}

/// What a process is started with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) shards: usize,
    /// Which set of rules.
    pub(super) rules: usize,
    /// Whether there are percentiles, and rules on them.
    pub(super) windows: bool,
}

/// A body of line protocol, and what it means.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) body: String,
    pub(super) rows: Vec<SentRow>,
    pub(super) lines_bad: u64,
    pub(super) durability: Durability,
    /// The number of its idempotency key, if it has one.
    pub(super) key: Option<u64>,
}

impl Request {
    /// One more line: two samples of a host.
    fn push(&mut self, host: u64, time: i64, (value, load): (f64, f64)) {
        writeln!(self.body, "cpu,host=h{host} value={value},load={load} {time}")
            .expect("writing to memory does not fail");
        for (field, number) in [("value", value), ("load", load)] {
            let labels = vec![("host".to_owned(), format!("h{host}"))];
            self.rows.push(sent_row("cpu", field, labels, (time, number)));
        }
    }

    /// Lines that are good.
    pub(super) fn lines(&self) -> usize {
        self.rows.len() / METRICS.len()
    }
}

/// A sample as a client sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SentRow {
    pub(crate) series: SeriesId,
    pub(crate) time: i64,
    pub(crate) bits: u64,
}

/// Makes a script.
#[derive(Debug)]
struct Writer {
    rng: Rng,
    /// Draws all about idempotency keys, if there are any: without them the script is the same.
    keys: Option<Rng>,
    /// Draws when messages are read, if they are.
    source: Option<Rng>,
    now: i64,
    /// The last time that each host sent.
    last: BTreeMap<u64, i64>,
    jumpy: bool,
    script: Script,
}

impl Script {
    /// The script of a seed. In every third one the clock jumps.
    pub(super) fn new(seed: u64) -> Self {
        let mut writer = Writer {
            rng: Rng::from_seed(seed),
            keys: Some(Rng::from_seed(seed.rotate_left(17) ^ 0x6b65_7973)),
            source: Some(Rng::from_seed(seed.rotate_left(29) ^ 0x6665_6564)),
            now: BEGIN_NANOS,
            last: BTreeMap::new(),
            jumpy: seed % 3 == 1,
            script: Self { steps: Vec::new(), requests: Vec::new(), deletes: Vec::new() },
        };
        for life in 0..3 {
            writer.life(life);
        }
        writer.probe();
        writer.script
    }

    /// Whether some delete of the script is about the row.
    pub(super) fn may_be_deleted(&self, row: &SentRow) -> bool {
        self.deletes.iter().any(|deletion| {
            let metric = sent_metric(row.series);
            metric == deletion.metric && deletion.times.contains(&row.time)
        })
    }

    /// Jumps of the clock.
    pub(super) fn jumps(&self) -> u64 {
        let jumps = self.steps.iter().filter(|step| matches!(step, Step::Jump(_)));
        u64::try_from(jumps.count()).unwrap_or(u64::MAX)
    }

    /// The steps that start a process.
    pub(super) fn starts(&self) -> Vec<usize> {
        let steps = self.steps.iter().enumerate();
        let starts = steps.filter(|(_, step)| matches!(step, Step::Start(_)));
        starts.map(|(number, _)| number).collect()
    }

    /// A short script that leaves files of every kind behind, and rows that only the log has.
    #[cfg(test)]
    pub(super) fn small() -> Self {
        let mut writer = Writer {
            rng: Rng::from_seed(5),
            keys: None,
            source: None,
            now: BEGIN_NANOS,
            last: BTreeMap::new(),
            jumpy: false,
            script: Self { steps: Vec::new(), requests: Vec::new(), deletes: Vec::new() },
        };
        let (flush, checkpoint) = (Step::Flush, Step::Checkpoint(Vec::new()));
        let stores = [
            vec![flush.clone(), checkpoint.clone()],
            vec![checkpoint.clone(), checkpoint],
            vec![flush.clone(), flush, Step::Idle],
        ];
        for (shards, stores) in [1, 2, 2].into_iter().zip(stores) {
            writer.step(Step::Start(Life { shards, rules: 0, windows: false }));
            for store in stores {
                let number = writer.request(0);
                writer.step(Step::Write(vec![number]));
                writer.step(Step::Outbox);
                writer.now += 2 * SECOND;
                writer.step(Step::Pass(Duration::from_secs(2)));
                writer.step(store);
            }
        }
        writer.script
    }

    /// A request that no step sends: a recovered engine gets it.
    pub(super) fn probe(&self) -> &Request {
        self.requests.last().expect("a script ends with its probe")
    }
}

impl Writer {
    fn life(&mut self, number: u64) {
        let shards = 1 + usize::try_from(self.rng.below(3)).expect("small");
        // The second life often changes the rules, and the third changes them back.
        let rules = usize::from(number == 1 && self.one_in(2));
        self.step(Step::Start(Life { shards, rules, windows: true }));
        if self.one_in(4) {
            self.step(Step::Preallocate);
        }
        let groups = 5 + self.rng.below(3);
        for group in 0..groups {
            let requests = 1 + self.rng.below(3);
            let mut numbers: Vec<_> =
                (0..requests).map(|_| self.request(number * 8 + group)).collect();
            self.send_again(&mut numbers);
            self.step(Step::Write(numbers));
            self.read();
            if self.one_in(2) {
                self.step(Step::Outbox);
            }
            if self.one_in(2) {
                let pass = 300 + self.rng.below(1_500);
                self.now += i64::try_from(pass).expect("small") * 1_000_000;
                self.step(Step::Pass(Duration::from_millis(pass)));
            }
            if self.jumpy && self.one_in(2) {
                let forth = self.one_in(2);
                self.step(Step::Jump(if forth { DAY } else { -DAY }));
            }
            if group == groups / 2 || group == 0 && self.one_in(2) {
                self.step(Step::Flush);
            }
            if group == groups - 2 || self.one_in(6) {
                let requests = self.rng.below(2);
                let mut numbers: Vec<_> =
                    (0..requests).map(|_| self.request(number * 8 + group)).collect();
                self.send_again(&mut numbers);
                self.step(Step::Checkpoint(numbers));
            }
            if self.one_in(8) {
                self.delete();
            }
            if self.one_in(5) {
                self.step(Step::Compact);
            }
            if self.one_in(6) {
                self.step(Step::Idle);
            }
            if self.one_in(9) {
                self.step(Step::Preallocate);
            }
        }
        self.step(Step::Outbox);
        if self.one_in(2) {
            self.step(Step::Hash);
            self.step(Step::Outbox);
        }
    }

    fn probe(&mut self) {
        let mut probe = Request { durability: Durability::Synced, ..Request::default() };
        for host in [0, 1, HOSTS] {
            self.line(host, &mut probe);
        }
        probe.rows.sort_unstable();
        self.script.requests.push(probe);
    }

    /// Some of the rows of the last minutes, or all rows before.
    fn delete(&mut self) {
        let metric = if self.one_in(2) { METRICS[0] } else { METRICS[1] };
        let to = self.now - i64::try_from(self.rng.below(40)).expect("small") * SECOND;
        let from = if self.one_in(3) { i64::MIN } else { to - 20 * SECOND };
        self.script.deletes.push(Deletion { metric, times: from..=to });
        self.step(Step::Delete(self.script.deletes.len() - 1));
    }

    fn step(&mut self, step: Step) {
        self.script.steps.push(step);
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.rng.below(of) == 0
    }

    /// `age` grows along the script, and with it the hosts that send.
    fn request(&mut self, age: u64) -> usize {
        let mut request = Request {
            body: String::new(),
            rows: Vec::new(),
            lines_bad: 0,
            durability: match self.rng.below(6) {
                0 => Durability::Accepted,
                1 => Durability::Written,
                _ => Durability::Synced,
            },
            key: self.key(),
        };
        for _ in 0..4 + self.rng.below(9) {
            let host = self.rng.below((3 + age / 2).min(HOSTS));
            self.line(host, &mut request);
            if self.one_in(12) {
                request.lines_bad += 1;
                request.body.push_str("this is no line\n");
            }
        }
        if self.one_in(20) {
            request.rows.clear();
            request.lines_bad = 1;
            request.body = "neither is this\n".to_owned();
        }
        request.rows.sort_unstable();
        self.script.requests.push(request);
        self.script.requests.len() - 1
    }

    /// Two samples of a host: mostly in order, now and then late or sent before.
    fn line(&mut self, host: u64, request: &mut Request) {
        let last = self.last.get(&host).copied().unwrap_or(BEGIN_NANOS);
        let mut time = match self.rng.below(12) {
            0 => last,
            1 => last - 30 * SECOND,
            _ => self.now.max(last + 1),
        };
        self.last.insert(host, last.max(time));
        if host == 2 {
            // Events of this host are too old to tell anybody of.
            time -= 7_200 * SECOND;
        }
        let is_high = host.is_multiple_of(2) && self.one_in(3);
        let level = if is_high { 150.0 } else { 50.0 };
        let value = level + self.rng.unit_f64();
        let load = self.rng.unit_f64();
        request.push(host, time, (value, load));
    }

    /// One time in three, messages of the partition are read, and one time in five some of the letters.
    fn read(&mut self) {
        let lot = self.source.as_mut().map(|rng| (rng.below(3), 1 + rng.below(5)));
        match lot {
            Some((0, count)) => self.step(Step::Read(count)),
            Some((1, 1..=3)) => self.step(Step::Mend),
            Some(_) | None => {}
        }
    }

    /// The key of the next request: one in three has one.
    fn key(&mut self) -> Option<u64> {
        let number = u64::try_from(self.script.requests.len()).expect("few");
        self.keys.as_mut()?.below(3).eq(&0).then_some(number)
    }

    /// Among `numbers`, clients may send what they have sent before, or something else under its key.
    fn send_again(&mut self, numbers: &mut Vec<usize>) {
        let requests = &self.script.requests;
        let keyed: Vec<usize> =
            (0..requests.len()).filter(|number| requests[*number].key.is_some()).collect();
        let (Some(rng), true) = (&mut self.keys, !keyed.is_empty()) else { return };
        let lot = rng.below(u64::try_from(keyed.len()).expect("few"));
        let first = keyed[usize::try_from(lot).expect("below a length")];
        match rng.below(8) {
            0..=2 => numbers.push(first),
            // At the same time: one of them waits for the other.
            3 => numbers.extend([first, first]),
            4 => {
                let value = 50.0 + rng.unit_f64();
                let key = requests[first].key;
                let mut other = Request { key, ..Request::default() };
                other.push(1, self.now, (value, value));
                other.rows.sort_unstable();
                self.script.requests.push(other);
                numbers.push(self.script.requests.len() - 1);
            }
            _ => {}
        }
    }
}

/// The metric of a series that scripts send.
fn sent_metric(series: SeriesId) -> &'static str {
    static KNOWN: OnceLock<BTreeMap<SeriesId, &'static str>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        let of = |host: u64, field, metric| {
            let labels = vec![("host".to_owned(), format!("h{host}"))];
            (sent_row("cpu", field, labels, (0, 0.0)).series, metric)
        };
        let both = |host| [of(host, "value", METRICS[0]), of(host, "load", METRICS[1])];
        (0..=HOSTS).flat_map(both).collect()
    });
    known.get(&series).copied().unwrap_or_default()
}

pub(super) fn sent_row(
    measurement: &str,
    field: &str,
    labels: Vec<(String, String)>,
    (time, value): (i64, f64),
) -> SentRow {
    let key = SeriesKey::new("default", measurement, field, labels);
    let series = key.expect("scripts keep to the limits").id();
    SentRow { series, time, bits: value.to_bits() }
}
