//! What is seen of a source: how far behind it is, and why; in SQL, in `/metrics`, in health and in `tidewatch top`.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, Producer};
use serde_json::Value;

use crate::broker::{Broker, flush, producer, send};
use crate::kafka::{health, source, wait};
use crate::server::{Home, Server, Start, run};

fn rows(server: &Server) -> Vec<Value> {
    server.sql(
        "SELECT topic, partition, state, next_offset, end_offset, lag_messages, lag_seconds, \
         messages, samples, bad_messages, gap_messages, trouble \
         FROM tidewatch.sources ORDER BY partition",
    )
}

fn has_caught_up(server: &Server) -> bool {
    server.get("/api/v1/health").json()["caught_up"].as_bool().unwrap()
}

fn state(server: &Server) -> String {
    health(server)["details"]["main"]["state"].as_str().unwrap().to_owned()
}

/// The gauge of a partition.
fn lag_seconds(server: &Server, partition: u32) -> f64 {
    let name = format!(
        "tidewatch_connectors_kafka_lag_seconds{{source=\"main\",topic=\"load\",partition=\"{partition}\"}} "
    );
    let text = server.get("/metrics").body;
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap()
}

#[test]
fn a_stopped_partition_is_told_with_its_lag_in_sql_in_the_gauges_and_in_the_view() {
    let home = Home::new();
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("load", 2, 1).unwrap();
    let keys = "topics = [\"load\"]\non_bad_record = \"stop\"\nformat = \"line_protocol\"";
    let config = source(&home, &cluster.bootstrap_servers(), keys);
    let producer = producer(&cluster.bootstrap_servers());
    for message in [&b"m v=1 1\nm v=2 2"[..], b"rubbish", b"m v=3 3"] {
        send(&producer, "load", 0, Some(message));
    }
    send(&producer, "load", 1, Some(b"n v=1 1"));
    flush(&producer);
    let server = Start::on(&home.data()).config(&config).up();
    wait(&server, "the stop", || {
        let rows = rows(&server);
        rows.len() == 2 && rows[0]["state"] == "stopped" && rows[1]["lag_messages"] == 0
    });
    let told = rows(&server);
    let figures = |row: &Value| {
        ["next_offset", "end_offset", "lag_messages", "messages", "samples", "bad_messages"]
            .map(|name| row[name].as_u64().unwrap())
    };
    assert_eq!(figures(&told[0]), [1, 3, 2, 1, 2, 0], "{told:?}");
    assert_eq!(figures(&told[1]), [1, 1, 0, 1, 1, 0], "{told:?}");
    assert_eq!((&told[1]["state"], &told[1]["trouble"]), (&"reading".into(), &Value::Null));
    assert!(told[0]["trouble"].as_str().unwrap().contains("at offset 1: missing fields"));
    // What is not stored gets older; what is stored has no age.
    let before = lag_seconds(&server, 0);
    wait(&server, "a greater lag", || lag_seconds(&server, 0) > before.max(1.0));
    assert!(lag_seconds(&server, 1).abs() < f64::EPSILON);
    assert!(told[1]["lag_seconds"].as_f64().unwrap().abs() < f64::EPSILON);
    assert_eq!((state(&server).as_str(), has_caught_up(&server)), ("stopped", false));

    let output = run(&["top", "--once", "--every", "200ms", "--url", &server.url()]);
    assert!(output.status.success(), "{output:?}");
    let frame = String::from_utf8(output.stdout).unwrap();
    assert!(!frame.contains('\u{1b}'), "a pipe gets no colours: {frame:?}");
    let line = |words: &[&str]| {
        let is_it = |line: &&str| words.iter().all(|word| line.contains(word));
        assert!(frame.lines().any(|line| is_it(&line)), "{words:?} in\n{frame}");
    };
    line(&["degraded", &server.url()]);
    line(&["main", "stopped", "2"]);
    line(&["load/0", "stopped", "2"]);
    line(&["load/1", "reading", "0"]);
    line(&["sources", "stops before its message at offset 1"]);
    let output = run(&["top", "--json", "--every", "200ms", "--url", &server.url()]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["partitions"][0]["state"], "stopped", "the worst one is first: {json}");
    assert_eq!((&json["caught_up"], &json["status"]), (&false.into(), &"degraded".into()));
    assert_eq!(server.stop(), 0);
    let dir = home.data();
    let stopped = ["query", "--data-dir", dir.to_str().unwrap(), "--format", "csv"];
    let output = run(&[&stopped[..], &["SELECT count(*) AS n FROM tidewatch.sources"]].concat());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "n\n0\n");
}

