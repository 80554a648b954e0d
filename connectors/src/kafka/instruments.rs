//! What sources of messages count about themselves.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A source, as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabel {
    /// The source's configured name.
    pub source: String,
}

/// A partition, as labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionLabels {
    /// The source's configured name.
    pub source: String,
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: u32,
}

/// Counters by source, and gauges by partition, counted per batch.
#[derive(Clone, Debug, Default)]
pub struct KafkaInstruments {
    /// `tidewatch_connectors_kafka_messages_total`: messages that are stored, bad ones and tombstones included.
    pub messages: Family<SourceLabel, Counter>,
    /// `tidewatch_connectors_kafka_bytes_total`: their bytes, unpacked.
    pub bytes: Family<SourceLabel, Counter>,
    /// `tidewatch_connectors_kafka_samples_total`: samples of theirs that are stored.
    pub samples: Family<SourceLabel, Counter>,
    /// `tidewatch_connectors_kafka_bad_messages_total`: messages of which something was refused.
    pub bad_messages: Family<SourceLabel, Counter>,
    /// `tidewatch_connectors_kafka_tombstones_total`: messages without a value.
    pub tombstones: Family<SourceLabel, Counter>,
    /// `tidewatch_connectors_kafka_gaps_total`: times that messages were gone before they were read.
    pub gaps: Family<SourceLabel, Counter>,
    /// `tidewatch_connectors_kafka_gap_messages_total`: offsets that were gone.
    pub gap_messages: Family<SourceLabel, Counter>,
    /// `tidewatch_connectors_kafka_rebalances_total`: times that a group gave partitions or asked them back.
    pub rebalances: Family<SourceLabel, Counter>,
    /// `tidewatch_connectors_kafka_lag_messages`: messages of a partition that are not stored yet.
    pub lag: Family<PartitionLabels, Gauge>,
}

impl KafkaInstruments {
    /// Makes the counters known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let counters = [
            ("messages", "Messages stored", &self.messages),
            ("bytes", "Bytes of messages stored", &self.bytes),
            ("samples", "Samples stored from messages", &self.samples),
            ("bad_messages", "Messages of which something was refused", &self.bad_messages),
            ("tombstones", "Messages without a value", &self.tombstones),
            ("gaps", "Times that messages were gone before they were read", &self.gaps),
            ("gap_messages", "Messages that were gone before they were read", &self.gap_messages),
            (
                "rebalances",
                "Times that a group gave partitions or asked them back",
                &self.rebalances,
            ),
        ];
        for (name, help, counter) in counters {
            let name = format!("tidewatch_connectors_kafka_{name}");
            registry.register(name, help, counter.clone());
        }
        let (name, help) = ("tidewatch_connectors_kafka_lag_messages", "Messages not stored yet");
        registry.register(name, help, self.lag.clone());
    }

    /// Shows the counters of a source from its beginning: zero is a figure too.
    pub fn begin(&self, source: &SourceLabel) {
        let counters = [
            &self.messages,
            &self.bytes,
            &self.samples,
            &self.bad_messages,
            &self.tombstones,
            &self.gaps,
            &self.gap_messages,
            &self.rebalances,
        ];
        for counter in counters {
            drop(counter.get_or_create(source));
        }
    }
}
