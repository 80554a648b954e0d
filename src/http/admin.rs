//! Deletes, `POST /api/v1/admin/delete` and `DELETE /api/v1/admin/metrics/{name}`, and merges on demand.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::json;
use tidewatch_metrics::EventTime;
use tidewatch_query::{Format, QueryRequest};
use tidewatch_segments::MetricName;

use super::change::changed;
use super::document::document;
use super::{ApiError, App, PathNames};
use crate::assemble::Running;

/// A body: five short parameters.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Time until rows are hidden; later than that they will be all the same.
const DELETE_MAX: Duration = Duration::from_secs(30);

/// What is to be deleted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    metric: Option<String>,
    db: Option<String>,
    from: Option<String>,
    before: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// `POST /api/v1/admin/delete` with `{"metric","db","from","before","dry_run"}`.
pub(crate) async fn delete(State(app): State<Arc<App>>, request: Request) -> Response {
    let conduct = async {
        let parameters = document(request, BODY_BYTES_MAX, "the expected JSON").await?;
        carry_out(app.running()?, parameters).await
    };
    conduct.await.unwrap_or_else(IntoResponse::into_response)
}

/// `DELETE /api/v1/admin/metrics/{name}?before=&from=&db=&dry_run=`.
pub(crate) async fn delete_metric(
    State(app): State<Arc<App>>,
    PathNames(metric): PathNames<String>,
    Query(mut query): Query<HashMap<String, String>>,
) -> Response {
    let conduct = async {
        let mut parameters = Parameters { metric: Some(metric), ..Parameters::default() };
        parameters.db = query.remove("db");
        parameters.from = query.remove("from");
        parameters.before = query.remove("before");
        parameters.dry_run = match query.remove("dry_run").as_deref() {
            None | Some("false") => false,
            Some("true" | "") => true,
            Some(other) => {
                return Err(ApiError::invalid(format!("dry_run is {other:?}, not true or false")));
            }
        };
        if let Some(unknown) = query.keys().next() {
            return Err(ApiError::invalid(format!("parameter {unknown:?} is not known")));
        }
        carry_out(app.running()?, parameters).await
    };
    conduct.await.unwrap_or_else(IntoResponse::into_response)
}

/// `POST /api/v1/admin/compact`: neighbouring segments are merged that would wait for more.
pub(crate) async fn compact(State(app): State<Arc<App>>) -> Response {
    match app.running() {
        Ok(running) => {
            running.engine.compact();
            let headers = [(header::CONTENT_TYPE, "application/json")];
            (StatusCode::ACCEPTED, headers, json!({ "started": true }).to_string()).into_response()
        }
        Err(error) => error.into_response(),
    }
}

async fn carry_out(running: &Arc<Running>, asked: Parameters) -> Result<Response, ApiError> {
    let metric = asked.metric.filter(|metric| !metric.is_empty());
    let metric = metric.ok_or_else(|| ApiError::invalid("\"metric\" is missing"))?;
    let db = asked.db.unwrap_or_else(|| "default".to_owned());
    let Some(before) = asked.before.as_deref() else {
        return Err(ApiError::invalid(
            "\"before\" is missing: a time such as 2026-01-31T00:00:00Z",
        ));
    };
    let before = time("before", before)?;
    let from = asked.from.as_deref().map(|text| time("from", text)).transpose()?;
    let from = from.unwrap_or(i64::MIN);
    if before <= from {
        return Err(ApiError::invalid("\"before\" is not later than \"from\""));
    }
    if running.engine.catalog().metric(&db, &metric).is_none() {
        let message = format!("there is no metric {metric:?} in database {db:?}");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "METRIC_NOT_FOUND", message));
    }
    let name = MetricName { db, metric };
    let count = count(running, &name, (from, before)).await?;
    let mut answer = json!({
        "metricName": name.metric, "db": name.db, "deletedCount": count, "dryRun": asked.dry_run,
    });
    if !asked.dry_run {
        let engine = Arc::clone(&running.engine);
        let times = (EventTime::new(from), EventTime::new(before - 1));
        let lsn = changed(move || engine.delete(name, times, DELETE_MAX)).await?;
        answer["lsn"] = json!(lsn.get());
        answer["deletedAt"] = json!(Utc::now().to_rfc3339_opts(SecondsFormat::AutoSi, true));
    }
    Ok(([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response())
}

/// Rows that a delete hides, with superseded ones.
async fn count(
    running: &Running,
    name: &MetricName,
    (from, before): (i64, i64),
) -> Result<u64, ApiError> {
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let sql = format!(
        "SELECT count(*) AS n FROM tidewatch.arrivals WHERE db = {} AND metric = {} \
         AND time >= to_timestamp_nanos({from}) AND time < to_timestamp_nanos({before})",
        text(&name.db),
        text(&name.metric)
    );
    let request =
        QueryRequest { sql, db: "default".to_owned(), format: Format::Csv, timeout: None };
    let answer = running.query.execute(request).await?;
    let body = String::from_utf8_lossy(&answer.body);
    let rows = body.lines().nth(1).and_then(|line| line.parse().ok());
    rows.ok_or_else(|| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        ApiError::new(status, "QUERY_FAILED", "the rows could not be counted")
    })
}

/// Nanoseconds since 1970.
fn time(key: &str, text: &str) -> Result<i64, ApiError> {
    let parsed =
        DateTime::parse_from_rfc3339(text).ok().and_then(|time| time.timestamp_nanos_opt());
    parsed.ok_or_else(|| {
        let form = "a time such as 2026-01-31T00:00:00Z, from 1677 to 2262";
        ApiError::invalid(format!("{key:?} is {text:?}, not {form}"))
    })
}
