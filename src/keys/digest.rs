//! The text of a key, and the hash by which it is known.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::keys::error::KeysError;

/// How every key begins, so that people and scanners for leaked secrets know what it is.
const PREFIX: &str = "tw_";
/// Random bytes of a key.
const SECRET_BYTES: usize = 32;
/// The prefix and two hexadecimal digits for each byte.
const KEY_CHARS: usize = PREFIX.len() + 2 * SECRET_BYTES;

/// A key as its owner holds it: `tw_` and 64 hexadecimal digits. It is told once and kept nowhere.
pub(crate) struct KeyText(String);

impl KeyText {
    /// A new key from the system's random numbers.
    ///
    /// # Errors
    /// If the system has none.
    pub(crate) fn generate() -> Result<Self, KeysError> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(|source| KeysError::Random { source })?;
        let mut text = String::with_capacity(KEY_CHARS);
        text.push_str(PREFIX);
        for byte in secret {
            text.push_str(&format!("{byte:02x}"));
        }
        Ok(Self(text))
    }

    /// The text, for the one who asked for the key.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tw_…")
    }
}

/// The SHA-256 of a key's text. Keys have 256 random bits, so neither salt nor a slow hash adds anything.
#[derive(Clone, Copy)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    /// The digest of `text`; `None` if it does not have the form of a key, and so is none.
    pub(crate) fn of(text: &[u8]) -> Option<Self> {
        if text.len() != KEY_CHARS || !text.starts_with(PREFIX.as_bytes()) {
            return None;
        }
        Some(Self(Sha256::digest(text).into()))
    }

    /// One that was stored.
    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub(crate) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Its first bytes as a number, by which a key is looked up.
    pub(crate) fn start(&self) -> u64 {
        self.0.first_chunk().map_or(0, |start| u64::from_le_bytes(*start))
    }

    /// Whether both are the same; takes the same time wherever they differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}…", self.start())
    }
}

/// `text` with everything taken out that begins as a key does.
pub(crate) fn redacted(text: &str) -> String {
    let mut parts = text.split(PREFIX);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        shown.push_str(PREFIX);
        if part.len() - rest.len() < 8 {
            shown.push_str(part);
        } else {
            shown.push('…');
            shown.push_str(rest);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_have_their_form_and_do_not_show_themselves() {
        let keys: Vec<_> = (0..100).map(|_| KeyText::generate().unwrap()).collect();
        for (at, key) in keys.iter().enumerate() {
            let text = key.expose();
            assert!(text.starts_with("tw_") && text.len() == 67, "{text}");
            let digest = Digest::of(text.as_bytes()).expect("a key has its form");
            for other in &keys[..at] {
                assert!(!digest.is(&Digest::of(other.expose().as_bytes()).unwrap()));
            }
            assert!(digest.is(&Digest::of(text.as_bytes()).unwrap()));
            assert_eq!(format!("{key:?}"), "tw_…");
        }
    }

    #[test]
    fn the_digest_is_sha_256_of_the_text() {
        let text = format!("tw_{}", "0".repeat(64));
        let digest = Digest::of(text.as_bytes()).unwrap();
        let hex: String = digest.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        // printf 'tw_%064d' 0 | sha256sum
        assert_eq!(hex, "84689f8e36546c3d4a042a6c166bc43af5e4732b2754884cea27fe717b6386c9");
        for other in ["", "tw_", "tw_00", &text.to_uppercase(), &format!("{text}0")] {
            assert!(Digest::of(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn what_may_be_a_key_is_taken_out_of_a_text() {
        let key = KeyText::generate().unwrap();
        let secret = key.expose();
        assert_eq!(redacted(&format!("/keys/{secret}/x/{secret}")), "/keys/tw_…/x/tw_…");
        assert_eq!(
            redacted(&format!("/{}", secret.split_at(40).0)),
            "/tw_…",
            "a part of one likewise"
        );
        for text in ["", "/api/v1/admin/metrics/tw_beef", "tw_", "/write"] {
            assert_eq!(redacted(text), text);
        }
    }
}
