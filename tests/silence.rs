//! Rules on rates and silence in the real process: the idle log ticks, alerts outlive a kill -9, and replay agrees.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use tidewatch_env::{Clock, RealClock};

use crate::server::{Home, Server, Start};

/// An alert comes some three seconds after the last sample; this much only on a machine that does something else.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

fn write(server: &Server, value: u32) {
    let now = RealClock::new().now().nanos();
    let answer = server.post("/write", format!("requests,host=a value={value} {now}\n"));
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// The transitions of a rule, once there are `count` of them.
fn told(server: &Server, rule: &str, count: usize) -> Vec<Value> {
    let clock = RealClock::new();
    let sql = format!(
        "SELECT key, transition, reason, value, historical FROM tidewatch.alerts \
         WHERE rule = '{rule}' ORDER BY event, transition"
    );
    loop {
        let mut rows = server.sql(&sql);
        if rows.len() >= count {
            // On a slow machine the next one may be there already.
            rows.truncate(count);
            return rows;
        }
        assert!(clock.monotonic() < TOLD_WITHIN, "{rule}: {rows:?}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn a_series_that_falls_silent_is_told_by_an_idle_server_and_resolved_after_a_kill() {
    let home = Home::new();
    let config = home.file("tidewatch.toml");
    let text = "[[rule]]\nname = \"silent\"\nmatch = { metric = \"requests\" }\nwhen = \"absent > 2\"\n\n\
                [[rule]]\nname = \"busy\"\nwhen = \"rate > 0\"\n";
    fs::write(&config, text).unwrap();
    let start = Start::on(&home.data()).config(&config);

    let server = start.up();
    write(&server, 1);
    let firing = told(&server, "silent", 1);
    assert_eq!(firing[0]["transition"], "firing");
    assert_eq!(firing[0]["reason"], "stopped reporting: no sample for 2s, last value 1.0");
    assert_eq!(firing[0]["historical"], false);
    server.kill9();

    let server = start.up();
    write(&server, 1_000_001);
    let busy = told(&server, "busy", 1);
    let rate = busy[0]["value"].as_f64().unwrap();
    assert!(rate > 1_000.0 && rate < 1_000_000.0, "a million in some seconds: {rate}");
    let both = told(&server, "silent", 2);
    assert_eq!(both[1]["transition"], "resolved");
    assert_eq!(both[1]["key"], firing[0]["key"], "one alert over both processes");
    // Silent again, the third transition.
    assert_ne!(told(&server, "silent", 3)[2]["key"], firing[0]["key"]);
    assert_eq!(server.stop(), 0);
    for more in [["--shards", "1"], ["--shards", "7"]] {
        let report = home.replay(&more);
        assert_eq!(report["alerts_compared"], 4, "{report}");
    }
}

#[test]
fn a_series_that_reports_often_is_told_soon_after_it_stops() {
    const REPORTS: u32 = 12;
    let home = Home::new();
    let config = home.file("tidewatch.toml");
    fs::write(&config, "[[rule]]\nname = \"stopped\"\nwhen = \"absent\"\n").unwrap();
    let server = Start::on(&home.data()).config(&config).up();
    let clock = RealClock::new();
    for report in 0..REPORTS {
        write(&server, report);
        let next = clock.monotonic() + Duration::from_millis(600);
        while clock.monotonic() < next {
            std::thread::park_timeout(next.saturating_sub(clock.monotonic()));
        }
    }
    // A machine that does something else may pause once before.
    let stopped = told(&server, "stopped", 1);
    let reason = stopped[0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("stopped reporting: no sample for "), "{reason}");
    assert!(reason.contains(", one in "), "{reason}");
    assert_eq!(server.stop(), 0);
    for shards in ["1", "7"] {
        let report = home.replay(&["--shards", shards]);
        assert!(report["alerts_compared"].as_u64().unwrap() >= 1, "{report}");
    }
}
