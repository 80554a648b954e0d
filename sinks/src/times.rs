//! The processing times of a transition, as headers tell them.

use serde::Serialize;
use tidewatch_metrics::TransitionTimes;

use crate::rfc3339::rfc3339;

/// The header `Tidewatch-Times`.
pub(crate) fn times(times: &TransitionTimes) -> String {
    let times = Times {
        durable: rfc3339(times.durable.nanos()),
        scored: rfc3339(times.scored.nanos()),
        fired: rfc3339(times.fired.nanos()),
    };
    serde_json::to_string(&times).expect("three texts are JSON")
}

#[derive(Serialize)]
struct Times {
    durable: String,
    scored: String,
    fired: String,
}
