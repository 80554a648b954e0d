use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::*;

const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(30);

type Cluster = MockCluster<'static, rdkafka::producer::DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("alerts", PARTITIONS, 1).unwrap();
    cluster
}

fn record<'a>(key: &'a str, value: &'a str) -> Record<'a> {
    let headers = &[("idempotency-key", "k:firing"), ("content-type", "application/json")];
    Record { topic: "alerts", key: Some(key.as_bytes()), value: value.as_bytes(), headers }
}

/// A record as it is in the topic: key, value, headers.
type Seen = (String, String, Vec<(String, String)>);

/// All records by their partitions.
fn read(brokers: &str, count: usize) -> BTreeMap<i32, Vec<Seen>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "test");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset("alerts", partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut seen: BTreeMap<i32, Vec<Seen>> = BTreeMap::new();
    for _ in 0..count {
        let message = consumer.poll(PATIENCE).expect("a record").unwrap();
        let headers = message.headers().unwrap().iter();
        let headers = headers.map(|one| (one.key.to_owned(), text(one.value.unwrap())));
        let (key, value) = (text(message.key().unwrap()), text(message.payload().unwrap()));
        seen.entry(message.partition()).or_default().push((key, value, headers.collect()));
    }
    let more = consumer.poll(Duration::from_millis(300));
    assert!(more.is_none(), "more records than were acknowledged");
    seen
}

#[test]
fn records_of_a_key_are_in_one_partition_in_their_order_each_once() {
    let cluster = cluster();
    let mut producer = KafkaProducer::connect(&cluster.bootstrap_servers(), &[]).unwrap();
    let texts: Vec<_> = (0..30).map(|number| number.to_string()).collect();
    for (number, text) in texts.iter().enumerate() {
        producer.send(&record(&texts[number % 10], text)).unwrap();
    }
    let seen = read(&cluster.bootstrap_servers(), 30);
    let mut partitions: BTreeMap<String, i32> = BTreeMap::new();
    for (partition, records) in &seen {
        let mut last: BTreeMap<String, usize> = BTreeMap::new();
        for (key, value, headers) in records {
            assert_eq!(partitions.entry(key.clone()).or_insert(*partition), partition);
            let number: usize = value.parse().unwrap();
            assert_eq!(number % 10, key.parse::<usize>().unwrap());
            assert!(last.insert(key.clone(), number).is_none_or(|before| before < number));
            let expected = record("", "").headers.iter();
            assert!(
                headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .eq(expected.copied())
            );
        }
    }
    assert_eq!(partitions.len(), 10);
    assert!(seen.len() > 1, "keys are in different partitions");
}

#[test]
fn what_an_administrator_can_mend_is_told_from_what_is_refused_for_good() {
    let cluster = cluster();
    let mut producer = KafkaProducer::connect(&cluster.bootstrap_servers(), &[]).unwrap();
    producer.look("alerts").unwrap();
    producer.send(&record("a", "1")).unwrap();
    let refused = |error: ProducerError| match error {
        ProducerError::Refused { code, is_for_good, .. } => (code, is_for_good),
        other => panic!("{other}"),
    };
    let large = "x".repeat(2_000_000);
    assert_eq!(refused(producer.send(&record("a", &large)).unwrap_err()), (10, true));
    let produce = RDKafkaApiKey::Produce;
    for (error, expected) in [
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, (10, true)),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, (29, false)),
    ] {
        cluster.request_errors(produce, &[error]);
        assert_eq!(refused(producer.send(&record("a", "2")).unwrap_err()), expected);
    }
    assert!(!producer.is_dead());
    // What brokers mend themselves is tried again within the attempt.
    cluster.request_errors(produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION]);
    producer.send(&record("a", "3")).unwrap();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.topic_error("alerts", error).unwrap();
    assert_eq!(refused(producer.look("alerts").unwrap_err()), (29, false));
    assert_eq!(read_after(&cluster, 2), ["1", "3"]);
}

