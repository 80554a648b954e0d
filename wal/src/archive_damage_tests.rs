//! Archived files under damage: every byte, every length, and files of other contents.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::{Disk, OpenMode, SimDisk};
use tidewatch_metrics::{Lsn, UnixNanos};

use crate::archive_file::ArchiveHeader;
use crate::testing::{ARCHIVE_DIR, DIR, Given, KIND, open_archive, read_with_archive, recover};
use crate::{Damage, WalError, WalReader, verify_archive};

/// A log of a few small records, archived and gone.
#[derive(Debug)]
struct Sample {
    disk: SimDisk,
    path: PathBuf,
    bytes: Vec<u8>,
    given: Vec<Given>,
}

fn sample() -> Sample {
    let disk = SimDisk::new(0);
    let mut wal = recover(&disk).unwrap().wal;
    let mut given = Vec::new();
    for size in [0_u8, 5, 60, 203] {
        let payload: Vec<u8> = (0..size).map(|i| i.wrapping_mul(7)).collect();
        let lsn = wal.append(KIND, &[&payload], None).unwrap();
        given.push(Given { lsn, kind: KIND, payload });
    }
    wal.sync().unwrap();
    let wal = recover(&disk).unwrap().wal;
    let segment = &wal.segments()[0];
    let mut archive = open_archive(&disk);
    archive.store(Path::new(DIR), segment, UnixNanos::new(1)).unwrap();
    disk.remove(&Path::new(DIR).join(&*segment.file)).unwrap();
    let path = Path::new(ARCHIVE_DIR).join(&*archive.files()[0].file);
    let file = disk.open(&path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Sample { disk, path, bytes, given }
}

impl Sample {
    fn put(&self, bytes: &[u8]) {
        let file = self.disk.open(&self.path, OpenMode::ReadWrite).unwrap();
        file.set_len(0).unwrap();
        file.write_all_at(bytes, 0).unwrap();
    }

    /// What is read before the end or an error.
    fn read(&self) -> (Vec<Given>, Result<(), WalError>) {
        let (dir, archive_dir) = (Path::new(DIR), Path::new(ARCHIVE_DIR));
        let disk = Arc::new(self.disk.clone());
        let mut reader = WalReader::open_with_archive(disk, dir, archive_dir, Lsn::ZERO).unwrap();
        let mut found = Vec::new();
        loop {
            match reader.next_record() {
                Ok(Some(record)) => found.push(Given::from(&record)),
                Ok(None) => return (found, Ok(())),
                Err(error) => {
                    let again = reader.next_record().unwrap_err();
                    assert!(is_damage(&again), "{again}");
                    return (found, Err(error));
                }
            }
        }
    }

    fn assert_refused(&self, what: &str) {
        let (found, ended) = self.read();
        let error = ended.expect_err(what);
        assert!(is_damage(&error), "{what}: {error:?}");
        assert_eq!(found, self.given[..found.len()], "{what}: a wrong record");
        let report = verify_archive(&self.disk, Path::new(ARCHIVE_DIR), Path::new(DIR)).unwrap();
        assert!(!report.ok(), "{what}");
        assert_eq!(report.records, found.len() as u64, "{what}");
    }
}

fn is_damage(error: &WalError) -> bool {
    matches!(error, WalError::Corrupt { .. } | WalError::Version { .. })
}

#[test]
fn every_flipped_bit_is_refused() {
    let sample = sample();
    assert_eq!(sample.read().0, sample.given);
    for at in 0..sample.bytes.len() {
        for bit in 0..8 {
            let mut flipped = sample.bytes.clone();
            flipped[at] ^= 1 << bit;
            sample.put(&flipped);
            sample.assert_refused(&format!("bit {bit} of byte {at}"));
        }
    }
    sample.put(&sample.bytes);
    assert_eq!(sample.read().0, sample.given);
}

#[test]
fn every_shortened_or_lengthened_file_is_refused() {
    let sample = sample();
    for length in 0..sample.bytes.len() {
        sample.put(&sample.bytes[..length]);
        sample.assert_refused(&format!("cut at {length}"));
    }
    for more in [&[0][..], &[0; 9000], &sample.bytes, &sample.bytes[64..]] {
        sample.put(&[&sample.bytes, more].concat());
        sample.assert_refused(&format!("{} bytes more", more.len()));
    }
}

/// The file with another body, whose header is right about it.
fn with_body(sample: &Sample, raw: &[u8], raw_bytes: u64) -> Vec<u8> {
    let mut body = zstd::stream::encode_all(raw, 3).unwrap();
    let header = ArchiveHeader {
        body_crc: crc32c::crc32c(&body),
        first_lsn: Lsn::new(1),
        last_lsn: sample.given.last().unwrap().lsn,
        time: UnixNanos::new(1),
        raw_bytes,
    };
    let mut bytes = header.encode().to_vec();
    bytes.append(&mut body);
    bytes
}

#[test]
fn a_body_of_another_length_than_its_header_says_is_refused() {
    let sample = sample();
    let raw = zstd::stream::decode_all(&sample.bytes[64..]).unwrap();
    let raw_bytes = raw.len() as u64;
    sample.put(&with_body(&sample, &raw, raw_bytes));
    assert_eq!(sample.read().0, sample.given, "the test's own files are good ones");
    for other in [&raw[..raw.len() - 8], &[&raw[..], &[0; 8]].concat(), &[&raw[..], &raw].concat()]
    {
        sample.put(&with_body(&sample, other, raw_bytes));
        sample.assert_refused(&format!("{} bytes for {raw_bytes}", other.len()));
    }
}

#[test]
fn a_frame_is_checked_for_itself_although_the_archive_is_intact() {
    let sample = sample();
    let mut raw = zstd::stream::decode_all(&sample.bytes[64..]).unwrap();
    let last = raw.len() - 10;
    raw[last] ^= 1;
    sample.put(&with_body(&sample, &raw, raw.len() as u64));
    let (found, ended) = sample.read();
    assert_eq!(found, sample.given[..3]);
    assert!(matches!(ended, Err(WalError::Corrupt { damage: Damage::Payload, .. })));
}

#[test]
fn a_bomb_is_unpacked_no_further_than_its_header_says() {
    let sample = sample();
    let raw = zstd::stream::decode_all(&sample.bytes[64..]).unwrap();
    let bomb = [&raw[..], &vec![0; 64 << 20]].concat();
    let bytes = with_body(&sample, &bomb, raw.len() as u64);
    assert!(bytes.len() < 10_000);
    sample.put(&bytes);
    let (found, ended) = sample.read();
    assert_eq!(found, sample.given);
    assert!(matches!(ended, Err(WalError::Corrupt { damage: Damage::Packed, .. })), "{ended:?}");
}

#[test]
fn a_disk_that_fails_is_not_taken_for_damage() {
    let sample = sample();
    let (dir, archive_dir) = (Path::new(DIR), Path::new(ARCHIVE_DIR));
    let disk = Arc::new(sample.disk.clone());
    let mut reader = WalReader::open_with_archive(disk, dir, archive_dir, Lsn::ZERO).unwrap();
    sample.disk.crash_at(sample.disk.ops() + 1);
    sample.disk.create_dir_all(Path::new("/else")).unwrap_err();
    assert!(matches!(reader.next_record(), Err(WalError::Io { .. })));
    assert!(matches!(read_with_archive(&sample.disk, Lsn::ZERO), Err(WalError::Io { .. })));
}
