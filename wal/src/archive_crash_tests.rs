//! Archive and log under crashes: whatever was stored and released in whichever moment, every
//! record is readable, once.

use std::path::Path;

use tidewatch_env::{Rng, SimDisk};
use tidewatch_metrics::{Lsn, UnixNanos};

use crate::testing::{
    DIR, KIND, Model, open_archive, read_with_archive, recover, try_open_archive,
};
use crate::{Archive, Preallocator, SegmentState, Wal, WalError};

const STEPS: u64 = 250;

/// What is done first with a sealed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    StoreThenRelease,
    ReleaseThenStore,
}

/// The oldest record that must be readable is the one after this.
#[derive(Clone, Copy, Debug, Default)]
struct Expired(Lsn);

/// Works until the end of the script or the crash.
fn work(
    disk: &SimDisk,
    model: &mut Model,
    expired: &mut Expired,
    order: Order,
    seed: u64,
) -> Result<(), WalError> {
    let mut wal = recover(disk)?.wal;
    let mut preallocator = wal.take_preallocator().unwrap();
    let mut archive = try_open_archive(disk)?;
    let mut rng = Rng::from_seed(seed);
    for _ in 0..STEPS {
        match rng.below(8) {
            0 => truncate(&mut wal, &mut preallocator, &mut archive, model, order)?,
            1 if rng.below(4) == 0 => expire(&mut archive, expired, &mut rng)?,
            _ => model.step(&mut wal, &mut preallocator, &mut rng)?,
        }
    }
    Ok(())
}

/// Archives the oldest sealed file, and releases it.
fn truncate(
    wal: &mut Wal,
    preallocator: &mut Preallocator,
    archive: &mut Archive,
    model: &mut Model,
    order: Order,
) -> Result<(), WalError> {
    let segments = wal.segments();
    let Some(oldest) = segments.first().filter(|s| s.state == SegmentState::Sealed) else {
        return Ok(());
    };
    let time = UnixNanos::new(i64::try_from(oldest.last_lsn.get()).unwrap());
    if order == Order::StoreThenRelease {
        archive.store(Path::new(DIR), oldest, time)?;
    }
    model.released = oldest.last_lsn.max(model.released);
    wal.release(oldest.last_lsn)?;
    while preallocator.run_once()? {}
    if order == Order::ReleaseThenStore {
        archive.store(Path::new(DIR), oldest, time)?;
    }
    Ok(())
}

fn expire(archive: &mut Archive, expired: &mut Expired, rng: &mut Rng) -> Result<(), WalError> {
    let Some(last) = archive.files().last() else { return Ok(()) };
    let before = rng.below(last.last_lsn.get());
    for file in archive.files().iter().filter(|file| file.last_lsn.get() < before) {
        expired.0 = expired.0.max(file.last_lsn);
    }
    let before = UnixNanos::new(i64::try_from(before).unwrap());
    archive.expire(before, u64::MAX, None).map(drop)
}

/// Crashes at one operation, and again in what follows; what went wrong, if anything did.
fn crash_and_read(seed: u64, crash_at: u64, order: Order) -> Result<bool, String> {
    let mut disk = SimDisk::new(seed);
    let mut model = Model { keep_all: true, ..Model::default() };
    let mut expired = Expired::default();
    let mut crashed = false;
    for round in 0..2 {
        disk.crash_at(if round == 0 { crash_at } else { crash_at % 23 + 1 });
        let ended = work(&disk, &mut model, &mut expired, order, seed + round);
        let told = |what: String| format!("SEED={seed} crash_at={crash_at} {round}: {what}");
        match ended {
            Err(error) if !disk.crashed() => return Err(told(error.to_string())),
            Err(_) => crashed |= round == 0,
            Ok(()) => {}
        }
        let by_kill = (seed + crash_at).is_multiple_of(4);
        let promised = if by_kill { model.written } else { model.durable };
        let after = if by_kill { disk.reboot_keeping_all() } else { disk.reboot(seed ^ crash_at) };
        let found = recover(&after).map_err(|error| told(error.to_string()))?;
        model.check(&found, promised).map_err(told)?;
        open_archive(&after);
        let read = read_with_archive(&after, Lsn::ZERO).map_err(|e| told(e.to_string()))?;
        let first = read.first().map_or(found.summary.last_lsn.next(), |record| record.lsn);
        if first > expired.0.next() {
            return Err(told(format!("{} is gone, unexpired", expired.0.next())));
        }
        let expected = &model.given[usize::try_from(first.get()).unwrap() - 1..];
        if read != expected {
            return Err(told(format!("{} of {} records", read.len(), expected.len())));
        }
        disk = after;
    }
    Ok(crashed)
}

