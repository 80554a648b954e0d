//! `letter_marks-<version>.parquet`: what was done with dead letters, for good.
//!
//! ```text
//! lsn u64 · letter_lsn u64 · letter_offset u64 · state utf8 (replayed, dropped)
//! ```

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use arrow::record_batch::RecordBatch;
use tidewatch_env::Disk;
use tidewatch_metrics::Lsn;

use crate::error::SegmentsError;
use crate::events::{read_batches, text};
use crate::file_meta::{FileKind, FileMeta};
use crate::letters::{LetterEnd, LetterId, LetterMark, LetterMarkRow};
use crate::output::Output;
use crate::series_file::{plain_meta, properties};

/// Marks of one row group.
const GROUP_MARKS: usize = 65_536;

/// Writes marks, which are in the order of the log, to `file` in `dir`; durable once `dir` is synced.
pub(crate) fn write_marks(
    disk: &dyn Disk,
    dir: &Path,
    file: String,
    rows: &[LetterMarkRow],
) -> Result<FileMeta, SegmentsError> {
    let schema = marks_schema();
    let mut output = Output::create(disk, dir, file, SchemaRef::clone(&schema), properties())?;
    for group in rows.chunks(GROUP_MARKS) {
        output.write_group(&marks_batch(&schema, group))?;
    }
    let lsns = || rows.iter().map(|row| row.lsn);
    let range = (lsns().min().unwrap_or_default(), lsns().max().unwrap_or_default());
    Ok(plain_meta(FileKind::LetterMarks, output.finish(Vec::new())?, rows.len() as u64, range))
}

/// Reads a file of marks in `dir`, in the order of the log.
///
/// # Errors
/// [`SegmentsError::Corrupt`], and what the disk or the format's library reports.
pub fn read_marks(
    disk: &dyn Disk,
    dir: &Path,
    meta: &FileMeta,
    mut visit: impl FnMut(LetterMarkRow),
) -> Result<(), SegmentsError> {
    let path = dir.join(&meta.file);
    for batch in read_batches(disk, &path, meta)? {
        let rows = rows_of(&batch?)
            .ok_or_else(|| SegmentsError::corrupt(&path, 0, "a mark has no form of marks"))?;
        rows.into_iter().for_each(&mut visit);
    }
    Ok(())
}

fn marks_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("lsn", DataType::UInt64, false),
        Field::new("letter_lsn", DataType::UInt64, false),
        Field::new("letter_offset", DataType::UInt64, false),
        Field::new("state", DataType::Utf8, false),
    ]))
}

fn marks_batch(schema: &SchemaRef, rows: &[LetterMarkRow]) -> RecordBatch {
    let numbers = |get: fn(&LetterMarkRow) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(get)))
    };
    let columns: Vec<ArrayRef> = vec![
        numbers(|row| row.lsn.get()),
        numbers(|row| row.mark.id.lsn.get()),
        numbers(|row| row.mark.id.offset),
        text(rows.iter().map(|row| row.mark.end.name().to_owned())),
    ];
    RecordBatch::try_new(SchemaRef::clone(schema), columns).expect("the columns of the schema")
}

fn rows_of(batch: &RecordBatch) -> Option<Vec<LetterMarkRow>> {
    let numbers = |name| batch.column_by_name(name)?.as_primitive_opt::<UInt64Type>();
    let ends = batch.column_by_name("state")?.as_string_opt::<i32>()?;
    let ids = numbers("letter_lsn")?.iter().zip(numbers("letter_offset")?);
    let rows = numbers("lsn")?.iter().zip(ids).zip(ends).map(|((lsn, (record, offset)), end)| {
        let id = LetterId { lsn: Lsn::new(record?), offset: offset? };
        let mark = LetterMark { id, end: LetterEnd::from_name(end?)? };
        Some(LetterMarkRow { lsn: Lsn::new(lsn?), mark })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Directory;

    #[test]
    fn marks_come_back_from_their_file_and_a_file_that_is_not_the_manifests_is_refused() {
        let directory = Directory::new(1);
        let (disk, dir) = (directory.shared_disk(), directory.dir());
        let rows = [(7, LetterEnd::Replayed), (9, LetterEnd::Dropped)].map(|(lsn, end)| {
            let id = LetterId { lsn: Lsn::new(lsn - 4), offset: lsn << 40 };
            LetterMarkRow { lsn: Lsn::new(lsn), mark: LetterMark { id, end } }
        });
        let file = crate::manifest::data_name(FileKind::LetterMarks, 1);
        let meta = write_marks(&*disk, dir, file, &rows).unwrap();
        assert_eq!((meta.first_lsn, meta.last_lsn, meta.rows), (Lsn::new(7), Lsn::new(9), 2));
        let mut back = Vec::new();
        read_marks(&*disk, dir, &meta, |row| back.push(row)).unwrap();
        assert_eq!(back, rows);
        let damaged = FileMeta { crc32c: meta.crc32c ^ 1, ..meta };
        let read = read_marks(&*disk, dir, &damaged, |row| panic!("{row:?} is not checked"));
        assert!(matches!(read, Err(SegmentsError::Corrupt { .. })), "{read:?}");
    }
}
