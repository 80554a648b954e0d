//! Stands before every handler.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;

use crate::http::lock::access::{Access, Shape};
use crate::http::lock::audit::{Asked, Note};
use crate::http::lock::keyhole::{Denial, Denied};
use crate::http::lock::{credentials, refusal};
use crate::http::server::Peer;
use crate::http::{App, body};
use crate::keys::Scope;

/// What the guard of one route knows.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Whose lock is asked.
    pub(crate) app: Arc<App>,
    /// What the route needs.
    pub(crate) access: Access,
    /// How its clients read refusals.
    pub(crate) shape: Shape,
}

/// Lets a request pass to its handler, without what it showed, or refuses it unread.
pub(crate) async fn guard(
    State(guard): State<Arc<Guard>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut uri = std::mem::take(request.uri_mut());
    let shown = credentials::take(request.headers(), &mut uri);
    *request.uri_mut() = uri;
    request.headers_mut().remove(header::AUTHORIZATION);
    let address = request.extensions().get::<Peer>().map(|peer| peer.0);
    let passed = match guard.app.lock.ask(guard.access, shown, address) {
        Ok(passed) => passed,
        Err(denied) => return refuse(&guard, &denied, request),
    };
    let name = passed.key.as_ref().map(|key| key.record.name.as_str());
    let is_act = guard.access == Access::Scope(Scope::Admin);
    let asked = is_act.then(|| Asked::of(request.method(), request.uri(), address).by(name));
    let mut response = next.run(request).await;
    if let Some(allowance) = &passed.allowance {
        refusal::tell_allowance(response.headers_mut(), allowance);
    }
    if let Some(asked) = asked {
        asked.answered(response.status(), response.extensions().get::<Note>());
    }
    response
}

fn refuse(guard: &Guard, denied: &Denied, request: Request) -> Response {
    let response = refusal::refusal(&denied.why, guard.shape);
    let (parts, body) = request.into_parts();
    if let Some(untold) = denied.untold {
        let address = parts.extensions.get::<Peer>().map(|peer| peer.0);
        let name = denied.key.as_ref().map(|key| key.record.name.as_str());
        let asked = Asked::of(&parts.method, &parts.uri, address).by(name);
        asked.refused(response.status(), denied.why.reason(), untold);
    }
    if !matches!(denied.why, Denial::TurnedAway(_)) {
        body::discard(&parts.headers, body);
    }
    response
}
