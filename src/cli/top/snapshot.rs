//! What the view shows, made from what the server answered twice.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::cli::alerts::{series, text};
use crate::cli::top::asker::Reading;

/// What all sources but messages are called.
const DOOR: &str = "HTTP";
const PREFIX: &str = "tidewatch_connectors_kafka_";

/// One moment of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Snapshot {
    /// The server's address.
    pub(crate) url: String,
    /// Since when there is no answer, and why; what is shown is older.
    pub(crate) lost: Option<Lost>,
    pub(crate) version: String,
    /// Healthy, degraded or unhealthy.
    pub(crate) status: String,
    pub(crate) caught_up: bool,
    pub(crate) uptime_seconds: f64,
    /// Samples that were taken in a second, whatever from.
    pub(crate) samples_per_second: Option<f64>,
    pub(crate) machine: Machine,
    pub(crate) sources: Vec<SourceLine>,
    /// The worst first.
    pub(crate) partitions: Vec<PartitionLine>,
    /// Why nobody knows.
    pub(crate) partitions_missing: Option<String>,
    /// The newest first.
    pub(crate) alerts: Vec<AlertLine>,
    /// Why nobody knows.
    pub(crate) alerts_missing: Option<String>,
    /// Parts that are not healthy.
    pub(crate) troubles: Vec<Trouble>,
}

/// A server that does not answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Lost {
    pub(crate) seconds: f64,
    pub(crate) why: String,
}

/// Log, disk, memory, queries, sinks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Machine {
    pub(crate) durable_lsn: Option<f64>,
    pub(crate) records_per_second: Option<f64>,
    /// Records that are durable and that shards have not applied.
    pub(crate) records_behind: Option<f64>,
    /// Records that a start would read back: what is not in segments and a checkpoint yet.
    pub(crate) records_to_replay: Option<f64>,
    pub(crate) data_bytes: Option<f64>,
    /// Where there is a budget.
    pub(crate) data_bytes_max: Option<f64>,
    pub(crate) disk_available_bytes: Option<f64>,
    pub(crate) series: Option<f64>,
    pub(crate) series_bytes: Option<f64>,
    pub(crate) series_bytes_max: Option<f64>,
    pub(crate) requests_bytes: Option<f64>,
    pub(crate) requests_bytes_max: Option<f64>,
    pub(crate) queries_in_hand: Option<f64>,
    pub(crate) queries_max: Option<f64>,
    pub(crate) undelivered: Option<f64>,
}

/// A source of samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct SourceLine {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) samples_per_second: Option<f64>,
    pub(crate) messages_per_second: Option<f64>,
    pub(crate) bytes_per_second: Option<f64>,
    pub(crate) lag_messages: Option<f64>,
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) catch_up_seconds: Option<f64>,
    pub(crate) bad_messages: Option<f64>,
    pub(crate) gap_messages: Option<f64>,
    pub(crate) rebalances: Option<f64>,
}

/// A partition that is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct PartitionLine {
    pub(crate) source: String,
    pub(crate) topic: String,
    pub(crate) partition: String,
    pub(crate) state: String,
    pub(crate) lag_messages: f64,
    pub(crate) lag_seconds: f64,
    pub(crate) bad_messages: f64,
    pub(crate) trouble: String,
}

/// An alert that fires.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct AlertLine {
    pub(crate) onset: String,
    pub(crate) rule: String,
    pub(crate) priority: String,
    pub(crate) series: String,
    pub(crate) severity: f64,
}

/// A part that is not healthy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Trouble {
    pub(crate) part: String,
    pub(crate) status: String,
    pub(crate) message: String,
}

impl Snapshot {
    /// Before there is any answer.
    pub(crate) fn of_nothing(url: &str) -> Self {
        let missing = Some("there is no answer yet".to_owned());
        Self {
            url: url.to_owned(),
            partitions_missing: missing.clone(),
            alerts_missing: missing,
            ..Self::default()
        }
    }

    /// Of the last answer, with rates since the one before.
    pub(crate) fn of(url: &str, before: Option<&Reading>, now: &Reading) -> Self {
        let since = before.map(|before| Since { before, now });
        let health = &now.health;
        let known = |rows: &Result<Vec<Value>, String>| rows.clone().unwrap_or_default();
        Self {
            url: url.to_owned(),
            lost: None,
            version: text(health, "version"),
            status: text(health, "status"),
            caught_up: health["caught_up"] == true,
            uptime_seconds: health["uptime_seconds"].as_f64().unwrap_or_default(),
            samples_per_second: since.and_then(|since| since.rate(DECODED)),
            machine: Machine::of(since, now),
            sources: sources(since, now),
            partitions: known(&now.partitions).iter().map(PartitionLine::of).collect(),
            partitions_missing: now.partitions.clone().err(),
            alerts: known(&now.alerts).iter().map(AlertLine::of).collect(),
            alerts_missing: now.alerts.clone().err(),
            troubles: troubles(health),
        }
    }
}

const DECODED: &str = "tidewatch_connectors_samples_decoded_total";

/// Two readings, for rates.
#[derive(Clone, Copy, Debug)]
struct Since<'a> {
    before: &'a Reading,
    now: &'a Reading,
}

