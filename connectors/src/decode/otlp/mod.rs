//! Metrics of OpenTelemetry's protocol, straight to columns: `ExportMetricsServiceRequest`, and `MetricsData`, which is
//! written the same way.
//!
//! ```text
//! request  = 1: ResourceMetrics …
//! resource = 1: Resource { 1: KeyValue … } | 2: ScopeMetrics { 2: Metric … } …
//! Metric   = 1: name | 5: Gauge | 7: Sum | 9: Histogram | 10: ExponentialHistogram | 11: Summary
//! all five = 1: data point …          KeyValue = 1: key | 2: AnyValue
//! ```
//!
//! Names stay as they are. A data point's attributes are labels, and of its resource those of [`RESOURCE_LABELS`];
//! histograms and summaries become what Prometheus makes of them: `_count`, `_sum`, `_bucket` with `le`, and the name
//! itself with `quantile`. Values are taken as they are, NaN and infinities too; a point without a recorded value is
//! the stale marker. Deltas stay deltas. Exemplars are counted.
#![deny(clippy::indexing_slicing)]

mod attribute;
mod bounds;
mod histogram;
mod metric;
mod point;

pub(crate) use attribute::{attribute, is_resource_label};

use crate::decode::composed::{MESSAGE_NAMES_BYTES_MAX, Part};
use crate::decode::item_errors::ItemReason;
use crate::decode::messages::One;
use crate::decode::series_batch::{SeriesBatch, SeriesOptions};
use crate::decode::wire::{Malformed, Value, Wire};

const RESOURCE_METRICS: u64 = 1;
const RESOURCE: u64 = 1;
const SCOPE_METRICS: u64 = 2;
const METRIC: u64 = 2;
const ATTRIBUTE: u64 = 1;

/// The samples of the message.
///
/// Bad data points are noted under the message's number, and the others of the message are taken.
///
/// # Errors
/// Why there is no sample in it; what was taken of it until then must be taken back.
pub(crate) fn decode_message(
    message: &One<'_>,
    options: &SeriesOptions,
    out: &mut SeriesBatch,
) -> Result<(), ItemReason> {
    let rows_max = out.rows().saturating_add(options.samples_max);
    let names_max = out.composed.len() + MESSAGE_NAMES_BYTES_MAX;
    let mut request = Request {
        message,
        options,
        rows_max,
        names_max,
        resource: Vec::new(),
        attributes: Vec::new(),
        text: String::new(),
        out,
    };
    let mut wire = Wire::within(message.bytes, message.start);
    while let Some(field) = wire.next()? {
        match (field.number, field.value) {
            (RESOURCE_METRICS, Value::Bytes(start)) => {
                request.resource_metrics(wire.inner(start, &field))?;
            }
            (RESOURCE_METRICS, _) => return Err(ItemReason::BadMessage),
            _ => {}
        }
    }
    Ok(())
}

impl From<Malformed> for ItemReason {
    fn from(_: Malformed) -> Self {
        Self::BadMessage
    }
}

/// A message that is being read.
struct Request<'a> {
    message: &'a One<'a>,
    options: &'a SeriesOptions,
    /// How many rows there may be behind it.
    rows_max: usize,
    /// Where its keys must end.
    names_max: usize,
    /// The parts of keys that the resource gives.
    resource: Vec<u8>,
    /// Those that the data point gives.
    attributes: Vec<u8>,
    /// A bound or a quantile, written down.
    text: String,
    out: &'a mut SeriesBatch,
}

impl Request<'_> {
    /// The resource may stand behind what it is of.
    fn resource_metrics(&mut self, wire: Wire<'_>) -> Result<(), ItemReason> {
        self.resource.clear();
        let mut fields = wire;
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (RESOURCE, Value::Bytes(start)) => {
                    self.read_resource(fields.inner(start, &field))?;
                }
                (SCOPE_METRICS, Value::Bytes(_)) => {}
                (RESOURCE | SCOPE_METRICS, _) => return Err(ItemReason::BadMessage),
                _ => {}
            }
        }
        let mut fields = wire;
        while let Some(field) = fields.next()? {
            if let (SCOPE_METRICS, Value::Bytes(start)) = (field.number, field.value) {
                self.scope_metrics(fields.inner(start, &field))?;
            }
        }
        Ok(())
    }

    fn read_resource(&mut self, mut fields: Wire<'_>) -> Result<(), ItemReason> {
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (ATTRIBUTE, Value::Bytes(start)) => {
                    let attribute = fields.between(start, field.end);
                    if is_resource_label(attribute)? {
                        Part::ResourceAttribute.append(attribute, &mut self.resource);
                    }
                }
                (ATTRIBUTE, _) => return Err(ItemReason::BadMessage),
                _ => {}
            }
        }
        Ok(())
    }

    fn scope_metrics(&mut self, mut fields: Wire<'_>) -> Result<(), ItemReason> {
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (METRIC, Value::Bytes(start)) => self.metric(fields.inner(start, &field))?,
                (METRIC, _) => return Err(ItemReason::BadMessage),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod oracle_tests;
