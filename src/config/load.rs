//! Reads all sections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Table;

use crate::config::layers::Layers;
use crate::config::problem::Problem;
use crate::config::retention::read_retention;
use crate::config::rules::read_rules;
use crate::config::section::{Bounds, Findings, Section, finish};
use crate::config::settings::{
    AlertsConfig, Auth, CheckpointConfig, CompatConfig, Config, DlqConfig, FlushConfig, HttpConfig,
    LimitsConfig, QueryConfig, ReplayConfig, StorageConfig, TlsConfig, WalConfig,
};
use crate::config::sinks::{SinkTopic, read_sinks};
use crate::config::sources::read_sources;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

impl Config {
    /// The configuration that file, environment and `--set` flags give together.
    ///
    /// # Errors
    /// All problems at once; unknown keys are problems.
    pub(crate) fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, Vec<Problem>> {
        let env: BTreeMap<String, String> = env.collect();
        let layers = Layers::read(file, &env, sets);
        let mut findings = Findings::new(layers.origins);
        let config = read(layers.table, &env, &mut findings);
        let mut problems = layers.problems;
        problems.extend(findings.into_problems());
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }
}

/// Reads every key; where one has a problem, the default stands in its place.
fn read(mut table: Table, env: &BTreeMap<String, String>, findings: &mut Findings) -> Config {
    let root = &mut table;
    let mut config = Config {
        storage: read_storage(Section::of(root, "storage", findings)),
        http: read_http(Section::of(root, "http", findings)),
        limits: read_limits(Section::of(root, "limits", findings)),
        wal: read_wal(Section::of(root, "wal", findings)),
        flush: read_flush(Section::of(root, "flush", findings)),
        checkpoint: read_checkpoint(Section::of(root, "checkpoint", findings)),
        replay: read_replay(Section::of(root, "replay", findings)),
        dlq: read_dlq(Section::of(root, "dlq", findings)),
        query: read_query(Section::of(root, "query", findings)),
        alerts: read_alerts(Section::of(root, "alerts", findings)),
        compat: read_compat(Section::of(root, "compat", findings)),
        retention: read_retention(root, findings),
        rules: read_rules(root, findings),
        sinks: Vec::new(),
        feeds: Vec::new(),
        sources: Vec::new(),
    };
    let sinks = read_sinks(root, env, findings);
    config.sources = read_sources(root, env, findings);
    SinkTopic::check(&sinks.topics, &config.sources, findings);
    (config.sinks, config.feeds) = (sinks.alerts, sinks.feeds);
    finish(&table, "", findings);
    config
}

fn read_storage(mut section: Section<'_>) -> StorageConfig {
    let mut storage = StorageConfig::default();
    let default = storage.data_dir.display().to_string();
    let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    if let Some(data_dir) = section.parsed("data_dir", &default, "a directory", path) {
        storage.data_dir = data_dir;
    }
    let zero = Some("as much as there is room");
    let bounds = Bounds { min: 512 * MIB, max: 1_024 * TIB, zero };
    section.bytes("disk_bytes_max", &mut storage.disk_bytes_max, &bounds);
    section.duration("retention", &mut storage.retention, &keeps());
    section.finish();
    storage
}

fn read_http(mut section: Section<'_>) -> HttpConfig {
    let mut http = HttpConfig::default();
    let (default, limits) = (http.listen.to_string(), "an IP address and a port");
    let address = |text: &str| text.parse::<SocketAddr>().ok();
    if let Some(listen) = section.parsed("listen", &default, limits, address) {
        http.listen = listen;
    }
    let limits = "an address that begins with http:// or https://";
    http.public_url = section.parsed("public_url", "", limits, public_url);
    let limits = "\"auto\", \"on\" or \"off\"";
    http.auth = section.parsed("auth", "auto", limits, Auth::from_name).unwrap_or_default();
    let bounds = Bounds { min: 1, max: 1_000_000, zero: Some("no limit") };
    section.number("requests_per_second", &mut http.requests_per_second, &bounds);
    let is_tls = section.has("tls");
    http.tls = read_tls(section.subsection("tls", "http.tls"), is_tls);
    section.finish();
    http
}

fn read_tls(mut section: Section<'_>, is_given: bool) -> Option<TlsConfig> {
    for key in ["cert", "key"] {
        if is_given && !section.has(key) {
            section.problem(key, "is missing: TLS needs a certificate and its key");
        }
    }
    let limits = "a file in PEM";
    let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    let cert = section.parsed("cert", "", limits, path);
    let key = section.parsed("key", "", limits, path);
    section.finish();
    Some(TlsConfig { cert: cert?, key: key? })
}

