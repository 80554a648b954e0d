//! Reads the rollup of a segment, row group by row group.
#![deny(clippy::indexing_slicing)]

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, UInt32Type};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use tidewatch_env::DiskFile;

use crate::error::SegmentsError;
use crate::file_meta::RowGroupMeta;
use crate::footer::{FilePart, Footer, read_checked};
use crate::limits::ROLLUP_BYTES_MAX;
use crate::reader::{Predicate, nanoseconds, series_range};
use crate::rollup::columns::RollupColumns;
use crate::rollup::info::RollupFooter;

/// The rollup of an open segment. Several threads may read at the same time.
#[derive(Debug)]
pub struct RollupReader {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    footer: Arc<Footer>,
    arrow: ArrowReaderMetadata,
}

impl RollupReader {
    /// Reads the rollup's own footer, unless it is in memory. `None` where the segment has no rollup
    /// of a known format, or was found to have a damaged one.
    ///
    /// # Errors
    /// [`SegmentsError::Corrupt`], and what the disk or the format's library reports.
    pub(crate) fn open(
        file: &Arc<dyn DiskFile>,
        path: &std::path::Path,
        footer: &Arc<Footer>,
    ) -> Result<Option<Self>, SegmentsError> {
        let Some(rollup) = &footer.rollup else { return Ok(None) };
        if rollup.is_damaged.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let arrow = match rollup.arrow.get() {
            Some(arrow) => arrow.clone(),
            None => {
                let read = read_rollup_footer(&**file, path, rollup);
                let arrow =
                    read.inspect_err(|_| rollup.is_damaged.store(true, Ordering::Relaxed))?;
                rollup.arrow.get_or_init(|| arrow).clone()
            }
        };
        let (file, footer) = (Arc::clone(file), Arc::clone(footer));
        Ok(Some(Self { file, path: path.to_owned(), footer, arrow }))
    }

    /// All row groups; their offsets are from the beginning of the rollup.
    #[must_use]
    pub fn groups(&self) -> &[RowGroupMeta] {
        self.footer.rollup.as_ref().map_or(&[], |rollup| &rollup.info.groups)
    }

    /// The least and the greatest reference of the series in a row group, as its statistics tell them;
    /// `None` where there are none.
    #[must_use]
    pub fn series_range(&self, row_group: usize) -> Option<RangeInclusive<u32>> {
        series_range(&self.arrow, row_group)
    }

    /// Indices of the row groups that may hold rows that are asked for, in ascending order.
    #[must_use]
    pub fn row_groups(&self, predicate: &Predicate) -> Vec<usize> {
        let groups = self.groups().iter().enumerate();
        groups.filter(|(_, group)| predicate.may_match(group)).map(|(index, _)| index).collect()
    }

    /// Reads one row group with one checked read of the file. Returns the bytes read. After an error,
    /// the segment counts as one without a rollup for as long as its footer is in memory.
    ///
    /// # Errors
    /// [`SegmentsError::Corrupt`], and what the disk or the format's library reports.
    pub fn read(&self, row_group: usize, out: &mut RollupColumns) -> Result<u64, SegmentsError> {
        let read = self.read_group(row_group, out);
        if let (Err(_), Some(rollup)) = (&read, &self.footer.rollup) {
            rollup.is_damaged.store(true, Ordering::Relaxed);
        }
        read
    }

