//! What the engine holds at most.

/// Bytes of one group of records that are synced together.
pub const GROUP_BYTES_MAX: usize = 16 << 20;
/// Records of one group.
pub const GROUP_RECORDS_MAX: usize = 4_096;
/// Requests between the door and the shards.
pub const REQUESTS_MAX: u64 = 4_096;
/// Records that wait for the committer: every admitted request, and what the outbox adds.
pub const COMMIT_QUEUE_MAX: usize = 8_192;
/// Messages that wait for a shard.
pub const SHARD_QUEUE_MAX: usize = 16_384;
/// Frozen heads of one shard that wait for their flush; beyond, writes are answered 429.
pub const FROZEN_HEADS_MAX: usize = 3;
/// Messages that wait for one sink; beyond, the oldest become dead letters.
pub const OUTBOX_MESSAGES_MAX: usize = 100_000;
/// Samples of a body beyond which the memory for decoding it is not kept for the next one.
pub const LANE_SAMPLES_KEPT_MAX: usize = 65_536;
/// Clients whose series are counted.
pub const CLIENTS_COUNTED_MAX: usize = 256;
/// Ranges of offsets that are kept of each; older ones are forgotten.
pub const STORED_RANGES_MAX: usize = 256;
/// Partitions of sources whose offsets are kept; a checkpoint has all of them.
pub const SOURCE_PARTITIONS_MAX: usize = 16_384;
/// Bytes of messages that one source gathers; beyond, it fetches no more until some are stored.
pub const GATHERED_BYTES_MAX: usize = 16 << 20;
/// Bytes of messages that become one record, but for a single message that has more.
pub const SOURCE_RECORD_BYTES_MAX: usize = 4 << 20;
/// Log time moves on after this, while samples arrive.
pub const TICK_NANOS: i64 = 1_000_000_000;
/// Bytes of closed windows that are put into a file without waiting for a head.
pub const WINDOWS_FILED_BYTES: usize = 16 << 20;
/// Bytes of closed windows that wait for a file; beyond, writes are answered 429.
pub const WINDOWS_WAITING_BYTES_MAX: usize = 64 << 20;
/// Bytes of letters that are put into a file without waiting for a head.
pub const LETTERS_FILED_BYTES: usize = 8 << 20;
/// Bytes of letters that wait for a file; beyond, no more messages are taken.
pub const LETTERS_WAITING_BYTES_MAX: usize = 32 << 20;
/// Bytes of letters after which a file has no further record.
pub const LETTERS_FILE_BYTES_MAX: usize = 32 << 20;
/// Bytes of letters of one record; beyond, the record has fewer messages.
pub const RECORD_LETTERS_BYTES_MAX: usize = 8 << 20;
/// Bytes of a message, and of its key, that a letter keeps.
pub const LETTER_BYTES_MAX: usize = 1 << 20;
/// Bytes of a letter's reason.
pub const LETTER_REASON_BYTES_MAX: usize = 512;
/// Letters that one request may name.
pub const LETTERS_NAMED_MAX: usize = 1_000;
/// Bytes of rows that wait for one topic; beyond, the oldest are left out.
pub const FEED_BYTES_MAX: usize = 16 << 20;
/// Bytes of rows that are sent to a topic at a time, but for a single row that has more.
pub const FEED_BATCH_BYTES_MAX: usize = 2 << 20;
/// Rows that are sent to a topic at a time.
pub const FEED_BATCH_ROWS_MAX: usize = 10_000;
/// Detectors that learn from stored rows at the same time.
pub const PRIMING_SERIES_MAX: usize = 8_192;
/// Series of one record of what detectors have learnt.
pub const PRIMED_SERIES_MAX: usize = 256;
/// Bytes of the states of one such record, but for a single state that has more. The least file of the log has room for it.
pub const PRIMED_BYTES_MAX: usize = 512 << 10;
/// Samples after which a tick asks for an output hash.
pub const HASH_TICK_ROWS: u64 = 1_000_000;

const _: () = assert!(FEED_BYTES_MAX > 4 * LETTER_BYTES_MAX + FEED_BATCH_BYTES_MAX);
const _: () = assert!(LETTERS_FILED_BYTES < LETTERS_WAITING_BYTES_MAX);
const _: () = assert!(RECORD_LETTERS_BYTES_MAX > 3 * LETTER_BYTES_MAX);
const _: () = assert!(WINDOWS_FILED_BYTES < WINDOWS_WAITING_BYTES_MAX);
const _: () = assert!(SHARD_QUEUE_MAX as u64 > 2 * REQUESTS_MAX);
const _: () = assert!(COMMIT_QUEUE_MAX as u64 > REQUESTS_MAX);
