//! `Idempotency-Key`: a request that is sent again is stored once, and answered as the first time.

use std::time::Duration;

use axum::http::HeaderMap;
use tidewatch_engine::{
    Claim, Claimed, Engine, EngineError, IdempotencyKey, StoredAnswer, request_hash,
};
use tidewatch_metrics::Lsn;

use super::ApiError;
use super::write::INLINE_BYTES_MAX;

/// Time that a request waits for the outcome of another one with its key.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) enum Keyed {
    /// It has no key, or is the first one with it.
    Write(Option<Claim>),
    /// It was stored before, in this record, and is answered as then.
    Replay(StoredAnswer, Lsn),
}

/// The key of a request, if it has one.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, ApiError> {
    let mut values = headers.get_all("idempotency-key").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(IdempotencyKey::new(value.as_bytes())?)),
        (Some(_), Some(_)) => Err(EngineError::BadKey.into()),
    }
}

/// Claims the key for the request that `parts` make; where one with the same key is in hand, once
/// that has its outcome.
pub(crate) async fn claim(
    engine: &Engine,
    db: &str,
    key: &IdempotencyKey,
    parts: &[&[u8]],
) -> Result<Keyed, ApiError> {
    let is_long = parts.iter().any(|part| part.len() > INLINE_BYTES_MAX);
    let hash = || request_hash(parts);
    let request = if is_long { tokio::task::block_in_place(hash) } else { hash() };
    let claimed = async {
        loop {
            let (wake, woken) = tokio::sync::oneshot::channel();
            let wake = Box::new(move || {
                // Who has given up waiting needs no word.
                wake.send(()).ok();
            });
            match engine.idempotency().claim(db, key, request, wake)? {
                Claimed::Free(claim) => return Ok(Keyed::Write(Some(claim))),
                Claimed::Replay { answer, lsn } => return Ok(Keyed::Replay(answer, lsn)),
                Claimed::Waits => drop(woken.await),
            }
        }
    };
    match tokio::time::timeout(WAIT_MAX, claimed).await {
        Ok(claimed) => claimed,
        Err(_elapsed) => Err(EngineError::KeyInHand.into()),
    }
}
