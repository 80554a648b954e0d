use std::io;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tidewatch_env::{FaultMode, OpenMode, SimDisk};

use super::*;
use crate::testing::{
    ARCHIVE_DIR, DIR, Given, KIND, file_path, new_log, open_archive, read_with_archive,
};
use crate::{Wal, WalReader, verify_archive};

/// A log of `files` sealed files of two records each and an active one.
fn log_of(files: u64) -> (SimDisk, Wal) {
    let (disk, mut wal) = new_log();
    for n in 0..=2 * files {
        let payload = n.to_le_bytes().repeat(60_000);
        wal.append(KIND, &[&payload], None).unwrap();
    }
    wal.sync().unwrap();
    assert_eq!(wal.segments().len() as u64, files + 1);
    (disk, wal)
}

fn sealed(wal: &Wal) -> Vec<WalSegmentInfo> {
    let mut segments = wal.segments();
    segments.retain(|segment| segment.state == SegmentState::Sealed);
    segments
}

/// Stores all sealed files; the time of each is its last LSN.
fn store_all(archive: &mut Archive, wal: &Wal) {
    for segment in sealed(wal) {
        let time = UnixNanos::new(i64::try_from(segment.last_lsn.get()).unwrap());
        archive.store(Path::new(DIR), &segment, time).unwrap();
    }
}

fn lsns(records: &[Given]) -> Vec<u64> {
    records.iter().map(|record| record.lsn.get()).collect()
}

fn missing(from: u64, to: u64) -> Damage {
    Damage::Missing { from: Lsn::new(from), to: Lsn::new(to) }
}

#[test]
fn archive_and_log_read_as_one_log_from_any_record_whether_or_not_the_log_was_truncated() {
    let (disk, mut wal) = log_of(4);
    let whole = read_with_archive(&disk, Lsn::ZERO).unwrap();
    assert_eq!(lsns(&whole), (1..=9).collect::<Vec<_>>());
    let mut archive = open_archive(&disk);
    for released in [0, 4, 6, 8] {
        if released > 0 {
            store_all(&mut archive, &wal);
            wal.release(Lsn::new(released)).unwrap();
        }
        assert_eq!(read_with_archive(&disk, Lsn::ZERO).unwrap(), whole, "{released} released");
        for from in 1..=10_u64 {
            let found = read_with_archive(&disk, Lsn::new(from)).unwrap();
            let expected = &whole[usize::try_from(from).unwrap() - 1..];
            assert_eq!(lsns(&found), lsns(expected), "from {from}, {released} released");
            assert_eq!(found, expected);
        }
    }
    assert_eq!(wal.oldest_lsn(), Lsn::new(9));
    let report = verify_archive(&disk, Path::new(ARCHIVE_DIR), Path::new(DIR)).unwrap();
    assert_eq!((report.ok(), report.records, report.last_lsn.get()), (true, 8, 8));
}

#[test]
fn a_stored_file_is_small_known_by_its_name_and_stored_once() {
    let (disk, wal) = log_of(2);
    let mut archive = open_archive(&disk);
    store_all(&mut archive, &wal);
    let files = archive.files().to_vec();
    let raw_bytes = 64 + 2 * (480_000 + 40);
    assert_eq!(
        &*files[1].file,
        "wal-00000000000000000003-00000000000000000004-0000000000000000004-0000960144.arc"
    );
    assert_eq!((files[1].first_lsn, files[1].last_lsn), (Lsn::new(3), Lsn::new(4)));
    assert_eq!((files[1].time, files[1].raw_bytes), (UnixNanos::new(4), raw_bytes));
    assert!(
        files[1].bytes < raw_bytes / 500,
        "960,144 bytes of two numbers take {}",
        files[1].bytes
    );

    let ops = disk.ops();
    let other_time = UnixNanos::new(77);
    let again = archive.store(Path::new(DIR), &sealed(&wal)[0], other_time).unwrap();
    assert_eq!((again, disk.ops()), (files[0].bytes, ops));
    let again = open_archive(&disk);
    assert_eq!(again.files(), files);
    assert_eq!(again.instruments.files.get(), 2);
    assert_eq!(u64::try_from(again.instruments.bytes.get()).unwrap(), again.bytes());
    assert_eq!(archive.instruments.archived_bytes.get(), 2 * raw_bytes);
}

