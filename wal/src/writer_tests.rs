use std::path::Path;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tidewatch_env::{DiskFile, OpenMode};

use super::*;
use crate::reader::WalReader;
use crate::testing::{CONFIG, DIR, KIND, file_path, home, new_log, read_all, recover};

#[test]
fn the_levels_follow_append_write_and_sync() {
    let (disk, mut wal) = new_log();
    let levels = |wal: &Wal| [wal.last_lsn(), wal.written_lsn(), wal.durable_lsn()].map(Lsn::get);
    wal.append(KIND, &[b"one"], None).unwrap();
    assert_eq!(levels(&wal), [1, 0, 0]);
    assert_eq!(read_all(&disk, Lsn::ZERO).unwrap().len(), 0, "the group is in memory only");
    assert_eq!(wal.write().unwrap(), Lsn::new(1));
    assert_eq!(levels(&wal), [1, 1, 0]);
    assert_eq!(read_all(&disk, Lsn::ZERO).unwrap().len(), 1);
    assert_eq!(wal.sync().unwrap(), Lsn::new(1));
    assert_eq!(levels(&wal), [1, 1, 1]);
    let ops = disk.ops();
    assert_eq!(wal.sync().unwrap(), Lsn::new(1));
    assert_eq!(disk.ops(), ops, "nothing to sync, nothing synced");
    assert_eq!(wal.mark().unwrap(), Lsn::new(2));
}

#[test]
fn a_payload_reads_the_same_however_it_was_cut_and_whoever_computed_its_checksum() {
    let (disk, mut wal) = new_log();
    let payload: Vec<u8> = (0..400_003_u32).map(|i| i.to_le_bytes()[1]).collect();
    let (small, large) = payload.split_at(90_001);
    let parts: [&[&[u8]]; 4] = [&[&payload], &[small, large], &[&[], small, &[], large], &[large]];
    for parts in parts {
        wal.append(KIND, parts, None).unwrap();
        wal.append(KIND, parts, Some(payload_crc(parts))).unwrap();
    }
    wal.sync().unwrap();
    let found = recover(&disk.reboot(1)).unwrap().records;
    assert_eq!(found.len(), 8);
    assert!(found[..6].iter().all(|record| record.payload == payload));
    assert!(found[6..].iter().all(|record| record.payload == large));
}

#[test]
fn a_record_beyond_the_bound_is_refused_and_takes_no_lsn() {
    let (_, mut wal) = new_log();
    let max = CONFIG.frame_bytes_max;
    let fits = vec![0; usize::try_from(max).unwrap() - 40];
    let too_large = [&fits[..], &[0]].concat();
    assert!(wal.reserve(fits.len() as u64).is_ok());
    let refused = wal.reserve(too_large.len() as u64).unwrap_err();
    assert!(matches!(refused, WalError::TooLarge { bytes, .. } if bytes == max + 8));
    assert!(wal.append(KIND, &[&too_large], None).is_err());
    assert_eq!(wal.append(KIND, &[&fits], None).unwrap(), Lsn::new(1));
}

#[test]
#[should_panic(expected = "belong to the log")]
fn the_logs_own_kinds_are_not_for_callers() {
    let (_, mut wal) = new_log();
    drop(wal.append(15, &[], None));
}

#[test]
fn files_are_taken_from_the_stock_and_released_files_go_back_to_it() {
    let (disk, mut wal) = new_log();
    let mut preallocator = wal.take_preallocator().unwrap();
    assert!(wal.take_preallocator().is_none());
    while preallocator.run_once().unwrap() {}
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), ["spare-2.wal"]);
    let payload = vec![1; 500_000];
    for _ in 0..9 {
        wal.append(KIND, &[&payload], None).unwrap();
        while preallocator.run_once().unwrap() {}
    }
    let firsts: Vec<_> = wal.segments().iter().map(|s| s.first_lsn.get()).collect();
    assert_eq!(firsts, [1, 3, 5, 7, 9]);
    let states: Vec<_> = wal.segments().iter().map(|s| s.state).collect();
    assert_eq!(states[3..], [SegmentState::Sealed, SegmentState::Active]);
    assert_eq!(wal.bytes(), 5 << 20);

    wal.release(Lsn::new(7)).unwrap();
    assert_eq!(wal.segments().len(), 2, "record 8 still needs its file");
    while preallocator.run_once().unwrap() {}
    let names = disk.list(Path::new(DIR)).unwrap();
    assert_eq!(names.iter().filter(|name| name.starts_with("spare")).count(), 2);
    assert_eq!(names.len(), 4);
    assert_eq!(wal.instruments.segments_recycled.get(), 1);
    assert_eq!(wal.instruments.segments_removed.get(), 2);
    assert_eq!(wal.instruments.segments_created.get(), 6);
}

#[test]
fn a_start_alone_writes_nothing_and_the_first_record_cuts_the_old_file() {
    let (disk, mut wal) = new_log();
    wal.append(KIND, &[b"payload"], None).unwrap();
    wal.sync().unwrap();
    let mut found = recover(&disk).unwrap();
    assert_eq!(disk.list(Path::new(DIR)).unwrap().len(), 1);
    found.wal.release(Lsn::new(1)).unwrap();
    assert_eq!(found.wal.segments().len(), 1, "the newest file keeps the numbering");
    found.wal.mark().unwrap();
    let segments = found.wal.segments();
    assert_eq!([segments[0].bytes, segments[1].bytes], [64 + 48, 1 << 20]);
    assert_eq!(disk.len(&file_path(&segments[0].file)).unwrap(), 64 + 48);
    found.wal.release(Lsn::new(1)).unwrap();
    assert_eq!(recover(&disk.reboot(2)).unwrap().summary.first_lsn, Lsn::new(2));
}

