//! A record in a topic of Apache Kafka per transition.

use std::time::Duration;

use tidewatch_kafka::{
    KafkaOption, KafkaProducer, PRODUCER_RULES, ProducerError, Record, are_brokers, is_topic,
};
use tidewatch_metrics::Subject;

use crate::body::with_dedupe_key;
use crate::config::Problem;
use crate::limits::{ERROR_CHARS_MAX, KAFKA_LOOK_EVERY};
use crate::sink::shortened;
use crate::times::times;
use crate::{Attempt, Message, Outcome, Sink};

/// A topic that alerts go to. `Debug` does not show the values of options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSinkConfig {
    /// The sink's name.
    pub name: String,
    /// Hosts and ports, with commas between.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Options of librdkafka.
    pub options: Vec<KafkaOption>,
}

impl KafkaSinkConfig {
    /// All that is wrong but for the name, found without touching the network.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut note = |field, message: String| problems.push(Problem { field, message });
        if !are_brokers(&self.brokers) {
            note("brokers", "must be hosts and ports with commas between".to_owned());
        }
        if !is_topic(&self.topic) {
            let message = "must have 1 to 249 letters, digits, dots, dashes and underscores";
            note("topic", message.to_owned());
        }
        for option in &self.options {
            if let Err(error) = PRODUCER_RULES.check(option) {
                note("options", format!("cannot be used: {error}"));
            }
        }
        problems
    }
}

/// Sends each body, with its dedupe key, to a topic.
///
/// Delivered is what all replicas have acknowledged. Without an answer in time the record is given up, so that it
/// is not sent later by itself, and tried again like everything that brokers refuse and an administrator can mend:
/// a topic that is not there, rights that are missing. What is refused for good, such as a record that is too large,
/// is a dead letter.
#[derive(Debug)]
pub struct KafkaSink {
    config: KafkaSinkConfig,
    /// None before the first attempt, and after one that has ruined it.
    producer: Option<KafkaProducer>,
    /// The last look had no answer, for no known reason: a connection may take its time.
    was_late: bool,
}

impl KafkaSink {
    /// A sink that connects when it is first looked at or has something to deliver.
    #[must_use]
    pub fn new(config: KafkaSinkConfig) -> Self {
        Self { config, producer: None, was_late: false }
    }

    fn send(&mut self, message: &Message, body: &[u8]) -> Result<(), ProducerError> {
        let dedupe_key = message.transition.dedupe_key();
        let times = times(&message.times);
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", dedupe_key.as_str()),
            ("tidewatch-times", times.as_str()),
        ];
        let (key, value) = (key(message), with_dedupe_key(body, &message.transition));
        let Self { config, producer, .. } = self;
        let record =
            Record { topic: &config.topic, key: key.as_bytes(), value: &value, headers: &headers };
        connected(config, producer)?.send(&record)
    }
}

impl Sink for KafkaSink {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn deliver(&mut self, message: &Message, body: &[u8]) -> Attempt {
        let sent = self.send(message, body);
        self.producer.take_if(|producer| producer.is_dead());
        let Err(error) = sent else { return Attempt::delivered(None) };
        let (outcome, status) = match &error {
            ProducerError::Client { .. } | ProducerError::Unanswered { .. } => {
                (Outcome::Retry { after: None }, None)
            }
            ProducerError::Refused { code, is_for_good: true, .. } => {
                (Outcome::Refused, Some(*code))
            }
            ProducerError::Refused { code, .. } => (Outcome::Retry { after: None }, Some(*code)),
        };
        Attempt { outcome, status, error: shortened(&error.to_string(), ERROR_CHARS_MAX) }
    }

    fn look_every(&self) -> Option<Duration> {
        Some(KAFKA_LOOK_EVERY)
    }

