use tidewatch_env::DiskOp;

use super::*;
use crate::lab::campaign::Campaign;

/// Points that a run of the tests must reach.
const POINTS_MIN: u64 = 20_000;
/// Scripts; each has some hundred operations.
const SCRIPTS: u64 = 14;

/// Places of the engine's work at which there must be crashes.
const PLACES: [(&str, FileOp); 55] = [
    ("start", ("log file", DiskOp::Sync)),
    ("start", ("log directory", DiskOp::SyncDir)),
    ("append", ("log file", DiskOp::Write)),
    ("append", ("log file", DiskOp::Sync)),
    ("append", ("log file", DiskOp::Rename)),
    ("read", ("log file", DiskOp::Write)),
    ("read", ("log file", DiskOp::Sync)),
    ("flush", ("samples file", DiskOp::Sync)),
    ("flush", ("series file", DiskOp::Rename)),
    ("flush", ("alerts file", DiskOp::Write)),
    ("flush", ("deliveries file", DiskOp::Rename)),
    ("flush", ("keys file", DiskOp::Create)),
    ("flush", ("keys file", DiskOp::Write)),
    ("flush", ("keys file", DiskOp::Sync)),
    ("flush", ("keys file", DiskOp::Rename)),
    ("flush", ("percentiles file", DiskOp::Write)),
    ("flush", ("percentiles file", DiskOp::Sync)),
    ("flush", ("percentiles file", DiskOp::Rename)),
    ("mend", ("log file", DiskOp::Write)),
    ("mend", ("log file", DiskOp::Sync)),
    ("flush", ("dead letters file", DiskOp::Sync)),
    ("flush", ("dead letters file", DiskOp::Rename)),
    ("flush", ("letter marks file", DiskOp::Sync)),
    ("flush", ("letter marks file", DiskOp::Rename)),
    ("flush", ("segments directory", DiskOp::SyncDir)),
    ("flush", ("manifest file", DiskOp::Create)),
    ("flush", ("manifest file", DiskOp::Write)),
    ("flush", ("manifest file", DiskOp::Sync)),
    ("flush", ("manifest directory", DiskOp::SyncDir)),
    ("checkpoint", ("slots file", DiskOp::Write)),
    ("checkpoint", ("slots file", DiskOp::Sync)),
    ("checkpoint", ("slots file", DiskOp::Rename)),
    ("checkpoint", ("checkpoint file", DiskOp::Sync)),
    ("checkpoint", ("checkpoint file", DiskOp::Rename)),
    ("checkpoint", ("checkpoint file", DiskOp::Remove)),
    ("checkpoint", ("checkpoints directory", DiskOp::SyncDir)),
    ("archive", ("archive file", DiskOp::Write)),
    ("archive", ("archive file", DiskOp::Sync)),
    ("archive", ("archive file", DiskOp::Rename)),
    ("archive", ("archive directory", DiskOp::SyncDir)),
    ("truncate", ("log file", DiskOp::Remove)),
    ("delete", ("log file", DiskOp::Sync)),
    ("delete", ("manifest file", DiskOp::Write)),
    ("delete", ("manifest file", DiskOp::Sync)),
    ("compact", ("merge file", DiskOp::Write)),
    ("compact", ("merge file", DiskOp::Sync)),
    ("compact", ("samples file", DiskOp::Rename)),
    ("compact", ("samples file", DiskOp::Remove)),
    ("compact", ("keys file", DiskOp::Remove)),
    ("compact", ("manifest file", DiskOp::Sync)),
    ("compact", ("segments directory", DiskOp::SyncDir)),
    ("outbox", ("log file", DiskOp::Write)),
    ("outbox", ("log file", DiskOp::Sync)),
    ("idle", ("log file", DiskOp::Sync)),
    ("preallocate", ("log spare", DiskOp::Rename)),
];

#[test]
fn whatever_becomes_of_an_operation_nothing_promised_is_lost_and_nothing_invented() {
    if let Ok(asked) = std::env::var("TIDEWATCH_LAB") {
        let (seed, point) =
            parse_point(&asked).expect("TIDEWATCH_LAB is seed or seed:point:outcome");
        if let Err(failure) = repeat(seed, point) {
            panic!("{failure}");
        }
        return;
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let config = LabConfig {
        seed: 0,
        scripts: SCRIPTS,
        points: POINTS_MIN,
        threads,
        effort: Effort::Sampled,
    };
    let report = run(&config, &|_| {});
    println!("{}", report.tally);
    if let Some(failure) = report.failure {
        panic!("{failure}");
    }
    assert_eq!(report.gaps, Vec::<String>::new(), "performed, and never faulted");
    assert!(report.tally.points >= POINTS_MIN, "{} points only", report.tally.points);
    for place in PLACES {
        assert!(report.tally.phases.contains_key(&place), "no crash at {place:?}");
    }
    assert!(report.tally.refused > 0, "no full disk has refused a request");
    for outcome in [Outcome::Window, Outcome::FullOn] {
        let refused = report.tally.performed().map(|file_op| report.tally.tried(file_op, outcome));
        assert!(refused.sum::<u64>() > 0, "nothing was refused in {outcome:?}");
    }
    assert!(report.tally.jumps > 0, "no clock has jumped");
    assert!(report.tally.messages > 0, "no message was stored");
    let Tally { keys_replayed, keys_refused, keys_run_out, .. } = report.tally;
    for count in [keys_replayed, keys_refused, keys_run_out] {
        assert!(count > 0, "{keys_replayed} answered as before, {keys_refused}, {keys_run_out}");
    }
}

#[test]
fn every_planted_bug_is_caught() {
    for plant in Plant::all() {
        let Some(failure) = find(plant, 0, SCRIPTS) else {
            panic!("the laboratory does not notice {plant:?}")
        };
        println!("{:<42} {:<12} {failure}", plant.told(), failure.finding.layer.name());
        let layer = failure.finding.layer;
        let is_expected = match plant {
            Plant::AckBeforeSync
            | Plant::KeysNotPersisted
            | Plant::OffsetsNotPersisted
            | Plant::OffsetsBeforeData => layer == Layer::Ledger,
            Plant::AlertBeforeSync => layer == Layer::Receiver,
            Plant::CheckpointWithoutLsn => layer == Layer::ReplayHash,
            // What follows the lost bytes decides whether the log ends early or has a hole.
            Plant::RetryAfterEio => matches!(layer, Layer::Ledger | Layer::Reopen),
            _ => layer != Layer::Panic,
        };
        assert!(is_expected, "{plant:?}: {failure}");
    }
}

#[test]
fn the_same_seed_gives_the_same_operations() {
    let ops = |seed| Campaign::new(seed).expect("the engine works").ops;
    assert_eq!(ops(1), ops(1));
    assert_ne!(ops(1), ops(2));
}

#[test]
fn a_point_is_repeated_by_what_a_failure_prints() {
    assert_eq!(parse_point("7"), Some((7, None)));
    assert_eq!(parse_point("7:12"), Some((7, Some((12, Outcome::Before)))));
    for outcome in Outcome::ALL {
        let text = format!("7:12:{}", outcome.name());
        assert_eq!(parse_point(&text), Some((7, Some((12, outcome)))));
    }
    assert_eq!(parse_point("7:12:gone"), None);
    assert_eq!(parse_point("7:12:eio:3"), None);
}
