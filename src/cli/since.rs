//! "Not longer ago than": what lists leave out.

use std::time::Duration;

use crate::config::units::parse_duration;

/// Reads how long ago.
pub(crate) fn parse_since(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|since| !since.is_zero())
        .ok_or_else(|| "a time has its unit, such as 90m, 24h or 7d".to_owned())
}

/// The condition of SQL that a column's time is not longer ago, in whole seconds, one at least.
pub(crate) fn is_since(column: &str, since: Duration) -> String {
    format!("{column} > now() - INTERVAL '{} seconds'", since.as_secs().max(1))
}
