//! The canonical text of time zones: what the log holds, before that of detection.
//!
//! ```text
//! zone "Europe/Berlin" 3208 -2422054408 3600 -1693706400 7200
//! ```
//!
//! Those that any `[[detect]]` names, once each, in the order of their names: seconds ahead of UTC at first, then pairs of a time in
//! seconds and the offset from then on. The whole table, so that a replay by a program with another database comes to the same.

use crate::RuleTextError;
use crate::canonical::{Lines, line, quoted, unquote};
use crate::time_zone::TimeZone;

/// What the text of each begins with.
pub(crate) const FIRST: &str = "zone ";

/// Appends the canonical text of one.
pub(crate) fn write(zone: &TimeZone, out: &mut String) {
    let (first, changes) = zone.table();
    let numbers: Vec<i64> =
        std::iter::once(first).chain(changes.flat_map(|(at, offset)| [at, offset])).collect();
    let numbers: Vec<&dyn std::fmt::Display> = numbers.iter().map(|number| number as _).collect();
    let name = quoted(zone.name());
    let fields: Vec<&dyn std::fmt::Display> = std::iter::once(&name as _).chain(numbers).collect();
    line(out, "zone", &fields);
}

/// The zones that a canonical text spells; `first` is the number of its first line, from 0.
pub(crate) fn parse(text: &str, first: usize) -> Result<Vec<TimeZone>, RuleTextError> {
    let mut lines = Lines::new(text, first);
    let mut zones: Vec<TimeZone> = Vec::new();
    while !lines.is_empty() {
        let after = |zone: &TimeZone| zones.last().is_none_or(|last| last.name() < zone.name());
        let zone = lines.parsed(FIRST, |rest| read(rest).filter(after))?;
        zones.push(zone);
    }
    Ok(zones)
}

fn read(mut rest: &str) -> Option<TimeZone> {
    let name = unquote(&mut rest)?;
    let numbers = rest.strip_prefix(' ')?.split(' ').map(|number| number.parse::<i64>().ok());
    let numbers = numbers.collect::<Option<Vec<_>>>()?;
    let (first, changes) = numbers.split_first()?;
    let (changes, rest) = changes.as_chunks::<2>();
    let changes: Vec<_> = changes.iter().map(|[at, offset]| (*at, *offset)).collect();
    let zone = TimeZone::of_table(&name, *first, &changes).filter(|zone| !zone.is_utc())?;
    rest.is_empty().then_some(zone)
}
