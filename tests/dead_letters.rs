//! Dead letters, with a real broker: every message that is refused is kept once, whole and with a reason, through kills;
//! and once it can be read, it is stored once.

use std::collections::BTreeMap;
use std::fs;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::BaseProducer;
use serde_json::Value;

use crate::broker::{Broker, flush, producer, send};
use crate::kafka::{arrivals, source, wait, wait_for};
use crate::server::{Home, Server, Start, json_of, run};

const PARTITIONS: u64 = 4;
const MESSAGES: u64 = 20_000;
/// One message in so many is bad.
const BAD: u64 = 100;

/// The message number `number`: a line, or something that is none; every other bad one is a sample in JSON.
fn message(number: u64) -> Vec<u8> {
    let (series, time) = (number % 16, 1_700_000_000 + number);
    if !number.is_multiple_of(BAD) {
        return format!("load,series=s{series} value={number} {time}000000000").into_bytes();
    }
    match number / BAD % 10 {
        1 | 3 | 5 | 7 | 9 => format!(
            "{{\"metric\":\"load\",\"time\":{time},\"value\":{number},\"labels\":{{\"series\":\"s{series}\"}}}}"
        )
        .into_bytes(),
        0 => Vec::new(),
        2 => b"load,series=".to_vec(),
        4 => b"load value=1 1\xff\xfe\0".to_vec(),
        6 => format!("load value=nan {number}").into_bytes(),
        _ => format!("{}{number}", "[".repeat(3_000)).into_bytes(),
    }
}

fn is_bad(number: u64) -> bool {
    number.is_multiple_of(BAD)
}

fn is_mendable(number: u64) -> bool {
    is_bad(number) && (number / BAD) % 2 == 1
}

