//! `keys-<version>.parquet`: idempotency keys of requests whose samples the log holds or held.
//!
//! ```text
//! lsn u64 · time timestamp(ns, UTC) · db utf8 · key utf8 · request utf8 (32 hex digits) · answer binary
//! ```
//!
//! A file's rows are in the order of the log, and its times are the log's.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, StringArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimeUnit, TimestampNanosecondType, UInt64Type,
};
use arrow::record_batch::RecordBatch;
use tidewatch_env::Disk;
use tidewatch_metrics::{EventTime, Lsn, UnixNanos};

use crate::error::SegmentsError;
use crate::events::read_batches;
use crate::file_meta::{FileKind, FileMeta};
use crate::group_builder::UTC;
use crate::output::Output;
use crate::series_file::{plain_meta, properties};

/// Keys of one row group.
const GROUP_KEYS: usize = 8_192;

/// The idempotency key of a request, and what its repeats are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The database: keys of two databases have nothing to do with each other.
    pub db: Arc<str>,
    /// The key as the client sent it.
    pub key: Box<str>,
    /// Hash of the request.
    pub request: u128,
    /// What it takes to answer a repeat; its form is the engine's.
    pub answer: Box<[u8]>,
}

/// A key with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The record that holds the key and the samples of its request.
    pub lsn: Lsn,
    /// The log's time: that of the first tick after the record.
    pub time: UnixNanos,
    /// The key.
    pub key: Arc<RequestKey>,
}

/// Writes keys, which are in the order of the log, to `file` in `dir`; durable once `dir` is synced.
pub(crate) fn write_keys(
    disk: &dyn Disk,
    dir: &Path,
    file: String,
    rows: &[KeyRow],
) -> Result<FileMeta, SegmentsError> {
    let schema = keys_schema();
    let mut output = Output::create(disk, dir, file, SchemaRef::clone(&schema), properties())?;
    for group in rows.chunks(GROUP_KEYS) {
        output.write_group(&keys_batch(&schema, group))?;
    }
    let lsns = || rows.iter().map(|row| row.lsn);
    let range = (lsns().min().unwrap_or_default(), lsns().max().unwrap_or_default());
    let mut meta = plain_meta(FileKind::Keys, output.finish(Vec::new())?, rows.len() as u64, range);
    let times = || rows.iter().map(|row| EventTime::new(row.time.nanos()));
    meta.time_min = times().min().unwrap_or_default();
    meta.time_max = times().max().unwrap_or_default();
    Ok(meta)
}

/// Reads a file of keys in `dir`, in the order of the log.
///
/// # Errors
/// [`SegmentsError::Corrupt`], and what the disk or the format's library reports.
pub fn read_keys(
    disk: &dyn Disk,
    dir: &Path,
    meta: &FileMeta,
    mut visit: impl FnMut(KeyRow),
) -> Result<(), SegmentsError> {
    let path = dir.join(&meta.file);
    for batch in read_batches(disk, &path, meta)? {
        let rows = rows_of(&batch?)
            .ok_or_else(|| SegmentsError::corrupt(&path, 0, "a key has no form of keys"))?;
        rows.into_iter().for_each(&mut visit);
    }
    Ok(())
}

fn keys_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into()));
    Arc::new(Schema::new(vec![
        Field::new("lsn", DataType::UInt64, false),
        Field::new("time", time, false),
        Field::new("db", DataType::Utf8, false),
        Field::new("key", DataType::Utf8, false),
        Field::new("request", DataType::Utf8, false),
        Field::new("answer", DataType::Binary, false),
    ]))
}

fn keys_batch(schema: &SchemaRef, rows: &[KeyRow]) -> RecordBatch {
    let text = |texts: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let times = rows.iter().map(|row| row.time.nanos());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.lsn.get()))),
        Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone(UTC)),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &*row.key.db))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &*row.key.key))),
        text(rows.iter().map(|row| format!("{:032x}", row.key.request)).collect()),
        Arc::new(BinaryArray::from_iter_values(rows.iter().map(|row| &*row.key.answer))),
    ];
    RecordBatch::try_new(SchemaRef::clone(schema), columns).expect("the columns of the schema")
}

fn rows_of(batch: &RecordBatch) -> Option<Vec<KeyRow>> {
    let text = |name| batch.column_by_name(name)?.as_string_opt::<i32>();
    let lsns = batch.column_by_name("lsn")?.as_primitive_opt::<UInt64Type>()?;
    let times = batch.column_by_name("time")?.as_primitive_opt::<TimestampNanosecondType>()?;
    let answers = batch.column_by_name("answer")?.as_binary_opt::<i32>()?;
    let texts = text("db")?.iter().zip(text("key")?).zip(text("request")?);
    // Keys of one database follow each other: they share its name.
    let mut last: Option<Arc<str>> = None;
    let rows = lsns.values().iter().zip(times.values()).zip(texts).zip(answers);
    let rows = rows.map(|(((lsn, time), ((db, key), request)), answer)| {
        let db = db?;
        let db = last.take().filter(|last| **last == *db).unwrap_or_else(|| Arc::from(db));
        last = Some(Arc::clone(&db));
        let request = u128::from_str_radix(request?, 16).ok()?;
        let key = RequestKey { db, key: key?.into(), request, answer: answer?.into() };
        let (lsn, time) = (Lsn::new(*lsn), UnixNanos::new(*time));
        Some(KeyRow { lsn, time, key: Arc::new(key) })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Directory;

    fn row(lsn: u64, db: &str) -> KeyRow {
        let key = RequestKey {
            db: db.into(),
            key: format!("key-{lsn}").into(),
            request: u128::from(lsn) << 100 | 7,
            answer: vec![0, u8::try_from(lsn).unwrap(), 255].into(),
        };
        let time = UnixNanos::new(1_000 + i64::try_from(lsn).unwrap());
        KeyRow { lsn: Lsn::new(lsn), time, key: Arc::new(key) }
    }

    #[test]
    fn keys_come_back_from_their_file_and_the_manifest_tells_their_place() {
        let directory = Directory::new(1);
        let rows = [row(3, "a"), row(4, "a"), row(9, "b")];
        let (disk, dir) = (directory.shared_disk(), directory.dir());
        let file = crate::manifest::data_name(FileKind::Keys, 1);
        let meta = write_keys(&*disk, dir, file, &rows).unwrap();
        assert_eq!((meta.first_lsn, meta.last_lsn, meta.rows), (Lsn::new(3), Lsn::new(9), 3));
        assert_eq!((meta.time_min, meta.time_max), (EventTime::new(1_003), EventTime::new(1_009)));
        let mut back = Vec::new();
        read_keys(&*disk, dir, &meta, |row| back.push(row)).unwrap();
        assert_eq!(back, rows);
    }

    #[test]
    fn a_file_that_is_not_the_manifests_is_refused() {
        let directory = Directory::new(2);
        let (disk, dir) = (directory.shared_disk(), directory.dir());
        let file = crate::manifest::data_name(FileKind::Keys, 1);
        let meta = write_keys(&*disk, dir, file, &[row(3, "a")]).unwrap();
        let damaged = FileMeta { crc32c: meta.crc32c ^ 1, ..meta };
        let read = read_keys(&*disk, dir, &damaged, |row| panic!("{row:?} is not checked"));
        assert!(matches!(read, Err(SegmentsError::Corrupt { .. })), "{read:?}");
    }
}
