use std::sync::atomic::{AtomicU64, Ordering};

use tidewatch_env::{RealClock, RealDisk, Rng, SimDisk};

use super::*;
use crate::testing::{CONFIG, DIR, Given, KIND, Model, new_log, overwrite, recover};
use crate::{Wal, WalConfig, WalHome, WalInstruments};

fn reader(disk: &SimDisk, from: u64) -> WalReader {
    WalReader::open_at(Arc::new(disk.clone()), Path::new(DIR), Lsn::new(from)).unwrap()
}

fn read_upto(reader: &mut WalReader, upto: Lsn, found: &mut Vec<Given>) {
    while let Some(record) = reader.next_record_upto(upto).unwrap() {
        assert!(record.lsn <= upto);
        found.push(Given::from(&record));
    }
}

#[test]
fn a_reader_beside_its_writer_sees_every_durable_record_once_and_in_order() {
    for seed in 0..12 {
        let (disk, mut wal) = new_log();
        let mut preallocator = wal.take_preallocator().unwrap();
        let mut rng = Rng::from_seed(seed);
        let mut model = Model { keep_all: true, ..Model::default() };
        let mut following = reader(&disk, 0);
        let mut found = Vec::new();
        let mut joined = None;
        for step in 0..600 {
            model.step(&mut wal, &mut preallocator, &mut rng).unwrap();
            if rng.below(3) > 0 {
                // Sometimes less than is durable.
                let upto = wal.durable_lsn().get();
                read_upto(&mut following, Lsn::new(upto - rng.below(3).min(upto)), &mut found);
            }
            if step == 150 {
                joined = Some((wal.last_lsn(), reader(&disk, wal.last_lsn().get())));
            }
        }
        wal.sync().unwrap();
        let durable = wal.durable_lsn();
        read_upto(&mut following, durable, &mut found);
        assert!(found == model.given, "SEED={seed}: {} of {}", found.len(), model.given.len());
        assert!(wal.segments().len() > 8, "SEED={seed}: {}", wal.segments().len());

        let (from, mut late) = joined.unwrap();
        let mut found_late = Vec::new();
        read_upto(&mut late, durable, &mut found_late);
        let first = usize::try_from(from.get()).unwrap() - 1;
        assert!(found_late == model.given[first..], "SEED={seed}: from {from}");
    }
}

#[test]
fn a_reader_follows_a_log_over_a_restart_that_cuts_a_torn_tail() {
    let (disk, mut wal) = new_log();
    wal.append(KIND, &[b"one"], None).unwrap();
    wal.sync().unwrap();
    let mut following = reader(&disk, 1);
    let mut found = Vec::new();
    read_upto(&mut following, Lsn::new(1), &mut found);
    wal.append(KIND, &[&[2; 90_000]], None).unwrap();
    wal.write().unwrap();
    overwrite(&disk, &wal.segments()[0].file, 64 + 48 + 5000, &[0; 4096]);

    let mut wal = recover(&disk).unwrap().wal;
    assert_eq!(wal.last_lsn(), Lsn::new(1));
    let mut opened_between = reader(&disk, 1);
    read_upto(&mut following, Lsn::new(1), &mut found);
    wal.append(KIND, &[b"two"], None).unwrap();
    wal.sync().unwrap();
    read_upto(&mut following, Lsn::new(2), &mut found);
    let payloads: Vec<_> = found.iter().map(|record| record.payload.as_slice()).collect();
    assert_eq!(payloads, [b"one", b"two"]);

    // The first file has been cut behind its record since.
    let mut again = Vec::new();
    read_upto(&mut opened_between, Lsn::new(2), &mut again);
    assert_eq!(again, found);
}