#[test]
fn health_tells_brokers_that_are_down_from_a_topic_that_is_not_there_and_from_catching_up() {
    let home = Home::new();
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("load", 1, 1).unwrap();
    let keys = "topics = [\"^load\"]\nformat = \"line_protocol\"";
    let config = source(&home, &cluster.bootstrap_servers(), keys);
    cluster.broker_down(1).unwrap();
    let server = Start::on(&home.data()).config(&config).up();
    wait(&server, "the trouble", || state(&server) == "unreachable");
    assert_eq!((has_caught_up(&server), server.get("/readyz").status), (false, 200));
    assert!(health(&server)["details"]["main"]["catch_up_seconds"].is_null());
    // Answers take their time: what is there is known long before it is read.
    cluster.broker_up(1).unwrap();
    let producer = producer(&cluster.bootstrap_servers());
    send(&producer, "load", 0, Some(b"m v=1"));
    flush(&producer);
    cluster.broker_round_trip_time(1, Duration::from_millis(1_500)).unwrap();
    wait(&server, "the way to the end", || state(&server) == "catching_up");
    let told = health(&server);
    assert_eq!(told["status"], "healthy", "{told}");
    cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
    wait(&server, "the end", || has_caught_up(&server));
    assert_eq!(
        (state(&server).as_str(), rows(&server)[0]["state"].as_str()),
        ("reading", Some("reading"))
    );
    cluster.broker_down(1).unwrap();
    wait(&server, "the trouble again", || state(&server) == "unreachable");
    assert_eq!(
        (has_caught_up(&server), rows(&server)[0]["state"].as_str()),
        (false, Some("unreachable"))
    );
    assert_eq!(server.stop(), 0);

    cluster.broker_up(1).unwrap();
    let keys = "topics = [\"load\", \"absent\"]\nformat = \"line_protocol\"";
    let config = source(&home, &cluster.bootstrap_servers(), keys);
    let server = Start::on(&home.data()).config(&config).up();
    let is_missing = || state(&server) == "missing" && rows(&server).len() == 1;
    wait(&server, "the topic that is not there", is_missing);
    assert!(health(&server)["message"].as_str().unwrap().contains("\"absent\""));
    assert_eq!(
        (has_caught_up(&server), rows(&server)[0]["state"].as_str()),
        (false, Some("reading"))
    );
    assert_eq!(server.stop(), 0);
}

/// Behind the messages of a transaction stands a mark that nobody is given: a topic of transactions would lag for ever.
#[test]
fn marks_of_transactions_are_no_lag() {
    let home = Home::new();
    let Some(broker) = Broker::up(&home.file("broker")) else { return };
    broker.create("load", 1, &[]);
    let keys = "topics = [\"load\"]\nformat = \"line_protocol\"";
    let config = source(&home, &broker.address(), keys);
    let start = Start::on(&home.data()).config(&config);
    let server = start.up();
    let mut native = ClientConfig::new();
    native.set("bootstrap.servers", broker.address()).set("transactional.id", "one");
    let producer: BaseProducer = native.create().unwrap();
    let patience = Duration::from_secs(120);
    producer.init_transactions(patience).unwrap();
    for (number, is_kept) in [(1, true), (2, false), (3, true)] {
        producer.begin_transaction().unwrap();
        send(&producer, "load", 0, Some(format!("m v={number} {number}").as_bytes()));
        flush(&producer);
        if is_kept {
            producer.commit_transaction(patience).unwrap();
        } else {
            producer.abort_transaction(patience).unwrap();
        }
    }
    // Three messages, and a mark behind each; one of the messages was taken back.
    let is_stored = |server: &Server| {
        let rows = rows(server);
        rows.len() == 1 && rows[0]["next_offset"] == 6 && rows[0]["lag_messages"] == 0
    };
    wait(&server, "the last mark", || is_stored(&server) && has_caught_up(&server));
    let told = rows(&server);
    assert_eq!((&told[0]["end_offset"], &told[0]["samples"]), (&6.into(), &2.into()), "{told:?}");
    server.kill9();
    let server = start.up();
    wait(&server, "the last mark again", || is_stored(&server) && has_caught_up(&server));
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.arrivals"), 2);
    assert_eq!(server.number("SELECT gap_messages FROM tidewatch.sources"), 0);
    assert_eq!(server.stop(), 0);
}
