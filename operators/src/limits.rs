//! What rules and percentiles may measure at most.

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
/// `budget`, at most: more alerts a week than anybody reads.
pub const BUDGET_MAX: f64 = 1e6;
/// The number of `absent > SECONDS`, at most: 30 days.
pub const ABSENCE_SECONDS_MAX: i64 = RULE_DURATION_NANOS_MAX / NANOS_PER_SECOND;
/// Silences of one slot that a tick looks at; the next tick goes on. So a tick puts out at most 16,384 transitions,
/// also where all series fall silent at the same time.
pub const ABSENCES_PER_TICK: usize = 64;
/// `[[percentiles]]` of one set.
pub const PERCENTILES_MAX: usize = 64;
/// Labels that one of them groups by.
pub const BY_MAX: usize = 16;
/// Quantiles of one of them.
pub const QUANTILES_MAX: usize = 16;
/// The shortest window and the shortest slide: windows close at ticks, which are a second apart. Nanoseconds.
pub const WINDOW_NANOS_MIN: i64 = NANOS_PER_SECOND;
/// The longest window, `lateness` and `keep`: a day in nanoseconds.
pub const WINDOW_NANOS_MAX: i64 = 86_400 * NANOS_PER_SECOND;
/// Windows that one moment may lie in: the window in slides.
pub const SLIDES_MAX: i64 = 360;
/// Groups of one of them.
pub const GROUPS_MAX: usize = 10_000;
/// Rules on percentiles of one set. So there are at most as many alerts as groups times this.
pub const WINDOW_RULES_MAX: usize = 32;
/// Bytes that the windows of all of them take, as they are counted.
pub const WINDOWS_BYTES_MAX: usize = 64 << 20;

/// `[[detect]]` of one set.
pub const DETECTS_MAX: usize = 1_000;
/// `min_samples`, at most: 11 days at a second.
pub const MIN_SAMPLES_MAX: u32 = 1_000_000;

/// Bytes of a time zone's name.
pub const TIME_ZONE_NAME_BYTES_MAX: usize = 64;
/// Changes of a time zone's clocks: the database has at most 365 of one, to the year 2100.
pub const TIME_ZONE_CHANGES_MAX: usize = 1_000;

/// What the allocator takes for a small allocation beside its bytes, at most.
pub(crate) const ALLOCATION_BYTES: usize = 16;

const _: () = assert!(WINDOW_NANOS_MIN * SLIDES_MAX < WINDOW_NANOS_MAX);
