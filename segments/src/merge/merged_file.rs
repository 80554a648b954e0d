//! The file that a merge writes, row group by row group.

use std::path::Path;

use arrow::datatypes::{SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use tidewatch_env::Disk;
use tidewatch_metrics::{EventTime, Flags};

use crate::error::SegmentsError;
use crate::file_meta::{FileMeta, RowGroupMeta};
use crate::footer::{SegmentInfo, key_values};
use crate::group_builder::{GroupBuilder, SeriesRows, samples_schema};
use crate::late_hours::LateHours;
use crate::merge::columns::{ColumnEncoders, ZSTD_LEVEL};
use crate::merge::gather::Gather;
use crate::merge::order::SeriesOrder;
use crate::output::{Output, Part, Sealed};
use crate::rollup::{RollupInfo, RollupWriter, SealedRollup, SeriesHourRows, rollup_key_value};
use crate::value_form::ValueForm;
use crate::writer::base_properties;

/// The file that a merge writes; none before its first row group.
#[derive(Debug)]
pub(crate) struct MergedFile<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    file: &'static str,
    unit: TimeUnit,
    schema: SchemaRef,
    open: Option<Open<'a>>,
    groups: Vec<RowGroupMeta>,
    late_hours: LateHours,
}

#[derive(Debug)]
struct Open<'a> {
    output: Output<'a>,
    encoders: ColumnEncoders,
    rollup: RollupWriter,
}

impl<'a> MergedFile<'a> {
    pub(crate) fn new(
        disk: &'a dyn Disk,
        dir: &'a Path,
        file: &'static str,
        unit: TimeUnit,
    ) -> Self {
        let schema = samples_schema(unit);
        let late_hours = LateHours::NONE;
        Self { disk, dir, file, unit, schema, open: None, groups: Vec::new(), late_hours }
    }

    /// Writes the first `rows` of `gather` as one row group.
    pub(crate) fn write_group(
        &mut self,
        gather: &Gather,
        rows: usize,
        order: &SeriesOrder,
    ) -> Result<(), SegmentsError> {
        let builder = self.build(gather, rows);
        let (time_min, time_max) = (builder.time_min, builder.time_max);
        let late_rows = builder.late_rows;
        if late_rows > 0 {
            let late = gather.columns(0..rows);
            for (time, flags) in late.times.iter().zip(late.flags) {
                if Flags::from_bits(*flags).is_late() {
                    self.late_hours.insert(EventTime::new(*time));
                }
            }
        }
        let batch = builder.finish(SchemaRef::clone(&self.schema));
        let open = self.open()?;
        let part = open.write(&batch)?;
        open.roll_up(gather, rows, order)?;
        let runs = || gather.runs().filter(|(_, place)| place.start < rows);
        let name = |metric| order.name(metric).clone();
        let (first, last) = (runs().next(), runs().last());
        let (first, last) = first.zip(last).expect("a row group has rows");
        self.groups.push(RowGroupMeta {
            rows: rows as u64,
            offset: part.offset,
            bytes: part.bytes,
            crc32c: part.crc32c,
            first: name(first.0.metric),
            last: name(last.0.metric),
            time_min,
            time_max,
            late_rows,
        });
        Ok(())
    }

    /// Makes the file durable; `None` if nothing was written.
    pub(crate) fn seal(
        self,
        info: &SegmentInfo,
        order: &SeriesOrder,
    ) -> Result<Option<(Sealed, FileMeta)>, SegmentsError> {
        let Some(Open { mut output, rollup, .. }) = self.open else { return Ok(None) };
        let groups = &self.groups;
        let mut keys = key_values(info, groups);
        let rows = groups.iter().map(|group| group.rows).sum();
        let bytes = groups.iter().map(|group| group.bytes).sum();
        let rollup = rollup.seal((rows, bytes), |metric| order.name(metric).clone());
        let rollup = rollup.map_err(output.failed("write"))?;
        let rollup_rows = rollup.as_ref().map_or(0, |rollup| rollup.rows);
        if let Some(SealedRollup { bytes, info, .. }) = rollup {
            let offset = output.write_beside(&bytes)?.offset;
            keys.push(rollup_key_value(&RollupInfo { offset, ..info }));
        }
        let sealed = output.seal(keys)?;
        let meta = FileMeta {
            rollup_rows,
            bytes: sealed.bytes,
            crc32c: sealed.crc32c,
            footer_offset: sealed.footer.offset,
            footer_crc32c: sealed.footer.crc32c,
            ..FileMeta::of_groups(info, groups, self.late_hours)
        };
        Ok(Some((sealed, meta)))
    }

    fn build(&self, gather: &Gather, rows: usize) -> GroupBuilder {
        let mut builder = GroupBuilder::new(self.unit, rows);
        let mut before = ValueForm::Plain;
        for (run, place) in gather.runs().take_while(|(_, place)| place.start < rows) {
            let columns = gather.columns(place);
            let form = ValueForm::smallest(columns.values, before);
            before = form;
            builder.push(&SeriesRows {
                series: run.series,
                form,
                times: columns.times,
                values: columns.values,
                severities: columns.severities,
                flags: columns.flags,
            });
        }
        builder
    }

    fn open(&mut self) -> Result<&mut Open<'a>, SegmentsError> {
        if self.open.is_none() {
            self.open =
                Some(Open::create((self.disk, self.dir), self.file, &self.schema, self.unit)?);
        }
        Ok(self.open.as_mut().expect("it was created where it was missing"))
    }
}

impl<'a> Open<'a> {
    fn create(
        (disk, dir): (&'a dyn Disk, &Path),
        file: &str,
        schema: &SchemaRef,
        unit: TimeUnit,
    ) -> Result<Self, SegmentsError> {
        let encoders = ColumnEncoders::new(schema)
            .map_err(SegmentsError::parquet("begin", &dir.join(file)))?;
        let properties = base_properties(ZSTD_LEVEL).build();
        let output =
            Output::create(disk, dir, file.to_owned(), SchemaRef::clone(schema), properties)?;
        let rollup = RollupWriter::new(unit).map_err(output.failed("begin"))?;
        Ok(Self { output, encoders, rollup })
    }

    fn roll_up(
        &mut self,
        gather: &Gather,
        rows: usize,
        order: &SeriesOrder,
    ) -> Result<(), SegmentsError> {
        for (run, place) in gather.runs().take_while(|(_, place)| place.start < rows) {
            let columns = gather.columns(place);
            let rows = SeriesHourRows {
                series: run.series.0,
                metric: run.metric,
                times: columns.times,
                values: columns.values,
                flags: columns.flags,
            };
            let pushed = self.rollup.push(&rows, |metric| order.name(metric).clone());
            pushed.map_err(self.output.failed("write"))?;
        }
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<Part, SegmentsError> {
        let chunks = self.encoders.encode(batch).map_err(self.output.failed("write"))?;
        self.output.write_chunks(chunks)
    }
}
