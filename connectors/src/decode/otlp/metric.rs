//! One metric: what it is, and its data points.
#![deny(clippy::indexing_slicing)]

use crate::decode::item_errors::ItemReason;
use crate::decode::line_batch::Span;
use crate::decode::otlp::Request;
use crate::decode::wire::{Value, Wire};

const NAME: u64 = 1;
const GAUGE: u64 = 5;
const SUM: u64 = 7;
const HISTOGRAM: u64 = 9;
const EXPONENTIAL_HISTOGRAM: u64 = 10;
const SUMMARY: u64 = 11;
const DATA_POINT: u64 = 1;

impl Request<'_> {
    /// The name may stand behind the data, of which there is one kind; of several the last one would count, but
    /// nobody sends that.
    pub(super) fn metric(&mut self, wire: Wire<'_>) -> Result<(), ItemReason> {
        let (mut name, mut kind) = (Span::default(), 0);
        let mut fields = wire;
        while let Some(field) = fields.next()? {
            match (field.number, field.value) {
                (NAME, Value::Bytes(start)) => name = field.span(start),
                (GAUGE | SUM | HISTOGRAM | EXPONENTIAL_HISTOGRAM | SUMMARY, Value::Bytes(_)) => {
                    if kind != 0 && kind != field.number {
                        return Err(ItemReason::BadMessage);
                    }
                    kind = field.number;
                }
                (NAME | GAUGE | SUM | HISTOGRAM | EXPONENTIAL_HISTOGRAM | SUMMARY, _) => {
                    return Err(ItemReason::BadMessage);
                }
                _ => {}
            }
        }
        let mut fields = wire;
        while let Some(field) = fields.next()? {
            // Several pieces of a kind are one.
            if let (true, Value::Bytes(start)) = (field.number == kind, field.value) {
                self.data(fields.inner(start, &field), kind, name)?;
            }
        }
        Ok(())
    }

    fn data(&mut self, mut fields: Wire<'_>, kind: u64, name: Span) -> Result<(), ItemReason> {
        while let Some(field) = fields.next()? {
            let start = match (field.number, field.value) {
                (DATA_POINT, Value::Bytes(start)) => start,
                (DATA_POINT, _) => return Err(ItemReason::BadMessage),
                _ => continue,
            };
            let point = fields.inner(start, &field);
            match kind {
                HISTOGRAM => self.histogram(name, point)?,
                EXPONENTIAL_HISTOGRAM => self.exponential_histogram(name, point)?,
                SUMMARY => self.summary(name, point)?,
                _ => self.number(name, point)?,
            }
        }
        Ok(())
    }
}
