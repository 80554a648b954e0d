//! Alerts reach a receiver that is down, then slow, then in trouble, also over a kill -9 of the server:
//! every transition, in order per series, repeats only with equal key and body.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;
use tidewatch_env::{Clock, RealClock};

use crate::receiver::{Mood, Received, Receiver};
use crate::server::{Home, Server, Start, tell};

const SECRET: &str = "whsec-4711";
const SERIES: usize = 4;
/// A report is logged at once; this much only on a machine that does something else.
const REPORTED_WITHIN: Duration = Duration::from_secs(20);
/// Each series goes above the rule's limit and back so often before and after the kill.
const ROUNDS: usize = 3;

fn config(home: &Home, receiver: &Receiver) -> std::path::PathBuf {
    let file = home.file("tidewatch.toml");
    let text = format!(
        "[[rule]]\nname = \"too hot\"\nmatch = {{ metric = \"temperature\" }}\n\
         when = \"value > 50\"\npriority = \"page\"\n\n\
         [[sink.webhook]]\nname = \"oncall\"\nurl = \"{}\"\nsecret_env = \"HOOK_SECRET\"\n",
        receiver.url()
    );
    fs::write(&file, text).unwrap();
    file
}

/// Every series goes up and down, `ROUNDS` times, a second apart.
fn write_waves(server: &Server, start: i64, first_round: usize) {
    for round in first_round..first_round + ROUNDS {
        for (step, value) in [(0, 80), (1, 20)] {
            let at = start + i64::try_from(2 * round + step).unwrap();
            let lines =
                (0..SERIES).map(|room| format!("temperature,room=r{room} value={value} {at}\n"));
            let answer = server.post("/write?precision=s", lines.collect::<String>());
            assert_eq!(answer.status, 204, "{answer:?}");
        }
    }
}

fn assert_signed(received: &Received) {
    let header = received.header("Tidewatch-Signature");
    let (time, signature) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{time}.{}", received.body).as_bytes());
    let bytes = mac.finalize().into_bytes();
    let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(signature, expected);
}

/// What a receiver has that goes by key: the first taken request of each, per series.
fn by_series(received: &[Received]) -> BTreeMap<String, Vec<(String, Value)>> {
    let mut bodies: BTreeMap<String, &str> = BTreeMap::new();
    let mut series: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
    for request in received {
        assert_signed(request);
        let key = request.header("Idempotency-Key").to_owned();
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let (alert, transition) = key.split_once(':').unwrap();
        assert_eq!((&body["key"], &body["transition"]), (&alert.into(), &transition.into()));
        let times: Value = serde_json::from_str(request.header("Tidewatch-Times")).unwrap();
        for time in ["durable", "scored", "fired"] {
            assert!(times[time].is_string() && body.get(time).is_none(), "{times}: {body}");
        }
        let first = *bodies.entry(key.clone()).or_insert(&request.body);
        assert_eq!(first, request.body, "a repeat of {key} has another body");
        let room = body["labels"]["room"].as_str().unwrap().to_owned();
        let seen = series.entry(room).or_default();
        if request.was_taken() && seen.iter().all(|(known, _)| *known != key) {
            seen.push((key, body));
        }
    }
    series
}

