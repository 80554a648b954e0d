//! The thread of a source.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use tidewatch_connectors::decode::Messages;
use tidewatch_connectors::kafka::{
    Fetched, KafkaClient, KafkaConfig, KafkaInstruments, OnBadMessage, SourceLabel, TopicChoice,
    What,
};
use tracing::{error, info, warn};

use crate::Ack;
use crate::error::ErrorKind;
use crate::ingest_messages::{OnBad, SourceReport, SourceWrite};
use crate::kafka::group::Membership;
use crate::kafka::health::{SourceHealth, SourceTrouble};
use crate::kafka::lag::Contact;
use crate::kafka::pace::Pace;
use crate::kafka::partition::{OnItsWay, Partition, State};
use crate::limits::{GATHERED_BYTES_MAX, SOURCE_PARTITIONS_MAX};
use crate::{Engine, EngineError, chain};

/// The brokers are asked for new partitions this often.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// And this often while there is trouble, or a partition is not found.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Messages are waited for no longer.
const FETCH_MAX: Duration = Duration::from_millis(50);
/// When too much is in hand, it is tried again after this.
const PAUSE: Duration = Duration::from_millis(100);
/// When the disk is full, or a client cannot be made.
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// Figures are told this often.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// What a broker refuses is shown for so long.
const TROUBLE_SHOWN: Duration = Duration::from_secs(15);
/// Bad messages are logged this often; all are counted.
const BAD_TOLD_EVERY: Duration = Duration::from_secs(10);

/// A source that reads; it goes on until it is stopped.
#[derive(Debug)]
pub struct KafkaReader {
    health: Arc<Mutex<SourceHealth>>,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What became of the record of a partition.
#[derive(Debug)]
pub(super) struct Outcome {
    partition: usize,
    result: Result<Ack, EngineError>,
}

/// The state of the thread.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) engine: Arc<Engine>,
    pub(super) config: Arc<KafkaConfig>,
    pub(super) client: KafkaClient,
    pub(super) instruments: KafkaInstruments,
    pub(super) label: SourceLabel,
    pub(super) partitions: Vec<Partition>,
    /// Per topic: where each of its partitions stands in `partitions`.
    pub(super) numbers: BTreeMap<String, Vec<usize>>,
    /// Whether brokers have told once which topics there are: what joins them later is read from its beginning.
    pub(super) has_looked: bool,
    /// The partition that is found first, so that none waits for ever behind those that cannot be found.
    pub(super) find_first: usize,
    pub(super) gap_messages: u64,
    pub(super) pace: Pace,
    pub(super) contact: Contact,
    pub(super) membership: Membership,
    bad_messages: u64,
    /// Those of them that are kept.
    dead_letters: u64,
    pub(super) outcomes: (Sender<Outcome>, Receiver<Outcome>),
    pub(super) times: Times,
    /// Why nothing is stored, and until when.
    pause: Option<(Duration, String)>,
    /// Why messages of some partition wait for their schemas.
    schema_trouble: Option<String>,
    /// What the brokers answer instead of what they are asked.
    refusal: Option<String>,
    /// Whether they have not answered the question before, either: a connection may take its time.
    is_refused_again: bool,
    /// What came instead of messages, and when.
    pub(super) fetch_trouble: Option<(Duration, String)>,
    health: Arc<Mutex<SourceHealth>>,
}

/// When something was done last, or is due, on the engine's clock.
#[derive(Debug, Default)]
pub(super) struct Times {
    pub(super) look: Duration,
    tell: Duration,
    bad_told: Option<Duration>,
}

