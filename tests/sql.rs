//! SQL from outside: statements that break DataFusion are refused, and an acknowledged row is seen.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidewatch_env::{Clock, RealClock};

use crate::server::{Home, Server, run};

/// What a refusal may take on a busy machine in a debug build.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);
const MEMORY_MIB_MAX: u64 = 900;

fn chain(first: &str, link: &str, times: usize) -> String {
    format!("{first}{}", link.repeat(times))
}

#[test]
fn statements_that_would_break_the_process_are_refused_in_bounded_time_and_memory() {
    let home = Home::new();
    let mut server = home.serve();
    let rows: String = (0..20_000).map(|row| format!("m value={row} {row}\n")).collect();
    assert_eq!(server.post("/write", rows).status, 204);
    let cross = "SELECT count(*) FROM m a, m b, m c WHERE a.value + b.value + c.value > 7";
    let probes = [
        (chain("SELECT 1", "+1", 19_999), "LIMIT_EXCEEDED", 422),
        (chain("SELECT 1 FROM m WHERE 1<2", " AND 1<2", 4_999), "LIMIT_EXCEEDED", 422),
        (chain("SELECT 1", " UNION SELECT 1", 2_999), "LIMIT_EXCEEDED", 422),
        (chain("SELECT 1", " UNION ALL SELECT 1", 2_999), "LIMIT_EXCEEDED", 422),
        (format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000)), "LIMIT_EXCEEDED", 422),
        (chain("SELECT ", "x", 70_000), "LIMIT_EXCEEDED", 422),
        ("SELECT repeat('x', 2000000000)".to_owned(), "LIMIT_EXCEEDED", 422),
        ("SELECT length(repeat('x', 2000000000))".to_owned(), "LIMIT_EXCEEDED", 422),
        ("SELECT range(1, 2000000000)".to_owned(), "LIMIT_EXCEEDED", 422),
        ("COPY (SELECT * FROM m) TO '/tmp/tidewatch-copy.csv'".to_owned(), "FORBIDDEN", 403),
        (
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'".to_owned(),
            "FORBIDDEN",
            403,
        ),
        ("SET datafusion.execution.batch_size = 1".to_owned(), "FORBIDDEN", 403),
        ("INSERT INTO m VALUES (1)".to_owned(), "FORBIDDEN", 403),
        ("SELECT * FROM '/etc/passwd'".to_owned(), "INVALID_QUERY", 400),
        ("SELECT * FROM 'file:///etc/passwd'".to_owned(), "INVALID_QUERY", 400),
        (cross.to_owned(), "QUERY_TIMEOUT", 504),
    ];
    let at_once = server.ask(&json!({ "q": "SELECT 1", "timeout_ms": 0 }));
    assert_eq!(at_once.status, 400, "{at_once:?}");
    let endless = "SELECT count(*) FROM range(0, 1000000000000)";
    let soon = server.ask(&json!({ "q": endless, "timeout_ms": 1 }));
    assert_eq!(
        (soon.status, soon.body.contains("no answer within 100 ms")),
        (504, true),
        "{soon:?}"
    );
    let clock = RealClock::new();
    for (statement, code, status) in probes {
        let shown: String = statement.chars().take(60).collect();
        let before = clock.monotonic();
        let answer = server.ask(&json!({ "q": statement, "timeout_ms": 2_000 }));
        let took = clock.monotonic().saturating_sub(before);
        let said = answer.json();
        // On a quick machine the join meets the bound on memory before the one on time.
        let bounded = statement == cross && answer.status == 422;
        let (status, code) = if bounded { (422, "LIMIT_EXCEEDED") } else { (status, code) };
        assert_eq!(
            (answer.status, &said["error"]["code"]),
            (status, &json!(code)),
            "{shown}: {said}"
        );
        assert!(said["error"]["message"].as_str().unwrap().len() > 10, "{shown}: {said}");
        assert!(took < REFUSED_WITHIN, "{shown}: {took:?}");
        assert!(server.rss_mib() < MEMORY_MIB_MAX, "{shown}: {} MiB", server.rss_mib());
        assert!(server.is_alive(), "{shown}");
    }
    assert_eq!(server.number("SELECT count(*) FROM m"), 20_000, "and goes on as before");
    assert_eq!(server.stop(), 0);
}

/// Rows of all three series of a writer, from one snapshot.
fn counts(server: &Server, writer: usize) -> Vec<u64> {
    let rows = server.sql(&format!(
        "SELECT part, count(*) AS n, max(value) AS top FROM seen WHERE w = 'w{writer}' \
         GROUP BY part ORDER BY part"
    ));
    let counts = rows.iter().map(|row| {
        let n = row["n"].as_u64().unwrap();
        assert_eq!(row["top"].as_f64().unwrap().to_string(), n.to_string(), "a hole: {rows:?}");
        n
    });
    counts.collect()
}

