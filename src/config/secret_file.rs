//! Secrets that stand in files, as orchestrators hand them to processes.

use std::fs::File;
use std::io::Read as _;

/// A secret is shorter.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The secret in a file, without the end of its line.
///
/// # Errors
/// Why there is none, as the rest of a sentence that begins with the key.
pub(crate) fn read_secret(path: &str) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut text = String::new();
    let read = file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text);
    let bytes = read.map_err(|error| format!("cannot be read: {error}"))?;
    if u64::try_from(bytes).is_ok_and(|bytes| bytes > SECRET_BYTES_MAX) {
        return Err(format!("has more than {SECRET_BYTES_MAX} bytes, which is no secret"));
    }
    // Editors and `echo` end a line.
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
