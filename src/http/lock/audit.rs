//! The audit trail: a line of the log for every refusal and every act of an administrator.
//!
//! Its lines have the target `audit` and are there whatever levels are set, unless `TIDEWATCH_LOG` names
//! that target itself. No line holds a key, a query string or a body.

use std::net::IpAddr;

use axum::http::{Method, StatusCode, Uri};
use tracing::info;

use crate::http::instruments::Refused;
use crate::keys::redacted;

/// Characters of a path that are told.
const PATH_CHARS_MAX: usize = 200;

/// What a handler adds to the line of its act, such as the name of a revoked key; put into the
/// extensions of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Note(pub(crate) String);

/// Who asked for what.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The key's name; `-` without one.
    pub(super) key: String,
    /// The address that the connection came from.
    pub(super) address: Option<IpAddr>,
    method: Method,
    path: String,
}

impl Asked {
    /// What a request asks for, without its query string and shortened.
    pub(super) fn of(method: &Method, uri: &Uri, address: Option<IpAddr>) -> Self {
        let path = redacted(uri.path()).chars().take(PATH_CHARS_MAX).collect();
        Self { key: "-".to_owned(), address, method: method.clone(), path }
    }

    /// By the key of this name.
    pub(super) fn by(mut self, name: Option<&str>) -> Self {
        if let Some(name) = name {
            name.clone_into(&mut self.key);
        }
        self
    }

    /// Tells that it was refused, and how many refusals before it were not told.
    pub(super) fn refused(&self, status: StatusCode, reason: Refused, untold: u64) {
        let Self { key, method, path, .. } = self;
        let (address, status) = (self.address(), status.as_u16());
        let reason = reason.name();
        info!(
            target: "audit", key, address, %method, path, status, reason, untold,
            outcome = "refused", "refused"
        );
    }

    /// Tells that it was carried out, or what became of it.
    pub(super) fn answered(&self, status: StatusCode, note: Option<&Note>) {
        let Self { key, method, path, .. } = self;
        let (address, good) = (self.address(), status.is_success());
        let outcome = if good { "done" } else { "failed" };
        let (status, reason) = (status.as_u16(), note.map_or("", |note| &*note.0));
        info!(
            target: "audit", key, address, %method, path, status, reason, outcome,
            "administration"
        );
    }

    fn address(&self) -> String {
        self.address.map_or_else(|| "-".to_owned(), |address| address.to_string())
    }
}
