//! SQL: `GET|POST /api/v3/query_sql`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tidewatch_query::{Format, QueryAnswer, QueryError, QueryErrorKind, QueryRequest};

use super::document::{body, object};
use super::{ApiError, App};

/// A POST body: the statement and its few parameters.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Less time is not worth asking for: a busy machine may need it to plan a statement.
const TIMEOUT_MS_MIN: u64 = 100;

/// The parameters, in the query string or as JSON.
#[derive(Debug, Default, Deserialize)]
struct Parameters {
    q: Option<String>,
    db: Option<String>,
    format: Option<String>,
    timeout_ms: Option<u64>,
}

/// `GET|POST /api/v3/query_sql`.
pub(crate) async fn query_sql(
    State(app): State<Arc<App>>,
    Query(parameters): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    match conduct(&app, parameters, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn conduct(
    app: &App,
    parameters: HashMap<String, String>,
    request: Request,
) -> Result<Response, ApiError> {
    let running = app.running()?;
    let parameters = if request.method() == Method::POST {
        from_body(parameters, request).await?
    } else {
        from_query(parameters)?
    };
    let sql = parameters.q.ok_or_else(|| ApiError::invalid("parameter \"q\" is missing"))?;
    let format = parameters.format.as_deref().unwrap_or("json");
    let format = Format::from_name(format).ok_or_else(|| {
        ApiError::invalid(format!("format {format:?} is not known; {} are", Format::NAMES))
    })?;
    if parameters.timeout_ms == Some(0) {
        return Err(ApiError::invalid("timeout_ms is 0; it must be from 1 to 30000"));
    }
    let request = QueryRequest {
        sql,
        db: parameters.db.unwrap_or_else(|| "default".to_owned()),
        format,
        timeout: parameters.timeout_ms.map(|ms| Duration::from_millis(ms.max(TIMEOUT_MS_MIN))),
    };
    Ok(respond(running.query.execute(request).await?))
}

fn respond(answer: QueryAnswer) -> Response {
    let mut response = ([(header::CONTENT_TYPE, answer.content_type)], answer.body).into_response();
    if let Ok(stats) = HeaderValue::from_str(&answer.stats.to_json()) {
        response.headers_mut().insert("tidewatch-stats", stats);
    }
    response
}

fn from_query(mut parameters: HashMap<String, String>) -> Result<Parameters, ApiError> {
    let timeout_ms = match parameters.remove("timeout_ms") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_not_a_number| {
            ApiError::invalid(format!("timeout_ms {text:?} is not a number of milliseconds"))
        })?),
    };
    Ok(Parameters {
        q: parameters.remove("q"),
        db: parameters.remove("db"),
        format: parameters.remove("format"),
        timeout_ms,
    })
}

async fn from_body(
    parameters: HashMap<String, String>,
    request: Request,
) -> Result<Parameters, ApiError> {
    let given = from_query(parameters)?;
    let body = body(request, BODY_BYTES_MAX).await?;
    if body.is_empty() {
        return Ok(given);
    }
    let sent: Parameters = object(&body, "the expected JSON")?;
    Ok(Parameters {
        q: sent.q.or(given.q),
        db: sent.db.or(given.db),
        format: sent.format.or(given.format),
        timeout_ms: sent.timeout_ms.or(given.timeout_ms),
    })
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self::from(&error)
    }
}

impl From<&QueryError> for ApiError {
    fn from(error: &QueryError) -> Self {
        let message = super::error::chain(error);
        let (status, code) = match error.kind() {
            QueryErrorKind::Invalid => (StatusCode::BAD_REQUEST, "INVALID_QUERY"),
            QueryErrorKind::Forbidden => (StatusCode::FORBIDDEN, "FORBIDDEN"),
            QueryErrorKind::LimitExceeded => (StatusCode::UNPROCESSABLE_ENTITY, "LIMIT_EXCEEDED"),
            QueryErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "QUERY_TIMEOUT"),
            QueryErrorKind::Unavailable => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return Self::new(status, "SERVICE_UNAVAILABLE", message).retry_after(1);
            }
            QueryErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "QUERY_FAILED"),
        };
        Self::new(status, code, message)
    }
}
