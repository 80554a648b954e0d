//! What happens to stored samples: merged, deleted, expired, dropped for room, found damaged.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tidewatch_env::Rng;

use crate::server::{Home, Server, Start, json_of, run, tell};

/// An hour that began in 2023.
const START: u64 = 1_700_002_800;
/// Between two looks for what happens in the background.
const LOOK: Duration = Duration::from_millis(50);
/// Looks until it must have happened.
const LOOKS_MAX: u32 = 1_200;

/// A sample a minute from `START` on, of each of these hosts.
fn body(metric: &str, hosts: u64, minutes: std::ops::Range<u64>) -> String {
    let lines = minutes.flat_map(|minute| (0..hosts).map(move |host| (minute, host)));
    let line = |(minute, host)| {
        format!("{metric},host=h{host} value={} {}\n", minute + host, START + minute * 60)
    };
    lines.map(line).collect()
}

fn write(server: &Server, body: &str) {
    loop {
        let answer = server.post("/write?precision=s", body);
        if answer.status != 429 {
            return assert_eq!(answer.status, 204, "{answer:?}");
        }
        // Flushes are behind: nothing was taken.
        std::thread::park_timeout(LOOK);
    }
}

/// Waits until a statement gives this number.
fn wait_for(server: &Server, statement: &str, expected: impl Fn(u64) -> bool) -> u64 {
    let mut number = 0;
    for _ in 0..LOOKS_MAX {
        number = server.number(statement);
        if expected(number) {
            return number;
        }
        std::thread::park_timeout(LOOK);
    }
    panic!("{statement} stays at {number}");
}

/// A server that flushes and makes checkpoints all the time.
fn busy(home: &Home) -> Start {
    Start::on(&home.data())
        .set("flush.rows_max=1000")
        .set("checkpoint.rows_max=1000")
        .set("wal.segment_bytes_max=1MiB")
}