#[test]
fn a_file_that_never_took_a_record_is_followed_to_the_one_that_replaced_it() {
    let (disk, mut wal) = new_log();
    wal.append(KIND, &[&[1; 600_000]], None).unwrap();
    wal.sync().unwrap();
    // Appended and never written: its file stays empty.
    wal.append(KIND, &[&[2; 250_000], &[2; 250_000]], None).unwrap();
    let mut following = reader(&disk, 2);
    assert!(following.next_record().unwrap().is_none());
    let mut wal = recover(&disk).unwrap().wal;
    wal.append(KIND, &[b"two"], None).unwrap();
    wal.sync().unwrap();
    let record = following.next_record_upto(Lsn::new(2)).unwrap().unwrap();
    assert_eq!((record.lsn, record.payload), (Lsn::new(2), &b"two"[..]));
}

#[test]
fn what_is_being_written_is_not_looked_at_and_what_should_be_there_is_missed() {
    let (disk, mut wal) = new_log();
    for _ in 0..2 {
        wal.append(KIND, &[&[7; 100]], None).unwrap();
        wal.sync().unwrap();
    }
    let name = wal.segments()[0].file.to_string();
    overwrite(&disk, &name, 64 + 144 + 60, &[0xff]);
    let mut following = reader(&disk, 1);
    assert!(following.next_record_upto(Lsn::new(1)).unwrap().is_some());
    assert!(following.next_record_upto(Lsn::new(1)).unwrap().is_none());
    for _ in 0..2 {
        let refused = following.next_record_upto(Lsn::new(2)).unwrap_err();
        let told = "is damaged at byte 208: the payload does not match its checksum";
        assert_eq!(refused.to_string(), format!("WAL segment {name} {told}"));
    }
    overwrite(&disk, &name, 64 + 144 + 60, &[7]);
    assert!(following.next_record_upto(Lsn::new(2)).unwrap().is_some());
    let refused = following.next_record_upto(Lsn::new(3)).unwrap_err();
    assert!(refused.to_string().ends_with("records 3 to 3 are missing"), "{refused}");
    wal.append(KIND, &[b"three"], None).unwrap();
    wal.sync().unwrap();
    assert!(following.next_record_upto(Lsn::new(3)).unwrap().is_some());
}

#[test]
fn a_damaged_first_record_of_the_newest_file_is_damage_and_no_reason_to_go_round() {
    let (disk, mut wal) = new_log();
    wal.append(KIND, &[b"payload"], None).unwrap();
    wal.sync().unwrap();
    overwrite(&disk, &wal.segments()[0].file, 64 + 42, &[0]);
    let refused = reader(&disk, 1).next_record_upto(Lsn::new(1)).unwrap_err();
    let expected = Damage::Payload;
    assert!(matches!(refused, WalError::Corrupt { offset: 64, damage, .. } if damage == expected));
}

#[test]
fn a_reader_on_its_own_thread_follows_a_writer_on_the_real_disk() {
    const RECORDS: u64 = 6000;
    let dir = tempfile::tempdir().unwrap();
    let home = WalHome {
        disk: Arc::new(RealDisk),
        dir: dir.path().join("wal"),
        clock: Arc::new(RealClock::new()),
        epoch_seed: 1,
    };
    let config = WalConfig { segment_bytes_max: 1 << 20, ..CONFIG };
    let instruments = WalInstruments::default();
    let (mut wal, _) =
        Wal::recover(home.clone(), config, instruments, |_| Ok::<_, WalError>(())).unwrap();
    let payload_of = |lsn: u64| lsn.to_le_bytes().repeat(1 + usize::try_from(lsn % 257).unwrap());
    let durable = AtomicU64::new(0);
    let wal = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut rng = Rng::from_seed(4);
            while wal.last_lsn().get() < RECORDS {
                for _ in 0..=rng.below(40).min(RECORDS - wal.last_lsn().get() - 1) {
                    let payload = payload_of(wal.last_lsn().get() + 1);
                    wal.append(KIND, &[&payload], None).unwrap();
                }
                durable.store(wal.sync().unwrap().get(), Ordering::Release);
            }
            wal
        });
        let mut reader = WalReader::open_at(home.disk, &home.dir, Lsn::ZERO).unwrap();
        let mut seen = 0;
        loop {
            let ended = writing.is_finished();
            let upto = Lsn::new(durable.load(Ordering::Acquire));
            while let Some(record) = reader.next_record_upto(upto).unwrap() {
                seen += 1;
                assert_eq!(record.lsn.get(), seen);
                assert_eq!(record.payload, payload_of(seen), "record {seen}");
            }
            if ended {
                break;
            }
            std::thread::yield_now();
        }
        assert_eq!(seen, RECORDS);
        writing.join().unwrap()
    });
    assert!(wal.segments().len() > 4);
}

