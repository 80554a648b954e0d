use tidewatch_env::{Disk, OpenMode, SimDisk};

use super::*;
use crate::Damage;
use crate::testing::{KIND, Recovered, file_path, new_log, overwrite, recover, recover_from};

/// Files of two records each, `files` of them, all synced.
fn log_of(files: u64) -> SimDisk {
    let (disk, mut wal) = new_log();
    for _ in 0..2 * files {
        wal.append(KIND, &[&[9; 500_000]], None).unwrap();
    }
    wal.sync().unwrap();
    assert_eq!(wal.segments().len() as u64, files);
    disk
}

fn lsns(found: &Recovered) -> Vec<u64> {
    found.records.iter().map(|record| record.lsn.get()).collect()
}

#[test]
fn from_any_record_on_the_same_log_is_opened() {
    let disk = log_of(4);
    let whole = recover(&disk).unwrap();
    for from in 0..=9 {
        let found = recover_from(&disk, Lsn::new(from)).unwrap();
        assert_eq!(lsns(&found), (from.max(1)..9).collect::<Vec<_>>(), "from {from}");
        assert_eq!(found.wal.segments(), whole.wal.segments(), "from {from}");
        assert_eq!(found.wal.oldest_lsn(), Lsn::new(1), "from {from}");
        let counted =
            RecoverySummary { records: lsns(&found).len() as u64, ..whole.summary.clone() };
        assert_eq!(found.summary, counted, "from {from}");
    }
}

#[test]
fn files_wholly_below_are_neither_read_nor_kept_from_release() {
    let disk = log_of(4);
    for name in ["wal-00000000000000000001.log", "wal-00000000000000000003.log"] {
        overwrite(&disk, name, 0, &[0xff; 200]);
    }
    for refused in 0..5 {
        assert!(recover_from(&disk, Lsn::new(refused)).is_err(), "from {refused}");
    }
    let mut found = recover_from(&disk, Lsn::new(6)).unwrap();
    assert_eq!(lsns(&found), [6, 7, 8]);
    found.wal.append(KIND, &[b"next"], None).unwrap();
    found.wal.sync().unwrap();
    found.wal.release(Lsn::new(4)).unwrap();
    assert_eq!(found.wal.oldest_lsn(), Lsn::new(5));
    found.wal.release(Lsn::new(9)).unwrap();
    assert_eq!(found.wal.segments().len(), 1, "all but the file that takes records");
    assert_eq!(found.wal.oldest_lsn(), Lsn::new(9));
    let found = recover_from(&disk.reboot(3), Lsn::new(9)).unwrap();
    assert_eq!((lsns(&found), found.summary.first_lsn), (vec![9], Lsn::new(9)));
}

#[test]
fn the_file_that_holds_the_first_needed_record_is_checked_from_its_start() {
    let disk = log_of(3);
    overwrite(&disk, "wal-00000000000000000003.log", 64 + 200, &[0xff]);
    let refused = recover_from(&disk, Lsn::new(4)).unwrap_err();
    assert!(matches!(refused, WalError::Corrupt { damage: Damage::Payload, .. }), "{refused}");
}

#[test]
fn a_log_that_begins_later_or_ends_before_is_refused_with_both_numbers() {
    let told = |found: Result<Recovered, WalError>| {
        let refused = found.unwrap_err();
        assert!(matches!(refused, WalError::Missing { .. }), "{refused:?}");
        refused.to_string()
    };
    let disk = log_of(3);
    disk.remove(&file_path("wal-00000000000000000001.log")).unwrap();
    for from in 1..3 {
        let expected = format!("the log begins at LSN 3, but LSN {from} is needed");
        assert_eq!(told(recover_from(&disk, Lsn::new(from))), expected);
        let disk = Arc::new(disk.clone());
        let strict = WalReader::open_at(disk, "/data/wal".as_ref(), Lsn::new(from));
        assert_eq!(strict.unwrap_err().to_string(), expected);
    }
    assert_eq!(lsns(&recover(&disk).unwrap()), [3, 4, 5, 6]);
    assert_eq!(lsns(&recover_from(&disk, Lsn::new(7)).unwrap()), [0; 0]);
    let ends = told(recover_from(&disk, Lsn::new(8)));
    assert_eq!(ends, "the log ends before LSN 7, but LSN 8 is needed");

    let empty = SimDisk::new(0);
    let ends = told(recover_from(&empty, Lsn::new(2)));
    assert_eq!(ends, "the log ends before LSN 1, but LSN 2 is needed");
    assert_eq!(recover_from(&empty, Lsn::new(1)).unwrap().wal.oldest_lsn(), Lsn::new(1));
}

#[test]
fn a_refused_log_is_as_it_was() {
    let disk = log_of(1);
    disk.open(&file_path("spare-9.wal.tmp"), OpenMode::CreateNew).unwrap();
    let names = || disk.list("/data/wal".as_ref()).unwrap();
    let before = names();
    recover_from(&disk, Lsn::new(50)).unwrap_err();
    assert_eq!(names(), before);
}