/// Firing and resolved in turn, each in its second.
fn assert_complete(received: &[Received], start: i64) {
    let series = by_series(received);
    assert_eq!(series.len(), SERIES);
    for (room, transitions) in series {
        assert_eq!(transitions.len(), 4 * ROUNDS, "{room}: {transitions:?}");
        for (step, (_, body)) in (0..).zip(&transitions) {
            let kind = if step % 2 == 0 { "firing" } else { "resolved" };
            let event = body["event"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>();
            let seconds = event.unwrap().timestamp() - start;
            assert_eq!((&body["transition"], seconds), (&kind.into(), step), "{room}: {body}");
            assert_eq!(body["historical"], false);
        }
    }
}

/// Waits until the log has the report of every delivery: the receiver has the last message before.
fn wait_reported(server: &Server) {
    let clock = RealClock::new();
    let reported = "SELECT count(*) FROM tidewatch.deliveries WHERE outcome = 'delivered'";
    while server.number(reported) < u64::try_from(SERIES * 4 * ROUNDS).unwrap() {
        assert!(clock.monotonic() < REPORTED_WITHIN, "a delivery is not reported");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The server's own account of its attempts agrees with the receiver's ledger.
fn assert_accounted(server: &Server, received: &[Received]) {
    let rows = server.sql(
        "SELECT key, transition, attempt, outcome, status, error, started, finished \
         FROM tidewatch.deliveries ORDER BY started",
    );
    let mut attempts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for row in &rows {
        let key =
            format!("{}:{}", row["key"].as_str().unwrap(), row["transition"].as_str().unwrap());
        let (all, delivered) = attempts.entry(key).or_default();
        *all += 1;
        *delivered += usize::from(row["outcome"] == "delivered");
        assert_eq!(row["outcome"] == "delivered", row["status"] == 200, "{row}");
    }
    assert_eq!(attempts.len(), SERIES * 4 * ROUNDS);
    assert!(attempts.values().all(|(_, delivered)| *delivered == 1), "{attempts:?}");
    let status = |code: u64| rows.iter().filter(|row| row["status"] == code).count();
    assert_eq!(status(500), 2, "{rows:?}");
    let unanswered = rows.iter().filter(|row| row["status"].is_null());
    assert!(unanswered.clone().all(|row| !row["error"].as_str().unwrap().is_empty()), "{rows:?}");
    assert!(unanswered.count() > 1, "nobody listened at first, and one answer was lost");
    // The one that was in flight at the kill has no row: its outcome was never known.
    for (key, (all, _)) in attempts {
        let arrived = received.iter().filter(|one| one.header("Idempotency-Key") == key).count();
        assert!(arrived <= all + 1, "{key}: {arrived} arrived, {all} are told");
    }
}

#[test]
fn every_transition_arrives_although_the_receiver_is_down_slow_and_in_trouble() {
    let down = std::env::var("TIDEWATCH_RECEIVER_DOWN_S").map_or(3, |text| text.parse().unwrap());
    tell(&format!("webhook: down for {down} s (TIDEWATCH_RECEIVER_DOWN_S=60 for longer)"));
    let home = Home::new();
    let receiver = Receiver::down([127, 83, 19, 7], Duration::from_millis(200));
    let config = config(&home, &receiver);
    let start = Start::on(&home.data()).config(&config).env("HOOK_SECRET", SECRET);
    let epoch = RealClock::new().now().nanos() / 1_000_000_000 - 60;

    let server = start.up();
    write_waves(&server, epoch, 0);
    std::thread::park_timeout(Duration::from_secs(down));
    let moods = [Mood::Slow, Mood::Trouble, Mood::Trouble, Mood::Silent];
    receiver.up(&[&moods[..], &[Mood::Slow; SERIES * 4 * ROUNDS]].concat());
    // In the middle of the slow ones.
    let patience = Duration::from_secs(60 + 2 * down);
    receiver.wait(patience, |received| received.len() > SERIES * ROUNDS);
    server.kill9();

    let server = start.up();
    write_waves(&server, epoch, ROUNDS);
    let all = SERIES * 4 * ROUNDS;
    let received = receiver.wait(patience, |received| {
        by_series(received).values().map(Vec::len).sum::<usize>() == all
    });
    assert_complete(&received, epoch);
    let rows = server.sql(
        "SELECT transition, count(*) AS n, count(DISTINCT key) AS keys FROM tidewatch.alerts \
         WHERE transition != 'pending' GROUP BY transition ORDER BY transition",
    );
    let half = all / 2;
    let row = |name: &str| serde_json::json!({ "transition": name, "n": half, "keys": half });
    assert_eq!(rows, [row("firing"), row("resolved")], "each is in the log once");
    assert_eq!(server.stop(), 0);

    let server = start.up();
    wait_reported(&server);
    assert_accounted(&server, &received);
    assert_eq!(server.stop(), 0);
    let report = home.replay(&["--shards", "7"]);
    assert!(report["alerts_compared"].as_u64().unwrap() >= u64::try_from(all).unwrap(), "{report}");
}
