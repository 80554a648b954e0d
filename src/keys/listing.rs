//! A key as it is listed: everything but what would open the door.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};
use tidewatch_metrics::UnixNanos;

use crate::keys::digest::KeyText;
use crate::keys::keyring::KeyTable;
use crate::keys::record::KeyRecord;

/// `{"name","scope","state":"active|revoked","created","revoked"}`; times are RFC 3339 in UTC.
pub(crate) fn listed(key: &KeyRecord) -> Value {
    json!({
        "name": key.name, "scope": key.scope.name(),
        "state": if key.revoked.is_some() { "revoked" } else { "active" },
        "created": time(key.created), "revoked": key.revoked.map(time),
    })
}

/// As [`listed`], of a key that was just made: with its text, and with a warning where no key of the
/// `table` may make others.
pub(crate) fn added(key: &KeyRecord, text: &KeyText, table: &KeyTable) -> Value {
    let mut added = listed(key);
    added["key"] = json!(text.expose());
    if !table.has_admin() {
        added["warning"] = json!(
            "no key has the scope admin: with the lock on, others can be made with --data-dir only, \
             while the server is stopped"
        );
    }
    added
}

fn time(time: UnixNanos) -> String {
    DateTime::from_timestamp_nanos(time.nanos()).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
