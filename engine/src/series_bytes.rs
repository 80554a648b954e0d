//! What a series takes in an engine, beside the catalog.

use std::sync::Arc;

use tidewatch_metrics::SeriesCosts;
use tidewatch_operators::RuleSet;

/// A flush counts rows per series, and a merge knows each series' place in the order of its output:
/// lists by reference that grow by doubling.
const SORT_BYTES: u64 = 4 * size_of::<u32>() as u64;

/// Costs of a series in an engine of `shards` shards with `rules` in force.
pub(crate) fn series_costs(shards: usize, rules: &Arc<RuleSet>) -> SeriesCosts {
    // Each shard has a list of all references with its own dense indices; it grows by doubling.
    let locals = 2 * size_of::<u32>() * shards;
    let fixed = SORT_BYTES + u64::try_from(locals).unwrap_or(u64::MAX);
    let rules = Arc::clone(rules);
    SeriesCosts::new(move |key| fixed + tidewatch_operators::series_bytes(&rules, key))
}

#[cfg(test)]
#[path = "series_bytes_tests.rs"]
mod tests;
