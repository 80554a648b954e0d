//! Is it alive, is it ready, what does it count.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{ApiError, App};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /healthz`: the process answers.
pub(crate) async fn healthz() -> &'static str {
    "OK"
}

/// `GET /readyz`: writes and queries are taken.
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Response {
    if app.running.get().is_some_and(|running| running.engine.is_recovered()) {
        return "READY".into_response();
    }
    let (done, target) = (app.recovery.done_lsn(), app.recovery.target_lsn());
    json_response(
        StatusCode::SERVICE_UNAVAILABLE,
        &json!({ "state": "recovering", "done_lsn": done, "target_lsn": target }),
    )
}

/// `GET /startupz`.
pub(crate) async fn startupz(State(app): State<Arc<App>>) -> Response {
    match app.running.get() {
        Some(_) => "STARTED".into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "NOT STARTED").into_response(),
    }
}

/// `GET /api/v1/version`.
pub(crate) async fn version() -> Response {
    json_response(
        StatusCode::OK,
        &json!({ "name": "tidewatch", "version": env!("CARGO_PKG_VERSION") }),
    )
}

/// `GET /metrics`: the process' instruments as OpenMetrics text.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let Some(running) = app.running.get() else {
        return ApiError::recovering().into_response();
    };
    match running.instruments(&app.door_registry()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_ERROR",
            format!("the instruments could not be written: {error}"),
        )
        .into_response(),
    }
}

/// Everything else.
pub(crate) async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "NOT_FOUND",
        format!("nothing is served at {}; write to /write, ask at /api/v3/query_sql", uri.path()),
    )
}

/// A path that is served, but not so; `Allow` is added by the router.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        format!("{method} is not answered at {}", uri.path()),
    )
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
