//! How long a series may be silent: `absent`, or `absent > SECONDS`.

use std::fmt;

use tidewatch_metrics::time::NANOS_PER_SECOND;

use crate::limits::ABSENCE_SECONDS_MAX;

const NAME: &str = "absent";

/// For how long no sample may come before a series counts as absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// What the gaps between its samples have taught.
    Learnt,
    /// Nanoseconds; whole seconds, 1 to [`ABSENCE_SECONDS_MAX`].
    Fixed(i64),
}

impl Patience {
    /// What `text` spells; spaces are free.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let rest = text.trim().strip_prefix(NAME)?.trim_start();
        if rest.is_empty() {
            return Some(Self::Learnt);
        }
        let seconds: i64 = rest.strip_prefix('>')?.trim().parse().ok()?;
        let is_good = (1..=ABSENCE_SECONDS_MAX).contains(&seconds);
        is_good.then_some(Self::Fixed(seconds * NANOS_PER_SECOND))
    }
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Learnt => f.write_str(NAME),
            Self::Fixed(nanos) => write!(f, "{NAME} > {}", nanos / NANOS_PER_SECOND),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_meet_in_one_canonical_form() {
        for (text, canonical) in [
            (" absent ", "absent"),
            ("absent>300", "absent > 300"),
            ("absent  >  0300 ", "absent > 300"),
            ("absent > 2592000", "absent > 2592000"),
        ] {
            let patience = Patience::parse(text).unwrap();
            assert_eq!(patience.to_string(), canonical);
            assert_eq!(Patience::parse(canonical), Some(patience));
        }
        assert_eq!(Patience::parse("absent > 2"), Some(Patience::Fixed(2_000_000_000)));
    }

    #[test]
    fn what_is_no_patience_is_refused() {
        for text in [
            "",
            "Absent",
            "absents",
            "absent >",
            "absent 300",
            "absent >= 300",
            "absent < 300",
            "absent > 0",
            "absent > -1",
            "absent > 1.5",
            "absent > 2592001",
            "absent > 99999999999999999999",
            "absent > 5 s",
        ] {
            assert_eq!(Patience::parse(text), None, "{text}");
        }
    }
}
