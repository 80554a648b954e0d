use proptest::prelude::*;

use super::*;

const HEADER: ArchiveHeader = ArchiveHeader {
    body_crc: 0x0102_0304,
    first_lsn: Lsn::new(7),
    last_lsn: Lsn::new(9),
    time: UnixNanos::new(0x0506),
    raw_bytes: 0x0708,
};

fn segment(header: &ArchiveHeader) -> ArchivedSegment {
    ArchivedSegment {
        file: header.name().into(),
        first_lsn: header.first_lsn,
        last_lsn: header.last_lsn,
        time: header.time,
        bytes: 0,
        raw_bytes: header.raw_bytes,
    }
}

#[test]
fn the_bytes_of_a_header_stand_as_documented() {
    let bytes = HEADER.encode();
    assert_eq!(bytes[0..8], *b"TIDEARC\n");
    assert_eq!(bytes[8..12], [1, 0, 0, 0]);
    assert_eq!(bytes[12..16], [4, 3, 2, 1]);
    assert_eq!(bytes[16..24], [7, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[24..32], [9, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[32..40], [6, 5, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[40..48], [8, 7, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[48..60], [0; 12]);
    assert_eq!(bytes[60..64], crc32c::crc32c(&bytes[..60]).to_le_bytes());
    assert_eq!(ArchiveHeader::decode(&bytes, &segment(&HEADER)).unwrap(), HEADER);
}

#[test]
fn a_header_that_claims_too_much_or_too_little_is_refused() {
    let cases = [
        ArchiveHeader { raw_bytes: SEGMENT_BYTES_MAX + 1, ..HEADER },
        ArchiveHeader { raw_bytes: 63, ..HEADER },
        ArchiveHeader { first_lsn: Lsn::ZERO, ..HEADER },
        ArchiveHeader { first_lsn: Lsn::new(10), ..HEADER },
        ArchiveHeader { last_lsn: Lsn::new(LSN_MAX + 1), ..HEADER },
        ArchiveHeader { time: UnixNanos::new(-1), ..HEADER },
    ];
    for header in cases {
        let refused = ArchiveHeader::decode(&header.encode(), &segment(&header)).unwrap_err();
        let damage = Damage::ArchiveHeader;
        assert!(
            matches!(refused, WalError::Corrupt { damage: d, .. } if d == damage),
            "{header:?}"
        );
    }
}

#[test]
fn a_header_in_a_file_of_another_name_is_refused() {
    let other = ArchiveHeader { time: UnixNanos::new(5), ..HEADER };
    let refused = ArchiveHeader::decode(&HEADER.encode(), &segment(&other)).unwrap_err();
    assert!(matches!(refused, WalError::Corrupt { damage: Damage::SegmentName, .. }));
}

#[test]
fn a_newer_version_is_refused_with_its_number() {
    let mut bytes = HEADER.encode();
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    let refused = ArchiveHeader::decode(&bytes, &segment(&HEADER)).unwrap_err();
    assert!(matches!(refused, WalError::Version { found: 2, supported: 1, .. }), "{refused:?}");
}

proptest! {
    #[test]
    fn any_bytes_can_be_decoded_without_a_panic(mut bytes: Vec<u8>, crc: bool) {
        if crc && bytes.len() >= 64 {
            bytes[..8].copy_from_slice(&MAGIC);
            let crc = crc32c::crc32c(&bytes[..60]);
            bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        }
        prop_assert!(ArchiveHeader::decode(&bytes, &segment(&HEADER)).is_err());
    }
}
