//! Frozen rows become a segment.

use std::path::Path;

use arrow::datatypes::{SchemaRef, TimeUnit};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use tidewatch_env::Disk;
use tidewatch_metrics::{Lsn, SeriesCatalog};

use crate::error::SegmentsError;
use crate::file_meta::{FileMeta, RowGroupMeta};
use crate::footer::{SEGMENT_FORMAT, SegmentInfo, key_values};
use crate::group_builder::{GroupBuilder, SeriesRows, samples_schema, unit_nanos};
use crate::late_hours::LateHours;
use crate::limits::{GROUP_ROWS_MAX, GROUP_ROWS_MIN};
use crate::output::Output;
use crate::slot_set::SlotSet;
use crate::sort::{RowCells, RowSource, SeriesRun, SortedRows};
use crate::value_form::ValueForm;
use crate::view::HeadView;

/// Level 3 gives no smaller files: 1.21 against 1.19 and 0.95 against 0.96 B per decimal sample in
/// `examples/write_speed.rs`. The delta encodings leave zstd little to find.
const ZSTD_LEVEL: i32 = 1;
/// Series that are looked at to choose how plain values are encoded.
const SAMPLED_SERIES: usize = 64;
/// Values of each of them.
const SAMPLED_VALUES: usize = 64;

/// What becomes a segment.
#[derive(Debug)]
pub(crate) struct SegmentRows<'a> {
    /// All rows of one shard's frozen heads, in the order of the log.
    pub(crate) views: &'a [HeadView],
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    pub(crate) slots: SlotSet,
    pub(crate) catalog: &'a SeriesCatalog,
}

/// A segment that was written, and the references that occur in it.
#[derive(Debug)]
pub(crate) struct WrittenSegment {
    pub(crate) meta: FileMeta,
    /// One more than the greatest reference of a series with rows.
    pub(crate) refs_end: u32,
}

/// Writes the rows to `file` in `dir`; durable once `dir` is synced.
///
/// # Errors
/// What the disk or the format's library reports, and [`SegmentsError::UnknownSeries`].
pub(crate) fn write_segment(
    disk: &dyn Disk,
    dir: &Path,
    file: String,
    rows: &SegmentRows<'_>,
) -> Result<WrittenSegment, SegmentsError> {
    let source = RowSource::new(rows.views);
    let sorted = SortedRows::of(&source, rows.catalog)?;
    let unit = time_unit(&source);
    let schema = samples_schema(unit);
    let properties = properties(plain_values_repeat(&sorted));
    let output = Output::create(disk, dir, file, SchemaRef::clone(&schema), properties)?;
    let mut groups = GroupWriter {
        output,
        sorted: &sorted,
        schema,
        unit,
        builder: GroupBuilder::new(unit, sorted.rows.len().min(GROUP_ROWS_MAX)),
        first_metric: 0,
        groups: Vec::new(),
    };
    groups.write_all()?;
    let info = SegmentInfo {
        format: SEGMENT_FORMAT,
        first_lsn: rows.first_lsn,
        last_lsn: rows.last_lsn,
        slots: rows.slots,
    };
    let GroupWriter { output, groups, .. } = groups;
    let written = output.finish(key_values(&info, &groups))?;
    let mut late_hours = LateHours::NONE;
    rows.views.iter().for_each(|view| late_hours.extend(view.late_hours()));
    let refs_end = sorted.runs.iter().map(|run| run.series.0).max().map_or(0, |last| last + 1);
    let meta = FileMeta {
        file: written.file,
        bytes: written.bytes,
        crc32c: written.crc32c,
        footer_offset: written.footer.offset,
        footer_crc32c: written.footer.crc32c,
        ..FileMeta::of_groups(&info, &groups, late_hours)
    };
    Ok(WrittenSegment { meta, refs_end })
}

/// Fills row groups, ends them, and notes what they hold.
#[derive(Debug)]
struct GroupWriter<'a> {
    output: Output<'a>,
    sorted: &'a SortedRows,
    schema: SchemaRef,
    unit: TimeUnit,
    builder: GroupBuilder,
    /// Index of the metric of the group's first row.
    first_metric: usize,
    groups: Vec<RowGroupMeta>,
}

/// The rows of one series in columns.
#[derive(Debug, Default)]
struct Gathered {
    times: Vec<i64>,
    values: Vec<f64>,
    severities: Vec<u16>,
    flags: Vec<u8>,
}