/// The values of so many records, once the topic has no error.
fn read_after(cluster: &Cluster, count: usize) -> Vec<String> {
    let none = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    cluster.topic_error("alerts", none).unwrap();
    let seen = read(&cluster.bootstrap_servers(), count);
    seen.into_values().flatten().map(|(_, value, _)| value).collect()
}

#[test]
fn what_was_given_up_while_brokers_were_down_is_not_sent_later() {
    let cluster = cluster();
    let mut producer = KafkaProducer::connect(&cluster.bootstrap_servers(), &[]).unwrap();
    producer.send(&record("a", "1")).unwrap();
    cluster.broker_down(1).unwrap();
    let error = producer.send(&record("a", "2")).unwrap_err();
    let ProducerError::Unanswered { trouble: Some(trouble), .. } = &error else {
        panic!("{error:?}")
    };
    assert!(trouble.contains("127.0.0.1"), "{trouble}");
    assert!(error.to_string().starts_with("no answer from the brokers within 10 s: "), "{error}");
    let error = producer.look("alerts").unwrap_err().to_string();
    assert!(error.starts_with("no answer from the brokers within 3 s: "), "{error}");
    cluster.broker_up(1).unwrap();
    let is_back = (0..20).any(|_| producer.look("alerts").is_ok());
    assert!(is_back, "{:?}", producer.look("alerts"));
    producer.send(&record("a", "3")).unwrap();
    assert_eq!(read_after(&cluster, 2), ["1", "3"]);
}

#[test]
fn a_producer_that_can_send_nothing_more_says_so() {
    let cluster = cluster();
    let mut producer = KafkaProducer::connect(&cluster.bootstrap_servers(), &[]).unwrap();
    producer.send(&record("a", "1")).unwrap();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
    for value in ["2", "3"] {
        let error = producer.send(&record("a", value)).unwrap_err();
        assert!(matches!(error, ProducerError::Unanswered { .. }), "{error}");
        assert!(error.to_string().contains("sequence"), "{error}");
        assert!(producer.is_dead());
    }
    let mut other = KafkaProducer::connect(&cluster.bootstrap_servers(), &[]).unwrap();
    other.send(&record("a", "4")).unwrap();
}

#[test]
fn many_at_a_time_keep_the_order_of_their_keys_and_what_is_refused_is_told_of_each() {
    let cluster = cluster();
    // A queue of librdkafka with less room than the records take.
    let small = KafkaOption { name: "queue.buffering.max.messages".into(), value: "7".into() };
    let mut producer = KafkaProducer::connect(&cluster.bootstrap_servers(), &[small]).unwrap();
    let texts: Vec<_> = (0..300).map(|number| number.to_string()).collect();
    let large = "x".repeat(2_000_000);
    let value = |number: usize| if number == 37 { &large } else { &texts[number] };
    let records: Vec<_> =
        (0..300).map(|number| record(&texts[number % 10], value(number))).collect();
    // Once what came together is refused as one.
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
    let refused = producer.send_all(&records).unwrap();
    let [(37, ProducerError::Refused { code: 10, is_for_good: true, .. })] = &refused[..] else {
        panic!("{refused:?}")
    };
    assert_eq!(producer.send_all(&[]).unwrap(), []);
    let seen = read(&cluster.bootstrap_servers(), 299);
    let mut numbers: Vec<usize> = Vec::new();
    for (key, value, _) in seen.values().flatten() {
        let number = value.parse().unwrap();
        assert_eq!(number % 10, key.parse::<usize>().unwrap());
        numbers.push(number);
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq((0..300).filter(|number| *number != 37)));
}

#[test]
fn without_an_answer_to_one_of_many_nothing_is_said_of_the_others() {
    let cluster = cluster();
    let mut producer = KafkaProducer::connect(&cluster.bootstrap_servers(), &[]).unwrap();
    let records = [record("a", "1"), Record { key: None, ..record("", "2") }];
    producer.send_all(&records[..1]).unwrap();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
    let failure = producer.send_all(&records).unwrap_err();
    assert!(matches!(failure, ProducerError::Refused { code: 29, .. }), "{failure}");
    assert_eq!(producer.send_all(&records).unwrap(), []);
}
