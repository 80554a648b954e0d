//! Limits of the key file.

/// Keys in all, revoked ones included.
pub(crate) const KEYS_MAX: usize = 10_000;
/// Characters of a key's name.
pub(crate) const NAME_CHARS_MAX: usize = 64;
/// Bytes of the key file.
pub(crate) const FILE_BYTES_MAX: u64 = 2 << 20;

/// Bytes of a key in the file beside its name.
pub(crate) const KEY_BYTES: usize = 32 + 1 + 1 + 8 + 8;

const _: () = assert!(
    (KEYS_MAX * (KEY_BYTES + NAME_CHARS_MAX) + 64) as u64 <= FILE_BYTES_MAX,
    "the file holds all keys with the longest names"
);
const _: () = assert!(NAME_CHARS_MAX <= u8::MAX as usize, "a name's length is one byte");
