//! What Luminate's users ask: `POST /api/v1/query`, and which metrics and dimensions there are.
//!
//! A question is read as typed and checked ([`question`]), becomes one SQL statement ([`statement`]) that the
//! engine of queries answers within its own limits, and its rows take Luminate's shapes ([`results`]).
//! `docs/protocols.md` has the contract; writes are in [`json`](super::json).

mod discovery;
mod limits;
mod query;
mod question;
mod request;
mod results;
mod statement;

pub(crate) use self::discovery::{dimensions, metrics, values};
pub(crate) use self::query::query;
pub(super) use self::request::{no_more, take_database};
