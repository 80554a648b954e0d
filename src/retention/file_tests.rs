use super::*;

fn metrics() -> BTreeMap<MetricName, Kept> {
    let name = |db: &str, metric: &str| MetricName { db: db.to_owned(), metric: metric.to_owned() };
    BTreeMap::from([
        (name("default", "cpu"), Kept { days: 30, applied: UnixNanos::new(7) }),
        (name("lab", "Ä"), Kept { days: 365, applied: UnixNanos::new(-1) }),
    ])
}

#[test]
fn a_file_has_these_bytes() {
    let bytes = encode(&metrics());
    let checked = bytes[..bytes.len() - 4].iter();
    let hex: String = checked.map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "544944454b454550",
        "01000000",
        "02000000",
        "1e00",
        "0700000000000000",
        "07000300",
        "64656661756c74637075",
        "6d01",
        "ffffffffffffffff",
        "03000200",
        "6c6162c384",
    );
    assert_eq!(hex, expected);
    assert_eq!(decode(&encode(&metrics())), Ok(metrics()));
    assert_eq!(decode(&encode(&BTreeMap::new())), Ok(BTreeMap::new()));
}

#[test]
fn every_bit_and_every_length_counts() {
    let bytes = encode(&metrics());
    for cut in 0..bytes.len() {
        assert!(matches!(decode(&bytes[..cut]), Err(Unreadable::Damaged(_))), "cut at {cut}");
    }
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << bit;
            assert!(decode(&flipped).is_err(), "bit {bit} of byte {place}");
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(decode(&longer).is_err());
}

/// The file whose checksum fits again after a change.
fn with(place: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = encode(&metrics());
    bytes[place..place + new.len()].copy_from_slice(new);
    let end = bytes.len() - 4;
    let checksum = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn what_nobody_could_have_said_is_damage_although_the_checksum_fits() {
    assert_eq!(decode(&with(8, &[2])), Err(Unreadable::Newer(2)));
    for (place, new) in [
        (8, &[0_u8][..]),
        (12, &[3]),
        (12, &[1]),
        (12, &[255, 255, 255, 255]),
        (16, &[0, 0]),
        (16, &[110, 1]),
        (26, &[0, 0]),
        (26, &[255, 255]),
        (30, b"zefault"),
        (30, &[0xff]),
    ] {
        let refused = decode(&with(place, new));
        assert!(matches!(refused, Err(Unreadable::Damaged(_))), "{place} {new:?}: {refused:?}");
    }
    assert_eq!(decode(&with(16, &[1, 0])).map(|metrics| metrics.len()), Ok(2));
}
