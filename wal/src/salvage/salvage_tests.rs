use std::path::Path;
use std::sync::Arc;

use tidewatch_env::{Disk, OpenMode, SimDisk};
use tidewatch_metrics::{Lsn, UnixNanos};

use super::*;
use crate::damage_tests::{Sample, sample};
use crate::testing::{
    ARCHIVE_DIR, DIR, Given, KIND, bytes_at, file_path, new_log, open_archive, overwrite, read_all,
    read_with_archive, recover, recover_from,
};
use crate::{Damage, Gap, KIND_GAP, verify};

const ASIDE: &str = "/data/salvage/1/wal";

fn plan(disk: &SimDisk, durable: u64) -> Salvage {
    let scope = SalvageScope { begin: Lsn::ZERO, durable: Lsn::new(durable) };
    Salvage::plan(disk, Path::new(DIR), scope).unwrap()
}

/// The records that are stated to be missing.
fn missing(salvage: &Salvage) -> Vec<u64> {
    let gaps = salvage.repairs().iter().flat_map(|repair| &repair.gaps);
    gaps.flat_map(|gap| gap.gap.from.get()..=gap.gap.to.get()).collect()
}

/// Repairs the log, and holds what is left of it against what is stated: the missing records.
fn salvage(disk: &SimDisk, durable: u64, given: &[Given], at: &str) -> Vec<u64> {
    let plan = plan(disk, durable);
    plan.apply(disk).unwrap();
    let found = recover(disk).unwrap_or_else(|error| panic!("{at}: {error:?}"));
    let stated = found.summary.gaps.iter().flat_map(|gap| gap.from.get()..=gap.to.get());
    let stated: Vec<_> = stated.collect();
    let missing = missing(&plan);
    let is_cut = plan.repairs().iter().any(|repair| repair.cut_at.is_some());
    let last = found.summary.last_lsn;
    let expected = given
        .iter()
        .filter(|record| !stated.contains(&record.lsn.get()) && (!is_cut || record.lsn <= last));
    assert!(expected.eq(&found.records), "{at}: {stated:?} are said to be missing");
    assert!(missing.iter().all(|lsn| stated.contains(lsn)), "{at}: {missing:?} {stated:?}");
    assert!(last.get() >= durable, "{at}: the next record would get a number that was taken");
    assert_eq!(verify(disk, Path::new(DIR)).unwrap().problems, [], "{at}");
    assert_eq!(self::plan(disk, durable).repairs(), [], "{at}: once is enough");
    missing
}

/// The record, marks included, whose frame holds the byte; `None` in the header.
fn record_at(sample: &Sample, file: usize, offset: u64) -> Option<u64> {
    let mut reader =
        crate::WalReader::open(Arc::new(sample.disk.clone()), Path::new(DIR), Lsn::ZERO).unwrap();
    let mut found = None;
    while let Some(record) = reader.next_record().unwrap() {
        if record.file == sample.files[file] && record.offset <= offset {
            found = Some(record.lsn.get());
        }
    }
    found
}

#[test]
fn a_log_without_damage_is_left_alone_and_so_is_a_torn_tail() {
    let Sample { disk, files, ends, given, .. } = sample(false);
    assert_eq!(plan(&disk, 18).repairs(), []);
    overwrite(&disk, &files[1], ends[1] - 8, &[1; 300]);
    assert_eq!(plan(&disk, 0).repairs(), []);
    assert_eq!(recover(&disk).unwrap().records, given[..17]);
    assert_eq!(salvage(&disk, 18, &given, "a tail that is known to have been synced"), [18]);
}

#[test]
fn after_every_flipped_byte_exactly_the_record_that_held_it_is_missing() {
    let whole = sample(true);
    for (file, end) in whole.ends.into_iter().enumerate() {
        for offset in 0..end {
            for mask in [0x10, 0xff] {
                let disk = whole.disk.reboot_keeping_all();
                let name = &whole.files[file];
                let byte = bytes_at(&disk, name, offset, 1)[0];
                overwrite(&disk, name, offset, &[byte ^ mask]);
                let at = format!("byte {offset} of file {file}, mask {mask}");
                let missing = salvage(&disk, 20, &whole.given, &at);
                assert_eq!(recover(&disk).unwrap().summary.gaps.len(), missing.len(), "{at}");
                let lost = record_at(&whole, file, offset);
                assert!(
                    missing.iter().copied().eq(lost) || missing.is_empty(),
                    "{at}: {missing:?}"
                );
                if missing.is_empty() {
                    let read = read_all(&disk, Lsn::ZERO).unwrap();
                    assert_eq!(read, read_all(&whole.disk, Lsn::ZERO).unwrap(), "{at}");
                }
            }
        }
    }
}

