//! A flood of new series against a small memory budget: refused with its cause, within the budget, and
//! the series that were there before go on as if nothing were.
//!
//! With `TIDEWATCH_MEMORY_FULL=1` at full size: 10 million new series in two minutes against 2 GB.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tidewatch_env::{Clock, RealClock};

use crate::server::{Home, Server, Start, tell};

/// Times of rows, in seconds.
const START: u64 = 1_700_000_000;
/// Lines of one request.
const LINES: u64 = 2_000;
/// Writers of new series.
const WRITERS: u64 = 2;
/// How long a writer lets the server be that has asked it to wait.
const PAUSE: Duration = Duration::from_millis(50);

/// How much is tried.
#[derive(Clone, Copy, Debug)]
struct Size {
    memory_bytes: u64,
    /// Series that are there before, and go on being written.
    old: u64,
    /// New series that are tried.
    new: u64,
    /// Within which they must have been answered; none where the machine may be slow.
    time_max: Option<Duration>,
}

fn size() -> Size {
    if std::env::var("TIDEWATCH_MEMORY_FULL").is_ok_and(|full| full == "1") {
        let time_max = Some(Duration::from_mins(2));
        return Size { memory_bytes: 2_000_000_000, old: 100_000, new: 10_000_000, time_max };
    }
    Size { memory_bytes: 256 << 20, old: 12_000, new: 600_000, time_max: None }
}

/// The most memory that the process has had, in bytes.
fn most_memory(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1_024
}

/// Writes a body until it is taken; gives the lines accepted and what the answer says.
fn write(server: &Server, body: &str) -> (u64, String) {
    loop {
        let answer = server.post("/write?precision=s", body);
        match answer.status {
            429 => std::thread::park_timeout(PAUSE),
            204 | 400 => {
                return (answer.header("tidewatch-accepted").parse().unwrap(), answer.body);
            }
            _ => panic!("{answer:?}"),
        }
    }
}

/// One round of rows of all old series.
fn write_old(server: &Server, old: u64, round: u64) {
    for from in (0..old.div_ceil(LINES)).map(|request| request * LINES) {
        let lines = (from..old.min(from + LINES))
            .map(|id| format!("old,host=host-{id:06},region=eu value={round} {}\n", START + round));
        let (accepted, told) = write(server, &lines.collect::<String>());
        assert_eq!(accepted, LINES.min(old - from), "{told}");
    }
}

/// Two writers send new series, as fast as they are answered; gives how many were taken.
fn flood(server: &Server, new: u64) -> u64 {
    let taken = std::thread::scope(|scope| {
        let writers = [0, 1].map(|writer: u64| {
            scope.spawn(move || {
                let mut taken = 0;
                let requests = (0..new.div_ceil(LINES)).filter(|n| n % WRITERS == writer);
                for from in requests.map(|request| request * LINES) {
                    let ids = from..new.min(from + LINES);
                    let lines = ids.clone().map(|id| {
                        format!(
                            "http_requests,path=/p{},request_id=r{id:09} value=1 {START}\n",
                            id % 50
                        )
                    });
                    let (accepted, told) = write(server, &lines.collect::<String>());
                    if accepted < ids.end - ids.start {
                        check_refusal(&told);
                    }
                    taken += accepted;
                }
                taken
            })
        });
        writers.map(|writer| writer.join().unwrap())
    });
    taken.iter().sum()
}

fn check_refusal(told: &str) {
    for part in [
        "series refused: the memory for series is used up (limits.memory_bytes_max): ",
        "metric \\\"http_requests\\\" has ",
        "its label \\\"request_id\\\" has about ",
    ] {
        assert!(
            told.contains(part),
            "{part} is not in {}",
            told.chars().take(600).collect::<String>()
        );
    }
}

#[test]
fn a_flood_of_new_series_is_refused_within_the_budget_and_old_series_go_on() {
    let size = size();
    let home = Home::new();
    let start =
        Start::on(&home.data()).set(&format!("limits.memory_bytes_max={}", size.memory_bytes));
    let server = start.up();
    write_old(&server, size.old, 0);
    let clock = RealClock::new();
    let began = clock.monotonic();
    let (taken, rounds) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&server, size.new));
        let mut rounds = 1;
        while !flood.is_finished() {
            write_old(&server, size.old, rounds);
            rounds += 1;
        }
        (flood.join().unwrap(), rounds)
    });
    let took = clock.monotonic() - began;
    // And when all is full.
    write_old(&server, size.old, rounds);
    let most = most_memory(&server);
    tell(&format!(
        "{taken} of {} new series taken in {took:?}, {rounds} rounds of {} old ones meanwhile; at most \
         {} MiB of {} MiB; {} MiB counted for series",
        size.new,
        size.old,
        most >> 20,
        size.memory_bytes >> 20,
        server.counter("tidewatch_engine_series_bytes") >> 20,
    ));
    assert!(taken > 0 && taken < size.new / 2, "{taken}");
    assert!(most <= size.memory_bytes / 10 * 11, "{most} bytes");
    assert!(size.time_max.is_none_or(|max| took <= max), "{took:?}");
    let refused = server.counter("tidewatch_engine_series_refused_total{why=\"memory\"}");
    assert_eq!(refused, size.new - taken);
    assert_eq!(server.counter("tidewatch_engine_series"), size.old + taken);
    assert_eq!(server.number("SELECT count(*) FROM http_requests"), taken);
    let rows = server
        .sql("SELECT count(*) AS n, count(DISTINCT host) AS hosts, sum(value) AS sum FROM old");
    let sum = size.old * rounds * (rounds + 1) / 2;
    let expected = json!([{ "n": size.old * (rounds + 1), "hosts": size.old, "sum": sum as f64 }]);
    assert_eq!(json!(rows), expected);
    assert_eq!(server.stop(), 0);
    // What was acknowledged is taken again, and what was refused is refused as before.
    let server = start.up();
    write_old(&server, size.old, rounds + 1);
    assert_eq!(server.number("SELECT count(*) FROM http_requests"), taken);
    let (accepted, told) =
        write(&server, &format!("http_requests,path=/x,request_id=last value=1 {START}"));
    assert_eq!(accepted, 0);
    check_refusal(&told);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_cap_refuses_the_line_and_stores_the_rest_of_the_body() {
    let home = Home::new();
    let start = Start::on(&home.data())
        .set("limits.series_per_metric_max=2")
        .set("limits.series_per_database_max=4");
    let server = start.up();
    let (accepted, told) =
        write(&server, "m,id=a value=1 1\nm,id=b value=1 1\nm,id=c value=1 1\nm,id=a value=2 2");
    assert_eq!(accepted, 3, "{told}");
    let expected = "line 3: series refused: the metric has as many series as it may have \
                    (limits.series_per_metric_max = 2): metric \\\"m\\\" has 2 series, its label \\\"id\\\" has 2 values";
    assert!(told.contains(expected), "{told}");
    let (accepted, told) = write(&server, "n,id=a value=1 1\no value=1 1\np value=1 1");
    assert_eq!(accepted, 2, "{told}");
    assert!(told.contains("database \\\"default\\\" has as many series as it may have"), "{told}");
    assert_eq!(server.number("SELECT count(*) FROM m"), 3);
    assert_eq!(server.counter("tidewatch_engine_series_refused_total{why=\"metric\"}"), 1);
    assert_eq!(server.counter("tidewatch_engine_series_refused_total{why=\"database\"}"), 1);
    assert_eq!(server.stop(), 0);
}
