//! Rubbish at the door: precise refusals, good lines kept, counters by reason, bounded memory and time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tidewatch_env::{Clock, RealClock};

use crate::server::{Home, REFUSED_MIB_MAX, Server, Start, tell};

const BODY_BYTES_MAX: usize = 32 << 20;

/// Sends bytes as they are, whatever becomes of them, and gives all that is answered.
fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = connect(server);
    // The server may answer and close before it has read all.
    stream.write_all(bytes).ok();
    read_all(&mut stream)
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    stream
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is reset has said what it had to say.
    stream.read_to_end(&mut answer).ok();
    String::from_utf8(answer).unwrap()
}

fn head(more: &str) -> String {
    format!("POST /write HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{more}\r\n\r\n")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A gigabyte of zeros, sent as a hundredth of it.
fn bomb() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![0; 1 << 20];
    for _ in 0..1_000 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap()
}

fn error_of(answer: &str) -> Value {
    let body = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}")).1;
    serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer}"))
}

#[test]
fn a_bad_line_is_named_and_counted_and_its_neighbours_are_kept() {
    let long = format!("big,host=a value={}", "1".repeat(10_000_000));
    let tags: String = (0..10_000).map(|tag| format!(",t{tag}=v")).collect();
    let tags = format!("many{tags} value=1");
    let cases: [(&[u8], &str, &str); 11] = [
        (b"nothing", "missing_fields", "missing fields"),
        (b"n value=1 9223372036854775808", "time_out_of_range", "beyond the range of nanoseconds"),
        (
            b"n value=1 -99999999999999999999",
            "time_out_of_range",
            "beyond the range of nanoseconds",
        ),
        (b"n value=1 4102444800000000000", "time_in_future", "too far in the future"),
        (b"n value=9007199254740993i", "integer_too_large", "integer beyond 2^53"),
        (b"n value=NaN", "not_finite", "not a finite number"),
        (b"n value=1e999", "not_finite", "not a finite number"),
        (b"n v\xff=1", "not_utf8", "not valid UTF-8"),
        (b"n,host= value=1", "empty_tag_value", "empty tag value"),
        (long.as_bytes(), "line_too_long", "too long"),
        (tags.as_bytes(), "too_many_tags", "too many tags"),
    ];
    let home = Home::new();
    let server = home.serve();
    let counter = |reason: &str| {
        let name = format!("tidewatch_connectors_lines_rejected_total{{reason=\"{reason}\"}} ");
        let text = server.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    for (case, (line, reason, message)) in (0..).zip(cases) {
        let before = counter(reason);
        let good = |row: usize| format!("kept value={row} {}\n", 2 * case + row);
        let body = [good(1).as_bytes(), line, b"\n", good(2).as_bytes()].concat();
        let v1 = server.post("/write", &body);
        assert_eq!(v1.status, 400, "{reason}: {v1:?}");
        let (accepted, rejected) =
            (v1.header("tidewatch-accepted"), v1.header("tidewatch-rejected"));
        assert_eq!((accepted, rejected), ("2", "1"), "{reason}");
        assert!(v1.header("tidewatch-lsn").parse::<u64>().is_ok(), "{v1:?}");
        let body_v1 = v1.json();
        let said = body_v1["error"].as_str().unwrap().to_owned();
        assert!(said.starts_with("partial write: line 2: ") && said.contains(message), "{said}");
        assert_eq!(body_v1, json!({ "error": said }));
        let v2 = server.post("/api/v2/write?org=o&bucket=second", &body);
        let line = said.trim_start_matches("partial write: ");
        assert_eq!((v2.status, v2.json()), (400, json!({ "code": "invalid", "message": line })));
        assert_eq!(counter(reason), before + 2, "{reason}");
    }
    for db in ["default", "second"] {
        let kept = server.number(&format!("SELECT count(*) FROM \"{db}\".kept"));
        assert_eq!(kept, 2 * 11, "the good lines of {db}");
    }
    assert!(server.rss_mib() < 512, "{} MiB", server.rss_mib());
}

#[test]
fn only_the_first_thousand_bad_lines_are_named_and_the_others_told() {
    let home = Home::new();
    let server = home.serve();
    let answer = server.post("/write", "bad\n".repeat(1_500) + "good value=1");
    assert_eq!((answer.status, answer.header("tidewatch-rejected")), (400, "1500"));
    let said = answer.json()["error"].as_str().unwrap().to_owned();
    assert_eq!(said.matches("missing fields").count(), 1_000);
    assert!(said.ends_with("; and 500 more lines"), "{said}");
    assert_eq!(server.number("SELECT count(*) FROM good"), 1);
}

#[test]
fn a_bad_body_is_refused_in_the_words_of_its_protocol() {
    let home = Home::new();
    let server = home.serve();
    let good = gzip(b"good value=1 1\n");
    let encoded = [("Content-Encoding", "gzip")];
    assert_eq!(server.post_with("/write", &encoded, &good).status, 204);
    for bytes in
        [&good[..good.len() / 2], &good[..good.len() - 1], b"good value=2 2\n", b"\x1f\x8b"]
    {
        let v1 = server.post_with("/write", &encoded, bytes);
        let said = v1.json()["error"].as_str().unwrap().to_owned();
        assert!(v1.status == 400 && said.contains("gzip body is damaged"), "{v1:?}");
        let v2 = server.post_with("/api/v2/write?bucket=default", &encoded, bytes);
        assert_eq!((v2.status, v2.json()), (400, json!({ "code": "invalid", "message": said })));
    }
    let v1 = server.post_with("/write", &[("Content-Encoding", "br")], "good value=3 3");
    assert_eq!(v1.status, 415, "{v1:?}");
    let v2 =
        server.post_with("/api/v2/write?bucket=b", &[("Content-Encoding", "br")], "good value=3");
    assert_eq!((v2.status, &v2.json()["code"]), (415, &json!("unsupported media type")));
    for (path, status) in [
        ("/write?precision=fortnight", 400),
        ("/api/v2/write?bucket=default&precision=h", 400),
        ("/write?durability=maybe", 400),
        ("/write?db=tidewatch", 400),
        ("/api/v2/write?bucket=information_schema", 400),
        ("/write?db=", 400),
        ("/write?db=a%00b", 400),
    ] {
        let answer = server.post(path, "good value=4 4");
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.json()["error"].is_string() || answer.json()["message"].is_string());
    }
    for path in ["/write", "/api/v2/write"] {
        let empty = server.post(path, "");
        assert_eq!((empty.status, empty.header("tidewatch-accepted")), (204, "0"), "{path}");
    }
    let nowhere = server.get("/nowhere");
    assert_eq!((nowhere.status, &nowhere.json()["error"]["code"]), (404, &json!("NOT_FOUND")));
    let deleted = server.try_send("DELETE", "/write", &[], b"").unwrap();
    assert_eq!((deleted.status, deleted.header("allow")), (405, "POST"));
    assert_eq!(deleted.json()["error"]["code"], "METHOD_NOT_ALLOWED");
    let put = server.try_send("PUT", "/api/v3/query_sql", &[], b"").unwrap();
    assert_eq!((put.status, put.header("allow")), (405, "GET,HEAD,POST"));
    assert_eq!(server.number("SELECT count(*) FROM good"), 1, "nothing of all that was stored");
}

