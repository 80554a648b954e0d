//! The log under crashes: at every operation, by power loss and by kill, several in a row.

use std::io;
use std::path::Path;

use tidewatch_env::{Disk, DiskOp, FaultMode, Rng, SimDisk};
use tidewatch_metrics::Lsn;

use crate::WalError;
use crate::testing::{
    CONFIG, DIR, KIND, Model, Recovered, new_log, overwrite, read_all, recover, recover_from,
};

const STEPS: u64 = 160;

/// Works until the end of the script or the crash.
fn work(disk: &SimDisk, model: &mut Model, seed: u64) -> Result<(), String> {
    let mut found = match recover(disk) {
        Ok(found) => found,
        Err(error) if disk.crashed() => return Err(format!("crashed in recovery: {error}")),
        Err(error) => panic!("a healthy disk is refused: {error}"),
    };
    let mut preallocator = found.wal.take_preallocator().unwrap();
    let mut rng = Rng::from_seed(seed);
    for _ in 0..STEPS {
        if let Err(error) = model.step(&mut found.wal, &mut preallocator, &mut rng) {
            assert!(disk.crashed(), "{error}: {error:?}");
            return Err(error.to_string());
        }
    }
    Ok(())
}

/// Crashes at one operation, recovers, and crashes again; what went wrong, if anything did.
fn crash_and_recover(seed: u64, crash_at: u64, plant: fn(&SimDisk)) -> Result<bool, String> {
    let mut disk = SimDisk::new(seed);
    let mut model = Model::default();
    let mut crashed = false;
    for round in 0..3 {
        plant(&disk);
        // The second crash comes early, often inside the recovery.
        disk.crash_at(if round == 0 { crash_at } else { crash_at % 7 + round });
        let ended = work(&disk, &mut model, seed + round).is_err();
        crashed |= round == 0 && ended;
        let by_kill = (seed + crash_at + round).is_multiple_of(4);
        let promised = if by_kill { model.written } else { model.durable };
        let after = if by_kill { disk.reboot_keeping_all() } else { disk.reboot(seed ^ crash_at) };
        let told = |what: String| format!("SEED={seed} crash_at={crash_at} round {round}: {what}");
        let found = recover(&after).map_err(|error| told(error.to_string()))?;
        model.check(&found, promised).map_err(told)?;
        // A second recovery, behind a checkpoint anywhere: the same records from there on.
        let Recovered { summary, records, wal } = found;
        let beyond = summary.last_lsn.get() + 1 - summary.first_lsn.get();
        let from = Lsn::new(summary.first_lsn.get() + (seed ^ crash_at) * 7919 % (beyond + 1));
        let again = recover_from(&after, from).map_err(|error| told(error.to_string()))?;
        assert!(records.iter().filter(|record| record.lsn >= from).eq(&again.records), "{from}");
        assert_eq!(again.wal.segments(), wal.segments(), "{from}");
        disk = after;
    }
    Ok(crashed)
}

#[test]
fn whatever_operation_is_the_last_all_that_was_promised_is_there_once_and_in_order() {
    for seed in 0..3 {
        let mut crash_at = 1;
        while crash_and_recover(seed, crash_at, |_| {}).unwrap() {
            crash_at += 1;
        }
        assert!(crash_at > 60, "the script of seed {seed} has only {crash_at} operations");
    }
}

#[test]
fn a_log_without_file_syncs_is_caught() {
    let caught = (0..40).any(|n| crash_and_recover(n, 30 + n, |d| d.ignore_syncs(true)).is_err());
    assert!(caught, "the laboratory does not notice that nothing is synced");
}

#[test]
fn a_log_without_directory_syncs_is_caught() {
    let plant: fn(&SimDisk) = |disk| disk.ignore_dir_syncs(true);
    let caught = (0..40).any(|n| crash_and_recover(n, 30 + n, plant).is_err());
    assert!(caught, "the laboratory does not notice that no name is synced");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        let mut model = Model::default();
        work(&disk, &mut model, seed).unwrap();
        let after = disk.reboot(seed);
        (disk.op_counts(), model.durable, read_all(&after, Lsn::ZERO).unwrap())
    };
    assert_eq!(run(5), run(5));
    let counts = run(5).0;
    assert!(counts[&("file", DiskOp::Rename)] >= 4, "files are rotated and reused: {counts:?}");
    assert_ne!(run(5).2, run(6).2);
}

