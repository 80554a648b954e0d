//! Idempotency keys: a request that is sent again under its key is stored once and gets the same answer.
//!
//! The key is in the log record of the request's samples, so whoever finds the samples after a crash
//! finds the key. From there it goes into files, as the samples go into segments, and a start reads
//! both before it takes writes. A write without a key passes none of this.

mod answer;
mod door;
mod key;
mod table;

pub use self::answer::StoredAnswer;
pub use self::door::{Claim, Claimed, Idempotency, Wake};
#[cfg(test)]
pub(crate) mod crash_tests;

pub(crate) use self::key::is_key;
pub use self::key::{IdempotencyKey, request_hash};
pub use self::table::KeyLimits;
