//! What the operators keep of one series, in bytes of memory.

use std::sync::Arc;

use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::{SeriesKey, SeriesRef, Slot};

use crate::RuleSet;
use crate::detect::detect_bytes;
use crate::order::TROUBLE_BYTES;
use crate::percentile::tally_bytes;
use crate::profile::Profile;
use crate::state::SeriesState;
use crate::watch::watch_bytes;

/// Bytes that a series takes in a [`Pipeline`](crate::Pipeline) under `rules` once it has all that a
/// series comes to have.
///
/// That is a daily profile, a watch where rules match it, its groups where percentiles do, the detector that a `[[detect]]`
/// gives it, and an entry of its order. Lists grow by doubling, so that each place counts twice.
#[must_use]
pub fn series_bytes(rules: &RuleSet, key: &SeriesKey) -> u64 {
    const LISTS: usize = size_of::<SeriesState>()
        + size_of::<Arc<SeriesEntry>>()
        + size_of::<SeriesRef>()
        + size_of::<Slot>()
        + size_of::<Profile>();
    let bytes = 2 * LISTS
        + TROUBLE_BYTES
        + watch_bytes(rules, key)
        + tally_bytes(rules, key)
        + detect_bytes(rules, key);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
