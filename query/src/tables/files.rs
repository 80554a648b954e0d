//! `tidewatch.segments` and `tidewatch.wal_segments`: the files of the data directory.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use tidewatch_metrics::EventTime;
use tidewatch_segments::{FileKind, FileMeta};

use crate::source::WalSegmentRow;
use crate::tables::columns::{UTC, text_field, time_field};
use crate::tables::context::QueryContext;

/// The files that the manifest names, and those that it did before they were damaged.
pub(crate) fn segments(context: &QueryContext) -> Result<Arc<dyn TableProvider>> {
    let manifest = &context.snapshot.manifest;
    let named: BTreeSet<_> = manifest.files().iter().map(|file| &file.file).collect();
    let files: Vec<_> = manifest.files().iter().chain(manifest.quarantined()).collect();
    let count = |name| Field::new(name, DataType::UInt64, false);
    let schema = Schema::new(vec![
        text_field("file", false),
        text_field("kind", false),
        count("bytes"),
        count("rows"),
        count("late_rows"),
        time_field("time_min", true),
        time_field("time_max", true),
        count("first_lsn"),
        count("last_lsn"),
        count("tier"),
        text_field("state", false),
    ]);
    let state = |file: &FileMeta| if named.contains(&file.file) { "active" } else { "quarantined" };
    let states: StringViewArray = files.iter().map(|file| Some(state(file))).collect();
    let texts = |get: fn(&FileMeta) -> &str| -> ArrayRef {
        Arc::new(files.iter().map(|file| Some(get(file))).collect::<StringViewArray>())
    };
    let counts = |get: fn(&FileMeta) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(files.iter().map(|file| get(file))))
    };
    let times = |get: fn(&FileMeta) -> EventTime| -> ArrayRef {
        let times = files.iter();
        let times = times.map(|f| (f.kind != FileKind::Series).then(|| get(f).nanos()));
        Arc::new(times.collect::<TimestampNanosecondArray>().with_timezone(UTC))
    };
    table(
        schema,
        vec![
            texts(|file| &file.file),
            texts(|file| file.kind.name()),
            counts(|file| file.bytes),
            counts(|file| file.rows),
            counts(|file| file.late_rows),
            times(|file| file.time_min),
            times(|file| file.time_max),
            counts(|file| file.first_lsn.get()),
            counts(|file| file.last_lsn.get()),
            counts(|file| u64::from(file.tier)),
            Arc::new(states),
        ],
    )
}

/// The files of the log.
pub(crate) fn wal_segments(files: &[WalSegmentRow]) -> Result<Arc<dyn TableProvider>> {
    let schema = Schema::new(vec![
        text_field("file", false),
        Field::new("first_lsn", DataType::UInt64, true),
        Field::new("last_lsn", DataType::UInt64, true),
        Field::new("bytes", DataType::UInt64, false),
        text_field("state", false),
    ]);
    let texts = |get: fn(&WalSegmentRow) -> &str| -> ArrayRef {
        Arc::new(files.iter().map(|file| Some(get(file))).collect::<StringViewArray>())
    };
    let counts = |get: fn(&WalSegmentRow) -> Option<u64>| -> ArrayRef {
        Arc::new(files.iter().map(get).collect::<UInt64Array>())
    };
    table(
        schema,
        vec![
            texts(|file| &file.file),
            counts(|file| file.first_lsn.map(|lsn| lsn.get())),
            counts(|file| file.last_lsn.map(|lsn| lsn.get())),
            counts(|file| Some(file.bytes)),
            texts(|file| &file.state),
        ],
    )
}

/// A table of these columns.
pub(crate) fn table(schema: Schema, columns: Vec<ArrayRef>) -> Result<Arc<dyn TableProvider>> {
    let schema = Arc::new(schema);
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![rows]])?))
}
