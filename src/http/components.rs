//! `GET /api/v1/health`: the parts of the product, each with its state.
//!
//! What is told is what the parts know of themselves; only the file system is asked, and has a time for its
//! answer.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use tidewatch_engine::kafka::{KafkaReader, SourceHealth, SourceState};
use tidewatch_engine::limits::OUTBOX_MESSAGES_MAX;
use tidewatch_engine::{EngineHealth, SinkTrouble};
use tidewatch_query::QueryLoad;

use super::App;
use crate::assemble::{Bounds, Running};
use crate::disk_usage::DiskUsage;

/// Time for the answer of one part.
const CHECK_MAX: Duration = Duration::from_secs(5);
/// A disk that is fuller, in hundredths, is no longer healthy.
const DISK_PERCENT_MAX: u64 = 95;
/// Of a share of the memory: above it, in hundredths, little is left.
const MEMORY_PERCENT_MAX: u64 = 95;
/// Messages that wait for sinks; at twice as many for one sink the oldest are given up.
const BACKLOG_MAX: usize = OUTBOX_MESSAGES_MAX / 2;

/// How a part fares; the worst one tells how all of it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Healthy,
    /// It works, but somebody should look at it.
    Degraded,
    /// It does not work, or will not for long.
    Unhealthy,
}

/// How one part fares.
#[derive(Debug)]
struct Finding {
    name: &'static str,
    status: Status,
    message: String,
    details: Value,
}

#[derive(Debug, Serialize)]
struct Component {
    name: &'static str,
    status: Status,
    message: String,
    details: Value,
    timestamp: String,
    duration_ms: f64,
}

#[derive(Debug, Serialize)]
struct Answer {
    status: Status,
    /// Whether queries see all that was written, and all that sources' brokers had a moment ago.
    caught_up: bool,
    version: &'static str,
    uptime_seconds: u64,
    components: Vec<Component>,
    timestamp: String,
}

