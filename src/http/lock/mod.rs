//! The lock on the door: who may ask for what, how often, and what is remembered of it.
//!
//! Every route of [`routes`](super::routes) says which access it needs; [`guard()`] asks the [`Lock`] before
//! a handler, and so before the body is read. What is refused is told in the words of the route's
//! protocol ([`refusal`]), and with every act of an administrator it goes to the audit trail ([`audit`]).

mod access;
mod audit;
mod credentials;
mod guard;
mod keyhole;
mod refusal;
mod security_headers;
mod strangers;

pub(crate) use self::access::{Access, Shape};
pub(crate) use self::audit::Note;
pub(super) use self::guard::{Guard, guard};
pub(crate) use self::keyhole::{Lock, LockConfig};
pub(super) use self::security_headers::harden;
