//! Instances that share partitions: what each has, and that nothing is missing or there twice.

use std::path::PathBuf;

use rdkafka::producer::BaseProducer;
use serde_json::Value;
use tidewatch_env::Rng;

use crate::broker::{Broker, flush, send};
use crate::kafka::{arrivals, counter, health, partition, sample, sent, source, stored, wait};
use crate::server::{Home, Server, Start, tell};

const PARTITIONS: i32 = 8;
/// Messages of a round.
const MESSAGES: u64 = 4_000;

/// An instance: a directory of its own.
struct Instance {
    home: Home,
    config: PathBuf,
    server: Option<Server>,
}

impl Instance {
    /// It is missed so long after it was killed.
    fn new(broker: &Broker, session_ms: u32) -> Self {
        let home = Home::new();
        let keys = format!(
            "topics = [\"load\"]\nmode = \"group\"\ngroup = \"tides\"\noptions = {{ \
             \"session.timeout.ms\" = \"{session_ms}\", \"heartbeat.interval.ms\" = \"500\" }}"
        );
        let config = source(&home, &broker.address(), &keys);
        Self { home, config, server: None }
    }

    fn start(&mut self) {
        let start = Start::on(&self.home.data()).config(&self.config);
        self.server = Some(start.set("flush.rows_max=5000").set("checkpoint.rows_max=3000").up());
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn stop(&mut self) {
        assert_eq!(self.server.take().unwrap().stop(), 0);
    }

    /// Partitions that it reads.
    fn partitions(&self) -> u64 {
        health(self.server())["details"]["main"]["partitions"].as_u64().unwrap()
    }
}

/// Waits until two instances have a share each, or a single one has everything.
fn wait_for_shares(instances: &[&Instance]) {
    let share = u64::try_from(PARTITIONS).unwrap() / instances.len() as u64;
    for one in instances {
        wait(one.server(), "its share", || one.partitions() == share);
    }
}

fn send_all(producer: &BaseProducer, numbers: std::ops::Range<u64>) {
    for number in numbers {
        send(producer, "load", partition(number), Some(sample(number).as_bytes()));
    }
}

/// What several instances have: count, sum of values and sum of hashes.
fn stored_by(instances: &[&Instance]) -> (u64, f64, u64) {
    instances
        .iter()
        .map(|one| stored(one.server()))
        .fold((0, 0.0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2.wrapping_add(one.2)))
}

/// The statement of docs/kafka.md, on one of two instances: which offsets both have.
fn stored_twice(one: &Instance, other: &Instance) -> Vec<Value> {
    let text = include_str!("../docs/kafka.md");
    let (_, statement) = text.split_once("WITH other").unwrap();
    let (statement, _) = statement.split_once("```").unwrap();
    let rows = other.server().sql(
        "SELECT topic_id, partition, first_offset, last_offset FROM tidewatch.offsets \
         WHERE source = 'main'",
    );
    let rows = rows.iter().map(|row| {
        let id = row["topic_id"].as_str().unwrap();
        format!("('{id}', {}, {}, {})", row["partition"], row["first_offset"], row["last_offset"])
    });
    let rows = rows.collect::<Vec<_>>().join(", ");
    let example = "('5f0c…', 0, 0, 4711)";
    assert!(statement.contains(example), "{statement}");
    let statement = format!("WITH other{}", statement.replace(example, &rows));
    one.server().sql(&statement)
}

#[test]
fn orderly_rebalances_lose_nothing_and_store_nothing_twice() {
    let home = Home::new();
    let Some(broker) = Broker::up(&home.file("broker")) else { return };
    broker.create("load", PARTITIONS, &[]);
    let producer = broker.producer();
    let (mut one, mut other) = (Instance::new(&broker, 60_000), Instance::new(&broker, 60_000));
    one.start();
    other.start();
    let mut messages = 0;
    for round in 0..10 {
        wait_for_shares(&[&one, &other]);
        send_all(&producer, messages..messages + MESSAGES);
        std::mem::swap(&mut one, &mut other);
        // It leaves and comes back while messages come.
        other.stop();
        send_all(&producer, messages + MESSAGES..messages + 2 * MESSAGES);
        messages += 2 * MESSAGES;
        if round % 2 == 0 {
            wait_for_shares(&[&one]);
        }
        other.start();
    }
    flush(&producer);
    let both = [&one, &other];
    wait(one.server(), "everything", || {
        both.iter().map(|one| arrivals(one.server())).sum::<u64>() >= messages
    });
    assert_eq!(stored_twice(&one, &other), [] as [Value; 0]);
    assert_eq!(stored_by(&both), sent(messages));
    let rebalances = counter(one.server(), "rebalances_total");
    assert!(rebalances > 0, "the counter counts");
    assert_eq!(both.map(|one| counter(one.server(), "gaps_total")), [0, 0]);
    one.stop();
    other.stop();
    one.home.replay(&["--shards", "3"]);
}

#[test]
fn what_a_killed_member_had_is_stored_by_another_and_ranges_tell_what_is_there_twice() {
    let home = Home::new();
    let Some(broker) = Broker::up(&home.file("broker")) else { return };
    broker.create("load", PARTITIONS, &[]);
    let producer = broker.producer();
    let (mut one, mut other) = (Instance::new(&broker, 3_000), Instance::new(&broker, 3_000));
    one.start();
    other.start();
    let mut rng = Rng::from_seed(7);
    let mut messages = 0;
    for _ in 0..4 {
        wait_for_shares(&[&one, &other]);
        let before = arrivals(other.server());
        send_all(&producer, messages..messages + 5 * MESSAGES);
        messages += 5 * MESSAGES;
        let aim = before + 1 + rng.below(MESSAGES);
        wait(other.server(), "some of it", || arrivals(other.server()) >= aim);
        other.server.take().unwrap().kill9();
        // The survivor has everything once the dead one is missed.
        wait_for_shares(&[&one]);
        other.start();
        std::mem::swap(&mut one, &mut other);
    }
    flush(&producer);
    let lag = |one: &Instance| health(one.server())["details"]["main"]["lag_messages"].as_u64();
    wait_for_shares(&[&one, &other]);
    let both = [&one, &other];
    wait(one.server(), "everything", || {
        both.iter().map(|one| arrivals(one.server())).sum::<u64>() >= messages
            && both.iter().all(|one| lag(one) == Some(0))
    });
    let twice = stored_twice(&one, &other);
    let count = |row: &Value| {
        row["last_offset"].as_u64().unwrap() - row["first_offset"].as_u64().unwrap() + 1
    };
    let twice: u64 = twice.iter().map(count).sum();
    tell(&format!("kafka groups: {messages} messages, {twice} of them stored by both"));
    assert_eq!(stored_by(&both).0, messages + twice);
    one.stop();
    other.stop();
}
