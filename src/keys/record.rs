//! What is known of a key.

use tidewatch_metrics::UnixNanos;

use crate::keys::digest::{Digest, redacted};
use crate::keys::error::KeysError;
use crate::keys::limits::NAME_CHARS_MAX;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Scope {
    /// Ask: SQL, instruments, what is there
    Read,
    /// Send samples
    Write,
    /// Everything: also ask, send, delete, and change keys
    Admin,
}

impl Scope {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Its name in commands, answers and logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// The scope of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// Whether a key of this scope may do what needs `needed`.
    pub(crate) fn covers(self, needed: Self) -> bool {
        self == Self::Admin || self == needed
    }
}

/// What is stored of a key.
#[derive(Clone, Debug)]
pub(crate) struct KeyRecord {
    /// Its name, which no other key has or had.
    pub(crate) name: String,
    /// What it may be used for.
    pub(crate) scope: Scope,
    /// By which it is known.
    pub(crate) digest: Digest,
    /// When it was made.
    pub(crate) created: UnixNanos,
    /// When it was revoked; from then on it opens nothing.
    pub(crate) revoked: Option<UnixNanos>,
}

/// Whether a key can have this name: it stands in logs, paths and tables, and must not look like a key.
pub(crate) fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.chars().all(good)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && redacted(name) == name
}

/// Refuses names that no key can have.
pub(crate) fn check_name(name: &str) -> Result<(), KeysError> {
    if is_name(name) { Ok(()) } else { Err(KeysError::BadName { name: shown(name) }) }
}

/// A name in a message: short, and never a key that somebody took for a name.
pub(crate) fn shown(name: &str) -> String {
    redacted(name).chars().take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_covers_everything_and_the_others_themselves() {
        for needed in Scope::ALL {
            assert!(Scope::Admin.covers(needed));
            assert!(needed.covers(needed));
            assert_eq!(Scope::from_name(needed.name()), Some(needed));
        }
        assert!(!Scope::Read.covers(Scope::Write) && !Scope::Write.covers(Scope::Read));
        assert!(!Scope::Read.covers(Scope::Admin) && !Scope::Write.covers(Scope::Admin));
        assert_eq!(Scope::from_name("root"), None);
    }

    #[test]
    fn names_are_short_plain_and_no_keys() {
        for name in ["a", "ci-2", "grafana.read", "0", &"n".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        let key = format!("tw_{}", "0123456789abcdef".repeat(4));
        let long = "n".repeat(65);
        for name in ["", "-x", ".", "a b", "a/b", "ü", "a\n", &long, &key, key.split_at(40).0] {
            assert!(!is_name(name), "{name}");
            let error = check_name(name).unwrap_err().to_string();
            assert!(!error.contains("0123456789abcdef"), "{error}");
        }
    }
}
