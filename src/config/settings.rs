//! What can be configured, as meant.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tidewatch_connectors::kafka::KafkaConfig;
use tidewatch_engine::FeedConfig;
use tidewatch_operators::{RuleSet, Selector};
use tidewatch_sinks::SinkConfig;

/// The whole configuration. Whatever it holds is within its limits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    /// `[storage]`
    pub(crate) storage: StorageConfig,
    /// `[http]`
    pub(crate) http: HttpConfig,
    /// `[limits]`
    pub(crate) limits: LimitsConfig,
    /// `[wal]`
    pub(crate) wal: WalConfig,
    /// `[flush]`
    pub(crate) flush: FlushConfig,
    /// `[checkpoint]`
    pub(crate) checkpoint: CheckpointConfig,
    /// `[replay]`
    pub(crate) replay: ReplayConfig,
    /// `[dlq]`
    pub(crate) dlq: DlqConfig,
    /// `[query]`
    pub(crate) query: QueryConfig,
    /// `[alerts]`
    pub(crate) alerts: AlertsConfig,
    /// `[compat]`
    pub(crate) compat: CompatConfig,
    /// `[[retention]]`: series and for how long their samples are kept; the first match counts.
    pub(crate) retention: Vec<(Selector, Duration)>,
    /// `[[rule]]`
    pub(crate) rules: RuleSet,
    /// `[[sink.kafka]]`, `[[sink.webhook]]`, `[[sink.file]]` and `[[sink.stdout]]`; their names are unique.
    pub(crate) sinks: Vec<SinkConfig>,
    /// Those of them that rows other than alerts go to.
    pub(crate) feeds: Vec<FeedConfig>,
    /// `[[source.kafka]]`; their names are unique.
    pub(crate) sources: Vec<KafkaConfig>,
}

/// Where data lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StorageConfig {
    /// The data directory; made at the first start.
    pub(crate) data_dir: PathBuf,
    /// What it may take in bytes; 0 is as much as there is room.
    pub(crate) disk_bytes_max: u64,
    /// For how long samples are kept that no `[[retention]]` matches; zero is for ever.
    pub(crate) retention: Duration,
}

/// The HTTP interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpConfig {
    /// The address that is listened on; port 0 lets the system choose.
    pub(crate) listen: SocketAddr,
    /// How people reach this server; without slash at its end. Alerts carry it.
    pub(crate) public_url: Option<String>,
    /// When keys are asked for.
    pub(crate) auth: Auth,
    /// Requests a second that one key may send; 0 is without limit.
    pub(crate) requests_per_second: u64,
    /// `[http.tls]`
    pub(crate) tls: Option<TlsConfig>,
}

/// When a request needs a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Auth {
    /// As soon as a key exists, revoked ones included.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Auth {
    /// The setting of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "on" => Some(Self::On),
            "off" => Some(Self::Off),
            _ => None,
        }
    }

    /// Whether keys are asked for, where `no_key` says that none was ever made.
    pub(crate) const fn is_on(self, no_key: bool) -> bool {
        match self {
            Self::Auto => !no_key,
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// What connections are encrypted with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsConfig {
    /// The certificate and its chain in PEM.
    pub(crate) cert: PathBuf,
    /// The certificate's private key in PEM.
    pub(crate) key: PathBuf,
}

/// What the process may take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LimitsConfig {
    /// Memory in bytes; 0 is half of the machine's.
    pub(crate) memory_bytes_max: u64,
    /// Series in all; 0 is what the memory allows.
    pub(crate) series_max: u64,
    /// Series of one database; 0 is what the memory allows.
    pub(crate) series_per_database_max: u64,
    /// Series of one metric; 0 is what the memory allows.
    pub(crate) series_per_metric_max: u64,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WalConfig {
    /// Size of a WAL segment in bytes.
    pub(crate) segment_bytes_max: u64,
    /// Milliseconds without a record after which a mark is written.
    pub(crate) idle_mark_ms: u64,
}

/// When samples leave memory for segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlushConfig {
    /// Rows of one shard.
    pub(crate) rows_max: u64,
    /// The longest time between two flushes of a shard that has rows.
    pub(crate) interval: Duration,
}

/// When the operators' state is stored, so that a start need not replay the whole log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointConfig {
    /// Samples after which another checkpoint is made.
    pub(crate) rows_max: u64,
    /// The longest time between two checkpoints while samples come.
    pub(crate) interval: Duration,
    /// Bytes written in a second at most.
    pub(crate) bytes_per_second_max: u64,
}

/// What is kept of the log to be replayed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReplayConfig {
    /// For how long; zero keeps nothing.
    pub(crate) keep: Duration,
    /// The archive's share of the disk.
    pub(crate) disk_fraction: f64,
}

/// How much of dead letters is kept; beyond, the oldest go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DlqConfig {
    /// For how long.
    pub(crate) keep: Duration,
    /// Bytes on the disk.
    pub(crate) bytes_max: u64,
}

/// What one statement may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueryConfig {
    /// Time, where the request does not say; no request gets more than 30 s.
    pub(crate) timeout: Duration,
    /// Memory of all running statements in bytes; 0 is their share of the memory budget.
    pub(crate) memory_bytes_max: u64,
    /// Rows of one answer.
    pub(crate) rows_max: u64,
}

/// Alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AlertsConfig {
    /// Alerts whose event is older than this when received are stored and not delivered.
    pub(crate) max_age: Duration,
}

/// How protocols of others are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CompatConfig {
    /// Whether batches in Luminate's form must keep within its own limits.
    pub(crate) luminate_strict: bool,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./tidewatch-data"),
            disk_bytes_max: 0,
            retention: Duration::ZERO,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8850)),
            public_url: None,
            auth: Auth::Auto,
            requests_per_second: 0,
            tls: None,
        }
    }
}

impl Default for WalConfig {
    fn default() -> Self {
        Self { segment_bytes_max: 128 << 20, idle_mark_ms: 100 }
    }
}

impl Default for FlushConfig {
    fn default() -> Self {
        Self { rows_max: 4_000_000, interval: Duration::from_mins(10) }
    }
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        let (rows_max, interval) = (20_000_000, Duration::from_mins(5));
        Self { rows_max, interval, bytes_per_second_max: 128 << 20 }
    }
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self { keep: Duration::from_hours(7 * 24), disk_fraction: 0.2 }
    }
}

impl Default for DlqConfig {
    fn default() -> Self {
        Self { keep: Duration::from_hours(30 * 24), bytes_max: 1 << 30 }
    }
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), memory_bytes_max: 0, rows_max: 1_000_000 }
    }
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self { max_age: Duration::from_hours(1) }
    }
}
