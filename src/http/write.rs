//! Writes: line protocol as Influx v1 and v2 clients send it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidewatch_connectors::decode::{Precision, WriteApi};
use tidewatch_engine::{Ack, Durability, EngineError, Ingest, LineReport, LineWrite, StoredAnswer};
use tidewatch_metrics::Lsn;

use super::keyed::{self, Keyed};
use super::server::Peer;
use super::{ApiError, App, body};

/// The database of writes that name none.
const DEFAULT_DATABASE: &str = "default";
/// Bodies beyond this are decoded off the event loop's back.
pub(super) const INLINE_BYTES_MAX: usize = 1 << 20;

type Parameters = Query<HashMap<String, String>>;

/// `POST /write`.
pub(crate) async fn v1(
    State(app): State<Arc<App>>,
    Query(parameters): Parameters,
    request: Request,
) -> Response {
    write(&app, WriteApi::V1, &parameters, request).await
}

/// `POST /api/v2/write`.
pub(crate) async fn v2(
    State(app): State<Arc<App>>,
    Query(parameters): Parameters,
    request: Request,
) -> Response {
    write(&app, WriteApi::V2, &parameters, request).await
}

async fn write(
    app: &App,
    api: WriteApi,
    parameters: &HashMap<String, String>,
    request: Request,
) -> Response {
    match conduct(app, api, parameters, request).await {
        Ok(outcome) => outcome.respond(api),
        // A repeat that is none: no Influx client has words for it.
        Err(error) if error.status == StatusCode::UNPROCESSABLE_ENTITY => error.into_response(),
        Err(error) => {
            let body = refusal(api, &error);
            let headers = [(header::CONTENT_TYPE, "application/json")];
            error.decorate((error.status, headers, body).into_response())
        }
    }
}

/// A refusal as the API's clients read it.
fn refusal(api: WriteApi, error: &ApiError) -> String {
    let message = &error.message;
    match api {
        WriteApi::V1 => json!({ "error": message }).to_string(),
        _ => {
            let code = match error.status {
                StatusCode::BAD_REQUEST | StatusCode::REQUEST_TIMEOUT => "invalid",
                StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported media type",
                StatusCode::PAYLOAD_TOO_LARGE => "request too large",
                StatusCode::TOO_MANY_REQUESTS => "too many requests",
                StatusCode::SERVICE_UNAVAILABLE => "unavailable",
                _ => "internal error",
            };
            json!({ "code": code, "message": message }).to_string()
        }
    }
}

async fn conduct(
    app: &App,
    api: WriteApi,
    parameters: &HashMap<String, String>,
    request: Request,
) -> Result<Outcome, ApiError> {
    let running = app.running()?;
    if running.engine.is_behind() {
        return Err(EngineError::Overloaded { retry_after_s: 1 }.into());
    }
    let client = request.extensions().get::<Peer>().map(|peer| peer.0);
    let (parts, body) = request.into_parts();
    let engine = &running.engine;
    let key = keyed::key(&parts.headers)?;
    let durability = durability(parameters, &parts.headers)?;
    let precision = precision(api, parameters)?;
    let database = if api == WriteApi::V2 { "bucket" } else { "db" };
    let db = parameters.get(database).map_or(DEFAULT_DATABASE, String::as_str);
    let body = body::read(engine.ingest(), &parts.headers, body, app.body_bytes_max).await?;
    let keyed = match &key {
        None => Keyed::Write(None),
        Some(key) => {
            let path = parts.uri.path().as_bytes();
            let unit = precision.name().as_bytes();
            keyed::claim(engine, db, key, &[path, db.as_bytes(), unit, &body.bytes]).await?
        }
    };
    let claim = match keyed {
        Keyed::Write(claim) => claim,
        Keyed::Replay(stored, lsn) => return Ok(Outcome::replayed(stored, lsn)),
    };
    let (body, permit) = (&*body.bytes, body.permit);
    let write =
        LineWrite { db, body, precision, durability, permit, client, claim, accept_partial: true };
    store(engine.ingest(), write).await
}

