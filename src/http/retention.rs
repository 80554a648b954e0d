//! For how many days a metric's samples are kept: `GET|POST /api/v1/admin/retention` and
//! `DELETE /api/v1/admin/retention/{name}`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat};
use serde::Deserialize;
use serde_json::{Value, json};
use tidewatch_metrics::UnixNanos;
use tidewatch_metrics::limits::METRIC_BYTES_MAX;
use tidewatch_segments::MetricName;

use super::change::{changed, noted};
use super::document::document;
use super::error::chain;
use super::luminate::{no_more, take_database};
use super::{ApiError, App, PathNames};
use crate::assemble::Running;
use crate::retention::{DAYS_MAX, Kept, RetentionError};

/// A body: a name and a number.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// What is to be said. Luminate's documents spell it in both ways.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(rename = "metricName", alias = "metric_name")]
    metric: String,
    #[serde(rename = "retentionDays", alias = "retention_days")]
    days: u64,
}

type Parameters = Query<HashMap<String, String>>;

/// `GET /api/v1/admin/retention`: all that was said, of every database.
pub(crate) async fn list(State(app): State<Arc<App>>, Query(parameters): Parameters) -> Response {
    let conduct = || {
        no_more(&parameters)?;
        let all = app.running()?.retention.all();
        let said: Vec<Value> = all.iter().map(|(name, kept)| shown(name, kept)).collect();
        Ok(answer(&json!({ "count": said.len(), "retention": said })))
    };
    conduct().unwrap_or_else(|error: ApiError| error.into_response())
}

/// `POST /api/v1/admin/retention?db=` with `{"metricName","retentionDays"}`: durable and in force when it is
/// answered.
pub(crate) async fn say(
    State(app): State<Arc<App>>,
    Query(mut parameters): Parameters,
    request: Request,
) -> Response {
    let conduct = async {
        let running = Arc::clone(app.running()?);
        let db = take_database(&mut parameters)?;
        no_more(&parameters)?;
        let form = "{\"metricName\",\"retentionDays\"} as JSON";
        let Wanted { metric, days } = document(request, BODY_BYTES_MAX, form).await?;
        check_metric(&metric)?;
        let days = u16::try_from(days).ok().filter(|days| (1..=DAYS_MAX).contains(days));
        let days = days.ok_or_else(|| {
            ApiError::invalid(format!("retentionDays must be between 1 and {DAYS_MAX}"))
        })?;
        let name = MetricName { db, metric };
        let said = name.clone();
        let kept = changed(move || {
            running.retention.say(said, days, |metrics| put_in_force(&running, metrics))
        });
        let kept = kept.await?;
        let note = format!("samples of {} in {} are kept for {days} days", name.metric, name.db);
        Ok(noted(answer(&shown(&name, &kept)), note))
    };
    conduct.await.unwrap_or_else(|error: ApiError| error.into_response())
}

/// `DELETE /api/v1/admin/retention/{name}?db=`: the configuration holds again.
pub(crate) async fn take_back(
    State(app): State<Arc<App>>,
    PathNames(metric): PathNames<String>,
    Query(mut parameters): Parameters,
) -> Response {
    let conduct = async {
        let running = Arc::clone(app.running()?);
        let db = take_database(&mut parameters)?;
        no_more(&parameters)?;
        let name = MetricName { db, metric };
        let of = name.clone();
        let kept = changed(move || {
            running.retention.take_back(&of, |metrics| put_in_force(&running, metrics))
        });
        let kept = kept.await?.ok_or_else(|| {
            let (db, metric) = (&name.db, &name.metric);
            let message = format!("nothing was said of a metric {metric:?} in database {db:?}");
            ApiError::new(StatusCode::NOT_FOUND, "RETENTION_NOT_FOUND", message)
        })?;
        let note = format!("samples of {} in {} are kept as configured", name.metric, name.db);
        Ok(noted(answer(&shown(&name, &kept)), note))
    };
    conduct.await.unwrap_or_else(|error: ApiError| error.into_response())
}

fn put_in_force(running: &Running, metrics: &BTreeMap<MetricName, Duration>) {
    let rules = running.engine.retention();
    rules.set(rules.get().with_metrics(metrics));
}

fn check_metric(name: &str) -> Result<(), ApiError> {
    if (1..=METRIC_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let message =
        format!("metricName must have 1 to {METRIC_BYTES_MAX} bytes without control characters");
    Err(ApiError::new(StatusCode::BAD_REQUEST, "INVALID_METRIC_NAME", message))
}

fn shown(name: &MetricName, kept: &Kept) -> Value {
    json!({
        "metricName": name.metric, "db": name.db, "retentionDays": kept.days,
        "appliedAt": time(kept.applied),
    })
}

fn time(at: UnixNanos) -> String {
    DateTime::from_timestamp_nanos(at.nanos()).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn answer(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

impl From<RetentionError> for ApiError {
    fn from(error: RetentionError) -> Self {
        let message = chain(&error);
        match error {
            RetentionError::TooMany => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "LIMIT_EXCEEDED", message)
            }
            RetentionError::File(error) => error.into(),
        }
    }
}
