//! Headers that every answer has, so that a browser does nothing foolish with it.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

const ALWAYS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];
/// For a year, so that a browser does not send the next key without TLS.
const WITH_TLS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// Adds the headers; a handler's own stay as they are.
pub(crate) fn harden(headers: &mut HeaderMap, is_tls: bool) {
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(value);
    }
    if is_tls {
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(WITH_TLS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handlers_own_policy_stays() {
        let mut headers = HeaderMap::new();
        let own = HeaderValue::from_static("default-src 'none'");
        headers.insert(header::CONTENT_SECURITY_POLICY, own.clone());
        harden(&mut headers, false);
        assert_eq!(headers.get(header::CONTENT_SECURITY_POLICY), Some(&own));
        assert_eq!(headers.len(), 4);
        harden(&mut headers, true);
        assert_eq!(headers.len(), 5);
    }
}
