use axum::http::HeaderValue;
use tidewatch_env::Rng;

use super::*;
use crate::keys::KeyText;

fn taken(uri: &str, headers: &[&[u8]]) -> (Credentials, String) {
    let mut map = HeaderMap::new();
    for value in headers {
        map.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
    }
    let mut uri: Uri = uri.parse().unwrap();
    let found = take(&map, &mut uri);
    (found, uri.to_string())
}

fn is(found: Credentials, key: &KeyText) -> bool {
    let digest = Digest::of(key.expose().as_bytes()).unwrap();
    matches!(found, Credentials::Key(found) if found.is(&digest))
}

#[test]
fn a_key_is_found_in_each_of_the_ways_that_clients_have() {
    let key = KeyText::generate().unwrap();
    let text = key.expose();
    let basic = |user: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{text}")));
    for value in [
        format!("Bearer {text}"),
        format!("bearer   {text}"),
        format!("Token {text}"),
        format!("TOKEN user:{text}"),
        basic("user"),
        basic(""),
        basic(&"ü".repeat(100)),
    ] {
        let (found, uri) = taken("/write?db=x", &[value.as_bytes()]);
        assert!(is(found, &key), "{value}");
        assert_eq!(uri, "/write?db=x");
    }
    for query in [
        format!("p={text}"),
        format!("u=me&p={text}"),
        format!("db=a%20b&p={text}&precision=s"),
        format!("%70={}", text.replace('_', "%5F")),
    ] {
        assert!(is(taken(&format!("/write?{query}"), &[]).0, &key), "{query}");
    }
}

#[test]
fn the_address_is_left_without_user_and_password() {
    for (before, after) in [
        ("/write?u=a&p=b", "/write"),
        ("/write?db=x%26p=1&u=a&precision=s&p=b", "/write?db=x%26p=1&precision=s"),
        ("/write?pp=1&up=2", "/write?pp=1&up=2"),
        ("/write?%75=a&%70=b&x", "/write?x"),
        ("/a%20b/%2F?p", "/a%20b/%2F"),
        ("/write?", "/write?"),
    ] {
        assert_eq!(taken(before, &[]).1, after);
        assert_eq!(taken(before, &[b"Bearer x"]).1, after, "also where it is not looked at");
    }
}

#[test]
fn what_cannot_be_a_key_is_refused_and_not_looked_up() {
    let key = KeyText::generate().unwrap();
    let text = key.expose();
    let long = format!("Bearer {}{text}", " ".repeat(2_000));
    let encoded = STANDARD.encode(text);
    let odd: [&[u8]; 12] = [
        b"",
        b"Bearer",
        b"Bearer ",
        text.as_bytes(),
        &text.as_bytes()[..20],
        b"Digest abc",
        b"Basic %%%",
        b"Basic",
        b"Bearer \xff\xfe",
        b"Bearer tw_0",
        long.as_bytes(),
        &[b"Basic ", encoded.as_bytes()].concat(),
    ];
    for value in odd {
        let (found, _) = taken("/write", &[value]);
        let shown = String::from_utf8_lossy(value).into_owned();
        assert!(matches!(found, Credentials::Unreadable(_)), "{shown}: {found:?}");
    }
    let right = format!("Bearer {text}");
    let (twice, _) = taken("/write", &[right.as_bytes(), right.as_bytes()]);
    assert!(matches!(twice, Credentials::Unreadable(_)), "which of them?");
    let (twice, _) = taken(&format!("/write?p={text}&p=x"), &[]);
    assert!(matches!(twice, Credentials::Unreadable(_)));
    let (wrong, _) = taken(&format!("/write?p={text}"), &[b"Bearer x"]);
    assert!(matches!(wrong, Credentials::Unreadable(_)), "the header counts");
    assert!(matches!(taken("/write?u=me", &[]).0, Credentials::None));
}

#[test]
fn no_bytes_that_a_client_can_send_are_taken_for_a_key_or_end_the_process() {
    const PARTS: [&str; 14] =
        ["Basic ", "Bearer ", "Token ", "tw_", ":", "=", "&", "p", "u", "%", "%70", "+", "0f", "?"];
    let seed = 4_711;
    let mut rng = Rng::from_seed(seed);
    let mut number = |below: u64| usize::try_from(rng.below(below)).unwrap();
    for round in 0..20_000 {
        let mut text = Vec::new();
        for _ in 0..number(12) {
            match number(3) {
                0 => text.push(u8::try_from(number(256)).unwrap()),
                _ => text.extend_from_slice(PARTS[number(14)].as_bytes()),
            }
        }
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&text) {
            headers.append(header::AUTHORIZATION, value);
        }
        let address = [b"/write?", text.as_slice()].concat();
        let mut uri = Uri::try_from(address).unwrap_or_default();
        let path = uri.path().to_owned();
        let found = take(&headers, &mut uri);
        assert!(!matches!(found, Credentials::Key(_)), "SEED={seed}, round {round}: {text:?}");
        assert_eq!(uri.path(), path, "SEED={seed}, round {round}: {text:?}");
        let left = uri.query().unwrap_or_default().split('&');
        let left = left.filter(|pair| matches!(pair.split('=').next(), Some("u" | "p"))).count();
        assert_eq!(left, 0, "SEED={seed}, round {round}: {text:?}");
    }
}
