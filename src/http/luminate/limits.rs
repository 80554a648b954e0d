//! What one question may ask for.

use std::time::Duration;

/// A body: a question with its filters.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Dimensions that one question filters or groups by.
pub(super) const DIMENSIONS_MAX: usize = 20;
/// The longest range of times.
pub(super) const RANGE_MAX: Duration = Duration::from_secs(90 * 86_400);
/// Samples or buckets of an answer.
pub(super) const POINTS_MAX: u64 = 10_000;
/// Groups of an aggregate.
pub(super) const GROUPS_MAX: u64 = 1_000;
/// Samples of an answer, or groups, where nothing is said.
pub(super) const POINTS_DEFAULT: u64 = 1_000;
/// Time for an answer.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// The same where nothing is said.
pub(super) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Values of a dimension in one answer.
pub(super) const VALUES_MAX: usize = 1_000;
/// The same where nothing is said.
pub(super) const VALUES_DEFAULT: usize = 100;
