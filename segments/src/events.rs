//! Transitions of alerts and attempts to deliver them, as rows, batches and files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, StringArray, TimestampNanosecondArray,
    UInt16Array, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use tidewatch_env::{Disk, OpenMode};
use tidewatch_metrics::{
    AlertKey, EventTime, Lsn, Transition, TransitionKind, TransitionTimes, UnixNanos,
};

use crate::error::SegmentsError;
use crate::file_meta::{FileKind, FileMeta};
use crate::footer::{FilePart, read_checked};
use crate::group_builder::UTC;
use crate::limits::EVENTS_BYTES_MAX;
use crate::output::Output;
use crate::series_file::{labels_json, plain_meta, properties};

/// Rows of one row group, and of one batch that is read.
const GROUP_EVENTS: usize = 8_192;

/// A row of `tidewatch.alerts`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRow {
    /// What happened.
    pub transition: Transition,
    /// When the engine had it in hand.
    pub times: TransitionTimes,
    /// The record that holds the transition.
    pub lsn: Lsn,
}

/// A row of `tidewatch.deliveries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// The alert.
    pub key: AlertKey,
    /// Which of its transitions.
    pub transition: TransitionKind,
    /// The sink's name.
    pub sink: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// How it went.
    pub outcome: String,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// When the attempt began.
    pub started: UnixNanos,
    /// When it ended.
    pub finished: UnixNanos,
    /// What went wrong; empty if nothing did.
    pub error: String,
}

/// A file of alerts, deliveries, windows or letters that can be read.
#[derive(Clone, Debug)]
pub struct EventFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    meta: Arc<FileMeta>,
}

/// The columns of `tidewatch.alerts`.
#[must_use]
pub fn alerts_schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let number = |name| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        text("key"),
        text("rule"),
        text("rule_version"),
        text("priority"),
        Field::new("series_id", DataType::Utf8, true),
        text("metric"),
        text("labels"),
        text("transition"),
        text("reason"),
        Field::new("historical", DataType::Boolean, false),
        time_field("onset"),
        Field::new("severity", DataType::Float32, false),
        number("value"),
        number("expected"),
        number("lower"),
        number("upper"),
        text("channel"),
        Field::new("kind", DataType::Utf8, true),
        time_field("event"),
        time_field("received"),
        time_field("durable"),
        time_field("scored"),
        time_field("fired"),
    ]))
}

/// The columns of `tidewatch.deliveries`.
#[must_use]
pub fn deliveries_schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        text("key"),
        text("transition"),
        text("sink"),
        Field::new("attempt", DataType::UInt32, false),
        text("outcome"),
        Field::new("status", DataType::UInt16, true),
        time_field("started"),
        time_field("finished"),
        text("error"),
    ]))
}

/// Rows as a batch of [`alerts_schema`]. NaN becomes NULL.
///
/// # Panics
/// Never: the columns are those of the schema.
#[must_use]
pub fn alerts_batch(rows: &[AlertRow]) -> RecordBatch {
    let of = |get: fn(&Transition) -> String| text(rows.iter().map(|row| get(&row.transition)));
    let number = |get: fn(&Transition) -> f64| -> ArrayRef {
        let numbers = rows.iter().map(|row| Some(get(&row.transition)).filter(|n| !n.is_nan()));
        Arc::new(Float64Array::from_iter(numbers))
    };
    let time = |get: fn(&AlertRow) -> i64| times(rows.iter().map(get));
    let historical: Vec<bool> = rows.iter().map(|row| row.transition.historical).collect();
    let severities = rows.iter().map(|row| row.transition.severity.to_f32());
    let columns: Vec<ArrayRef> = vec![
        of(|t| t.key.to_string()),
        of(|t| t.rule.clone()),
        of(|t| t.rule_version.clone()),
        of(|t| t.priority.clone()),
        series_ids(rows),
        of(|t| t.metric.clone()),
        of(|t| labels_json(&t.labels)),
        of(|t| t.kind.name().to_owned()),
        of(|t| t.reason.clone()),
        Arc::new(BooleanArray::from(historical)),
        time(|row| row.transition.onset.nanos()),
        Arc::new(Float32Array::from_iter_values(severities)),
        number(|t| t.value),
        number(|t| t.expected),
        number(|t| t.lower),
        number(|t| t.upper),
        of(|t| t.channel.name().to_owned()),
        kinds(rows),
        time(|row| row.transition.event.nanos()),
        time(|row| row.transition.received.nanos()),
        time(|row| row.times.durable.nanos()),
        time(|row| row.times.scored.nanos()),
        time(|row| row.times.fired.nanos()),
    ];
    RecordBatch::try_new(alerts_schema(), columns).expect("the columns are those of the schema")
}

/// Alerts of groups are of no series.
fn series_ids(rows: &[AlertRow]) -> ArrayRef {
    let series = rows.iter().map(|row| row.transition.subject.series());
    Arc::new(StringArray::from_iter(series.map(|id| id.map(|id| id.to_string()))))
}

/// What is said of no anomaly is NULL.
fn kinds(rows: &[AlertRow]) -> ArrayRef {
    Arc::new(StringArray::from_iter(rows.iter().map(|row| row.transition.anomaly.name())))
}

