//! What the engine of queries counts about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::error::QueryErrorKind;

/// What the engine of queries counts about itself.
#[derive(Clone, Debug)]
pub struct QueryInstruments {
    /// `tidewatch_query_answered_total`: queries that were answered.
    pub answered: Counter,
    /// `tidewatch_query_refused_total`: queries that were invalid, forbidden or beyond a limit.
    pub refused: Counter,
    /// `tidewatch_query_timeouts_total`: queries that passed their deadline.
    pub timeouts: Counter,
    /// `tidewatch_query_unavailable_total`: queries that came while too many others ran, or rows
    /// could not be shown.
    pub unavailable: Counter,
    /// `tidewatch_query_failed_total`: queries that broke inside.
    pub failed: Counter,
    /// `tidewatch_query_running`: queries at work, those that nobody waits for any more included.
    pub running: Gauge,
    /// `tidewatch_query_rows_scanned_total`: rows read of segments, their rollups, and heads.
    pub rows_scanned: Counter,
    /// `tidewatch_query_rollup_rows_total`: those of rollups, each of which stands for the rows of a
    /// series and hour.
    pub rollup_rows: Counter,
    /// `tidewatch_query_rollups_damaged_total`: rollups that could not be read; rows were, instead.
    pub rollups_damaged: Counter,
    /// `tidewatch_query_bytes_scanned_total`: bytes read of segments and heads.
    pub bytes_scanned: Counter,
    /// `tidewatch_query_rows_total`: rows in answers.
    pub rows: Counter,
    /// `tidewatch_query_seconds`: time from the request to the whole answer or the refusal.
    pub seconds: Histogram,
}

impl Default for QueryInstruments {
    fn default() -> Self {
        Self {
            answered: Counter::default(),
            refused: Counter::default(),
            timeouts: Counter::default(),
            unavailable: Counter::default(),
            failed: Counter::default(),
            running: Gauge::default(),
            rows_scanned: Counter::default(),
            rollup_rows: Counter::default(),
            rollups_damaged: Counter::default(),
            bytes_scanned: Counter::default(),
            rows: Counter::default(),
            // 1 ms to 33 s: the longest deadline is 30 s.
            seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
        }
    }
}

impl QueryInstruments {
    /// Names the instruments in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let mut counter = |name, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter("tidewatch_query_answered", "Queries answered", &self.answered);
        counter("tidewatch_query_refused", "Queries refused", &self.refused);
        counter("tidewatch_query_timeouts", "Queries beyond their deadline", &self.timeouts);
        counter("tidewatch_query_unavailable", "Queries turned away", &self.unavailable);
        counter("tidewatch_query_failed", "Queries that broke inside", &self.failed);
        counter("tidewatch_query_rows_scanned", "Rows read by queries", &self.rows_scanned);
        counter("tidewatch_query_rollup_rows", "Rows read of rollups", &self.rollup_rows);
        counter("tidewatch_query_rollups_damaged", "Damaged rollups", &self.rollups_damaged);
        counter("tidewatch_query_bytes_scanned", "Bytes read by queries", &self.bytes_scanned);
        counter("tidewatch_query_rows", "Rows in answers", &self.rows);
        registry.register("tidewatch_query_running", "Queries at work", self.running.clone());
        registry.register("tidewatch_query_seconds", "Time of queries", self.seconds.clone());
    }

    /// Counts a query that has no answer.
    pub(crate) fn count_error(&self, kind: QueryErrorKind) {
        match kind {
            QueryErrorKind::Invalid | QueryErrorKind::Forbidden | QueryErrorKind::LimitExceeded => {
                self.refused.inc()
            }
            QueryErrorKind::Timeout => self.timeouts.inc(),
            QueryErrorKind::Unavailable => self.unavailable.inc(),
            QueryErrorKind::Internal => self.failed.inc(),
        };
    }
}
