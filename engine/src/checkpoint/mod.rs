//! Checkpoints: the operators' state, slot by slot, each at its own record of the log, and what else a
//! start needs that does not read the log from its beginning.
//!
//! Invariant: the rows of a slot up to its record are in segments, and the transitions that they
//! caused are in the log. So a start replays each slot's rows behind its record, and no others.

mod archiver;
mod base;
mod checkpointer;
mod index;
mod record;
mod rounds;
mod store;

pub(crate) use self::archiver::Archiver;
pub(crate) use self::base::Base;
#[cfg(any(test, feature = "lab"))]
pub(crate) use self::checkpointer::Round;
pub(crate) use self::checkpointer::{Checkpointer, EncodedSlot, Kept};
pub(crate) use self::index::{CheckpointIndex, OutboxEntry, SinkEntry};
pub use self::record::{CheckpointRecord, SlotMark, WindowsMark};
pub(crate) use self::rounds::{Last, Rounds};
pub(crate) use self::store::{Checkpoint, CheckpointStore};