/// Of each letter, by partition and offset: payload, state.
fn letters(server: &Server) -> BTreeMap<(u64, u64), (String, String)> {
    let rows = server
        .sql("SELECT partition, \"offset\", payload, state, reason, bytes FROM tidewatch.dlq");
    let count = rows.len();
    let letters = rows.into_iter().map(|row| {
        assert!(!row["reason"].as_str().unwrap().is_empty(), "{row}");
        let payload = row["payload"].as_str().unwrap().to_owned();
        assert_eq!(row["bytes"].as_u64(), Some(payload.len() as u64 / 2), "{row}");
        let place = (row["partition"].as_u64().unwrap(), row["offset"].as_u64().unwrap());
        (place, (payload, row["state"].as_str().unwrap().to_owned()))
    });
    let letters: BTreeMap<_, _> = letters.collect();
    assert_eq!(letters.len(), count, "a letter is there twice");
    letters
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The letters that must be there, with their states.
fn expected(replayed: bool) -> BTreeMap<(u64, u64), (String, String)> {
    let bad = (0..MESSAGES).filter(|number| is_bad(*number));
    let letters = bad.map(|number| {
        let state = if replayed && is_mendable(number) { "replayed" } else { "open" };
        let place = (number % PARTITIONS, number / PARTITIONS);
        (place, (hex(&message(number)), state.to_owned()))
    });
    letters.collect()
}

fn dlq(server: &Server, words: &[&str]) -> Value {
    let url = server.url();
    let output = run(&[&["dlq"], words, &["--json", "--url", &url]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    json_of(&output)
}

/// Sends everything, while the server is killed.
fn send_through_kills(start: &Start, producer: &BaseProducer, good: u64) {
    for part in 0..3 {
        let server = start.up();
        for number in MESSAGES * part / 3..MESSAGES * (part + 1) / 3 {
            let partition = i32::try_from(number % PARTITIONS).unwrap();
            send(producer, "load", partition, Some(&message(number)));
        }
        wait_for(&server, good * (2 * part + 1) / 6);
        server.kill9();
    }
    flush(producer);
}

fn ended(told: &Value) -> u64 {
    told["ended"].as_u64().unwrap()
}

/// Replays some letters, then all, then the first ones again, while the server is killed.
fn replay_through_kills(start: &Start, mendable: u64) -> Server {
    let server = start.up();
    let by_reason = dlq(&server, &["ls", "--by", "reason"]);
    assert!(by_reason["reasons"].as_array().unwrap().len() >= 4, "{by_reason}");
    let listed = dlq(&server, &["ls", "--limit", "1000", "--source", "main"]);
    let rows = listed["letters"].as_array().unwrap();
    let names = rows.iter().map(|row| format!("{}:{}", row["lsn"], row["offset"]));
    let names: Vec<String> = names.take(30).collect();
    let some: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = dlq(&server, &[&["replay"], &some[..]].concat());
    server.kill9();
    let server = start.up();
    let told = dlq(&server, &["replay", "--all", "--source", "main"]);
    assert_eq!(ended(&first) + ended(&told), mendable, "{first} {told}");
    assert!(ended(&first) > 0 && ended(&told) > 0, "{first} {told}");
    server.kill9();
    let server = start.up();
    let again = dlq(&server, &[&["replay"], &some[..]].concat());
    assert_eq!((ended(&again), &again["ended_before"]), (0, &first["ended"]), "{again}");
    server
}

#[test]
fn refused_messages_are_kept_once_and_stored_once_when_they_can_be_read_through_kills() {
    let home = Home::new();
    let Some(broker) = Broker::up(&home.file("broker")) else { return };
    broker.create("load", i32::try_from(PARTITIONS).unwrap(), &[]);
    let keys = "topics = [\"load\"]\nformat = \"line_protocol\"";
    let config = source(&home, &broker.address(), keys);
    let start = Start::on(&home.data())
        .config(&config)
        .set("flush.rows_max=2000")
        .set("checkpoint.rows_max=3000");
    let of = |is: fn(u64) -> bool| (0..MESSAGES).filter(|number| is(*number)).count() as u64;
    let (kept, mendable) = (of(is_bad), of(is_mendable));
    let good = MESSAGES - kept;
    send_through_kills(&start, &broker.producer(), good);
    let server = start.up();
    wait_for(&server, good);
    let count = |server: &Server| server.number("SELECT count(*) FROM tidewatch.dlq");
    wait(&server, "all letters", || count(&server) >= kept);
    assert_eq!(letters(&server), expected(false));
    assert_eq!(arrivals(&server), good);
    let told = dlq(&server, &["replay", "--all"]);
    assert_eq!((ended(&told), &told["samples"]), (0, &0.into()), "{told}");
    assert_eq!(server.stop(), 0);
    let data = home.data();
    let sql = "SELECT count(*) AS n, min(state) AS s FROM tidewatch.dlq";
    let stopped = ["query", "--data-dir", data.to_str().unwrap(), "--format", "csv", sql];
    assert_eq!(String::from_utf8_lossy(&run(&stopped).stdout), format!("n,s\n{kept},open\n"));

    // Whoever looks at the letters sees what the format must be.
    let text = fs::read_to_string(&config).unwrap().replace("line_protocol", "json");
    fs::write(&config, text).unwrap();
    let server = replay_through_kills(&start, mendable);
    assert_eq!(arrivals(&server), good + mendable);
    assert_eq!(letters(&server), expected(true));
    let stored =
        server.sql("SELECT count(*) AS n, sum(value) AS s, count(DISTINCT value) AS d FROM load");
    let numbers = (0..MESSAGES).filter(|number| !is_bad(*number) || is_mendable(*number));
    assert_eq!(stored[0]["n"], stored[0]["d"]);
    let sum = numbers.map(|number| f64::from(u32::try_from(number).unwrap())).sum::<f64>();
    assert_eq!(stored[0]["s"].as_f64(), Some(sum));
    let dropped = dlq(&server, &["drop", "--all"]);
    assert_eq!(ended(&dropped), kept - mendable, "{dropped}");
    assert_eq!(server.number("SELECT count(*) FROM tidewatch.dlq WHERE state = 'open'"), 0);
    assert_eq!(server.stop(), 0);
    home.replay(&[]);
    home.replay(&["--shards", "3"]);
}

#[test]
fn letters_that_no_sample_comes_with_outlive_checkpoints_and_so_do_their_ends() {
    let home = Home::new();
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("load", 1, 1).unwrap();
    let config = source(&home, &cluster.bootstrap_servers(), "topics = [\"load\"]");
    let start = Start::on(&home.data()).config(&config);
    let producer = producer(&cluster.bootstrap_servers());
    (0..3).for_each(|_| send(&producer, "load", 0, Some(b"rubbish")));
    flush(&producer);
    let count = |server: &Server, state: &str| {
        server.number(&format!("SELECT count(*) FROM tidewatch.dlq WHERE state = '{state}'"))
    };
    let server = start.up();
    wait(&server, "all letters", || count(&server, "open") == 3);
    // A stop makes a checkpoint, and a start relies on it.
    assert_eq!(server.stop(), 0);
    let server = start.up();
    assert_eq!(count(&server, "open"), 3);
    assert_eq!(ended(&dlq(&server, &["drop", "--all"])), 3);
    assert_eq!(server.stop(), 0);
    let server = start.up();
    assert_eq!((count(&server, "open"), count(&server, "dropped")), (0, 3));
    assert_eq!(server.stop(), 0);
}
