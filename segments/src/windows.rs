//! `percentiles-<version>.parquet`: windows that have closed, a row per quantile.
//!
//! ```text
//! name utf8 · labels utf8 (JSON) · window_start, window_end timestamp(ns, UTC) · revision u32 · quantile f64 ·
//! value f64, nullable · count u64 · sketch binary · db utf8 · lsn u64
//! ```
//!
//! These are the columns of `tidewatch.percentiles`. The sketch is the window's own in each of its rows; pages keep it
//! once. `lsn` is the tick at which the window closed; a file has all windows of its ticks.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Float64Array, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use tidewatch_env::Disk;
use tidewatch_metrics::{EventTime, Lsn, Sketch};

use crate::error::SegmentsError;
use crate::events::{text, time_field, times};
use crate::file_meta::{FileKind, FileMeta};
use crate::output::Output;
use crate::series_file::{labels_json, plain_meta, properties};

/// Windows of one row group.
const GROUP_WINDOWS: usize = 2_048;

/// A window that has closed.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowRow {
    /// The tick at which it closed.
    pub lsn: Lsn,
    /// Of which percentiles it is.
    pub name: Arc<str>,
    /// The database of its series.
    pub db: Arc<str>,
    /// The labels of its group, in the order of their keys.
    pub labels: Vec<(String, String)>,
    /// Where it begins; included.
    pub start: EventTime,
    /// Where it ends; excluded.
    pub end: EventTime,
    /// 1 when it closed first.
    pub revision: u32,
    /// What is told of it, from 0 to 1.
    pub quantiles: Arc<[f64]>,
    /// What was counted.
    pub sketch: Sketch,
}

impl WindowRow {
    /// Bytes that it takes in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let labels = self.labels.iter().map(|(key, value)| 64 + key.len() + value.len());
        size_of::<Self>() + self.sketch.bytes() + labels.sum::<usize>()
    }
}

/// The columns of `tidewatch.percentiles`.
#[must_use]
pub fn percentiles_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("labels", DataType::Utf8, false),
        time_field("window_start"),
        time_field("window_end"),
        Field::new("revision", DataType::UInt32, false),
        Field::new("quantile", DataType::Float64, false),
        Field::new("value", DataType::Float64, true),
        Field::new("count", DataType::UInt64, false),
        Field::new("sketch", DataType::Binary, false),
        Field::new("db", DataType::Utf8, false),
        Field::new("lsn", DataType::UInt64, false),
    ]))
}

/// Windows as a batch of [`percentiles_schema`], a row per quantile. The value of a window without numbers is NULL.
///
/// # Panics
/// Never: the columns are those of the schema.
#[must_use]
pub fn percentiles_batch(windows: &[Arc<WindowRow>]) -> RecordBatch {
    // (window, its labels and bytes, quantile), one per row.
    let shown: Vec<_> =
        windows.iter().map(|w| (labels_json(&w.labels), w.sketch.encode())).collect();
    let rows: Vec<_> = windows
        .iter()
        .zip(&shown)
        .flat_map(|(window, shown)| window.quantiles.iter().map(move |q| (window, shown, *q)))
        .collect();
    let windows = || rows.iter().map(|(window, ..)| *window);
    let values = rows.iter().map(|(window, _, q)| window.sketch.quantile(*q));
    let columns: Vec<ArrayRef> = vec![
        text(windows().map(|w| w.name.to_string())),
        text(rows.iter().map(|(_, (labels, _), _)| labels.clone())),
        times(windows().map(|w| w.start.nanos())),
        times(windows().map(|w| w.end.nanos())),
        Arc::new(UInt32Array::from_iter_values(windows().map(|w| w.revision))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|(.., q)| *q))),
        Arc::new(Float64Array::from_iter(values)),
        Arc::new(UInt64Array::from_iter_values(windows().map(|w| w.sketch.count()))),
        Arc::new(BinaryArray::from_iter_values(rows.iter().map(|(_, (_, sketch), _)| sketch))),
        text(windows().map(|w| w.db.to_string())),
        Arc::new(UInt64Array::from_iter_values(windows().map(|w| w.lsn.get()))),
    ];
    RecordBatch::try_new(percentiles_schema(), columns)
        .expect("the columns are those of the schema")
}

/// Writes windows to `file` in `dir`; durable once `dir` is synced.
pub(crate) fn write_windows(
    disk: &dyn Disk,
    dir: &Path,
    file: String,
    windows: &[Arc<WindowRow>],
) -> Result<FileMeta, SegmentsError> {
    let mut output = Output::create(disk, dir, file, percentiles_schema(), properties())?;
    for group in windows.chunks(GROUP_WINDOWS) {
        output.write_group(&percentiles_batch(group))?;
    }
    let rows: usize = windows.iter().map(|window| window.quantiles.len()).sum();
    let lsns = || windows.iter().map(|window| window.lsn);
    let range = (lsns().min().unwrap_or_default(), lsns().max().unwrap_or_default());
    let written = output.finish(Vec::new())?;
    let mut meta = plain_meta(FileKind::Percentiles, written, rows as u64, range);
    meta.time_min = windows.iter().map(|window| window.start).min().unwrap_or_default();
    meta.time_max = windows.iter().map(|window| window.end).max().unwrap_or_default();
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Float64Type;

    use super::*;
    use crate::events::EventFile;
    use crate::fixtures::Directory;

    fn window(lsn: u64, values: &[f64]) -> Arc<WindowRow> {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.add(*value));
        Arc::new(WindowRow {
            lsn: Lsn::new(lsn),
            name: "latency".into(),
            db: "default".into(),
            labels: vec![("service".to_owned(), "a\"b".to_owned())],
            start: EventTime::new(60),
            end: EventTime::new(120),
            revision: 2,
            quantiles: [0.5, 1.0].into(),
            sketch,
        })
    }

    #[test]
    fn windows_come_back_from_their_file_with_a_row_per_quantile() {
        let mut directory = Directory::new(1);
        let windows = [window(8, &[1.0, 2.0, 3.0]), window(9, &[f64::NAN])];
        assert_eq!(directory.manifest.windows_lsn(), Lsn::ZERO);
        directory.flush_windows(&windows);
        assert_eq!(directory.manifest.windows_lsn(), Lsn::new(9));
        let meta = directory.manifest.files_of(FileKind::Percentiles).next().unwrap();
        assert_eq!((meta.first_lsn, meta.last_lsn, meta.rows), (Lsn::new(8), Lsn::new(9), 4));
        let file = EventFile::open(directory.shared_disk(), directory.dir(), Arc::clone(meta));
        let batches = file.read().unwrap();
        assert_eq!(batches[0], percentiles_batch(&windows));
        let sketches = batches[0]["sketch"].as_binary::<i32>();
        assert_eq!(Sketch::decode(sketches.value(1)).as_ref(), Some(&windows[0].sketch));
        let values = batches[0]["value"].as_primitive::<Float64Type>();
        assert_eq!((values.value(1), values.is_null(2)), (3.0, true));
        let labels = batches[0]["labels"].as_string::<i32>();
        assert_eq!(labels.value(0), r#"{"service":"a\"b"}"#);
    }
}
