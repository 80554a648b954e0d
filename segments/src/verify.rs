//! Reads everything and compares it with what the manifest promises.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::Array;
use serde::Serialize;
use tidewatch_env::{Disk, OpenMode};
use tidewatch_metrics::{EventTime, Flags};

use crate::error::SegmentsError;
use crate::events::EventFile;
use crate::file_meta::{FileKind, FileMeta, MetricName, RowGroupMeta};
use crate::keys_file::read_keys;
use crate::letter_marks::read_marks;
use crate::letters_file::read_letters;
use crate::manifest::Manifest;
use crate::reader::{Projection, SegmentColumns, SegmentReader};
use crate::rollup::RollupCheck;
use crate::segment::Segment;
use crate::series_file::read_series;

/// Bytes that are read at a time for a file's checksum.
const BLOCK_BYTES: usize = 1 << 20;
/// The rank of a series that no file of series has.
const UNNAMED: u32 = u32::MAX;

/// What a verification found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Whether there is no problem.
    pub ok: bool,
    /// Samples read.
    pub records: u64,
    /// The last record of the log whose samples are in segments.
    pub last_lsn: u64,
    /// What is wrong.
    pub problems: Vec<VerifyProblem>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyProblem {
    /// The file.
    pub file: String,
    /// Where in the file; 0 where it concerns all of it.
    pub offset: u64,
    /// What is wrong, in words.
    pub message: String,
}

/// The files that the manifest in `dir` names, in the order of their last record.
///
/// # Errors
/// As [`Manifest::open`]; nothing is changed.
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Arc<FileMeta>>, SegmentsError> {
    Ok(Manifest::read(disk, dir)?.manifest.files().to_vec())
}

/// Reads the manifest in `dir` and all files that it names, and changes nothing.
#[must_use]
pub fn verify(disk: &Arc<dyn Disk>, dir: &Path) -> VerifyReport {
    let mut verifier = Verifier {
        disk,
        dir,
        report: VerifyReport { ok: false, records: 0, last_lsn: 0, problems: Vec::new() },
    };
    match Manifest::read(&**disk, dir) {
        Err(error) => verifier.add(&dir.join("manifest"), &error),
        Ok(read) => {
            if let Some(torn) = &read.torn {
                let message = "it is cut: torn by a crash while it was created, or damaged; \
                               if torn, the next start removes it";
                verifier.add(torn, &SegmentsError::corrupt(torn, 0, message));
            }
            verifier.files(&read.manifest);
        }
    }
    let mut report = verifier.report;
    report.ok = report.problems.is_empty();
    report
}

#[derive(Debug)]
struct Verifier<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: &'a Path,
    report: VerifyReport,
}

/// Where each series stands in the order of a segment: the rank of its metric.
#[derive(Debug, Default)]
struct Ranks {
    by_ref: Vec<u32>,
    names: Vec<MetricName>,
}

