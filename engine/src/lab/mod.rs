//! The crash laboratory of the whole engine: one script, and a crash at every operation of its disk.
//!
//! A [`script`] says what clients send and what the process does; [`process`] is the engine without
//! threads on a simulated disk; [`world`] is what no crash touches: the clients' ledger of requests
//! and answers, and the receiver of alerts. A [`campaign`] plays a script once undisturbed, then
//! again with a [`tape`] around the disk: before every operation, the disk as a crash would leave it
//! is started as another engine, and [`moment`] holds it against ledger, receiver and the first run.
//!
//! `TIDEWATCH_LAB=seed:point` repeats one crash of a failure, `TIDEWATCH_LAB=seed` one script.

mod campaign;
mod damage;
mod damaged;
mod moment;
mod process;
mod proving;
mod replayed;
mod run;
mod script;
mod stored;
mod tape;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use tidewatch_env::DiskOp;

use crate::lab::campaign::{Campaign, Plant, Points};

/// Crash points that a run of the tests must reach.
const POINTS_MIN: u64 = 18_000;
/// Scripts; each has some hundred operations.
const SEEDS: u64 = 31;
/// Crashes in the middle of an operation, and failing devices, per script.
const LIVE_FAULTS: u64 = 6;

/// What `TIDEWATCH_LAB` asks for.
fn asked() -> Option<(u64, Option<u64>)> {
    let asked = std::env::var("TIDEWATCH_LAB").ok()?;
    let (seed, point) = match asked.split_once(':') {
        Some((seed, point)) => (seed, Some(point.parse().expect("a point is a number"))),
        None => (asked.as_str(), None),
    };
    Some((seed.parse().expect("a seed is a number"), point))
}

fn campaign(seed: u64) -> Campaign {
    Campaign::new(seed).unwrap_or_else(|told| panic!("SEED={seed} without a crash: {told}"))
}

fn all_seeds() -> Points {
    let next = AtomicU64::new(0);
    let work = || {
        let mut points = Points::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return points;
            }
            let campaign = campaign(seed);
            points.add(campaign.crash_everywhere(Plant::Nothing, None));
            points.add(campaign.fail_somewhere(LIVE_FAULTS));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().fold(Points::default(), |mut points, worker| {
            points.add(worker.join().expect("a worker does not panic"));
            points
        })
    })
}

#[test]
fn whatever_operation_is_the_last_nothing_promised_is_lost_and_nothing_invented() {
    if let Some((seed, point)) = asked() {
        let campaign = campaign(seed);
        let mut found = campaign.crash_everywhere(Plant::Nothing, point);
        if point.is_none() {
            found.add(campaign.fail_somewhere(LIVE_FAULTS));
        }
        assert_eq!(found.broken, None);
        return;
    }
    let points = all_seeds();
    println!("{:>6}  {:<12} {:<20} operation", "points", "phase", "file");
    for ((phase, kind, op), count) in &points.by_place {
        println!("{count:>6}  {phase:<12} {kind:<20} {op:?}");
    }
    println!("{:>6}  in the middle of an operation, or of a failing device", points.live);
    println!("{:>6}  in all", points.total());
    assert_eq!(points.broken, None);
    assert!(points.total() >= POINTS_MIN, "{} points only", points.total());
    for place in [
        ("start", "log file", DiskOp::Sync),
        ("start", "log directory", DiskOp::SyncDir),
        ("append", "log file", DiskOp::Write),
        ("append", "log file", DiskOp::Sync),
        ("append", "log file", DiskOp::Rename),
        ("flush", "samples file", DiskOp::Sync),
        ("flush", "series file", DiskOp::Rename),
        ("flush", "alerts file", DiskOp::Write),
        ("flush", "deliveries file", DiskOp::Rename),
        ("flush", "segments directory", DiskOp::SyncDir),
        ("flush", "manifest file", DiskOp::Create),
        ("flush", "manifest file", DiskOp::Write),
        ("flush", "manifest file", DiskOp::Sync),
        ("flush", "manifest directory", DiskOp::SyncDir),
        ("checkpoint", "slots file", DiskOp::Write),
        ("checkpoint", "slots file", DiskOp::Sync),
        ("checkpoint", "slots file", DiskOp::Rename),
        ("checkpoint", "checkpoint file", DiskOp::Sync),
        ("checkpoint", "checkpoint file", DiskOp::Rename),
        ("checkpoint", "checkpoint file", DiskOp::Remove),
        ("checkpoint", "checkpoints directory", DiskOp::SyncDir),
        ("archive", "archive file", DiskOp::Write),
        ("archive", "archive file", DiskOp::Sync),
        ("archive", "archive file", DiskOp::Rename),
        ("archive", "archive directory", DiskOp::SyncDir),
        ("truncate", "log file", DiskOp::Remove),
        ("outbox", "log file", DiskOp::Write),
        ("outbox", "log file", DiskOp::Sync),
        ("idle", "log file", DiskOp::Sync),
        ("preallocate", "log spare", DiskOp::Rename),
    ] {
        assert!(points.by_place.contains_key(&place), "no crash at {place:?}");
    }
}

/// What the laboratory says of an engine with this bug.
fn finding(plant: Plant) -> String {
    let mut found = (0..SEEDS).map(|seed| campaign(seed).crash_everywhere(plant, None).broken);
    let found = found.find_map(|broken| broken);
    found.unwrap_or_else(|| panic!("the laboratory does not notice {plant:?}"))
}

#[test]
fn an_engine_that_syncs_no_file_is_caught() {
    println!("{}", finding(Plant::NoFileSync));
}

#[test]
fn an_engine_that_syncs_no_directory_is_caught() {
    println!("{}", finding(Plant::NoDirectorySync));
}

#[test]
fn an_engine_that_answers_before_the_sync_loses_what_it_acknowledged() {
    let told = finding(Plant::AckBeforeSync);
    assert!(told.contains("was acknowledged"), "{told}");
}

#[test]
fn an_engine_that_alerts_before_the_sync_tells_what_never_was() {
    let told = finding(Plant::AlertBeforeSync);
    assert!(told.contains("were due"), "{told}");
}

#[test]
fn an_engine_whose_checkpoints_do_not_tell_their_place_in_the_log_is_caught() {
    println!("{}", finding(Plant::CheckpointWithoutLsn));
}

#[test]
fn no_single_kind_of_sync_can_be_left_out() {
    for (kind, op) in [
        ("log spare", DiskOp::Sync),
        ("log file", DiskOp::Sync),
        ("log directory", DiskOp::SyncDir),
        ("samples file", DiskOp::Sync),
        ("series file", DiskOp::Sync),
        ("alerts file", DiskOp::Sync),
        ("deliveries file", DiskOp::Sync),
        ("segments directory", DiskOp::SyncDir),
        ("manifest file", DiskOp::Sync),
        ("manifest directory", DiskOp::SyncDir),
        ("slots file", DiskOp::Sync),
        ("checkpoint file", DiskOp::Sync),
        ("archive file", DiskOp::Sync),
        ("archive directory", DiskOp::SyncDir),
        ("checkpoints directory", DiskOp::SyncDir),
    ] {
        println!("{kind}: {}", finding(Plant::Missing(kind, op)));
    }
}

#[test]
fn the_same_seed_gives_the_same_crashes() {
    let points = |seed| campaign(seed).crash_everywhere(Plant::Nothing, Some(0)).by_place;
    assert_eq!(points(1), points(1));
    assert_ne!(points(1), points(2));
}
