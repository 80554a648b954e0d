//! What rules may measure at most.

use tidewatch_metrics::time::NANOS_PER_SECOND;

/// Rules of one set.
pub const RULES_MAX: usize = 1_000;
/// Bytes of a rule's name.
pub const RULE_NAME_BYTES_MAX: usize = 128;
/// Bytes of a rule's priority.
pub const PRIORITY_BYTES_MAX: usize = 128;
/// Matchers of one rule.
pub const MATCHERS_MAX: usize = 64;
/// Bytes of a matcher's value.
pub const MATCHER_BYTES_MAX: usize = 1_024;
/// Bytes that a compiled regular expression may take.
pub const REGEX_PROGRAM_BYTES_MAX: usize = 256 * 1_024;
/// `for` and `keep_firing`: 30 days in nanoseconds.
pub const RULE_DURATION_NANOS_MAX: i64 = 30 * 86_400 * NANOS_PER_SECOND;
