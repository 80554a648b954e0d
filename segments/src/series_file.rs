//! `series-<version>.parquet`: the names of series whose rows occur in segments.
//!
//! ```text
//! series_ref u32 · series_id utf8 (32 hex digits) · db utf8 · metric utf8 · measurement utf8 ·
//! labels utf8 (JSON object)
//! ```
//!
//! The measurement is how the metric's name begins; the field behind it, and `_`, are the rest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use arrow::record_batch::RecordBatch;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tidewatch_env::Disk;
use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::{Lsn, SeriesCatalog, SeriesKey, SeriesRef};

use crate::delta::RefRange;
use crate::error::SegmentsError;
use crate::events::read_batches;
use crate::file_meta::{FileKind, FileMeta, MetricName};
use crate::manifest::Manifest;
use crate::output::{Output, Written};

/// Series of one row group, at most.
const GROUP_SERIES: usize = 65_536;
/// Bytes of names at which a row group ends: some copies of them are in memory at a time.
const GROUP_NAME_BYTES: usize = 4 << 20;

/// Which series a flush writes, and what the manifest says after it.
#[derive(Debug)]
pub(crate) struct FreshSeries {
    pub(crate) series: Vec<(SeriesRef, Arc<SeriesEntry>)>,
    pub(crate) end: u32,
    pub(crate) missing: Vec<RefRange>,
}

impl FreshSeries {
    /// The series below `refs_end` that no file has yet.
    ///
    /// A reference below the greatest one with rows may stand for no series: its registration was
    /// lost with the tail of the log, or is still to be replayed. It is looked at again each time.
    pub(crate) fn of(
        catalog: &SeriesCatalog,
        refs_end: u32,
        known_end: u32,
        known_missing: &[RefRange],
    ) -> Self {
        let end = refs_end.max(known_end);
        let mut fresh = Self { series: Vec::new(), end, missing: Vec::new() };
        for series in known_missing.iter().flat_map(|range| range.start..range.end) {
            match catalog.get(SeriesRef(series)) {
                Some(entry) => fresh.series.push((SeriesRef(series), entry)),
                None => fresh.miss(series),
            }
        }
        let mut expected = known_end;
        if end > known_end {
            for (series, entry) in catalog.since(SeriesRef(known_end).index()) {
                if series.0 >= end {
                    break;
                }
                (expected..series.0).for_each(|missing| fresh.miss(missing));
                expected = series.0 + 1;
                fresh.series.push((series, entry));
            }
        }
        (expected..end).for_each(|missing| fresh.miss(missing));
        fresh
    }

    fn miss(&mut self, series: u32) {
        match self.missing.last_mut() {
            Some(range) if range.end == series => range.end += 1,
            _ => self.missing.push(RefRange { start: series, end: series + 1 }),
        }
    }
}

/// The columns of a file of series.
pub(crate) fn series_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("series_ref", DataType::UInt32, false),
        Field::new("series_id", DataType::Utf8, false),
        Field::new("db", DataType::Utf8, false),
        Field::new("metric", DataType::Utf8, false),
        Field::new("measurement", DataType::Utf8, false),
        Field::new("labels", DataType::Utf8, false),
    ]))
}

/// Writes the series to `file` in `dir`; durable once `dir` is synced.
///
/// # Errors
/// What the disk or the format's library reports.
pub(crate) fn write_series(
    disk: &dyn Disk,
    dir: &Path,
    file: String,
    series: &[(SeriesRef, Arc<SeriesEntry>)],
    last_lsn: Lsn,
) -> Result<FileMeta, SegmentsError> {
    let schema = series_schema();
    let mut output = Output::create(disk, dir, file, SchemaRef::clone(&schema), properties())?;
    for group in groups(series) {
        output.write_group(&series_batch(&schema, group))?;
    }
    let written = output.finish(Vec::new())?;
    let rows = series.len() as u64;
    Ok(plain_meta(FileKind::Series, written, rows, (last_lsn, last_lsn)))
}

/// Reads a file of series: each one's reference and metric.
///
/// # Errors
/// [`SegmentsError::Corrupt`], and what the disk or the format's library reports.
pub(crate) fn read_series(
    disk: &dyn Disk,
    dir: &Path,
    meta: &FileMeta,
    mut visit: impl FnMut(SeriesRef, MetricName),
) -> Result<(), SegmentsError> {
    let path = dir.join(&meta.file);
    for batch in read_batches(disk, &path, meta)? {
        let batch = batch?;
        let columns = (|| {
            let refs = batch.column_by_name("series_ref")?.as_primitive_opt::<UInt32Type>()?;
            let dbs = batch.column_by_name("db")?.as_string_opt::<i32>()?;
            Some((refs, dbs, batch.column_by_name("metric")?.as_string_opt::<i32>()?))
        })();
        let corrupt = || SegmentsError::corrupt(&path, 0, "a column of series is missing");
        let (refs, dbs, metrics) = columns.ok_or_else(corrupt)?;
        for ((series, db), metric) in refs.values().iter().zip(dbs).zip(metrics) {
            let (Some(db), Some(metric)) = (db, metric) else { return Err(corrupt()) };
            let name = MetricName { db: db.to_owned(), metric: metric.to_owned() };
            visit(SeriesRef(*series), name);
        }
    }
    Ok(())
}