/// `GET /api/v1/health`: 200, or 503 where some part is unhealthy.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    let recovery = Recovery {
        done: app.recovery.done_lsn(),
        target: app.recovery.target_lsn(),
        is_over: app.running.get().is_some_and(|running| running.engine.is_recovered()),
    };
    let mut components = vec![timed(&app, || replay(recovery, app.running.get().is_some()))];
    if let Some(running) = app.running.get() {
        let engine = running.engine.health();
        components.push(timed(&app, || log(&engine)));
        components.push(timed(&app, || shards(&engine)));
        components.push(timed(&app, || segments(&engine)));
        components.push(timed(&app, || sinks(&engine, &running.engine.sink_troubles())));
        if !running.readers().is_empty() {
            components
                .push(timed(&app, || sources(running.readers().iter().map(KafkaReader::health))));
        }
        components.push(timed(&app, || memory(&engine, &running.bounds)));
        components.push(timed(&app, || query(running.query.load())));
        components.push(storage(&app, running, &engine).await);
    }
    let status = components.iter().map(|part| part.status).max().unwrap_or(Status::Healthy);
    let code = match status {
        Status::Healthy | Status::Degraded => StatusCode::OK,
        Status::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
    };
    let version = env!("CARGO_PKG_VERSION");
    let uptime_seconds = app.clock.monotonic().as_secs();
    let caught_up = app.running.get().is_some_and(|running| running.has_caught_up());
    let answer =
        Answer { status, caught_up, version, uptime_seconds, components, timestamp: now() };
    let text = serde_json::to_string(&answer).expect("numbers and texts are always JSON");
    (code, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn timed(app: &App, find: impl FnOnce() -> Finding) -> Component {
    let began = app.clock.monotonic();
    component(app, began, find())
}

fn component(app: &App, began: Duration, finding: Finding) -> Component {
    let Finding { name, status, message, details } = finding;
    let duration_ms = app.clock.monotonic().saturating_sub(began).as_secs_f64() * 1_000.0;
    Component { name, status, message, details, timestamp: now(), duration_ms }
}

/// How far the replay of the log has come.
#[derive(Clone, Copy, Debug)]
struct Recovery {
    done: u64,
    target: u64,
    is_over: bool,
}

fn replay(recovery: Recovery, takes_writes: bool) -> Finding {
    let Recovery { done, is_over, .. } = recovery;
    // The log may have grown since its end was looked for.
    let target = recovery.target.max(done);
    let (status, message) = match (is_over, takes_writes) {
        (true, _) => (Status::Healthy, "the log is replayed".to_owned()),
        (false, true) => {
            let message = format!("record {done} of {target}: writes are taken, queries wait");
            (Status::Degraded, message)
        }
        (false, false) => {
            (Status::Unhealthy, format!("record {done} of {target}: nothing is taken yet"))
        }
    };
    let details = json!({ "done_lsn": done, "target_lsn": target });
    Finding { name: "replay", status, message, details }
}

fn log(engine: &EngineHealth) -> Finding {
    let durable = engine.durable;
    let (status, message) = if engine.is_closed {
        (Status::Unhealthy, "it takes no more records: the process ends".to_owned())
    } else if engine.is_full {
        let message = "the disk has no room for its next file: writes are refused with 507 until \
                       there is some";
        (Status::Degraded, message.to_owned())
    } else {
        (Status::Healthy, format!("durable up to record {durable}"))
    };
    let details = json!({ "durable_lsn": durable.get(), "is_full": engine.is_full });
    Finding { name: "log", status, message, details }
}

fn shards(engine: &EngineHealth) -> Finding {
    let applied = engine.applied;
    let behind = engine.durable.get().saturating_sub(applied.get());
    let left = engine.series_to_prime;
    let learning = match left {
        0 => String::new(),
        left => format!("; {left} detectors have yet to learn from stored rows"),
    };
    Finding {
        name: "shards",
        status: Status::Healthy,
        message: format!("applied up to record {applied}{learning}"),
        details: json!({
            "applied_lsn": applied.get(), "records_behind": behind,
            "priming": { "series_left": left },
        }),
    }
}

fn segments(engine: &EngineHealth) -> Finding {
    let (status, message) = match (engine.is_behind, engine.quarantined) {
        (false, 0) => (Status::Healthy, "all can be read".to_owned()),
        (true, 0) => (Status::Degraded, "flushes are behind".to_owned()),
        (is_behind, damaged) => {
            let behind = if is_behind { "; flushes are behind" } else { "" };
            let message =
                format!("{damaged} damaged files were set aside, their rows are missing{behind}");
            (Status::Degraded, message)
        }
    };
    let details = json!({ "is_behind": engine.is_behind, "quarantined": engine.quarantined });
    Finding { name: "segments", status, message, details }
}

fn sinks(engine: &EngineHealth, troubles: &[SinkTrouble]) -> Finding {
    let EngineHealth { undelivered, dead_letters, .. } = *engine;
    let mut told = Vec::new();
    if dead_letters > 0 {
        told.push(format!(
            "{dead_letters} messages were given up since the start, tidewatch.deliveries has them"
        ));
    }
    if undelivered > BACKLOG_MAX {
        told.push("some receiver is down or slow".to_owned());
    }
    told.extend(troubles.iter().map(|trouble| format!("{}: {}", trouble.sink, trouble.text)));
    let status = if told.is_empty() { Status::Healthy } else { Status::Degraded };
    told.push(format!("{undelivered} messages wait"));
    let details = json!({ "undelivered": undelivered, "dead_letters": dead_letters });
    Finding { name: "sinks", status, message: told.join("; "), details }
}

fn sources(sources: impl Iterator<Item = SourceHealth>) -> Finding {
    let sources: Vec<_> = sources.collect();
    let told = sources.iter().filter_map(|source| {
        let trouble = source.trouble.as_ref()?;
        Some(format!("{}: {}", source.name, trouble.text()))
    });
    let told: Vec<_> = told.collect();
    let (status, message) = if told.is_empty() {
        (Status::Healthy, progress(&sources))
    } else {
        (Status::Degraded, told.join("; "))
    };
    let details = sources.iter().map(|source| {
        let figures = json!({
            "state": source.state().name(), "caught_up": is_caught_up(source),
            "partitions": source.partitions, "lag_messages": source.lag_messages,
            "lag_seconds": source.lag.as_secs_f64(),
            "messages_per_second": source.messages_per_second,
            "catch_up_seconds": catch_up(source).map(|left| left.as_secs_f64()),
            "gap_messages": source.gap_messages, "bad_messages": source.bad_messages,
            "dead_letters": source.dead_letters, "rebalances": source.rebalances,
        });
        (source.name.clone(), figures)
    });
    Finding { name: "sources", status, message, details: Value::Object(details.collect()) }
}

fn is_caught_up(source: &SourceHealth) -> bool {
    source.state() == SourceState::Reading
}

/// How long it takes until it has caught up, as far as anybody can tell.
fn catch_up(source: &SourceHealth) -> Option<Duration> {
    match source.state() {
        SourceState::Reading => Some(Duration::ZERO),
        SourceState::CatchingUp => source.time_left,
        _ => None,
    }
}

/// How sources without any trouble come on.
fn progress(sources: &[SourceHealth]) -> String {
    let behind = sources.iter().filter_map(|source| match source.state() {
        SourceState::Starting => Some(format!("{} asks which partitions there are", source.name)),
        SourceState::CatchingUp => {
            let left = catch_up(source).map_or_else(
                || "nobody can tell yet for how long".to_owned(),
                |left| format!("for about {} s", left.as_secs().max(1)),
            );
            let (name, lag) = (&source.name, source.lag_messages);
            Some(format!("{name} is catching up {left}: {lag} messages are not stored yet"))
        }
        _ => None,
    });
    let behind: Vec<_> = behind.collect();
    if behind.is_empty() {
        let partitions: usize = sources.iter().map(|source| source.partitions).sum();
        return format!("{partitions} partitions are read");
    }
    behind.join("; ")
}

fn memory(engine: &EngineHealth, bounds: &Bounds) -> Finding {
    let is_tight = |used: u64, max: u64| {
        u128::from(used) * 100 > u128::from(max) * u128::from(MEMORY_PERCENT_MAX)
    };
    let EngineHealth { series_bytes, requests_bytes, .. } = *engine;
    let (series_max, requests_max) = (bounds.series_bytes_max, bounds.requests_bytes_max);
    let (status, message) = if is_tight(series_bytes, series_max) {
        let message = "series have nearly all of their share: new ones are refused beyond it";
        (Status::Degraded, message.to_owned())
    } else if is_tight(requests_bytes, requests_max) {
        let message = "requests in hand have nearly all of their share: more are answered 429";
        (Status::Degraded, message.to_owned())
    } else {
        (Status::Healthy, "within the budget".to_owned())
    };
    let details = json!({
        "series_bytes": series_bytes, "series_bytes_max": series_max,
        "requests_bytes": requests_bytes, "requests_bytes_max": requests_max,
    });
    Finding { name: "memory", status, message, details }
}

fn query(load: QueryLoad) -> Finding {
    let QueryLoad { in_hand, running_max, waiting_max } = load;
    let (status, message) = if in_hand >= running_max + waiting_max {
        (Status::Degraded, format!("{in_hand} in hand: more are answered 503"))
    } else {
        (Status::Healthy, format!("{in_hand} in hand"))
    };
    let details =
        json!({ "in_hand": in_hand, "running_max": running_max, "waiting_max": waiting_max });
    Finding { name: "query", status, message, details }
}

async fn storage(app: &App, running: &Running, engine: &EngineHealth) -> Component {
    let began = app.clock.monotonic();
    let data_dir = running.bounds.data_dir.clone();
    let asked = tokio::task::spawn_blocking(move || DiskUsage::of(&data_dir));
    let usage = match tokio::time::timeout(CHECK_MAX, asked).await {
        Ok(Ok(Ok(usage))) => Ok(usage),
        Ok(Ok(Err(error))) => Err(format!("the file system cannot be asked: {error}")),
        Ok(Err(_panic)) => Err("the file system cannot be asked".to_owned()),
        Err(_elapsed) => {
            Err(format!("the file system gave no answer in {} s", CHECK_MAX.as_secs()))
        }
    };
    let finding = match usage {
        Ok(usage) => disk(usage, engine.disk_bytes, running.bounds.disk_bytes_max),
        Err(message) => {
            let details = json!({});
            Finding { name: "storage", status: Status::Unhealthy, message, details }
        }
    };
    component(app, began, finding)
}

fn disk(usage: DiskUsage, data_bytes: u64, data_bytes_max: u64) -> Finding {
    let (status, message) = if usage.is_above(DISK_PERCENT_MAX) {
        let message = format!("the file system is more than {DISK_PERCENT_MAX} % full");
        (Status::Unhealthy, message)
    } else if data_bytes_max > 0 && data_bytes > data_bytes_max {
        let message = "the data directory takes more than storage.disk_bytes_max".to_owned();
        (Status::Degraded, message)
    } else {
        (Status::Healthy, format!("{data_bytes} bytes in the data directory"))
    };
    let details = json!({
        "data_bytes": data_bytes, "data_bytes_max": data_bytes_max,
        "disk_used_bytes": usage.used, "disk_available_bytes": usage.available,
    });
    Finding { name: "storage", status, message, details }
}

#[cfg(test)]
#[path = "components_tests.rs"]
mod tests;
