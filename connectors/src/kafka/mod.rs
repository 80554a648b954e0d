//! Apache Kafka: partitions that the caller chooses, from offsets that the caller knows.
//!
//! Whoever reads says where each partition begins, and stores the offsets beside what it made of the messages. Without a
//! group there are no commits; a member of one reads what the group gives it, and tells it how far it is. Messages come in batches through one queue for all partitions
//! (`rd_kafka_consume_batch_queue` of librdkafka), which costs half of what a call per message does. The files
//! `fetch_queue.rs`, `headers.rs` and `topic_ids.rs` call librdkafka themselves, because `rdkafka` has no such calls; all
//! else goes through it.

mod client;
mod config;
mod error;
mod fetch_queue;
mod headers;
mod instruments;
mod member;
mod position;
mod topic_ids;
mod topics;

pub use client::{KafkaClient, TopicPartitions, Watermarks};
pub use config::{KafkaConfig, KafkaProblem, OnBadMessage, Start};
pub use error::KafkaError;
pub use fetch_queue::{Fetched, What};
pub use headers::HeaderLabel;
pub use instruments::{KafkaInstruments, PartitionLabels, SourceLabel};
pub use member::Committed;
pub use position::{Begin, begin};
pub use tidewatch_kafka::Rebalance;
pub use topics::{TopicChoice, TopicChoiceError};