impl KafkaReader {
    /// Starts to read. What is wrong with the brokers shows in [`KafkaReader::health`].
    ///
    /// # Errors
    /// [`EngineError::Io`] where the system has no thread.
    pub fn start(
        engine: &Arc<Engine>,
        config: KafkaConfig,
        instruments: &KafkaInstruments,
    ) -> Result<Self, EngineError> {
        let label = SourceLabel { source: config.name.clone() };
        instruments.begin(&label);
        let name = config.name.clone();
        let health = Arc::new(Mutex::new(SourceHealth { name, ..SourceHealth::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        let (told, is_stopped) = (Arc::clone(&health), Arc::clone(&stop));
        let (engine_of_reader, instruments) = (Arc::clone(engine), instruments.clone());
        let thread = engine.thread(&format!("kafka {}", config.name), move || {
            let reader =
                Reader::connect(&engine_of_reader, config, instruments, &told, &is_stopped);
            if let Some(mut reader) = reader {
                reader.run(&is_stopped);
            }
        })?;
        Ok(Self { health, stop, thread: Mutex::new(Some(thread)) })
    }

    /// How it fares.
    #[must_use]
    pub fn health(&self) -> SourceHealth {
        lock(&self.health).clone()
    }

    /// Has it stop, without waiting for it.
    pub fn begin_stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Stops it. What it has handed over is stored; what it has not is read again at the next start.
    pub fn stop(&self) {
        self.begin_stop();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // Its panic, if it had one, has been told already.
            drop(thread.join());
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Reader {
    /// Makes a client; tries until there is one or the source is stopped.
    fn connect(
        engine: &Arc<Engine>,
        config: KafkaConfig,
        instruments: KafkaInstruments,
        health: &Arc<Mutex<SourceHealth>>,
        stop: &AtomicBool,
    ) -> Option<Self> {
        let mut is_told = false;
        let client = loop {
            match KafkaClient::connect(&config) {
                Ok(client) => break client,
                Err(error) => {
                    let text = chain(&error);
                    if !std::mem::replace(&mut is_told, true) {
                        error!(source = config.name, "{text}");
                    }
                    lock(health).trouble = Some(SourceTrouble::Stopped(text));
                }
            }
            if stop.load(Ordering::Acquire) {
                return None;
            }
            std::thread::park_timeout(LONG_PAUSE);
        };
        Some(Self {
            engine: Arc::clone(engine),
            label: SourceLabel { source: config.name.clone() },
            config: Arc::new(config),
            client,
            instruments,
            partitions: Vec::new(),
            numbers: BTreeMap::new(),
            has_looked: false,
            find_first: 0,
            gap_messages: 0,
            pace: Pace::default(),
            contact: Contact::default(),
            membership: Membership::default(),
            bad_messages: 0,
            dead_letters: 0,
            outcomes: bounded(SOURCE_PARTITIONS_MAX),
            times: Times::default(),
            pause: None,
            schema_trouble: None,
            refusal: None,
            is_refused_again: false,
            fetch_trouble: None,
            health: Arc::clone(health),
        })
    }

    fn run(&mut self, stop: &AtomicBool) {
        info!(source = %self.config.name, brokers = self.config.brokers, "reads from Kafka");
        while !stop.load(Ordering::Acquire) && !self.engine.health().is_closed {
            let now = self.now();
            self.serve_group(now);
            // While the group waits for an answer, it must not be taken for one that partitions are started.
            if now >= self.times.look && !self.membership.is_asked() {
                self.look(now);
            }
            while let Ok(outcome) = self.outcomes.1.try_recv() {
                self.settle(outcome);
            }
            if self.pause.as_ref().is_some_and(|(until, _)| now >= *until) {
                self.pause = None;
            }
            if self.pause.is_none() {
                self.store_all();
            }
            if now >= self.times.tell {
                self.times.tell = now + TELL_EVERY;
                self.tell();
            }
            if self.pause.is_none() && self.has_room() {
                self.gather();
            } else if let Ok(outcome) = self.outcomes.1.recv_timeout(FETCH_MAX) {
                self.settle(outcome);
            }
        }
        self.leave_group();
        self.tell();
        info!(source = %self.config.name, "stops to read");
    }

    fn look(&mut self, now: Duration) {
        let looked = self.look_around();
        let is_lost = |one: &Partition| matches!(one.state, State::Lost | State::Ahead(_));
        let is_settled = looked.is_ok() && !self.partitions.iter().any(is_lost);
        let refusal = looked.err().map(|error| chain(&error));
        self.is_refused_again = refusal.is_some() && self.refusal.is_some();
        self.refusal = refusal;
        // Nothing is fetched while brokers are asked: most of the time is for those that answer.
        let (ends, is_read) = (self.now(), |one: &Partition| one.state == State::Reading);
        let share = if self.partitions.iter().any(is_read) { 3 } else { 0 };
        let again = LOOK_AGAIN.max((ends - now) * share).min(LOOK_EVERY);
        self.times.look = ends + if is_settled { LOOK_EVERY } else { again };
    }

    /// Takes what has come, to the partitions that it is of.
    fn gather(&mut self) {
        let now = self.now();
        let Self { client, partitions, numbers, times, fetch_trouble, .. } = self;
        // Messages of a partition mostly come one after the other.
        let mut last = None;
        client.fetch(FETCH_MAX, &mut |fetched: Fetched<'_>| {
            let is_last = |at: &usize| {
                let name = &partitions[*at].name;
                i64::from(name.partition()) == i64::from(fetched.partition)
                    && name.topic() == fetched.topic
            };
            let found = last.filter(is_last).or_else(|| {
                let number = usize::try_from(fetched.partition).ok()?;
                numbers.get(fetched.topic)?.get(number).copied()
            });
            let Some(at) = found else {
                if let What::Trouble(text) = fetched.what {
                    *fetch_trouble = Some((now, text.to_owned()));
                }
                return;
            };
            last = found;
            let partition = &mut partitions[at];
            match fetched.what {
                What::Message { offset, message } => partition.take(offset, message),
                What::End { offset } => partition.reach(offset),
                What::OffsetGone if partition.state == State::Reading => {
                    partition.state = State::Lost;
                    times.look = Duration::ZERO;
                }
                // One that ends needs no more messages.
                What::OffsetGone => {}
                What::Trouble(text) => *fetch_trouble = Some((now, text.to_owned())),
            }
        });
    }

    fn has_room(&self) -> bool {
        let gathered = self.partitions.iter().map(|one| one.gathered.bytes().len()).sum::<usize>();
        gathered < GATHERED_BYTES_MAX
    }

    /// Hands over what is gathered of all partitions that have nothing on its way.
    fn store_all(&mut self) {
        self.schema_trouble = None;
        for at in 0..self.partitions.len() {
            if self.pause.is_some() {
                return;
            }
            let stored = self.store(at);
            if let Err(error) = stored {
                self.refuse(at, &error);
            }
        }
    }

    fn store(&mut self, at: usize) -> Result<(), EngineError> {
        let partition = &self.partitions[at];
        let Some(offsets) = partition.offsets() else {
            self.end(at);
            return Ok(());
        };
        if self.engine.is_behind() {
            return Err(EngineError::Overloaded { retry_after_s: 1 });
        }
        let (batch, clock) = (&partition.gathered, &self.engine.ingest().clock);
        let count = match batch.ready_of(partition.ready(), &|| clock.monotonic()) {
            Ok(count) => count,
            Err(trouble) => {
                self.schema_trouble = Some(trouble.to_string());
                return Ok(());
            }
        };
        let bytes = u64::try_from(batch.bytes_of(count)).unwrap_or(u64::MAX);
        let ingest = self.engine.ingest();
        let claim = self.engine.sources().claim(offsets?)?;
        let mut permit = ingest.admit(1)?;
        // They are in memory already, and a message may have more than the limit ever lets in.
        permit.cover(bytes);
        let write = SourceWrite {
            db: &self.config.db,
            messages: Messages { batch, count },
            permit,
            claim,
            bad: match self.config.on_bad_message {
                OnBadMessage::Keep => OnBad::Keep(Arc::clone(self.engine.letters())),
                OnBadMessage::Skip => OnBad::Skip,
                OnBadMessage::Stop => OnBad::Refuse,
            },
        };
        let outcomes = self.outcomes.0.clone();
        let done = Box::new(move |result| {
            // One record of a partition at a time: there is room. A source that has stopped asks the
            // engine at its next start.
            outcomes.try_send(Outcome { partition: at, result }).ok();
        });
        let report = ingest.write_source(write, done)?;
        self.note(at, &report);
        Ok(())
    }

    /// A record of the partition is on its way, or would have had a bad message.
    fn note(&mut self, at: usize, report: &SourceReport) {
        let now = self.now();
        let partition = &mut self.partitions[at];
        let bad = report.bad.first().and_then(|bad| {
            let offset = partition.gathered.offset_of(bad.message)?;
            Some((bad, offset))
        });
        if let (Some((bad, offset)), false) = (bad, report.appended) {
            let (topic, number) = (partition.name.topic(), partition.name.partition());
            let why = format!(
                "partition {number} of {topic:?} stops before its message at offset {offset}: {}",
                bad.reason
            );
            partition.state = State::Ending { messages: bad.message, why: why.into() };
            return;
        }
        let Some((_, last)) = partition.gathered.offsets_of(report.messages) else { return };
        let bytes = partition.gathered.payload_bytes_of(report.messages);
        let oldest = partition.gathered.time_of(0);
        let newest = partition.gathered.time_of(report.messages.saturating_sub(1));
        partition.gathered.drop_first(report.messages);
        let tombstones = std::mem::take(&mut partition.tombstones);
        let messages = u64::try_from(report.messages).unwrap_or(u64::MAX);
        partition.on_its_way = Some(OnItsWay {
            next: last + 1,
            messages: messages + tombstones,
            bytes,
            samples: report.samples,
            bad: u64::try_from(report.bad.len()).unwrap_or(u64::MAX),
            tombstones,
            oldest,
            newest,
        });
        let is_due = self.times.bad_told.is_none_or(|told| now >= told + BAD_TOLD_EVERY);
        if let Some((bad, offset)) = bad.filter(|_| is_due) {
            self.times.bad_told = Some(now);
            let (topic, partition) = (partition.name.topic(), partition.name.partition());
            let (source, count) = (&self.config.name, report.bad.len());
            let reason = &bad.reason;
            let told = match self.config.on_bad_message {
                OnBadMessage::Keep => "bad messages are kept in tidewatch.dlq",
                OnBadMessage::Skip | OnBadMessage::Stop => "bad messages are skipped",
            };
            warn!(%source, topic, partition, offset, count, reason, "{told}");
        }
    }

    /// The partition stops once everything before its bad message is stored.
    fn end(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        if let (State::Ending { why, .. }, None) = (&partition.state, partition.on_its_way) {
            error!(source = %self.config.name, "{why}");
            partition.state = State::Stopped(Arc::clone(why));
            partition.forget();
            let (topic, number) = (partition.name.topic(), partition.name.partition());
            self.client.stop(topic, number);
        }
    }

    /// What a record has come to.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        let at = outcome.partition;
        let partition = &mut self.partitions[at];
        let Some(record) = partition.on_its_way.take() else { return };
        if let State::Ending { messages, .. } = &mut partition.state {
            let gathered = usize::try_from(record.messages - record.tombstones);
            *messages = messages.saturating_sub(gathered.unwrap_or(usize::MAX));
        }
        match outcome.result {
            Ok(_) => {
                partition.stored = record.next;
                partition.seen.stored(&record);
                let label = &self.label;
                self.instruments.messages.get_or_create(label).inc_by(record.messages);
                self.instruments.bytes.get_or_create(label).inc_by(record.bytes);
                self.instruments.samples.get_or_create(label).inc_by(record.samples);
                self.instruments.bad_messages.get_or_create(label).inc_by(record.bad);
                self.instruments.tombstones.get_or_create(label).inc_by(record.tombstones);
                self.bad_messages += record.bad;
                if self.config.on_bad_message == OnBadMessage::Keep {
                    self.dead_letters += record.bad;
                }
            }
            Err(error) => {
                // What was fetched behind it must not be stored before it.
                self.begin_anew(at);
                self.refuse(at, &error);
            }
        }
    }

    /// What is not stored of a partition is read again.
    fn begin_anew(&mut self, at: usize) {
        let partition = &mut self.partitions[at];
        match partition.state {
            State::Unassigned | State::Leaving => {}
            _ if self.membership.is_asked() => {
                partition.forget();
                partition.state = State::Lost;
                self.times.look = Duration::ZERO;
            }
            _ => {
                let stored = partition.stored;
                self.read_from(at, stored);
            }
        }
    }

    /// Something of the partition was not taken, and is still to be stored.
    fn refuse(&mut self, at: usize, error: &EngineError) {
        let text = chain(error);
        let now = self.now();
        match error.kind() {
            ErrorKind::Unavailable => self.pause = Some((now + PAUSE, text)),
            ErrorKind::Full => self.pause = Some((now + LONG_PAUSE, text)),
            // The process ends, or the engine stops.
            ErrorKind::Closed => self.pause = Some((now + PAUSE, text)),
            ErrorKind::Conflict => {
                let partition = &mut self.partitions[at];
                if !partition.is_ours() {
                    return;
                }
                self.client.stop(partition.name.topic(), partition.name.partition());
                partition.forget();
                partition.state = State::Lost;
                self.times.look = Duration::ZERO;
            }
            ErrorKind::Invalid
            | ErrorKind::TooLarge
            | ErrorKind::Corrupt
            | ErrorKind::InUse
            | ErrorKind::Internal => {
                let partition = &mut self.partitions[at];
                let (topic, number) = (partition.name.topic(), partition.name.partition());
                let why = format!("partition {number} of {topic:?} stops: {text}");
                error!(source = %self.config.name, "{why}");
                self.client.stop(topic, number);
                partition.state = State::Stopped(why.into());
                partition.forget();
            }
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.engine.ingest().clock.monotonic()
    }

    /// Tells the figures.
    fn tell(&mut self) {
        for partition in &mut self.partitions {
            let (topic, number) = (partition.name.topic(), partition.name.partition());
            let is_there = !matches!(partition.state, State::Gone | State::Unassigned);
            if let Some(marks) = self.client.marks(topic, number).filter(|_| is_there) {
                partition.end = marks.high;
            }
        }
        let trouble = self.trouble();
        let mut health = lock(&self.health).clone();
        let is_cut_off = |trouble: &Option<SourceTrouble>| {
            trouble.as_ref().is_some_and(SourceTrouble::is_outside)
        };
        match (is_cut_off(&health.trouble), &trouble) {
            (false, Some(trouble)) if trouble.is_outside() => {
                let why = trouble.text();
                warn!(source = %self.config.name, "cannot read, and goes on trying: {why}");
            }
            (true, None) => info!(source = %self.config.name, "reads again"),
            _ => {}
        }
        health.gap_messages = self.gap_messages;
        health.bad_messages = self.bad_messages;
        health.dead_letters = self.dead_letters;
        self.see(trouble, &mut health);
        *lock(&self.health) = health;
    }

    /// What keeps it from reading; the worst first.
    fn trouble(&self) -> Option<SourceTrouble> {
        let stopped = self.partitions.iter().find_map(|partition| match &partition.state {
            State::Stopped(why) => Some(why.to_string()),
            State::Ahead(why) => Some(why.clone()),
            State::Reading
            | State::Lost
            | State::Gone
            | State::Unassigned
            | State::Leaving
            | State::Ending { .. } => None,
        });
        let now = self.now();
        let fetch = self.fetch_trouble.as_ref().filter(|(at, _)| now < *at + TROUBLE_SHOWN);
        let fetch = fetch.map(|(_, text)| text.clone());
        let told = self.client.trouble();
        let brokers = match self.membership.expulsion().or(self.refusal.as_deref()) {
            // Why there is no connection says more than that there was no answer.
            Some(refusal) => told.or_else(|| self.is_refused_again.then(|| refusal.to_owned())),
            None => fetch.or(told),
        };
        let waiting = self.pause.as_ref().map(|(_, why)| why.clone());
        let missing = || self.refusal.is_none().then(|| self.missing_topic()).flatten();
        stopped
            .map(SourceTrouble::Stopped)
            .or(brokers.map(SourceTrouble::Brokers))
            .or_else(|| missing().map(SourceTrouble::Missing))
            .or(self.schema_trouble.clone().map(SourceTrouble::Schemas))
            .or(waiting.map(SourceTrouble::Waiting))
    }

    /// A topic that is to be read and is not there.
    fn missing_topic(&self) -> Option<String> {
        let is_missing =
            |choice: &&TopicChoice| !self.numbers.keys().any(|name| choice.is_of(name));
        let missing = self.config.topics.iter().find(is_missing)?;
        Some(format!("no topic {:?} is there, or it may not be read", missing.text()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