impl Since<'_> {
    /// A counter by the second. One that has become smaller began anew.
    fn rate(self, name: &str) -> Option<f64> {
        self.per_second(self.before.instruments.get(name), self.now.instruments.get(name))
    }

    fn rate_of(self, name: &str, source: &str) -> Option<f64> {
        let (before, now) = (&self.before.instruments, &self.now.instruments);
        self.per_second(before.of_source(name, source), now.of_source(name, source))
    }

    fn rate_of_all(self, name: &str) -> Option<f64> {
        let (before, now) = (&self.before.instruments, &self.now.instruments);
        self.per_second(Some(before.of_sources(name)), Some(now.of_sources(name)))
    }

    fn per_second(self, before: Option<f64>, now: Option<f64>) -> Option<f64> {
        let (more, time) = (now? - before?, self.now.at.saturating_sub(self.before.at));
        (more >= 0.0 && time > Duration::ZERO).then(|| more / time.as_secs_f64())
    }
}

/// A part of health; nothing of one that is not there.
fn part<'a>(health: &'a Value, name: &str) -> &'a Value {
    let parts = health["components"].as_array().into_iter().flatten();
    parts.into_iter().find(|part| part["name"] == name).unwrap_or(&Value::Null)
}

impl Machine {
    fn of(since: Option<Since<'_>>, now: &Reading) -> Self {
        let figure = |name: &str, key: &str| part(&now.health, name)["details"][key].as_f64();
        let durable_lsn = figure("log", "durable_lsn");
        let before = since
            .and_then(|since| part(&since.before.health, "log")["details"]["durable_lsn"].as_f64());
        let replay_from = now.instruments.get("tidewatch_engine_checkpoint_replay_from_lsn");
        let bounds = [figure("query", "running_max"), figure("query", "waiting_max")];
        Self {
            durable_lsn,
            records_per_second: since.and_then(|since| since.per_second(before, durable_lsn)),
            records_behind: figure("shards", "records_behind"),
            records_to_replay: durable_lsn
                .zip(replay_from)
                .map(|(durable, from)| (durable + 1.0 - from.max(1.0)).max(0.0)),
            data_bytes: figure("storage", "data_bytes"),
            data_bytes_max: figure("storage", "data_bytes_max").filter(|max| *max > 0.0),
            disk_available_bytes: figure("storage", "disk_available_bytes"),
            series: now.instruments.get("tidewatch_engine_series"),
            series_bytes: figure("memory", "series_bytes"),
            series_bytes_max: figure("memory", "series_bytes_max"),
            requests_bytes: figure("memory", "requests_bytes"),
            requests_bytes_max: figure("memory", "requests_bytes_max"),
            queries_in_hand: figure("query", "in_hand"),
            queries_max: bounds.iter().copied().sum(),
            undelivered: figure("sinks", "undelivered"),
        }
    }
}

/// HTTP, and then every source that health tells of.
fn sources(since: Option<Since<'_>>, now: &Reading) -> Vec<SourceLine> {
    let door = since.and_then(|since| {
        let of_messages = since.rate_of_all(&format!("{PREFIX}samples_total"))?;
        // Messages are counted as decoded a moment before they are counted as stored.
        Some((since.rate(DECODED)? - of_messages).max(0.0))
    });
    let door =
        SourceLine { name: DOOR.to_owned(), samples_per_second: door, ..SourceLine::default() };
    let told = part(&now.health, "sources")["details"].as_object();
    let told = told.into_iter().flatten().map(|(name, figures)| {
        let rate = |what: &str| since?.rate_of(&format!("{PREFIX}{what}_total"), name);
        let figure = |key: &str| figures[key].as_f64();
        SourceLine {
            name: name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
            state: text(figures, "state"),
            samples_per_second: rate("samples"),
            messages_per_second: rate("messages"),
            bytes_per_second: rate("bytes"),
            lag_messages: figure("lag_messages"),
            lag_seconds: figure("lag_seconds"),
            catch_up_seconds: figure("catch_up_seconds"),
            bad_messages: figure("bad_messages"),
            gap_messages: figure("gap_messages"),
            rebalances: figure("rebalances"),
        }
    });
    std::iter::once(door).chain(told).collect()
}

impl PartitionLine {
    fn of(row: &Value) -> Self {
        let figure = |key: &str| row[key].as_f64().unwrap_or_default();
        Self {
            source: text(row, "source"),
            topic: text(row, "topic"),
            partition: text(row, "partition"),
            state: text(row, "state"),
            lag_messages: figure("lag_messages"),
            lag_seconds: figure("lag_seconds"),
            bad_messages: figure("bad_messages"),
            trouble: text(row, "trouble"),
        }
    }
}

impl AlertLine {
    fn of(row: &Value) -> Self {
        Self {
            onset: text(row, "onset"),
            rule: text(row, "rule"),
            priority: text(row, "priority"),
            series: series(row),
            severity: row["severity"].as_f64().unwrap_or_default(),
        }
    }
}

fn troubles(health: &Value) -> Vec<Trouble> {
    let parts = health["components"].as_array().into_iter().flatten();
    let ill = parts.filter(|part| part["status"] != "healthy");
    let ill = ill.map(|part| Trouble {
        part: text(part, "name"),
        status: text(part, "status"),
        message: text(part, "message"),
    });
    ill.collect()
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
