//! Samples in columns, from memory to Parquet: head, writer, reader, manifest, snapshot.
//!
//! A shard appends to its [`Head`]; [`Head::freeze`] takes the rows so far, [`flush()`] writes them
//! to a segment and names it in the [`Manifest`], and [`Published`] shows readers either the frozen
//! rows or the segment, never both and never neither. Everything durable goes through
//! [`tidewatch_env::Disk`]; `docs/formats.md` describes the files.

pub mod chunk;
pub mod compact;
pub mod deletes;
pub mod error;
pub mod events;
pub mod file_meta;
pub mod flush;
pub mod head;
pub mod instruments;
pub mod keys_file;
pub mod late_hours;
pub mod letter_marks;
pub mod letters;
pub mod letters_file;
pub mod limits;
pub mod manifest;
pub mod merge;
pub mod reader;
pub mod retention;
pub mod rollup;
pub mod salvage;
pub mod segment;
pub mod slot_set;
pub mod snapshot;
pub mod tail;
pub mod tiers;
pub mod verify;
pub mod view;
pub mod windows;

#[cfg(test)]
mod fixtures;

mod delta;
mod footer;
mod group_builder;
mod output;
mod series_file;
mod sort;
mod value_form;
mod writer;

pub use chunk::{ChunkView, HeadColumns};
pub use compact::{Compaction, Prepared, Task, Why, commit_deletes, quarantine};
pub use deletes::Delete;
pub use error::SegmentsError;
pub use events::{
    AlertRow, DeliveryRow, EventFile, alerts_batch, alerts_schema, deliveries_batch,
    deliveries_schema,
};
pub use file_meta::{FileKind, FileMeta, FlushedSlots, MetricName, Retained, RowGroupMeta};
pub use flush::{Events, Flush, Flushed, flush};
pub use head::{Head, RowColumns};
pub use instruments::{CompactionInstruments, SegmentsInstruments};
pub use keys_file::{KeyRow, RequestKey, read_keys};
pub use late_hours::LateHours;
pub use letter_marks::read_marks;
pub use letters::{
    Letter, LetterEnd, LetterId, LetterLimits, LetterMark, LetterMarkRow, LetterRow,
    LettersInMemory,
};
pub use letters_file::{letter_groups, letters_batch, letters_schema, read_letters};
pub use manifest::{Manifest, remove_orphans};
pub use merge::{Erase, Merge, Merged, merge, merging_bytes};
pub use output::Sealed;
pub use reader::{Predicate, Projection, SegmentColumns, SegmentReader};
pub use retention::Retention;
pub use rollup::{RollupColumns, RollupReader};
pub use salvage::{DamagedFile, Keep, Salvaged, SegmentsSalvage};
pub use segment::{FooterCache, Segment};
pub use series_file::restore_catalog;
pub use slot_set::SlotSet;
pub use snapshot::{Published, Snapshot};
pub use tail::{TailPlace, TailRows};
pub use tiers::{DueMerge, due_merge};
pub use verify::{VerifyProblem, VerifyReport, list, verify};
pub use view::{FrozenHead, HeadShared, HeadView};
pub use windows::{WindowRow, percentiles_batch, percentiles_schema};
