//! The log under damage: every byte, every length, and old bytes in new files.

use std::path::Path;

use proptest::prelude::*;
use tidewatch_env::{Disk, OpenMode, SimDisk};
use tidewatch_metrics::Lsn;

use crate::frame::{FrameHeader, payload_crc};
use crate::segment::SegmentHeader;
use crate::testing::{
    CONFIG, DIR, Given, KIND, bytes_at, file_path, new_log, overwrite, read_all, recover,
};
use crate::{Damage, SegmentState, WalError, verify};

#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) disk: SimDisk,
    /// Names of the two files.
    pub(crate) files: [String; 2],
    /// Where the records of each file end.
    pub(crate) ends: [u64; 2],
    /// Where the last group starts.
    pub(crate) last_group: u64,
    pub(crate) given: Vec<Given>,
}

/// Two files of three synced groups each, the second with a mark if asked for.
pub(crate) fn sample(with_mark: bool) -> Sample {
    let disk = SimDisk::new(0);
    let mut given = Vec::new();
    let mut files = Vec::new();
    let mut ends = Vec::new();
    let mut last_group = 0;
    for _ in 0..2 {
        let mut wal = recover(&disk).unwrap().wal;
        let mut end = 64;
        for group in 0..3_u8 {
            last_group = end;
            for size in [0, 5, 60] {
                let payload = vec![group + 1; size];
                let lsn = wal.append(KIND, &[&payload], None).unwrap();
                end += (40 + size as u64).next_multiple_of(8);
                given.push(Given { lsn, kind: KIND, payload });
            }
            wal.sync().unwrap();
        }
        if with_mark {
            wal.mark().unwrap();
            end += 40;
        }
        files.push(wal.segments().last().unwrap().file.to_string());
        ends.push(end);
    }
    let (files, ends) = (files.try_into().unwrap(), ends.try_into().unwrap());
    Sample { disk, files, ends, last_group, given }
}

fn is_damage(error: &WalError) -> bool {
    matches!(error, WalError::Corrupt { .. } | WalError::Version { .. })
}

#[test]
fn behind_a_mark_every_flipped_byte_is_refused_or_harmless() {
    let Sample { disk, files, ends, given, .. } = sample(true);
    let mut refused = 0;
    for (name, end) in files.iter().zip(ends) {
        for offset in 0..end {
            let byte = bytes_at(&disk, name, offset, 1)[0];
            overwrite(&disk, name, offset, &[byte ^ 0x10]);
            match recover(&disk) {
                Ok(found) => assert_eq!(found.records, given, "{name} at {offset}"),
                Err(error) => {
                    assert!(is_damage(&error), "{name} at {offset}: {error:?}");
                    refused += 1;
                }
            }
            overwrite(&disk, name, offset, &[byte]);
        }
    }
    // All but the padding, 3 + 4 bytes a group, and the last mark.
    assert_eq!(refused, ends[0] + ends[1] - 2 * 3 * (3 + 4) - 40);
}

#[test]
fn without_a_mark_only_the_last_group_can_be_taken_for_a_torn_tail() {
    let Sample { disk, files, ends, last_group, given } = sample(false);
    for offset in 64..ends[1] {
        let byte = bytes_at(&disk, &files[1], offset, 1)[0];
        overwrite(&disk, &files[1], offset, &[!byte]);
        match recover(&disk) {
            Ok(found) if found.records == given => {}
            Ok(found) => {
                assert!(offset >= last_group, "at {offset}");
                assert!(found.records.len() >= given.len() - 3, "at {offset}");
                assert_eq!(found.records, given[..found.records.len()], "at {offset}");
            }
            Err(error) => assert!(is_damage(&error) && offset < last_group, "at {offset}"),
        }
        overwrite(&disk, &files[1], offset, &[byte]);
    }
}

#[test]
fn every_shortened_file_is_refused_or_harmless() {
    let Sample { disk, files, ends, given, .. } = sample(false);
    for length in 0..=ends[1] + 8 {
        let cut = disk.reboot_keeping_all();
        cut.open(&file_path(&files[1]), OpenMode::ReadWrite).unwrap().set_len(length).unwrap();
        assert!(is_damage(&recover(&cut).unwrap_err()), "last file cut at {length}");
    }
    for length in 0..=ends[0] {
        let cut = disk.reboot_keeping_all();
        cut.open(&file_path(&files[0]), OpenMode::ReadWrite).unwrap().set_len(length).unwrap();
        match recover(&cut) {
            Ok(found) => assert!(length >= ends[0] - 4 && found.records == given, "at {length}"),
            Err(error) => assert!(is_damage(&error), "first file cut at {length}: {error:?}"),
        }
    }
}

#[test]
fn a_missing_file_in_the_middle_is_told_with_its_records() {
    let disk = SimDisk::new(0);
    let mut names = Vec::new();
    for _ in 0..3 {
        let mut wal = recover(&disk).unwrap().wal;
        wal.append(KIND, &[b"payload"], None).unwrap();
        wal.sync().unwrap();
        names.push(wal.segments().last().unwrap().file.to_string());
    }
    disk.remove(&file_path(&names[1])).unwrap();
    let refused = recover(&disk).unwrap_err();
    let expected = Damage::Missing { from: Lsn::new(2), to: Lsn::new(2) };
    assert!(matches!(refused, WalError::Corrupt { damage, .. } if damage == expected));
    let report = verify(&disk, Path::new(DIR)).unwrap();
    assert_eq!((report.ok(), report.records, report.last_lsn), (false, 2, Lsn::new(3)));
    assert_eq!(report.problems[0].message, "records 2 to 2 are missing");
}

