//! What the sinks count about themselves.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The label of every instrument of this crate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SinkLabel {
    /// The sink's name.
    pub sink: String,
}

/// What the sinks count about themselves, per sink.
#[derive(Clone, Debug, Default)]
pub struct SinkInstruments {
    /// `tidewatch_sinks_attempts_total`: attempts at delivering a message.
    pub attempts: Family<SinkLabel, Counter>,
    /// `tidewatch_sinks_delivered_total`: messages that a receiver took.
    pub delivered: Family<SinkLabel, Counter>,
    /// `tidewatch_sinks_retries_total`: attempts that failed and will be made again.
    pub retries: Family<SinkLabel, Counter>,
    /// `tidewatch_sinks_repeats_total`: attempts that may be a receiver's second sight of a
    /// message, because an answer to an earlier one was lost.
    pub repeats: Family<SinkLabel, Counter>,
    /// `tidewatch_sinks_dead_letters_total`: messages that were refused or given up.
    pub dead_letters: Family<SinkLabel, Counter>,
    /// `tidewatch_sinks_queue_messages`: messages that wait for delivery, with the one in flight.
    pub queue_messages: Family<SinkLabel, Gauge>,
}

impl SinkInstruments {
    /// Makes the instruments visible.
    pub fn register(&self, registry: &mut Registry) {
        let counters = [
            ("attempts", "Attempts at delivering a message", &self.attempts),
            ("delivered", "Messages that a receiver took", &self.delivered),
            ("retries", "Attempts that failed and will be made again", &self.retries),
            ("repeats", "Attempts after one whose answer was lost", &self.repeats),
            ("dead_letters", "Messages that were refused or given up", &self.dead_letters),
        ];
        for (noun, help, family) in counters {
            registry.register(format!("tidewatch_sinks_{noun}"), help, family.clone());
        }
        let queue = self.queue_messages.clone();
        registry.register(
            "tidewatch_sinks_queue_messages",
            "Messages that wait for delivery, with the one in flight",
            queue,
        );
    }

    /// The instruments of one sink.
    pub(crate) fn of(&self, sink: &str) -> OneSink {
        let label = SinkLabel { sink: sink.to_owned() };
        OneSink {
            attempts: self.attempts.get_or_create_owned(&label),
            delivered: self.delivered.get_or_create_owned(&label),
            retries: self.retries.get_or_create_owned(&label),
            repeats: self.repeats.get_or_create_owned(&label),
            dead_letters: self.dead_letters.get_or_create_owned(&label),
            queue_messages: self.queue_messages.get_or_create_owned(&label),
        }
    }
}

/// The instruments of one sink, so that nobody looks labels up on the way.
#[derive(Clone, Debug)]
pub(crate) struct OneSink {
    pub(crate) attempts: Counter,
    pub(crate) delivered: Counter,
    pub(crate) retries: Counter,
    pub(crate) repeats: Counter,
    pub(crate) dead_letters: Counter,
    pub(crate) queue_messages: Gauge,
}