#[test]
fn what_is_too_large_is_refused_before_it_takes_memory() {
    let home = Home::new();
    let server = home.serve();
    assert_eq!(server.post("/write", "warm value=1").status, 204);
    let before = server.peak_rss_mib();
    let bomb = bomb();
    assert!(bomb.len() < BODY_BYTES_MAX, "small as it is sent");
    for _ in 0..3 {
        let length = format!("Content-Encoding: gzip\r\nContent-Length: {}", bomb.len());
        let answer = raw(&server, &[head(&length).as_bytes(), &bomb].concat());
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    // By its declared length alone: not a byte of it is sent.
    let declared = head(&format!("Content-Length: {}", BODY_BYTES_MAX + 1));
    let answer = raw(&server, declared.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(error_of(&answer)["error"].as_str().unwrap().contains("33554432 bytes"), "{answer}");
    let absurd = raw(&server, head("Content-Length: 18446744073709551615").as_bytes());
    assert!(absurd.starts_with("HTTP/1.1 4"), "{absurd}");
    let after = server.peak_rss_mib();
    assert!(after < before + REFUSED_MIB_MAX, "{before} MiB before, {after} MiB after");
    assert_eq!(server.post("/write", "warm value=2").status, 204);
}

#[test]
fn who_sends_all_of_a_refused_body_hears_why() {
    let home = Home::new();
    let server = home.serve();
    let length = (32 << 20) + 1;
    let mut stream = connect(&server);
    stream.write_all(head(&format!("Content-Length: {length}")).as_bytes()).unwrap();
    stream.write_all(&vec![b'x'; length]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = read_all(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn a_full_house_says_so_before_a_body_is_read() {
    let home = Home::new();
    // Of which an eighth is for requests in hand.
    let server = Start::on(&home.data()).set("limits.memory_bytes_max=512MiB").up();
    let large = head(&format!("Expect: 100-continue\r\nContent-Length: {}", 30 << 20));
    let mut holding = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&server);
        stream.write_all(large.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        assert_eq!(line, "HTTP/1.1 100 Continue\r\n", "it is let in");
        holding.push(stream);
    }
    let refused = raw(&server, large.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{refused}");
    // A Prometheus would drop what is answered 429.
    let to = "POST /api/v1/write HTTP/1.1\r\nContent-Type: application/x-protobuf\r\n";
    let remote = large.replacen("POST /write HTTP/1.1\r\n", to, 1);
    let refused = raw(&server, remote.as_bytes());
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert_eq!(server.post("/write", "small value=1").status, 204, "a small one still fits");
    drop(holding);
    let served = (0..10_000).find(|_| {
        let mut stream = connect(&server);
        stream.write_all(large.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        line == "HTTP/1.1 100 Continue\r\n"
    });
    assert!(served.is_some(), "there is room again once they have gone");
}

#[test]
fn a_client_that_is_too_slow_is_let_go() {
    let home = Home::new();
    let server = home.serve();
    let clock = RealClock::new();
    let declared = head("Content-Length: 100000");
    std::thread::scope(|scope| {
        let (server, clock, declared) = (&server, &clock, declared.as_bytes());
        let silent = scope.spawn(move || {
            let mut stream = connect(server);
            stream.write_all(declared).unwrap();
            (read_all(&mut stream), clock.monotonic())
        });
        let trickling = scope.spawn(move || {
            let mut stream = connect(server);
            stream.write_all(declared).unwrap();
            let mut answer = stream.try_clone().unwrap();
            let answered = std::thread::spawn(move || read_all(&mut answer));
            // Never silent for long, and never through.
            while !answered.is_finished() && stream.write_all(b"x").is_ok() {
                std::thread::park_timeout(Duration::from_millis(500));
            }
            (answered.join().unwrap(), clock.monotonic())
        });
        let headless = scope.spawn(move || {
            let mut stream = connect(server);
            stream.write_all(b"POST /write HTTP/1.1\r\nHo").unwrap();
            (read_all(&mut stream), clock.monotonic())
        });
        let started = clock.monotonic();
        for (name, client, seconds) in [("silent", silent, 10), ("trickling", trickling, 30)] {
            let (answer, ended) = client.join().unwrap();
            assert!(answer.starts_with("HTTP/1.1 408 "), "{name}: {answer}");
            let took = ended.saturating_sub(started).as_secs();
            assert!((seconds - 1..seconds + 20).contains(&took), "{name}: {took} s");
        }
        let (answer, ended) = headless.join().unwrap();
        assert_eq!(answer, "", "there is no request to answer");
        let took = ended.saturating_sub(started).as_secs();
        assert!((9..30).contains(&took), "{took} s");
    });
    assert_eq!(server.post("/write", "good value=1").status, 204);
}

#[test]
fn two_thousand_idle_connections_keep_nobody_out() {
    let home = Home::new();
    // The limit that most systems give, which is lower than that.
    let shell = ["sh", "-c", "ulimit -Sn 1024; exec \"$@\"", "sh"];
    let server = Start::on(&home.data()).under(&shell).up();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/idle.py");
    let (host, port) = server.address.split_once(':').unwrap();
    let mut idle = Command::new("python3");
    idle.arg(script).args([host, port, "2000"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut idle) = idle.spawn() else {
        return tell("python3 is not here: no idle connections (skipped)");
    };
    let mut line = String::new();
    BufReader::new(idle.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "idle\n");
    for row in 0..50 {
        assert_eq!(server.post("/write", format!("good value={row} {row}")).status, 204);
    }
    assert_eq!(server.number("SELECT count(*) FROM good"), 50);
    assert!(server.rss_mib() < 512, "{} MiB", server.rss_mib());
    drop(idle.stdin.take());
    assert!(idle.wait().unwrap().success());
    assert_eq!(server.stop(), 0);
}

#[test]
fn no_name_becomes_a_path() {
    let home = Home::new();
    let server = Start::on(&home.data()).set("flush.interval=1s").up();
    let path = "/write?db=..%2F..%2Fescaped";
    assert_eq!(server.post(path, "../../../escaped,../host=../../escaped value=1 1").status, 204);
    let rows = server.sql("SELECT * FROM \"../../escaped\".\"../../../escaped\"");
    assert_eq!(rows[0]["../host"], "../../escaped", "{rows:?}");
    assert_eq!(server.stop(), 0);
    let inside = home.data();
    let beside = std::fs::read_dir(inside.parent().unwrap()).unwrap();
    let mut beside: Vec<_> = beside.map(|entry| entry.unwrap().file_name()).collect();
    beside.sort();
    assert_eq!(beside, ["data", "data.stderr"]);
    let named = std::fs::read_dir(inside).unwrap();
    assert!(named.map(|entry| entry.unwrap().file_name()).all(|name| name != "escaped"));
}
