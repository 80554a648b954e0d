//! Puts the parts together. The only file that knows all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tidewatch_connectors::kafka::{KafkaConfig, KafkaInstruments};
use tidewatch_engine::kafka::{KafkaReader, SourceHealth, SourceState};
use tidewatch_engine::{
    CheckpointPolicy, DataDir, Engine, EngineConfig, EngineError, EngineHome, LetterReading,
    RecoveryState, ReplayPolicy, RetentionInForce, RetentionRules, Stopped, StoredOffsets,
};
use tidewatch_env::{Clock, Disk, RealClock, RealDisk};
use tidewatch_metrics::{Lsn, SeriesLimits};
use tidewatch_operators::{Model, RuleSet};
use tidewatch_query::{
    OffsetRow, QueryEngine, QueryError, QueryInstruments, QueryLimits, Source, SourceRow,
    WalSegmentRow,
};
use tidewatch_segments::{AlertRow, DeliveryRow, LettersInMemory, Snapshot, WindowRow};
use tidewatch_wal::{SegmentState, WalSegmentInfo};

use crate::config::Config;
use crate::memory::MemoryShares;
use crate::retention::{RetentionBook, RetentionError};

/// The model of series that no `[[detect]]` matches, and of those that are scored without a server.
pub(crate) const DEFAULT_MODEL: Model = Model::Auto;
/// The log between two checkpoints may take this part of the disk's budget.
const LOG_SHARE: u64 = 16;
/// Dead letters may take this part of it.
const LETTERS_SHARE: u64 = 16;
/// A WAL segment, of which some are in use or readied, may take this part of it.
const WAL_SEGMENT_SHARE: u64 = 32;
/// The largest request fits in.
const WAL_SEGMENT_BYTES_MIN: u64 = 32 << 20;
/// Bytes that a sample takes in the log.
const LOG_BYTES_PER_SAMPLE: u64 = 20;
/// A checkpoint is not made more often than after so many samples for the budget's sake.
const DEBT_ROWS_MIN: u64 = 1_000_000;

/// The running product.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) engine: Arc<Engine>,
    pub(crate) query: QueryEngine,
    pub(crate) bounds: Bounds,
    /// What was said of single metrics.
    pub(crate) retention: RetentionBook,
    /// What reads messages into the log.
    sources: Arc<OnceLock<Vec<KafkaReader>>>,
    /// How messages of each source are read, by its name.
    readings: OnceLock<BTreeMap<String, LetterReading>>,
    kafka: KafkaInstruments,
    registry: Registry,
}

/// Where the product lies, and what some of its parts may take.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// The data directory.
    pub(crate) data_dir: PathBuf,
    /// Bytes that it may take; 0 is as much as there is room.
    pub(crate) disk_bytes_max: u64,
    /// Bytes of memory for requests in hand.
    pub(crate) requests_bytes_max: u64,
    /// Bytes of memory for series.
    pub(crate) series_bytes_max: u64,
}

impl Bounds {
    fn of(config: &EngineConfig) -> Self {
        Self {
            data_dir: config.data_dir.clone(),
            disk_bytes_max: config.disk_bytes_max,
            requests_bytes_max: config.ingest.bytes_max,
            series_bytes_max: config.series.bytes_max,
        }
    }
}

impl Running {
    /// Opens the data directory and starts everything. Blocks until writes are taken.
    ///
    /// # Errors
    /// What the engine says of its data directory.
    pub(crate) fn start(
        config: &EngineConfig,
        query: &QueryLimits,
        recovery: &Arc<RecoveryState>,
        data_dir: DataDir,
        fatal: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let (book_disk, book_clock) = (Arc::clone(&disk), Arc::clone(&clock));
        let retention = RetentionBook::open(book_disk, book_clock, &config.data_dir)?;
        let rules = config.retention.get().with_metrics(&retention.times());
        config.retention.set(rules);
        let home = EngineHome { disk, clock, seed: seed(), fatal };
        let engine = Arc::new(Engine::open(config, home, data_dir, recovery)?);
        let instruments = QueryInstruments::default();
        let mut registry = Registry::default();
        engine.register(&mut registry);
        instruments.register(&mut registry);
        let kafka = KafkaInstruments::default();
        kafka.register(&mut registry);
        let sources = Arc::new(OnceLock::new());
        let (asked, readers) = (Arc::clone(&engine), Arc::clone(&sources));
        let source = Arc::new(EngineSource { engine: asked, readers });
        let query = QueryEngine::new(source, query.clone(), instruments)?;
        let (bounds, readings) = (Bounds::of(config), OnceLock::new());
        Ok(Self { engine, query, bounds, retention, sources, readings, kafka, registry })
    }

