//! How the columns of a merged segment are encoded: each as it comes out smallest.

use std::io;
use std::slice::from_ref;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory};
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::schema::types::ColumnPath;

use crate::output::{begin, encode_column};
use crate::writer::base_properties;

/// 1.60 B per sample of 1,000 series x 6,000 rows and 2.84 B of 300,000 x 20 in
/// `examples/bytes_per_sample.rs`, as at level 3; 1.61 B and 3.03 B at level 1, which is no faster.
pub(crate) const ZSTD_LEVEL: i32 = 2;
/// Row groups for which the outcome of a trial holds, unless the column changes.
const GROUPS_PER_TRIAL: u32 = 8;
/// Places of a row group from which a trial takes rows.
const TRIAL_SLICES: usize = 4;
/// Rows of each slice: one in so many of the row group.
const TRIAL_SHARE: usize = 16;

/// A way to encode a column that any reader of Parquet knows.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Differences of neighbours, bit-packed.
    Delta,
    /// As it is.
    Plain,
    /// Each distinct value once.
    Dictionary,
    /// First bytes of all values, then the second ones, and so on; floats only.
    Split,
}

/// Encodes row groups. The ways that may suit a column are tried on a part of a row group now and
/// then, and the smallest is kept until the next trial.
#[derive(Debug)]
pub(crate) struct ColumnEncoders {
    columns: Vec<ColumnEncoder>,
}

/// One column's choice.
#[derive(Debug)]
struct ColumnEncoder {
    field: Field,
    /// What makes writers in each way that may suit the column.
    ways: Vec<ArrowRowGroupWriterFactory>,
    chosen: usize,
    /// The row group of the last trial as it was encoded then.
    tried: Size,
    groups_left: u32,
}

/// Bytes that rows with a value take.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    bytes: u64,
    rows: u64,
}

impl ColumnEncoders {
    /// Encoders of the columns of a segment.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self, ParquetError> {
        let columns = schema.fields().iter().map(|field| ColumnEncoder::new(field));
        Ok(Self { columns: columns.collect::<Result<_, _>>()? })
    }

    /// Encodes the batch, whose columns are those of the schema.
    pub(crate) fn encode(
        &mut self,
        batch: &RecordBatch,
    ) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
        let columns = self.columns.iter_mut().zip(batch.columns());
        columns.map(|(encoder, column)| encoder.encode(column)).collect()
    }
}

impl ColumnEncoder {
    fn new(field: &Field) -> Result<Self, ParquetError> {
        // Integers are not split into bytes: that would save a sixth where series have few rows, but
        // releases of DuckDB up to 1.5 cannot read it.
        let ways: &[Way] = match field.name().as_str() {
            "series_ref" | "time" | "first_time" | "last_time" | "rows" | "values" => {
                &[Way::Delta, Way::Dictionary]
            }
            "digits" => &[Way::Delta, Way::Dictionary, Way::Plain],
            "value" | "sum" | "min" | "max" | "first" | "last" => {
                &[Way::Plain, Way::Dictionary, Way::Split]
            }
            _ => &[Way::Dictionary],
        };
        Ok(Self {
            field: field.clone(),
            ways: ways.iter().map(|way| way.factory(field)).collect::<Result<_, _>>()?,
            chosen: 0,
            tried: Size::default(),
            groups_left: 0,
        })
    }

    fn encode(&mut self, column: &ArrayRef) -> Result<ArrowColumnChunk, ParquetError> {
        let rows = (column.len() - column.null_count()) as u64;
        if self.ways.len() == 1 || rows == 0 {
            return self.encode_in(self.chosen, from_ref(column));
        }
        let is_due = self.groups_left == 0;
        if is_due {
            self.choose(column)?;
        }
        let mut chunk = self.encode_in(self.chosen, from_ref(column))?;
        let mut size = Size { bytes: bytes(&chunk), rows };
        let has_changed = !is_due && !size.is_like(self.tried);
        if has_changed {
            let before = self.chosen;
            self.choose(column)?;
            if self.chosen != before {
                chunk = self.encode_in(self.chosen, from_ref(column))?;
                size.bytes = bytes(&chunk);
            }
        }
        if is_due || has_changed {
            self.tried = size;
            self.groups_left = GROUPS_PER_TRIAL;
        }
        self.groups_left -= 1;
        Ok(chunk)
    }

    /// Chooses the way in which some of the rows are smallest.
    fn choose(&mut self, column: &ArrayRef) -> Result<(), ParquetError> {
        let rows = column.len().div_ceil(TRIAL_SHARE);
        let starts = (0..TRIAL_SLICES).map(|slice| column.len() * slice / TRIAL_SLICES);
        let slices = starts.map(|start| column.slice(start, rows.min(column.len() - start)));
        let slices: Vec<ArrayRef> = slices.collect();
        let mut least = u64::MAX;
        for way in 0..self.ways.len() {
            let bytes = bytes(&self.encode_in(way, &slices)?);
            if bytes < least {
                least = bytes;
                self.chosen = way;
            }
        }
        Ok(())
    }

    fn encode_in(
        &self,
        way: usize,
        columns: &[ArrayRef],
    ) -> Result<ArrowColumnChunk, ParquetError> {
        let writer = self.ways[way].create_column_writers(0)?.pop();
        encode_column(&self.field, columns, writer.expect("the schema has one column"))
    }
}

impl Size {
    /// Whether a row takes as much as in `other`, give or take a quarter.
    fn is_like(self, other: Self) -> bool {
        let this = u128::from(self.bytes) * u128::from(other.rows);
        let other = u128::from(other.bytes) * u128::from(self.rows);
        this * 4 <= other * 5 && this * 5 >= other * 4
    }
}

impl Way {
    /// What makes writers of the column.
    fn factory(self, field: &Field) -> Result<ArrowRowGroupWriterFactory, ParquetError> {
        let column = ColumnPath::from(field.name().as_str());
        let encoding = match self {
            Self::Delta => Some(Encoding::DELTA_BINARY_PACKED),
            Self::Plain => Some(Encoding::PLAIN),
            Self::Split => Some(Encoding::BYTE_STREAM_SPLIT),
            Self::Dictionary => None,
        };
        let mut properties = base_properties(ZSTD_LEVEL);
        if let Some(encoding) = encoding {
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, encoding);
        }
        let schema = Arc::new(Schema::new(vec![field.clone()]));
        begin(io::sink(), &schema, properties.build()).map(|(_, factory)| factory)
    }
}

fn bytes(chunk: &ArrowColumnChunk) -> u64 {
    chunk.close().bytes_written
}
