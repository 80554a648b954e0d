//! Reads Kafka into the log: each message once, whatever crashes.
//!
//! A source is a thread. It asks the engine how far each partition is stored, has the partition read from there,
//! and hands what comes to [`Ingest::write_source`](crate::Ingest::write_source): one record is some messages
//! of one partition with their offsets. While a record of a partition is on its way to the disk, the next
//! messages gather; beyond [`GATHERED_BYTES_MAX`](crate::limits::GATHERED_BYTES_MAX) nothing is fetched. What
//! was fetched and is not stored is forgotten at a stop and after a refusal, and fetched again.

mod discovery;
mod group;
mod health;
mod partition;
mod reader;

pub use health::{SourceHealth, SourceTrouble};
pub use reader::KafkaReader;
