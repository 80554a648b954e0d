//! Percentiles over HTTP, SQL and a kill -9: every row is in its windows once, and their quantiles are those of the rows.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use tidewatch_env::{Clock, RealClock, Rng};

use crate::server::{Home, Server, Start};

const START: i64 = 1_700_000_000;
/// Seconds of event time, a request for each.
const SECONDS: i64 = 60;
const HOSTS: i64 = 5;
/// A window closes a second after its last rows; this much only on a machine that does something else.
const CLOSED_WITHIN: Duration = Duration::from_secs(60);

/// A request: every host of two services, once.
fn write(server: &Server, rng: &mut Rng, second: i64, values: &mut BTreeMap<i64, Vec<f64>>) {
    let mut lines = String::new();
    for host in 0..HOSTS {
        for service in ["cart", "pay"] {
            let value = f64::from(u32::try_from(rng.below(100_000)).unwrap()) / 7.0;
            let time = START + second;
            lines.push_str(&format!(
                "latency_ms,service={service},host=h{host} value={value} {time}\n"
            ));
            values.entry(time.div_euclid(10)).or_default().push(value);
        }
    }
    let answer = server.post("/write?precision=s", lines);
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// The last revisions: rows counted, and by window of all services the quantile.
const LAST: &str = "SELECT window_start, quantile, value, count FROM (SELECT *, row_number() OVER \
    (PARTITION BY name, labels, window_start, quantile ORDER BY revision DESC) AS place \
    FROM tidewatch.percentiles) WHERE place = 1 AND name = 'all' ORDER BY window_start, quantile";

fn last(server: &Server) -> Vec<Value> {
    server.sql(LAST)
}

fn counted(rows: &[Value]) -> u64 {
    rows.iter().filter(|row| row["quantile"] == 0.5).map(|row| row["count"].as_u64().unwrap()).sum()
}

/// The value with the nearest rank.
fn exact(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let wanted = q * sorted.len() as f64;
    let place = (1..=sorted.len()).find(|rank| *rank as f64 >= wanted).unwrap();
    sorted[place - 1]
}

fn is_near(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() <= 0.01 * wanted.abs()
}

#[test]
fn percentiles_are_those_of_the_rows_also_over_a_kill_and_at_other_numbers_of_shards() {
    let home = Home::new();
    let config = home.file("tidewatch.toml");
    let text = "[[percentiles]]\nname = \"all\"\nmatch = { metric = \"latency_ms\" }\n\
                window = \"10s\"\nquantiles = [0.5, 0.99]\nlateness = \"1s\"\n\n\
                [[percentiles]]\nname = \"service\"\nmatch = { metric = \"latency_ms\" }\n\
                by = [\"service\"]\nwindow = \"20s\"\nslide = \"10s\"\nquantiles = [0.9]\n";
    fs::write(&config, text).unwrap();
    let start = Start::on(&home.data()).config(&config);
    let (mut rng, mut values) = (Rng::from_seed(3), BTreeMap::new());

    let server = start.up();
    for second in 0..SECONDS / 2 {
        write(&server, &mut rng, second ^ 1, &mut values);
    }
    server.kill9();
    let server = start.up();
    for second in SECONDS / 2..SECONDS {
        write(&server, &mut rng, second ^ 1, &mut values);
    }
    let all = u64::try_from(SECONDS * HOSTS * 2).unwrap();
    let clock = RealClock::new();
    while counted(&last(&server)) < all {
        assert!(clock.monotonic() < CLOSED_WITHIN, "open: {:?}", last(&server));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let rows = last(&server);
    assert_eq!(counted(&rows), all);
    assert_eq!(rows.len(), 2 * values.len());
    for (row, (values, q)) in
        rows.iter().zip(values.values().flat_map(|values| [(values, 0.5), (values, 0.99)]))
    {
        assert_eq!(row["quantile"], q);
        assert!(is_near(row["value"].as_f64().unwrap(), exact(values, q)), "{row}");
    }

    let merged = server.sql(
        "SELECT merge_percentile(sketch, 0.9) AS p90 FROM (SELECT *, row_number() OVER \
         (PARTITION BY window_start ORDER BY revision DESC) AS place FROM tidewatch.percentiles \
         WHERE name = 'all' AND quantile = 0.5) WHERE place = 1",
    );
    let whole: Vec<f64> = values.into_values().flatten().collect();
    assert!(is_near(merged[0]["p90"].as_f64().unwrap(), exact(&whole, 0.9)), "{merged:?}");

    let labels = server.sql(
        "SELECT DISTINCT labels FROM tidewatch.percentiles WHERE name = 'service' ORDER BY labels",
    );
    assert_eq!(labels.len(), 2);
    assert_eq!(labels[0]["labels"], r#"{"service":"cart"}"#);
    assert!(server.counter("tidewatch_engine_percentiles_closed_total") > 0);
    assert_eq!(server.stop(), 0);

    let server = start.up();
    assert_eq!(last(&server), rows, "windows in files are those that were in memory");
    assert_eq!(server.stop(), 0);
    for more in [["--shards", "1"], ["--shards", "7"]] {
        let report = home.replay(&more);
        assert!(report["windows_compared"].as_u64().unwrap() >= 6, "{report}");
    }
    let report = home.replay(&["--shards", "3", "--rechunk", "11"]);
    assert!(report["windows_compared"].as_u64().unwrap() >= 6, "{report}");
}