    /// Starts to read from sources.
    ///
    /// # Errors
    /// Where the system has no thread for one.
    pub(crate) fn read(&self, sources: &[KafkaConfig]) -> Result<(), StartError> {
        let start =
            |config: &KafkaConfig| KafkaReader::start(&self.engine, config.clone(), &self.kafka);
        let readers: Result<Vec<_>, _> = sources.iter().map(start).collect();
        self.sources.set(readers?).expect("sources are started once");
        let readings = sources.iter().map(|config| {
            let reading = LetterReading {
                db: config.db.clone(),
                format: config.format.clone(),
                needs_headers: !config.header_labels.is_empty(),
            };
            (config.name.clone(), reading)
        });
        self.readings.set(readings.collect()).expect("sources are started once");
        Ok(())
    }

    /// How messages of a source are read; `None` where none of its name is.
    pub(crate) fn letter_reading(&self, source: &str) -> Option<LetterReading> {
        self.readings.get()?.get(source).cloned()
    }

    /// The sources that are read.
    pub(crate) fn readers(&self) -> &[KafkaReader] {
        self.sources.get().map_or(&[], Vec::as_slice)
    }

    /// Whether queries see all that was written, and all that the brokers of sources had a moment ago.
    pub(crate) fn has_caught_up(&self) -> bool {
        let is_read = |reader: &KafkaReader| reader.health().state() == SourceState::Reading;
        let readers = self.sources.get();
        self.engine.is_recovered() && readers.is_some_and(|readers| readers.iter().all(is_read))
    }

    /// Stops everything: what brings samples first. Blocks.
    pub(crate) fn stop(&self) {
        self.readers().iter().for_each(KafkaReader::begin_stop);
        self.readers().iter().for_each(KafkaReader::stop);
        self.engine.stop();
    }

    /// The process' instruments as OpenMetrics text, after those of the door.
    pub(crate) fn instruments(&self, door: &Registry) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode_registry(&mut text, door)?;
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Why the product does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The query engine.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The retention file.
    #[error(transparent)]
    Retention(#[from] RetentionError),
}

/// The engine as queries see it.
#[derive(Debug)]
struct EngineSource {
    engine: Arc<Engine>,
    readers: Arc<OnceLock<Vec<KafkaReader>>>,
}

/// A stopped data directory as queries see it.
#[derive(Debug)]
struct StoppedSource {
    stopped: Stopped,
}

/// Answers queries from a data directory that no process works on.
///
/// # Errors
/// What the engine says of the directory.
pub(crate) fn stopped_query(
    config: &Config,
    data_dir: PathBuf,
    watch: impl FnMut(Lsn),
) -> Result<QueryEngine, StartError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    let lock = DataDir::lock(&*disk, &data_dir)?;
    let mut engine = engine_config(config, None);
    engine.data_dir = data_dir;
    let stopped = Stopped::open(&engine, &disk, &clock, lock, watch)?;
    let source = Arc::new(StoppedSource { stopped });
    Ok(QueryEngine::new(source, query_limits(config), QueryInstruments::default())?)
}

impl Source for StoppedSource {
    /// The next start of a server looks at it; here nothing is changed.
    fn report_damage(&self, path: &Path) {
        tracing::error!(file = %path.display(), "a segment could not be read");
    }

    fn snapshot(&self, _timeout: Duration) -> Result<Snapshot, QueryError> {
        self.stopped.snapshot().ok_or(QueryError::NotReady)
    }

    fn wal_segments(&self) -> Vec<WalSegmentRow> {
        wal_rows(self.stopped.wal_segments())
    }

    fn offsets(&self) -> Vec<OffsetRow> {
        offset_rows(&self.stopped.offsets())
    }

    /// Nothing is read into it.
    fn sources(&self) -> Vec<SourceRow> {
        Vec::new()
    }

    fn alerts(&self) -> Vec<AlertRow> {
        self.stopped.event_tail().alerts
    }

    fn deliveries(&self) -> Vec<DeliveryRow> {
        self.stopped.event_tail().deliveries
    }