    fn look(&mut self) -> Option<String> {
        let Self { config, producer, was_late } = self;
        let looked = connected(config, producer).and_then(|producer| producer.look(&config.topic));
        let is_late = matches!(looked, Err(ProducerError::Unanswered { trouble: None, .. }));
        let is_told = !is_late || *was_late;
        *was_late = is_late;
        let error = looked.err().filter(|_| is_told)?;
        Some(shortened(&error.to_string(), ERROR_CHARS_MAX))
    }
}

/// The producer; a new one where there is none.
fn connected<'a>(
    config: &KafkaSinkConfig,
    producer: &'a mut Option<KafkaProducer>,
) -> Result<&'a mut KafkaProducer, ProducerError> {
    match producer {
        Some(producer) => Ok(producer),
        None => Ok(producer.insert(KafkaProducer::connect(&config.brokers, &config.options)?)),
    }
}

/// What is told of one series, or by one rule of one group, has one key: its partition keeps it in order.
fn key(message: &Message) -> String {
    match message.transition.subject {
        Subject::Series(series) => series.to_string(),
        Subject::Group(group) => format!("{}/{:032x}", message.transition.rule, group.0),
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_metrics::GroupId;

    use super::*;
    use crate::samples;

    fn config(options: &[(&str, &str)]) -> KafkaSinkConfig {
        let option = |(name, value): &(&str, &str)| KafkaOption {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        KafkaSinkConfig {
            name: "alerts".to_owned(),
            brokers: "127.0.0.1:9092".to_owned(),
            topic: "alerts".to_owned(),
            options: options.iter().map(option).collect(),
        }
    }

    #[test]
    fn a_series_has_its_id_as_key_and_a_group_its_rule_and_id() {
        let mut message = samples::message(7, 1);
        assert_eq!(key(&message), "00000000000000000000000000000007");
        message.transition.subject = Subject::Group(GroupId(0xabc));
        assert_eq!(key(&message), "checkout slow/00000000000000000000000000000abc");
    }

    #[test]
    fn what_keeps_alerts_from_being_lost_cannot_be_weakened() {
        let good = [
            ("compression.type", "lz4"),
            ("sasl.password", "hunter2"),
            ("message.max.bytes", "2000000"),
            ("linger.ms", "2"),
        ];
        assert_eq!(config(&good).problems(), []);
        for weak in [
            ("acks", "1"),
            ("request.required.acks", "0"),
            ("enable.idempotence", "false"),
            ("delivery.report.only.error", "true"),
            ("message.timeout.ms", "0"),
            ("delivery.timeout.ms", "0"),
            ("retries", "0"),
            ("message.send.max.retries", "0"),
            ("max.in.flight", "100"),
            ("max.in.flight.requests.per.connection", "100"),
            ("partitioner", "random"),
            ("queuing.strategy", "lifo"),
            ("enable.gapless.guarantee", "false"),
            ("transactional.id", "x"),
            ("compression.type", "brotli"),
            ("bootstrap.servers", "elsewhere:9092"),
        ] {
            let problems = config(&[weak]).problems();
            let [Problem { field: "options", message }] = &problems[..] else {
                panic!("{weak:?}: {problems:?}")
            };
            assert!(message.contains(weak.0), "{message}");
        }
        let mut none = config(&[]);
        (none.brokers, none.topic) = (String::new(), "a b".to_owned());
        let fields: Vec<_> = none.problems().iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["brokers", "topic"]);
    }

    #[test]
    fn a_configuration_that_cannot_work_is_told_and_tried_again() {
        let mut sink = KafkaSink::new(config(&[
            ("security.protocol", "ssl"),
            ("ssl.ca.location", "/nowhere/ca.pem"),
            ("ssl.key.password", "hunter2"),
        ]));
        let message = samples::message(7, 1);
        let attempt = sink.deliver(&message, &crate::body(&message.transition, None));
        assert_eq!((attempt.outcome, attempt.status), (Outcome::Retry { after: None }, None));
        assert!(attempt.error.contains("ssl.ca.location"), "{}", attempt.error);
        assert_eq!(sink.look(), Some(attempt.error));
        assert!(!format!("{sink:?}").contains("hunter2"));
    }
}