fn public_url(text: &str) -> Option<String> {
    let uri = text.parse::<ureq::http::Uri>().ok()?;
    let good = matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none();
    good.then(|| text.trim_end_matches('/').to_owned())
}

fn read_limits(mut section: Section<'_>) -> LimitsConfig {
    let mut limits = LimitsConfig::default();
    let zero = Some("half of the machine's memory");
    let bounds = Bounds { min: 128 * MIB, max: 16 * TIB, zero };
    section.bytes("memory_bytes_max", &mut limits.memory_bytes_max, &bounds);
    let zero = Some("what the memory allows");
    let bounds = Bounds { min: 1, max: 1_000_000_000, zero };
    section.number("series_max", &mut limits.series_max, &bounds);
    section.number("series_per_database_max", &mut limits.series_per_database_max, &bounds);
    section.number("series_per_metric_max", &mut limits.series_per_metric_max, &bounds);
    section.finish();
    limits
}

fn read_wal(mut section: Section<'_>) -> WalConfig {
    let mut wal = WalConfig::default();
    let bounds = Bounds { min: MIB, max: 1_024 * MIB, zero: None };
    section.bytes("segment_bytes_max", &mut wal.segment_bytes_max, &bounds);
    let bounds = Bounds { min: 10, max: 1_000, zero: None };
    section.number("idle_mark_ms", &mut wal.idle_mark_ms, &bounds);
    section.finish();
    wal
}

fn read_flush(mut section: Section<'_>) -> FlushConfig {
    let mut flush = FlushConfig::default();
    let bounds = Bounds { min: 1_000, max: 64_000_000, zero: None };
    section.number("rows_max", &mut flush.rows_max, &bounds);
    section.duration("interval", &mut flush.interval, &seconds(1..=86_400));
    section.finish();
    flush
}

fn read_checkpoint(mut section: Section<'_>) -> CheckpointConfig {
    let mut checkpoint = CheckpointConfig::default();
    let bounds = Bounds { min: 1_000, max: 1_000_000_000, zero: None };
    section.number("rows_max", &mut checkpoint.rows_max, &bounds);
    section.duration("interval", &mut checkpoint.interval, &seconds(1..=86_400));
    let bounds = Bounds { min: MIB, max: 16 * TIB, zero: None };
    section.bytes("bytes_per_second_max", &mut checkpoint.bytes_per_second_max, &bounds);
    section.finish();
    checkpoint
}

fn read_replay(mut section: Section<'_>) -> ReplayConfig {
    let mut replay = ReplayConfig::default();
    section.duration("keep", &mut replay.keep, &seconds(0..=36_500 * 86_400));
    section.fraction("disk_fraction", &mut replay.disk_fraction, 0.001..=0.9);
    section.finish();
    replay
}

fn read_dlq(mut section: Section<'_>) -> DlqConfig {
    let mut dlq = DlqConfig::default();
    section.duration("keep", &mut dlq.keep, &seconds(3_600..=36_500 * 86_400));
    let bounds = Bounds { min: 16 * MIB, max: 16 * TIB, zero: None };
    section.bytes("bytes_max", &mut dlq.bytes_max, &bounds);
    section.finish();
    dlq
}

fn read_query(mut section: Section<'_>) -> QueryConfig {
    let mut query = QueryConfig::default();
    section.duration("timeout", &mut query.timeout, &seconds(1..=30));
    let zero = Some("an eighth of limits.memory_bytes_max");
    let bounds = Bounds { min: 16 * MIB, max: 16 * TIB, zero };
    section.bytes("memory_bytes_max", &mut query.memory_bytes_max, &bounds);
    let bounds = Bounds { min: 1, max: 1_000_000_000, zero: None };
    section.number("rows_max", &mut query.rows_max, &bounds);
    section.finish();
    query
}

fn read_alerts(mut section: Section<'_>) -> AlertsConfig {
    let mut alerts = AlertsConfig::default();
    section.duration("max_age", &mut alerts.max_age, &seconds(0..=36_500 * 86_400));
    section.finish();
    alerts
}

fn read_compat(mut section: Section<'_>) -> CompatConfig {
    let mut compat = CompatConfig::default();
    section.flag("luminate_strict", &mut compat.luminate_strict);
    section.finish();
    compat
}

/// For how long samples may be kept.
pub(super) fn keeps() -> RangeInclusive<Duration> {
    seconds(0..=36_500 * 86_400)
}

fn seconds(range: RangeInclusive<u64>) -> RangeInclusive<Duration> {
    Duration::from_secs(*range.start())..=Duration::from_secs(*range.end())
}

#[cfg(test)]
#[path = "load_sources_tests.rs"]
mod sources_tests;
#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
