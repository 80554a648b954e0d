//! Rules on percentiles in the real process: an alert of a group outlives a kill -9, reaches the receiver once, is amended by
//! late rows, and replay agrees.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tidewatch_env::{Clock, RealClock};

use crate::receiver::{Mood, Receiver};
use crate::server::{Home, Server, Start};

/// A window closes some two seconds after its rows; this much only on a machine that does something else.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// A request with so many rows of two services, of which "pay" is always quick.
fn write(server: &Server, second: i64, cart: u32, rows: i64) {
    let lines = (0..rows).map(|row| {
        let nanos = second * 1_000_000_000 + row;
        format!(
            "latency_ms,service=cart value={cart} {nanos}\nlatency_ms,service=pay value=5 {nanos}\n"
        )
    });
    let answer = server.post("/write", lines.collect::<String>());
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// All transitions in the order in which they were put out, once there are `count` of them.
fn told(server: &Server, count: usize) -> Vec<Value> {
    let clock = RealClock::new();
    let sql = "SELECT key, transition, reason, value, series_id, metric, labels, onset, event, historical \
               FROM tidewatch.alerts ORDER BY fired";
    loop {
        let rows = server.sql(sql);
        if rows.len() >= count {
            return rows;
        }
        assert!(clock.monotonic() < TOLD_WITHIN, "{rows:?}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn an_alert_of_a_group_fires_resolves_after_a_kill_and_is_amended_by_late_rows() {
    let home = Home::new();
    let receiver = Receiver::down([127, 83, 19, 18], Duration::ZERO);
    let config = home.file("tidewatch.toml");
    let text = format!(
        "[[percentiles]]\nname = \"latency\"\nmatch = {{ metric = \"latency_ms\" }}\nby = [\"service\"]\n\
         window = \"10s\"\nquantiles = [0.5]\nlateness = \"1s\"\n\n\
         [[rule]]\nname = \"slow\"\nmatch = {{ service = \"!= batch\" }}\n\
         when = 'percentile(\"latency\", 0.9) > 100'\npriority = \"page\"\n\n\
         [[sink.webhook]]\nname = \"oncall\"\nurl = \"{}\"\n",
        receiver.url()
    );
    fs::write(&config, text).unwrap();
    receiver.up(&[Mood::Trouble]);
    let start = Start::on(&home.data()).config(&config);
    let now = RealClock::new().now().nanos() / 1_000_000_000;
    let window = (now - 120).div_euclid(10) * 10;

    let server = start.up();
    write(&server, window, 250, 20);
    let firing = &told(&server, 1)[0];
    assert_eq!(firing["transition"], "firing");
    assert_eq!(
        firing["reason"], "percentile(\"latency\", 0.9) 250.0 > 100, of 20 values in 10s",
        "{firing}"
    );
    assert_eq!((&firing["series_id"], &firing["metric"]), (&Value::Null, &json!("latency_ms")));
    assert_eq!(
        (&firing["labels"], &firing["onset"]),
        (&json!("{\"service\":\"cart\"}"), &firing["event"])
    );
    server.kill9();

    let server = start.up();
    write(&server, window + 10, 20, 20);
    let resolved = &told(&server, 2)[1];
    assert_eq!((&resolved["transition"], &resolved["key"]), (&json!("resolved"), &firing["key"]));
    write(&server, window + 5, 20, 400);
    let rows = told(&server, 3);
    let amended = &rows[2];
    assert_eq!((&amended["transition"], &amended["key"]), (&json!("amended"), &firing["key"]));
    assert_eq!((&amended["event"], &amended["historical"]), (&firing["event"], &json!(false)));
    // What stands for 20 is the middle of its bucket.
    let reason = amended["reason"].as_str().unwrap();
    assert_eq!(
        reason,
        "percentile(\"latency\", 0.9) 250.0 -> 20.1, no longer > 100 there, of 420 values in 10s, revision 2"
    );

    // One attempt met trouble, and nobody hears of the amendment.
    let received = receiver
        .wait(TOLD_WITHIN, |received| received.iter().filter(|one| one.was_taken()).count() == 2);
    let bodies: Vec<Value> =
        received.iter().map(|one| serde_json::from_str(&one.body).unwrap()).collect();
    let kinds: Vec<_> = bodies.iter().map(|body| body["transition"].as_str().unwrap()).collect();
    assert!(kinds.starts_with(&["firing"]) && kinds.ends_with(&["resolved"]), "{kinds:?}");
    for body in &bodies {
        assert_eq!((&body["key"], &body["series_id"]), (&firing["key"], &Value::Null), "{body}");
        assert_eq!(body["labels"], json!({ "service": "cart" }));
    }
    assert_eq!(server.counter("tidewatch_engine_percentiles_amended_total"), 1);
    assert_eq!(server.stop(), 0);

    let server = start.up();
    assert_eq!(told(&server, 3), rows, "rows in files are those that were in memory");
    assert_eq!(server.stop(), 0);
    for more in [["--shards", "1"], ["--shards", "7"]] {
        let report = home.replay(&more);
        assert_eq!(report["alerts_compared"], 3, "{report}");
    }
    assert_eq!(receiver.wait(TOLD_WITHIN, |_| true).len(), received.len());
}
