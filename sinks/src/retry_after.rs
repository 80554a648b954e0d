//! The header in which a receiver says when it wants to be asked again.

use std::time::Duration;

use chrono::DateTime;
use tidewatch_metrics::UnixNanos;

/// The wait that `Retry-After` asks for, as seconds or as an HTTP date; none if it is neither.
///
/// A date that has passed is no wait. Deviates from RFC 9110 in that its two obsolete forms of
/// dates are not read.
pub(crate) fn retry_after(value: &str, now: UnixNanos) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?.timestamp_nanos_opt()?;
    let wait = date.saturating_sub(now.nanos()).max(0);
    Some(Duration::from_nanos(wait.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_understood_and_nonsense_is_not() {
        // 1994-11-06 08:49:37 UTC, the example of RFC 9110.
        let then = UnixNanos::new(784_111_777_000_000_000);
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let wait = |value: &str, seconds: i64| {
            retry_after(value, then.saturating_add(seconds * 1_000_000_000)).map(|w| w.as_secs())
        };
        assert_eq!(wait(" 120 ", 0), Some(120));
        assert_eq!(wait(date, -30), Some(30));
        assert_eq!(wait(date, 30), Some(0));
        for nonsense in ["", "-1", "1.5", "soon", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(wait(nonsense, 0), None, "{nonsense}");
        }
    }
}
