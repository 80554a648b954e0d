//! Bounds of the log.

use crate::frame::FRAME_HEADER_BYTES;
use crate::segment::SEGMENT_HEADER_BYTES;

/// Kind of a mark: a record without payload that is synced when the log falls idle.
pub const KIND_MARK: u8 = 1;

/// Kind of a gap: records that were damaged, and that a salvage left out. Its payload, a u64, is the
/// LSN of the last one.
pub const KIND_GAP: u8 = 2;

/// The least kind for callers; those below belong to the log.
pub const KIND_CALLER_MIN: u8 = 16;

/// The smallest WAL segment that works. It is for tests of what happens between files: the product's
/// settings begin at 1 MiB.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;

/// The largest WAL segment that can be configured.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// The smallest bound of a frame that can be configured.
pub(crate) const FRAME_BYTES_MIN: u64 = 4096;

/// What a frame has beside its payload: the header, and up to 7 bytes to the next multiple of 8.
pub const FRAME_OVERHEAD_BYTES_MAX: u64 = FRAME_HEADER_BYTES as u64 + 7;

/// Size of a WAL segment that is needed while no file is ready: small, because the committer waits
/// for its zeros.
pub(crate) const INLINE_SEGMENT_BYTES: u64 = 8 << 20;

/// Files kept ready or for reuse; one is in use while the other is readied.
pub(crate) const SPARES_MAX: usize = 2;

/// Zeros written by one step of the preallocator.
pub(crate) const STEP_BYTES: usize = 1 << 20;

/// A group is written when it has grown to this, whether or not its owner asks for it.
pub(crate) const GROUP_BYTES: usize = 1 << 20;

/// Parts of a payload of this size are written from where they lie, not copied into the group.
pub(crate) const DIRECT_BYTES: usize = 256 << 10;

/// Bytes read at once; a larger frame is read whole.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// Bytes read at once where the log grows: a group is seldom larger, and is read about once.
pub(crate) const GROWING_BLOCK_BYTES: usize = 64 << 10;

/// How hard the archive packs: level 1 of zstd. It shares the cores with ingest, of which level 3 took
/// an eighth at full load.
pub(crate) const ARCHIVE_LEVEL: i32 = 1;

/// Bound of the memory that an archived file can ask for: 8 MiB, far above what its level takes.
pub(crate) const ARCHIVE_WINDOW_LOG_MAX: u32 = 23;

/// Greatest LSN that is accepted on reading, so that arithmetic on what is read cannot overflow.
pub(crate) const LSN_MAX: u64 = u64::MAX / 2;

const _: () = assert!(FRAME_BYTES_MIN + (SEGMENT_HEADER_BYTES as u64) < SEGMENT_BYTES_MIN);
const _: () = assert!(DIRECT_BYTES <= GROUP_BYTES);
const _: () = assert!(SEGMENT_BYTES_MAX <= u32::MAX as u64, "a frame's length is a u32");
