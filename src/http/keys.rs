//! Keys over HTTP: `GET|POST /api/v1/admin/keys` and `DELETE /api/v1/admin/keys/{name}`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::change::{changed, noted};
use super::document::document;
use super::error::chain;
use super::{ApiError, App, PathNames};
use crate::keys::{KeyRecord, KeysError, Scope, added, listed};

/// A body: a name and a scope.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// What key is to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    scope: String,
}

/// `GET /api/v1/admin/keys`: all of them, revoked ones included, without their texts.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    let table = app.lock.keyring.table();
    let keys: Vec<Value> = table.keys().iter().map(|key| listed(&key.record)).collect();
    answer(StatusCode::OK, &json!({ "keys": keys }))
}

/// `POST /api/v1/admin/keys` with `{"name","scope"}`: the only answer that ever holds the key.
pub(crate) async fn add(State(app): State<Arc<App>>, request: Request) -> Response {
    let conduct = async {
        let form = "{\"name\",\"scope\"} as JSON";
        let Wanted { name, scope } = document(request, BODY_BYTES_MAX, form).await?;
        let scope = Scope::from_name(&scope).ok_or_else(|| {
            ApiError::invalid(format!("scope {scope:?} is not known; read, write and admin are"))
        })?;
        let (record, text) = {
            let app = Arc::clone(&app);
            changed(move || app.lock.keyring.add(&name, scope)).await?
        };
        let note = format!("added the key {} with the scope {}", record.name, scope.name());
        let body = added(&record, &text, &app.lock.keyring.table());
        Ok(noted(answer(StatusCode::CREATED, &body), note))
    };
    conduct.await.unwrap_or_else(|error: ApiError| error.into_response())
}

/// `DELETE /api/v1/admin/keys/{name}`: the key opens nothing when this is answered; it stays listed.
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    PathNames(name): PathNames<String>,
) -> Response {
    let conduct = async {
        let record: KeyRecord = changed(move || app.lock.keyring.revoke(&name)).await?;
        let note = format!("revoked the key {}", record.name);
        Ok(noted(answer(StatusCode::OK, &listed(&record)), note))
    };
    conduct.await.unwrap_or_else(|error: ApiError| error.into_response())
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

impl From<KeysError> for ApiError {
    fn from(error: KeysError) -> Self {
        let message = chain(&error);
        match error {
            KeysError::BadName { .. } => Self::invalid(message),
            KeysError::Taken { .. } => Self::new(StatusCode::CONFLICT, "KEY_EXISTS", message),
            KeysError::Missing { .. } => Self::new(StatusCode::NOT_FOUND, "KEY_NOT_FOUND", message),
            KeysError::TooMany => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "LIMIT_EXCEEDED", message)
            }
            KeysError::File(error) => error.into(),
            KeysError::Random { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "STORAGE_ERROR", message)
            }
        }
    }
}
