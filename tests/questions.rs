//! The questions that join rows, alerts and deliveries, as `docs/sql.md` writes them, against the same numbers
//! reckoned here from what was sent and from plain lists.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidewatch_env::{Clock, RealClock, Rng};

use crate::server::{Home, Server, Start};

const RULES: [(&str, &str); 2] = [("too hot", "temperature"), ("too wet", "humidity")];
const ROOMS: [&str; 3] = ["a", "b", "c"];
/// The machine does something else besides.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// The statement of the document behind this sentence.
fn statement(sentence: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sql.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, behind) = text.split_once(sentence).unwrap_or_else(|| panic!("no {sentence}"));
    let (_, sql) = behind.split_once("```sql\n").unwrap();
    sql.split_once("```").unwrap().0.to_owned()
}

fn config(home: &Home) -> std::path::PathBuf {
    let mut text = format!(
        "[[percentiles]]\nname = \"latency\"\nmatch = {{ metric = \"latency_s\" }}\nby = [\"service\"]\n\
         window = \"10s\"\nquantiles = [0.5, 0.99]\nlateness = \"0s\"\n\n\
         [[sink.file]]\nname = \"archive\"\npath = \"{}\"\n",
        home.file("alerts.jsonl").display()
    );
    for (rule, metric) in RULES {
        text.push_str(&format!(
            "\n[[rule]]\nname = \"{rule}\"\nmatch = {{ metric = \"{metric}\" }}\n\
             when = \"value > 50\"\npriority = \"page\"\n"
        ));
    }
    let file = home.file("tidewatch.toml");
    fs::write(&file, text).unwrap();
    file
}

/// The second of now, as the server sees it.
fn now() -> i64 {
    RealClock::new().now().nanos() / 1_000_000_000
}

/// Two hours of a sample a minute in every room, which goes too high three times, once long ago.
fn write_rooms(server: &Server, end: i64, rng: &mut Rng) {
    for minute in (0..120).rev() {
        let mut lines = String::new();
        for (_, metric) in RULES {
            for room in ROOMS {
                let noise = f64::from(u32::try_from(rng.below(1_000)).unwrap()) / 500.0;
                let is_high = [110, 31, 2].contains(&minute) && room != "c";
                let value = if is_high { 90.0 } else { 20.0 } + noise;
                let time = end - minute * 60;
                lines.push_str(&format!("{metric},room={room} value={value} {time}\n"));
            }
        }
        assert_eq!(server.post("/write?precision=s", lines).status, 204);
    }
}

/// Latencies of two services over two days, a minute of each; the values of each day.
fn write_latencies(server: &Server, rng: &mut Rng) -> BTreeMap<i64, Vec<f64>> {
    let mut days = BTreeMap::<i64, Vec<f64>>::new();
    for day in [19_800, 19_801] {
        for second in 0..60 {
            let mut lines = String::new();
            for service in ["cart", "pay"] {
                for host in 0..4 {
                    let value = f64::from(u32::try_from(rng.below(1_000_000)).unwrap()) / 3.0e5;
                    let time = day * 86_400 + 40_000 + second;
                    lines.push_str(&format!(
                        "latency_s,service={service},host=h{host} value={value} {time}\n"
                    ));
                    days.entry(day).or_default().push(value);
                }
            }
            assert_eq!(server.post("/write?precision=s", lines).status, 204);
        }
    }
    days
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_else(|| panic!("no {column}: {row}"))
}

fn nanos(row: &Value, column: &str) -> i64 {
    row[column].as_i64().unwrap_or_else(|| panic!("no {column}: {row}"))
}

