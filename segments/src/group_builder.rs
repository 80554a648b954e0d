//! The columns of one row group while they are filled.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBufferBuilder, PrimitiveArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, UInt8Array, UInt16Array, UInt32Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Field, Float64Type, Int64Type, Schema,
    SchemaRef, TimeUnit,
};
use arrow::record_batch::RecordBatch;
use tidewatch_metrics::{EventTime, Flags, SeriesRef};

use crate::value_form::{ValueForm, digits};

/// The time zone of all stored times.
pub(crate) const UTC: &str = "UTC";

/// The columns of a segment with times in `unit`.
pub(crate) fn samples_schema(unit: TimeUnit) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("series_ref", DataType::UInt32, false),
        Field::new("time", DataType::Timestamp(unit, Some(UTC.into())), false),
        Field::new("value", DataType::Float64, true),
        Field::new("digits", DataType::Int64, true),
        Field::new("scale", DataType::Float64, true),
        Field::new("severity", DataType::UInt16, false),
        Field::new("flags", DataType::UInt8, false),
    ]))
}

/// Nanoseconds of a unit.
pub(crate) const fn unit_nanos(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// The columns of one row group while they are filled.
#[derive(Debug)]
pub(crate) struct GroupBuilder {
    unit: TimeUnit,
    series: Vec<u32>,
    times: Vec<i64>,
    values: Nullable<f64>,
    digits: Nullable<i64>,
    scales: Nullable<f64>,
    severities: Vec<u16>,
    flags: Vec<u8>,
    /// Earliest event time.
    pub(crate) time_min: EventTime,
    /// Latest event time.
    pub(crate) time_max: EventTime,
    /// Rows that are flagged late.
    pub(crate) late_rows: u64,
}

/// A column with NULLs: cells under a NULL hold zero.
#[derive(Debug)]
struct Nullable<T> {
    cells: Vec<T>,
    valid: BooleanBufferBuilder,
}

/// Rows of one series in the order of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeriesRows<'a> {
    pub(crate) series: SeriesRef,
    pub(crate) form: ValueForm,
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    pub(crate) severities: &'a [u16],
    pub(crate) flags: &'a [u8],
}

impl GroupBuilder {
    pub(crate) fn new(unit: TimeUnit, capacity: usize) -> Self {
        Self {
            unit,
            series: Vec::with_capacity(capacity),
            times: Vec::with_capacity(capacity),
            values: Nullable::with_capacity(capacity),
            digits: Nullable::with_capacity(capacity),
            scales: Nullable::with_capacity(capacity),
            severities: Vec::with_capacity(capacity),
            flags: Vec::with_capacity(capacity),
            time_min: EventTime::new(i64::MAX),
            time_max: EventTime::MIN,
            late_rows: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    pub(crate) fn push(&mut self, rows: &SeriesRows<'_>) {
        let count = rows.times.len();
        self.series.extend(std::iter::repeat_n(rows.series.0, count));
        let nanos = unit_nanos(self.unit);
        self.times.extend(rows.times.iter().map(|time| time / nanos));
        if let (Some(first), Some(last)) = (rows.times.first(), rows.times.last()) {
            self.time_min = self.time_min.min(EventTime::new(*first));
            self.time_max = self.time_max.max(EventTime::new(*last));
        }
        match rows.form {
            ValueForm::Plain => {
                self.values.extend(count, rows.values.iter().copied());
                self.digits.extend_null(count);
                self.scales.extend_null(count);
            }
            ValueForm::Scaled(scale) => {
                self.values.extend_null(count);
                let exact = |value: &f64| digits(*value, scale).expect("the form fits all values");
                self.digits.extend(count, rows.values.iter().map(exact));
                self.scales.extend(count, std::iter::repeat_n(scale, count));
            }
        }
        self.severities.extend_from_slice(rows.severities);
        self.flags.extend_from_slice(rows.flags);
        let late = rows.flags.iter().filter(|flags| Flags::from_bits(**flags).is_late()).count();
        self.late_rows += late as u64;
    }

    /// The rows as a batch of `schema`, which is [`samples_schema`] of the same unit.
    pub(crate) fn finish(self, schema: SchemaRef) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(self.series)),
            time_array(self.unit, self.times),
            self.values.finish::<Float64Type>(),
            self.digits.finish::<Int64Type>(),
            self.scales.finish::<Float64Type>(),
            Arc::new(UInt16Array::from(self.severities)),
            Arc::new(UInt8Array::from(self.flags)),
        ];
        RecordBatch::try_new(schema, columns).expect("the columns are those of the schema")
    }
}

impl<T: Clone + Default> Nullable<T> {
    fn with_capacity(capacity: usize) -> Self {
        Self { cells: Vec::with_capacity(capacity), valid: BooleanBufferBuilder::new(capacity) }
    }

    fn extend(&mut self, count: usize, cells: impl Iterator<Item = T>) {
        self.cells.extend(cells);
        self.valid.append_n(count, true);
    }

    fn extend_null(&mut self, count: usize) {
        self.cells.resize(self.cells.len() + count, T::default());
        self.valid.append_n(count, false);
    }

    fn finish<A: ArrowPrimitiveType<Native = T>>(mut self) -> ArrayRef
    where
        T: ArrowNativeType,
    {
        let valid = NullBuffer::new(self.valid.finish());
        Arc::new(PrimitiveArray::<A>::new(self.cells.into(), Some(valid)))
    }
}

/// Counts of `unit` as an array of times.
pub(crate) fn time_array(unit: TimeUnit, times: Vec<i64>) -> ArrayRef {
    match unit {
        TimeUnit::Second | TimeUnit::Millisecond => {
            Arc::new(TimestampMillisecondArray::from(times).with_timezone(UTC))
        }
        TimeUnit::Microsecond => {
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone(UTC))
        }
        TimeUnit::Nanosecond => Arc::new(TimestampNanosecondArray::from(times).with_timezone(UTC)),
    }
}
