//! The memory budget and its shares. Here alone it is divided.

use tidewatch_engine::limits::{FROZEN_HEADS_MAX, WINDOWS_FILED_BYTES};
use tidewatch_operators::limits::WINDOWS_BYTES_MAX;
use tidewatch_segments::limits::CHUNK_ROWS;
use tracing::{info, warn};

const MIB: u64 = 1 << 20;
/// Program, threads, buffers of the log: what is there whatever comes.
const PROCESS_BYTES: u64 = 64 * MIB;
/// More requests in hand than this only make answers late.
const REQUESTS_BYTES_MAX: u64 = 1_024 * MIB;
/// Footers of segments and label columns of metrics: more is of no use.
const CACHES_BYTES_MAX: u64 = 128 * MIB;
/// More keys of requests than this are of no use.
const KEYS_BYTES_MAX: u64 = 1_024 * MIB;
/// Two million rows that a merge has open.
const MERGES_BYTES_MAX: u64 = 128 * MIB;
/// Some ten thousand detectors that learn from stored rows at the same time.
const PRIMING_BYTES_MAX: u64 = 32 * MIB;
/// Windows of percentiles at most, and as many closed ones as are put into a file at a time.
const WINDOWS_BYTES: u64 = (WINDOWS_BYTES_MAX + WINDOWS_FILED_BYTES) as u64;
/// A row of a head.
const HEAD_ROW_BYTES: u64 = 24;
/// A row while its head is sorted for a segment: the row, and at worst a series of its own in a list that
/// grows by doubling.
const SORT_ROW_BYTES: u64 = 24 + 2 * 24;

/// Who may have how much of the memory budget, in bytes. Their sum is the budget, unless it is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryShares {
    /// All.
    pub(crate) budget: u64,
    /// What is there whatever comes.
    pub(crate) process: u64,
    /// Requests in hand.
    pub(crate) requests: u64,
    /// Rows that are not in segments yet.
    pub(crate) heads: u64,
    /// Running statements.
    pub(crate) queries: u64,
    /// Footers of segments, and label columns of metrics.
    pub(crate) caches: u64,
    /// Lines of protocol by which series are found.
    pub(crate) lines: u64,
    /// Keys of requests that were answered, so that none is taken twice.
    pub(crate) keys: u64,
    /// Merges of segments.
    pub(crate) merges: u64,
    /// Detectors that learn from stored rows, before they take the place of those in hand.
    pub(crate) priming: u64,
    /// Windows of percentiles, open ones and those that wait for a file.
    pub(crate) windows: u64,
    /// Full detectors.
    pub(crate) detectors: u64,
    /// Series: the rest.
    pub(crate) series: u64,
}

impl MemoryShares {
    /// Divides `budget`; `queries` is what the configuration gives them, 0 for their share of it.
    pub(crate) fn of(budget: u64, queries: u64) -> Self {
        let mut shares = Self {
            budget,
            process: PROCESS_BYTES.min(budget / 4),
            requests: (budget / 8).min(REQUESTS_BYTES_MAX),
            heads: budget / 6,
            queries: if queries > 0 { queries } else { budget / 8 },
            caches: (budget / 20).min(CACHES_BYTES_MAX),
            lines: budget / 12,
            keys: (budget / 16).min(KEYS_BYTES_MAX),
            merges: (budget / 16).min(MERGES_BYTES_MAX),
            priming: 0,
            windows: 0,
            detectors: 0,
            series: 0,
        };
        shares.give_rest();
        shares
    }

    /// The same, where percentiles are counted.
    pub(crate) fn with_percentiles(mut self) -> Self {
        self.windows = WINDOWS_BYTES;
        self.give_rest();
        self
    }

    /// The same with full detectors. Where the configuration asks for them they have half of what there is for series;
    /// by default an eighth, so that the memory is for ten million light ones rather than for one million full ones.
    pub(crate) fn with_detectors(mut self, is_asked: bool) -> Self {
        let share = self.series / if is_asked { 2 } else { 8 };
        self.series -= share;
        self.priming = (share / 8).min(PRIMING_BYTES_MAX);
        self.detectors = share - self.priming;
        self
    }

    fn give_rest(&mut self) {
        // However much others are given: without series there is nothing to ask.
        self.series = self.budget.saturating_sub(self.fixed()).max(self.budget / 16);
    }

