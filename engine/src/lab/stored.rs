//! Rows as queries see them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tidewatch_env::{Disk, read_file};
use tidewatch_metrics::{EventTime, SeriesRef};
use tidewatch_segments::{
    Delete, HeadColumns, Projection, Segment, SegmentColumns, SegmentsError, Snapshot,
};

use crate::lab::process::DATA_DIR;
use crate::lab::script::SentRow;

/// Files whose rows are remembered.
const REMEMBERED_MAX: usize = 2_048;
/// Bytes of a file that is.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A stored row: what was sent, and what the operators said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoredRow {
    pub(crate) sent: SentRow,
    pub(crate) severity: u16,
    pub(super) flags: u8,
}

/// A row of a file, whose series has a number.
#[derive(Clone, Copy, Debug)]
struct FileRow {
    series: u32,
    time: i64,
    bits: u64,
    severity: u16,
    flags: u8,
}

/// Rows of segment files that were read before, by the files' bytes: crashes leave the same ones again
/// and again.
#[derive(Debug, Default)]
pub(crate) struct ReadFiles(Mutex<BTreeMap<FileSum, Arc<Vec<FileRow>>>>);

/// The checksum of a file's bytes, and their number.
type FileSum = (u32, usize);

/// All rows of a snapshot, sorted.
pub(crate) fn rows_of(
    snapshot: &Snapshot,
    disk: &dyn Disk,
    files: &ReadFiles,
) -> Result<Vec<StoredRow>, SegmentsError> {
    let mut rows = Vec::new();
    let mut put = |row: &FileRow, hiding: &[&Delete]| {
        let entry = snapshot.catalog.get(SeriesRef(row.series));
        let metric = entry.as_ref().map(|entry| entry.key().metric().to_owned());
        let is_hidden = hiding.iter().any(|delete| {
            delete.times().contains(&EventTime::new(row.time))
                && metric.as_ref() == Some(&delete.metric.metric)
        });
        if is_hidden {
            return;
        }
        let series = entry.map(|entry| entry.id).unwrap_or_default();
        let sent = SentRow { series, time: row.time, bits: row.bits };
        rows.push(StoredRow { sent, severity: row.severity, flags: row.flags });
    };
    for head in &snapshot.heads {
        let frozen = head.frozen_at();
        let reaches = |delete: &&Delete| frozen.is_some_and(|last| delete.reaches(last));
        let hiding: Vec<_> = snapshot.deletes().filter(reaches).collect();
        for chunk in head.chunks() {
            let mut columns = HeadColumns::default();
            chunk.copy(0..chunk.rows(), &mut columns);
            for row in 0..columns.len() {
                let row = FileRow {
                    series: columns.series[row],
                    time: columns.times[row],
                    bits: columns.values[row].to_bits(),
                    severity: columns.severities[row],
                    flags: columns.flags[row],
                };
                put(&row, &hiding);
            }
        }
    }
    for segment in &*snapshot.segments {
        let hiding = snapshot.deletes().filter(|delete| delete.applies_to(segment.meta()));
        let hiding: Vec<_> = hiding.collect();
        files.read(segment, disk)?.iter().for_each(|row| put(row, &hiding));
    }
    rows.sort_unstable();
    Ok(rows)
}

impl ReadFiles {
    fn read(&self, segment: &Segment, disk: &dyn Disk) -> Result<Arc<Vec<FileRow>>, SegmentsError> {
        let path = Path::new(DATA_DIR).join("segments").join(&segment.meta().file);
        // Where the file cannot be read, its reader says why.
        let Ok(bytes) = read_file(disk, &path, FILE_BYTES_MAX) else {
            return rows_in(segment).map(Arc::new);
        };
        let key = (crc32c::crc32c(&bytes), bytes.len());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = known.get(&key) {
            return Ok(Arc::clone(rows));
        }
        let rows = Arc::new(rows_in(segment)?);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(key, Arc::clone(&rows));
        Ok(rows)
    }
}

fn rows_in(segment: &Segment) -> Result<Vec<FileRow>, SegmentsError> {
    let mut rows = Vec::new();
    let mut columns = SegmentColumns::default();
    let reader = segment.reader()?;
    for group in 0..reader.groups().len() {
        reader.read(group, Projection::ALL, &mut columns)?;
        let series = columns.series_ref.as_ref().expect("all columns are read");
        let times = columns.time.as_ref().expect("all columns are read");
        let values = columns.value.as_ref().expect("all columns are read");
        let severities = columns.severity.as_ref().expect("all columns are read");
        let flags = columns.flags.as_ref().expect("all columns are read");
        rows.extend((0..columns.rows).map(|row| FileRow {
            series: series.value(row),
            time: times.value(row),
            bits: values.value(row).to_bits(),
            severity: severities.value(row),
            flags: flags.value(row),
        }));
    }
    Ok(rows)
}
