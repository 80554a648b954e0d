//! kill -9 at random moments under eight writers, whose ledger is kept in this process: whatever was
//! acknowledged is there, nothing is there twice, and nothing was invented.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use crossbeam::channel::{Sender, bounded};
use serde_json::Value;
use tidewatch_env::Rng;

use crate::server::{Home, Server, Start, tell};

const WRITERS: u64 = 8;
/// Rows of one request: one record, so all of them or none.
const ROWS: u64 = 40;
/// Requests between two kills, at most.
const REQUESTS_MAX: u64 = 400;
/// Acknowledgements that are told before the killer looks: writers never wait for it.
const ACKS_MAX: usize = 100_000;
/// The first time of a series, in seconds, and how many lie between two rows.
const START: u64 = 1_700_000_000;
const STEP: u64 = 10;

/// How long a writer lets the server be that has asked it to wait.
const PAUSE: Duration = Duration::from_millis(100);

/// What one writer knows.
#[derive(Debug, Default)]
struct Ledger {
    /// Each request that it began, and what became of it.
    requests: Vec<Fate>,
    /// How many of them were looked for already.
    checked: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// No answer came: all of it may be there, or nothing.
    Unknown,
    /// Acknowledged, or found.
    There,
    /// Looked for and not found: it must not appear later either.
    Absent,
}

fn value(writer: u64, row: u64) -> f64 {
    let row = u32::try_from(row).unwrap();
    f64::from(row).mul_add(0.25, f64::from(u32::try_from(writer).unwrap()))
}

fn body(writer: u64, request: u64) -> String {
    let rows = (request * ROWS..(request + 1) * ROWS).map(|row| {
        format!("load,w=w{writer} value={} {}\n", value(writer, row), START + row * STEP)
    });
    rows.collect()
}

/// Writes until the connection breaks; every second writer is content with `written`, which a
/// killed process must not lose either.
fn write(server: &Server, writer: u64, ledger: &Mutex<Ledger>, acks: &Sender<()>) {
    let level = if writer.is_multiple_of(2) { "synced" } else { "written" };
    let path = format!("/write?precision=s&durability={level}");
    loop {
        let request = {
            let mut ledger = ledger.lock().unwrap();
            ledger.requests.push(Fate::Unknown);
            u64::try_from(ledger.requests.len()).unwrap() - 1
        };
        loop {
            match server.try_send("POST", &path, &[], body(writer, request).as_bytes()) {
                Err(_) => return,
                // Flushes are behind: nothing was taken.
                Ok(answer) if answer.status == 429 => std::thread::park_timeout(PAUSE),
                Ok(answer) => break assert_eq!(answer.status, 204, "{answer:?}"),
            }
        }
        *ledger.lock().unwrap().requests.last_mut().unwrap() = Fate::There;
        if acks.send(()).is_err() {
            return;
        }
    }
}

/// Has neighbouring segments merged, again and again, until the connection breaks.
fn merge(server: &Server) {
    while server.try_send("POST", "/api/v1/admin/compact", &[], b"").is_ok() {
        std::thread::park_timeout(PAUSE);
    }
}

/// Lets all write, and kills the server after `requests` acknowledgements.
fn round(server: Server, ledgers: &[Mutex<Ledger>], requests: u64) {
    let (acks, acknowledged) = bounded(ACKS_MAX);
    std::thread::scope(|scope| {
        let server = &server;
        for (writer, ledger) in (0..).zip(ledgers) {
            let acks = acks.clone();
            scope.spawn(move || write(server, writer, ledger, &acks));
        }
        drop(acks);
        scope.spawn(move || merge(server));
        for _ in 0..requests {
            acknowledged.recv().unwrap();
        }
        assert!(server.hit("KILL"), "all eight are writing");
        // Those that were acknowledged meanwhile still tell.
        for () in acknowledged {}
    });
    server.ended();
}

/// Every row since the last look, against the ledgers; and how many rows there are in all.
fn assert_all_there(server: &Server, ledgers: &[Mutex<Ledger>], round: u64) {
    let first = ledgers.iter().map(|ledger| ledger.lock().unwrap().checked).min().unwrap();
    let first = u64::try_from(first).unwrap() * ROWS * STEP + START;
    let mut seen = rows_since(server, first);
    let mut stored = 0;
    for (writer, ledger) in (0..).zip(ledgers) {
        let mut ledger = ledger.lock().unwrap();
        for (request, fate) in (0..).zip(&mut ledger.requests) {
            let rows = request * ROWS..(request + 1) * ROWS;
            if START + rows.start * STEP >= first {
                let there = rows.filter_map(|row| {
                    let found = seen.remove(&(format!("w{writer}"), START + row * STEP))?;
                    assert_eq!(found, value(writer, row), "{row} of writer {writer}");
                    Some(())
                });
                *fate = match (u64::try_from(there.count()).unwrap(), *fate) {
                    (ROWS, Fate::There | Fate::Unknown) => Fate::There,
                    (0, Fate::Absent | Fate::Unknown) => Fate::Absent,
                    (there, _) => panic!(
                        "round {round}: {there} rows of request {request} of {writer}: {fate:?}"
                    ),
                };
            }
            stored += if *fate == Fate::There { ROWS } else { 0 };
        }
        ledger.checked = ledger.requests.len();
    }
    assert!(seen.is_empty(), "round {round}: nobody sent {seen:?}");
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.arrivals"), stored, "stored once");
}

