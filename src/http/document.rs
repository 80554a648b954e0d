//! Short bodies that are one JSON object.

use axum::body::Bytes;
use axum::extract::Request;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ApiError;

/// The whole body.
///
/// # Errors
/// 413 if it has more than `bytes_max` bytes, or breaks off.
pub(crate) async fn body(request: Request, bytes_max: usize) -> Result<Bytes, ApiError> {
    let body = axum::body::to_bytes(request.into_body(), bytes_max).await;
    body.map_err(|_broken| ApiError::too_large(bytes_max))
}

/// A body that is an object as `form` shows it.
///
/// # Errors
/// 413 if it has more than `bytes_max` bytes, and 400 if it is no such object.
pub(crate) async fn document<T: DeserializeOwned>(
    request: Request,
    bytes_max: usize,
    form: &str,
) -> Result<T, ApiError> {
    object(&body(request, bytes_max).await?, form)
}

/// The object that a body is, as `form` shows it.
///
/// # Errors
/// 400 if it is no such object; an array of its members is none.
pub(crate) fn object<T: DeserializeOwned>(body: &[u8], form: &str) -> Result<T, ApiError> {
    let members = serde_json::from_slice::<Map<String, Value>>(body);
    let document = members.and_then(|members| serde_json::from_value(Value::Object(members)));
    document.map_err(|error| ApiError::invalid(format!("the body is not {form}: {error}")))
}