/// Rows as a batch of [`deliveries_schema`].
///
/// # Panics
/// Never: the columns are those of the schema.
#[must_use]
pub fn deliveries_batch(rows: &[DeliveryRow]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        text(rows.iter().map(|row| row.key.to_string())),
        text(rows.iter().map(|row| row.transition.name().to_owned())),
        text(rows.iter().map(|row| row.sink.clone())),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.attempt))),
        text(rows.iter().map(|row| row.outcome.clone())),
        Arc::new(UInt16Array::from_iter(rows.iter().map(|row| row.status))),
        times(rows.iter().map(|row| row.started.nanos())),
        times(rows.iter().map(|row| row.finished.nanos())),
        text(rows.iter().map(|row| row.error.clone())),
    ];
    RecordBatch::try_new(deliveries_schema(), columns).expect("the columns are those of the schema")
}

impl EventFile {
    /// The file that the manifest names by `meta`.
    #[must_use]
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, meta: Arc<FileMeta>) -> Self {
        Self { disk, path: dir.join(&meta.file), meta }
    }

    /// What the manifest says about the file.
    #[must_use]
    pub fn meta(&self) -> &FileMeta {
        &self.meta
    }

    /// All rows, in batches of the schema of their table.
    ///
    /// # Errors
    /// [`SegmentsError::Corrupt`], and what the disk or the format's library reports.
    pub fn read(&self) -> Result<Vec<RecordBatch>, SegmentsError> {
        read_batches(&*self.disk, &self.path, &self.meta)?.collect()
    }

    /// What it holds has not the form that it must have.
    pub(crate) fn corrupt(&self, reason: &'static str) -> SegmentsError {
        SegmentsError::corrupt(&self.path, 0, reason)
    }
}

/// Writes transitions to `file` in `dir`; durable once `dir` is synced.
pub(crate) fn write_alerts(
    disk: &dyn Disk,
    dir: &Path,
    file: String,
    rows: &[AlertRow],
) -> Result<FileMeta, SegmentsError> {
    let mut output = Output::create(disk, dir, file, alerts_schema(), properties())?;
    for group in rows.chunks(GROUP_EVENTS) {
        output.write_group(&alerts_batch(group))?;
    }
    let lsns = || rows.iter().map(|row| row.lsn);
    let range = (lsns().min().unwrap_or_default(), lsns().max().unwrap_or_default());
    let mut meta =
        plain_meta(FileKind::Alerts, output.finish(Vec::new())?, rows.len() as u64, range);
    let events = || rows.iter().map(|row| row.transition.event);
    meta.time_min = events().min().unwrap_or_default();
    meta.time_max = events().max().unwrap_or_default();
    Ok(meta)
}

/// Writes attempts of records up to `last_lsn` to `file` in `dir`; durable once `dir` is synced.
pub(crate) fn write_deliveries(
    disk: &dyn Disk,
    dir: &Path,
    file: String,
    rows: &[DeliveryRow],
    last_lsn: Lsn,
) -> Result<FileMeta, SegmentsError> {
    let mut output = Output::create(disk, dir, file, deliveries_schema(), properties())?;
    for group in rows.chunks(GROUP_EVENTS) {
        output.write_group(&deliveries_batch(group))?;
    }
    let written = output.finish(Vec::new())?;
    let mut meta =
        plain_meta(FileKind::Deliveries, written, rows.len() as u64, (last_lsn, last_lsn));
    let starts = || rows.iter().map(|row| EventTime::new(row.started.nanos()));
    meta.time_min = starts().min().unwrap_or_default();
    meta.time_max = starts().max().unwrap_or_default();
    Ok(meta)
}

/// Reads a whole file, compares its checksum, and decodes it batch by batch.
pub(crate) fn read_batches(
    disk: &dyn Disk,
    path: &Path,
    meta: &FileMeta,
) -> Result<impl Iterator<Item = Result<RecordBatch, SegmentsError>>, SegmentsError> {
    if meta.bytes > EVENTS_BYTES_MAX {
        return Err(SegmentsError::corrupt(path, 0, "it is larger than it may be"));
    }
    let file = disk.open(path, OpenMode::Read).map_err(SegmentsError::io("open", path))?;
    if file.len().map_err(SegmentsError::io("measure", path))? != meta.bytes {
        return Err(SegmentsError::corrupt(path, meta.bytes, "its length is not the manifest's"));
    }
    let bytes = read_checked(&*file, path, (0, meta.bytes), meta.crc32c)?;
    let part = FilePart { file_bytes: meta.bytes, offset: 0, bytes };
    let batches: ParquetRecordBatchReader = ParquetRecordBatchReaderBuilder::try_new(part)
        .and_then(|builder| builder.with_batch_size(GROUP_EVENTS).build())
        .map_err(SegmentsError::parquet("read", path))?;
    let path = path.to_owned();
    Ok(batches.map(move |batch| {
        batch.map_err(|error| SegmentsError::parquet("decode", &path)(error.into()))
    }))
}

pub(crate) fn time_field(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into())), false)
}

pub(crate) fn text(texts: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(texts))
}

pub(crate) fn times(nanos: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from_iter_values(nanos).with_timezone(UTC))
}

#[cfg(test)]
#[path = "events_tests.rs"]
pub(crate) mod tests;
