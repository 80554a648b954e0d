//! Reads the rows of a segment, row group by row group.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, Float64Array, TimestampNanosecondArray, UInt8Array, UInt16Array, UInt32Array,
};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type,
};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::file::statistics::Statistics;
use tidewatch_env::DiskFile;
use tidewatch_metrics::EventTime;

use crate::error::SegmentsError;
use crate::file_meta::{MetricName, RowGroupMeta};
use crate::footer::{FilePart, Footer, read_checked};
use crate::group_builder::{UTC, unit_nanos};
use crate::limits::GROUP_BYTES_MAX;
use crate::rollup::RollupReader;
use crate::value_form::undigits;

/// Which rows are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    /// Metrics; all if `None`.
    pub metrics: Option<BTreeSet<MetricName>>,
    /// Event times.
    pub times: RangeInclusive<EventTime>,
}

/// Which columns are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Projection {
    /// `series_ref`.
    pub series: bool,
    /// `time`.
    pub time: bool,
    /// `value`.
    pub value: bool,
    /// `severity`.
    pub severity: bool,
    /// `flags`.
    pub flags: bool,
}

/// Decoded columns of one row group; those that were not asked for are `None`.
#[derive(Clone, Debug, Default)]
pub struct SegmentColumns {
    /// Number of rows.
    pub rows: usize,
    /// The series.
    pub series_ref: Option<UInt32Array>,
    /// The event time, UTC.
    pub time: Option<TimestampNanosecondArray>,
    /// The value, bit for bit as it was written; never NULL.
    pub value: Option<Float64Array>,
    /// The severity in steps of 1/64.
    pub severity: Option<UInt16Array>,
    /// The bits of [`Flags`](tidewatch_metrics::Flags).
    pub flags: Option<UInt8Array>,
}

/// An open segment. Several threads may read at the same time.
#[derive(Debug)]
pub struct SegmentReader {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    footer: Arc<Footer>,
}

impl Predicate {
    /// Every row.
    #[must_use]
    pub const fn all() -> Self {
        Self { metrics: None, times: EventTime::MIN..=EventTime::new(i64::MAX) }
    }

    pub(crate) fn may_match(&self, group: &RowGroupMeta) -> bool {
        let in_time = group.time_min <= *self.times.end() && *self.times.start() <= group.time_max;
        // The range would panic on a damaged group whose first metric is after its last.
        let named = self.metrics.as_ref().is_none_or(|metrics| {
            group.first <= group.last && metrics.range(&group.first..=&group.last).next().is_some()
        });
        in_time && named
    }
}

impl Projection {
    /// Every column.
    pub const ALL: Self =
        Self { series: true, time: true, value: true, severity: true, flags: true };

    fn columns(self) -> Vec<&'static str> {
        let columns = [
            (self.series, "series_ref"),
            (self.time, "time"),
            (self.value, "value"),
            (self.value, "digits"),
            (self.value, "scale"),
            (self.severity, "severity"),
            (self.flags, "flags"),
        ];
        columns.into_iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name).collect()
    }
}

impl SegmentReader {
    pub(crate) fn new(file: Arc<dyn DiskFile>, path: PathBuf, footer: Arc<Footer>) -> Self {
        Self { file, path, footer }
    }

    /// The unit in which times are stored.
    ///
    /// # Errors
    /// [`SegmentsError::Corrupt`] where the column is no timestamp.
    pub(crate) fn time_unit(&self) -> Result<TimeUnit, SegmentsError> {
        match self.footer.arrow.schema().field_with_name("time").map(Field::data_type) {
            Ok(DataType::Timestamp(unit, _)) => Ok(*unit),
            Ok(_) | Err(_) => Err(self.corrupt(0, "its column time is no timestamp")),
        }
    }

    /// All row groups.
    #[must_use]
    pub fn groups(&self) -> &[RowGroupMeta] {
        &self.footer.groups
    }

    /// The least and the greatest reference of the series in a row group, as its statistics tell them;
    /// `None` where there are none.
    #[must_use]
    pub fn series_range(&self, row_group: usize) -> Option<RangeInclusive<u32>> {
        series_range(&self.footer.arrow, row_group)
    }

    /// What the rows of each series and hour come to; `None` where there is no rollup.
    ///
    /// # Errors
    /// [`SegmentsError::Corrupt`], and what the disk or the format's library reports. It concerns the
    /// rollup alone: the rows can be read, and further calls say that there is no rollup.
    pub fn rollup(&self) -> Result<Option<RollupReader>, SegmentsError> {
        RollupReader::open(&self.file, &self.path, &self.footer)
    }

    /// Indices of the row groups that may hold rows that are asked for, in ascending order.
    #[must_use]
    pub fn row_groups(&self, predicate: &Predicate) -> Vec<usize> {
        let groups = self.footer.groups.iter().enumerate();
        groups.filter(|(_, group)| predicate.may_match(group)).map(|(index, _)| index).collect()
    }