#[test]
fn an_acknowledged_row_is_seen_at_once_with_its_whole_batch_and_for_ever() {
    const WRITERS: usize = 4;
    const WRITES: u64 = 40;
    let home = Home::new();
    let server = home.serve();
    // The metric is no table before its first row is there, and the readers may be first.
    assert_eq!(server.post("/write", "seen,w=none,part=p0 value=0 0\n").status, 204);
    let done = AtomicBool::new(false);
    let seen: Vec<u64> = std::thread::scope(|scope| {
        let (server, done) = (&server, &done);
        let write = |writer: usize| {
            for write in 1..=WRITES {
                // Three series, which lie in different shards, in one record.
                let lines = (0..3)
                    .map(|part| format!("seen,w=w{writer},part=p{part} value={write} {write}\n"));
                assert_eq!(server.post("/write", lines.collect::<String>()).status, 204);
                assert_eq!(counts(server, writer), [write; 3], "acknowledged, and not seen");
            }
        };
        let read = |writer: usize| {
            let mut last = 0;
            loop {
                // ATOMICS: a flag on its own guards no other memory, hence relaxed.
                let after_the_writers = done.load(Ordering::Relaxed);
                let counts = counts(server, writer);
                if let Some(&first) = counts.first() {
                    assert_eq!(counts, [first; 3], "a part of a batch is seen");
                    assert!(first >= last, "what was seen is gone: {last}, then {first}");
                    last = first;
                }
                if after_the_writers {
                    return last;
                }
            }
        };
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        let readers: Vec<_> = [0, 2].map(|writer| scope.spawn(move || read(writer))).into();
        let written: Vec<_> =
            writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        let seen = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert!(written.iter().all(Result::is_ok));
        seen
    });
    assert_eq!(seen, [WRITES; 2], "the last look sees all that was acknowledged");
}

#[test]
fn a_row_that_anybody_has_seen_survives_kill_9() {
    let home = Home::new();
    let server = home.serve();
    let (mut seen, mut sent) = (0, 0);
    while seen < 20 {
        sent += 1;
        // Answered before it is anywhere but in memory: seen only once it is durable.
        let path = "/write?durability=accepted";
        let answer = server.post(path, format!("dirty value={sent} {sent}"));
        assert_eq!((answer.status, answer.header("tidewatch-lsn")), (202, ""));
        let answer = server.ask(&json!({ "q": "SELECT count(*) AS n FROM dirty" }));
        // The metric is no table before its first row is there.
        if answer.status == 200 {
            seen = answer.json()[0]["n"].as_u64().unwrap();
        }
    }
    server.kill9();
    let server = home.serve();
    let kept = server.number("SELECT count(*) FROM dirty");
    assert!((seen..=sent).contains(&kept), "{seen} seen, {kept} kept, {sent} sent");
    let whole = server.number("SELECT count(*) FROM dirty WHERE cast(time AS bigint) = value");
    assert_eq!(whole, kept);
}

#[test]
fn every_format_has_the_same_rows_and_the_statistics() {
    let home = Home::new();
    let server = home.serve();
    let body = "cpu,host=a value=1.5 1700000000\ncpu,host=b value=-2 1700000001\n";
    assert_eq!(server.post("/write?precision=s", body).status, 204);
    let statement = "SELECT time, value, host FROM cpu ORDER BY time";
    let rows = json!([
        { "time": "2023-11-14T22:13:20Z", "value": 1.5, "host": "a" },
        { "time": "2023-11-14T22:13:21Z", "value": -2.0, "host": "b" },
    ]);
    let lines = |text: &str| -> Value {
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect()
    };
    for (format, content_type) in [
        ("json", "application/json"),
        ("jsonl", "application/x-ndjson"),
        ("csv", "text/csv; charset=utf-8"),
        ("pretty", "text/plain; charset=utf-8"),
    ] {
        let answer = server.ask(&json!({ "q": statement, "format": format }));
        assert_eq!((answer.status, answer.header("content-type")), (200, content_type));
        match format {
            "json" => assert_eq!(answer.json(), rows),
            "jsonl" => assert_eq!(lines(&answer.body), rows),
            "csv" => assert_eq!(
                answer.body,
                "time,value,host\n2023-11-14T22:13:20Z,1.5,a\n2023-11-14T22:13:21Z,-2.0,b\n"
            ),
            _ => assert!(
                answer.body.contains("| 2023-11-14T22:13:21Z |  -2.0 | b    |"),
                "{answer:?}"
            ),
        }
        let stats: Value = serde_json::from_str(answer.header("tidewatch-stats")).unwrap();
        let keys: Vec<&String> = stats.as_object().unwrap().keys().collect();
        let expected =
            ["bytes_scanned", "lsn", "ms", "rows", "rows_scanned", "segments", "segments_pruned"];
        assert_eq!(keys, expected, "{stats}");
        assert_eq!((&stats["rows"], &stats["rows_scanned"]), (&json!(2), &json!(2)), "{stats}");
    }
    let by_get = server.get("/api/v3/query_sql?q=SELECT%20count(*)%20AS%20n%20FROM%20cpu");
    assert_eq!(by_get.json(), json!([{ "n": 2 }]));
    let unknown = server.ask(&json!({ "q": statement, "format": "xml" }));
    assert_eq!(unknown.status, 400);
    let missing = server.ask(&json!({}));
    assert_eq!((missing.status, missing.json()["error"]["details"].clone()), (400, json!({})));
}