/// Takes all series that the files of `manifest` name into `catalog`; returns how many there were.
///
/// A start that does not read the whole log knows its series from here.
///
/// # Errors
/// [`SegmentsError::Corrupt`], also for a series that contradicts another one, and what the disk or
/// the format's library reports.
pub fn restore_catalog(
    disk: &dyn Disk,
    dir: &Path,
    manifest: &Manifest,
    catalog: &SeriesCatalog,
) -> Result<u64, SegmentsError> {
    let mut count = 0;
    for meta in manifest.files_of(FileKind::Series) {
        let path = dir.join(&meta.file);
        for batch in read_batches(disk, &path, meta)? {
            let keys = keys_of(&batch?);
            let keys =
                keys.ok_or_else(|| SegmentsError::corrupt(&path, 0, "a series has no key"))?;
            for (series, key) in keys {
                if let Err(error) = catalog.restore(series, &key) {
                    tracing::error!(%error, series = %key.id(), "a stored series contradicts another");
                    return Err(SegmentsError::corrupt(
                        &path,
                        0,
                        "a series contradicts another one",
                    ));
                }
                count += 1;
            }
        }
    }
    Ok(count)
}

fn keys_of(batch: &RecordBatch) -> Option<Vec<(SeriesRef, SeriesKey)>> {
    let text = |name| batch.column_by_name(name)?.as_string_opt::<i32>();
    let refs = batch.column_by_name("series_ref")?.as_primitive_opt::<UInt32Type>()?;
    let (dbs, metrics) = (text("db")?, text("metric")?);
    let (measurements, labels) = (text("measurement")?, text("labels")?);
    let names = dbs.iter().zip(metrics).zip(measurements).zip(labels);
    let keys =
        refs.values().iter().zip(names).map(|(series, (((db, metric), measurement), labels))| {
            let (metric, measurement) = (metric?, measurement?);
            let field = match metric.strip_prefix(measurement)? {
                "" => "value",
                rest => rest.strip_prefix('_')?,
            };
            let labels = serde_json::from_str::<BTreeMap<String, String>>(labels?).ok()?;
            let key = SeriesKey::new(db?, measurement, field, labels.into_iter().collect());
            Some((SeriesRef(*series), key.ok()?))
        });
    keys.collect()
}

/// The series of each row group.
fn groups<T>(
    mut series: &[(T, Arc<SeriesEntry>)],
) -> impl Iterator<Item = &[(T, Arc<SeriesEntry>)]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let group = series.iter().take(GROUP_SERIES).take_while(|(_, entry)| {
            let has_room = bytes < GROUP_NAME_BYTES;
            bytes += entry.canonical.len();
            has_room
        });
        let (group, rest) = series.split_at(group.count());
        series = rest;
        (!group.is_empty()).then_some(group)
    })
}

/// Compression for files of names and events.
pub(crate) fn properties() -> WriterProperties {
    let level = ZstdLevel::try_new(3).expect("the level is one of zstd's");
    WriterProperties::builder()
        .set_created_by(format!("tidewatch {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        .build()
}

/// The manifest's entry of a file without samples.
pub(crate) fn plain_meta(
    kind: FileKind,
    written: Written,
    rows: u64,
    (first_lsn, last_lsn): (Lsn, Lsn),
) -> FileMeta {
    FileMeta {
        file: written.file,
        bytes: written.bytes,
        crc32c: written.crc32c,
        footer_offset: written.footer.offset,
        footer_crc32c: written.footer.crc32c,
        rows,
        first_lsn,
        last_lsn,
        ..FileMeta::of(kind)
    }
}

/// Labels as a JSON object in the order of their keys.
pub(crate) fn labels_json(labels: &[(String, String)]) -> String {
    let text = |text: &String| serde_json::to_string(text).expect("text is JSON");
    let pairs = labels.iter().map(|(key, value)| format!("{}:{}", text(key), text(value)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

fn series_batch(schema: &SchemaRef, series: &[(SeriesRef, Arc<SeriesEntry>)]) -> RecordBatch {
    let keys: Vec<_> = series.iter().map(|(_, entry)| entry.key()).collect();
    let refs: UInt32Array = series.iter().map(|(series, _)| series.0).collect();
    let text = |texts: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(refs),
        text(series.iter().map(|(_, entry)| entry.id.to_string()).collect()),
        Arc::new(StringArray::from_iter_values(keys.iter().map(|key| key.db()))),
        Arc::new(StringArray::from_iter_values(keys.iter().map(|key| key.metric()))),
        Arc::new(StringArray::from_iter_values(keys.iter().map(|key| key.measurement()))),
        text(keys.iter().map(|key| labels_json(key.labels())).collect()),
    ];
    RecordBatch::try_new(SchemaRef::clone(schema), columns).expect("the columns of the schema")
}

#[cfg(test)]
#[path = "series_file_tests.rs"]
mod tests;
