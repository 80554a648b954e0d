//! Which metrics there are, which dimensions they have, and which values those: from the catalog of series in
//! memory, so that nothing is scanned.
//!
//! The catalog keeps what was ever written: also series whose samples were deleted or have grown too old.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use tidewatch_metrics::MetricView;

use super::limits::{VALUES_DEFAULT, VALUES_MAX};
use super::request::{no_more, take_database};
use crate::http::{ApiError, App, PathNames};

/// Series that are looked at without leaving the thread to others meanwhile.
const SERIES_INLINE_MAX: usize = 1_000;

type Parameters = Query<HashMap<String, String>>;

#[derive(Debug, Serialize)]
struct Metrics {
    metrics: Vec<String>,
    count: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Dimensions<'a> {
    metric_name: &'a str,
    dimensions: &'a [String],
    count: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Values<'a> {
    metric_name: &'a str,
    dimension_key: &'a str,
    values: Vec<String>,
    count: usize,
    limit: usize,
}

/// `GET /api/v1/metrics?db=`: all metrics of a database, in byte order.
pub(crate) async fn metrics(
    State(app): State<Arc<App>>,
    Query(parameters): Parameters,
) -> Response {
    answered(find_metrics(&app, parameters))
}

/// `GET /api/v1/metrics/{name}/dimensions?db=`: all dimensions of a metric, in byte order.
pub(crate) async fn dimensions(
    State(app): State<Arc<App>>,
    PathNames(metric): PathNames<String>,
    Query(parameters): Parameters,
) -> Response {
    answered(find_dimensions(&app, &metric, parameters))
}

/// `GET /api/v1/metrics/{name}/dimensions/{key}/values?db=&limit=`: the values of a dimension, those of most
/// series first.
pub(crate) async fn values(
    State(app): State<Arc<App>>,
    PathNames((metric, key)): PathNames<(String, String)>,
    Query(parameters): Parameters,
) -> Response {
    answered(find_values(&app, (&metric, &key), parameters))
}

fn find_metrics(app: &App, mut parameters: HashMap<String, String>) -> Result<Response, ApiError> {
    let running = app.running()?;
    let db = take_database(&mut parameters)?;
    no_more(&parameters)?;
    let metrics = running.engine.catalog().metrics(&db);
    Ok(respond(&Metrics { count: metrics.len(), metrics }))
}

fn find_dimensions(
    app: &App,
    metric_name: &str,
    mut parameters: HashMap<String, String>,
) -> Result<Response, ApiError> {
    let db = take_database(&mut parameters)?;
    no_more(&parameters)?;
    let view = view(app, &db, metric_name)?;
    let dimensions = &view.label_keys[..];
    Ok(respond(&Dimensions { metric_name, dimensions, count: dimensions.len() }))
}

fn find_values(
    app: &App,
    (metric_name, dimension_key): (&str, &str),
    mut parameters: HashMap<String, String>,
) -> Result<Response, ApiError> {
    let db = take_database(&mut parameters)?;
    let limit = take_limit(&mut parameters)?;
    no_more(&parameters)?;
    let view = view(app, &db, metric_name)?;
    if !view.label_keys.iter().any(|key| key == dimension_key) {
        let message = format!("metric {metric_name:?} has no dimension {dimension_key:?}");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "DIMENSION_NOT_FOUND", message));
    }
    let values = if view.series.len() > SERIES_INLINE_MAX {
        tokio::task::block_in_place(|| values_of(&view, dimension_key, limit))
    } else {
        values_of(&view, dimension_key, limit)
    };
    let count = values.len();
    Ok(respond(&Values { metric_name, dimension_key, values, count, limit }))
}

/// The values of a dimension, by falling number of their series, then in byte order.
fn values_of(view: &MetricView, key: &str, limit: usize) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (_, entry) in &view.series {
        let series = entry.key();
        let value = series.labels().iter().find(|(name, _)| name == key);
        let Some((_, value)) = value else { continue };
        match counts.get_mut(value) {
            Some(count) => *count += 1,
            None => drop(counts.insert(value.clone(), 1)),
        }
    }
    let mut values: Vec<(Reverse<usize>, String)> =
        counts.into_iter().map(|(value, count)| (Reverse(count), value)).collect();
    values.sort_unstable();
    values.into_iter().take(limit).map(|(_, value)| value).collect()
}

fn take_limit(parameters: &mut HashMap<String, String>) -> Result<usize, ApiError> {
    let Some(text) = parameters.remove("limit") else {
        return Ok(VALUES_DEFAULT);
    };
    let limit = text.parse().ok().filter(|limit| (1..=VALUES_MAX).contains(limit));
    limit.ok_or_else(|| {
        let message = format!("limit is {text:?}, but must be between 1 and {VALUES_MAX}");
        ApiError::invalid(message).with_details(json!({ "max_limit": VALUES_MAX }))
    })
}

fn view(app: &App, db: &str, metric: &str) -> Result<Arc<MetricView>, ApiError> {
    app.running()?.engine.catalog().metric(db, metric).ok_or_else(|| {
        let message = format!("there is no metric {metric:?} in database {db:?}");
        ApiError::new(StatusCode::NOT_FOUND, "METRIC_NOT_FOUND", message)
    })
}

fn respond(body: &impl Serialize) -> Response {
    let text = serde_json::to_string(body).expect("numbers and texts are always JSON");
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn answered(found: Result<Response, ApiError>) -> Response {
    found.unwrap_or_else(IntoResponse::into_response)
}
