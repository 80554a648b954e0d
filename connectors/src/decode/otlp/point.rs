//! Data points: what all kinds have, numbers, and summaries.
//!
//! ```text
//! NumberDataPoint  = 7: attribute … | 3: time | 4: double | 6: int | 5: exemplar … | 8: flags
//! SummaryDataPoint = 7: attribute … | 3: time | 4: count | 5: sum | 6: ValueAtQuantile … | 8: flags
//! ValueAtQuantile  = 1: quantile | 2: value
//! ```
#![deny(clippy::indexing_slicing)]

use tidewatch_metrics::EventTime;

use crate::decode::composed::Part;
use crate::decode::item_errors::ItemReason;
use crate::decode::line_batch::Span;
use crate::decode::otlp::Request;
use crate::decode::otlp::bounds::write_bound;
use crate::decode::series_batch::ItemKey;
use crate::decode::wire::{Value, Wire};

/// The flag of a point without a recorded value.
const NO_RECORDED_VALUE: u64 = 1;
/// What Prometheus writes in its place.
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// What all data points have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    /// Nanoseconds; 0 for unknown.
    pub(super) time: u64,
    pub(super) flags: u64,
}

/// A data point whose samples are being taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) name: Span,
    time: EventTime,
    is_stale: bool,
}

impl Point {
    /// A value, or the marker of none.
    pub(super) fn or_stale(&self, value: f64) -> f64 {
        if self.is_stale { STALE } else { value }
    }

    /// A count as a value.
    pub(super) fn count(&self, count: u64) -> f64 {
        self.or_stale(count as f64)
    }
}

impl Request<'_> {
    pub(super) fn number(&mut self, name: Span, wire: Wire<'_>) -> Result<(), ItemReason> {
        let (mut head, mut value) = (Head::default(), None);
        self.attributes.clear();
        let mut fields = wire;
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (7, Value::Bytes(start)) => self.attribute(fields.between(start, field.end)),
                (3, Value::Fixed64(time)) => head.time = time,
                (4, Value::Fixed64(bits)) => value = Some(f64::from_bits(bits)),
                (6, Value::Fixed64(bits)) => value = Some(bits.cast_signed() as f64),
                (5, Value::Bytes(_)) => self.out.extras_mut().exemplars += 1,
                (8, Value::Varint(flags)) => head.flags = flags,
                (3..=8, _) => return Err(ItemReason::BadMessage),
                _ => {}
            }
        }
        let Some(point) = self.point(name, head) else { return Ok(()) };
        match value {
            Some(value) => self.emit(&point, "", None, point.or_stale(value)),
            None if point.is_stale => self.emit(&point, "", None, STALE),
            None => {
                self.refuse(ItemReason::MissingValue);
                Ok(())
            }
        }
    }

    pub(super) fn summary(&mut self, name: Span, wire: Wire<'_>) -> Result<(), ItemReason> {
        let (mut head, mut count, mut sum) = (Head::default(), 0, 0.0);
        self.attributes.clear();
        let mut fields = wire;
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (7, Value::Bytes(start)) => self.attribute(fields.between(start, field.end)),
                (3, Value::Fixed64(time)) => head.time = time,
                (4, Value::Fixed64(bits)) => count = bits,
                (5, Value::Fixed64(bits)) => sum = f64::from_bits(bits),
                (6, Value::Bytes(_)) => {}
                (8, Value::Varint(flags)) => head.flags = flags,
                (3..=8, _) => return Err(ItemReason::BadMessage),
                _ => {}
            }
        }
        // Bad quantiles make the message bad, whether or not the point is taken.
        let point = self.point(name, head);
        if let Some(point) = &point {
            self.emit(point, "_sum", None, point.or_stale(sum))?;
            self.emit(point, "_count", None, point.count(count))?;
        }
        let mut fields = wire;
        while let Some(field) = fields.next()? {
            if let (6, Value::Bytes(start)) = (field.number, field.value) {
                let (quantile, value) = at_quantile(fields.inner(start, &field))?;
                if let Some(point) = &point {
                    self.emit(point, "", Some(("quantile", quantile)), point.or_stale(value))?;
                }
            }
        }
        Ok(())
    }

    /// Notes an attribute of the data point.
    pub(super) fn attribute(&mut self, attribute: &[u8]) {
        Part::Attribute.append(attribute, &mut self.attributes);
    }

    /// The data point, if it can be taken; notes why not.
    pub(super) fn point(&mut self, name: Span, head: Head) -> Option<Point> {
        let time = match (head.time, self.message.time) {
            (0, None) => Err(ItemReason::MissingTime),
            (0, Some(sent)) => Ok(sent),
            (nanos, _) => {
                let nanos = i64::try_from(nanos).map_err(|_beyond| ItemReason::TimeOutOfRange);
                nanos.map(EventTime::new)
            }
        };
        let checked = if name.len == 0 { Err(ItemReason::MissingName) } else { time };
        let checked = checked.and_then(|time| self.options.check_time(time).map(|()| time));
        match checked {
            Ok(time) => Some(Point { name, time, is_stale: head.flags & NO_RECORDED_VALUE != 0 }),
            Err(reason) => {
                self.refuse(reason);
                None
            }
        }
    }

    pub(super) fn refuse(&mut self, reason: ItemReason) {
        self.out.errors_mut().push(self.message.number, reason, 1);
    }

    /// Takes one sample of a data point: its metric's name goes on with `suffix`, and it has a label more that is a
    /// number.
    pub(super) fn emit(
        &mut self,
        point: &Point,
        suffix: &str,
        label: Option<(&str, f64)>,
        value: f64,
    ) -> Result<(), ItemReason> {
        if self.out.rows() >= self.rows_max {
            return Err(ItemReason::TooManySamples);
        }
        let composed = &mut self.out.composed;
        let start = composed.len();
        Part::Metric.append(point.name.of(self.message.bytes), composed);
        if !suffix.is_empty() {
            Part::Suffix.append(suffix.as_bytes(), composed);
        }
        if let Some((key, number)) = label {
            self.text.clear();
            write_bound(number, &mut self.text);
            Part::Key.append(key.as_bytes(), composed);
            Part::Value.append(self.text.as_bytes(), composed);
        }
        composed.extend_from_slice(&self.attributes);
        composed.extend_from_slice(&self.resource);
        let name = Span::between(start, composed.len());
        let key = ItemKey { name, ..ItemKey::default() };
        let limits = (self.names_max, self.options.key_seed);
        self.out.push_composed(self.message.number, key, (point.time, value), limits)
    }
}

fn at_quantile(mut fields: Wire<'_>) -> Result<(f64, f64), ItemReason> {
    let (mut quantile, mut value) = (0.0, 0.0);
    while let Some(field) = fields.next()? {
        match (field.number, field.value) {
            (1, Value::Fixed64(bits)) => quantile = f64::from_bits(bits),
            (2, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (1..=2, _) => return Err(ItemReason::BadMessage),
            _ => {}
        }
    }
    Ok((quantile, value))
}
