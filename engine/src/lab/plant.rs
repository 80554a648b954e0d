//! Bugs for the laboratory to find.

use tidewatch_env::DiskOp;

use crate::lab::tally::FileOp;
use crate::lab::tape::BadSyncs;

/// A bug for the laboratory to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// None.
    Nothing,
    /// No file is ever synced.
    NoFileSync,
    /// No directory is ever synced.
    NoDirectorySync,
    /// One kind of sync of one kind of file is missing.
    Missing(FileOp),
    /// Clients are answered before the sync.
    AckBeforeSync,
    /// The receiver is told before the sync.
    AlertBeforeSync,
    /// Checkpoints do not say how far in the log their states are.
    CheckpointWithoutLsn,
    /// Neither files nor checkpoints are told of idempotency keys.
    KeysNotPersisted,
    /// Checkpoints do not say how far sources are stored.
    OffsetsNotPersisted,
    /// Offsets of messages have a record of their own, before that of the samples.
    OffsetsBeforeData,
    /// A sync that fails is tried again on the same file, and believed then.
    RetryAfterEio,
}

impl Plant {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let syncs = [
            ("log spare", DiskOp::Sync),
            ("log file", DiskOp::Sync),
            ("log directory", DiskOp::SyncDir),
            ("samples file", DiskOp::Sync),
            ("merge file", DiskOp::Sync),
            ("series file", DiskOp::Sync),
            ("alerts file", DiskOp::Sync),
            ("deliveries file", DiskOp::Sync),
            ("keys file", DiskOp::Sync),
            ("percentiles file", DiskOp::Sync),
            ("dead letters file", DiskOp::Sync),
            ("letter marks file", DiskOp::Sync),
            ("segments directory", DiskOp::SyncDir),
            ("manifest file", DiskOp::Sync),
            ("manifest directory", DiskOp::SyncDir),
            ("slots file", DiskOp::Sync),
            ("checkpoint file", DiskOp::Sync),
            ("checkpoints directory", DiskOp::SyncDir),
            ("archive file", DiskOp::Sync),
            ("archive directory", DiskOp::SyncDir),
        ];
        let bugs = [
            Self::NoFileSync,
            Self::NoDirectorySync,
            Self::AckBeforeSync,
            Self::AlertBeforeSync,
            Self::CheckpointWithoutLsn,
            Self::KeysNotPersisted,
            Self::OffsetsNotPersisted,
            Self::OffsetsBeforeData,
            Self::RetryAfterEio,
        ];
        bugs.into_iter().chain(syncs.into_iter().map(Self::Missing))
    }

    /// What it is, in words.
    #[must_use]
    pub fn told(self) -> String {
        match self {
            Self::Nothing => "no bug".to_owned(),
            Self::NoFileSync => "no file is synced".to_owned(),
            Self::NoDirectorySync => "no directory is synced".to_owned(),
            Self::Missing((kind, _)) => format!("no sync of the {kind}"),
            Self::AckBeforeSync => "answer before the sync".to_owned(),
            Self::AlertBeforeSync => "alert before the sync".to_owned(),
            Self::CheckpointWithoutLsn => "checkpoint without its place in the log".to_owned(),
            Self::KeysNotPersisted => "idempotency window not persisted".to_owned(),
            Self::OffsetsNotPersisted => "source offsets not persisted".to_owned(),
            Self::OffsetsBeforeData => "offsets before data".to_owned(),
            Self::RetryAfterEio => "a failed sync is tried again".to_owned(),
        }
    }

    pub(super) fn bad_syncs(self) -> BadSyncs {
        match self {
            Self::Missing(left_out) => BadSyncs { left_out: Some(left_out), retried: false },
            Self::RetryAfterEio => BadSyncs { left_out: None, retried: true },
            _ => BadSyncs::default(),
        }
    }
}
