//! The IANA database that is compiled in.

use std::str::FromStr;

use chrono::{DateTime, Offset, TimeZone as _};
use chrono_tz::{TZ_VARIANTS, Tz};

use crate::time_zone::TimeZone;

/// 1850-01-01: clocks show the sun's time.
const FROM: i64 = -3_786_825_600;
/// 2101-01-01: the database goes on to the end of 2100.
const TO: i64 = 4_133_980_800;
/// Three days in seconds. No two changes of a zone are nearer to each other than seven.
const STEP: i64 = 3 * 86_400;

/// A name that no [`TimeZone`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone \"{name}\"")]
pub struct TimeZoneError {
    name: String,
}

impl FromStr for TimeZone {
    type Err = TimeZoneError;

    fn from_str(name: &str) -> Result<Self, TimeZoneError> {
        let zone = name.parse().ok().and_then(zone_of);
        zone.ok_or_else(|| TimeZoneError { name: name.to_owned() })
    }
}

/// The names of all time zones, in ascending order.
pub fn time_zone_names() -> impl Iterator<Item = &'static str> {
    TZ_VARIANTS.iter().map(|zone| zone.name())
}

/// Looks at an offset every few days, and halves where it has changed.
fn zone_of(zone: Tz) -> Option<TimeZone> {
    let first = offset(zone, FROM)?;
    let (mut changes, mut at, mut known) = (Vec::new(), FROM, first);
    while at < TO {
        let next = at + STEP;
        if offset(zone, next)? == known {
            at = next;
            continue;
        }
        let (mut before, mut behind) = (at, next);
        while behind - before > 1 {
            let middle = before + (behind - before) / 2;
            *(if offset(zone, middle)? == known { &mut before } else { &mut behind }) = middle;
        }
        known = offset(zone, behind)?;
        changes.push((behind, known));
        at = behind;
    }
    TimeZone::of_table(zone.name(), first, &changes)
}

/// Seconds that the clocks of a zone are ahead of UTC at a time in seconds.
fn offset(zone: Tz, at: i64) -> Option<i64> {
    let time = DateTime::from_timestamp(at, 0)?.naive_utc();
    Some(zone.offset_from_utc_datetime(&time).fix().local_minus_utc().into())
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;