    /// Rows of one head of `shards` at which it is flushed, so that all heads keep within their share:
    /// of each shard one that grows and those that wait, one that is written, and its sort.
    pub(crate) fn flush_rows(&self, shards: usize, rows_max: u64) -> u64 {
        let chunk = u64::try_from(CHUNK_ROWS).unwrap_or(u64::MAX);
        let heads = u64::try_from(shards * (1 + FROZEN_HEADS_MAX) + 1).unwrap_or(u64::MAX);
        let rows = self.heads / (heads * HEAD_ROW_BYTES + SORT_ROW_BYTES);
        // Heads grow by whole chunks.
        (rows / chunk * chunk).max(chunk).min(rows_max)
    }

    /// Tells the shares, and what does not fit.
    pub(crate) fn tell(&self) {
        let Self { budget, process, requests, heads, queries, caches, .. } = *self;
        let Self { lines, keys, merges, priming, windows, detectors, series, .. } = *self;
        info!(
            budget,
            process,
            requests,
            heads,
            queries,
            caches,
            lines,
            keys,
            merges,
            priming,
            windows,
            detectors,
            series,
            "memory budget in bytes"
        );
        if self.fixed() + detectors + series > budget {
            warn!(
                queries,
                budget,
                windows,
                "query.memory_bytes_max, or the windows of percentiles, do not fit into \
                 limits.memory_bytes_max beside the other shares: the process may take more than the budget"
            );
        }
    }

    /// All but the series and their detectors.
    fn fixed(&self) -> u64 {
        self.process
            + self.requests
            + self.heads
            + self.queries
            + self.caches
            + self.lines
            + self.keys
            + self.merges
            + self.priming
            + self.windows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_budget() {
        for budget in [128 * MIB, 256 * MIB, 2_000_000_000, 12 << 30, 1 << 44] {
            let shares = MemoryShares::of(budget, 0);
            assert_eq!(shares.fixed() + shares.series, budget);
            assert!(shares.series >= budget / 14, "{shares:?}");
        }
    }

    #[test]
    fn what_statements_are_given_the_series_do_not_have() {
        let (own, given) = (MemoryShares::of(1 << 30, 0), MemoryShares::of(1 << 30, 300 * MIB));
        assert_eq!(own.series - given.series, 300 * MIB - own.queries);
        let greedy = MemoryShares::of(1 << 30, 2 << 30);
        assert_eq!(greedy.series, 1 << 26, "and yet they have some");
    }

    #[test]
    fn what_windows_take_the_series_do_not_have() {
        let (without, with) = (MemoryShares::of(1 << 30, 0), MemoryShares::of(1 << 30, 0));
        let with = with.with_percentiles();
        assert_eq!(without.series - with.series, 80 * MIB);
        assert_eq!(with.fixed() + with.series, 1 << 30);
    }

    #[test]
    fn full_detectors_have_a_part_of_what_series_would_have() {
        let without = MemoryShares::of(1 << 30, 0).with_percentiles();
        for (is_asked, part) in [(false, 8), (true, 2)] {
            let with = without.with_detectors(is_asked);
            assert_eq!(with.detectors + with.priming, without.series / part);
            assert_eq!(with.priming, without.series / part / 8);
            assert_eq!(with.fixed() + with.detectors + with.series, 1 << 30);
        }
    }

    #[test]
    fn heads_keep_within_their_share() {
        for (budget, shards) in [(256 * MIB, 2), (2_000_000_000, 2), (12 << 30, 8), (64 << 30, 64)]
        {
            let shares = MemoryShares::of(budget, 0);
            let rows = shares.flush_rows(shards, 4_000_000);
            let heads = u64::try_from(shards).unwrap() * 4 + 1;
            let bytes = rows * HEAD_ROW_BYTES * heads + rows * SORT_ROW_BYTES;
            assert!(bytes <= shares.heads, "{bytes} of {shares:?}");
            assert!(rows >= 65_536, "{rows}");
        }
        assert_eq!(MemoryShares::of(1 << 40, 0).flush_rows(2, 4_000_000), 4_000_000);
        assert_eq!(MemoryShares::of(1 << 30, 0).flush_rows(2, 1_000), 1_000, "as configured");
    }
}