#[test]
fn one_failed_sync_poisons_the_log_for_ever_and_recovery_trusts_only_the_disk() {
    let (disk, mut wal) = new_log();
    wal.append(KIND, &[b"durable"], None).unwrap();
    assert_eq!(wal.sync().unwrap(), Lsn::new(1));
    wal.append(KIND, &[&[7; 2000]], None).unwrap();
    wal.write().unwrap();
    disk.fail_op(disk.ops() + 1, io::ErrorKind::Other, FaultMode::Once);
    assert!(matches!(wal.sync(), Err(WalError::Io { action: "sync", .. })));
    let ops = disk.ops();
    assert!(matches!(wal.sync(), Err(WalError::Poisoned)));
    assert!(matches!(wal.write(), Err(WalError::Poisoned)));
    assert!(matches!(wal.append(KIND, &[b"x"], None), Err(WalError::Poisoned)));
    assert!(matches!(wal.mark(), Err(WalError::Poisoned)));
    assert!(matches!(wal.reserve(1), Err(WalError::Poisoned)));
    assert!(matches!(wal.release(Lsn::new(1)), Err(WalError::Poisoned)));
    assert!(wal.is_poisoned());
    assert_eq!(disk.ops(), ops, "nothing was tried again");
    assert_eq!(wal.durable_lsn(), Lsn::new(1));

    // The cache still shows the second record, and a sync of it would succeed.
    let restarted = disk.reboot_keeping_all();
    let found = recover(&restarted).unwrap();
    assert_eq!(found.summary.last_lsn, Lsn::new(1));
    for seed in 0..20 {
        let found = recover(&restarted.reboot(seed)).unwrap();
        assert_eq!(found.summary.last_lsn, Lsn::new(1), "seed {seed}");
        assert_eq!(found.records[0].payload, b"durable");
    }
}

#[test]
fn a_short_write_poisons_the_log_and_is_cut_as_a_torn_tail() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let mut wal = recover(&disk).unwrap().wal;
        wal.append(KIND, &[b"durable"], None).unwrap();
        wal.sync().unwrap();
        wal.append(KIND, &[&[7; 3000]], None).unwrap();
        disk.fail_op(disk.ops() + 1, io::ErrorKind::Other, FaultMode::ShortWrite);
        assert!(matches!(wal.write(), Err(WalError::Io { action: "write", .. })));
        assert!(matches!(wal.write(), Err(WalError::Poisoned)));
        let mut found = recover(&disk.reboot_keeping_all()).unwrap();
        assert_eq!(found.summary.last_lsn, Lsn::new(1));
        assert_eq!(found.wal.append(KIND, &[b"next"], None).unwrap(), Lsn::new(2));
    }
}

#[test]
fn a_full_disk_is_met_before_the_append_and_left_without_a_restart() {
    let (disk, mut wal) = new_log();
    let payload = vec![3; 300_000];
    wal.append(KIND, &[&payload], None).unwrap();
    disk.set_capacity(Some(CONFIG.segment_bytes_max + 1000));
    let mut appended = 1;
    let refused = loop {
        let reserved = wal.reserve(payload.len() as u64);
        match wal.append(KIND, &[&payload], None) {
            Ok(_) => appended += 1,
            Err(error) => {
                assert!(matches!(reserved, Err(WalError::Full { .. })), "{reserved:?}");
                break error;
            }
        }
        assert!(reserved.is_ok());
    };
    assert!(matches!(refused, WalError::Full { bytes } if bytes == CONFIG.segment_bytes_max));
    assert_eq!(appended, 3);
    assert_eq!(wal.sync().unwrap(), Lsn::new(3), "what was appended before still becomes durable");
    assert!(matches!(wal.append(KIND, &[&payload], None), Err(WalError::Full { .. })));
    assert_eq!(disk.list(Path::new(DIR)).unwrap().len(), 1, "no unfinished file is left");
    disk.set_capacity(None);
    assert_eq!(wal.append(KIND, &[&payload], None).unwrap(), Lsn::new(4));
    wal.sync().unwrap();
    assert_eq!(recover(&disk.reboot(1)).unwrap().summary.last_lsn, Lsn::new(4));
}

#[test]
fn a_cut_tail_never_comes_back() {
    let (disk, mut wal) = new_log();
    wal.append(KIND, &[b"one"], None).unwrap();
    wal.sync().unwrap();
    // One group of three records, of which the crash keeps the second and the third.
    let name = wal.segments()[0].file.to_string();
    for payload in [b"lost", b"kept", b"kept"] {
        wal.append(KIND, &[payload], None).unwrap();
    }
    wal.write().unwrap();
    overwrite(&disk, &name, 64 + 48, &[0; 48]);
    let found = recover(&disk).unwrap();
    let torn = found.summary.torn_tail.unwrap();
    assert_eq!((torn.offset, torn.bytes), (112, 144));
    assert_eq!(found.summary.last_lsn, Lsn::new(1));
    let mut wal = found.wal;
    assert_eq!(wal.append(KIND, &[b"two"], None).unwrap(), Lsn::new(2));
    wal.sync().unwrap();
    let found = recover(&disk.reboot(3)).unwrap();
    let payloads: Vec<_> = found.records.iter().map(|record| record.payload.as_slice()).collect();
    assert_eq!(payloads, [b"one", b"two"]);
    assert_eq!(found.summary.torn_tail, None);
}
