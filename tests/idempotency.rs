//! Requests under idempotency keys, sent again and again over many connections and across kill -9: each
//! is stored once, and each answer is the first one's.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tidewatch_env::Rng;

use crate::server::{Answer, Home, Server, Start, json_of, run, tell};

const CLIENTS: usize = 8;
/// Times that a request is sent while the server is killed, at most; afterwards once more.
const SENDS_MAX: u64 = 4;
const ROWS: u64 = 25;
/// Requests between two kills, about.
const ANSWERS_PER_KILL: u64 = 120;
/// How long a client lets the server be that has asked it to wait.
const PAUSE: Duration = Duration::from_millis(50);
const KEY: &str = "Idempotency-Key";

/// The headers that an answer and its repeats share.
const HEADERS: [&str; 6] = [
    "content-type",
    "tidewatch-lsn",
    "tidewatch-durability",
    "tidewatch-accepted",
    "tidewatch-rejected",
    "tidewatch-strings-dropped",
];

/// What one request was answered.
#[derive(Debug, Default)]
struct Ledger {
    /// The first answer that came.
    first: Option<Told>,
    /// Answers that were no repeats.
    firsts: u64,
    answers: u64,
}

/// An answer without what a repeat has beside it.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    status: u16,
    headers: [String; 6],
    body: String,
}

impl Told {
    fn of(answer: &Answer) -> Self {
        let headers = HEADERS.map(|name| answer.header(name).to_owned());
        Self { status: answer.status, headers, body: answer.body.clone() }
    }
}

fn path(request: u64) -> String {
    let level = ["synced", "written", "synced", "accepted"][usize::try_from(request % 4).unwrap()];
    if request.is_multiple_of(3) {
        format!("/api/v2/write?precision=s&durability={level}")
    } else {
        format!("/write?precision=s&durability={level}")
    }
}

/// Rows with values that no other request has; every seventh request has bad lines as well.
fn body(request: u64) -> String {
    let rows = (request * ROWS..(request + 1) * ROWS)
        .map(|row| format!("idem,w=w{} value={row} {}\n", request % 50, 1_700_000_000 + row));
    let bad = if request.is_multiple_of(7) { "idem value=x 1\nrubbish\n" } else { "" };
    rows.collect::<String>() + bad
}

fn is_replay(answer: &Answer) -> bool {
    match answer.header("idempotency-replayed") {
        "" => false,
        "true" => true,
        other => panic!("{other:?}"),
    }
}

/// Sends a request and notes its answer; `false` when the server has gone.
fn send(server: &Server, request: u64, ledger: &Mutex<Ledger>) -> bool {
    let key = format!("order:{request}");
    loop {
        let headers = [(KEY, key.as_str())];
        let sent = server.try_send("POST", &path(request), &headers, body(request).as_bytes());
        let Ok(answer) = sent else { return false };
        if answer.status == 503 {
            // It is stopping, and nothing was taken.
            return false;
        }
        if answer.status == 429 {
            // Nothing was taken.
            std::thread::park_timeout(PAUSE);
            continue;
        }
        let mut ledger = ledger.lock().unwrap();
        ledger.answers += 1;
        ledger.firsts += u64::from(!is_replay(&answer));
        let told = Told::of(&answer);
        match &ledger.first {
            None => {
                let status = match (request.is_multiple_of(7), request % 4) {
                    (true, _) => 400,
                    (false, 3) => 202,
                    (false, _) => 204,
                };
                assert_eq!(told.status, status, "{request}: {told:?}");
                ledger.first = Some(told);
            }
            // What was answered from memory may be gone after a kill: it is stored by a repeat then.
            Some(first) => assert_eq!(first, &told, "{request}"),
        }
        return true;
    }
}

/// Lets all clients send what is due, and hits the server with a signal after about `answers`.
fn storm(
    server: Server,
    due: &Mutex<VecDeque<u64>>,
    ledgers: &[Mutex<Ledger>],
    (answers, signal): (u64, &str),
) {
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (server, count) = (&server, &count);
        for _ in 0..CLIENTS {
            scope.spawn(move || {
                loop {
                    let Some(request) = due.lock().unwrap().pop_front() else { return };
                    if !send(server, request, &ledgers[usize::try_from(request).unwrap()]) {
                        // No answer came, so it is sent again.
                        due.lock().unwrap().push_front(request);
                        return;
                    }
                    if count.fetch_add(1, Ordering::Relaxed) + 1 == answers {
                        assert!(server.hit(signal));
                    }
                }
            });
        }
    });
    if count.into_inner() >= answers {
        server.ended()
    } else {
        server.stop()
    };
}

