//! Encodes a rollup in memory while its segment is written.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use tidewatch_metrics::EventTime;

use crate::file_meta::{MetricName, RowGroupMeta};
use crate::group_builder::{UTC, time_array, unit_nanos};
use crate::limits::{
    ROLLUP_BYTES_FREE, ROLLUP_BYTES_MAX, ROLLUP_ROWS_PER_ROW_MIN, ROLLUP_SHARE_MAX,
};
use crate::merge::{ColumnEncoders, ZSTD_LEVEL};
use crate::output::begin;
use crate::rollup::builder::{RollupBuilder, RollupGroup, SeriesHourRows};
use crate::rollup::columns::RollupColumns;
use crate::rollup::info::{ROLLUP_FORMAT, RollupInfo};
use crate::writer::base_properties;

/// Encodes a rollup; gives up once it is larger than [`ROLLUP_BYTES_MAX`].
#[derive(Debug)]
pub(crate) struct RollupWriter {
    unit: TimeUnit,
    schema: SchemaRef,
    builder: RollupBuilder,
    file: Option<File>,
    groups: Vec<RowGroupMeta>,
}

#[derive(Debug)]
struct File {
    encoders: ColumnEncoders,
    writer: SerializedFileWriter<Vec<u8>>,
    bytes: u64,
}

/// The bytes of a rollup, and what the segment's footer says of them.
#[derive(Debug)]
pub(crate) struct SealedRollup {
    pub(crate) bytes: Vec<u8>,
    /// Its offset is that of the segment's end so far, which the caller knows.
    pub(crate) info: RollupInfo,
    pub(crate) rows: u64,
}

impl RollupWriter {
    /// Begins a rollup with times in `unit`.
    ///
    /// # Errors
    /// What the format's library reports.
    pub(crate) fn new(unit: TimeUnit) -> Result<Self, ParquetError> {
        let schema = rollup_schema(unit);
        let (writer, _) = begin(Vec::new(), &schema, base_properties(ZSTD_LEVEL).build())?;
        let encoders = ColumnEncoders::new(&schema)?;
        let file = Some(File { encoders, writer, bytes: 0 });
        Ok(Self { unit, schema, builder: RollupBuilder::default(), file, groups: Vec::new() })
    }

    /// Adds rows of one series, behind all that were added before.
    ///
    /// # Errors
    /// What the format's library reports.
    pub(crate) fn push(
        &mut self,
        rows: &SeriesHourRows<'_>,
        name: impl Fn(usize) -> MetricName,
    ) -> Result<(), ParquetError> {
        if self.file.is_none() {
            return Ok(());
        }
        self.builder.push(rows);
        while let Some(group) = self.builder.full_group() {
            self.write(&group, &name)?;
        }
        Ok(())
    }

    /// The whole rollup; `None` where it would not pay beside `rows` rows of `bytes` bytes.
    ///
    /// # Errors
    /// What the format's library reports.
    pub(crate) fn seal(
        mut self,
        (rows, bytes): (u64, u64),
        name: impl Fn(usize) -> MetricName,
    ) -> Result<Option<SealedRollup>, ParquetError> {
        if let Some(group) = self.builder.last_group() {
            self.write(&group, &name)?;
        }
        let rollup_rows: u64 = self.groups.iter().map(|group| group.rows).sum();
        let Some(file) = self.file else { return Ok(None) };
        if rollup_rows == 0 || rows / rollup_rows < ROLLUP_ROWS_PER_ROW_MIN {
            return Ok(None);
        }
        let footer_offset = file.bytes;
        let all = file.writer.into_inner()?;
        let info = RollupInfo {
            format: ROLLUP_FORMAT,
            offset: 0,
            bytes: all.len() as u64,
            footer_offset,
            footer_crc32c: crc32c::crc32c(tail(&all, footer_offset)),
            groups: self.groups,
        };
        let share = (bytes / ROLLUP_SHARE_MAX).max(ROLLUP_BYTES_FREE);
        let pays = info.bytes <= share.min(ROLLUP_BYTES_MAX);
        Ok(pays.then_some(SealedRollup { bytes: all, info, rows: rollup_rows }))
    }

    fn write(
        &mut self,
        group: &RollupGroup,
        name: impl Fn(usize) -> MetricName,
    ) -> Result<(), ParquetError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let batch = rollup_batch(&self.schema, self.unit, &group.columns);
        let chunks = file.encoders.encode(&batch)?;
        let mut writer = file.writer.next_row_group()?;
        chunks.into_iter().try_for_each(|chunk| chunk.append_to_row_group(&mut writer))?;
        writer.close()?;
        file.writer.flush()?;
        let written = file.writer.inner().as_slice();
        let part = tail(written, file.bytes);
        let time = |times: Option<&i64>| EventTime::new(times.copied().unwrap_or_default());
        self.groups.push(RowGroupMeta {
            rows: group.columns.len() as u64,
            offset: file.bytes,
            bytes: part.len() as u64,
            crc32c: crc32c::crc32c(part),
            first: name(group.metrics.0),
            last: name(group.metrics.1),
            time_min: time(group.columns.first_times.iter().min()),
            time_max: time(group.columns.last_times.iter().max()),
            late_rows: 0,
        });
        file.bytes = written.len() as u64;
        if file.bytes > ROLLUP_BYTES_MAX {
            self.file = None;
        }
        Ok(())
    }
}

/// The bytes from `offset` on.
fn tail(bytes: &[u8], offset: u64) -> &[u8] {
    let offset = usize::try_from(offset).expect("the rollup is in memory");
    bytes.get(offset..).expect("offsets are those of the bytes written")
}

/// The columns of a rollup with times in `unit`.
fn rollup_schema(unit: TimeUnit) -> SchemaRef {
    let time = |name| Field::new(name, DataType::Timestamp(unit, Some(UTC.into())), false);
    let value = |name| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        Field::new("series_ref", DataType::UInt32, false),
        Field::new("rows", DataType::Int64, false),
        Field::new("values", DataType::Int64, false),
        value("sum"),
        value("min"),
        value("max"),
        value("first"),
        value("last"),
        time("first_time"),
        time("last_time"),
    ]))
}

fn rollup_batch(schema: &SchemaRef, unit: TimeUnit, rows: &RollupColumns) -> RecordBatch {
    let nanos = unit_nanos(unit);
    let times = |times: &[i64]| time_array(unit, times.iter().map(|time| time / nanos).collect());
    let number = |column: &[i64]| -> ArrayRef { Arc::new(Int64Array::from(column.to_vec())) };
    let with_nulls = |column: &[f64], valid: BooleanBuffer| -> ArrayRef {
        Arc::new(Float64Array::new(column.to_vec().into(), Some(NullBuffer::new(valid))))
    };
    let of_values =
        |column: &[f64]| with_nulls(column, rows.values.iter().map(|values| *values > 0).collect());
    let of_row = |column: &[f64]| with_nulls(column, column.iter().map(|v| !v.is_nan()).collect());
    let columns = vec![
        Arc::new(UInt32Array::from(rows.series.clone())),
        number(&rows.rows),
        number(&rows.values),
        of_values(&rows.sums),
        of_values(&rows.mins),
        of_values(&rows.maxs),
        of_row(&rows.firsts),
        of_row(&rows.lasts),
        times(&rows.first_times),
        times(&rows.last_times),
    ];
    RecordBatch::try_new(SchemaRef::clone(schema), columns).expect("the columns are the schema's")
}
