//! Finds the key in a request, in whichever way its client knows.

use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::keys::Digest;

/// Bytes of an `Authorization` header that are looked at; a key with a long name of a user has less.
const HEADER_BYTES_MAX: usize = 1_024;

/// The key that a request shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Credentials {
    /// It shows none.
    None,
    /// What it shows cannot be a key; why, for its sender.
    Unreadable(&'static str),
    /// Something that has the form of a key.
    Key(Digest),
}

/// Takes the key out of a request: from `Authorization`, or else from the query parameter `p`.
///
/// `u` and `p` are taken out of the address, so that nothing behind the door can log or show them.
pub(super) fn take(headers: &HeaderMap, uri: &mut Uri) -> Credentials {
    let parameter = take_parameters(uri);
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => Credentials::Unreadable("there are two Authorization headers"),
        (Some(value), None) => from_header(value.as_bytes()),
        (None, _) => match parameter {
            Parameter::None => Credentials::None,
            Parameter::One(text) => key(&text),
            Parameter::Several => Credentials::Unreadable("the parameter p is there twice"),
        },
    }
}

fn from_header(value: &[u8]) -> Credentials {
    const FORM: Credentials = Credentials::Unreadable(
        "Authorization must be \"Bearer KEY\", \"Token KEY\", or Basic with the key as password",
    );
    if value.len() > HEADER_BYTES_MAX {
        return Credentials::Unreadable("the Authorization header is too long to hold a key");
    }
    let Some(space) = value.iter().position(|byte| *byte == b' ') else { return FORM };
    let (scheme, rest) = value.split_at(space);
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        key(rest)
    } else if scheme.eq_ignore_ascii_case(b"token") {
        // Clients of InfluxDB 2 that talk to InfluxDB 1 send `Token user:password`.
        key(password(rest).unwrap_or(rest))
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        let decoded = STANDARD.decode(rest).unwrap_or_default();
        password(&decoded).map_or(FORM, key)
    } else {
        FORM
    }
}

/// What follows the first colon.
fn password(text: &[u8]) -> Option<&[u8]> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    text.get(colon + 1..)
}

fn key(text: impl AsRef<[u8]>) -> Credentials {
    const FORM: Credentials =
        Credentials::Unreadable("what was sent does not have the form of a key");
    Digest::of(text.as_ref()).map_or(FORM, Credentials::Key)
}

/// What the query string says of a password.
enum Parameter {
    None,
    One(String),
    Several,
}

/// Removes `u` and `p` from the query string; gives `p`.
fn take_parameters(uri: &mut Uri) -> Parameter {
    let name = |pair: &str| decoded(pair.split('=').next().unwrap_or_default());
    let secret = |pair: &&str| matches!(name(pair).as_str(), "u" | "p");
    let Some(query) = uri.query() else { return Parameter::None };
    if !query.split('&').any(|pair| secret(&pair)) {
        return Parameter::None;
    }
    let mut passwords = query.split('&').filter(|pair| name(pair) == "p");
    let value = |pair: &str| decoded(pair.split_once('=').map_or("", |(_, value)| value));
    let found = match (passwords.next(), passwords.next()) {
        (None, _) => Parameter::None,
        (Some(pair), None) => Parameter::One(value(pair)),
        (Some(_), Some(_)) => Parameter::Several,
    };
    let kept: Vec<&str> = query.split('&').filter(|pair| !secret(pair)).collect();
    let mark = if kept.is_empty() { "" } else { "?" };
    let text = format!("{}{mark}{}", uri.path(), kept.join("&"));
    let mut parts = std::mem::take(uri).into_parts();
    // A part of what was a good query string is one.
    parts.path_and_query = PathAndQuery::try_from(text).ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
    found
}

/// A name or value of a query string as it was meant: `%41` is a byte, and `+` a space.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.split_first_chunk::<2>()).flatten();
        let escaped = escaped.and_then(|([high, low], after)| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let byte = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
            Some((byte, after))
        });
        let plain = if *first == b'+' { b' ' } else { *first };
        let (byte, after) = escaped.unwrap_or((plain, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
