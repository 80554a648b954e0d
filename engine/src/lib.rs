//! The engine: conducts ingest, shards, recovery and the outbox over the log.
//!
//! Three functions conduct, and nothing calls them back: [`ingest::Ingest::write_lines`],
//! [`shard::Shard::step`] and, between them, [`committer::Committer::commit`]. They are plain steps;
//! `threads` runs them in the process, the crash laboratory runs them one by one.

mod admission;
mod budget;
mod cardinality;
mod checkpoint;
pub mod committer;
mod compactor;
mod config;
mod data_dir;
mod deletes;
pub mod dispatch;
mod engine;
mod error;
mod feeds;
mod flusher;
mod hashes;
mod idempotency;
pub mod ingest;
mod ingest_messages;
mod ingest_series;
mod inline;
mod instruments;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(any(test, feature = "lab"))]
pub mod lab;
mod lane;
mod left_out;
mod letters;
pub mod limits;
mod line_cache;
mod locals;
mod opened;
mod outbox;
mod priming;
mod progress;
pub mod record;
mod recovery;
mod replayer;
mod retention;
mod salvage;
mod segment_sums;
mod series_bytes;
pub mod shard;
mod sources;
mod stopped;
mod threads;
mod turn;
mod upkeep;
mod verify;
mod verify_shard;
mod window_sums;
pub mod windows;

#[cfg(test)]
mod testing;

/// Version of the operators: replays are compared only where it is equal. It changes whenever the
/// same log would give other severities, windows or alerts.
pub const OPERATORS_VERSION: u32 = 4;

pub use admission::{Admission, Permit};
pub use checkpoint::{CheckpointRecord, SlotMark, WindowsMark};
pub use config::{CheckpointPolicy, EngineConfig, ReplayPolicy};
pub use data_dir::DataDir;
pub use deletes::{DeleteRecord, Deletes};
pub use engine::{Engine, EngineHealth, EngineHome, SinkTrouble};
pub use error::{EngineError, ErrorKind, chain};
pub use feeds::{FeedConfig, FeedContent, FeedNote};
pub use idempotency::{
    Claim, Claimed, Idempotency, IdempotencyKey, KeyLimits, StoredAnswer, Wake, request_hash,
};
pub use ingest::{Ack, Done, Durability, Ingest, IngestConfig, LineReport, LineWrite, RefusedLine};
pub use ingest_messages::{BadMessage, OnBad, SourceReport, SourceWrite};
pub use ingest_series::SeriesWrite;
pub use letters::{LetterClaim, LetterFate, LetterReading, Letters, LettersTold};
pub use outbox::{EventTail, Outbox};
pub use priming::{PrimedParts, PrimedRecord, PrimedState, ShardPrimed};
pub use recovery::RecoveryState;
pub use retention::{RetentionInForce, RetentionRules};
pub use salvage::{
    CutLog, DamagedCheckpoint, DamagedDelta, DamagedLogFile, LeftOutRecord, LostRows, LostSegment,
    MissingRecords, SalvageReport,
};
pub use sources::{
    SourceClaim, SourceOffsets, SourcePartition, Sources, StoredOffsets, StoredRange,
};
pub use stopped::Stopped;
pub use turn::Turn;
pub use verify::{Verdict, VerifyConfig, VerifyReport, verify};
