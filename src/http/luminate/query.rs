//! `POST /api/v1/query`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use serde_json::json;
use tidewatch_query::{
    Format, QueryAnswer, QueryError, QueryErrorKind, QueryRequest, label_columns,
};

use super::limits::{BODY_BYTES_MAX, GROUPS_MAX, TIMEOUT_MAX};
use super::question::{Asked, Question, refused};
use super::request::{no_more, take_database};
use super::results::{Answer, Cost, Unfit};
use super::statement::{Dimensions, statement};
use crate::assemble::Running;
use crate::config::units::show_duration;
use crate::http::document::document;
use crate::http::{ApiError, App};

/// `POST /api/v1/query?db=`.
pub(crate) async fn query(
    State(app): State<Arc<App>>,
    Query(parameters): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    conduct(&app, parameters, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn conduct(
    app: &App,
    mut parameters: HashMap<String, String>,
    request: Request,
) -> Result<Response, ApiError> {
    let running = app.running()?;
    let db = take_database(&mut parameters)?;
    no_more(&parameters)?;
    let asked: Asked = document(request, BODY_BYTES_MAX, "the expected JSON").await?;
    let now = Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX);
    answer(running, &db, &Question::of(asked, now)?).await
}

async fn answer(running: &Running, db: &str, question: &Question) -> Result<Response, ApiError> {
    // What nobody has written has no samples: a panel on it is empty, not broken.
    let Some(view) = running.engine.catalog().metric(db, &question.metric) else {
        return Ok(respond(&Answer::empty(question.kind)));
    };
    let keys = view.label_keys.clone();
    let dimensions = Dimensions { columns: label_columns(&keys), keys };
    let Some(sql) = statement(question, db, &dimensions) else {
        return Ok(respond(&Answer::empty(question.kind)));
    };
    let request = QueryRequest {
        sql,
        db: db.to_owned(),
        format: Format::JsonLines,
        timeout: Some(question.timeout),
    };
    let QueryAnswer { body, stats, .. } =
        running.query.execute(request).await.map_err(|error| unanswered(&error))?;
    let cost = Cost { ms: whole(stats.ms), points: stats.rows_scanned };
    let answer =
        Answer::of(question, &dimensions.keys, &body, cost).map_err(|error| unfit(&error))?;
    let mut response = respond(&answer);
    if let Ok(stats) = HeaderValue::from_str(&stats.to_json()) {
        response.headers_mut().insert("tidewatch-stats", stats);
    }
    Ok(response)
}

fn respond(answer: &Answer) -> Response {
    let text = serde_json::to_string(answer).expect("numbers and texts are always JSON");
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Luminate knows one code for all that a question may not ask for.
fn unanswered(error: &QueryError) -> ApiError {
    let mut refusal = ApiError::from(error);
    if error.kind() == QueryErrorKind::LimitExceeded {
        refusal.status = StatusCode::BAD_REQUEST;
        refusal.code = "INVALID_QUERY";
    }
    match error {
        QueryError::Limit { what, max, .. } => {
            refusal.with_details(json!({ "limit": what, "max": max }))
        }
        QueryError::Timeout { timeout } => {
            let (time, max) = (show_duration(*timeout), show_duration(TIMEOUT_MAX));
            refusal.message = format!(
                "no answer within {time}: narrow timeRange, or raise timeout, which is at most {max}"
            );
            refusal.with_details(json!({ "timeout": time, "max_query_timeout": max }))
        }
        _ => refusal,
    }
}

fn unfit(unfit: &Unfit) -> ApiError {
    match *unfit {
        Unfit::Groups(groups) => {
            let message = format!(
                "the samples have {groups} groups, but at most {GROUPS_MAX}: \
                 filter, or group by other dimensions"
            );
            let details = json!({ "max_group_by_cardinality": GROUPS_MAX, "groups": groups });
            refused(message).with_details(details)
        }
        Unfit::Rows => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            ApiError::new(status, "QUERY_FAILED", "the rows are not what the statement asks for")
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(ms: f64) -> u64 {
    ms.round() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_the_engine_of_queries_refuses_has_luminates_codes() {
        let limit = QueryError::Limit { what: "the bytes", max: 7, hint: "ask for less" };
        let refusal = unanswered(&limit);
        assert_eq!((refusal.status.as_u16(), refusal.code), (400, "INVALID_QUERY"));
        assert_eq!(*refusal.details.unwrap(), json!({ "limit": "the bytes", "max": 7 }));
        let late = unanswered(&QueryError::Timeout { timeout: Duration::from_millis(1_500) });
        assert_eq!((late.status.as_u16(), late.code), (504, "QUERY_TIMEOUT"));
        assert_eq!(
            *late.details.unwrap(),
            json!({ "timeout": "1s500ms", "max_query_timeout": "30s" })
        );
        assert!(!late.message.contains("timeout_ms"), "{}", late.message);
        let busy = unanswered(&QueryError::Busy { running: 1, waiting: 1 });
        assert_eq!((busy.status.as_u16(), busy.code), (503, "SERVICE_UNAVAILABLE"));
        assert!(busy.retry_after_s.is_some());
        assert_eq!(unanswered(&QueryError::Panicked).code, "QUERY_FAILED");
    }
}