    fn letters(&self, after: Lsn, upto: Lsn) -> Option<LettersInMemory> {
        self.stopped.letters().tail(after, upto)
    }

    fn rules(&self) -> Arc<RuleSet> {
        self.stopped.windows().rules()
    }

    fn windows(&self, after: Lsn, upto: Lsn) -> Option<Vec<Arc<WindowRow>>> {
        self.stopped.windows().tail(after, upto)
    }
}

impl Source for EngineSource {
    fn report_damage(&self, path: &Path) {
        self.engine.report_damage(path);
    }

    fn snapshot(&self, timeout: Duration) -> Result<Snapshot, QueryError> {
        self.engine.snapshot(timeout).ok_or(QueryError::NotReady)
    }

    fn wal_segments(&self) -> Vec<WalSegmentRow> {
        wal_rows(&self.engine.wal_segments())
    }

    fn offsets(&self) -> Vec<OffsetRow> {
        offset_rows(&self.engine.offsets())
    }

    fn sources(&self) -> Vec<SourceRow> {
        let readers = self.readers.get().map_or(&[][..], Vec::as_slice);
        readers.iter().flat_map(|reader| source_rows(&reader.health())).collect()
    }

    fn alerts(&self) -> Vec<AlertRow> {
        self.engine.outbox().tail(Lsn::ZERO).alerts
    }

    fn deliveries(&self) -> Vec<DeliveryRow> {
        self.engine.outbox().tail(Lsn::ZERO).deliveries
    }

    fn letters(&self, after: Lsn, upto: Lsn) -> Option<LettersInMemory> {
        self.engine.letters().tail(after, upto)
    }

    fn rules(&self) -> Arc<RuleSet> {
        self.engine.windows().rules()
    }

    fn windows(&self, after: Lsn, upto: Lsn) -> Option<Vec<Arc<WindowRow>>> {
        self.engine.windows().tail(after, upto)
    }
}

fn offset_rows(stored: &[StoredOffsets]) -> Vec<OffsetRow> {
    let rows = stored.iter().flat_map(|stored| {
        stored.ranges().iter().map(|range| OffsetRow {
            source: stored.partition.source().to_owned(),
            topic: stored.partition.topic().to_owned(),
            partition: stored.partition.partition(),
            topic_id: range.topic_id,
            first_offset: range.first_offset,
            next_offset: range.next_offset,
            lsn: range.lsn,
        })
    });
    rows.collect()
}

fn source_rows(health: &SourceHealth) -> Vec<SourceRow> {
    let rows = health.each.iter().map(|one| SourceRow {
        source: one.partition.source().to_owned(),
        topic: one.partition.topic().to_owned(),
        partition: one.partition.partition(),
        state: one.state.name(),
        next_offset: one.next_offset,
        end_offset: one.end_offset,
        lag_messages: one.lag_messages,
        lag_seconds: one.lag.as_secs_f64(),
        messages: one.counts.messages,
        bytes: one.counts.bytes,
        samples: one.counts.samples,
        bad_messages: one.counts.bad_messages,
        gap_messages: one.counts.gap_messages,
        trouble: one.trouble.clone(),
    });
    rows.collect()
}

fn wal_rows(segments: &[WalSegmentInfo]) -> Vec<WalSegmentRow> {
    let rows = segments.iter().map(|segment| WalSegmentRow {
        file: segment.file.to_string(),
        first_lsn: Some(segment.first_lsn),
        last_lsn: Some(segment.last_lsn).filter(|last| *last >= segment.first_lsn),
        bytes: segment.bytes,
        state: match segment.state {
            SegmentState::Active => "active".to_owned(),
            SegmentState::Sealed => "sealed".to_owned(),
        },
    });
    rows.collect()
}