/// What is sent, in which order: repeats of a request come close together, and later.
fn plan(requests: u64, rng: &mut Rng) -> VecDeque<u64> {
    let mut sends = Vec::new();
    for request in 0..requests {
        for number in 0..=rng.below(SENDS_MAX) {
            let later = if number < 2 { rng.below(3) } else { rng.below(requests) };
            sends.push((request + later, rng.below(8), request));
        }
    }
    sends.sort_unstable();
    sends.into_iter().map(|(_, _, request)| request).collect()
}

#[test]
fn each_key_is_stored_once_and_answered_alike_across_kill_9() {
    let asked = std::env::var("TIDEWATCH_IDEMPOTENCY_REQUESTS");
    let requests: u64 = asked.map_or(400, |text| text.parse().unwrap());
    let seed = std::env::var("SEED").map_or(3, |text| text.parse().unwrap());
    tell(&format!(
        "idempotency: {requests} requests, SEED={seed} (TIDEWATCH_IDEMPOTENCY_REQUESTS=10000 for more)"
    ));
    let mut rng = Rng::from_seed(seed);
    let home = Home::new();
    // Checkpoints all the time: keys leave the log for files.
    let start = Start::on(&home.data())
        .set("flush.rows_max=1000")
        .set("wal.segment_bytes_max=1MiB")
        .set("checkpoint.rows_max=1000");
    let ledgers: Vec<Mutex<Ledger>> = (0..requests).map(|_| Mutex::default()).collect();
    let due = Mutex::new(plan(requests, &mut rng));
    let mut kills = 0;
    while !due.lock().unwrap().is_empty() {
        let answers = ANSWERS_PER_KILL / 2 + rng.below(ANSWERS_PER_KILL);
        // Every fourth time it may finish what it has in hand.
        let signal = if rng.below(4) == 0 { "TERM" } else { "KILL" };
        storm(start.up(), &due, &ledgers, (answers, signal));
        kills += 1;
    }
    assert!(kills > 4, "{kills}");
    // All once more: what was promised is a repeat now, and what was not is stored.
    let server = start.up();
    let (mut replays, mut again) = (0, 0);
    for (request, ledger) in (0..).zip(&ledgers) {
        let firsts = ledger.lock().unwrap().firsts;
        assert!(send(&server, request, ledger));
        let ledger = ledger.lock().unwrap();
        let was_promised = request % 4 != 3;
        if was_promised {
            assert_eq!(ledger.firsts, firsts, "{request} was stored before: {ledger:?}");
            assert!(ledger.firsts <= 1, "{request}: {ledger:?}");
        }
        again += ledger.firsts.saturating_sub(1);
        replays += ledger.answers - ledger.firsts;
    }
    tell(&format!("{replays} repeats, {again} that a kill had taken from memory, {kills} rounds"));
    assert!(replays > requests, "{replays}");
    assert_conflicts(&server, requests);
    server.kill9();
    let server = start.up();
    assert_conflicts(&server, requests);
    let rows = requests * ROWS;
    let stored = server.sql(
        "SELECT count(*) AS n, count(DISTINCT value) AS different, sum(value) AS sum \
         FROM tidewatch.arrivals WHERE metric = 'idem'",
    );
    let last = f64::from(u32::try_from(rows - 1).unwrap());
    let sum = last * (last + 1.0) / 2.0;
    assert_eq!(stored, [json!({ "n": rows, "different": rows, "sum": sum })]);
    assert_eq!(server.stop(), 0);
    assert!(key_files(&home.data()) > 1, "keys left the log");
    home.replay(&[]);
}

/// Another request under a key that was used is refused, and so it stays.
fn assert_conflicts(server: &Server, requests: u64) {
    for request in (0..requests).step_by(37) {
        let key = format!("order:{request}");
        let other = body(request) + "idem,w=other value=1 1\n";
        let answer = server.post_with(&path(request), &[(KEY, &key)], other);
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_eq!(answer.json()["error"]["code"], "IDEMPOTENCY_KEY_REUSED", "{answer:?}");
    }
}

