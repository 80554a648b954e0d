//! Severities, windows of percentiles and dead letters to topics of a real Kafka broker: each topic has what its table has,
//! through kills of both sides, and a copy of a row is equal to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tidewatch_env::Rng;

use crate::broker::{Broker, flush, send};
use crate::kafka::{wait, wait_for};
use crate::kafka_alerts::{Seen, read, sinks};
use crate::server::{Home, Server, Start, tell};

const PARTITIONS: i32 = 3;
/// Messages between two kills of the server; every second one is one of the broker, too.
const MESSAGES: u64 = 12_000;
const KILLS: u64 = 5;
const SERIES: u64 = 20;

/// A slow wave with a little noise, and one in 401 far above it.
fn sample(number: u64) -> Vec<u8> {
    let (series, second) = (number % SERIES, number / SERIES);
    let far = if number.is_multiple_of(401) { 900 } else { 0 };
    let value = 100 + second % 60 + number * 7919 % 13 + far;
    let time = 1_700_000_000 + second;
    format!(
        "{{\"metric\":\"load\",\"time\":{time},\"value\":{value},\
         \"labels\":{{\"host\":\"h{series}\",\"zone\":\"z{}\"}}}}",
        series % 2
    )
    .into_bytes()
}

fn config(home: &Home, address: &str) -> PathBuf {
    let sink = |name: &str, keys: &str| {
        format!(
            "[[sink.kafka]]\nname = \"{name}\"\nbrokers = \"{address}\"\ntopic = \"{name}\"\n{keys}\n"
        )
    };
    let text = [
        format!("[[source.kafka]]\nname = \"main\"\nbrokers = \"{address}\"\ntopics = [\"load\"]\n"),
        "[[percentiles]]\nname = \"by zone\"\nmatch = { metric = \"load\" }\nby = [\"zone\"]\nwindow = \"10s\"\n\
         quantiles = [0.5, 0.99]\nlateness = \"5s\"\n"
            .to_owned(),
        sink("scores", "content = \"severities\"\nseverity_min = 2"),
        sink("windows", "content = \"percentiles\""),
        sink("lost", "content = \"dead_letters\""),
    ];
    let file = home.file("tidewatch.toml");
    fs::write(&file, text.concat()).unwrap();
    file
}

