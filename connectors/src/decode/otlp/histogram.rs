//! Data points of histograms, as Prometheus' classic ones: counts up to each bound.
//!
//! ```text
//! HistogramDataPoint = 9: attribute … | 3: time | 4: count | 5: sum | 6: bucket count … | 7: bound … | 8: exemplar …
//!                      | 10: flags
//! exponential        = 1: attribute … | 3: time | 4: count | 5: sum | 6: scale | 7: zero count | 8: positive
//!                      | 9: negative | 10: flags | 11: exemplar … | 14: zero threshold
//! Buckets            = 1: offset | 2: bucket count …
//! ```
//!
//! Numbers that may be several may come packed or one by one.
#![deny(clippy::indexing_slicing)]

use crate::decode::item_errors::ItemReason;
use crate::decode::line_batch::Span;
use crate::decode::otlp::Request;
use crate::decode::otlp::bounds::{SCALE_MAX, SCALE_MIN, exponential_bound};
use crate::decode::otlp::point::{Head, Point};
use crate::decode::wire::{Field, Malformed, Value, Wire};

/// Buckets of one side of one data point; as many as OpenTelemetry's own have, many times.
const BUCKETS_MAX: usize = 4_096;

/// The numbers that every histogram has.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    count: u64,
    sum: Option<f64>,
}

/// Counts of the buckets of one side.
#[derive(Debug, Default)]
struct Side {
    offset: i64,
    counts: Vec<u64>,
}

/// Counts up to bounds that grow.
struct Cumulated {
    count: u64,
    last: f64,
}