#[test]
fn only_the_oldest_go_by_age_then_by_size_and_never_what_must_be_kept() {
    let (disk, wal) = log_of(5);
    let mut archive = open_archive(&disk);
    store_all(&mut archive, &wal);
    let files = archive.files().to_vec();
    let total = archive.bytes();
    for before in [0, 2, 3, 7, 11] {
        for bytes_max in [0, total / 2, total - files[0].bytes, total - 1, total, u64::MAX] {
            for keep_from in [None, Some(5), Some(10), Some(11)] {
                let keep_from = keep_from.map(Lsn::new);
                let mut expected = files.clone();
                expected.retain(|file| {
                    let rest = files.iter().filter(|other| other.first_lsn >= file.first_lsn);
                    let too_much = rest.map(|other| other.bytes).sum::<u64>() > bytes_max;
                    let too_old = file.time < UnixNanos::new(before);
                    let needed = keep_from.is_some_and(|from| file.last_lsn >= from);
                    needed || !(too_old || too_much)
                });
                let disk = disk.reboot_keeping_all();
                let mut archive = open_archive(&disk);
                let before = UnixNanos::new(before);
                let gone = archive.expire(before, bytes_max, keep_from).unwrap();
                let case = format!("{before:?}, {bytes_max} of {total}, {keep_from:?}");
                assert_eq!(archive.files(), expected, "{case}");
                assert_eq!(open_archive(&disk.reboot(1)).files(), expected, "{case}");
                assert_eq!([gone, expected].concat(), files, "{case}");
                let expired = archive.instruments.expired_files.get();
                assert_eq!(expired, (files.len() - archive.files().len()) as u64, "{case}");
            }
        }
    }
}

#[test]
fn what_expired_can_be_stored_again_while_the_log_has_it() {
    let (disk, wal) = log_of(3);
    let mut archive = open_archive(&disk);
    store_all(&mut archive, &wal);
    archive.expire(UnixNanos::new(5), u64::MAX, None).unwrap();
    assert_eq!(archive.files().len(), 1);
    assert_eq!(lsns(&read_with_archive(&disk, Lsn::new(1)).unwrap()), [1, 2, 3, 4, 5, 6, 7]);
    store_all(&mut archive, &wal);
    assert_eq!(archive.files().len(), 3);
    assert_eq!(open_archive(&disk).files(), archive.files());
}

#[test]
fn a_hole_is_told_with_its_records_wherever_it_is() {
    let (disk, mut wal) = log_of(4);
    let mut archive = open_archive(&disk);
    let files = sealed(&wal);
    let mut store = |at: usize| {
        archive.store(Path::new(DIR), &files[at], UnixNanos::new(0)).unwrap();
    };
    // Records 1 to 4 and 7 to 8 are archived, the log has 9: 5 and 6 are nowhere.
    store(0);
    store(1);
    store(3);
    wal.release(Lsn::new(6)).unwrap();
    let check = |from: u64| match read_with_archive(&disk, Lsn::new(from)).unwrap_err() {
        WalError::Corrupt { damage, .. } => damage,
        error => panic!("from {from}: {error}"),
    };
    assert_eq!(check(0), missing(5, 6));
    assert_eq!(check(4), missing(5, 6));
    let refused = read_with_archive(&disk, Lsn::new(5)).unwrap_err();
    assert_eq!(refused.to_string(), "the log begins at LSN 7, but LSN 5 is needed");
    assert_eq!(lsns(&read_with_archive(&disk, Lsn::new(7)).unwrap()), [7, 8, 9]);
    let report = verify_archive(&disk, Path::new(ARCHIVE_DIR), Path::new(DIR)).unwrap();
    assert_eq!((report.problems.len(), report.records), (1, 6));
    let problem = &report.problems[0];
    assert_eq!((&*problem.message, problem.offset), ("records 5 to 6 are missing", 960_144));
    assert!(problem.file.starts_with("wal-00000000000000000003-00000000000000000004-"));

    // Between the archive and the log.
    wal.release(Lsn::new(8)).unwrap();
    archive.expire(UnixNanos::new(1), u64::MAX, Some(Lsn::new(7))).unwrap();
    disk.remove(&Path::new(ARCHIVE_DIR).join(&*archive.files()[0].file)).unwrap();
    let refused = read_with_archive(&disk, Lsn::new(1)).unwrap_err();
    assert_eq!(refused.to_string(), "the log begins at LSN 9, but LSN 1 is needed");
}