impl Verifier<'_> {
    fn files(&mut self, manifest: &Manifest) {
        let ranks = self.ranks(manifest);
        for meta in manifest.files() {
            let path = self.dir.join(&meta.file);
            let checked = check_bytes(&**self.disk, &path, meta).and_then(|()| match meta.kind {
                FileKind::Samples => {
                    self.report.last_lsn = self.report.last_lsn.max(meta.last_lsn.get());
                    self.samples(meta, &path, &ranks)
                }
                FileKind::Series => Ok(()),
                FileKind::Alerts | FileKind::Deliveries | FileKind::Percentiles => {
                    self.events(meta, &path)
                }
                FileKind::Keys => self.keys(meta, &path),
                FileKind::DeadLetters => self.letters(meta, &path),
                FileKind::LetterMarks => self.marks(meta, &path),
            });
            if let Err(error) = checked {
                self.add(&path, &error);
            }
        }
    }

    fn ranks(&mut self, manifest: &Manifest) -> Ranks {
        let mut ids: BTreeMap<MetricName, u32> = BTreeMap::new();
        let mut by_ref: Vec<u32> = Vec::new();
        for meta in manifest.files_of(FileKind::Series) {
            let mut rows = 0_u64;
            let read = read_series(&**self.disk, self.dir, meta, |series, name| {
                let next = u32::try_from(ids.len()).unwrap_or(UNNAMED);
                let id = *ids.entry(name).or_insert(next);
                if by_ref.len() <= series.index() {
                    by_ref.resize(series.index() + 1, UNNAMED);
                }
                by_ref[series.index()] = id;
                rows += 1;
            });
            let path = self.dir.join(&meta.file);
            let counted = read.and_then(|()| check(&path, 0, rows == meta.rows, "its rows differ"));
            if let Err(error) = counted {
                self.add(&path, &error);
            }
        }
        let mut rank_of = vec![UNNAMED; ids.len()];
        let mut names = Vec::with_capacity(ids.len());
        for ((name, id), rank) in ids.into_iter().zip(0..) {
            rank_of[id as usize] = rank;
            names.push(name);
        }
        for id in &mut by_ref {
            *id = rank_of.get(*id as usize).copied().unwrap_or(UNNAMED);
        }
        Ranks { by_ref, names }
    }

    fn samples(
        &mut self,
        meta: &Arc<FileMeta>,
        path: &Path,
        ranks: &Ranks,
    ) -> Result<(), SegmentsError> {
        let segment = Segment::open(Arc::clone(self.disk), self.dir, Arc::clone(meta));
        let reader: SegmentReader = segment.reader()?;
        let mut columns = SegmentColumns::default();
        let mut previous = None;
        let (mut rows, mut late_rows) = (0, 0);
        let mut rollup = reader.rollup()?.map(RollupCheck::new);
        for (index, group) in reader.groups().iter().enumerate() {
            reader.read(index, Projection::ALL, &mut columns)?;
            let check = |good, reason| check(path, group.offset, good, reason);
            let rows_of = GroupRows::of(&columns, ranks);
            let rows_of = rows_of.ok_or_else(|| {
                SegmentsError::corrupt(path, group.offset, "a column is missing or NULL")
            })?;
            check(rows_of.are_named, "a series is in no file of series")?;
            check(rows_of.are_sorted_after(previous), "rows are out of order")?;
            check(rows_of.match_group(group, ranks), "it says other metrics, times or late rows")?;
            if let Some(rollup) = &mut rollup {
                rollup.add(
                    &columns,
                    |series| ranks.of(series) as usize,
                    |rank| ranks.name(rank),
                )?;
            }
            previous = rows_of.keys.last().copied();
            rows += group.rows;
            late_rows += group.late_rows;
            self.report.records += group.rows;
        }
        let times = || reader.groups().iter();
        let time_min = times().map(|group| group.time_min).min().unwrap_or_default();
        let time_max = times().map(|group| group.time_max).max().unwrap_or_default();
        let good = (rows, late_rows, time_min, time_max)
            == (meta.rows, meta.late_rows, meta.time_min, meta.time_max);
        check(path, 0, good, "rows or times differ from the manifest's")?;
        let good = match rollup {
            Some(rollup) => rollup.finish(meta.rollup_rows, |rank| ranks.name(rank))?,
            None => meta.rollup_rows == 0,
        };
        check(path, 0, good, "its rollup is not what its rows come to")
    }

    fn events(&self, meta: &Arc<FileMeta>, path: &Path) -> Result<(), SegmentsError> {
        let file = EventFile::open(Arc::clone(self.disk), self.dir, Arc::clone(meta));
        let rows: usize = file.read()?.iter().map(|batch| batch.num_rows()).sum();
        check(path, 0, rows as u64 == meta.rows, "its rows differ from the manifest's")
    }

    fn keys(&self, meta: &FileMeta, path: &Path) -> Result<(), SegmentsError> {
        let (mut rows, mut last, mut are_sorted) = (0_u64, meta.first_lsn, true);
        read_keys(&**self.disk, self.dir, meta, |row| {
            are_sorted &= (last..=meta.last_lsn).contains(&row.lsn);
            last = row.lsn;
            rows += 1;
        })?;
        check(path, 0, are_sorted && rows == meta.rows, "its keys differ from the manifest's")
    }

    fn letters(&self, meta: &Arc<FileMeta>, path: &Path) -> Result<(), SegmentsError> {
        let file = EventFile::open(Arc::clone(self.disk), self.dir, Arc::clone(meta));
        let rows = read_letters(&file, |_, _| true)?;
        let lsns = || rows.iter().map(|row| row.lsn);
        let are_sorted = rows.is_sorted_by(|a, b| a.id() < b.id());
        let good = are_sorted && lsns().all(|lsn| (meta.first_lsn..=meta.last_lsn).contains(&lsn));
        let good = good && rows.len() as u64 == meta.rows;
        check(path, 0, good, "its letters differ from the manifest's")
    }

    fn marks(&self, meta: &FileMeta, path: &Path) -> Result<(), SegmentsError> {
        let (mut rows, mut last, mut are_sorted) = (0_u64, meta.first_lsn, true);
        read_marks(&**self.disk, self.dir, meta, |row| {
            are_sorted &= (last..=meta.last_lsn).contains(&row.lsn) && row.mark.id.lsn < row.lsn;
            last = row.lsn;
            rows += 1;
        })?;
        check(path, 0, are_sorted && rows == meta.rows, "its marks differ from the manifest's")
    }

    fn add(&mut self, path: &Path, error: &SegmentsError) {
        use std::error::Error as _;
        let (path, offset) = match error {
            SegmentsError::Corrupt { path, offset, .. } => (path.as_path(), *offset),
            _ => (path, 0),
        };
        let file = path.strip_prefix(self.dir).unwrap_or(path).display().to_string();
        let message = match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let problem = VerifyProblem { file, offset, message };
        if !self.report.problems.contains(&problem) {
            self.report.problems.push(problem);
        }
    }
}

