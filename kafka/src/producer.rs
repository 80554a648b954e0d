//! Sends records and waits until they are acknowledged.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
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
    /// Chooses the partition; without one any may be chosen.
    pub key: Option<&'a [u8]>,
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
    type DeliveryOpaque = Box<Waiting>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let failure = result.as_ref().err().map(|(error, _)| code(error));
        // One that waits no longer has given the record up.
        waiting.outcomes.try_send((waiting.place, failure)).ok();
    }
}

/// Whoever waits for a record of several, the `place`th of them.
#[derive(Debug)]
pub struct Waiting {
    place: usize,
    outcomes: SyncSender<Acknowledgement>,
}

/// Of which record, and why it failed, if it did.
type Acknowledgement = (usize, Option<RDKafkaErrorCode>);

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
        match self.send_all(std::slice::from_ref(record))?.pop() {
            Some((_, refusal)) => Err(refusal),
            None => Ok(()),
        }
    }

    /// Sends records and waits until each is acknowledged or given up. Those of one key keep their order. Gives the places of those
    /// that brokers refuse for good, and why; all others are acknowledged.
    ///
    /// # Errors
    /// [`ProducerError::Unanswered`] or [`ProducerError::Refused`] of the first record that is worth another attempt;
    /// any of the others may be in the topic.
    pub fn send_all(
        &mut self,
        records: &[Record<'_>],
    ) -> Result<Vec<(usize, ProducerError)>, ProducerError> {
        let refused = self.send_batch(records)?;
        if records.len() < 2 {
            return Ok(refused);
        }
        // A broker refuses records that came together as one: alone it may take most of them.
        let mut refused_alone = Vec::new();
        for (place, _) in refused {
            let alone = self.send_batch(&records[place..=place])?;
            refused_alone.extend(alone.into_iter().map(|(_, refusal)| (place, refusal)));
        }
        Ok(refused_alone)
    }

    fn send_batch(
        &mut self,
        records: &[Record<'_>],
    ) -> Result<Vec<(usize, ProducerError)>, ProducerError> {
        let (outcomes, acknowledged) = sync_channel(records.len().max(1));
        let mut answers = Answers { acknowledged, open: 0, refused: Vec::new(), failure: None };
        for (place, record) in records.iter().enumerate() {
            let waiting = Waiting { place, outcomes: outcomes.clone() };
            match self.hand_over(record, waiting, &mut answers) {
                Ok(()) => answers.open += 1,
                Err(code) => self.note(&mut answers, (place, Some(code))),
            }
            if answers.failure.is_some() {
                break;
            }
        }
        while answers.open > 0 {
            self.await_one(&mut answers);
        }
        match answers.failure {
            Some(failure) => Err(failure),
            None => {
                self.0.context().clear();
                answers.refused.sort_by_key(|(place, _)| *place);
                Ok(answers.refused)
            }
        }
    }

    /// Gives a record to librdkafka; where it has no room, waits until it has.
    fn hand_over(
        &mut self,
        record: &Record<'_>,
        waiting: Waiting,
        answers: &mut Answers,
    ) -> Result<(), RDKafkaErrorCode> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in record.headers {
            headers = headers.insert(Header { key, value: Some(*value) });
        }
        let mut native: BaseRecord<'_, [u8], [u8], _> =
            BaseRecord::with_opaque_to(record.topic, Box::new(waiting))
                .payload(record.value)
                .headers(headers);
        if let Some(key) = record.key {
            native = native.key(key);
        }
        let mut has_looked = false;
        loop {
            let (code, again) = match self.0.send(native) {
                Ok(()) => return Ok(()),
                Err((error, again)) => (code(&error), again),
            };
            let has_room_soon = code == RDKafkaErrorCode::QueueFull && answers.open > 0;
            // librdkafka refuses by what it heard of the topic last, and asks again after minutes only.
            let may_be_heard = is_of_topic(code) && !has_looked;
            if has_room_soon {
                self.await_one(answers);
            } else if may_be_heard {
                has_looked = true;
                if let Err(failure) = self.look(record.topic) {
                    answers.failure.get_or_insert(failure);
                }
            }
            if !has_room_soon && !may_be_heard || answers.failure.is_some() {
                return Err(code);
            }
            native = again;
        }
    }

    /// Waits for the next answer; without one in time, everything is given up.
    fn await_one(&self, answers: &mut Answers) {
        match answers.acknowledged.recv_timeout(ACKNOWLEDGED_MAX + GIVEN_UP_WITHIN) {
            Ok(answer) => {
                answers.open -= 1;
                self.note(answers, answer);
            }
            Err(_) => {
                self.0.purge(PurgeConfig::default().queue().inflight());
                answers.open = 0;
                self.note(answers, (0, Some(RDKafkaErrorCode::MessageTimedOut)));
            }
        }
    }

    fn note(&self, answers: &mut Answers, (place, code): Acknowledgement) {
        let Some(code) = code else { return };
        match self.failure(code, ACKNOWLEDGED_MAX) {
            refusal @ ProducerError::Refused { is_for_good: true, .. } => {
                answers.refused.push((place, refusal));
            }
            failure => {
                answers.failure.get_or_insert(failure);
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

/// What has become of records that are on their way.
struct Answers {
    acknowledged: Receiver<Acknowledgement>,
    /// Records that have no answer.
    open: usize,
    refused: Vec<(usize, ProducerError)>,
    /// The first that is worth another attempt.
    failure: Option<ProducerError>,
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
