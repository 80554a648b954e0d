//! Where queries find rows.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_metrics::Lsn;
use tidewatch_operators::RuleSet;
use tidewatch_segments::{AlertRow, DeliveryRow, LettersInMemory, Snapshot, WindowRow};

use crate::QueryError;

/// Where queries find rows. All calls may block for a while; they come from threads of queries.
pub trait Source: Send + Sync + Debug {
    /// All rows of records that are acknowledged at the time of the call, and perhaps later ones.
    /// Waits for them at most `timeout`.
    ///
    /// # Errors
    /// [`QueryError::NotReady`] where they cannot be shown in time, [`QueryError::Closed`].
    fn snapshot(&self, timeout: Duration) -> Result<Snapshot, QueryError>;

    /// A file of a segment could not be read.
    fn report_damage(&self, path: &Path);

    /// The files of the log.
    fn wal_segments(&self) -> Vec<WalSegmentRow>;

    /// How far partitions of sources are stored, in the order of their names.
    fn offsets(&self) -> Vec<OffsetRow>;

    /// What is read now of sources, in the order of the sources and then as partitions were found.
    fn sources(&self) -> Vec<SourceRow>;

    /// Transitions of alerts that no file may hold yet. A query takes them before its snapshot and
    /// leaves out those that a file of the snapshot holds.
    fn alerts(&self) -> Vec<AlertRow>;

    /// Attempts to deliver that no file may hold yet, taken likewise.
    fn deliveries(&self) -> Vec<DeliveryRow>;

    /// Dead letters of records behind `after`, up to `upto`, that no file holds, and what was done with any letter.
    /// `None` where some of them are in files already that a later snapshot shows.
    fn letters(&self, after: Lsn, upto: Lsn) -> Option<LettersInMemory>;

    /// The rules in force for the rows of a snapshot that is taken later.
    fn rules(&self) -> Arc<RuleSet>;

    /// Windows of percentiles that closed behind the record `after`, up to `upto`. A query takes them after its
    /// snapshot. `None` where some of them are in files already that a later snapshot shows.
    fn windows(&self, after: Lsn, upto: Lsn) -> Option<Vec<Arc<WindowRow>>>;
}

/// A row of `tidewatch.offsets`: offsets of one partition of a source that are stored without a break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetRow {
    /// The source's configured name.
    pub source: String,
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: u32,
    /// The topic's id; 0 where it is not known.
    pub topic_id: u128,
    /// The first offset; the same as the next one where it is not known.
    pub first_offset: u64,
    /// The offset after the last one.
    pub next_offset: u64,
    /// The record of the last one; 0 where it is not known.
    pub lsn: Lsn,
}

/// A row of `tidewatch.sources`: one partition of a source that is read now.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceRow {
    /// The source's configured name.
    pub source: String,
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: u32,
    /// Whether it is read.
    pub state: &'static str,
    /// The offset behind the last one that is stored.
    pub next_offset: u64,
    /// The offset behind the last one that the brokers have, as they last told.
    pub end_offset: u64,
    /// Messages that are not stored yet.
    pub lag_messages: u64,
    /// The age of the oldest of them, in seconds.
    pub lag_seconds: f64,
    /// Messages that are stored, since the start, as are the counts below.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their samples.
    pub samples: u64,
    /// Messages of which something was refused.
    pub bad_messages: u64,
    /// Messages that were gone before they were read.
    pub gap_messages: u64,
    /// What keeps it from being read.
    pub trouble: Option<Arc<str>>,
}

/// A row of `tidewatch.wal_segments`: one file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalSegmentRow {
    /// The file's name.
    pub file: String,
    /// Its first record; `None` while it has none.
    pub first_lsn: Option<Lsn>,
    /// Its last record; `None` while it has none.
    pub last_lsn: Option<Lsn>,
    /// Length of the file.
    pub bytes: u64,
    /// What the log does with the file.
    pub state: String,
}
