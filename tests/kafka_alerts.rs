//! Alerts to a topic of a real Kafka broker: every transition is there, through kills of both sides, in order per
//! series, and a copy of one is equal to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use tidewatch_env::{Clock, RealClock, Rng};

use crate::broker::{Broker, client};
use crate::kafka::wait;
use crate::server::{Home, Server, Start, tell};

const PARTITIONS: i32 = 4;
const SERIES: usize = 50;
/// Kills of the server; every second one is one of the broker, too.
const KILLS: usize = 4;
/// How often each series goes above the rule's limit and back between two kills.
const WAVES: usize = 3;
/// A busy broker answers within this.
const PATIENCE: Duration = Duration::from_secs(240);

/// A record of a topic.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_str(&self.value).unwrap()
    }
}

/// All that is in a topic: the records of each partition in their order.
pub(crate) fn read(brokers: &str, topic: &str, partitions: i32) -> Vec<Seen> {
    let consumer: BaseConsumer = client(brokers)
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    let mut count = 0;
    for partition in 0..partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
        count += high - low;
        all.add_partition_offset(topic, partition, Offset::Offset(low)).unwrap();
    }
    consumer.assign(&all).unwrap();
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"")).into_owned();
    let record = |_| {
        let message = consumer.poll(PATIENCE).expect("a record").unwrap();
        let headers = message.headers().unwrap().iter();
        Seen {
            partition: message.partition(),
            key: text(message.key()),
            value: text(message.payload()),
            headers: headers.map(|one| (one.key.to_owned(), text(one.value))).collect(),
        }
    };
    (0..count).map(record).collect()
}

/// A rule for each series, a file and a topic.
fn config(home: &Home, brokers: &str, topic: &str) -> PathBuf {
    let file = home.file("tidewatch.toml");
    let text = format!(
        "[[rule]]\nname = \"too hot\"\nmatch = {{ metric = \"temperature\" }}\n\
         when = \"value > 50\"\npriority = \"page\"\n\n\
         [[sink.file]]\nname = \"file\"\npath = \"{}\"\n\n\
         [[sink.kafka]]\nname = \"topic\"\nbrokers = \"{brokers}\"\ntopic = \"{topic}\"\n",
        home.file("alerts.jsonl").display()
    );
    fs::write(&file, text).unwrap();
    file
}

fn now_s() -> i64 {
    RealClock::new().now().nanos() / 1_000_000_000
}

/// Each series goes up and down once, in the two seconds from `at`.
pub(crate) fn write_wave(server: &Server, series: usize, at: i64) {
    for (second, value) in [(at, 80), (at + 1, 20)] {
        let line = |room| format!("temperature,room=r{room} value={value} {second}\n");
        let answer = server.post("/write?precision=s", (0..series).map(line).collect::<String>());
        assert_eq!(answer.status, 204, "{answer:?}");
    }
}

/// How many attempts at the topic ended so.
fn deliveries(server: &Server, outcome: &str) -> usize {
    let count = server.number(&format!(
        "SELECT count(*) FROM tidewatch.deliveries WHERE sink = 'topic' AND outcome = '{outcome}'"
    ));
    usize::try_from(count).unwrap()
}

/// What health says of the sinks: status and message.
pub(crate) fn sinks(server: &Server) -> (String, String) {
    let health = server.get("/api/v1/health").json();
    let components = health["components"].as_array().unwrap();
    let sinks = components.iter().find(|part| part["name"] == "sinks").unwrap();
    let text = |name: &str| sinks[name].as_str().unwrap().to_owned();
    (text("status"), text("message"))
}

/// What holds of every record: key and headers belong to the body, and copies of one transition are equal. Gives
/// the transitions of each series in the order in which somebody sees them who goes by dedupe key.
fn by_series(records: &[Seen]) -> BTreeMap<String, Vec<Value>> {
    let mut first: BTreeMap<String, &Seen> = BTreeMap::new();
    let mut partitions: BTreeMap<&str, i32> = BTreeMap::new();
    let mut series: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for record in records {
        let body = record.json();
        assert_eq!(body["series_id"], *record.key);
        let partition = *partitions.entry(&record.key).or_insert(record.partition);
        assert_eq!(partition, record.partition, "a series is in one partition");
        let dedupe_key = record.headers["idempotency-key"].clone();
        let (key, transition) = dedupe_key.split_once(':').unwrap();
        assert_eq!((&body["key"], &body["transition"]), (&key.into(), &transition.into()));
        assert_eq!(body["dedupe_key"], *dedupe_key);
        assert_eq!(record.headers["content-type"], "application/json");
        let times: Value = serde_json::from_str(&record.headers["tidewatch-times"]).unwrap();
        assert!(times["durable"].is_string() && times["scored"].is_string(), "{times}");
        match first.get(&dedupe_key) {
            Some(copy) => assert_eq!((&copy.key, &copy.value), (&record.key, &record.value)),
            None => {
                first.insert(dedupe_key, record);
                series.entry(record.key.clone()).or_default().push(body);
            }
        }
    }
    series
}

