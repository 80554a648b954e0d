//! Times as the product writes them.

use chrono::{DateTime, SecondsFormat};

/// `nanos` since the Unix epoch as RFC 3339 in UTC with `Z`, with a fraction only if not zero.
pub(crate) fn rfc3339(nanos: i64) -> String {
    DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_written_only_where_there_is_one() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_396_342_800_000_000_000), "2014-04-01T09:00:00Z");
        assert_eq!(rfc3339(1_396_342_800_250_000_000), "2014-04-01T09:00:00.250Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn the_ends_of_the_range_are_times_too() {
        assert_eq!(rfc3339(i64::MIN), "1677-09-21T00:12:43.145224192Z");
        assert_eq!(rfc3339(i64::MAX), "2262-04-11T23:47:16.854775807Z");
    }
}
