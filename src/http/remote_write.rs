//! Prometheus remote write, 1.0 and 2.0.
//!
//! Senders send again what is answered with 5xx and drop what is answered with 4xx; with 429, too, unless they are told
//! otherwise. So whatever may succeed later is a 503 here: a body that came too slowly, and a house that is full.

use std::collections::HashMap;

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidewatch_connectors::decode::SeriesForm;
use tidewatch_engine::{Durability, LineReport};
use tidewatch_metrics::limits::BATCH_ROWS_MAX;

use super::App;
use super::body::{Coding, Intake};
use super::samples::{Bodies, store};
use super::write::Outcome;

/// How bodies of version 1.0 may be packed: some senders leave the header out.
const CODINGS_1: &[Coding] = &[Coding::Snappy, Coding::Zstd, Coding::Gzip];
/// Version 2.0 knows one way.
const CODINGS_2: &[Coding] = &[Coding::Snappy];
/// Refused series that an answer names: senders log it.
const TOLD_MAX: usize = 20;

/// Stores a body of this form.
pub(super) async fn write(
    app: &App,
    form: SeriesForm,
    parameters: &HashMap<String, String>,
    request: Request,
) -> Response {
    let codings = if form == SeriesForm::RemoteWrite2 { CODINGS_2 } else { CODINGS_1 };
    let intake = Intake { bytes_max: app.body_bytes_max, codings };
    let bodies = Bodies { form, intake, samples_max: BATCH_ROWS_MAX };
    match store(app, bodies, parameters, request).await {
        Ok((outcome, _body)) => {
            let LineReport { lines_accepted: samples, dropped: exemplars, .. } = outcome.report;
            written(form, outcome.tell(answer(&outcome)), samples, exemplars)
        }
        Err(error) if error.status == StatusCode::UNPROCESSABLE_ENTITY => {
            written(form, error.into_response(), 0, 0)
        }
        Err(mut error) => {
            if is_worth_a_retry(error.status) {
                error.status = StatusCode::SERVICE_UNAVAILABLE;
                error = error.retry_after(1);
            }
            let response = (error.status, error.message.clone()).into_response();
            written(form, error.decorate(response), 0, 0)
        }
    }
}

/// Whether the same body may be stored when it is sent again.
fn is_worth_a_retry(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn answer(outcome: &Outcome) -> Response {
    match (outcome.report.lines_rejected, outcome.durability) {
        (0, Durability::Accepted) => StatusCode::ACCEPTED.into_response(),
        (0, Durability::Written | Durability::Synced) => StatusCode::NO_CONTENT.into_response(),
        _ => {
            let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (StatusCode::BAD_REQUEST, headers, refusals(&outcome.report)).into_response()
        }
    }
}

fn refusals(report: &LineReport) -> String {
    let LineReport { lines_accepted: accepted, lines_rejected: rejected, .. } = report;
    let mut text = format!("partial write: {rejected} samples refused, {accepted} stored");
    for series in report.refused.iter().take(TOLD_MAX) {
        text.push_str(&format!("; series {}: {}", series.line_number, series.message));
    }
    text
}

/// Says how much was taken, as version 2.0 wants it and 1.0 does not know it.
///
/// Exemplars are told although they are not stored: a sender takes less than it sent for a loss, and can do nothing about it.
fn written(form: SeriesForm, mut response: Response, samples: u64, exemplars: u64) -> Response {
    if form != SeriesForm::RemoteWrite2 {
        return response;
    }
    let headers = response.headers_mut();
    headers.insert("x-prometheus-remote-write-samples-written", HeaderValue::from(samples));
    headers.insert("x-prometheus-remote-write-histograms-written", HeaderValue::from(0));
    headers.insert("x-prometheus-remote-write-exemplars-written", HeaderValue::from(exemplars));
    response
}