impl Request<'_> {
    pub(super) fn histogram(&mut self, name: Span, wire: Wire<'_>) -> Result<(), ItemReason> {
        let (mut head, mut totals) = (Head::default(), Totals::default());
        let (mut counts, mut bounds) = (Vec::new(), Vec::new());
        self.attributes.clear();
        let mut fields = wire;
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (9, Value::Bytes(start)) => self.attribute(fields.between(start, field.end)),
                (3, Value::Fixed64(time)) => head.time = time,
                (4, Value::Fixed64(bits)) => totals.count = bits,
                (5, Value::Fixed64(bits)) => totals.sum = Some(f64::from_bits(bits)),
                (6, _) => fixed_numbers(&fields, &field, &mut counts)?,
                (7, _) => fixed_numbers(&fields, &field, &mut bounds)?,
                (8, Value::Bytes(_)) => self.out.extras_mut().exemplars += 1,
                (10, Value::Varint(flags)) => head.flags = flags,
                (3..=10, _) => return Err(ItemReason::BadMessage),
                _ => {}
            }
        }
        let Some(point) = self.point(name, head) else { return Ok(()) };
        if counts.len() > BUCKETS_MAX || bounds.len() > BUCKETS_MAX {
            self.refuse(ItemReason::BadHistogram);
            return Ok(());
        }
        self.totals(&point, totals)?;
        let mut below = Cumulated { count: 0, last: f64::NEG_INFINITY };
        for (count, bound) in counts.iter().zip(&bounds) {
            self.bucket(&point, &mut below, *count, f64::from_bits(*bound))?;
        }
        self.last_bucket(&point, totals)
    }

    pub(super) fn exponential_histogram(
        &mut self,
        name: Span,
        wire: Wire<'_>,
    ) -> Result<(), ItemReason> {
        let (mut head, mut totals) = (Head::default(), Totals::default());
        let (mut scale, mut zeros, mut zero_bound) = (0, 0, 0.0_f64);
        let (mut positive, mut negative) = (Side::default(), Side::default());
        self.attributes.clear();
        let mut fields = wire;
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, Value::Bytes(start)) => self.attribute(fields.between(start, field.end)),
                (3, Value::Fixed64(time)) => head.time = time,
                (4, Value::Fixed64(bits)) => totals.count = bits,
                (5, Value::Fixed64(bits)) => totals.sum = Some(f64::from_bits(bits)),
                (6, Value::Varint(bits)) => scale = zigzag(bits),
                (7, Value::Fixed64(bits)) => zeros = bits,
                (8, Value::Bytes(start)) => positive.read(fields.inner(start, &field))?,
                (9, Value::Bytes(start)) => negative.read(fields.inner(start, &field))?,
                (10, Value::Varint(flags)) => head.flags = flags,
                (11, Value::Bytes(_)) => self.out.extras_mut().exemplars += 1,
                (14, Value::Fixed64(bits)) => zero_bound = f64::from_bits(bits),
                (1 | 3..=11 | 14, _) => return Err(ItemReason::BadMessage),
                _ => {}
            }
        }
        let Some(point) = self.point(name, head) else { return Ok(()) };
        let is_long = positive.counts.len().max(negative.counts.len()) > BUCKETS_MAX;
        if is_long
            || !(SCALE_MIN..=SCALE_MAX).contains(&scale)
            || zero_bound.is_nan()
            || zero_bound < 0.0
        {
            self.refuse(ItemReason::BadHistogram);
            return Ok(());
        }
        self.totals(&point, totals)?;
        let mut below = Cumulated { count: 0, last: f64::NEG_INFINITY };
        // Of a negative bucket the upper bound is the one nearer to zero.
        for (index, count) in
            (negative.offset..).zip(&negative.counts).collect::<Vec<_>>().iter().rev()
        {
            self.bucket(&point, &mut below, **count, -exponential_bound(scale, *index))?;
        }
        self.bucket(&point, &mut below, zeros, zero_bound)?;
        for (index, count) in (positive.offset..).zip(&positive.counts) {
            self.bucket(&point, &mut below, *count, exponential_bound(scale, index + 1))?;
        }
        self.last_bucket(&point, totals)
    }

    fn totals(&mut self, point: &Point, totals: Totals) -> Result<(), ItemReason> {
        if let Some(sum) = totals.sum {
            self.emit(point, "_sum", None, point.or_stale(sum))?;
        }
        self.emit(point, "_count", None, point.count(totals.count))
    }

    /// A bucket whose bound is not above the last one counts with the next one.
    fn bucket(
        &mut self,
        point: &Point,
        below: &mut Cumulated,
        count: u64,
        bound: f64,
    ) -> Result<(), ItemReason> {
        below.count = below.count.saturating_add(count);
        if !(bound > below.last && bound < f64::INFINITY) {
            return Ok(());
        }
        below.last = bound;
        // Minus zero is written as zero.
        let bound = if bound == 0.0 { 0.0 } else { bound };
        self.emit(point, "_bucket", Some(("le", bound)), point.count(below.count))
    }

    fn last_bucket(&mut self, point: &Point, totals: Totals) -> Result<(), ItemReason> {
        self.emit(point, "_bucket", Some(("le", f64::INFINITY)), point.count(totals.count))
    }
}

impl Side {
    fn read(&mut self, mut fields: Wire<'_>) -> Result<(), Malformed> {
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (1, Value::Varint(bits)) => self.offset = zigzag(bits),
                (2, Value::Varint(count)) => self.counts.push(count),
                (2, Value::Bytes(start)) => {
                    let mut packed = fields.inner(start, &field);
                    while let Some(count) = packed.next_packed()? {
                        self.counts.push(count);
                    }
                }
                (1..=2, _) => return Err(Malformed { at: field.at }),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A `sint32`, of which only the lower half of the varint counts.
fn zigzag(bits: u64) -> i64 {
    let bits = bits & u64::from(u32::MAX);
    (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()
}

/// Numbers of eight bytes, packed or one of them.
fn fixed_numbers(fields: &Wire<'_>, field: &Field, out: &mut Vec<u64>) -> Result<(), Malformed> {
    match field.value {
        Value::Fixed64(bits) => out.push(bits),
        Value::Bytes(start) => {
            let (chunks, rest) = fields.between(start, field.end).as_chunks::<8>();
            if !rest.is_empty() {
                return Err(Malformed { at: field.at });
            }
            out.extend(chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)));
        }
        Value::Varint(_) | Value::Fixed32 => return Err(Malformed { at: field.at }),
    }
    Ok(())
}
