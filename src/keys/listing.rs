//! A key as it is listed: everything but what would open the door.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use tidewatch_metrics::UnixNanos;

use crate::keys::record::KeyRecord;

/// `{"name","scope","state":"active|revoked","created","revoked"}`; times are RFC 3339 in UTC.
pub(crate) fn listed(key: &KeyRecord) -> Value {
    json!({
        "name": key.name, "scope": key.scope.name(),
        "state": if key.revoked.is_some() { "revoked" } else { "active" },
        "created": time(key.created), "revoked": key.revoked.map(time),
    })
}

fn time(time: UnixNanos) -> String {
    DateTime::from_timestamp_nanos(time.nanos()).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