impl Ranks {
    fn of(&self, series: u32) -> u32 {
        self.by_ref.get(series as usize).copied().unwrap_or(UNNAMED)
    }

    fn name(&self, rank: usize) -> Option<MetricName> {
        self.names.get(rank).cloned()
    }
}

/// The decoded rows of a group as keys of the order.
#[derive(Debug)]
struct GroupRows {
    keys: Vec<(u32, u32, i64)>,
    late_rows: u64,
    are_named: bool,
}

impl GroupRows {
    fn of(columns: &SegmentColumns, ranks: &Ranks) -> Option<Self> {
        let series = columns.series_ref.as_ref()?;
        let times = columns.time.as_ref()?;
        let flags = columns.flags.as_ref()?;
        let nulls = series.null_count() + times.null_count() + flags.null_count();
        if nulls + columns.severity.as_ref()?.null_count() > 0 {
            return None;
        }
        let rows = series.values().iter().zip(times.values());
        let keys: Vec<_> = rows.map(|(series, time)| (ranks.of(*series), *series, *time)).collect();
        let late = flags.values().iter().filter(|bits| Flags::from_bits(**bits).is_late());
        let are_named = keys.iter().all(|(rank, _, _)| *rank != UNNAMED);
        Some(Self { keys, late_rows: late.count() as u64, are_named })
    }

    fn are_sorted_after(&self, previous: Option<(u32, u32, i64)>) -> bool {
        previous.iter().chain(&self.keys).is_sorted()
    }

    fn match_group(&self, group: &RowGroupMeta, ranks: &Ranks) -> bool {
        let name = |key: Option<&(u32, u32, i64)>| ranks.names.get(key?.0 as usize);
        let times = || self.keys.iter().map(|(_, _, time)| EventTime::new(*time));
        name(self.keys.first()) == Some(&group.first)
            && name(self.keys.last()) == Some(&group.last)
            && times().min() == Some(group.time_min)
            && times().max() == Some(group.time_max)
            && self.late_rows == group.late_rows
    }
}

fn check(path: &Path, offset: u64, good: bool, reason: &'static str) -> Result<(), SegmentsError> {
    if good { Ok(()) } else { Err(SegmentsError::corrupt(path, offset, reason)) }
}

/// Reads all of a file and compares it with what the manifest says.
///
/// # Errors
/// [`SegmentsError::Corrupt`], and what the disk reports.
pub(crate) fn check_bytes(
    disk: &dyn Disk,
    path: &Path,
    meta: &FileMeta,
) -> Result<(), SegmentsError> {
    let file = disk.open(path, OpenMode::Read).map_err(SegmentsError::io("open", path))?;
    let bytes = file.len().map_err(SegmentsError::io("measure", path))?;
    check(path, bytes.min(meta.bytes), bytes == meta.bytes, "its length is not the manifest's")?;
    let mut block = vec![0; BLOCK_BYTES];
    let (mut offset, mut crc) = (0, 0);
    while offset < bytes {
        let length = usize::try_from(bytes - offset).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let part = &mut block[..length];
        file.read_exact_at(part, offset).map_err(SegmentsError::io("read", path))?;
        crc = crc32c::crc32c_append(crc, part);
        offset += length as u64;
    }
    check(path, 0, crc == meta.crc32c, "the checksum of the file does not match")
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
