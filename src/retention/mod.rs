//! For how many days the samples of single metrics are kept, as an administrator has said while the server ran.
//!
//! What was said goes before `[[retention]]` and `storage.retention`. [`RetentionBook`] is the file of
//! `src/retention/file.rs` in memory: it changes the file first, durably, and its caller then what is in force.

mod book;
mod error;
mod file;
mod limits;

pub(crate) use self::book::{Kept, RetentionBook};
pub(crate) use self::error::RetentionError;
pub(crate) use self::limits::DAYS_MAX;
