//! What the decoders count about themselves.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::decode::{LineBatch, SeriesBatch};

/// The reason of lines whose series the data model refuses.
const SERIES_REFUSED: &str = "series_refused";

/// The reason of lines that were to be stored with others, of which some were refused.
const BODY_REFUSED: &str = "body_refused";

/// Why lines were refused, as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// A word of [`LineReason::name`](crate::decode::LineReason::name), or `series_refused` or `body_refused`.
    pub reason: &'static str,
}

/// Why samples were refused, and in which protocol, as labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// A word of [`SeriesForm::name`](crate::decode::SeriesForm::name).
    pub protocol: &'static str,
    /// A word of [`ItemReason::name`](crate::decode::ItemReason::name), or `series_refused`.
    pub reason: &'static str,
}

/// Counters of the decoders, counted once per body.
#[derive(Clone, Debug, Default)]
pub struct DecodeInstruments {
    /// `tidewatch_connectors_lines_accepted_total`: lines of line protocol that were accepted.
    pub lines_accepted: Counter,
    /// `tidewatch_connectors_lines_rejected_total`: lines of line protocol that were refused, by `reason`.
    pub lines_rejected: Family<ReasonLabel, Counter>,
    /// `tidewatch_connectors_samples_decoded_total`: samples that were accepted, in any protocol.
    pub samples_decoded: Counter,
    /// `tidewatch_connectors_strings_dropped_total`: string fields of the accepted lines, which are not stored.
    pub strings_dropped: Counter,
    /// `tidewatch_connectors_samples_rejected_total`: samples of JSON and remote write that were refused, by
    /// `protocol` and `reason`.
    pub samples_rejected: Family<RefusalLabels, Counter>,
    /// `tidewatch_connectors_metadata_total`: metadata in remote write, which are not stored.
    pub metadata: Counter,
    /// `tidewatch_connectors_exemplars_total`: exemplars in remote write and OTLP, which are not stored.
    pub exemplars: Counter,
    /// `tidewatch_connectors_start_times_total`: start timestamps in remote write, which are not stored.
    pub start_times: Counter,
}

impl DecodeInstruments {
    /// Makes the counters known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let counters = [
            ("lines_accepted", "Lines accepted", &self.lines_accepted),
            ("samples_decoded", "Samples accepted", &self.samples_decoded),
            ("strings_dropped", "String fields not stored", &self.strings_dropped),
            ("metadata", "Metadata in remote write, not stored", &self.metadata),
            ("exemplars", "Exemplars in remote write and OTLP, not stored", &self.exemplars),
            ("start_times", "Start timestamps in remote write, not stored", &self.start_times),
        ];
        for (name, help, counter) in counters {
            registry.register(format!("tidewatch_connectors_{name}"), help, counter.clone());
        }
        registry.register(
            "tidewatch_connectors_lines_rejected",
            "Lines refused",
            self.lines_rejected.clone(),
        );
        registry.register(
            "tidewatch_connectors_samples_rejected",
            "Samples of JSON and remote write refused",
            self.samples_rejected.clone(),
        );
    }

    /// Counts one decoded body.
    pub fn observe(&self, batch: &LineBatch) {
        self.lines_accepted.inc_by(batch.lines_accepted());
        for (reason, count) in batch.errors().by_reason().filter(|(_, count)| *count > 0) {
            self.reject(reason.name(), count);
        }
        self.samples_decoded.inc_by(u64::try_from(batch.samples()).unwrap_or(u64::MAX));
        self.strings_dropped.inc_by(batch.strings_dropped());
    }

    /// Counts the lines of a body that was to be stored as a whole, and is not.
    pub fn observe_body_refused(&self, lines: u64) {
        self.reject(BODY_REFUSED, lines);
    }

    /// Counts one decoded body of JSON or remote write, of whose samples `refused` had their series refused
    /// afterwards.
    pub fn observe_series(&self, batch: &SeriesBatch, refused: u64) {
        let protocol = batch.form().name();
        let reject = |reason, samples| {
            self.samples_rejected
                .get_or_create(&RefusalLabels { protocol, reason })
                .inc_by(samples);
        };
        for (reason, count) in batch.errors().by_reason().filter(|(_, count)| *count > 0) {
            reject(reason.name(), count);
        }
        if refused > 0 {
            reject(SERIES_REFUSED, refused);
        }
        let rows = u64::try_from(batch.rows()).unwrap_or(u64::MAX);
        self.samples_decoded.inc_by(rows.saturating_sub(refused));
        let extras = batch.extras();
        self.metadata.inc_by(extras.metadata);
        self.exemplars.inc_by(extras.exemplars);
        self.start_times.inc_by(extras.start_times);
    }

    /// Counts decoded lines whose series were refused afterwards.
    pub fn observe_series_refused(&self, lines: u64) {
        if lines > 0 {
            self.reject(SERIES_REFUSED, lines);
        }
    }

    fn reject(&self, reason: &'static str, lines: u64) {
        self.lines_rejected.get_or_create(&ReasonLabel { reason }).inc_by(lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{LineOptions, decode};

    #[test]
    fn a_body_is_counted_by_what_became_of_its_lines() {
        let mut batch = LineBatch::new();
        let body = b"m a=1,b=2 1\nm a=\"x\" 2\nbad\nm a=1,b=\"y\" 3";
        decode(body, &LineOptions::default(), &mut batch).expect("within the limits");
        let instruments = DecodeInstruments::default();
        let mut registry = Registry::default();
        instruments.register(&mut registry);
        instruments.observe(&batch);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("memory");
        for line in [
            "tidewatch_connectors_lines_accepted_total 3",
            "tidewatch_connectors_lines_rejected_total{reason=\"missing_fields\"} 1",
            "tidewatch_connectors_samples_decoded_total 3",
            "tidewatch_connectors_strings_dropped_total 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