fn wait_until(server: &Server, what: &str, statement: &str, number: u64) {
    let clock = RealClock::new();
    while server.number(statement) < number {
        assert!(clock.monotonic() < SETTLED_WITHIN, "{what}: {}", server.number(statement));
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn severities_around_alerts_merged_percentiles_and_slow_deliveries_are_those_reckoned_by_hand() {
    let home = Home::new();
    let server = Start::on(&home.data()).config(&config(&home)).up();
    let mut rng = Rng::from_seed(11);
    let end = now() - 60;
    write_rooms(&server, end, &mut rng);
    let days = write_latencies(&server, &mut rng);
    // Two rules, two rooms, three times, of which the first is too old to be delivered.
    let fired = "SELECT count(*) FROM tidewatch.alerts WHERE transition = 'firing'";
    wait_until(&server, "alerts", fired, 12);
    let delivered = "SELECT count(*) FROM tidewatch.deliveries WHERE outcome = 'delivered'";
    wait_until(&server, "deliveries", delivered, 16);
    assert_around(&server, end);
    assert_days(&server, &days);
    assert_slowest(&server);
    assert_eq!(server.stop(), 0);
}

fn assert_around(server: &Server, end: i64) {
    const MINUTE: i64 = 60_000_000_000;
    let answer = server.sql(&statement("The severities around every alert of the last hour:"));
    let alerts = server.sql(
        "SELECT rule, series_id, CAST(event AS BIGINT) AS event FROM tidewatch.alerts \
         WHERE transition = 'firing' ORDER BY event, rule, series_id",
    );
    let samples = server.sql(
        "SELECT series_id, CAST(time AS BIGINT) AS time, value, severity FROM tidewatch.samples \
         ORDER BY series_id, time",
    );
    let recent =
        alerts.iter().filter(|alert| nanos(alert, "event") > (end - 3_600) * 1_000_000_000);
    let mut wanted = Vec::new();
    for alert in recent {
        let near = samples.iter().filter(|sample| {
            sample["series_id"] == alert["series_id"]
                && nanos(alert, "event").abs_diff(nanos(sample, "time"))
                    <= 5 * MINUTE.unsigned_abs()
        });
        wanted.extend(
            near.map(|sample| (text(alert, "rule"), &sample["value"], &sample["severity"])),
        );
    }
    // 31 minutes before the end there are five minutes on either side, 2 minutes before it two behind.
    assert_eq!(wanted.len(), 2 * 2 * (11 + 8));
    let found = answer.iter().map(|row| (text(row, "rule"), &row["value"], &row["severity"]));
    assert_eq!(found.collect::<Vec<_>>(), wanted);
    let high = answer.iter().filter(|row| row["value"].as_f64().unwrap() > 50.0);
    let high: Vec<f64> = high.map(|row| row["severity"].as_f64().unwrap()).collect();
    assert!(high.len() == 8 && high.iter().all(|severity| *severity > 4.0), "{high:?}");
}

fn assert_days(server: &Server, days: &BTreeMap<i64, Vec<f64>>) {
    let question = statement("The p99 of a day, merged of its windows:");
    let samples =
        |rows: &[Value]| -> u64 { rows.iter().map(|row| row["samples"].as_u64().unwrap()).sum() };
    let clock = RealClock::new();
    let mut rows = server.sql(&question);
    // The last windows close by ticks.
    while samples(&rows) < 2 * 480_u64 {
        assert!(clock.monotonic() < SETTLED_WITHIN, "{rows:?}");
        std::thread::park_timeout(Duration::from_millis(100));
        rows = server.sql(&question);
    }
    assert_eq!(rows.len(), days.len());
    for (row, (day, values)) in rows.iter().zip(days) {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        // Of 480 values the 476th: 0.99 of them are 475.2.
        let (found, exact) = (row["p99"].as_f64().unwrap(), sorted[475]);
        assert!((found / exact - 1.0).abs() < 0.01, "day {day}: {found}, {exact}");
        assert_eq!(row["samples"], 480);
    }
    let starts: Vec<&str> = rows.iter().map(|row| text(row, "day")).collect();
    assert_eq!(starts, ["2024-03-18T00:00:00Z", "2024-03-19T00:00:00Z"]);
}

fn assert_slowest(server: &Server) {
    let answer = server.sql(&statement("The slowest delivery of each rule"));
    let alerts = server.sql(
        "SELECT key, transition, rule, CAST(durable AS BIGINT) AS durable FROM tidewatch.alerts",
    );
    let deliveries = server.sql(
        "SELECT key, transition, sink, outcome, CAST(finished AS BIGINT) AS finished \
         FROM tidewatch.deliveries",
    );
    let mut slowest = BTreeMap::<&str, f64>::new();
    for delivery in deliveries.iter().filter(|delivery| delivery["outcome"] == "delivered") {
        assert_eq!(delivery["sink"], "archive");
        let of = |alert: &&Value| {
            (&alert["key"], &alert["transition"]) == (&delivery["key"], &delivery["transition"])
        };
        let alert = alerts.iter().find(of).unwrap();
        let took = nanos(delivery, "finished") - nanos(alert, "durable");
        assert!(took > 0, "{delivery} {alert}");
        let known = slowest.entry(text(alert, "rule")).or_default();
        *known = known.max(took as f64 / 1e9);
    }
    assert_eq!(slowest.keys().copied().collect::<Vec<_>>(), RULES.map(|(rule, _)| rule));
    let found = answer.iter().map(|row| (text(row, "rule"), row["seconds"].as_f64().unwrap()));
    let found: BTreeMap<&str, f64> = found.collect();
    assert_eq!(found, slowest);
}
