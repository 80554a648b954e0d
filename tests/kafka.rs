//! Kafka in, with a real broker: everything that was sent is stored, once, whatever is killed; and the faults
//! that only a mock of a broker can have at the right moment.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use serde_json::Value;
use tidewatch_env::Rng;

use crate::broker::{Broker, flush, producer, send};
use crate::full_disk::{Ledger, SmallDisk};
use crate::server::{Home, Server, Start, tell};

const PARTITIONS: i32 = 8;
/// Messages of the long test; `TIDEWATCH_KAFKA_MESSAGES` asks for more.
const MESSAGES: u64 = 200_000;
/// Kills in it; `TIDEWATCH_KAFKA_KILLS` asks for more.
const KILLS: u64 = 6;
/// For how long its broker is down at first; `TIDEWATCH_KAFKA_DOWN_MS` asks for longer.
const DOWN_MS: u64 = 3_000;
/// A busy machine gets everything stored within this.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(100);

fn asked(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A configuration with one source.
pub(crate) fn source(home: &Home, broker: &str, keys: &str) -> PathBuf {
    let file = home.file("tidewatch.toml");
    let text = format!("[[source.kafka]]\nname = \"main\"\nbrokers = \"{broker}\"\n{keys}\n");
    fs::write(&file, text).unwrap();
    file
}

/// The sample number `number`, as JSON: a series per number modulo 64, and a value that says which it is.
pub(crate) fn sample(number: u64) -> String {
    let (series, time) = (number % 64, 1_700_000_000 + number / 64);
    format!(
        "{{\"metric\":\"load\",\"time\":{time},\"value\":{}.5,\"labels\":{{\"series\":\"s{series}\"}}}}",
        number % 1_000
    )
}

pub(crate) fn partition(number: u64) -> i32 {
    i32::try_from(number % 64).unwrap() % PARTITIONS
}

/// A hash of one row; the sum over all of them does not depend on their order.
fn row_hash(series: &str, second: u64, value: f64) -> u64 {
    let text = format!("{series} {second} {value}");
    twox_hash::XxHash3_64::oneshot(text.as_bytes())
}

/// Count, sum of values and sum of hashes of what was sent.
pub(crate) fn sent(messages: u64) -> (u64, f64, u64) {
    (0..messages).fold((0, 0.0, 0), |(count, sum, hash), number| {
        let value = f64::from(u32::try_from(number % 1_000).unwrap()) + 0.5;
        let row = row_hash(&format!("s{}", number % 64), 1_700_000_000 + number / 64, value);
        (count + 1, sum + value, row.wrapping_add(hash))
    })
}

/// The same of what is stored, by arrivals: what is there twice counts twice.
pub(crate) fn stored(server: &Server) -> (u64, f64, u64) {
    let rows = server.sql("SELECT count(*) AS n, sum(value) AS s FROM tidewatch.arrivals");
    let (count, sum) = (rows[0]["n"].as_u64().unwrap(), rows[0]["s"].as_f64().unwrap_or(0.0));
    let mut hash = 0_u64;
    for series in 0..64 {
        let rows = server.sql(&format!(
            "SELECT cast(time AS bigint) / 1000000000 AS t, value FROM load WHERE series = 's{series}'"
        ));
        for row in rows {
            let (second, value) = (row["t"].as_u64().unwrap(), row["value"].as_f64().unwrap());
            hash = hash.wrapping_add(row_hash(&format!("s{series}"), second, value));
        }
    }
    (count, sum, hash)
}

pub(crate) fn arrivals(server: &Server) -> u64 {
    server.number("SELECT count(*) FROM tidewatch.arrivals")
}

/// Waits until so many rows are stored.
pub(crate) fn wait_for(server: &Server, rows: u64) {
    wait(server, &format!("{rows} rows"), || arrivals(server) >= rows);
}

pub(crate) fn wait(server: &Server, what: &str, is_so: impl Fn() -> bool) {
    let rounds = PATIENCE.as_millis() / PAUSE.as_millis();
    let there = (0..rounds).any(|_| {
        std::thread::park_timeout(PAUSE);
        is_so()
    });
    assert!(there, "{what} did not come: {}", server.get("/api/v1/health").body);
}

/// What health says of the sources.
pub(crate) fn health(server: &Server) -> Value {
    let health = server.get("/api/v1/health").json();
    let components = health["components"].as_array().unwrap();
    components.iter().find(|part| part["name"] == "sources").unwrap().clone()
}

pub(crate) fn counter(server: &Server, name: &str) -> u64 {
    server.counter(&format!("tidewatch_connectors_kafka_{name}{{source=\"main\"}}"))
}

fn next_offsets(server: &Server) -> Vec<u64> {
    let rows = server.sql(
        "SELECT last_value(next_offset ORDER BY lsn) AS next_offset FROM tidewatch.offsets \
         GROUP BY topic, partition ORDER BY topic, partition",
    );
    rows.iter().map(|row| row["next_offset"].as_u64().unwrap()).collect()
}

#[test]
fn everything_that_was_sent_is_stored_once_through_kills_of_both_sides() {
    let home = Home::new();
    let Some(mut broker) = Broker::up(&home.file("broker")) else { return };
    let messages = asked("TIDEWATCH_KAFKA_MESSAGES", MESSAGES);
    let kills = asked("TIDEWATCH_KAFKA_KILLS", KILLS);
    let (down, seed) = (asked("TIDEWATCH_KAFKA_DOWN_MS", DOWN_MS), asked("SEED", 3));
    tell(&format!("kafka: {messages} messages, {kills} kills, SEED={seed}"));
    let mut rng = Rng::from_seed(seed);
    broker.create("load", PARTITIONS, &[]);
    let config = source(&home, &broker.address(), "topics = [\"load\"]");
    // Checkpoints and flushes all the time: offsets come from them as well as from the log.
    let start = Start::on(&home.data())
        .config(&config)
        .set("flush.rows_max=5000")
        .set("checkpoint.rows_max=3000");
    let producer = broker.producer();
    let mut next = 0;
    for round in 0..kills {
        let server = start.up();
        let until = messages * (round + 1) / kills;
        let begin = arrivals(&server);
        for number in next..until {
            send(&producer, "load", partition(number), Some(sample(number).as_bytes()));
        }
        next = until;
        let aim = begin + rng.below(until.saturating_sub(begin).max(1));
        if round % 3 == 1 {
            flush(&producer);
            broker.kill9();
            let millis = if round == 1 { down } else { rng.below(DOWN_MS) };
            std::thread::park_timeout(Duration::from_millis(millis));
            broker.start();
        }
        wait_for(&server, aim);
        server.kill9();
    }
    flush(&producer);
    let server = start.up();
    wait_for(&server, messages);
    assert_eq!(stored(&server), sent(messages));
    assert_eq!(next_offsets(&server).iter().sum::<u64>(), messages);
    assert_eq!(counter(&server, "gaps_total"), 0);
    wait(&server, "no lag", || health(&server)["details"]["main"]["lag_messages"] == 0);
    assert_eq!(server.stop(), 0);
    // An orderly stop loses nothing, and the next start reads nothing twice.
    let server = start.up();
    send(&producer, "load", 0, Some(sample(messages * 64).as_bytes()));
    flush(&producer);
    wait_for(&server, messages + 1);
    assert_eq!(arrivals(&server), messages + 1);
    assert_eq!(server.stop(), 0);
    let report = home.replay(&[]);
    assert_ne!(report["severities_compared"], 0, "{report}");
    home.replay(&["--shards", "5"]);
}

#[test]
fn messages_that_are_gone_before_they_are_read_are_a_gap_that_is_told() {
    let home = Home::new();
    let Some(broker) = Broker::up(&home.file("broker")) else { return };
    broker.create("load", 2, &[]);
    let config = source(&home, &broker.address(), "topics = [\"load\"]");
    let start = Start::on(&home.data()).config(&config);
    let producer = broker.producer();
    let send_to = |numbers: std::ops::Range<u64>| {
        numbers.for_each(|number| send(&producer, "load", 0, Some(sample(number).as_bytes())));
        flush(&producer);
    };
    send_to(0..10);
    let server = start.up();
    wait_for(&server, 10);
    assert_eq!(server.stop(), 0);
    send_to(10..40);
    broker.delete_before("load", 0, 25);
    let server = start.up();
    wait_for(&server, 25);
    assert_eq!((arrivals(&server), next_offsets(&server)), (25, vec![40]));
    assert_eq!((counter(&server, "gaps_total"), counter(&server, "gap_messages_total")), (1, 15));
    // The same while the server reads, but slowly: what it has in hand is no gap.
    assert!(server.hit("STOP"));
    send_to(40..41);
    send_to(41..60);
    broker.delete_before("load", 0, 55);
    assert!(server.hit("CONT"));
    wait(&server, "the end", || next_offsets(&server) == [60]);
    let missing = counter(&server, "gap_messages_total");
    assert!((16..=30).contains(&missing), "{missing}");
    assert_eq!((arrivals(&server) + missing, counter(&server, "gaps_total")), (60, 2));
    // A topic that is made anew has its offsets anew, and everything in it is new.
    let before = arrivals(&server);
    broker.remove("load");
    broker.create("load", 1, &[]);
    send_to(60..65);
    wait_for(&server, before + 5);
    wait(&server, "new offsets", || next_offsets(&server) == [5]);
    assert_eq!(counter(&server, "gaps_total"), 3);
    wait(&server, "health", || health(&server)["status"] == "healthy");
    assert_eq!(server.stop(), 0);
    let server = start.up();
    send_to(65..66);
    wait_for(&server, before + 6);
    assert_eq!((arrivals(&server), next_offsets(&server)), (before + 6, vec![6]));
    assert_eq!(server.stop(), 0);
}

#[test]
fn new_partitions_and_topics_are_found_and_tombstones_and_bad_messages_stop_nothing() {
    let home = Home::new();
    let Some(broker) = Broker::up(&home.file("broker")) else { return };
    broker.create("metrics.a", 1, &[]);
    let config = source(&home, &broker.address(), "topics = [\"^metrics\\\\.\"]");
    let server = Start::on(&home.data()).config(&config).up();
    let producer = broker.producer();
    let messages: [Option<&[u8]>; 7] = [
        Some(b"[]"),
        None,
        Some(b""),
        Some(b"rubbish"),
        Some(b"{\"metric\":\"m\",\"time\":1700000000,\"value\":1}"),
        Some(b"[{\"metric\":\"m\",\"time\":1700000001,\"value\":2},{\"metric\":\"m\",\"time\":\"?\",\"value\":2}]"),
        Some(b"{\"metrics\":[{\"name\":\"m\",\"timestamp\":1700000002,\"value\":3}]}"),
    ];
    messages.iter().for_each(|message| send(&producer, "metrics.a", 0, *message));
    flush(&producer);
    wait_for(&server, 3);
    wait(&server, "all messages", || counter(&server, "messages_total") == 7);
    assert_eq!(counter(&server, "tombstones_total"), 1);
    assert_eq!(counter(&server, "bad_messages_total"), 3);
    assert_eq!(counter(&server, "samples_total"), 3);
    broker.create("metrics.b", 2, &[]);
    for partition in 0..2 {
        send(&producer, "metrics.b", partition, Some(sample(7).as_bytes()));
    }
    flush(&producer);
    wait_for(&server, 5);
    assert_eq!(next_offsets(&server), [7, 1, 1]);
    let lag = "tidewatch_connectors_kafka_lag_messages{source=\"main\",topic=\"metrics.b\",partition=\"1\"}";
    wait(&server, "no lag", || server.counter(lag) == 0);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_bad_message_can_stop_its_partition_before_it_and_no_other() {
    let home = Home::new();
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("load", 2, 1).unwrap();
    let keys = "topics = [\"load\"]\non_bad_record = \"stop\"\nformat = \"line_protocol\"";
    let config = source(&home, &cluster.bootstrap_servers(), keys);
    let producer = producer(&cluster.bootstrap_servers());
    for message in [&b"m v=1 1"[..], b"m v=2 2", b"rubbish", b"m v=3 3"] {
        send(&producer, "load", 0, Some(message));
    }
    send(&producer, "load", 1, Some(b"n v=1 1\nn v=2 2"));
    flush(&producer);
    let start = Start::on(&home.data()).config(&config);
    let server = start.up();
    wait_for(&server, 4);
    wait(&server, "the stop", || health(&server)["status"] == "degraded");
    let told = health(&server)["message"].as_str().unwrap().to_owned();
    assert!(told.contains("stops before its message at offset 2: missing fields"), "{told}");
    send(&producer, "load", 1, Some(b"n v=3 3"));
    flush(&producer);
    wait_for(&server, 5);
    assert_eq!(next_offsets(&server), [2, 2]);
    assert_eq!(server.stop(), 0);
    // Once it is told to skip it, the partition goes on.
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("\"stop\"", "\"skip\""))
        .unwrap();
    let server = start.up();
    wait_for(&server, 6);
    wait(&server, "the offsets", || next_offsets(&server) == [4, 2]);
    assert_eq!(server.stop(), 0);
}

#[test]
fn with_latest_nothing_older_is_read_and_nothing_later_is_missed() {
    let home = Home::new();
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("load", 2, 1).unwrap();
    let producer = producer(&cluster.bootstrap_servers());
    let send_to = |topic: &str, partition, number| {
        send(&producer, topic, partition, Some(sample(number).as_bytes()));
        flush(&producer);
    };
    (0..3).for_each(|number| send_to("load", 0, number));
    let keys = "topics = [\"^load\"]\nstart = \"latest\"";
    let config = source(&home, &cluster.bootstrap_servers(), keys);
    let start = Start::on(&home.data()).config(&config);
    let server = start.up();
    wait(&server, "the end of what is older", || next_offsets(&server) == [3]);
    server.kill9();
    // What comes while the server is down is not older than the source.
    send_to("load", 0, 3);
    send_to("load", 1, 4);
    let server = start.up();
    wait(&server, "both", || next_offsets(&server) == [4, 1]);
    cluster.create_topic("load.later", 1, 1).unwrap();
    send_to("load.later", 0, 5);
    wait(&server, "the topic that came later", || next_offsets(&server) == [4, 1, 1]);
    assert_eq!(arrivals(&server), 3);
    assert_eq!(server.stop(), 0);
}

#[test]
fn what_a_full_disk_refuses_is_stored_once_when_there_is_room() {
    let home = Home::new();
    let dir = home.file("disk");
    fs::create_dir(&dir).unwrap();
    let Some(mut disk) = SmallDisk::new(&dir) else {
        return tell("!! NOT TESTED: messages for a full disk. No tmpfs can be mounted here.");
    };
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("load", 2, 1).unwrap();
    let keys = "topics = [\"load\"]\nformat = \"line_protocol\"";
    let config = source(&home, &cluster.bootstrap_servers(), keys);
    let wrapper: Vec<_> = disk.wrapper.iter().map(String::as_str).collect();
    let start = Start::on(&dir.join("data")).set("wal.segment_bytes_max=4MiB");
    let start = start.config(&config).under(&wrapper);
    let (server, mut ledger) = (start.up(), Ledger::new());
    ledger.send_until(&server, 507);
    let producer = producer(&cluster.bootstrap_servers());
    let refused = || server.counter("tidewatch_engine_records_refused_total");
    let before = refused();
    let mut rng = Rng::from_seed(11);
    let rows = (0..120).map(|number| {
        // Values that cannot be packed well: all together need another file of the log.
        let line = |row| format!("load,row=r{row} value={} {}\n", rng.below(1 << 40), number + 1);
        let lines: String = (0..1_000).map(line).collect();
        send(&producer, "load", partition(number) % 2, Some(lines.as_bytes()));
        1_000
    });
    let all = rows.sum::<u64>() + ledger.rows;
    flush(&producer);
    wait(&server, "a refusal", || refused() > before + 3);
    assert!(arrivals(&server) < all);
    disk.free();
    wait(&server, "all offsets", || next_offsets(&server) == [60, 60]);
    assert_eq!(arrivals(&server), all);
    assert_eq!(counter(&server, "gaps_total"), 0);
    server.kill9();
    let server = start.up();
    assert_eq!(arrivals(&server), all);
    assert_eq!(server.stop(), 0);
}

#[test]
fn without_a_broker_the_server_serves_and_says_what_is_wrong() {
    let home = Home::new();
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("load", 1, 1).unwrap();
    let keys = "topics = [\"load\"]\noptions_env = { \"sasl.password\" = \"THE_PASSWORD\" }";
    let config = source(&home, &cluster.bootstrap_servers(), keys);
    cluster.broker_down(1).unwrap();
    let start = Start::on(&home.data()).config(&config).env("THE_PASSWORD", "hunter2");
    let server = start.up();
    wait(&server, "the trouble", || health(&server)["status"] == "degraded");
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.get("/api/v1/health").status, 200);
    assert_eq!(server.post("/write", "cpu value=1").status, 204);
    let log = fs::read_to_string(home.data().with_extension("stderr")).unwrap();
    assert!(!log.contains("hunter2") && !server.get("/api/v1/health").body.contains("hunter2"));
    cluster.broker_up(1).unwrap();
    let producer = producer(&cluster.bootstrap_servers());
    send(&producer, "load", 0, Some(sample(1).as_bytes()));
    flush(&producer);
    wait_for(&server, 2);
    wait(&server, "health", || health(&server)["status"] == "healthy");
    assert_eq!(server.stop(), 0);
}
