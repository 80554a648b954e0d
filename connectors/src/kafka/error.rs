//! What Kafka or librdkafka refuses.

use rdkafka::error::KafkaError as NativeError;

/// Why something could not be done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KafkaError {
    /// There is no client with this configuration.
    #[error("no Kafka client can be made of this configuration")]
    Client(#[source] Box<NativeError>),
    /// The brokers did not answer, or refused.
    #[error("the brokers were asked for {asked} and gave none")]
    Request {
        /// What they were asked for.
        asked: &'static str,
        /// Why they gave none.
        #[source]
        source: Box<NativeError>,
    },
    /// A partition cannot be read.
    #[error("partition {partition} of {topic:?} cannot be read: {problem}")]
    Partition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// What librdkafka says.
        problem: String,
    },
    /// A name that no topic can have.
    #[error("{topic:?} is no name of a topic")]
    TopicName {
        /// The name.
        topic: String,
    },
}

pub(super) fn refused(asked: &'static str) -> impl Fn(NativeError) -> KafkaError {
    move |source| KafkaError::Request { asked, source: Box::new(source) }
}