    /// Reads one row group with one checked read of the file, and decodes the columns asked for.
    /// Returns the bytes read.
    ///
    /// # Errors
    /// [`SegmentsError::Corrupt`], and what the disk or the format's library reports.
    pub fn read(
        &self,
        row_group: usize,
        projection: Projection,
        out: &mut SegmentColumns,
    ) -> Result<u64, SegmentsError> {
        let group = self.footer.groups.get(row_group);
        let group = group.ok_or_else(|| self.corrupt(0, "there is no such row group"))?;
        if group.bytes > GROUP_BYTES_MAX {
            return Err(self.corrupt(group.offset, "a row group is larger than it may be"));
        }
        let place = (group.offset, group.bytes);
        let bytes = read_checked(&*self.file, &self.path, place, group.crc32c)?;
        let end = group.offset.saturating_add(group.bytes);
        let part = FilePart { file_bytes: end, offset: group.offset, bytes };
        let rows = usize::try_from(group.rows)
            .map_err(|_large| self.corrupt(group.offset, "a row group has too many rows"))?;
        let schema = self.footer.arrow.parquet_schema();
        let mask = ProjectionMask::columns(schema, projection.columns());
        let arrow = self.footer.arrow.clone();
        let mut batches = ParquetRecordBatchReaderBuilder::new_with_metadata(part, arrow)
            .with_row_groups(vec![row_group])
            .with_projection(mask)
            .with_batch_size(rows)
            .build()
            .map_err(SegmentsError::parquet("read", &self.path))?;
        let batch = match batches.next() {
            Some(batch) => {
                batch.map_err(|error| SegmentsError::parquet("decode", &self.path)(error.into()))?
            }
            None => return Err(self.corrupt(group.offset, "a row group has no rows")),
        };
        if batch.num_rows() != rows {
            return Err(self.corrupt(group.offset, "a row group has fewer rows than it says"));
        }
        let decoded = decode(&batch, projection);
        *out = decoded.ok_or_else(|| self.corrupt(group.offset, "a column has another type"))?;
        Ok(group.bytes)
    }

    pub(crate) fn corrupt(&self, offset: u64, reason: &'static str) -> SegmentsError {
        SegmentsError::corrupt(&self.path, offset, reason)
    }
}

/// The least and the greatest number in the first column of a row group, which holds the series.
pub(crate) fn series_range(
    arrow: &ArrowReaderMetadata,
    row_group: usize,
) -> Option<RangeInclusive<u32>> {
    let group = arrow.metadata().row_groups().get(row_group)?;
    let Statistics::Int32(numbers) = group.columns().first()?.statistics()? else { return None };
    let (first, last) = (numbers.min_opt()?.cast_unsigned(), numbers.max_opt()?.cast_unsigned());
    (first <= last).then_some(first..=last)
}

fn decode(batch: &RecordBatch, projection: Projection) -> Option<SegmentColumns> {
    let mut out = SegmentColumns { rows: batch.num_rows(), ..SegmentColumns::default() };
    let column = |name| batch.column_by_name(name).map(|column| &**column);
    if projection.series {
        out.series_ref = Some(column("series_ref")?.as_primitive_opt::<UInt32Type>()?.clone());
    }
    if projection.time {
        out.time = Some(nanoseconds(column("time")?)?);
    }
    if projection.value {
        out.value = Some(values(column("value")?, column("digits")?, column("scale")?)?);
    }
    if projection.severity {
        out.severity = Some(column("severity")?.as_primitive_opt::<UInt16Type>()?.clone());
    }
    if projection.flags {
        out.flags = Some(column("flags")?.as_primitive_opt::<UInt8Type>()?.clone());
    }
    Some(out)
}

/// Times of any unit of Parquet in nanoseconds.
pub(crate) fn nanoseconds(times: &dyn Array) -> Option<TimestampNanosecondArray> {
    let DataType::Timestamp(unit, _) = times.data_type() else { return None };
    let counts = match unit {
        TimeUnit::Millisecond => times.as_primitive_opt::<TimestampMillisecondType>()?.values(),
        TimeUnit::Microsecond => times.as_primitive_opt::<TimestampMicrosecondType>()?.values(),
        TimeUnit::Nanosecond => times.as_primitive_opt::<TimestampNanosecondType>()?.values(),
        TimeUnit::Second => return None,
    };
    let nanos = unit_nanos(*unit);
    // The writer takes a unit only where it is exact, so the product fits as the time did.
    let times: Vec<i64> = counts.iter().map(|count| count.wrapping_mul(nanos)).collect();
    Some(TimestampNanosecondArray::from(times).with_timezone(UTC))
}

/// `coalesce(value, digits / scale)`.
fn values(values: &dyn Array, digits: &dyn Array, scales: &dyn Array) -> Option<Float64Array> {
    let values = values.as_primitive_opt::<Float64Type>()?;
    let digits = digits.as_primitive_opt::<Int64Type>()?;
    let scales = scales.as_primitive_opt::<Float64Type>()?;
    if values.null_count() == 0 {
        return Some(values.clone());
    }
    let scaled = digits.values().iter().zip(scales.values());
    let scaled = scaled.map(|(digits, scale)| undigits(*digits, *scale));
    if values.null_count() == values.len() && digits.null_count() == 0 && scales.null_count() == 0 {
        return Some(scaled.collect());
    }
    let plain = values.iter().zip(digits.nulls()?.iter().zip(scales.nulls()?.iter()));
    let coalesced = plain.zip(scaled).map(|((value, (digits, scale)), scaled)| match value {
        Some(value) => Some(value),
        None => (digits && scale).then_some(scaled),
    });
    coalesced.collect::<Option<Vec<f64>>>().map(Float64Array::from)
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
