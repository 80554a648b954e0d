//! What the engine may be told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_metrics::SeriesLimits;
use tidewatch_operators::RuleSet;
use tidewatch_segments::LetterLimits;
use tidewatch_sinks::SinkConfig;
use tidewatch_wal::WalConfig;

use crate::feeds::FeedConfig;
use crate::idempotency::KeyLimits;
use crate::ingest::IngestConfig;
use crate::limits::REQUESTS_MAX;
use crate::retention::RetentionInForce;

/// When checkpoints are made, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// Samples since the last checkpoint began that make the next one due.
    pub debt_rows: u64,
    /// Time since then that makes it due, if there were any samples.
    pub interval: Duration,
    /// Bytes written in a second at most.
    pub bytes_per_second_max: u64,
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        // Replay does some 10 million samples a second: two seconds of it.
        let (debt_rows, interval) = (20_000_000, Duration::from_mins(5));
        Self { debt_rows, interval, bytes_per_second_max: 128 << 20 }
    }
}

/// What is kept of the log beyond what a start needs, so that it can be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayPolicy {
    /// For how long; zero keeps nothing.
    pub keep: Duration,
    /// The archive's share of the disk, in thousandths of what is free and what it has.
    pub disk_permille: u16,
}

impl Default for ReplayPolicy {
    fn default() -> Self {
        Self { keep: Duration::from_hours(7 * 24), disk_permille: 200 }
    }
}

/// Configuration of an engine. Bounds are checked where users write it, in the product's face.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Shards, 1 to 256. Nothing that is put out depends on it.
    pub shards: usize,
    /// The log's sizes.
    pub wal: WalConfig,
    /// After this without a record, the log gets a mark.
    pub idle_mark: Duration,
    /// Rows of one shard's head that make it flush.
    pub flush_rows: usize,
    /// Age of one shard's head that makes it flush.
    pub flush_interval: Duration,
    /// When checkpoints are made.
    pub checkpoints: CheckpointPolicy,
    /// What is kept of the log beyond them.
    pub replay: ReplayPolicy,
    /// For how long samples are kept.
    pub retention: Arc<RetentionInForce>,
    /// What the data directory may take; 0 is as much as there is room.
    pub disk_bytes_max: u64,
    /// Memory for the footers of segments that were read lately, in bytes.
    pub footers_bytes_max: usize,
    /// Memory for detectors that learn from stored rows, in bytes.
    pub priming_bytes_max: usize,
    /// Series that are taken.
    pub series: SeriesLimits,
    /// The door.
    pub ingest: IngestConfig,
    /// Idempotency keys that are held.
    pub keys: KeyLimits,
    /// How much of dead letters is kept.
    pub letters: LetterLimits,
    /// The rules in force.
    pub rules: Arc<RuleSet>,
    /// Alerts whose event is older than this at reception are historical.
    pub alerts_max_age: Duration,
    /// Where alerts go.
    pub sinks: Vec<SinkConfig>,
    /// Copies of rows for topics.
    pub feeds: Vec<FeedConfig>,
    /// Where people reach the server, for the link in alerts.
    pub public_url: Option<String>,
    /// Whether to start on a damaged directory without what is damaged.
    pub salvage: bool,
    /// The program's version, for the log.
    pub version: String,
}

impl EngineConfig {
    /// The default configuration of an engine in `data_dir`, without rules and sinks.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            shards: std::thread::available_parallelism().map_or(1, usize::from).min(256),
            wal: WalConfig::default(),
            idle_mark: Duration::from_millis(100),
            flush_rows: 4_000_000,
            flush_interval: Duration::from_mins(10),
            checkpoints: CheckpointPolicy::default(),
            replay: ReplayPolicy::default(),
            retention: Arc::default(),
            disk_bytes_max: 0,
            footers_bytes_max: 64 << 20,
            priming_bytes_max: 32 << 20,
            series: SeriesLimits::NONE,
            ingest: IngestConfig {
                bytes_max: 256 << 20,
                requests_max: REQUESTS_MAX,
                lanes_max: std::thread::available_parallelism().map_or(1, usize::from),
                lines_bytes_max: 512 << 20,
                future_nanos_max: Some(600 * tidewatch_metrics::time::NANOS_PER_SECOND),
                request_samples_max: tidewatch_metrics::limits::BATCH_ROWS_MAX,
                line_bytes_max: 1 << 20,
                key_seed: 0,
                luminate_strict: false,
            },
            keys: KeyLimits::default(),
            letters: LetterLimits::default(),
            rules: Arc::default(),
            alerts_max_age: Duration::from_hours(1),
            sinks: Vec::new(),
            feeds: Vec::new(),
            public_url: None,
            salvage: false,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The sinks' names.
    pub fn sink_names(&self) -> impl Iterator<Item = &str> {
        self.sinks.iter().map(SinkConfig::name)
    }

    /// The sinks' names and the feeds' tags, as starts are noted in the log.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = String> {
        let feeds = self.feeds.iter().map(FeedConfig::tag);
        self.sink_names().map(str::to_owned).chain(feeds)
    }

    /// Where the log lives.
    #[must_use]
    pub fn wal_dir(&self) -> PathBuf {
        self.data_dir.join("wal")
    }

    /// Where packed files of the log live that no start needs.
    #[must_use]
    pub fn archive_dir(&self) -> PathBuf {
        self.data_dir.join("archive")
    }

    /// Where checkpoints live.
    #[must_use]
    pub fn checkpoints_dir(&self) -> PathBuf {
        self.data_dir.join("checkpoints")
    }

    /// Where segments and the manifest live.
    #[must_use]
    pub fn segments_dir(&self) -> PathBuf {
        self.data_dir.join("segments")
    }
}
