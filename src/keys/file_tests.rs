use super::*;
use crate::keys::limits::KEY_BYTES;

fn keys() -> Vec<KeyRecord> {
    let key = |name: &str, scope, byte, revoked: Option<i64>| KeyRecord {
        name: name.to_owned(),
        scope,
        digest: Digest::from_bytes([byte; 32]),
        created: UnixNanos::new(1_700_000_000_000_000_000),
        revoked: revoked.map(UnixNanos::new),
    };
    vec![
        key("ci", Scope::Write, 0x11, None),
        key("ops", Scope::Admin, 0x22, Some(1_800_000_000_000_000_000)),
    ]
}

/// Everything that is stored.
fn told(keys: &[KeyRecord]) -> Vec<String> {
    let told = |key: &KeyRecord| {
        let (digest, times) = (key.digest.bytes(), (key.created, key.revoked));
        format!("{} {:?} {digest:?} {times:?}", key.name, key.scope)
    };
    keys.iter().map(told).collect()
}

/// With the checksum that these bytes must have.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn what_is_written_is_read_back() {
    for keys in [Vec::new(), keys()] {
        assert_eq!(told(&decode(&encode(&keys)).unwrap()), told(&keys));
    }
}

#[test]
fn the_bytes_are_those_of_the_document() {
    let mut expected = b"TIDEKEYS\x01\0\0\0\x02\0\0\0".to_vec();
    let created = b"\0\0\x2a\x36\xfe\x9c\x97\x17";
    expected.extend_from_slice(&[0x11; 32]);
    expected.extend_from_slice(&[2, 2]);
    expected.extend_from_slice(&[created.as_slice(), &[0; 8], b"ci"].concat());
    expected.extend_from_slice(&[0x22; 32]);
    expected.extend_from_slice(&[3, 3]);
    let revoked = 1_800_000_000_000_000_000_i64.to_le_bytes();
    expected.extend_from_slice(&[created.as_slice(), &revoked, b"ops"].concat());
    assert_eq!(1_700_000_000_000_000_000_i64.to_le_bytes(), *created, "the example's time");
    assert_eq!(encode(&keys()), sealed(expected));
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let good = encode(&keys());
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            assert!(decode(&bytes).is_err(), "bit {bit} of byte {at}");
        }
        assert!(decode(&good[..at]).is_err(), "cut at {at}");
    }
    assert!(decode(&[good.as_slice(), b"\0"].concat()).is_err(), "longer");
}

#[test]
fn a_file_of_a_later_release_is_told_from_a_damaged_one() {
    let mut bytes = encode(&keys());
    bytes[8] = 2;
    assert_eq!(decode(&bytes).unwrap_err(), Unreadable::Newer(2), "whatever follows its version");
    bytes[8] = 0;
    assert_eq!(decode(&bytes).unwrap_err(), Unreadable::Damaged("its version is 0"));
}

#[test]
fn a_file_whose_checksum_is_right_is_checked_all_the_same() {
    let good = encode(&keys());
    let body = &good[..good.len() - 4];
    // Offsets in the first key, which begins at 16: scope, length of the name, the name, the digest.
    let name = 16 + KEY_BYTES;
    for (at, byte) in
        [(16 + 32, 0), (16 + 32, 4), (16 + 33, 0), (name, b'/'), (name, 0xff), (12, 3)]
    {
        let mut bytes = body.to_vec();
        bytes[at] = byte;
        let refused = decode(&sealed(bytes));
        assert!(matches!(refused, Err(Unreadable::Damaged(_))), "{byte} at {at}: {refused:?}");
    }
    let mut fewer = body.to_vec();
    fewer[12] = 1;
    let refused = decode(&sealed(fewer)).unwrap_err();
    assert_eq!(refused, Unreadable::Damaged("something follows its last entry"));
    let [first, _] = <[KeyRecord; 2]>::try_from(keys()).unwrap();
    let twice = encode(&[first.clone(), first]);
    assert_eq!(decode(&twice).unwrap_err(), Unreadable::Damaged("it has a key twice"));
}
