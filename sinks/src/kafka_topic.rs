//! A topic of Apache Kafka that is written to, and the connection to its brokers.

use tidewatch_kafka::{
    KafkaOption, KafkaProducer, PRODUCER_RULES, ProducerError, Record, are_brokers, is_topic,
};

use crate::config::Problem;
use crate::limits::ERROR_CHARS_MAX;
use crate::sink::shortened;

/// A topic that alerts or rows go to. `Debug` does not show the values of options.
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

/// A topic, connected when it is first used.
#[derive(Debug)]
pub(crate) struct KafkaTopic {
    config: KafkaSinkConfig,
    /// None before the first attempt, and after one that has ruined it.
    producer: Option<KafkaProducer>,
    /// The last look had no answer, for no known reason: a connection may take its time.
    was_late: bool,
}

/// A record but for its topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: &'a [u8],
    pub(crate) headers: &'a [(&'a str, &'a str)],
}

impl KafkaTopic {
    /// Not connected yet.
    pub(crate) fn new(config: KafkaSinkConfig) -> Self {
        Self { config, producer: None, was_late: false }
    }

    /// Sends records and waits for their acknowledgements; gives the places of those that are refused for good, and why.
    ///
    /// # Errors
    /// As [`KafkaProducer::send_all`], and of a configuration that cannot work.
    pub(crate) fn send(
        &mut self,
        told: &[Told<'_>],
    ) -> Result<Vec<(usize, ProducerError)>, ProducerError> {
        let Self { config, producer, .. } = self;
        let records = told.iter().map(|told| {
            let Told { key, value, headers } = *told;
            Record { topic: &config.topic, key, value, headers }
        });
        let records: Vec<_> = records.collect();
        let sent = connected(config, producer).and_then(|producer| producer.send_all(&records));
        self.producer.take_if(|producer| producer.is_dead());
        sent
    }

    /// Asks the brokers for the topic; why records would not be taken, if that is known.
    pub(crate) fn look(&mut self) -> Option<String> {
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
