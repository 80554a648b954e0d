//! Messages of Avro and Protobuf as Confluent's own serializers write them, with a real broker and a real schema registry.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::broker::{Broker, flush, send};
use crate::kafka::{arrivals, counter, source, wait, wait_for};
use crate::registry::{Lock, Registry};
use crate::server::{Home, Server, Start, json_of, run};

/// Messages of a kind.
const COUNT: u64 = 3_000;

const MAP: &str = "[source.kafka.map]\nmetric = \"sensor.name\"\ntime = \"at\"\n";

/// A configuration with a source of each format; the metric is at this name of Avro's sensors.
fn both(home: &Home, broker: &Broker, url: &str, name: &str) -> PathBuf {
    let address = broker.address();
    let labels = "labels = { kind = \"sensor.kind\", site = \"tags.site\" }";
    let keys = format!(
        "topics = [\"avro\"]\nformat = \"avro\"\nregistry = {{ url = \"{url}\" }}\n\
         [source.kafka.map]\nmetric = \"sensor.{name}\"\ntime = \"at\"\n{labels}\n\
         value = {{ raw = \"reading.value\", exact = \"reading.exact\" }}\n\
         [[source.kafka]]\nname = \"proto\"\nbrokers = \"{address}\"\ndb = \"proto\"\n\
         topics = [\"protobuf\"]\nformat = \"protobuf\"\nregistry = {{ url = \"{url}\" }}\n\
         {MAP}{labels}\nvalue = {{ raw = \"value\", exact = \"exact\" }}\n"
    );
    source(home, &address, &keys)
}

/// What the first `count` messages of a kind come to: of each table the rows, the sums of values and of seconds, by label.
fn expected(count: u64, zeros: bool) -> [Vec<Value>; 2] {
    let start = 1_700_000_000_u64;
    let groups = |is_in: &dyn Fn(u64) -> bool, value: &dyn Fn(u64) -> f64| {
        let mut rows = Vec::new();
        for (kind, site) in [("FLOW", 0), ("FLOW", 2), ("HEAT", 1), ("HEAT", 3)] {
            let of_site = |number: &u64| number % 4 == site && is_in(*number);
            let numbers: Vec<u64> = (0..count).filter(of_site).collect();
            let values: f64 = numbers.iter().map(|number| value(*number)).sum();
            let seconds: u64 = numbers.iter().map(|number| start + number).sum();
            rows.push(json!({
                "kind": kind, "site": format!("s{site}"), "n": numbers.len(), "t": seconds,
                "v": (values * 1_000.0).round(),
            }));
        }
        rows
    };
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let raw = |number: u64| {
        if zeros && number.is_multiple_of(10) { 0.0 } else { number as f64 + 0.25 }
    };
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let exact = |number: u64| number as f64 / 1_000.0;
    [groups(&|_| true, &raw), groups(&|number| number.is_multiple_of(3), &exact)]
}

fn stored(server: &Server, db: &str) -> [Vec<Value>; 2] {
    ["speed_raw", "speed_exact"].map(|metric| {
        server.sql(&format!(
            "SELECT kind, site, count(*) AS n, sum(cast(time AS bigint) / 1000000000) AS t, \
             round(sum(value) * 1000) AS v FROM \"{db}\".\"{metric}\" GROUP BY 1, 2 ORDER BY 1, 2"
        ))
    })
}

/// Rows of so many messages: a value each, and every third one has another.
fn rows(messages: u64) -> u64 {
    messages + messages.div_ceil(3)
}

/// What health says of a source, if it says something.
fn trouble(server: &Server) -> String {
    let health = server.get("/api/v1/health").json();
    let parts = health["components"].as_array().unwrap();
    parts.iter().find(|part| part["name"] == "sources").unwrap().to_string()
}

