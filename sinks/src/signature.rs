//! How a receiver knows that a webhook comes from here and is fresh.

use std::fmt::Write as _;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::Secret;

/// The header `Tidewatch-Signature`: `t=<unix>,v1=<hex hmac-sha256("t.body")>`.
///
/// `t` is in the signed text so that a receiver can refuse what is old.
pub(crate) fn signature(secret: &Secret, unix_seconds: i64, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes keys of any length");
    mac.update(unix_seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut header = format!("t={unix_seconds},v1=");
    for byte in mac.finalize().into_bytes() {
        write!(header, "{byte:02x}").expect("writing to a string cannot fail");
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The oracle: `printf '1396342800.{"a":1}' | openssl dgst -sha256 -hmac 'hunter2'`.
    #[test]
    fn the_signature_is_that_of_openssl() {
        assert_eq!(
            signature(&Secret::new("hunter2"), 1_396_342_800, br#"{"a":1}"#),
            "t=1396342800,v1=f58460cbded12e1dc712da95fbbb4a4efdfa8391637d5141387b49d374979122"
        );
    }
}