impl GroupWriter<'_> {
    fn write_all(&mut self) -> Result<(), SegmentsError> {
        let sorted = self.sorted;
        let mut gathered = Gathered::default();
        for (index, metric) in sorted.metrics.iter().enumerate() {
            let runs = &sorted.runs[metric.start..metric.end];
            let rows: usize = runs.iter().map(|run| run.end - run.start).sum();
            // A metric that would cross the end of the group begins a group of its own, so that a
            // query for it reads few rows of others.
            if self.builder.len() >= GROUP_ROWS_MIN && self.builder.len() + rows > GROUP_ROWS_MAX {
                self.end_group(index - 1)?;
            }
            for run in runs {
                gathered.fill(&sorted.rows[run.start..run.end]);
                self.write_run(index, run, &gathered)?;
            }
        }
        if self.builder.len() > 0 { self.end_group(sorted.metrics.len() - 1) } else { Ok(()) }
    }

    fn write_run(
        &mut self,
        metric: usize,
        run: &SeriesRun,
        rows: &Gathered,
    ) -> Result<(), SegmentsError> {
        let form = ValueForm::of(&rows.values);
        let mut from = 0;
        while from < rows.times.len() {
            if self.builder.len() == GROUP_ROWS_MAX {
                // The full group's last row may be of the metric before this one.
                let last = if from > 0 || run.start > self.metric_start(metric) {
                    metric
                } else {
                    metric - 1
                };
                self.end_group(last)?;
            }
            if self.builder.len() == 0 {
                self.first_metric = metric;
            }
            let to = rows.times.len().min(from + GROUP_ROWS_MAX - self.builder.len());
            self.builder.push(&SeriesRows {
                series: run.series,
                form,
                times: &rows.times[from..to],
                values: &rows.values[from..to],
                severities: &rows.severities[from..to],
                flags: &rows.flags[from..to],
            });
            from = to;
        }
        Ok(())
    }

    /// Place in the order of the metric's first row.
    fn metric_start(&self, metric: usize) -> usize {
        self.sorted.runs[self.sorted.metrics[metric].start].start
    }

    fn end_group(&mut self, last_metric: usize) -> Result<(), SegmentsError> {
        let next = GroupBuilder::new(self.unit, self.builder.len());
        let builder = std::mem::replace(&mut self.builder, next);
        let rows = builder.len() as u64;
        let (time_min, time_max) = (builder.time_min, builder.time_max);
        let late_rows = builder.late_rows;
        let part = self.output.write_group(&builder.finish(SchemaRef::clone(&self.schema)))?;
        self.groups.push(RowGroupMeta {
            rows,
            offset: part.offset,
            bytes: part.bytes,
            crc32c: part.crc32c,
            first: self.sorted.metrics[self.first_metric].name.clone(),
            last: self.sorted.metrics[last_metric].name.clone(),
            time_min,
            time_max,
            late_rows,
        });
        Ok(())
    }
}

impl Gathered {
    fn fill(&mut self, rows: &[RowCells]) {
        self.times.clear();
        self.values.clear();
        self.severities.clear();
        self.flags.clear();
        self.times.extend(rows.iter().map(|row| row.time));
        self.values.extend(rows.iter().map(|row| row.value));
        self.severities.extend(rows.iter().map(|row| row.rating.severity));
        self.flags.extend(rows.iter().map(|row| row.rating.flags));
    }
}

/// The coarsest unit of Parquet that is exact for all times (Parquet has no seconds).
fn time_unit(source: &RowSource) -> TimeUnit {
    let units = [TimeUnit::Millisecond, TimeUnit::Microsecond];
    let exact = |unit: &TimeUnit| {
        let nanos = unit_nanos(*unit);
        source.chunks().iter().all(|chunk| chunk.times().all(|time| time % nanos == 0))
    };
    units.into_iter().find(exact).unwrap_or(TimeUnit::Nanosecond)
}

/// Whether plain values come again often enough for a dictionary, as a sample of them says.
fn plain_values_repeat(sorted: &SortedRows) -> bool {
    let step = sorted.runs.len().div_ceil(SAMPLED_SERIES).max(1);
    let mut seen: Vec<u64> = Vec::new();
    let mut gathered = Gathered::default();
    for run in sorted.runs.iter().step_by(step) {
        gathered.fill(&sorted.rows[run.start..run.end.min(run.start + SAMPLED_VALUES)]);
        if ValueForm::of(&gathered.values) == ValueForm::Plain {
            seen.extend(gathered.values.iter().map(|value| value.to_bits()));
        }
    }
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    seen.len() * 2 < all
}

/// What all segments have in common.
pub(crate) fn base_properties(zstd_level: i32) -> WriterPropertiesBuilder {
    let level = ZstdLevel::try_new(zstd_level).expect("the level is one of zstd's");
    WriterProperties::builder()
        .set_created_by(format!("tidewatch {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
        // One page for each column of a row group, which is read as a whole: zstd finds more in it.
        .set_data_page_row_count_limit(GROUP_ROWS_MAX)
}

fn properties(values_repeat: bool) -> WriterProperties {
    let builder = delta(base_properties(ZSTD_LEVEL), "series_ref");
    let builder = delta(builder, "time");
    delta(builder, "digits")
        .set_column_dictionary_enabled(ColumnPath::from("value"), values_repeat)
        .build()
}

fn delta(builder: WriterPropertiesBuilder, column: &str) -> WriterPropertiesBuilder {
    builder
        .set_column_dictionary_enabled(ColumnPath::from(column), false)
        .set_column_encoding(ColumnPath::from(column), Encoding::DELTA_BINARY_PACKED)
}
