//! Version 1 of the format, as it was first released: files that every later version must read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::RealDisk;
use tidewatch_metrics::{Lsn, UnixNanos};

use crate::frame::{FrameHeader, payload_crc};
use crate::limits::KIND_MARK;
use crate::log_dir::segment_name;
use crate::segment::SegmentHeader;
use crate::{
    Archive, ArchiveInstruments, Record, SegmentState, WalReader, WalSegmentInfo, verify,
    verify_archive,
};

const FILE_BYTES: usize = 2048;
const CUT_BYTES: usize = 60;

fn fixture_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/wal-v1")
}

/// The first file of the log's fixture, archived.
fn archive_fixture_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/archive-v1")
}

/// LSN, previous synced LSN, kind and payload.
type FixtureRecord = (u64, u64, u8, Vec<u8>);

/// The records of each file.
fn records() -> [Vec<FixtureRecord>; 2] {
    [
        vec![
            (41, 40, 16, b"the first record of the fixture".to_vec()),
            (42, 40, 17, Vec::new()),
            (43, 42, 255, (0..=255).collect()),
        ],
        vec![(44, 43, 16, vec![0xff; 9]), (45, 44, KIND_MARK, Vec::new())],
    ]
}

/// The files: the first with the remains of an earlier use, the second with a torn tail.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (epoch, records) in (0x5eed..).zip(records()) {
        let first_lsn = Lsn::new(records[0].0);
        let header =
            SegmentHeader { first_lsn, epoch, file_bytes: FILE_BYTES as u64, has_gaps: false };
        let mut bytes = header.encode().to_vec();
        for (lsn, previous_synced, kind, payload) in &records {
            bytes.extend(frame(*lsn, *previous_synced, epoch, *kind, payload));
        }
        let remains = if first_lsn == Lsn::new(41) {
            frame(44, 3, 0x01d, 16, b"remains of an earlier use")
        } else {
            frame(46, 45, epoch, 16, b"never finished, and never acknowledged")[..CUT_BYTES]
                .to_vec()
        };
        bytes.extend(remains);
        bytes.resize(FILE_BYTES, 0);
        files.push((segment_name(first_lsn), bytes));
    }
    files
}

fn frame(lsn: u64, previous_synced: u64, epoch: u64, kind: u8, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        payload_bytes: u32::try_from(payload.len()).unwrap(),
        payload_crc: payload_crc(&[payload]),
        lsn: Lsn::new(lsn),
        previous_synced: Lsn::new(previous_synced),
        epoch,
        kind,
    };
    let mut bytes = [&header.encode()[..], payload].concat();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

#[test]
fn the_files_of_version_1_are_written_byte_for_byte_as_ever() {
    for (name, bytes) in files() {
        let path = fixture_dir().join(&name);
        // Only for a new version of the format: its first fixture has to come from somewhere.
        if std::env::var_os("TIDEWATCH_WRITE_FIXTURES").is_some() {
            fs::create_dir_all(fixture_dir()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).unwrap() == bytes, "{name} has changed");
    }
}

#[test]
fn the_files_of_version_1_are_read() {
    let mut reader = WalReader::open(Arc::new(RealDisk), &fixture_dir(), Lsn::ZERO).unwrap();
    for (lsn, _, kind, payload) in records().concat() {
        let Record { lsn: found, kind: found_kind, payload: found_payload, .. } =
            reader.next_record().unwrap().unwrap();
        assert_eq!((found, found_kind), (Lsn::new(lsn), kind));
        assert_eq!(found_payload, payload);
    }
    assert_eq!(reader.next_record().unwrap(), None);
    let report = verify(&RealDisk, &fixture_dir()).unwrap();
    assert_eq!((report.ok(), report.records, report.last_lsn.get()), (true, 5, 45));
    assert_eq!(report.torn_bytes, 80, "the whole frame, as its header says");
}

/// Archives the first file of the log's fixture.
fn archive_first_file(dir: &Path) -> Archive {
    let instruments = ArchiveInstruments::default();
    let mut archive = Archive::open(Arc::new(RealDisk), dir, instruments).unwrap();
    let segment = WalSegmentInfo {
        file: segment_name(Lsn::new(41)).into(),
        first_lsn: Lsn::new(41),
        last_lsn: Lsn::new(43),
        bytes: FILE_BYTES as u64,
        state: SegmentState::Sealed,
    };
    archive.store(&fixture_dir(), &segment, UnixNanos::new(1_700_000_000_123_456_789)).unwrap();
    archive
}

#[test]
fn an_archived_file_of_version_1_is_read_and_the_log_goes_on_behind_it() {
    let dir = archive_fixture_dir();
    if std::env::var_os("TIDEWATCH_WRITE_FIXTURES").is_some() {
        archive_first_file(&dir);
    }
    let disk = Arc::new(RealDisk);
    let mut reader =
        WalReader::open_with_archive(disk, &fixture_dir(), &dir, Lsn::new(41)).unwrap();
    for (lsn, _, kind, payload) in records().concat() {
        let record = reader.next_record().unwrap().unwrap();
        assert_eq!((record.lsn, record.kind), (Lsn::new(lsn), kind));
        assert_eq!(record.payload, payload);
        assert_eq!(record.file.ends_with(".arc"), lsn < 44, "{}", record.file);
    }
    assert_eq!(reader.next_record().unwrap(), None);
    let report = verify_archive(&RealDisk, &dir, &fixture_dir()).unwrap();
    assert_eq!((report.ok(), report.records, report.last_lsn.get()), (true, 3, 43));
}

#[test]
fn an_archived_file_unpacks_to_the_segment_up_to_its_last_record_and_has_the_name_of_version_1() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archive_first_file(dir.path());
    let name = &archive.files()[0].file;
    assert!(archive_fixture_dir().join(&**name).exists(), "{name} is not that of the fixture");
    let [(_, segment), _] = files().try_into().unwrap();
    let end = 64 + 72 + 40 + 296;
    for path in [dir.path().join(&**name), archive_fixture_dir().join(&**name)] {
        let bytes = fs::read(path).unwrap();
        assert_eq!(zstd::stream::decode_all(&bytes[64..]).unwrap(), segment[..end]);
    }
}