#[test]
fn a_hole_between_archive_and_log_is_told_by_reader_and_check() {
    let (disk, mut wal) = log_of(3);
    let mut archive = open_archive(&disk);
    archive.store(Path::new(DIR), &sealed(&wal)[0], UnixNanos::new(0)).unwrap();
    wal.release(Lsn::new(6)).unwrap();
    let refused = read_with_archive(&disk, Lsn::new(2)).unwrap_err();
    assert!(matches!(refused, WalError::Corrupt { damage, .. } if damage == missing(3, 6)));
    let report = verify_archive(&disk, Path::new(ARCHIVE_DIR), Path::new(DIR)).unwrap();
    assert_eq!(report.problems[0].message, "records 3 to 6 are missing");
}

#[test]
fn no_archive_is_an_empty_one_and_nothing_at_all_is_refused_only_if_something_is_needed() {
    let (disk, wal) = log_of(1);
    assert!(!disk.exists(Path::new(ARCHIVE_DIR)).unwrap());
    assert_eq!(lsns(&read_with_archive(&disk, Lsn::new(2)).unwrap()), [2, 3]);
    let mut archive = open_archive(&disk);
    store_all(&mut archive, &wal);
    for segment in wal.segments() {
        disk.remove(&file_path(&segment.file)).unwrap();
    }
    assert_eq!(lsns(&read_with_archive(&disk, Lsn::new(2)).unwrap()), [2]);
    assert_eq!(lsns(&read_with_archive(&disk, Lsn::new(3)).unwrap()), [0; 0]);
    let refused = read_with_archive(&disk, Lsn::new(4)).unwrap_err();
    assert_eq!(refused.to_string(), "the log ends before LSN 3, but LSN 4 is needed");
    archive.expire(UnixNanos::new(i64::MAX), 0, None).unwrap();
    assert_eq!(lsns(&read_with_archive(&disk, Lsn::new(1)).unwrap()), [0; 0]);
    let refused = read_with_archive(&disk, Lsn::new(2)).unwrap_err();
    assert_eq!(refused.to_string(), "the log ends before LSN 1, but LSN 2 is needed");
}

#[test]
fn a_reader_goes_from_the_archive_through_the_log_and_follows_it() {
    let (disk, mut wal) = log_of(3);
    let mut archive = open_archive(&disk);
    store_all(&mut archive, &wal);
    wal.release(Lsn::new(6)).unwrap();
    let (disk, dirs) = (Arc::new(disk), [DIR, ARCHIVE_DIR].map(Path::new));
    let mut reader = WalReader::open_with_archive(disk, dirs[0], dirs[1], Lsn::new(2)).unwrap();
    let mut seen = Vec::new();
    for _ in 0..8 {
        let upto = wal.durable_lsn();
        while let Some(record) = reader.next_record_upto(upto).unwrap() {
            seen.push(record.lsn.get());
        }
        assert_eq!(seen.last(), Some(&upto.get()));
        wal.append(KIND, &[&[3; 400_000]], None).unwrap();
        wal.sync().unwrap();
    }
    assert_eq!(seen, (2..=14).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_leaves_the_archive_as_it_was_and_later_calls_succeed() {
    let (disk, mut wal) = new_log();
    let mut rng = tidewatch_env::Rng::from_seed(1);
    for _ in 0..3 {
        let payload: Vec<u8> = (0..500_000).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
        wal.append(KIND, &[&payload], None).unwrap();
    }
    wal.sync().unwrap();
    let mut archive = open_archive(&disk);
    let segment = &sealed(&wal)[0];
    disk.set_capacity(Some((2 << 20) + 300_000));
    let refused = archive.store(Path::new(DIR), segment, UnixNanos::new(0)).unwrap_err();
    assert!(matches!(refused, WalError::Full { bytes } if bytes == segment.bytes), "{refused}");
    assert_eq!(disk.list(Path::new(ARCHIVE_DIR)).unwrap(), [""; 0]);
    disk.set_capacity(None);
    let bytes = archive.store(Path::new(DIR), segment, UnixNanos::new(0)).unwrap();
    assert!(bytes > 1_000_000, "random bytes take their space: {bytes}");
}

#[test]
fn what_is_damaged_empty_or_known_in_another_file_is_not_stored() {
    let (disk, wal) = log_of(3);
    let mut archive = open_archive(&disk);
    let segment = sealed(&wal)[1].clone();
    let store = |archive: &mut Archive, segment: &WalSegmentInfo| {
        archive.store(Path::new(DIR), segment, UnixNanos::new(0))
    };
    let empty = WalSegmentInfo { last_lsn: Lsn::new(2), ..segment.clone() };
    assert_eq!(store(&mut archive, &empty).unwrap(), 0);

    crate::testing::overwrite(&disk, &segment.file, 64 + 50, &[0xff]);
    let refused = store(&mut archive, &segment).unwrap_err();
    assert!(matches!(refused, WalError::Corrupt { damage: Damage::Payload, .. }), "{refused}");
    assert_eq!(disk.list(Path::new(ARCHIVE_DIR)).unwrap(), [""; 0]);

    let longer = WalSegmentInfo { last_lsn: Lsn::new(3), ..sealed(&wal)[0].clone() };
    assert!(store(&mut archive, &longer).is_err(), "record 3 is in the next file");
    let third = sealed(&wal)[2].clone();
    store(&mut archive, &third).unwrap();
    for (first_lsn, last_lsn) in [(4, 5), (5, 5), (6, 6), (6, 7), (4, 9)] {
        let (first_lsn, last_lsn) = (Lsn::new(first_lsn), Lsn::new(last_lsn));
        let refused = store(&mut archive, &WalSegmentInfo { first_lsn, last_lsn, ..third.clone() });
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, WalError::Corrupt { damage: Damage::Repeated { .. }, .. }),
            "{first_lsn} to {last_lsn}: {refused}"
        );
    }
    assert_eq!(archive.files().len(), 1);
}