/// A log of files with two records each and its preallocator, every file recycled at once.
fn recycling_log(records: u64) -> (SimDisk, Wal, crate::Preallocator) {
    let (disk, mut wal) = new_log();
    let mut preallocator = wal.take_preallocator().unwrap();
    append(&mut wal, &mut preallocator, records);
    (disk, wal, preallocator)
}

fn append(wal: &mut Wal, preallocator: &mut crate::Preallocator, records: u64) {
    for _ in 0..records {
        let payload = wal.last_lsn().get().to_le_bytes().repeat(60_000);
        wal.append(KIND, &[&payload], None).unwrap();
        wal.sync().unwrap();
        while preallocator.run_once().unwrap() {}
    }
}

#[test]
fn a_reader_whose_file_is_released_and_used_again_goes_on_in_the_archive() {
    let (disk, mut wal, mut preallocator) = recycling_log(7);
    let dirs = [DIR, crate::testing::ARCHIVE_DIR].map(Path::new);
    let mut archive = crate::testing::open_archive(&disk);
    for upto in [false, true] {
        let from = wal.oldest_lsn();
        let mut reader =
            WalReader::open_with_archive(Arc::new(disk.clone()), dirs[0], dirs[1], from).unwrap();
        assert_eq!(reader.next_record().unwrap().unwrap().lsn, from);
        for segment in wal.segments() {
            if segment.state == crate::SegmentState::Sealed {
                archive.store(dirs[0], &segment, tidewatch_metrics::UnixNanos::new(0)).unwrap();
            }
        }
        wal.release(wal.durable_lsn()).unwrap();
        append(&mut wal, &mut preallocator, 20);
        let last = wal.durable_lsn();
        let mut lsns = vec![from.get()];
        loop {
            let next = if upto { reader.next_record_upto(last) } else { reader.next_record() };
            let Some(record) = next.unwrap() else { break };
            let expected = (record.lsn.get() - 1).to_le_bytes().repeat(60_000);
            assert!(record.payload == expected, "record {}", record.lsn);
            lsns.push(record.lsn.get());
        }
        assert_eq!(lsns, (from.get()..=last.get()).collect::<Vec<_>>(), "upto: {upto}");
    }
}

#[test]
fn a_reader_whose_file_is_released_and_used_again_misses_records_and_calls_it_no_damage() {
    for upto in [false, true] {
        let (disk, mut wal, mut preallocator) = recycling_log(7);
        let mut reader = reader(&disk, 1);
        assert_eq!(reader.next_record().unwrap().unwrap().lsn, Lsn::new(1));
        wal.release(wal.durable_lsn()).unwrap();
        append(&mut wal, &mut preallocator, 20);
        wal.release(wal.durable_lsn()).unwrap();
        while preallocator.run_once().unwrap() {}
        let oldest = wal.oldest_lsn();
        let refused = loop {
            let next = if upto {
                reader.next_record_upto(wal.durable_lsn())
            } else {
                reader.next_record()
            };
            match next {
                Ok(record) => assert!(record.unwrap().lsn < oldest),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, WalError::Missing { first, .. } if first == oldest), "{refused}");
    }
}