#[test]
fn what_confluents_serializers_write_is_read_while_schemas_evolve() {
    let home = Home::new();
    let Some(registry) = Registry::up(&home.file("registry")) else { return };
    let Some(broker) = Broker::up(&home.file("broker")) else { return };
    broker.create("avro", 1, &[]);
    broker.create("protobuf", 1, &[]);
    let config = both(&home, &broker, &registry.url(), "name");
    let server = Start::on(&home.data()).config(&config).up();
    for what in ["avro", "protobuf"] {
        registry.write(&broker, what, (0, COUNT));
    }
    wait_for(&server, 2 * rows(COUNT));
    // Fields are added, in front of the others or with a new number; both kinds are read on.
    for what in ["avro-added", "protobuf-added"] {
        registry.write(&broker, what, (COUNT, COUNT));
    }
    wait_for(&server, 2 * rows(2 * COUNT));
    assert_eq!(stored(&server, "default"), expected(2 * COUNT, false));
    assert_eq!(stored(&server, "proto"), expected(2 * COUNT, true));
    assert_eq!(counter(&server, "bad_messages_total"), 0);

    // The field of the metric has another name: letters, until the map knows it.
    registry.write(&broker, "avro-renamed", (2 * COUNT, 6));
    wait(&server, "letters", || counter(&server, "bad_messages_total") == 6);
    let reasons = server.sql("SELECT DISTINCT reason FROM tidewatch.dlq");
    assert_eq!(reasons, [json!({"reason": "metric name is missing at sensor.name"})]);
    assert_eq!(server.stop(), 0);
    let config = both(&home, &broker, &registry.url(), "id");
    let server = Start::on(&home.data()).config(&config).up();
    let told = run(&["dlq", "replay", "--all", "--json", "--url", &server.url()]);
    assert_eq!(json_of(&told)["ended"], 6, "{}", json_of(&told));
    assert_eq!(stored(&server, "default"), expected(2 * COUNT + 6, false));
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_registry_that_is_down_has_messages_wait_and_an_id_that_it_does_not_know_is_a_letter() {
    let home = Home::new();
    let Some(mut registry) = Registry::up(&home.file("registry")) else { return };
    let Some(broker) = Broker::up(&home.file("broker")) else { return };
    broker.create("avro", 1, &[]);
    broker.create("protobuf", 1, &[]);
    let config = both(&home, &broker, &registry.url(), "name");
    let start = Start::on(&home.data()).config(&config);
    let server = start.up();
    registry.write(&broker, "avro", (0, COUNT));
    wait_for(&server, rows(COUNT));

    // What is known is read on without the registry; the first message with another schema waits, and all behind it.
    registry.write(&broker, "protobuf", (0, 1));
    wait_for(&server, rows(COUNT) + rows(1));
    registry.kill9();
    let producer = broker.producer();
    let unknown = [&[0, 0, 0, 0x12, 0x67][..], b"kept as it came"].concat();
    send(&producer, "avro", 0, Some(&unknown));
    flush(&producer);
    wait(&server, "the trouble", || trouble(&server).contains("schema registry http://127.0.0.1"));
    assert_eq!(counter(&server, "bad_messages_total"), 0);
    assert_eq!(arrivals(&server), rows(COUNT) + rows(1));
    server.kill9();
    let server = start.up();
    wait(&server, "the trouble", || trouble(&server).contains("schema registry http://127.0.0.1"));
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.dlq"), 0);

    // It is back, and empty: the clients register again, and get the same ids in the same order.
    registry.start();
    wait(&server, "a letter", || counter(&server, "bad_messages_total") == 1);
    registry.write(&broker, "avro", (COUNT, 3));
    wait_for(&server, rows(COUNT + 3) + rows(1));
    let letters = server.sql("SELECT reason, payload, topic FROM tidewatch.dlq");
    let payload: String = unknown.iter().map(|byte| format!("{byte:02x}")).collect();
    let reason = "schema registry does not know the message's schema (id 4711)";
    assert_eq!(letters, [json!({"reason": reason, "payload": payload, "topic": "avro"})]);
    assert_eq!(stored(&server, "default"), expected(COUNT + 3, false));
    wait(&server, "quiet", || !trouble(&server).contains("schema registry"));
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_registry_with_tls_and_a_password_is_asked_and_refusals_are_told_without_secrets() {
    let home = Home::new();
    let Some(registry) = Registry::up(&home.file("registry")) else { return };
    let Some(broker) = Broker::up(&home.file("broker")) else { return };
    broker.create("avro", 1, &[]);
    registry.write(&broker, "avro", (0, 12));
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (ca, key, right) = (home.file("ca.pem"), home.file("key.pem"), home.file("password"));
    fs::write(&ca, issued.cert.pem()).unwrap();
    fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    fs::write(&right, "right-geheim\n").unwrap();
    let lock = Lock::of(&registry, (&ca, &key), ("reader", "right-geheim"));
    let (url, ca) = (format!("url = \"{}\"", lock.url), format!("ca = \"{}\"", ca.display()));
    let doors = [
        ("right", format!("{ca}, username = \"reader\", password_file = \"{}\"", right.display())),
        ("wrong-password", format!("{ca}, username = \"reader\", password_env = \"WRONG\"")),
        ("no-password", ca),
        ("no-ca", format!("username = \"reader\", password_file = \"{}\"", right.display())),
    ];
    let sources = doors.map(|(name, keys)| {
        format!(
            "[[source.kafka]]\nname = \"{name}\"\ndb = \"{name}\"\nbrokers = \"{}\"\n\
             topics = [\"avro\"]\nformat = \"avro\"\nregistry = {{ {url}, {keys} }}\n\
             [source.kafka.map]\nmetric = \"sensor.name\"\nvalue = \"reading.value\"\ntime = \"at\"\n",
            broker.address()
        )
    });
    let config = home.file("tidewatch.toml");
    fs::write(&config, sources.join("\n")).unwrap();
    let server = Start::on(&home.data()).config(&config).env("WRONG", "wrong-geheim").up();
    wait_for(&server, 12);
    let refused = |name: &str, why: &str| {
        wait(&server, name, || {
            let told = trouble(&server);
            let told = told.split(name).nth(1).unwrap_or_default().split(';').next();
            told.is_some_and(|told| {
                told.contains("schema registry https://127.0.0.1") && told.contains(why)
            })
        });
    };
    refused("wrong-password: ", "refuses this username and password (401)");
    refused("no-password: ", "asks for a username and a password (401)");
    refused("no-ca: ", "ertificate");
    assert_eq!(server.sql("SELECT count(*) AS n FROM right.speed"), [json!({"n": 12})]);
    assert_eq!(arrivals(&server), 12);
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.dlq"), 0);
    assert!(!trouble(&server).contains("geheim"));
    assert_eq!(server.stop(), 0);
}
