//! Names in a path, whose refusal is the product's own.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::ApiError;

/// The names in a request's path, decoded; 400 in the envelope where one of them is no UTF-8.
#[derive(Clone, Debug)]
pub(crate) struct PathNames<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathNames<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(Self(names)),
            Err(refused) => Err(ApiError::invalid(refused.body_text())),
        }
    }
}