#[test]
#[should_panic(expected = "only a sealed segment can be archived")]
fn a_segment_that_takes_records_is_not_stored() {
    let (disk, wal) = log_of(1);
    let active = wal.segments().pop().unwrap();
    drop(open_archive(&disk).store(Path::new(DIR), &active, UnixNanos::new(0)));
}

#[test]
fn unfinished_files_go_at_the_start_and_foreign_ones_are_left_alone() {
    let (disk, wal) = log_of(1);
    let mut archive = open_archive(&disk);
    let names = ["wal-00000000000000000001.arc.tmp", "README", "wal-1.arc.tmp"];
    for name in names {
        disk.open(&Path::new(ARCHIVE_DIR).join(name), OpenMode::CreateNew).unwrap();
    }
    store_all(&mut archive, &wal);
    assert_eq!(disk.list(Path::new(ARCHIVE_DIR)).unwrap().len(), 3, "one was in the way");
    disk.open(&Path::new(ARCHIVE_DIR).join(names[0]), OpenMode::CreateNew).unwrap();
    assert_eq!(open_archive(&disk).files(), archive.files());
    let stored = &*archive.files()[0].file;
    assert_eq!(disk.list(Path::new(ARCHIVE_DIR)).unwrap(), ["README", stored, names[2]]);
}

#[test]
fn whichever_operation_fails_the_log_is_readable_and_only_an_unsure_name_ends_the_archive() {
    let mut poisoned = 0;
    for failing in 1.. {
        let (disk, wal) = log_of(2);
        let mut archive = open_archive(&disk);
        let segment = &sealed(&wal)[0];
        let mut store = || archive.store(Path::new(DIR), segment, UnixNanos::new(0));
        disk.fail_op(disk.ops() + failing, io::ErrorKind::Other, FaultMode::Once);
        let ops = disk.ops();
        let stored = store();
        let (ended, again) = (disk.ops() < ops + failing, store());
        assert!(stored.is_err() || again.is_ok(), "{failing}: {again:?}");
        if let Err(error) = again {
            assert!(matches!(error, WalError::Poisoned), "{failing}: {error}");
            assert!(matches!(archive.expire(UnixNanos::new(1), 0, None), Err(WalError::Poisoned)));
            poisoned += 1;
        }
        let read = read_with_archive(&disk.reboot(failing), Lsn::new(1)).unwrap();
        assert_eq!(lsns(&read), [1, 2, 3, 4, 5], "{failing}");
        if ended {
            assert!(failing > 6, "remove, create, write, write, sync, rename, sync");
            break;
        }
    }
    assert_eq!(poisoned, 1);
}

#[test]
fn the_instruments_have_their_names() {
    let (disk, wal) = log_of(3);
    let mut archive = open_archive(&disk);
    store_all(&mut archive, &wal);
    archive.expire(UnixNanos::new(3), u64::MAX, None).unwrap();
    let mut registry = Registry::default();
    archive.instruments.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        "tidewatch_wal_archive_files 2".to_owned(),
        format!("tidewatch_wal_archive_bytes {}", archive.bytes()),
        "tidewatch_wal_archived_bytes_total 2880432".to_owned(),
        "tidewatch_wal_archive_expired_files_total 1".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
