//! What has the most series: `GET /api/v1/admin/series/top?by=label|client&db=&limit=`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tidewatch_metrics::SeriesCatalog;

use super::{ApiError, App};

/// Rows of an answer.
const ROWS_MAX: usize = 1_000;
const ROWS_DEFAULT: usize = 20;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    by: By,
    db: Option<String>,
    limit: Option<usize>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    /// Values of each label of a metric.
    Label,
    /// Series that a client registered.
    Client,
}

/// `GET /api/v1/admin/series/top`.
pub(crate) async fn top(
    State(app): State<Arc<App>>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Response {
    let Query(parameters) = match parameters {
        Ok(parameters) => parameters,
        Err(rejection) => return ApiError::invalid(rejection.body_text()).into_response(),
    };
    let running = match app.running() {
        Ok(running) => running,
        Err(error) => return error.into_response(),
    };
    let limit = parameters.limit.unwrap_or(ROWS_DEFAULT);
    if !(1..=ROWS_MAX).contains(&limit) {
        let message = format!("limit is {limit}, but must be from 1 to {ROWS_MAX}");
        return ApiError::invalid(message).into_response();
    }
    let rows: Vec<Value> = match parameters.by {
        By::Label => labels(running.engine.catalog(), parameters.db.as_deref(), limit),
        By::Client => {
            let clients = running.engine.ingest().clients(limit);
            let told = clients
                .iter()
                .map(|(client, series)| json!({ "client": client.to_string(), "series": series }));
            told.collect()
        }
    };
    ([(header::CONTENT_TYPE, "application/json")], json!({ "rows": rows }).to_string())
        .into_response()
}

/// The labels with the most values, those first; of equal ones the first by name.
fn labels(catalog: &SeriesCatalog, db: Option<&str>, limit: usize) -> Vec<Value> {
    // The greatest of them is the first to go.
    let mut most = BinaryHeap::with_capacity(limit + 1);
    catalog.visit_labels(|of, metric, label| {
        if db.is_none_or(|db| db == of) {
            let names = (of.to_owned(), metric.to_owned(), label.key);
            most.push((Reverse(label.values), names, label.is_exact));
            if most.len() > limit {
                most.pop();
            }
        }
    });
    let rows = most.into_sorted_vec().into_iter();
    let told = rows.map(|(Reverse(values), (db, metric, label), is_exact)| {
        json!({ "db": db, "metric": metric, "label": label, "values": values, "exact": is_exact })
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use tidewatch_metrics::SeriesKey;

    use super::*;

    #[test]
    fn labels_with_the_most_values_come_first() {
        let catalog = SeriesCatalog::new(100);
        for (db, metric, host) in [
            ("default", "cpu", "a"),
            ("default", "cpu", "b"),
            ("default", "mem", "a"),
            ("lab", "x", "a"),
        ] {
            let labels =
                vec![("dc".to_owned(), "1".to_owned()), ("host".to_owned(), host.to_owned())];
            catalog.register(&SeriesKey::new(db, metric, "value", labels).unwrap()).unwrap();
        }
        let row = |db: &str, metric: &str, label: &str, values: u64| json!({ "db": db, "metric": metric, "label": label, "values": values, "exact": true });
        let expected = [row("default", "cpu", "host", 2), row("default", "cpu", "dc", 1)];
        assert_eq!(labels(&catalog, None, 2), expected);
        assert_eq!(labels(&catalog, Some("lab"), 1), [row("lab", "x", "dc", 1)]);
    }
}