/// The rows by writer and time.
fn rows_since(server: &Server, first: u64) -> BTreeMap<(String, u64), Value> {
    let answer = server.ask(&serde_json::json!({
        "q": format!(
            "SELECT w, cast(time AS bigint) / 1000000000 AS at, value FROM load \
             WHERE time >= to_timestamp_seconds({first})"
        ),
        "timeout_ms": 30_000,
    }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut seen = BTreeMap::new();
    for row in answer.json().as_array().unwrap() {
        let key = (row["w"].as_str().unwrap().to_owned(), row["at"].as_u64().unwrap());
        assert!(seen.insert(key, row["value"].clone()).is_none(), "twice: {row}");
    }
    seen
}

#[test]
fn what_was_acknowledged_survives_kill_9_at_any_moment() {
    let rounds = std::env::var("TIDEWATCH_KILL_ROUNDS").map_or(5, |text| text.parse().unwrap());
    let seed = std::env::var("SEED").map_or(9, |text| text.parse().unwrap());
    tell(&format!("kill -9: {rounds} rounds, SEED={seed} (TIDEWATCH_KILL_ROUNDS=50 for more)"));
    let mut rng = Rng::from_seed(seed);
    let home = Home::new();
    // Small heads, small files and checkpoints all the time: the log is truncated again and again.
    let start = Start::on(&home.data())
        .set("flush.rows_max=3000")
        .set("wal.segment_bytes_max=1MiB")
        .set("checkpoint.rows_max=1000");
    let ledgers: Vec<Mutex<Ledger>> = (0..WRITERS).map(|_| Mutex::default()).collect();
    let archive = home.data().join("archive");
    let mut number = 0;
    // On a slow machine it takes longer until the first file of the log is full.
    while number < rounds || files_in(&archive) == 0 {
        let requests = 1 + rng.below(REQUESTS_MAX);
        round(start.up(), &ledgers, requests);
        if rng.below(3) == 0 {
            // Also right after the log was replayed, before anything is written.
            start.up().kill9();
        }
        let server = start.up();
        assert_all_there(&server, &ledgers, number);
        server.kill9();
        number += 1;
    }
    for ledger in &ledgers {
        ledger.lock().unwrap().checked = 0;
    }
    let server = start.up();
    assert_all_there(&server, &ledgers, number);
    assert!(server.number("SELECT count(*) FROM tidewatch.segments") > 0, "flushes ran between");
    let merged = "SELECT count(*) FROM tidewatch.segments WHERE tier > 0";
    while server.number(merged) == 0 {
        assert_eq!(server.post("/api/v1/admin/compact", "").status, 202);
        std::thread::park_timeout(PAUSE);
    }
    let rows = server.number("SELECT count(*) FROM tidewatch.arrivals");
    assert_eq!(server.stop(), 0);
    for more in [&[][..], &["--shards", "7", "--rechunk", "1"]] {
        let report = home.replay(more);
        assert_eq!(
            (&report["samples"], &report["severities_compared"]),
            (&rows.into(), &rows.into())
        );
        assert_ne!(report["states_compared"], 0, "{report}");
    }
    replay_from_a_checkpoint(&home, &start, rows);
}

/// Without an archive, replay begins at the oldest checkpoint, and the rows before are in segments only.
fn replay_from_a_checkpoint(home: &Home, start: &Start, rows: u64) {
    let server = start.clone().set("replay.keep=0s").up();
    // Enough for a checkpoint each.
    let body: String = (0..1_000).map(|row| format!("more,row={row} value=1\n")).collect();
    let first = "SELECT min(first_lsn) FROM tidewatch.wal_segments";
    while files_in(&home.data().join("archive")) > 0 || server.number(first) == 1 {
        assert_eq!(server.post("/write", &body).status, 204);
        std::thread::park_timeout(PAUSE);
    }
    server.kill9();
    let server = start.clone().set("replay.keep=0s").up();
    assert_eq!(
        server.number("SELECT count(*) FROM tidewatch.arrivals WHERE metric = 'load'"),
        rows
    );
    assert_eq!(server.stop(), 0);
    for more in [&[][..], &["--shards", "5", "--rechunk", "2"]] {
        let report = home.replay(more);
        assert!(report["from_lsn"].as_u64().unwrap() > 1, "{report}");
        assert!(report["samples"].as_u64().unwrap() < rows, "{report}");
        assert_ne!(report["states_compared"], 0, "{report}");
    }
}

#[test]
fn a_stop_while_the_log_is_replayed_is_orderly_and_loses_nothing() {
    let home = Home::new();
    // Nothing is in a checkpoint, so that all of it is replayed.
    let start = Start::on(&home.data()).set("checkpoint.rows_max=1000000000");
    let server = start.up();
    let mut rows = 0;
    for request in 0..40 {
        let body: String =
            (0..10_000).map(|row| format!("long,row={row} value={row} {request}\n")).collect();
        assert_eq!(server.post("/write", &body).status, 204);
        rows += 10_000;
    }
    server.kill9();
    for _ in 0..3 {
        assert_eq!(start.up().stop(), 0);
    }
    let server = start.up();
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.arrivals"), rows);
    assert_eq!(server.stop(), 0);
}

fn files_in(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}