/// By dedupe key what the rows of a topic say; copies are equal, and rows of one key are in one partition.
fn by_key(records: Vec<Seen>) -> BTreeMap<String, Seen> {
    let mut partitions: BTreeMap<String, i32> = BTreeMap::new();
    let mut rows: BTreeMap<String, Seen> = BTreeMap::new();
    for record in records {
        let partition = *partitions.entry(record.key.clone()).or_insert(record.partition);
        assert_eq!(partition, record.partition, "{}", record.key);
        let dedupe_key = record.headers["idempotency-key"].clone();
        if let Some(copy) = rows.get(&dedupe_key) {
            let parts = |seen: &Seen| (seen.key.clone(), seen.value.clone(), seen.headers.clone());
            assert_eq!(parts(copy), parts(&record));
        } else {
            rows.insert(dedupe_key, record);
        }
    }
    rows
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The members of a row, and nothing else, are in a body.
fn assert_body(row: &Value, body: &Value, dedupe_key: &str) {
    let (row, body) = (row.as_object().unwrap(), body.as_object().unwrap());
    for (name, value) in row {
        let same = match (value.as_f64(), body[name].as_f64()) {
            (Some(one), Some(other)) => (one - other).abs() <= 1e-6 * one.abs(),
            _ => *value == body[name],
        };
        assert!(same, "{name}: {value} {}", body[name]);
    }
    assert_eq!(body["dedupe_key"], *dedupe_key);
}

fn severities(server: &Server) -> BTreeMap<String, Value> {
    let rows = server.sql(
        "SELECT cast(cast(row.time AS bigint) AS varchar) AS ns, row.series_id, row.db, row.metric, labels, value, \
         severity, onset_severity, score, channel \
         FROM tidewatch.arrivals row JOIN tidewatch.series s ON row.series_id = s.series_id WHERE severity >= 2",
    );
    let keyed = rows.into_iter().map(|mut row| {
        let row_fields = row.as_object_mut().unwrap();
        let time = row_fields.remove("ns").unwrap();
        let labels = row_fields["labels"].as_str().map(json);
        row_fields.insert("labels".to_owned(), labels.unwrap());
        (format!("{}:{}", row["series_id"].as_str().unwrap(), time.as_str().unwrap()), row)
    });
    keyed.collect()
}

fn windows(server: &Server) -> BTreeMap<String, Value> {
    let rows = server.sql(
        "SELECT name, db, labels, cast(cast(window_start AS bigint) AS varchar) AS start, revision, count, \
         array_agg(value ORDER BY quantile) AS values FROM tidewatch.percentiles \
         GROUP BY name, db, labels, window_start, revision, count",
    );
    let keyed = rows.into_iter().map(|row| {
        let text = |name: &str| row[name].as_str().unwrap();
        let (db, name, labels) = (text("db"), text("name"), text("labels"));
        (format!("{db}/{name}/{labels}:{}:{}", text("start"), row["revision"]), row)
    });
    keyed.collect()
}

/// Whether each topic has the rows of its table, and what they are.
fn assert_topics(server: &Server, broker: &Broker) {
    let topic = |name: &str| by_key(read(&broker.address(), name, PARTITIONS));
    let (told, stored) = (topic("scores"), severities(server));
    assert!(told.keys().eq(stored.keys()), "{} and {} severities", told.len(), stored.len());
    for (key, row) in &stored {
        assert_body(row, &json(&told[key].value), key);
        assert_eq!(told[key].key, row["series_id"].as_str().unwrap());
    }
    let (told, stored) = (topic("windows"), windows(server));
    assert!(told.keys().eq(stored.keys()), "{} and {} windows", told.len(), stored.len());
    for (key, row) in &stored {
        let body = json(&told[key].value);
        assert_eq!((&body["count"], &body["revision"]), (&row["count"], &row["revision"]));
        let values = body["quantiles"].as_array().unwrap().iter().map(|one| &one["value"]);
        assert!(values.eq(row["values"].as_array().unwrap()), "{body} {row}");
    }
    let rows = server.sql(
        "SELECT partition, \"offset\", reason, cast(payload AS varchar) AS payload FROM tidewatch.dlq",
    );
    let told = topic("lost");
    assert_eq!(told.len(), rows.len());
    for record in told.values() {
        let header = |name: &str| record.headers[name].as_str();
        let same = |row: &&Value| {
            let place = [&row["partition"], &row["offset"]].map(ToString::to_string);
            place == ["tidewatch-partition", "tidewatch-offset"].map(header)
        };
        let row = rows.iter().find(same).expect("a letter");
        assert_eq!(row["reason"], *header("tidewatch-reason"));
        assert_eq!(
            (row["payload"].as_str().unwrap(), &*record.key),
            (record.value.as_str(), "key")
        );
        assert_eq!((header("tidewatch-source"), header("tidewatch-topic")), ("main", "load"));
    }
}

/// What still waits for the topics.
fn waiting(server: &Server) -> u64 {
    ["scores", "windows", "lost"]
        .iter()
        .map(|sink| server.counter(&format!("tidewatch_feeds_waiting_rows{{sink=\"{sink}\"}}")))
        .sum()
}

#[test]
fn each_topic_has_what_its_table_has_through_kills_of_both_sides() {
    let home = Home::new();
    let Some(mut broker) = Broker::up(&home.file("broker")) else { return };
    let seed = std::env::var("SEED").map_or(7, |text| text.parse().unwrap());
    tell(&format!("rows to topics: SEED={seed}"));
    let mut rng = Rng::from_seed(seed);
    broker.create("load", 1, &[]);
    for topic in ["windows", "lost"] {
        broker.create(topic, PARTITIONS, &[]);
    }
    let start = Start::on(&home.data())
        .config(&config(&home, &broker.address()))
        .set("flush.rows_max=5000")
        .set("checkpoint.rows_max=3000");
    let server = start.up();
    // A topic that is not there is told before the first row, and rows wait for it.
    wait(&server, "the trouble", || sinks(&server).0 == "degraded");
    let (_, told) = sinks(&server);
    assert!(told.contains("scores: the brokers refuse: UnknownTopicOrPartition"), "{told}");
    assert_eq!(server.stop(), 0);
    let producer = broker.producer();
    let mut sent = 0;
    for kill in 0..KILLS {
        let server = start.up();
        for number in sent..sent + MESSAGES {
            send(&producer, "load", 0, Some(&sample(number)));
            if number.is_multiple_of(500) {
                send(&producer, "load", 0, Some(format!("rubbish {number}").as_bytes()));
            }
        }
        sent += MESSAGES;
        match kill {
            1 => broker.create("scores", PARTITIONS, &[]),
            2 | 3 => {
                broker.kill9();
                broker.start();
            }
            _ => {}
        }
        let aim = sent - MESSAGES + rng.below(MESSAGES);
        wait_for(&server, aim);
        // Any moment while rows are on their way.
        std::thread::park_timeout(Duration::from_millis(rng.below(700)));
        server.kill9();
    }
    flush(&producer);
    let server = start.up();
    wait_for(&server, sent);
    // Behind the last window and the letters.
    wait(&server, "the last window", || {
        server.number("SELECT count(DISTINCT window_start) FROM tidewatch.percentiles") * 10
            >= sent / SERIES
    });
    wait(&server, "an end of what waits", || waiting(&server) == 0);
    assert_topics(&server, &broker);
    assert_eq!(sinks(&server).0, "healthy");
    assert_eq!(server.stop(), 0);
    // Nothing is told again after an orderly stop.
    let count = || {
        let topics = ["scores", "windows", "lost"].iter();
        topics.map(|topic| read(&broker.address(), topic, PARTITIONS).len()).sum::<usize>()
    };
    let before = count();
    let server = start.up();
    wait(&server, "the start", || server.get("/readyz").status == 200 && waiting(&server) == 0);
    assert_eq!(server.stop(), 0);
    assert_eq!(count(), before);
    tell(&format!("rows to topics: {before} rows"));
}
