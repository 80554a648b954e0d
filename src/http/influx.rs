//! What Influx clients ask besides writing.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tidewatch_metrics::series::check_database;

use super::{App, error::chain};

/// Clients look at the first number to tell which API they may use.
const INFLUX_VERSION: &str = concat!("1.8.0-tidewatch.", env!("CARGO_PKG_VERSION"));
/// A statement in a form body.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// `GET|HEAD /ping`.
pub(crate) async fn ping() -> Response {
    let headers = [("x-influxdb-version", INFLUX_VERSION), ("x-influxdb-build", "Tidewatch")];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// `GET /health`, as Influx v2 clients read it.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    let ready = app.running.get().is_some();
    let (status, word, message) = if ready {
        (StatusCode::OK, "pass", "ready for queries and writes")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "fail", "the log is being replayed")
    };
    let body = json!({
        "name": "tidewatch", "message": message, "status": word,
        "version": env!("CARGO_PKG_VERSION"),
    });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// `GET|POST /query`: `CREATE DATABASE`, which v1 clients send before they write.
pub(crate) async fn query(
    State(app): State<Arc<App>>,
    Query(parameters): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    if let Err(error) = app.running() {
        return error.into_response();
    }
    let statement = match parameters.get("q") {
        Some(statement) => Some(statement.clone()),
        None => form_statement(request).await,
    };
    let answer = match statement.as_deref().map(created_database) {
        None => Err("missing required parameter \"q\"".to_owned()),
        Some(None) => Err("only CREATE DATABASE is answered here; ask in SQL at \
                           /api/v3/query_sql?db=…&q=SELECT …"
            .to_owned()),
        // A database is made by its first write: there is nothing to do but to look at its name.
        Some(Some(name)) => check_database(&name).map_err(|error| chain(&error)),
    };
    let (status, body) = match answer {
        Ok(()) => (StatusCode::OK, json!({ "results": [{ "statement_id": 0 }] })),
        Err(message) => (StatusCode::BAD_REQUEST, json!({ "error": message })),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn form_statement(request: Request) -> Option<String> {
    let body = axum::body::to_bytes(request.into_body(), FORM_BYTES_MAX).await.ok()?;
    let text = std::str::from_utf8(&body).ok()?;
    let uri = format!("/?{text}").parse().ok()?;
    let Query(form) = Query::<HashMap<String, String>>::try_from_uri(&uri).ok()?;
    form.get("q").cloned()
}

/// The name in `CREATE DATABASE name [WITH …]`.
fn created_database(statement: &str) -> Option<String> {
    let mut words = statement.trim().trim_end_matches(';').split_whitespace();
    let create = words.next()?.eq_ignore_ascii_case("create");
    let database = words.next()?.eq_ignore_ascii_case("database");
    let rest = words.collect::<Vec<_>>().join(" ");
    if !create || !database {
        return None;
    }
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').map(|(name, _)| name.to_owned()),
        None => rest.split(' ').next().filter(|name| !name.is_empty()).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_created_database_is_found() {
        let name = |statement| created_database(statement);
        assert_eq!(name("CREATE DATABASE metrics").as_deref(), Some("metrics"));
        assert_eq!(name("create database \"my db\" WITH DURATION 1d;").as_deref(), Some("my db"));
        assert_eq!(name("CREATE DATABASE"), None);
        assert_eq!(name("DROP DATABASE metrics"), None);
    }
}
