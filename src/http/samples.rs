//! `POST /api/v1/write`: JSON and remote write, told by their Content-Type.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use tidewatch_connectors::decode::SeriesForm;
use tidewatch_engine::SeriesWrite;

use super::body::Intake;
use super::write::{Door, Entered, Outcome, Parameters, Turn, enter, settle};
use super::{ApiError, App, json, remote_write};

/// `POST /api/v1/write`.
pub(crate) async fn write(
    State(app): State<Arc<App>>,
    Query(parameters): Parameters,
    request: Request,
) -> Response {
    match form(request.headers()) {
        Ok(form @ (SeriesForm::Luminate | SeriesForm::JsonLines)) => {
            json::write(&app, form, &parameters, request).await
        }
        // There are two more that a Content-Type names.
        Ok(form) => remote_write::write(&app, form, &parameters, request).await,
        Err(error) => error.into_response(),
    }
}

/// Samples as their protocol's door lets them in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bodies {
    pub(super) form: SeriesForm,
    pub(super) intake: Intake,
    pub(super) samples_max: usize,
}

/// Stores the samples of a request; gives what became of them, and the body.
pub(super) async fn store(
    app: &App,
    bodies: Bodies,
    parameters: &std::collections::HashMap<String, String>,
    request: Request,
) -> Result<(Outcome, Vec<u8>), ApiError> {
    let Bodies { form, intake, samples_max } = bodies;
    let door = Door { database: "db", reading: form.name(), intake };
    let entered = enter(app, door, parameters, request).await?;
    let Entered { engine, db, body, durability, client, turn } = entered;
    let outcome = match turn {
        Turn::Replay(outcome) => outcome,
        Turn::Write(permit, claim) => {
            let body = &*body;
            let write =
                SeriesWrite { db, body, form, samples_max, durability, permit, client, claim };
            settle(durability, body.len(), |done| engine.ingest().write_series(write, done)).await?
        }
    };
    Ok((outcome, body))
}

/// What the Content-Type says that the body is.
fn form(headers: &HeaderMap) -> Result<SeriesForm, ApiError> {
    let named = headers.get(header::CONTENT_TYPE).map(|text| text.to_str().unwrap_or("?"));
    let named = named.unwrap_or_default();
    let mut parts = named.split(';').map(|part| part.trim().to_ascii_lowercase());
    let media = parts.next().unwrap_or_default();
    let message = parts
        .find_map(|part| part.strip_prefix("proto=").map(|name| name.trim_matches('"').to_owned()));
    match (media.as_str(), message.as_deref()) {
        ("application/json", _) => Ok(SeriesForm::Luminate),
        ("application/x-ndjson", _) => Ok(SeriesForm::JsonLines),
        ("application/x-protobuf", None | Some("prometheus.writerequest")) => {
            Ok(SeriesForm::RemoteWrite1)
        }
        ("application/x-protobuf", Some("io.prometheus.write.v2.request")) => {
            Ok(SeriesForm::RemoteWrite2)
        }
        _ => Err(ApiError::unsupported(
            "UNSUPPORTED_MEDIA_TYPE",
            format!(
                "Content-Type {named:?} is not taken here; taken are application/json, \
                 application/x-ndjson, and application/x-protobuf with \
                 proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_content_type_tells_the_form_and_everything_else_is_refused() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(text));
            form(&headers)
        };
        let known = [
            ("application/json", SeriesForm::Luminate),
            ("Application/JSON; charset=utf-8", SeriesForm::Luminate),
            ("application/x-ndjson", SeriesForm::JsonLines),
            ("application/x-protobuf", SeriesForm::RemoteWrite1),
            ("application/x-protobuf;proto=prometheus.WriteRequest", SeriesForm::RemoteWrite1),
            (
                "application/x-protobuf; proto=io.prometheus.write.v2.Request",
                SeriesForm::RemoteWrite2,
            ),
        ];
        for (text, form) in known {
            assert_eq!(of(text).unwrap(), form, "{text}");
        }
        for text in
            ["", "text/plain", "application/x-protobuf;proto=io.prometheus.write.v3.Request"]
        {
            assert_eq!(of(text).unwrap_err().status.as_u16(), 415, "{text}");
        }
        assert_eq!(form(&HeaderMap::new()).unwrap_err().status.as_u16(), 415);
    }
}