#[test]
fn whatever_operation_is_the_last_every_record_is_in_the_archive_or_in_the_log() {
    for seed in 0..3 {
        let mut crash_at = 1;
        while crash_and_read(seed, crash_at, Order::StoreThenRelease).unwrap() {
            crash_at += 1;
        }
        assert!(crash_at > 100, "the script of seed {seed} has only {crash_at} operations");
    }
}

#[test]
fn releasing_before_storing_is_caught() {
    let caught = |n: u64| crash_and_read(n % 3, 20 + n, Order::ReleaseThenStore).is_err();
    assert!((0..90).any(caught), "the laboratory does not notice the wrong order");
}

#[test]
fn the_script_archives_and_expires() {
    let disk = SimDisk::new(0);
    let mut model = Model { keep_all: true, ..Model::default() };
    let mut expired = Expired::default();
    for seed in 0..6 {
        work(&disk, &mut model, &mut expired, Order::StoreThenRelease, seed).unwrap();
    }
    assert!(
        expired.0 > Lsn::ZERO && model.released > expired.0,
        "{expired:?} {:?}",
        model.released
    );
    assert!(open_archive(&disk).files().len() > 1);
}

/// Sealed files of two records each, and one record more.
fn log_of(disk: &SimDisk, files: u64) -> Wal {
    let mut wal = recover(disk).unwrap().wal;
    for _ in 0..=2 * files {
        wal.append(KIND, &[&[1; 500_000]], None).unwrap();
    }
    wal.sync().unwrap();
    wal
}

#[test]
fn an_expiry_that_ends_anywhere_leaves_no_hole() {
    let disk = SimDisk::new(0);
    let mut wal = log_of(&disk, 5);
    let mut archive = open_archive(&disk);
    for segment in &wal.segments()[..5] {
        archive.store(Path::new(DIR), segment, UnixNanos::new(0)).unwrap();
    }
    wal.release(Lsn::new(10)).unwrap();
    for crash_at in 1.. {
        let disk = disk.reboot_keeping_all();
        let mut archive = open_archive(&disk);
        disk.crash_at(disk.ops() + crash_at);
        let expired = archive.expire(UnixNanos::new(1), 0, Some(Lsn::new(9)));
        for seed in 0..20 {
            let read = read_with_archive(&disk.reboot(seed), Lsn::ZERO).unwrap();
            let first = read[0].lsn.get();
            assert!(first % 2 == 1 && first <= 9, "crash at {crash_at}, seed {seed}: {first}");
            assert_eq!(read.len() as u64, 12 - first, "crash at {crash_at}, seed {seed}");
        }
        if expired.is_ok() {
            assert!(crash_at > 8, "four files, each removed and its name synced");
            return;
        }
    }
}

#[test]
fn what_a_killed_process_had_stored_is_durable_before_the_log_lets_go_of_it() {
    for crash_at in 1.. {
        let disk = SimDisk::new(0);
        let wal = log_of(&disk, 1);
        let mut archive = open_archive(&disk);
        disk.crash_at(disk.ops() + crash_at);
        let stored = archive.store(Path::new(DIR), &wal.segments()[0], UnixNanos::new(0));

        let disk = disk.reboot_keeping_all();
        let archive = open_archive(&disk);
        if let Some(found) = archive.files().first() {
            recover(&disk).unwrap().wal.release(found.last_lsn).unwrap();
        }
        for seed in 0..20 {
            let read = read_with_archive(&disk.reboot(seed), Lsn::new(1)).unwrap();
            assert_eq!(read.len(), 3, "crash at {crash_at}, seed {seed}");
        }
        if stored.is_ok() {
            assert!(crash_at > 6, "remove, create, write, write, sync, rename, sync");
            return;
        }
    }
}
