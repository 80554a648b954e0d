//! Refusals, in the product's envelope: `{"error":{"code","message","details"}}`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidewatch_connectors::decode::SeriesError;
pub(crate) use tidewatch_engine::chain;
use tidewatch_engine::{EngineError, ErrorKind};

use crate::sealed_file::FileError;

/// A refusal: status, code and a message that says what to do.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// For programs.
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) message: String,
    /// Seconds after which to try again.
    pub(crate) retry_after_s: Option<u16>,
    /// More for programs: an object.
    pub(crate) details: Option<Box<Value>>,
}

impl ApiError {
    /// A refusal that trying again does not change.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_s: None, details: None }
    }

    /// 400.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message)
    }

    /// The same refusal, worth trying again after some seconds.
    #[must_use]
    pub(crate) fn retry_after(mut self, seconds: u16) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// 503 while the log is being replayed.
    pub(crate) fn recovering() -> Self {
        let message = "the log is being replayed; /readyz tells how far it is";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", message).retry_after(1)
    }

    /// The same refusal, with an object that says more.
    #[must_use]
    pub(crate) fn with_details(mut self, details: Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// 415.
    pub(crate) fn unsupported(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, message)
    }

    /// 413.
    pub(crate) fn too_large(bytes_max: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "REQUEST_TOO_LARGE",
            format!(
                "the body is larger than {bytes_max} bytes, decompressed; send smaller batches"
            ),
        )
    }

    /// 413, where it is known how much came.
    pub(crate) fn too_long(bytes_max: usize, received: u64) -> Self {
        let details = json!({ "max_size_bytes": bytes_max, "received_bytes": received });
        Self::too_large(bytes_max).with_details(details)
    }

    /// Adds `Retry-After` where there is one.
    pub(crate) fn decorate(&self, mut response: Response) -> Response {
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let message = chain(&error);
        if let EngineError::Series(SeriesError::TooManySamples { samples_max, received }) = error {
            let details = json!({ "max_batch_size": samples_max, "received": received });
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Self::new(status, "BATCH_SIZE_EXCEEDED", message).with_details(details);
        }
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match error.kind() {
            ErrorKind::Invalid => Self::invalid(message),
            ErrorKind::TooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "REQUEST_TOO_LARGE", message)
            }
            ErrorKind::Conflict => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED", message)
            }
            ErrorKind::Unavailable => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED", message)
                    .retry_after(1)
            }
            ErrorKind::Full => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "STORAGE_FULL", message).retry_after(30)
            }
            ErrorKind::Closed | ErrorKind::InUse => {
                Self::new(unavailable, "SERVICE_UNAVAILABLE", message).retry_after(5)
            }
            ErrorKind::Corrupt | ErrorKind::Internal => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "STORAGE_ERROR", message)
            }
        }
    }
}

impl From<FileError> for ApiError {
    fn from(error: FileError) -> Self {
        let message = chain(&error);
        match error {
            FileError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "STORAGE_FULL", message).retry_after(30)
            }
            FileError::Io { .. } | FileError::Damaged { .. } | FileError::Newer { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "STORAGE_ERROR", message)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({
            "error": {
                "code": self.code,
                "message": self.message,
                "details": self.details.as_deref().unwrap_or(&json!({})),
            }
        });
        let headers = [(header::CONTENT_TYPE, "application/json")];
        self.decorate((self.status, headers, body.to_string()).into_response())
    }
}
