//! What names a request: the client's key, and the hash that tells whether it is the same request.

use twox_hash::XxHash3_128;

use crate::EngineError;

/// Characters of a key.
const KEY_BYTES_MAX: usize = 255;

/// A key as a client sent it.
///
/// Invariant: 1 to 255 visible ASCII characters (`!` to `~`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// Takes the header's bytes.
    ///
    /// # Errors
    /// [`EngineError::BadKey`] when they are no key.
    pub fn new(bytes: &[u8]) -> Result<Self, EngineError> {
        let text = str::from_utf8(bytes).ok().filter(|text| is_key(text));
        Ok(Self(text.ok_or(EngineError::BadKey)?.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the text has the form of a key.
pub(crate) fn is_key(text: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Hash of a request: of all `parts` that make it what it is, the decoded body among them.
///
/// It is stored with the key, so it stays the same across releases: xxh3-128 of every part's length
/// (u64) and bytes.
#[must_use]
pub fn request_hash(parts: &[&[u8]]) -> u128 {
    let mut hash = XxHash3_128::new();
    for part in parts {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        hash.write(&length.to_le_bytes());
        hash.write(part);
    }
    hash.finish_128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_short_visible_ascii() {
        let longest = "k".repeat(KEY_BYTES_MAX);
        for good in ["a", "9f2c-~!", "\"quoted\"", &longest] {
            assert_eq!(IdempotencyKey::new(good.as_bytes()).unwrap().as_str(), good);
        }
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        for bad in ["", "a b", "a\n", "\u{e9}", "\u{7f}", &long] {
            assert!(IdempotencyKey::new(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(IdempotencyKey::new(&[0xff]).is_err());
    }

    #[test]
    fn the_hash_depends_on_every_part_and_on_where_it_ends() {
        let hash = |parts: [&str; 3]| request_hash(&parts.map(str::as_bytes));
        let one = hash(["/write", "db", "body"]);
        assert_eq!(one, hash(["/write", "db", "body"]));
        for other in [["/writed", "b", "body"], ["/write", "dbb", "ody"], ["/write", "db", "bodx"]]
        {
            assert_ne!(one, hash(other), "{other:?}");
        }
        // Stored hashes outlive a release: lengths and bytes one after the other.
        let whole = b"\x06\0\0\0\0\0\0\0/write\x02\0\0\0\0\0\0\0db\x04\0\0\0\0\0\0\0body";
        assert_eq!(one, XxHash3_128::oneshot(whole));
        assert_eq!(format!("{one:032x}"), "a2e37d1ba981a7913de500bcd16115e5");
    }
}
