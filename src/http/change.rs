//! What the administrators' routes that change something share.

use axum::http::StatusCode;
use axum::response::Response;

use super::ApiError;
use super::lock::Note;

/// Carries out a change on a thread that may wait for the disk.
///
/// # Errors
/// Those of the change, and 500 if it panics.
pub(crate) async fn changed<T, E>(
    change: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, ApiError>
where
    T: Send + 'static,
    E: Into<ApiError> + Send + 'static,
{
    let failed = |_panic| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        ApiError::new(status, "STORAGE_ERROR", "the change came to nothing")
    };
    tokio::task::spawn_blocking(change).await.map_err(failed)?.map_err(Into::into)
}

/// The answer, with what the audit trail says of it.
pub(crate) fn noted(mut response: Response, note: String) -> Response {
    response.extensions_mut().insert(Note(note));
    response
}