/// Firing and resolved in turn, each later than the one before.
fn assert_in_turn(transitions: &[Value], count: usize) {
    let text = |body: &Value, name: &str| body[name].as_str().unwrap().to_owned();
    let events: Vec<_> = transitions.iter().map(|body| text(body, "event")).collect();
    assert!(events.is_sorted() && events.len() == count, "{events:?}");
    let kinds = transitions.iter().map(|body| text(body, "transition"));
    assert!(kinds.eq(["firing", "resolved"].into_iter().cycle().take(count)), "{transitions:?}");
}

#[test]
fn every_transition_is_in_the_topic_through_kills_of_both_sides() {
    let home = Home::new();
    let Some(mut broker) = Broker::up(&home.file("broker")) else { return };
    let seed = std::env::var("SEED").map_or(5, |text| text.parse().unwrap());
    tell(&format!("alerts to a topic: SEED={seed}"));
    let mut rng = Rng::from_seed(seed);
    let start = Start::on(&home.data()).config(&config(&home, &broker.address(), "alerts"));
    let server = start.up();
    // The topic that is not there is told before the first alert, and mended without a start.
    wait(&server, "the trouble", || sinks(&server).0 == "degraded");
    let (_, told) = sinks(&server);
    assert!(told.contains("topic: the brokers refuse: UnknownTopicOrPartition"), "{told}");
    broker.create("alerts", PARTITIONS, &[]);
    wait(&server, "health", || sinks(&server).0 == "healthy");
    assert_eq!(server.stop(), 0);

    let begin = now_s() - 600;
    let all = |waves: usize| waves * SERIES * 2;
    let mut waves = 0;
    for kill in 0..KILLS {
        let server = start.up();
        for _ in 0..WAVES {
            write_wave(&server, SERIES, begin + 2 * i64::try_from(waves).unwrap());
            waves += 1;
        }
        if kill % 2 == 1 {
            broker.kill9();
            std::thread::park_timeout(Duration::from_millis(rng.below(1_500)));
            broker.start();
        }
        // Any moment while alerts are on their way.
        let before = deliveries(&server, "delivered");
        let aim = before + usize::try_from(rng.below(all(WAVES) as u64)).unwrap();
        wait(&server, "some deliveries", || deliveries(&server, "delivered") >= aim);
        server.kill9();
    }
    let server = start.up();
    wait(&server, "all deliveries", || deliveries(&server, "delivered") >= all(waves));
    assert_eq!(deliveries(&server, "dead_letter"), 0);
    let records = read(&broker.address(), "alerts", PARTITIONS);
    let copies = records.len() - all(waves);
    tell(&format!("alerts to a topic: {} transitions, {copies} copies", all(waves)));
    let series = by_series(&records);
    assert_eq!(series.len(), SERIES);
    series.values().for_each(|transitions| assert_in_turn(transitions, 2 * waves));
    // The bodies are those of every other sink, with the dedupe key behind them.
    let in_file = fs::read_to_string(home.file("alerts.jsonl")).unwrap();
    let in_file: BTreeSet<&str> = in_file.lines().collect();
    for record in &records {
        let (members, _) = record.value.rsplit_once(",\"dedupe_key\":").unwrap();
        assert!(in_file.contains(format!("{members}}}").as_str()), "{}", record.value);
    }
    assert_eq!(sinks(&server).0, "healthy");
    assert_eq!(server.stop(), 0);
}

#[test]
fn without_brokers_the_server_serves_says_so_once_and_stops_in_time() {
    let home = Home::new();
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("alerts", PARTITIONS, 1).unwrap();
    cluster.broker_down(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let start = Start::on(&home.data()).config(&config(&home, &brokers, "alerts"));
    let server = start.up();
    write_wave(&server, 2, now_s() - 600);
    wait(&server, "an attempt", || deliveries(&server, "retry") > 0);
    let (status, told) = sinks(&server);
    assert_eq!(status, "degraded");
    assert!(told.contains("topic: no answer from the brokers within "), "{told}");
    assert!(told.contains("refused"), "{told}");
    assert_eq!(server.get("/readyz").status, 200);
    let clock = RealClock::new();
    assert_eq!(server.stop(), 0);
    let took = clock.monotonic();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let log = fs::read_to_string(home.data().with_extension("stderr")).unwrap();
    let told: Vec<_> =
        log.lines().filter(|line| line.contains("WARN") && line.contains("topic")).collect();
    assert_eq!(told.len(), 1, "{log}");
    cluster.broker_up(1).unwrap();
    let server = start.up();
    wait(&server, "all deliveries", || deliveries(&server, "delivered") == 4);
    assert_eq!(by_series(&read(&brokers, "alerts", PARTITIONS)).len(), 2);
    assert_eq!(server.stop(), 0);
}
