//! What a sink, its queue and its answers may measure at most.

use std::time::Duration;

/// One attempt at a webhook, from the look-up of its name to the last byte of the answer.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept: less than the 5 s after which common servers close it.
pub const WEBHOOK_IDLE_MAX: Duration = Duration::from_secs(3);
/// How often the brokers of a topic are asked for it while nothing is to be delivered.
pub const KAFKA_LOOK_EVERY: Duration = Duration::from_secs(10);
/// Bytes read of the body of an answer.
pub const RESPONSE_BYTES_MAX: u64 = 64 * 1_024;
/// Bytes of the head of an answer.
pub const RESPONSE_HEADER_BYTES_MAX: usize = 32 * 1_024;
/// Characters of the answer's body that are quoted in a report.
pub const RESPONSE_EXCERPT_CHARS_MAX: usize = 256;
/// Characters of an error in a report.
pub const ERROR_CHARS_MAX: usize = 512;
/// The longest wait that `Retry-After` can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// Wait before the second attempt, and the shortest wait of all.
pub const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);
/// The longest wait that this side chooses.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(60);
/// How long after its acceptance a message is given up.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// Messages in one courier's queue.
pub const QUEUE_MESSAGES_MAX: usize = 10_000;
/// Bytes in one courier's queue.
pub const QUEUE_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Bytes of a sink's name.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of a webhook's address.
pub const URL_BYTES_MAX: usize = 2_048;

const _: () = assert!(RETRY_DELAY_MIN.as_nanos() < RETRY_DELAY_MAX.as_nanos());
const _: () = assert!(RETRY_DELAY_MAX.as_nanos() < RETRY_AFTER_MAX.as_nanos());
const _: () = assert!(RETRY_AFTER_MAX.as_nanos() < GIVE_UP_AFTER.as_nanos());
// The largest series has names of 32 KiB: many such messages must fit.
const _: () = assert!(QUEUE_BYTES_MAX > 100 * tidewatch_metrics::limits::SERIES_KEY_BYTES_MAX);
