//! What sources and sinks have in common where they talk to Apache Kafka: options of librdkafka and their check,
//! what librdkafka tells of brokers, and a producer that waits for its acknowledgements.
//!
//! Nothing here knows samples, alerts or the engine.

mod context;
mod names;
mod options;
mod producer;
mod producer_error;

pub use context::{Context, Rebalance};
pub use names::{are_brokers, is_topic};
pub use options::{KafkaOption, OptionError, OptionRules};
pub use producer::{ACKNOWLEDGED_MAX, KafkaProducer, PRODUCER_RULES, Record};
pub use producer_error::ProducerError;
