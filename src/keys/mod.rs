//! API keys: what they look like, where they are stored, and which are in force.
//!
//! `digest::KeyText` is what its owner holds; only its [`Digest`] is kept, in the file that `src/keys/file.rs` describes.
//! [`Keyring`] is the file in memory: it changes the file first, durably, and then what is in force.

mod bucket;
mod digest;
mod error;
mod file;
mod keyring;
mod limits;
mod listing;
mod record;

pub(crate) use self::bucket::{Bucket, Rate, Turn};
#[cfg(test)]
pub(crate) use self::digest::KeyText;
pub(crate) use self::digest::{Digest, redacted};
pub(crate) use self::error::KeysError;
pub(crate) use self::keyring::{Key, Keyring};
pub(crate) use self::listing::{added, listed};
pub(crate) use self::record::{KeyRecord, Scope};
