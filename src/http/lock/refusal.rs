//! What a refused client reads.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::http::lock::access::Shape;
use crate::http::lock::keyhole::{Allowance, Denial};

/// The answer to a request that does not pass, in the words of its protocol.
pub(super) fn refusal(denial: &Denial, shape: Shape) -> Response {
    let (status, code) = codes(denial);
    let message = message(denial);
    let body = match shape {
        Shape::Product => json!({
            "error": { "code": code.product, "message": message, "details": details(denial) }
        }),
        Shape::InfluxText => json!({ "error": message }),
        Shape::InfluxCode => json!({ "code": code.influx, "message": message }),
    };
    let headers = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (status, headers, body.to_string()).into_response();
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        // Clients of InfluxDB 1 know Basic; a browser would ask people for it, so nobody else is told.
        let scheme = match shape {
            Shape::InfluxText => "Basic realm=\"tidewatch\"",
            Shape::Product | Shape::InfluxCode => "Bearer realm=\"tidewatch\"",
        };
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    match denial {
        Denial::TooOften(allowance) => {
            tell_allowance(headers, allowance);
            headers.insert(header::RETRY_AFTER, seconds(allowance.turn.next).into());
        }
        Denial::TurnedAway(turn) => {
            headers.insert(header::RETRY_AFTER, seconds(turn.next).into());
        }
        Denial::NoKey
        | Denial::Unreadable(_)
        | Denial::Unknown
        | Denial::Revoked
        | Denial::Scope { .. } => {}
    }
    response
}

/// Tells a client what its key may still send: requests at once, what is left of them, and in how many
/// seconds all of them are there again.
pub(super) fn tell_allowance(headers: &mut HeaderMap, allowance: &Allowance) {
    let full = seconds_up(allowance.turn.full);
    headers.insert("x-ratelimit-limit", allowance.limit.into());
    headers.insert("x-ratelimit-remaining", allowance.turn.remaining.into());
    headers.insert("x-ratelimit-reset", full.into());
}

/// The words of the protocols for a refusal.
struct Code {
    product: &'static str,
    influx: &'static str,
}

fn codes(denial: &Denial) -> (StatusCode, Code) {
    match denial {
        Denial::NoKey | Denial::Unreadable(_) | Denial::Unknown | Denial::Revoked => {
            (StatusCode::UNAUTHORIZED, Code { product: "UNAUTHORIZED", influx: "unauthorized" })
        }
        Denial::Scope { .. } => {
            (StatusCode::FORBIDDEN, Code { product: "FORBIDDEN", influx: "forbidden" })
        }
        Denial::TooOften(_) | Denial::TurnedAway(_) => (
            StatusCode::TOO_MANY_REQUESTS,
            Code { product: "RATE_LIMIT_EXCEEDED", influx: "too many requests" },
        ),
    }
}

fn message(denial: &Denial) -> String {
    match denial {
        Denial::NoKey => "a key is needed: send it as \"Authorization: Bearer KEY\"; \
                          `tidewatch keys add` makes one"
            .to_owned(),
        Denial::Unreadable(why) => (*why).to_owned(),
        Denial::Unknown => {
            "the key is not known here; `tidewatch keys ls` lists those that are".to_owned()
        }
        Denial::Revoked => "the key was revoked".to_owned(),
        Denial::Scope { has, needed } => {
            format!("the key has the scope {}, and this needs {}", has.name(), needed.name())
        }
        Denial::TooOften(allowance) => format!(
            "the key has sent more requests than http.requests_per_second allows; try again in {} s",
            seconds(allowance.turn.next)
        ),
        Denial::TurnedAway(turn) => format!(
            "this address has sent too many requests without a good key; try again in {} s",
            seconds(turn.next)
        ),
    }
}

fn details(denial: &Denial) -> Value {
    match denial {
        Denial::Scope { has, needed } => {
            json!({ "required_scope": needed.name(), "user_scopes": [has.name()] })
        }
        Denial::TooOften(Allowance { turn, .. }) | Denial::TurnedAway(turn) => {
            json!({ "retry_after": seconds(turn.next) })
        }
        Denial::NoKey | Denial::Unreadable(_) | Denial::Unknown | Denial::Revoked => json!({}),
    }
}

/// Whole seconds after which it is worth trying again: at least one.
fn seconds(time: Duration) -> u64 {
    seconds_up(time).max(1)
}

fn seconds_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