/// The engine's configuration from the product's.
pub(crate) fn engine_config(config: &Config, shards: Option<usize>) -> EngineConfig {
    let mut engine = EngineConfig::new(PathBuf::clone(&config.storage.data_dir));
    if let Some(shards) = shards {
        engine.shards = shards;
    }
    engine.wal.segment_bytes_max = config.wal.segment_bytes_max;
    engine.idle_mark = Duration::from_millis(config.wal.idle_mark_ms);
    engine.flush_interval = config.flush.interval;
    engine.checkpoints = CheckpointPolicy {
        debt_rows: config.checkpoint.rows_max,
        interval: config.checkpoint.interval,
        bytes_per_second_max: config.checkpoint.bytes_per_second_max,
    };
    engine.replay = ReplayPolicy {
        keep: config.replay.keep,
        disk_permille: permille(config.replay.disk_fraction),
    };
    let storage = &config.storage;
    let retention = RetentionRules::new(config.retention.clone(), storage.retention);
    engine.retention = Arc::new(RetentionInForce::new(retention));
    engine.disk_bytes_max = storage.disk_bytes_max;
    engine.letters.keep_nanos = i64::try_from(config.dlq.keep.as_nanos()).unwrap_or(i64::MAX);
    engine.letters.bytes_max = config.dlq.bytes_max;
    if storage.disk_bytes_max > 0 {
        let letters = &mut engine.letters.bytes_max;
        *letters = (storage.disk_bytes_max / LETTERS_SHARE).min(*letters);
        // Two checkpoints are kept, and a third one is in the making: so much of the log is on the disk.
        let log_rows = storage.disk_bytes_max / LOG_SHARE / LOG_BYTES_PER_SAMPLE;
        let rows = &mut engine.checkpoints.debt_rows;
        *rows = log_rows.max(DEBT_ROWS_MIN).min(*rows);
        let wal = &mut engine.wal.segment_bytes_max;
        *wal = (storage.disk_bytes_max / WAL_SEGMENT_SHARE).max(WAL_SEGMENT_BYTES_MIN).min(*wal);
    }
    let wal = &mut engine.wal;
    wal.frame_bytes_max = wal.frame_bytes_max.min(wal.segment_bytes_max.saturating_sub(4_096));
    share_memory(&mut engine, config);
    engine.ingest.key_seed = seed();
    engine.ingest.luminate_strict = config.compat.luminate_strict;
    engine.alerts_max_age = config.alerts.max_age;
    engine.sinks.clone_from(&config.sinks);
    engine.feeds.clone_from(&config.feeds);
    engine.public_url.clone_from(&config.http.public_url);
    engine
}

/// Gives each part of the engine its share of the memory budget.
fn share_memory(engine: &mut EngineConfig, config: &Config) {
    let shares = memory_shares(config);
    shares.tell();
    engine.flush_rows = size(shares.flush_rows(engine.shards, config.flush.rows_max));
    let limits = &config.limits;
    let limit = |series| if series == 0 { usize::MAX } else { size(series) };
    engine.series = SeriesLimits {
        bytes_max: shares.series,
        series_max: limit(limits.series_max),
        per_database_max: limit(limits.series_per_database_max),
        per_metric_max: limit(limits.series_per_metric_max),
    };
    engine.footers_bytes_max = size(shares.caches / 2);
    engine.priming_bytes_max = size(shares.priming);
    engine.ingest.bytes_max = shares.requests;
    engine.ingest.lines_bytes_max = size(shares.lines);
    engine.keys.bytes_max = shares.keys;
    let rules = config.rules.clone().with_model_for_others(DEFAULT_MODEL);
    engine.rules = Arc::new(rules.with_detector_bytes(shares.detectors));
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1")]
fn permille(fraction: f64) -> u16 {
    (fraction * 1_000.0).round() as u16
}

/// What queries may take, from the product's configuration.
pub(crate) fn query_limits(config: &Config) -> QueryLimits {
    let shares = memory_shares(config);
    let memory = size(shares.queries);
    QueryLimits {
        timeout: config.query.timeout,
        memory_bytes_max: memory,
        query_memory_bytes_max: memory / 2,
        labels_bytes_max: size(shares.caches / 2),
        rows_max: size(config.query.rows_max),
        ..QueryLimits::default()
    }
}

fn memory_shares(config: &Config) -> MemoryShares {
    let budget = memory_bytes_max(config.limits.memory_bytes_max);
    let shares = MemoryShares::of(budget, config.query.memory_bytes_max);
    let shares =
        if config.rules.percentiles().is_empty() { shares } else { shares.with_percentiles() };
    shares.with_detectors(config.rules.has_full_detection())
}

/// What does not fit into this machine's addresses is without bound on it.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The configured budget, or half of the machine's memory.
fn memory_bytes_max(configured: u64) -> u64 {
    if configured > 0 {
        return configured;
    }
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(4 << 30, |kib| kib * 512)
}

/// A number that clients cannot know, another one at each start.
fn seed() -> u64 {
    // The standard library's hasher takes its keys from the system's random numbers.
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
