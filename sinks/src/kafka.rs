//! A record in a topic of Apache Kafka per transition.

use std::time::Duration;

use tidewatch_kafka::ProducerError;
use tidewatch_metrics::Subject;

use crate::body::with_dedupe_key;
use crate::kafka_topic::{KafkaTopic, Told};
use crate::limits::{ERROR_CHARS_MAX, KAFKA_LOOK_EVERY};
use crate::sink::shortened;
use crate::times::times;
use crate::{Attempt, KafkaSinkConfig, Message, Outcome, Sink};

/// Sends each body, with its dedupe key, to a topic.
///
/// Delivered is what all replicas have acknowledged. Without an answer in time the record is given up, so that it
/// is not sent later by itself, and tried again like everything that brokers refuse and an administrator can mend:
/// a topic that is not there, rights that are missing. What is refused for good, such as a record that is too large,
/// is a dead letter.
#[derive(Debug)]
pub struct KafkaSink {
    name: String,
    topic: KafkaTopic,
}

impl KafkaSink {
    /// A sink that connects when it is first looked at or has something to deliver.
    #[must_use]
    pub fn new(config: KafkaSinkConfig) -> Self {
        Self { name: config.name.clone(), topic: KafkaTopic::new(config) }
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
        let told = Told { key: Some(key.as_bytes()), value: &value, headers: &headers };
        match self.topic.send(&[told])?.pop() {
            Some((_, refusal)) => Err(refusal),
            None => Ok(()),
        }
    }
}

impl Sink for KafkaSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver(&mut self, message: &Message, body: &[u8]) -> Attempt {
        let Err(error) = self.send(message, body) else { return Attempt::delivered(None) };
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
        self.topic.look()
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
    use tidewatch_kafka::KafkaOption;
    use tidewatch_metrics::GroupId;

    use super::*;
    use crate::config::Problem;
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
