//! Source offsets: samples that come from a partition of messages, such as Kafka's, are stored once.
//!
//! The offsets of a batch of messages are in the log record of their samples, so whoever finds the
//! samples after a crash finds how far the partition was read. A checkpoint has the offsets up to its
//! position in the log, and a start takes the later ones from the log, before it takes writes. Whoever
//! reads a partition asks the engine where to go on, and nobody else.

mod door;
mod offsets;
mod stored;

pub use self::door::{SourceClaim, Sources};
pub use self::offsets::{SourceOffsets, SourcePartition};
pub use self::stored::{StoredOffsets, StoredRange};