fn key_files(data: &Path) -> usize {
    let files = std::fs::read_dir(data.join("segments")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("keys-")).count()
}

#[test]
fn a_key_stands_for_path_database_precision_and_body() {
    let home = Home::new();
    let server = home.serve();
    let post = |path: &str, body: &str| server.post_with(path, &[(KEY, "k")], body);
    let first = post("/write?db=a&precision=s", "cpu value=1 1\nrubbish");
    let again = post("/write?precision=s&db=a&durability=written", "cpu value=1 1\nrubbish");
    assert_eq!((first.status, Told::of(&first)), (400, Told::of(&again)));
    assert!(first.body.contains("partial write: line 2"), "{first:?}");
    assert_eq!(first.header("tidewatch-accepted"), "1");
    assert!(!is_replay(&first) && is_replay(&again));
    for (path, body) in [
        ("/write?db=a&precision=s", "cpu value=1 1\nrubbish\n"),
        ("/write?db=a&precision=ms", "cpu value=1 1\nrubbish"),
        ("/api/v2/write?bucket=a&precision=s", "cpu value=1 1\nrubbish"),
    ] {
        assert_eq!(post(path, body).status, 422, "{path} {body:?}");
    }
    // Keys of two databases have nothing to do with each other.
    assert_eq!(post("/write?db=b&precision=s", "cpu value=1 1").status, 204);
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.arrivals WHERE metric = 'cpu'"), 2);
    assert_eq!(server.counter("tidewatch_engine_idempotency_replayed_total"), 1);
    assert_eq!(server.counter("tidewatch_engine_idempotency_conflicts_total"), 3);
    assert_eq!(server.counter("tidewatch_engine_idempotency_keys"), 2);
    assert_eq!(server.stop(), 0);
    let data = home.data();
    let dump = run(&["wal", "dump", data.to_str().unwrap()]);
    let text = String::from_utf8(dump.stdout).unwrap();
    assert_eq!(
        text.matches("\"idempotency_key\":{\"db\":\"a\",\"key\":\"k\"").count(),
        1,
        "{text}"
    );
    let verify = json_of(&run(&["segments", "verify", data.to_str().unwrap(), "--json"]));
    assert_eq!(verify["ok"], true, "{verify}");
}

#[test]
fn what_is_no_key_is_refused_and_what_stored_nothing_uses_none() {
    let home = Home::new();
    let server = home.serve();
    let long = "k".repeat(256);
    for bad in ["", "a b", &long] {
        let answer = server.post_with("/write", &[(KEY, bad)], "cpu value=1");
        assert_eq!(answer.status, 400, "{bad:?}: {answer:?}");
        assert!(answer.body.contains("1 to 255 visible ASCII"), "{answer:?}");
    }
    let twice = server.post_with("/write", &[(KEY, "a"), (KEY, "a")], "cpu value=1");
    assert_eq!(twice.status, 400, "{twice:?}");
    let nothing = server.post_with("/write", &[(KEY, "a")], "rubbish");
    assert_eq!((nothing.status, is_replay(&nothing)), (400, false));
    let nothing = server.post_with("/write", &[(KEY, "a")], "rubbish");
    assert_eq!((nothing.status, is_replay(&nothing)), (400, false), "it is decoded again");
    let first = server.post_with("/write?durability=accepted", &[(KEY, "a")], "cpu value=1 1");
    assert_eq!((first.status, first.header("tidewatch-lsn")), (202, ""));
    let again = server.post_with("/write", &[(KEY, "a")], "cpu value=1 1");
    assert_eq!((Told::of(&again), is_replay(&again)), (Told::of(&first), true));
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.arrivals"), 1);
    // More refused lines than an answer keeps: the first answer names as many as its repeats.
    let many = format!("cpu value=1 2\n{}", "rubbish that is no line\n".repeat(900));
    let first = server.post_with("/write", &[(KEY, "b")], &many);
    let again = server.post_with("/write", &[(KEY, "b")], &many);
    assert_eq!((Told::of(&again), is_replay(&again)), (Told::of(&first), true));
    assert!(first.body.len() < 6_000 && first.body.contains(" more lines"), "{first:?}");
    assert_eq!(first.header("tidewatch-rejected"), "900");
    assert_eq!(server.stop(), 0);
}