#[test]
fn after_every_cut_all_records_before_it_are_there_and_all_others_are_stated() {
    let whole = sample(true);
    for (file, end) in whole.ends.into_iter().enumerate() {
        for length in 0..=end {
            for durable in [0, 20] {
                let disk = whole.disk.reboot_keeping_all();
                let cut = disk.open(&file_path(&whole.files[file]), OpenMode::ReadWrite).unwrap();
                cut.set_len(length).unwrap();
                let at = format!("file {file} cut at {length}, {durable} known");
                let missing = salvage(&disk, durable, &whole.given, &at);
                let ends = [10, 20];
                let kept = (length < end).then(|| record_at(&whole, file, length)).flatten();
                // A record whose first byte is cut off, or one that is cut.
                let first = kept.unwrap_or(file as u64 * 10 + 1);
                let expected = if length == end || (file == 1 && durable == 0) {
                    Vec::new()
                } else {
                    (first..=ends[file]).collect()
                };
                assert_eq!(missing, expected, "{at}");
            }
        }
    }
}

#[test]
fn two_damaged_places_of_a_file_are_two_gaps_and_what_lies_between_is_kept() {
    let Sample { disk, files, given, .. } = sample(true);
    // The second record of the first group, and the second of the third one.
    overwrite(&disk, &files[0], 64 + 40 + 40, &[0xff]);
    overwrite(&disk, &files[0], 64 + 2 * 192 + 40 + 40, &[0xff]);
    assert_eq!(salvage(&disk, 0, &given, "two places"), [2, 8]);
    let gaps = verify(&disk, Path::new(DIR)).unwrap().gaps;
    let stated: Vec<_> = gaps.iter().map(|stated| (stated.gap.from.get(), &*stated.file)).collect();
    assert_eq!(stated, [(2, &*files[0]), (8, &*files[0])]);
}

#[test]
fn missing_files_are_gaps_wherever_they_stood() {
    let three_files = || {
        let disk = SimDisk::new(0);
        for _ in 0..3 {
            let mut wal = recover(&disk).unwrap().wal;
            wal.append(KIND, &[b"payload"], None).unwrap();
            wal.append(KIND, &[b"payload"], None).unwrap();
            wal.sync().unwrap();
        }
        disk
    };
    let given = recover(&three_files()).unwrap().records;
    let name = |first: u64| file_path(&crate::log_dir::segment_name(Lsn::new(first)));
    for (gone, begin, expected) in [
        (vec![1], 1, vec![1, 2]),
        (vec![1], 0, vec![]),
        (vec![3], 1, vec![3, 4]),
        (vec![5], 1, vec![5, 6]),
        (vec![1, 3], 2, vec![2, 3, 4]),
        (vec![1, 3, 5], 2, vec![2, 3, 4, 5, 6]),
    ] {
        let disk = three_files();
        gone.iter().for_each(|first| disk.remove(&name(*first)).unwrap());
        let scope = SalvageScope { begin: Lsn::new(begin), durable: Lsn::new(6) };
        let plan = Salvage::plan(&disk, Path::new(DIR), scope).unwrap();
        plan.apply(&disk).unwrap();
        assert_eq!(missing(&plan), expected, "{gone:?}");
        let found = recover_from(&disk, Lsn::new(begin)).unwrap();
        assert_eq!(found.summary.last_lsn, Lsn::new(6), "{gone:?}");
        let kept = given.iter().filter(|record| {
            let in_file = (record.lsn.get() - 1) / 2 * 2 + 1;
            !gone.contains(&in_file)
        });
        assert!(kept.eq(&found.records), "{gone:?}: {:?}", found.records);
    }
}

#[test]
fn the_damaged_file_is_kept_aside_as_it_was() {
    let Sample { disk, files, .. } = sample(true);
    overwrite(&disk, &files[0], 70, &[0xff; 3]);
    let length = disk.len(&file_path(&files[0])).unwrap();
    let damaged = bytes_at(&disk, &files[0], 0, usize::try_from(length).unwrap());
    let plan = plan(&disk, 0);
    plan.set_aside(&disk, Path::new(ASIDE)).unwrap();
    plan.apply(&disk).unwrap();
    let disk = disk.reboot(3);
    assert_eq!(disk.list(Path::new(ASIDE)).unwrap(), [files[0].clone()]);
    let path = Path::new(ASIDE).join(&files[0]);
    assert_eq!(tidewatch_env::read_file(&disk, &path, 1 << 21).unwrap(), damaged);
}

