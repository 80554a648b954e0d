//! The log: opaque payloads, numbered, checked, and durable when acknowledged.
//!
//! [`Wal`] has one owner, the committer, which appends records, writes them as a group and syncs
//! them. [`Wal::recover`] reads what a crash left, in one pass, and gives the writer; [`WalReader`]
//! and [`verify`] read without changing anything. [`Preallocator`] readies files beside the
//! committer. No thread starts here, and nothing here knows what a payload means.
//!
//! [`Archive`] keeps packed copies of files that the log releases.
//!
//! The bytes are described at the head of `frame.rs`, `segment.rs` and `archive_file.rs`, and in
//! `docs/formats.md`.

mod active_segment;
mod archive;
mod archive_dir;
mod archive_file;
mod block;
mod config;
mod error;
mod frame;
mod gap;
mod instruments;
mod limits;
mod log_dir;
mod packer;
mod part;
mod preallocator;
mod reader;
mod recovery;
mod rotation;
mod salvage;
mod segment;
mod segment_reader;
mod source;
mod stock;
mod tail;
mod unpacker;
mod verify;
mod writer;

#[cfg(test)]
mod archive_crash_tests;
#[cfg(test)]
mod archive_damage_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod testing;

pub use crate::archive::{Archive, last_archived};
pub use crate::archive_dir::ArchivedSegment;
pub use crate::config::{ConfigProblem, WalConfig};
pub use crate::error::{Damage, WalError};
pub use crate::frame::payload_crc;
pub use crate::gap::Gap;
pub use crate::instruments::{ArchiveInstruments, WalInstruments};
pub use crate::limits::{
    FRAME_OVERHEAD_BYTES_MAX, KIND_CALLER_MIN, KIND_GAP, KIND_MARK, SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
};
pub use crate::preallocator::Preallocator;
pub use crate::reader::{Record, WalReader};
pub use crate::recovery::{RecoverySummary, TornTail};
pub use crate::salvage::{FileGap, FileRepair, Salvage, SalvageScope};
pub use crate::segment::{SegmentState, WalSegmentInfo};
pub use crate::verify::{StatedGap, VerifyProblem, VerifyReport, verify, verify_archive};
pub use crate::writer::{Wal, WalHome};