    fn read_group(&self, row_group: usize, out: &mut RollupColumns) -> Result<u64, SegmentsError> {
        let corrupt = |reason| SegmentsError::corrupt(&self.path, self.offset(), reason);
        let group = self.groups().get(row_group);
        let group = group.ok_or_else(|| corrupt("there is no such row group in its rollup"))?;
        let place = (self.offset().saturating_add(group.offset), group.bytes);
        if group.bytes > ROLLUP_BYTES_MAX {
            return Err(corrupt("a row group of its rollup is larger than it may be"));
        }
        let bytes = read_checked(&*self.file, &self.path, place, group.crc32c)?;
        let file_bytes = group.offset.saturating_add(group.bytes);
        let part = FilePart { file_bytes, offset: group.offset, bytes };
        let rows = usize::try_from(group.rows).unwrap_or(usize::MAX);
        let mut batches =
            ParquetRecordBatchReaderBuilder::new_with_metadata(part, self.arrow.clone())
                .with_row_groups(vec![row_group])
                .with_batch_size(rows)
                .build()
                .map_err(SegmentsError::parquet("read", &self.path))?;
        let batch = batches.next().ok_or_else(|| corrupt("a row group of its rollup is empty"))?;
        let batch =
            batch.map_err(|error| SegmentsError::parquet("decode", &self.path)(error.into()))?;
        let decoded = decode(&batch).filter(|columns| columns.len() == rows);
        *out = decoded.ok_or_else(|| corrupt("its rollup has other columns or rows"))?;
        Ok(group.bytes)
    }

    fn offset(&self) -> u64 {
        self.footer.rollup.as_ref().map_or(0, |rollup| rollup.info.offset)
    }
}

fn read_rollup_footer(
    file: &dyn DiskFile,
    path: &std::path::Path,
    rollup: &RollupFooter,
) -> Result<ArrowReaderMetadata, SegmentsError> {
    let info = &rollup.info;
    let corrupt = |reason| SegmentsError::corrupt(path, info.offset, reason);
    let bytes = info.bytes.checked_sub(info.footer_offset);
    let bytes = bytes.filter(|bytes| *bytes <= ROLLUP_BYTES_MAX);
    let bytes = bytes.ok_or_else(|| corrupt("its rollup is larger than it may be"))?;
    let place = (info.offset.saturating_add(info.footer_offset), bytes);
    let bytes = read_checked(file, path, place, info.footer_crc32c)?;
    let part = FilePart { file_bytes: info.bytes, offset: info.footer_offset, bytes };
    let parsed = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Skip)
        .parse_and_finish(&part)
        .map_err(SegmentsError::parquet("read the rollup's footer of", path))?;
    let rows = parsed.row_groups().iter().map(|group| u64::try_from(group.num_rows()).ok());
    if !rows.eq(info.groups.iter().map(|group| Some(group.rows))) {
        return Err(corrupt("tidewatch.rollup differs from the rollup's row groups"));
    }
    ArrowReaderMetadata::try_new(parsed.into(), ArrowReaderOptions::new())
        .map_err(SegmentsError::parquet("read the rollup's schema of", path))
}

fn decode(batch: &RecordBatch) -> Option<RollupColumns> {
    let column = |name| batch.column_by_name(name).map(|column| &**column);
    let number = |name| -> Option<Vec<i64>> {
        let column = column(name)?.as_primitive_opt::<Int64Type>()?;
        (column.null_count() == 0).then(|| column.values().to_vec())
    };
    let time = |name| -> Option<Vec<i64>> {
        let column = nanoseconds(column(name)?)?;
        (column.null_count() == 0).then(|| column.values().to_vec())
    };
    let value = |name, null: f64| -> Option<Vec<f64>> {
        let column = column(name)?.as_primitive_opt::<Float64Type>()?;
        Some(column.iter().map(|value| value.unwrap_or(null)).collect())
    };
    let series = column("series_ref")?.as_primitive_opt::<UInt32Type>()?;
    Some(RollupColumns {
        series: (series.null_count() == 0).then(|| series.values().to_vec())?,
        rows: number("rows")?,
        values: number("values")?,
        sums: value("sum", 0.0)?,
        mins: value("min", 0.0)?,
        maxs: value("max", 0.0)?,
        firsts: value("first", f64::NAN)?,
        lasts: value("last", f64::NAN)?,
        first_times: time("first_time")?,
        last_times: time("last_time")?,
    })
}

#[cfg(test)]
#[path = "rollup_tests.rs"]
mod tests;
