//! The key file: `keys` in the data directory.
//!
//! ```text
//! magic     8 bytes   "TIDEKEYS"
//! version   u32 LE    1
//! count     u32 LE    number of keys, at most 10,000
//! keys, in the order in which they were made:
//!   digest    32 bytes  SHA-256 of the key's text
//!   scope     u8        1 = read, 2 = write, 3 = admin
//!   name_len  u8        1 to 64
//!   created   i64 LE    nanoseconds since 1970
//!   revoked   i64 LE    likewise; 0 = it is not
//!   name      name_len bytes of ASCII
//! crc32c    u32 LE    of everything before
//! ```
//!
//! It is replaced as a whole, durably. A greater version is refused.

#![deny(clippy::indexing_slicing)]

use std::collections::BTreeSet;

use tidewatch_metrics::UnixNanos;

use crate::keys::digest::Digest;
use crate::keys::limits::{KEY_BYTES, KEYS_MAX, NAME_CHARS_MAX};
use crate::keys::record::{KeyRecord, Scope, is_name};

/// The file's name in the data directory.
pub(crate) const FILE_NAME: &str = "keys";
/// The newest version of the format.
pub(crate) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"TIDEKEYS";

/// What is wrong with a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// A check failed.
    Damaged(&'static str),
    /// A later release wrote it, in this format.
    Newer(u32),
}

/// The bytes of a file with these keys.
///
/// # Panics
/// If there are more keys, or longer names, than a file holds: who adds keys checks both.
pub(crate) fn encode(keys: &[KeyRecord]) -> Vec<u8> {
    let count = u32::try_from(keys.len()).expect("a keyring has at most KEYS_MAX keys");
    assert!(keys.len() <= KEYS_MAX, "a keyring has at most KEYS_MAX keys");
    let mut bytes = Vec::with_capacity(20 + keys.len() * (KEY_BYTES + NAME_CHARS_MAX));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    for key in keys {
        assert!(is_name(&key.name), "a key's name was checked when it was made");
        let length = u8::try_from(key.name.len()).expect("a name has at most 64 characters");
        // Zero stands for "not revoked"; who revoked in that nanosecond of 1970 did so in the next.
        let revoked = key.revoked.map_or(0, |at| if at.nanos() == 0 { 1 } else { at.nanos() });
        bytes.extend_from_slice(key.digest.bytes());
        bytes.extend_from_slice(&[code(key.scope), length]);
        bytes.extend_from_slice(&key.created.nanos().to_le_bytes());
        bytes.extend_from_slice(&revoked.to_le_bytes());
        bytes.extend_from_slice(key.name.as_bytes());
    }
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The keys in a file's bytes.
///
/// # Errors
/// If any byte is not what this release would have written.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<KeyRecord>, Unreadable> {
    const SHORT: Unreadable = Unreadable::Damaged("it ends too early");
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(SHORT)?;
    if magic != MAGIC {
        return Err(Unreadable::Damaged("it does not begin as a key file does"));
    }
    let (version, _) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    match u32::from_le_bytes(*version) {
        VERSION => {}
        0 => return Err(Unreadable::Damaged("its version is 0")),
        newer => return Err(Unreadable::Newer(newer)),
    }
    let (checked, checksum) = bytes.split_last_chunk::<4>().ok_or(SHORT)?;
    if crc32c::crc32c(checked) != u32::from_le_bytes(*checksum) {
        return Err(Unreadable::Damaged("its checksum is wrong"));
    }
    let mut input = Input(checked.get(12..).ok_or(SHORT)?);
    let count = input.u32().ok_or(SHORT)?;
    let mut keys = Vec::new();
    let (mut names, mut digests) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..count {
        let key = input.key()?;
        if keys.len() == KEYS_MAX {
            return Err(Unreadable::Damaged("it has too many keys"));
        }
        if !names.insert(key.name.clone()) || !digests.insert(*key.digest.bytes()) {
            return Err(Unreadable::Damaged("it has a key twice"));
        }
        keys.push(key);
    }
    if !input.0.is_empty() {
        return Err(Unreadable::Damaged("something follows its last key"));
    }
    Ok(keys)
}

const fn code(scope: Scope) -> u8 {
    match scope {
        Scope::Read => 1,
        Scope::Write => 2,
        Scope::Admin => 3,
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(chunk)
    }

    fn u32(&mut self) -> Option<u32> {
        self.chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn time(&mut self) -> Option<i64> {
        self.chunk().map(|bytes| i64::from_le_bytes(*bytes))
    }

    fn key(&mut self) -> Result<KeyRecord, Unreadable> {
        const SHORT: Unreadable = Unreadable::Damaged("it ends within a key");
        let digest = Digest::from_bytes(*self.chunk().ok_or(SHORT)?);
        let [scope, length] = *self.chunk().ok_or(SHORT)?;
        let scope = Scope::ALL.into_iter().find(|known| code(*known) == scope);
        let scope = scope.ok_or(Unreadable::Damaged("it has a scope that is not known"))?;
        let created = UnixNanos::new(self.time().ok_or(SHORT)?);
        let revoked = self.time().ok_or(SHORT)?;
        let (name, rest) = self.0.split_at_checked(usize::from(length)).ok_or(SHORT)?;
        self.0 = rest;
        let name = std::str::from_utf8(name).ok().filter(|name| is_name(name));
        let name = name.ok_or(Unreadable::Damaged("it has a name that no key can have"))?;
        let revoked = (revoked != 0).then(|| UnixNanos::new(revoked));
        Ok(KeyRecord { name: name.to_owned(), scope, digest, created, revoked })
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