#[test]
fn a_salvage_that_is_cut_off_at_any_point_can_be_repeated() {
    for crash_at in 1.. {
        let Sample { disk, files, given, .. } = sample(true);
        overwrite(&disk, &files[0], 70, &[0xff]);
        overwrite(&disk, &files[1], 64 + 192 + 8, &[0xff]);
        let plan = plan(&disk, 0);
        disk.crash_at(disk.ops() + crash_at);
        let applied = plan.apply(&disk);
        let disk = disk.reboot(crash_at);
        if applied.is_ok() {
            assert_eq!(salvage(&disk, 0, &given, "whole"), [0_u64; 0]);
            assert!(crash_at > 8, "two files were written, synced and renamed");
            return;
        }
        salvage(&disk, 0, &given, "after a crash");
        let read: Vec<_> = recover(&disk).unwrap().summary.gaps;
        let gap = |lsn| Gap { from: Lsn::new(lsn), to: Lsn::new(lsn) };
        assert_eq!(read, [gap(1), gap(14)], "crash at {crash_at}");
        let names = disk.list(Path::new(DIR)).unwrap();
        assert!(!names.iter().any(|name| name.ends_with(".tmp")), "{names:?}");
    }
}

#[test]
fn a_log_with_gaps_grows_is_archived_and_truncated_as_any_other() {
    let (disk, mut wal) = new_log();
    for _ in 0..7 {
        wal.append(KIND, &[&[1; 500_000]], None).unwrap();
    }
    wal.sync().unwrap();
    let second = wal.segments()[1].file.to_string();
    drop(wal);
    overwrite(&disk, &second, 100, &[0xff]);
    let plan = plan(&disk, 0);
    plan.apply(&disk).unwrap();
    assert_eq!(missing(&plan), [3]);
    let mut wal = recover(&disk).unwrap().wal;
    wal.append(KIND, &[b"more"], None).unwrap();
    wal.sync().unwrap();
    let mut archive = open_archive(&disk);
    for segment in &wal.segments()[..3] {
        archive.store(Path::new(DIR), segment, UnixNanos::new(5)).unwrap();
    }
    wal.release(Lsn::new(6)).unwrap();
    let read = read_with_archive(&disk, Lsn::ZERO).unwrap();
    let lsns: Vec<_> = read.iter().map(|record| record.lsn.get()).collect();
    assert_eq!(lsns, (1..=8).collect::<Vec<_>>());
    assert_eq!((read[2].kind, &read[2].payload[..]), (KIND_GAP, &[3, 0, 0, 0, 0, 0, 0, 0][..]));
    let report = crate::verify_archive(&disk, Path::new(ARCHIVE_DIR), Path::new(DIR)).unwrap();
    assert_eq!((report.ok(), report.records, report.gaps.len()), (true, 5, 1));
}

#[test]
fn a_gap_in_a_file_of_the_first_version_is_damage() {
    let Sample { disk, files, .. } = sample(true);
    overwrite(&disk, &files[0], 70, &[0xff]);
    plan(&disk, 0).apply(&disk).unwrap();
    let mut header = bytes_at(&disk, &files[0], 0, 64);
    assert_eq!(header[8], 2);
    header[8] = 1;
    let crc = crc32c::crc32c(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    overwrite(&disk, &files[0], 0, &header);
    let refused = recover(&disk).unwrap_err();
    let expected = Damage::FrameHeader;
    assert!(matches!(refused, crate::WalError::Corrupt { damage, .. } if damage == expected));
}

#[test]
fn frames_in_a_payload_are_not_taken_for_records_of_the_file() {
    let (disk, mut wal) = new_log();
    let mut forged = crate::gap::encode_gap(Gap { from: Lsn::new(2), to: Lsn::new(90) }, 77);
    forged.extend_from_slice(&[0; 16]);
    wal.append(KIND, &[&forged.repeat(3)], None).unwrap();
    wal.append(KIND, &[b"after"], None).unwrap();
    wal.sync().unwrap();
    wal.mark().unwrap();
    let name = wal.segments()[0].file.to_string();
    let given = recover(&disk).unwrap().records;
    // The first frame alone: the header of the file tells the epoch.
    overwrite(&disk, &name, 66, &[0xff]);
    assert_eq!(salvage(&disk, 0, &given, "a frame"), [1]);
    // The header too, in which case the frames must tell it.
    let (disk, mut wal) = new_log();
    wal.append(KIND, &[&forged.repeat(3)], None).unwrap();
    wal.append(KIND, &[&[5; 900]], None).unwrap();
    wal.sync().unwrap();
    wal.mark().unwrap();
    let given = recover(&disk).unwrap().records;
    overwrite(&disk, &name, 20, &[0xff; 50]);
    assert_eq!(salvage(&disk, 3, &given, "header and frame"), [1]);
}