fn segments(server: &Server) -> u64 {
    server.number("SELECT count(*) FROM tidewatch.segments WHERE kind = 'samples'")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

#[test]
fn a_delete_hides_what_was_written_before_and_nothing_else_and_survives_kill_9() {
    let home = Home::new();
    let start = busy(&home);
    let server = start.up();
    write(&server, &body("cpu", 3, 0..600));
    write(&server, &body("mem", 3, 0..600));
    let at = |minute: u64| format!("2023-11-14T{:02}:{:02}:00Z", 23 + minute / 60, minute % 60);
    let asked = json!({ "metric": "cpu", "from": at(10), "before": at(40) });
    let dry = run(&[
        "delete",
        "--url",
        &server.url(),
        "--dry-run",
        "--json",
        "--from",
        &at(10),
        "--before",
        &at(40),
        "cpu",
    ]);
    let dry = json_of(&dry);
    assert_eq!((&dry["deletedCount"], &dry["dryRun"]), (&json!(90), &json!(true)), "{dry}");
    let cpu = "SELECT count(*) FROM cpu";
    assert_eq!(server.number(cpu), 1_800, "a dry run deletes nothing");
    let answer = server.post("/api/v1/admin/delete", asked.to_string());
    assert_eq!((answer.status, answer.json()["deletedCount"].clone()), (200, json!(90)));
    assert!(answer.json()["lsn"].as_u64().is_some(), "{answer:?}");
    assert_eq!(server.number(cpu), 1_710);
    assert_eq!(server.number("SELECT count(*) FROM mem"), 1_800);
    // What comes afterwards stays, also at the same times.
    write(&server, &body("cpu", 1, 10..20));
    assert_eq!(server.number(cpu), 1_720);
    server.kill9();
    let server = start.up();
    assert_eq!(server.number(cpu), 1_720);
    assert_eq!(server.post("/api/v1/admin/compact", "").status, 202);
    let erased = "SELECT sum(rows) FROM tidewatch.segments WHERE kind = 'samples'";
    server.get("/healthz");
    wait_for(&server, erased, |rows| rows <= 3_520);
    assert_eq!(server.number(cpu), 1_720);
    assert_eq!(server.stop(), 0);
    let report = home.replay(&["--shards", "3"]);
    assert_eq!(report["samples"], 3_610, "the operators saw them all: {report}");
}

#[test]
fn a_delete_that_cannot_be_meant_is_refused() {
    let home = Home::new();
    let server = home.serve();
    write(&server, &body("cpu", 1, 0..5));
    let refused = |path: &str, body: &str| server.post(path, body).status;
    let path = "/api/v1/admin/delete";
    assert_eq!(refused(path, r#"{"metric":"cpu"}"#), 400, "no time");
    assert_eq!(refused(path, r#"{"before":"2024-01-01T00:00:00Z"}"#), 400, "no metric");
    assert_eq!(refused(path, r#"{"metric":"cpu","before":"soon"}"#), 400);
    assert_eq!(refused(path, r#"{"metric":"cpu","before":"2024-01-01T00:00:00Z","x":1}"#), 400);
    let backwards =
        r#"{"metric":"cpu","from":"2025-01-01T00:00:00Z","before":"2024-01-01T00:00:00Z"}"#;
    assert_eq!(refused(path, backwards), 400);
    assert_eq!(refused(path, r#"{"metric":"none","before":"2024-01-01T00:00:00Z"}"#), 404);
    let by_name = |query: &str| {
        let path = format!("/api/v1/admin/metrics/cpu?{query}");
        server.try_send("DELETE", &path, &[], b"").unwrap()
    };
    assert_eq!(by_name("").status, 400, "before is mandatory");
    let deleted = by_name("before=2023-11-14T23:02:00Z");
    assert_eq!((deleted.status, deleted.json()["deletedCount"].clone()), (200, json!(2)));
    assert_eq!(server.number("SELECT count(*) FROM cpu"), 3);
}

#[test]
fn samples_expire_by_age_and_by_the_first_rule_that_matches() {
    let home = Home::new();
    let config = home.file("tidewatch.toml");
    let toml = "[storage]\nretention = \"36500d\"\n\
                [[retention]]\nmatch = { metric = \"debug\", host = \"h0\" }\nkeep = \"0s\"\n\
                [[retention]]\nmatch = { metric = \"~ deb.*\" }\nkeep = \"1h\"\n";
    std::fs::write(&config, toml).unwrap();
    let server = busy(&home).config(&config).up();
    write(&server, &body("cpu", 2, 0..300));
    write(&server, &body("debug", 3, 0..300));
    // Flushed, gone through, and only what had expired is gone.
    let count = |host: &str| format!("SELECT count(*) FROM debug WHERE host = '{host}'");
    while segments(&server) == 0 {
        write(&server, &body("more", 200, 0..10));
    }
    wait_for(&server, &count("h1"), |rows| rows == 0);
    wait_for(&server, &count("h2"), |rows| rows == 0);
    assert_eq!(server.number(&count("h0")), 300, "the first rule counts");
    assert_eq!(server.number("SELECT count(*) FROM cpu"), 600);
    let text = server.get("/metrics").body;
    let erased = "tidewatch_segments_rows_erased_total{why=\"retention\"} 600";
    assert!(text.contains(erased), "{text}");
    assert_eq!(server.stop(), 0);
    home.replay(&[]);
}

#[test]
fn all_that_has_expired_goes_without_being_read() {
    let home = Home::new();
    let server = busy(&home).set("storage.retention=30d").up();
    write(&server, &body("cpu", 20, 0..200));
    wait_for(&server, "SELECT count(*) FROM cpu", |rows| rows == 0);
    assert_eq!(segments(&server), 0);
    let text = server.get("/metrics").body;
    assert!(text.contains("tidewatch_segments_rows_erased_total{why=\"age\"}"), "{text}");
    // What is new stays.
    assert_eq!(server.post("/write", "cpu,host=new value=1\n").status, 204);
    assert_eq!(server.number("SELECT count(*) FROM cpu"), 1);
}

#[test]
fn a_damaged_segment_is_set_aside_and_the_rest_is_answered() {
    let home = Home::new();
    let start = busy(&home);
    let server = start.up();
    for round in 0..4 {
        write(&server, &body("cpu", 10, round * 200..(round + 1) * 200));
    }
    wait_for(
        &server,
        "SELECT CAST(coalesce(sum(rows), 0) AS bigint) FROM tidewatch.segments",
        |rows| rows >= 8_000,
    );
    assert_eq!(server.stop(), 0);
    let segments = home.data().join("segments");
    let damaged = files(&segments)
        .into_iter()
        .find(|file| file.file_name().unwrap().to_str().unwrap().starts_with("samples-"));
    let damaged = damaged.unwrap();
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[40] ^= 0x10;
    std::fs::write(&damaged, bytes).unwrap();
    let server = start.up();
    let asked = json!({ "q": "SELECT count(value) AS n FROM cpu" });
    let mut answer = server.ask(&asked);
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(answer.body.contains(damaged.file_name().unwrap().to_str().unwrap()), "{answer:?}");
    for _ in 0..LOOKS_MAX {
        if answer.status == 200 {
            break;
        }
        std::thread::park_timeout(LOOK);
        answer = server.ask(&asked);
    }
    assert!(answer.header("tidewatch-stats").contains("\"segments_quarantined\":1"), "{answer:?}");
    let lost = server.number("SELECT rows FROM tidewatch.segments WHERE state = 'quarantined'");
    assert_eq!(answer.json()[0]["n"], 8_000 - lost);
    assert_eq!(server.counter("tidewatch_segments_quarantined_total"), 1);
    assert!(damaged.exists());
}

#[test]
fn segments_are_compacted_on_a_stopped_directory_and_hold_the_same() {
    let home = Home::new();
    let server = busy(&home).up();
    for round in 0..6 {
        write(&server, &body("cpu", 10, round * 200..(round + 1) * 200));
    }
    wait_for(
        &server,
        "SELECT CAST(coalesce(sum(rows), 0) AS bigint) FROM tidewatch.segments",
        |rows| rows >= 12_000,
    );
    let (before, sum) = (segments(&server), "SELECT sum(CAST(value AS bigint)) FROM cpu");
    let expected = server.number(sum);
    assert_eq!(server.stop(), 0);
    let data = home.data();
    let data = data.to_str().unwrap();
    let compacted = json_of(&run(&["segments", "compact", "--json", data]));
    assert!(compacted["merges"].as_u64() > Some(0), "{compacted}");
    let listed = json_of(&run(&["segments", "ls", "--json", data]));
    let samples = listed.as_array().unwrap().iter().filter(|file| file["kind"] == "samples");
    assert!((samples.count() as u64) < before, "{listed}");
    assert_eq!(json_of(&run(&["segments", "verify", "--json", data]))["ok"], true);
    home.replay(&["--shards", "4"]);
    let server = busy(&home).up();
    assert_eq!(server.number(sum), expected);
}

/// As `kill9.rs`, with deletes and retention all the time. Each writer has a metric that is never
/// deleted, and one that is deleted again and again.
#[test]
fn deletes_and_retention_amid_kill_9_lose_nothing_else_and_bring_nothing_back() {
    let rounds = std::env::var("TIDEWATCH_KILL_ROUNDS").map_or(3, |text| text.parse().unwrap());
    let seed = std::env::var("SEED").map_or(11, |text| text.parse().unwrap());
    tell(&format!("kill -9 with deletes: {rounds} rounds, SEED={seed}"));
    let mut rng = Rng::from_seed(seed);
    let home = Home::new();
    let config = home.file("tidewatch.toml");
    std::fs::write(&config, "[[retention]]\nmatch = { metric = \"short\" }\nkeep = \"1h\"\n")
        .unwrap();
    let start = busy(&home).config(&config);
    let (mut kept, mut goes) = (0, 0);
    for round in 0..rounds {
        let server = start.up();
        let requests = 1 + rng.below(40);
        for request in 0..requests {
            let minutes = (round * 40 + request) * 10;
            write(&server, &body("keep", 10, minutes..minutes + 10));
            kept += 100;
            write(&server, &body("goes", 10, minutes..minutes + 10));
            goes += 100;
            write(&server, &body("short", 2, minutes..minutes + 10));
            if rng.below(8) == 0 {
                let asked = json!({ "metric": "goes", "before": "2200-01-01T00:00:00Z" });
                let answer = server.post("/api/v1/admin/delete", asked.to_string());
                assert_eq!(answer.status, 200, "{answer:?}");
                goes = 0;
            }
            if rng.below(8) == 0 {
                assert_eq!(server.post("/api/v1/admin/compact", "").status, 202);
            }
        }
        server.kill9();
        let server = start.up();
        assert_eq!(server.number("SELECT count(*) FROM keep"), kept, "round {round}");
        assert_eq!(server.number("SELECT count(*) FROM goes"), goes, "round {round}");
        server.kill9();
    }
    let server = start.up();
    let sum = "SELECT CAST(sum(value) AS bigint) FROM keep WHERE host = 'h3'";
    let made = server.number(sum);
    assert_eq!(server.stop(), 0);
    for more in [&[][..], &["--shards", "7", "--rechunk", "1"]] {
        home.replay(more);
    }
    let server = start.up();
    assert_eq!((server.number("SELECT count(*) FROM keep"), server.number(sum)), (kept, made));
}
