//! Keys over HTTP: `GET|POST /api/v1/admin/keys` and `DELETE /api/v1/admin/keys/{name}`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::chain;
use super::lock::Note;
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
        let body = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX)
            .await
            .map_err(|_broken| ApiError::too_large(BODY_BYTES_MAX))?;
        let Wanted { name, scope } = serde_json::from_slice(&body).map_err(|error| {
            ApiError::invalid(format!("the body is not {{\"name\",\"scope\"}} as JSON: {error}"))
        })?;
        let scope = Scope::from_name(&scope).ok_or_else(|| {
            ApiError::invalid(format!("scope {scope:?} is not known; read, write and admin are"))
        })?;
        let (record, text) = changed(&app, move |app| app.lock.keyring.add(&name, scope)).await?;
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
        let record: KeyRecord = changed(&app, move |app| app.lock.keyring.revoke(&name)).await?;
        let note = format!("revoked the key {}", record.name);
        Ok(noted(answer(StatusCode::OK, &listed(&record)), note))
    };
    conduct.await.unwrap_or_else(|error: ApiError| error.into_response())
}

/// Carries out a change on a thread that may wait for the disk.
async fn changed<T: Send + 'static>(
    app: &Arc<App>,
    change: impl FnOnce(&App) -> Result<T, KeysError> + Send + 'static,
) -> Result<T, ApiError> {
    let app = Arc::clone(app);
    let changing = tokio::task::spawn_blocking(move || change(&app));
    let failed = |_panic| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        ApiError::new(status, "STORAGE_ERROR", "the change came to nothing")
    };
    Ok(changing.await.map_err(failed)??)
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

fn noted(mut response: Response, note: String) -> Response {
    response.extensions_mut().insert(Note(note));
    response
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
            KeysError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "STORAGE_FULL", message).retry_after(30)
            }
            KeysError::Io { .. }
            | KeysError::Damaged { .. }
            | KeysError::Newer { .. }
            | KeysError::Random { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "STORAGE_ERROR", message)
            }
        }
    }
}