#[test]
fn an_empty_last_file_is_replaced_and_its_predecessor_stays_whole() {
    let (disk, mut wal) = new_log();
    for _ in 0..2 {
        wal.append(KIND, &[&[5; 500_000]], None).unwrap();
    }
    wal.sync().unwrap();
    // The third record is appended but never written: its file stays empty.
    wal.append(KIND, &[&[6; 100_000]], None).unwrap();
    assert_eq!(wal.segments().len(), 2);
    let disk = disk.reboot(1);
    let mut found = recover(&disk).unwrap();
    assert_eq!(found.summary.segments, 2);
    found.wal.append(KIND, &[b"kept"], None).unwrap();
    found.wal.sync().unwrap();
    assert_eq!(found.wal.segments().len(), 2);
    let found = recover(&disk.reboot(2)).unwrap();
    let sizes: Vec<_> = found.records.iter().map(|record| record.payload.len()).collect();
    assert_eq!(sizes, [500_000, 500_000, 4]);
}

#[test]
fn a_reader_starts_anywhere_and_shows_places_and_marks() {
    let (disk, mut wal) = new_log();
    for _ in 0..7 {
        wal.append(KIND, &[&[4; 300_000]], None).unwrap();
    }
    wal.mark().unwrap();
    for from in 0..10 {
        let lsns: Vec<_> = read_all(&disk, Lsn::new(from)).unwrap();
        let lsns: Vec<_> = lsns.iter().map(|record| record.lsn.get()).collect();
        assert_eq!(lsns, (from.max(1)..9).collect::<Vec<_>>(), "from {from}");
    }
    let mut reader = WalReader::open(Arc::new(disk), Path::new(DIR), Lsn::new(8)).unwrap();
    let record = reader.next_record().unwrap().unwrap();
    assert_eq!((record.kind, record.payload), (KIND_MARK, &b""[..]));
    assert_eq!((record.file, record.offset), ("wal-00000000000000000007.log", 64 + 300_040));
    assert!(reader.next_record().unwrap().is_none());
    assert!(reader.next_record().unwrap().is_none());
}

#[test]
fn a_reader_follows_a_log_that_grows_under_it() {
    let (disk, mut wal) = new_log();
    wal.append(KIND, &[b"one"], None).unwrap();
    wal.sync().unwrap();
    let mut reader = WalReader::open(Arc::new(disk), Path::new(DIR), Lsn::ZERO).unwrap();
    assert!(reader.next_record().unwrap().is_some());
    assert!(reader.next_record().unwrap().is_none());
    // The reader still holds nothing in the place of the second record, and then finds the third,
    // which says that the second was synced: it must look again, not cry damage.
    wal.append(KIND, &[&[2; 550_000]], None).unwrap();
    wal.sync().unwrap();
    wal.append(KIND, &[&[3; 400_000]], None).unwrap();
    wal.sync().unwrap();
    let mut lsns = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        lsns.push(record.lsn.get());
    }
    assert_eq!(lsns, [2, 3]);
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused() {
    let disk = tidewatch_env::SimDisk::new(0);
    let config = WalConfig { segment_bytes_max: 5, ..CONFIG };
    let refused =
        Wal::recover(home(&disk), config, WalInstruments::default(), |_| Ok::<_, WalError>(()));
    assert!(matches!(refused, Err(WalError::Config(_))));
}

#[test]
fn instruments_count_records_bytes_and_syncs() {
    let (_, mut wal) = new_log();
    let mut registry = Registry::default();
    wal.instruments.register(&mut registry);
    for _ in 0..3 {
        wal.append(KIND, &[b"12345"], None).unwrap();
    }
    wal.mark().unwrap();
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        "tidewatch_wal_records_appended_total 4",
        "tidewatch_wal_bytes_appended_total 184",
        "tidewatch_wal_syncs_total 1",
        "tidewatch_wal_sync_seconds_count 1",
        "tidewatch_wal_segments_created_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn the_log_works_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let home = WalHome {
        disk: Arc::new(tidewatch_env::RealDisk),
        dir: dir.path().join("wal"),
        clock: Arc::new(tidewatch_env::RealClock::new()),
        epoch_seed: 1,
    };
    let mut records = 0_u64;
    for round in 0..3 {
        let (mut wal, summary) =
            Wal::recover(home.clone(), CONFIG, WalInstruments::default(), |record| {
                assert_eq!(record.payload, record.lsn.get().to_le_bytes().repeat(10_000));
                Ok::<_, WalError>(())
            })
            .unwrap();
        assert_eq!(summary.records, records, "round {round}");
        for _ in 0..30 {
            let payload = wal.last_lsn().next().get().to_le_bytes().repeat(10_000);
            wal.append(KIND, &[&payload], None).unwrap();
            wal.sync().unwrap();
            records += 1;
        }
    }
    let file: Arc<dyn DiskFile> =
        home.disk.open(&home.dir.join("wal-00000000000000000001.log"), OpenMode::Read).unwrap();
    assert_eq!(file.len().unwrap(), CONFIG.segment_bytes_max);
}
