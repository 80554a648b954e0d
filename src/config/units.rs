//! Times and sizes as people write them: `1h30m`, `64MiB`.

use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 8] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("w", 7 * 86_400_000_000_000),
];
const SIZE_UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// The time that `text` names: whole numbers with units, added up, as `500ms`, `1h30m` or `7d`.
///
/// `None` for anything else, and beyond 292 years, where nanoseconds would not fit into 63 bits.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut nanos = 0_u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let letters =
            after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at_checked(letters)?;
        let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
        nanos = nanos.checked_add(number.checked_mul(*factor)?)?;
        rest = after.trim_start();
    }
    i64::try_from(nanos).ok()?;
    Some(Duration::from_nanos(nanos))
}

/// The size that `text` names: a whole number with its unit, as `64MiB`, or alone, which is bytes.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = number(text.trim())?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Some(number);
    }
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// `time` as a person would write it.
pub(crate) fn show_duration(time: Duration) -> String {
    let mut nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for unit in ["d", "h", "m", "s", "ms", "us", "ns"] {
        let factor = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map_or(1, |unit| unit.1);
        if nanos >= factor {
            text.push_str(&format!("{}{unit}", nanos / factor));
            nanos %= factor;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The leading digits as a number, and the rest.
fn number(text: &str) -> Option<(u64, &str)> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let (digits, rest) = text.split_at_checked(text.len() - rest.len())?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, nanos) in [
            ("5m", 300_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1h 30m", 5_400_000_000_000),
            ("250ms", 250_000_000),
            ("7d", 604_800_000_000_000),
            ("1w", 604_800_000_000_000),
            ("0s", 0),
            ("3us4ns", 3_004),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "5", "m", "5 m", "-5m", "1.5h", "5M", "5mm", "9999999999d", "300000d", "ü"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("1GB", 1_000_000_000),
            ("4096", 4_096),
            ("0", 0),
            ("12B", 12),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "1gib", "99999999TiB", "1 MiB x"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn shown_durations_are_read_back() {
        for (nanos, text) in [
            (0, "0s"),
            (3_600_000_000_000, "1h"),
            (90_061_000_000_000, "1d1h1m1s"),
            (1_500_000, "1ms500us"),
        ] {
            let time = Duration::from_nanos(nanos);
            assert_eq!(show_duration(time), text);
            assert_eq!(parse_duration(text), Some(time));
        }
    }
}
