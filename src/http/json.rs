//! JSON samples: Luminate's batch, and a sample per line.

use std::collections::HashMap;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidewatch_connectors::decode::SeriesForm;
use tidewatch_connectors::decode::json::metrics_of;
use tidewatch_engine::Durability;

use super::body::{Coding, Intake};
use super::samples::{Bodies, store};
use super::write::Outcome;
use super::{ApiError, App};

/// Bytes of a body, unpacked.
const BODY_BYTES_MAX: usize = 10 << 20;
/// Samples of a body.
const SAMPLES_MAX: usize = 10_000;
/// How it may be packed.
const CODINGS: &[Coding] = &[Coding::Identity, Coding::Gzip, Coding::Zstd];
/// Characters of a refused sample's name that an answer shows.
const NAME_SHOWN_CHARS_MAX: usize = 256;

/// An answer, with its members in Luminate's order.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    accepted: u64,
    rejected: u64,
    errors: Vec<Refused<'a>>,
}

/// A refused sample.
#[derive(Debug, Serialize)]
struct Refused<'a> {
    /// Its place in the body, from 0.
    index: u32,
    /// Its name; empty where it has none.
    metric: String,
    error: &'a str,
}

/// Stores a body of this form.
pub(super) async fn write(
    app: &App,
    form: SeriesForm,
    parameters: &HashMap<String, String>,
    request: Request,
) -> Response {
    let intake = Intake { bytes_max: BODY_BYTES_MAX.min(app.body_bytes_max), codings: CODINGS };
    let bodies = Bodies { form, intake, samples_max: SAMPLES_MAX };
    match store(app, bodies, parameters, request).await {
        Ok((outcome, body)) => outcome.tell(answer(form, &outcome, &body)),
        Err(error) => refusal(error).into_response(),
    }
}

/// Too many samples are a bad request here, whatever they are elsewhere.
fn refusal(mut error: ApiError) -> ApiError {
    if error.code == "BATCH_SIZE_EXCEEDED" {
        error.status = StatusCode::BAD_REQUEST;
    }
    error
}

fn answer(form: SeriesForm, outcome: &Outcome, body: &[u8]) -> Response {
    let report = &outcome.report;
    let status = match (report.lines_accepted, report.lines_rejected) {
        (_, 0) if outcome.durability == Durability::Accepted => StatusCode::ACCEPTED,
        (_, 0) => StatusCode::OK,
        (0, _) => StatusCode::BAD_REQUEST,
        _ => StatusCode::MULTI_STATUS,
    };
    let numbers: Vec<u32> = report.refused.iter().map(|item| item.line_number - 1).collect();
    let metrics = if numbers.is_empty() {
        Vec::new()
    } else {
        metrics_of(form, body, &numbers, NAME_SHOWN_CHARS_MAX)
    };
    let errors = numbers.into_iter().zip(metrics).zip(&report.refused);
    let errors =
        errors.map(|((index, metric), item)| Refused { index, metric, error: &item.message });
    let answer = Answer {
        accepted: report.lines_accepted,
        rejected: report.lines_rejected,
        errors: errors.collect(),
    };
    let text = serde_json::to_string(&answer).expect("numbers and texts are always JSON");
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
