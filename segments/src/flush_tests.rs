use tidewatch_env::{FaultMode, SimDisk};
use tidewatch_metrics::{Slot, UnixNanos};

use super::*;
use crate::events::tests::{alert, delivery};
use crate::fixtures::{Directory, Row, append, rows_of, sorted};
use crate::head::Head;
use crate::manifest::remove_orphans;
use crate::verify::verify;

fn reopen(directory: &Directory, disk: SimDisk) -> Directory {
    let manifest = Manifest::open(&disk, directory.dir()).unwrap();
    remove_orphans(&disk, directory.dir(), &manifest).unwrap();
    let lsn = manifest.flushed_lsn(Slot(0));
    let catalog = Arc::clone(&directory.catalog);
    Directory { disk, catalog, manifest, head: Head::new().0, lsn }
}

fn first() -> Vec<Row> {
    rows_of(0..5, 0..10)
}

fn second() -> Vec<Row> {
    rows_of(3..9, 10..20)
}

#[test]
fn at_every_crash_a_flush_counts_whole_or_not_at_all() {
    for crash in 1.. {
        let mut directory = Directory::new(crash);
        directory.flush(&first());
        directory.disk.crash_at(directory.disk.ops() + crash);
        let done = directory.try_flush(&second(), &[alert(1)], &[delivery(1)]);
        for seed in 0..10 {
            let mut after = reopen(&directory, directory.disk.reboot(seed));
            let is_new = after.manifest.number() == 2;
            assert!(is_new || done.is_err(), "acknowledged and lost: crash {crash} seed {seed}");
            let mut expected = sorted(&after.catalog, &first());
            if is_new {
                expected.extend(sorted(&after.catalog, &second()));
            }
            assert_eq!(after.rows(), expected, "crash {crash} seed {seed}");
            assert_eq!(after.manifest.flushed_lsn(Slot(9)).get(), after.manifest.number());
            // What the log would replay is flushed again, and all of it is sound.
            if !is_new {
                after.try_flush(&second(), &[alert(1)], &[delivery(1)]).unwrap();
            }
            let again = reopen(&after, after.disk.reboot(seed + 1));
            assert_eq!(again.rows().len(), first().len() + second().len());
            let report = verify(&again.shared_disk(), again.dir());
            assert!(report.ok, "crash {crash} seed {seed}: {report:?}");
            assert_eq!(again.disk.list(again.dir()).unwrap().len(), 7, "no orphan is left");
        }
        if !directory.disk.crashed() {
            assert!(done.is_ok() && crash > 15, "four files and a delta were stopped at each step");
            return;
        }
    }
}

#[test]
fn the_laboratory_sees_files_that_are_not_synced() {
    let lost = (0..40).filter(|seed| {
        let mut directory = Directory::new(*seed);
        directory.flush(&first());
        directory.disk.ignore_syncs(true);
        directory.flush(&second());
        let disk: Arc<dyn Disk> = Arc::new(directory.disk.reboot(*seed));
        let report = verify(&disk, directory.dir());
        !report.ok || report.records < (first().len() + second().len()) as u64
    });
    assert!(lost.count() > 10);
}

#[test]
fn a_full_disk_refuses_a_flush_that_succeeds_later() {
    let mut directory = Directory::new(3);
    directory.flush(&first());
    append(&mut directory.head, &second());
    directory.head.publish(Lsn::new(2));
    let frozen = [directory.head.freeze().unwrap()];
    let input = Flush {
        frozen: &frozen,
        slots: SlotSet::ALL,
        catalog: &directory.catalog,
        events: Events::default(),
        now: UnixNanos::default(),
    };
    let disk = directory.shared_disk();
    let mut failures = 0;
    for op in 1.. {
        let fault = directory.disk.ops() + op;
        directory.disk.fail_op(fault, std::io::ErrorKind::StorageFull, FaultMode::Once);
        match flush(&disk, directory.dir(), &directory.manifest, &input) {
            Ok(flushed) => {
                directory.manifest = flushed.manifest;
                break;
            }
            Err(SegmentsError::Io { source, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
                failures += 1;
            }
            Err(other) => panic!("op {op}: {other}"),
        }
    }
    assert!(failures > 8, "{failures} steps were refused");
    let after = reopen(&directory, directory.disk.reboot(1));
    assert_eq!(after.rows().len(), first().len() + second().len());
}

#[test]
fn several_frozen_heads_become_one_segment_in_the_order_of_arrival() {
    let mut directory = Directory::new(4);
    let mut frozen = Vec::new();
    let mut all = Vec::new();
    for lsn in 1..=3_u64 {
        // The same series and times again and again: only the arrival tells the rows apart.
        let mut rows = rows_of(0..4, 0..6);
        rows.iter_mut().for_each(|row| row.bits = (lsn as f64).to_bits());
        append(&mut directory.head, &rows);
        directory.head.publish(Lsn::new(lsn * 10));
        frozen.push(directory.head.freeze().unwrap());
        all.extend(rows);
    }
    let slots = SlotSet::from_iter([Slot(3)]);
    let events = Events::default();
    let input = Flush {
        frozen: &frozen,
        slots,
        catalog: &directory.catalog,
        events,
        now: UnixNanos::default(),
    };
    let disk = directory.shared_disk();
    let flushed = flush(&disk, directory.dir(), &directory.manifest, &input).unwrap();
    assert_eq!((flushed.rows, flushed.files), (all.len() as u64, 2));
    directory.manifest = flushed.manifest;
    assert_eq!(directory.rows(), sorted(&directory.catalog, &all));
    let meta = directory.segments()[0].meta().clone();
    assert_eq!((meta.first_lsn, meta.last_lsn), (Lsn::new(10), Lsn::new(30)));
    assert_eq!(directory.manifest.flushed_lsn(Slot(3)), Lsn::new(30));
    assert_eq!(directory.manifest.flushed_lsn(Slot(4)), Lsn::ZERO, "another shard's slot");
}
