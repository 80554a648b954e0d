//! How the columns of a merged segment are encoded: each as it comes out smallest.

use std::io;

use arrow::array::Array;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory,
};
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use crate::output::{begin, encode_column};
use crate::writer::base_properties;

/// Row groups for which the outcome of a trial holds.
const GROUPS_PER_TRIAL: u32 = 8;

/// A way to encode a column; every reader of Parquet knows all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Differences of neighbours, bit-packed; floats as they are.
    Delta,
    /// Each distinct value once.
    Dictionary,
    /// First bytes of all values, then the second ones, and so on.
    Split,
}

/// Encodes row groups. All ways that may suit a column are tried on a row group now and then, and
/// the smallest is kept until the next trial.
#[derive(Debug)]
pub(crate) struct ColumnEncoders {
    schema: SchemaRef,
    factories: Vec<(Way, ArrowRowGroupWriterFactory)>,
    columns: Vec<Column>,
}

/// One column's choice.
#[derive(Debug)]
struct Column {
    ways: &'static [Way],
    chosen: Way,
    /// Bytes and rows of the row group that was tried.
    tried: Size,
    groups_left: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    bytes: u64,
    rows: u64,
}

impl ColumnEncoders {
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self, ParquetError> {
        let mut factories = Vec::new();
        for way in [Way::Delta, Way::Dictionary, Way::Split] {
            let (_, factory) = begin(io::sink(), schema, properties(way, schema))?;
            factories.push((way, factory));
        }
        let columns = schema.fields().iter().map(|field| Column::new(field.name())).collect();
        Ok(Self { schema: SchemaRef::clone(schema), factories, columns })
    }

    /// Encodes the batch, whose schema is that of the encoders.
    pub(crate) fn encode(
        &mut self,
        batch: &RecordBatch,
    ) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
        let mut writers: Vec<Vec<Option<ArrowColumnWriter>>> = Vec::new();
        for (_, factory) in &self.factories {
            writers.push(factory.create_column_writers(0)?.into_iter().map(Some).collect());
        }
        let mut chunks = Vec::with_capacity(self.columns.len());
        for (index, column) in self.columns.iter_mut().enumerate() {
            let array = batch.column(index);
            let mut encode = |way: Way| {
                let writer = writers[way as usize][index].take();
                let writer = writer.expect("a column is encoded once in each way");
                encode_column(self.schema.field(index), array, writer)
            };
            let rows = (array.len() - array.null_count()) as u64;
            let mut best = encode(column.chosen)?;
            if column.is_trial_due(Size { bytes: bytes(&best), rows }) {
                let before = column.chosen;
                for way in column.ways.iter().filter(|way| **way != before) {
                    let other = encode(*way)?;
                    if bytes(&other) < bytes(&best) {
                        best = other;
                        column.chosen = *way;
                    }
                }
                column.tried = Size { bytes: bytes(&best), rows };
                column.groups_left = GROUPS_PER_TRIAL;
            }
            chunks.push(best);
        }
        Ok(chunks)
    }
}

impl Column {
    fn new(name: &str) -> Self {
        let ways: &[Way] = match name {
            "time" | "value" | "digits" => &[Way::Delta, Way::Dictionary, Way::Split],
            "series_ref" => &[Way::Delta, Way::Dictionary],
            _ => &[Way::Dictionary],
        };
        Self { ways, chosen: ways[0], tried: Size::default(), groups_left: 0 }
    }
}

impl Column {
    /// Whether all ways are to be compared for a row group that takes `size` in the chosen one:
    /// every few groups, and where the column has become another than the one that was tried.
    fn is_trial_due(&mut self, size: Size) -> bool {
        if size.rows == 0 || self.ways.len() == 1 {
            return false;
        }
        // Bytes that the rows would take as they did in the trial, times `tried.rows`.
        let expected = u128::from(self.tried.bytes) * u128::from(size.rows);
        let found = u128::from(size.bytes) * u128::from(self.tried.rows);
        let is_alike = found * 4 <= expected * 5 && found * 5 >= expected * 4;
        if self.groups_left == 0 || !is_alike {
            return true;
        }
        self.groups_left -= 1;
        false
    }
}

fn bytes(chunk: &ArrowColumnChunk) -> u64 {
    chunk.close().bytes_written
}

fn properties(way: Way, schema: &SchemaRef) -> WriterProperties {
    let mut builder = base_properties();
    for field in schema.fields() {
        let column = ColumnPath::from(field.name().as_str());
        let is_integer = !matches!(field.data_type(), DataType::Float64);
        let encoding = match way {
            Way::Dictionary => continue,
            Way::Delta if is_integer => Encoding::DELTA_BINARY_PACKED,
            Way::Delta => Encoding::PLAIN,
            Way::Split => Encoding::BYTE_STREAM_SPLIT,
        };
        builder = builder
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, encoding);
    }
    builder.build()
}