/// Asks over a connection of its own; whether the answer is read is for the caller to say.
fn send(server: &Server, parameters: &Value) -> TcpStream {
    let body = parameters.to_string();
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let request = format!(
        "POST /api/v3/query_sql HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        server.address,
        body.len(),
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// The head of an answer, in lower case, and its body.
fn read(mut stream: TcpStream) -> (String, Vec<u8>) {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap().to_lowercase(), body)
}

#[test]
fn files_for_other_programs_come_over_http_by_command_and_from_a_stopped_directory() {
    let home = Home::new();
    let server = home.serve();
    let body = "cpu,host=a value=1.5 1700000000\ncpu,host=b value=-2 1700000001\n";
    assert_eq!(server.post("/write?precision=s", body).status, 204);
    let statement = "SELECT time, value, host FROM cpu ORDER BY time";
    let mut of_formats = Vec::new();
    for (format, content_type, first, last) in [
        ("parquet", "application/vnd.apache.parquet", &b"PAR1"[..], &b"PAR1"[..]),
        (
            "arrow",
            "application/vnd.apache.arrow.stream",
            &[255; 4],
            &[255, 255, 255, 255, 0, 0, 0, 0],
        ),
    ] {
        let (head, body) = read(send(&server, &json!({ "q": statement, "format": format })));
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains(&format!("content-type: {content_type}\r\n")), "{head}");
        assert!(head.contains("tidewatch-stats: {\"rows\":2,"), "{head}");
        assert!(body.starts_with(first) && body.ends_with(last), "{format}: {body:?}");
        assert!(body.windows(4).any(|four| four == b"host"), "{format}: no column");
        let by_command = run(&["query", "--url", &server.url(), "--format", format, statement]);
        assert_eq!((by_command.status.code(), &by_command.stdout), (Some(0), &body), "{format}");
        of_formats.push((format, body));
    }
    assert_eq!(server.stop(), 0);
    let data = home.data();
    for (format, body) in of_formats {
        let dir = data.to_str().unwrap();
        let stopped = run(&["query", "--data-dir", dir, "--format", format, statement]);
        assert_eq!((stopped.status.code(), &stopped.stdout), (Some(0), &body), "{format}");
    }
}

#[test]
fn queries_whose_clients_are_gone_end_and_leave_their_places() {
    let home = Home::new();
    let mut server = home.serve();
    assert_eq!(server.post("/write", "m value=1 1\n").status, 204);
    let slow = json!({ "q": "SELECT count(*) FROM range(0, 1000000000000)", "timeout_ms": 30_000 });
    let quick = json!({ "q": "SELECT count(*) AS n FROM m" });
    let clock = RealClock::new();
    let sent = |query: &Value| (0..100).map(|_| send(&server, query)).collect::<Vec<_>>();
    let gone = sent(&slow);
    while server.counter("tidewatch_query_running") < 8 {
        assert!(clock.monotonic() < Duration::from_secs(20), "nothing runs");
    }
    let waiting = sent(&quick);
    drop(gone);
    let left = clock.monotonic();
    let mut answered = 0;
    for stream in waiting {
        let (head, body) = read(stream);
        let is_answered = head.starts_with("http/1.1 200");
        // 8 run and 64 wait; who comes beyond that is told so.
        assert!(is_answered || head.starts_with("http/1.1 503"), "{head}");
        assert!(!is_answered || body == b"[{\"n\":1}]", "{body:?}");
        answered += u32::from(is_answered);
    }
    while server.counter("tidewatch_query_running") > 0 {
        let since = clock.monotonic().saturating_sub(left);
        assert!(since < Duration::from_secs(20), "queries run on for nobody");
    }
    for _ in 0..10 {
        assert_eq!(server.number("SELECT count(*) FROM m"), 1, "{answered} were answered");
    }
    assert!(server.rss_mib() < MEMORY_MIB_MAX, "{} MiB", server.rss_mib());
    assert!(server.is_alive());
    assert_eq!(server.stop(), 0);
}