/// Hands the body to the engine and waits until it has the asked durability.
async fn store(ingest: &Ingest, write: LineWrite<'_>) -> Result<Outcome, ApiError> {
    let durability = write.durability;
    let (answer, answered) = tokio::sync::oneshot::channel();
    let done = Box::new(move |ack: Result<Ack, EngineError>| {
        // A client that has gone does not read its answer.
        drop(answer.send(ack));
    });
    let report = if write.body.len() > INLINE_BYTES_MAX {
        tokio::task::block_in_place(|| ingest.write_lines(write, done))?
    } else {
        ingest.write_lines(write, done)?
    };
    let lsn = if report.appended && durability != Durability::Accepted {
        let ack = answered.await.map_err(|_closed| ApiError::from(EngineError::Closed))?;
        Some(ack?.lsn)
    } else {
        None
    };
    Ok(Outcome { report, durability, lsn, is_replay: false })
}

fn precision(api: WriteApi, parameters: &HashMap<String, String>) -> Result<Precision, ApiError> {
    match parameters.get("precision") {
        None => Ok(Precision::Nanoseconds),
        Some(text) => Precision::parse(api, text).ok_or_else(|| {
            ApiError::invalid(format!("precision {text:?} is not known; ns, us, ms and s are"))
        }),
    }
}

fn durability(
    parameters: &HashMap<String, String>,
    headers: &HeaderMap,
) -> Result<Durability, ApiError> {
    let header = headers.get("tidewatch-durability").and_then(|value| value.to_str().ok());
    match parameters.get("durability").map(String::as_str).or(header) {
        None | Some("synced") => Ok(Durability::Synced),
        Some("written") => Ok(Durability::Written),
        Some("accepted") => Ok(Durability::Accepted),
        Some(other) => Err(ApiError::invalid(format!(
            "durability {other:?} is not known; accepted, written and synced are"
        ))),
    }
}

/// What became of a write.
struct Outcome {
    report: LineReport,
    durability: Durability,
    lsn: Option<Lsn>,
    /// Whether it was stored by an earlier request with the same key.
    is_replay: bool,
}

impl Outcome {
    /// That of the request which was stored.
    fn replayed(stored: StoredAnswer, lsn: Lsn) -> Self {
        let StoredAnswer { durability, report } = stored;
        let lsn = (durability != Durability::Accepted).then_some(lsn);
        Self { report, durability, lsn, is_replay: true }
    }

    fn respond(self, api: WriteApi) -> Response {
        let report = &self.report;
        let mut response = if report.lines_rejected == 0 {
            match self.durability {
                Durability::Accepted => StatusCode::ACCEPTED.into_response(),
                Durability::Written | Durability::Synced => StatusCode::NO_CONTENT.into_response(),
            }
        } else {
            let message = refused_lines(report);
            let body = match api {
                WriteApi::V1 => json!({ "error": format!("partial write: {message}") }),
                _ => json!({ "code": "invalid", "message": message }),
            };
            let headers = [(header::CONTENT_TYPE, "application/json")];
            (StatusCode::BAD_REQUEST, headers, body.to_string()).into_response()
        };
        let level = match self.durability {
            Durability::Accepted => "accepted",
            Durability::Written => "written",
            Durability::Synced => "synced",
        };
        let headers = response.headers_mut();
        headers.insert("tidewatch-durability", HeaderValue::from_static(level));
        headers.insert("tidewatch-accepted", HeaderValue::from(report.lines_accepted));
        headers.insert("tidewatch-rejected", HeaderValue::from(report.lines_rejected));
        if report.strings_dropped > 0 {
            let count = HeaderValue::from(report.strings_dropped);
            headers.insert("tidewatch-strings-dropped", count);
        }
        if let Some(lsn) = self.lsn {
            headers.insert("tidewatch-lsn", HeaderValue::from(lsn.get()));
        }
        if self.is_replay {
            headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        response
    }
}

fn refused_lines(report: &LineReport) -> String {
    let mut text = String::new();
    for line in &report.refused {
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&format!("line {}: {}", line.line_number, line.message));
    }
    let told = u64::try_from(report.refused.len()).unwrap_or(u64::MAX);
    if text.is_empty() {
        text = format!("{} lines", report.lines_rejected);
    } else if report.lines_rejected > told {
        text.push_str(&format!("; and {} more lines", report.lines_rejected - told));
    }
    text
}
