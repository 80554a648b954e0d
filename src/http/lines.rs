//! Line protocol, as Influx clients of versions 1, 2 and 3 send it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidewatch_connectors::decode::{Precision, WriteApi};
use tidewatch_engine::{Durability, LineReport, LineWrite};

use super::body::{Coding, Intake};
use super::write::{Door, Entered, Outcome, Parameters, Turn, enter, settle};
use super::{ApiError, App};

/// How line protocol may be packed.
const CODINGS: &[Coding] = &[Coding::Identity, Coding::Gzip, Coding::Zstd];
/// Bytes of a refused line that version 3 shows.
const LINE_SHOWN_BYTES_MAX: usize = 1_024;

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

/// `POST /api/v3/write_lp`.
pub(crate) async fn v3(
    State(app): State<Arc<App>>,
    Query(parameters): Parameters,
    request: Request,
) -> Response {
    write(&app, WriteApi::V3, &parameters, request).await
}

async fn write(
    app: &App,
    api: WriteApi,
    parameters: &HashMap<String, String>,
    request: Request,
) -> Response {
    match conduct(app, api, parameters, request).await {
        Ok(response) => response,
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
        WriteApi::V1 | WriteApi::V3 => json!({ "error": message }).to_string(),
        WriteApi::V2 => {
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
) -> Result<Response, ApiError> {
    let precision = precision(api, parameters)?;
    let accept_partial = accept_partial(api, parameters)?;
    let whole = format!("{} or nothing", precision.name());
    let door = Door {
        database: if api == WriteApi::V2 { "bucket" } else { "db" },
        reading: if accept_partial { precision.name() } else { &whole },
        intake: Intake { bytes_max: app.body_bytes_max, codings: CODINGS },
    };
    let entered = enter(app, door, parameters, request).await?;
    let Entered { engine, db, body, durability, client, turn } = entered;
    let body = &*body;
    let outcome = match turn {
        Turn::Replay(outcome) => outcome,
        Turn::Write(permit, claim) => {
            let write = LineWrite {
                db,
                body,
                precision,
                durability,
                permit,
                client,
                claim,
                accept_partial,
            };
            settle(durability, body.len(), |done| engine.ingest().write_lines(write, done)).await?
        }
    };
    let mut response = outcome.tell(answer(api, &outcome, body));
    if outcome.report.dropped > 0 {
        let count = HeaderValue::from(outcome.report.dropped);
        response.headers_mut().insert("tidewatch-strings-dropped", count);
    }
    Ok(response)
}

fn precision(api: WriteApi, parameters: &HashMap<String, String>) -> Result<Precision, ApiError> {
    match parameters.get("precision") {
        None if api == WriteApi::V3 => Ok(Precision::Auto),
        None => Ok(Precision::Nanoseconds),
        Some(text) => Precision::parse(api, text).ok_or_else(|| {
            ApiError::invalid(format!("precision {text:?} is not known; ns, us, ms and s are"))
        }),
    }
}

/// Whether good lines are stored where others are refused; only version 3 lets its clients choose.
fn accept_partial(api: WriteApi, parameters: &HashMap<String, String>) -> Result<bool, ApiError> {
    match parameters.get("accept_partial").map(String::as_str) {
        _ if api != WriteApi::V3 => Ok(true),
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => {
            Err(ApiError::invalid(format!("accept_partial {other:?} is neither true nor false")))
        }
    }
}

fn answer(api: WriteApi, outcome: &Outcome, body: &[u8]) -> Response {
    let report = &outcome.report;
    if report.lines_rejected == 0 {
        return match outcome.durability {
            Durability::Accepted => StatusCode::ACCEPTED.into_response(),
            Durability::Written | Durability::Synced => StatusCode::NO_CONTENT.into_response(),
        };
    }
    let said = match api {
        WriteApi::V1 => {
            json!({ "error": format!("partial write: {}", refusals(report)) })
        }
        WriteApi::V2 => {
            json!({ "code": "invalid", "message": refusals(report) })
        }
        WriteApi::V3 if report.lines_accepted == 0 => json!({
            "error": "parsing failed for write_lp endpoint",
            "data": refused_lines(report, body),
        }),
        WriteApi::V3 => json!({
            "error": "partial write of line protocol occurred",
            "data": refused_lines(report, body),
        }),
    };
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::BAD_REQUEST, headers, said.to_string()).into_response()
}

/// The refused lines in one text.
fn refusals(report: &LineReport) -> String {
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

/// The refused lines as they came, each up to its first line end.
fn refused_lines(report: &LineReport, body: &[u8]) -> Vec<Value> {
    let mut lines = (1_u32..).zip(body.split(|byte| *byte == b'\n'));
    let refused = report.refused.iter().map(|refused| {
        let line = lines.find(|(number, _)| *number == refused.line_number);
        let line = line.map_or(&[][..], |(_, line)| line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let shown = line.get(..LINE_SHOWN_BYTES_MAX).unwrap_or(line);
        json!({
            "original_line": String::from_utf8_lossy(shown),
            "line_number": refused.line_number,
            "error_message": refused.message,
        })
    });
    refused.collect()
}
