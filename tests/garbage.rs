//! Rubbish among good messages: each piece is a dead letter with its reason, and nothing else suffers.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::broker::{Broker, flush, send};
use crate::kafka::{counter, source, wait, wait_for};
use crate::registry::Registry;
use crate::server::{Home, Server, Start, json_of, run};

/// Good messages in JSON.
const GOOD: u64 = 20_000;
/// Good messages in Avro, each a row, and every third one another.
const AVRO: u64 = 3_000;
/// Pieces of each kind of rubbish.
const EACH: u64 = 20;
/// A broker takes no more by default.
const BROKER_BYTES_MAX: usize = 1_000_000;

fn good(number: u64, value: &str) -> Vec<u8> {
    let (series, time) = (number % 16, 1_700_000_000 + number);
    format!("{{\"at\":{time},\"name\":\"load\",\"{value}\":{number},\"host\":\"h{series}\"}}")
        .into_bytes()
}

/// Rubbish for the topic of JSON, each with a part of its reason.
fn of_json(number: u64) -> Vec<(Vec<u8>, &'static str)> {
    let wrong = |at: &str, value: &str| {
        format!("{{\"at\":{at},\"name\":\"load\",\"v\":{value},\"host\":\"h\"}}").into_bytes()
    };
    let mut truncated = good(number, "v");
    truncated.truncate(20);
    let mut greatest = b"{\"at\":1,\"name\":\"".to_vec();
    greatest.resize(BROKER_BYTES_MAX - 200, b'x');
    vec![
        (truncated, "not valid JSON"),
        (greatest, "not valid JSON"),
        (vec![b'['; 4_000], "not a JSON object"),
        (wrong("1", "NaN"), "not valid JSON"),
        (wrong("1", "\"warm\""), "value is not a number"),
        (b"{\"at\":1,\"name\":\"lo\xff\xfed\",\"v\":1,\"host\":\"h\"}".to_vec(), "UTF-8"),
        (vec![0; 64], "not a JSON object"),
        (wrong("-1", "1"), "timestamp too old"),
        // Whoever reads the right member reads it.
        (good(GOOD + number, "val"), "value is missing at v"),
    ]
}

/// Rubbish for the topic of Avro.
fn of_avro(number: u64) -> Vec<(Vec<u8>, &'static str)> {
    let number = u8::try_from(number).unwrap();
    vec![
        (vec![7, 0, 0, 0, 1, number], "does not begin with the byte 0"),
        ([&[0, 0, 0x7f, 0, 0][..], b"kept"].concat(), "does not know the message's schema"),
    ]
}

fn config(home: &Home, broker: &Broker, registry: &Registry, value: &str) -> std::path::PathBuf {
    let address = broker.address();
    let url = registry.url();
    let keys = format!(
        "topics = [\"load\"]\n[source.kafka.map]\ntime = \"at\"\nmetric = \"name\"\nvalue = \"{value}\"\n\
         labels = {{ host = \"host\" }}\n\
         [[source.kafka]]\nname = \"avro\"\nbrokers = \"{address}\"\ntopics = [\"avro\"]\n\
         format = \"avro\"\nregistry = {{ url = \"{url}\" }}\n[source.kafka.map]\nmetric = \"sensor.name\"\n\
         time = \"at\"\nvalue = {{ raw = \"reading.value\", exact = \"reading.exact\" }}\n"
    );
    source(home, &address, &keys)
}

/// How many letters there are of each source and reason.
fn reasons(server: &Server) -> BTreeMap<(String, String), u64> {
    let rows = server
        .sql("SELECT source, reason, count(*) AS n FROM tidewatch.dlq GROUP BY source, reason");
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let each = rows
        .iter()
        .map(|row| ((text(row, "source"), text(row, "reason")), row["n"].as_u64().unwrap()));
    each.collect()
}

#[test]
fn ten_kinds_of_rubbish_are_letters_with_reasons_and_all_else_is_stored() {
    let home = Home::new();
    let Some(registry) = Registry::up(&home.file("registry")) else { return };
    let Some(broker) = Broker::up(&home.file("broker")) else { return };
    broker.create("load", 4, &[]);
    broker.create("avro", 1, &[]);
    let server = Start::on(&home.data()).config(&config(&home, &broker, &registry, "v")).up();
    registry.write(&broker, "avro", (0, AVRO));
    wait_for(&server, AVRO + AVRO.div_ceil(3));
    let before = server.peak_rss_mib();
    let producer = broker.producer();
    let (mut of_main, mut of_other) = (BTreeMap::new(), BTreeMap::new());
    for number in 0..GOOD {
        let partition = i32::try_from(number % 4).unwrap();
        send(&producer, "load", partition, Some(&good(number, "v")));
        if number.is_multiple_of(GOOD / EACH) {
            let number = number / (GOOD / EACH);
            for (payload, reason) in of_json(number) {
                send(&producer, "load", partition, Some(&payload));
                *of_main.entry(reason).or_insert(0_u64) += 1;
            }
            for (payload, reason) in of_avro(number) {
                send(&producer, "avro", 0, Some(&payload));
                *of_other.entry(reason).or_insert(0_u64) += 1;
            }
        }
    }
    flush(&producer);
    let rows = GOOD + AVRO + AVRO.div_ceil(3);
    wait_for(&server, rows);
    let bad: u64 = of_main.values().chain(of_other.values()).sum();
    wait(&server, "all letters", || reasons(&server).values().sum::<u64>() == bad);
    let told = reasons(&server);
    for (source, expected) in [("main", &of_main), ("avro", &of_other)] {
        for (reason, count) in expected {
            let of = told.iter().filter(|((of, why), _)| of == source && why.contains(reason));
            assert_eq!(of.map(|(_, count)| count).sum::<u64>(), *count, "{reason}: {told:#?}");
        }
    }
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.arrivals"), rows);
    let grown = server.peak_rss_mib() - before;
    assert!(grown < 400, "{grown} MiB more for 20 MiB of rubbish");
    assert_eq!(counter(&server, "bad_messages_total"), of_main.values().sum::<u64>());
    assert_eq!(server.stop(), 0);

    // Once the map looks for the value where some of them have it, these are stored, once.
    let config = config(&home, &broker, &registry, "val");
    assert!(fs::read_to_string(&config).unwrap().contains("\"val\""));
    let server = Start::on(&home.data()).config(&config).up();
    for ended in [EACH, 0] {
        let words = ["dlq", "replay", "--all", "--source", "main", "--json", "--url"];
        let told = json_of(&run(&[&words[..], &[&server.url()]].concat()));
        assert_eq!(told["ended"], ended, "{told}");
    }
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.arrivals"), rows + EACH);
    let open = server.number("SELECT count(*) FROM tidewatch.dlq WHERE state = 'open'");
    assert_eq!(open, bad - EACH);
    assert_eq!(server.stop(), 0);
}
