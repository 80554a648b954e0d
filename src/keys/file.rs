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
use crate::keys::limits::{FILE_BYTES_MAX, KEYS_MAX};
use crate::keys::record::{KeyRecord, Scope, is_name};
use crate::sealed_file::{FileKind, Input, Unreadable};

/// The file's name in the data directory.
pub(crate) const FILE_NAME: &str = "keys";

/// The format.
pub(crate) const KIND: FileKind =
    FileKind { noun: "key file", magic: *b"TIDEKEYS", version: 1, bytes_max: FILE_BYTES_MAX };

/// The bytes of a file with these keys.
///
/// # Panics
/// If there are more keys, or longer names, than a file holds: who adds keys checks both.
pub(crate) fn encode(keys: &[KeyRecord]) -> Vec<u8> {
    let count = u32::try_from(keys.len()).expect("a keyring has at most KEYS_MAX keys");
    assert!(keys.len() <= KEYS_MAX, "a keyring has at most KEYS_MAX keys");
    KIND.seal(count, |bytes| {
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
    })
}

/// The keys in a file's bytes.
///
/// # Errors
/// If any byte is not what this release would have written.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<KeyRecord>, Unreadable> {
    let (count, mut input) = KIND.unseal(bytes)?;
    let mut keys = Vec::new();
    let (mut names, mut digests) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..count {
        let key = key(&mut input)?;
        if keys.len() == KEYS_MAX {
            return Err(Unreadable::Damaged("it has too many keys"));
        }
        if !names.insert(key.name.clone()) || !digests.insert(*key.digest.bytes()) {
            return Err(Unreadable::Damaged("it has a key twice"));
        }
        keys.push(key);
    }
    input.end()?;
    Ok(keys)
}

const fn code(scope: Scope) -> u8 {
    match scope {
        Scope::Read => 1,
        Scope::Write => 2,
        Scope::Admin => 3,
    }
}

fn key(input: &mut Input<'_>) -> Result<KeyRecord, Unreadable> {
    let digest = Digest::from_bytes(*input.chunk()?);
    let [scope, length] = *input.chunk()?;
    let scope = Scope::ALL.into_iter().find(|known| code(*known) == scope);
    let scope = scope.ok_or(Unreadable::Damaged("it has a scope that is not known"))?;
    let created = UnixNanos::new(i64::from_le_bytes(*input.chunk()?));
    let revoked = i64::from_le_bytes(*input.chunk()?);
    let name = input.text(usize::from(length))?;
    if !is_name(name) {
        return Err(Unreadable::Damaged("it has a name that no key can have"));
    }
    let revoked = (revoked != 0).then(|| UnixNanos::new(revoked));
    Ok(KeyRecord { name: name.to_owned(), scope, digest, created, revoked })
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
