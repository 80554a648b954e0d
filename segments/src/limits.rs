//! What heads, segments and manifests may measure at most.

/// Rows of one chunk of a head.
pub const CHUNK_ROWS: usize = 65_536;
/// Marks (log positions with their row counts) that a head keeps in any case.
pub const MARKS_KEPT: usize = 4_096;
/// Hours with late rows that are listed one by one; beyond it every hour counts as late.
pub const LATE_HOURS_MAX: usize = 256;
/// Rows of one row group of a segment.
pub const GROUP_ROWS_MAX: usize = 131_072;
/// A row group is not ended for the sake of a metric before it has this many rows.
pub const GROUP_ROWS_MIN: usize = 16_384;
/// Bytes of one row group on disk.
pub const GROUP_BYTES_MAX: u64 = 64 << 20;
/// Rows of one row group of a rollup.
pub const ROLLUP_GROUP_ROWS: usize = 8_192;
/// Bytes of one rollup; it is in memory while its segment is written.
pub const ROLLUP_BYTES_MAX: u64 = 16 << 20;
/// A rollup is kept where each of its rows stands for this many rows on average, or more.
pub const ROLLUP_ROWS_PER_ROW_MIN: u64 = 16;
/// A rollup is kept where it takes at most one in this many bytes of the rows' bytes, …
pub const ROLLUP_SHARE_MAX: u64 = 16;
/// … or at most this many bytes: what is so small is soon part of something larger.
pub const ROLLUP_BYTES_FREE: u64 = 16 << 10;
/// Bytes of one footer on disk.
pub const FOOTER_BYTES_MAX: u64 = 64 << 20;
/// Bytes of one file of alerts or deliveries.
pub const EVENTS_BYTES_MAX: u64 = 256 << 20;
/// The log's time for which an idempotency key stands for its record.
pub const KEYS_KEPT_NANOS: i64 = 24 * 3_600 * 1_000_000_000;
/// Bytes of one file of the manifest.
pub const DELTA_BYTES_MAX: u64 = 256 << 20;
/// Every delta whose number is a multiple of this is full, and older ones are removed.
pub const DELTAS_PER_FULL: u64 = 64;
/// Memory for the footers of segments that were read lately.
pub const FOOTER_CACHE_BYTES_MAX: usize = 64 << 20;
/// Segments that are merged into one at a time: each has one row group in memory.
pub const MERGE_INPUTS_MAX: usize = 64;

const _: () = assert!(GROUP_ROWS_MIN < GROUP_ROWS_MAX);
// Decoded and uncompressed, a row takes 39 bytes of columns; the bound leaves ample room.
const _: () = assert!(GROUP_ROWS_MAX as u64 * 100 < GROUP_BYTES_MAX);