#[test]
fn a_check_tells_every_problem_and_changes_nothing() {
    let Sample { disk, files, ends, .. } = sample(true);
    let whole = verify(&disk, Path::new(DIR)).unwrap();
    assert_eq!((whole.ok(), whole.records, whole.torn_bytes), (true, 20, 0));
    overwrite(&disk, &files[0], 64 + 8, &[0xff]);
    overwrite(&disk, &files[1], ends[1] - 120, &[0xff]);
    let ops = disk.ops();
    let report = verify(&disk, Path::new(DIR)).unwrap();
    assert_eq!(disk.ops(), ops);
    let told: Vec<_> = report.problems.iter().map(|p| (p.file.clone(), p.offset)).collect();
    assert_eq!(told[0], (files[0].clone(), 64));
    assert_eq!(told[1].0, files[1]);
    assert_eq!(told.len(), 2);
}

#[test]
fn frames_of_another_epoch_are_no_frames_even_with_the_right_lsn() {
    let disk = SimDisk::new(0);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let name = "wal-00000000000000000001.log";
    let header =
        SegmentHeader { first_lsn: Lsn::new(1), epoch: 5, file_bytes: 4096, has_gaps: false };
    disk.open(&file_path(name), OpenMode::CreateNew).unwrap().set_len(4096).unwrap();
    overwrite(&disk, name, 0, &header.encode());
    let frame = |lsn, epoch| {
        let header = FrameHeader {
            payload_bytes: 8,
            payload_crc: payload_crc(&[b"8 bytes."]),
            lsn: Lsn::new(lsn),
            previous_synced: Lsn::new(lsn - 1),
            epoch,
            kind: KIND,
        };
        [&header.encode()[..], b"8 bytes."].concat()
    };
    overwrite(&disk, name, 64, &[frame(1, 5), frame(2, 4), frame(3, 4)].concat());
    assert_eq!(read_all(&disk, Lsn::ZERO).unwrap().len(), 1);
    assert_eq!(recover(&disk).unwrap().summary.last_lsn, Lsn::new(1));
    overwrite(&disk, name, 64 + 96, &frame(3, 5));
    assert!(is_damage(&recover(&disk).unwrap_err()), "record 3 says that 2 was synced");
}

#[test]
fn a_recycled_file_shows_none_of_its_old_records() {
    let (disk, mut wal) = new_log();
    let mut preallocator = wal.take_preallocator().unwrap();
    let payload = vec![9; 100_000];
    for _ in 0..33 {
        wal.append(KIND, &[&payload], None).unwrap();
        wal.sync().unwrap();
        wal.release(wal.durable_lsn()).unwrap();
        while preallocator.run_once().unwrap() {}
    }
    let segments = wal.segments();
    assert_eq!(segments.len(), 1, "{segments:?}");
    assert_eq!(segments[0].state, SegmentState::Active);
    let end = 64 + (wal.last_lsn().get() - segments[0].first_lsn.get() + 1) * 100_040;
    let left = bytes_at(&disk, &segments[0].file, end, 40);
    assert!(left.iter().any(|&byte| byte != 0), "old bytes stand behind the last record");
    let found = recover(&disk.reboot(1)).unwrap();
    assert_eq!(found.summary.first_lsn, segments[0].first_lsn);
    assert_eq!(found.summary.last_lsn, Lsn::new(33));
    assert_eq!(found.summary.torn_tail, None);
}

#[test]
fn leftover_and_foreign_files_are_harmless() {
    let (disk, mut wal) = new_log();
    wal.append(KIND, &[b"payload"], None).unwrap();
    wal.sync().unwrap();
    for name in ["spare-7.wal.tmp", "spare-8.wal", "README", "wal-1.log"] {
        disk.open(&file_path(name), OpenMode::CreateNew).unwrap();
    }
    assert_eq!(recover(&disk).unwrap().summary.last_lsn, Lsn::new(1));
    let names = disk.list(Path::new(DIR)).unwrap();
    assert_eq!(names, ["README", "wal-00000000000000000001.log", "wal-1.log"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_stands_behind_the_last_synced_byte_nothing_is_lost_or_invented(
        groups in proptest::collection::vec(proptest::collection::vec(0_usize..700, 1..5), 1..6),
        torn in proptest::collection::vec(any::<u8>(), 0..3000),
    ) {
        let (disk, mut wal) = new_log();
        let mut given = Vec::new();
        let mut end = 64;
        for group in groups {
            for size in group {
                let payload = vec![u8::try_from(size % 251).unwrap(); size];
                let lsn = wal.append(KIND, &[&payload], None).unwrap();
                end += (40 + size as u64).next_multiple_of(8);
                given.push(Given { lsn, kind: KIND, payload });
            }
            wal.sync().unwrap();
        }
        prop_assert!(end < CONFIG.segment_bytes_max);
        overwrite(&disk, &wal.segments()[0].file, end, &torn);
        prop_assert_eq!(recover(&disk).unwrap().records, given);
    }
}
