//! What feeds count.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tidewatch_sinks::SinkLabel;

/// What feeds count, each by the name of its sink.
#[derive(Clone, Debug, Default)]
pub struct FeedInstruments {
    /// `tidewatch_feeds_delivered_total`: rows that a topic has acknowledged.
    pub delivered: Family<SinkLabel, Counter>,
    /// `tidewatch_feeds_retries_total`: attempts that failed and are made again.
    pub retries: Family<SinkLabel, Counter>,
    /// `tidewatch_feeds_refused_total`: rows that brokers refuse for good.
    pub refused: Family<SinkLabel, Counter>,
    /// `tidewatch_feeds_left_out_total`: rows that had no room while they waited; tables have them.
    pub left_out: Family<SinkLabel, Counter>,
    /// `tidewatch_feeds_waiting_rows`: rows that are not acknowledged.
    pub waiting_rows: Family<SinkLabel, Gauge>,
}

impl FeedInstruments {
    /// Puts the instruments into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let counters = [
            ("delivered", "Rows that a topic has acknowledged", &self.delivered),
            ("retries", "Attempts that failed and are made again", &self.retries),
            ("refused", "Rows that brokers refuse for good", &self.refused),
            ("left_out", "Rows that had no room while they waited", &self.left_out),
        ];
        for (noun, help, family) in counters {
            registry.register(format!("tidewatch_feeds_{noun}"), help, family.clone());
        }
        let waiting = self.waiting_rows.clone();
        registry.register("tidewatch_feeds_waiting_rows", "Rows not acknowledged yet", waiting);
    }

    /// Those of one feed.
    pub(crate) fn of(&self, sink: &str) -> OneFeed {
        let label = SinkLabel { sink: sink.to_owned() };
        OneFeed {
            delivered: self.delivered.get_or_create_owned(&label),
            retries: self.retries.get_or_create_owned(&label),
            refused: self.refused.get_or_create_owned(&label),
            left_out: self.left_out.get_or_create_owned(&label),
            waiting_rows: self.waiting_rows.get_or_create_owned(&label),
        }
    }
}

/// What one feed counts.
#[derive(Clone, Debug)]
pub(crate) struct OneFeed {
    pub(crate) delivered: Counter,
    pub(crate) retries: Counter,
    pub(crate) refused: Counter,
    pub(crate) left_out: Counter,
    pub(crate) waiting_rows: Gauge,
}
