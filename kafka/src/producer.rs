//! Sends records, one after the other, and waits for each to be acknowledged.

use std::fmt;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError as NativeError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};

use crate::context::Context;
use crate::options::{KafkaOption, OptionRules};
use crate::producer_error::ProducerError;

/// The time in which a record is acknowledged or given up.
pub const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);
/// librdkafka looks for records whose time is over once a second.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(2);
/// Brokers answer a question about a topic within this.
const LOOK_MAX: Duration = Duration::from_secs(3);

/// What options say of a producer.
pub const PRODUCER_RULES: OptionRules = OptionRules {
    defaults: &[
        ("linger.ms", "0"),
        // A topic that is not there is told before the record's time is over.
        ("topic.metadata.propagation.max.ms", "5000"),
    ],
    fixed: &[
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("delivery.report.only.error", "false"),
        // ACKNOWLEDGED_MAX: what has not been acknowledged by then is not sent later by librdkafka.
        ("message.timeout.ms", "10000"),
        // As Java's clients choose; records of one key are in one partition.
        ("partitioner", "murmur2_random"),
    ],
    why_fixed: WHY_FIXED,
    refused: &[
        ("request.required.acks", WHY_FIXED),
        ("delivery.timeout.ms", WHY_FIXED),
        ("message.send.max.retries", WHY_FIXED),
        ("retries", WHY_FIXED),
        ("max.in.flight.requests.per.connection", WHY_FIXED),
        ("max.in.flight", WHY_FIXED),
        ("queuing.strategy", WHY_FIXED),
        ("enable.gapless.guarantee", WHY_FIXED),
        ("transactional.id", "has no meaning: there are no transactions"),
    ],
};

const WHY_FIXED: &str =
    "is not for others to set: it keeps records from being lost, sent twice or out of their order";

const _: () = assert!(ACKNOWLEDGED_MAX.as_millis() == 10_000);

/// A record to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Chooses the partition.
    pub key: &'a [u8],
    /// What it says.
    pub value: &'a [u8],
    /// Names and texts, in this order.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Sends records with all replicas' acknowledgement, each once to its log as long as nothing is given up.
pub struct KafkaProducer(ThreadedProducer<Context>);

impl fmt::Debug for KafkaProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KafkaProducer").field(self.0.context()).finish()
    }
}

impl ProducerContext for Context {
    /// Whoever waits for the record.
    type DeliveryOpaque = Box<SyncSender<Option<RDKafkaErrorCode>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let failure = result.as_ref().err().map(|(error, _)| code(error));
        // One that waits no longer has given the record up.
        waiting.try_send(failure).ok();
    }
}

impl KafkaProducer {
    /// A producer, which connects in the background and goes on trying.
    ///
    /// # Errors
    /// [`ProducerError::Client`] for a configuration that cannot work, such as certificates that are not there.
    pub fn connect(brokers: &str, options: &[KafkaOption]) -> Result<Self, ProducerError> {
        let native = PRODUCER_RULES.native(brokers, options);
        let made = ThreadedProducer::from_config_and_context(&native, Context::default());
        made.map(Self).map_err(|error| ProducerError::Client {
            problem: match error {
                NativeError::ClientCreation(problem) => problem,
                error => error.to_string(),
            },
        })
    }

    /// Sends a record and waits until it is acknowledged or given up. What is given up is not sent later.
    ///
    /// # Errors
    /// [`ProducerError::Unanswered`] or [`ProducerError::Refused`].
    pub fn send(&mut self, record: &Record<'_>) -> Result<(), ProducerError> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in record.headers {
            headers = headers.insert(Header { key, value: Some(*value) });
        }
        let (waiting, outcome) = sync_channel(1);
        let native = BaseRecord::with_opaque_to(record.topic, Box::new(waiting))
            .key(record.key)
            .payload(record.value)
            .headers(headers);
        let sent = match self.0.send(native) {
            // librdkafka refuses by what it heard of the topic last, and asks again after minutes only.
            Err((error, again)) if is_of_topic(code(&error)) => {
                self.look(record.topic)?;
                self.0.send(again)
            }
            sent => sent,
        };
        if let Err((error, _)) = sent {
            return Err(self.failure(code(&error), ACKNOWLEDGED_MAX));
        }
        match outcome.recv_timeout(ACKNOWLEDGED_MAX + GIVEN_UP_WITHIN) {
            Ok(None) => {
                self.0.context().clear();
                Ok(())
            }
            Ok(Some(code)) => Err(self.failure(code, ACKNOWLEDGED_MAX)),
            Err(_) => {
                self.0.purge(PurgeConfig::default().queue().inflight());
                Err(self.failure(RDKafkaErrorCode::MessageTimedOut, ACKNOWLEDGED_MAX))
            }
        }
    }

    /// Asks the brokers for a topic, without sending anything to it.
    ///
    /// # Errors
    /// [`ProducerError::Unanswered`], or [`ProducerError::Refused`] where the topic is not there or not for us.
    pub fn look(&mut self, topic: &str) -> Result<(), ProducerError> {
        let client = self.0.client();
        let metadata = client.fetch_metadata(Some(topic), LOOK_MAX).map_err(|error| {
            // That no broker was there to be asked says less than what was told of them.
            match code(&error) {
                RDKafkaErrorCode::BrokerTransportFailure => {
                    self.failure(RDKafkaErrorCode::OperationTimedOut, LOOK_MAX)
                }
                code => self.failure(code, LOOK_MAX),
            }
        })?;
        self.0.context().clear();
        match metadata.topics().iter().find_map(rdkafka::metadata::MetadataTopic::error) {
            Some(error) => Err(self.failure(error.into(), LOOK_MAX)),
            None => Ok(()),
        }
    }

    /// Whether it can send nothing more; another one can.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.0.client().fatal_error().is_some()
    }

    fn failure(&self, code: RDKafkaErrorCode, within: Duration) -> ProducerError {
        match self.0.client().fatal_error() {
            // Nobody knows then what became of the record, whatever the code.
            Some((_, fatal)) => ProducerError::Unanswered { within, trouble: Some(fatal) },
            None => ProducerError::of(code, within, self.0.context().trouble()),
        }
    }
}

/// librdkafka's code of an error; that of nothing in particular where it has none.
fn code(error: &NativeError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)
}

fn is_of_topic(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::TopicAuthorizationFailed
    )
}

#[cfg(test)]
#[path = "producer_tests.rs"]
mod tests;
