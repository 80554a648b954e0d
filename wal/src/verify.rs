//! Checks a whole log and tells all that is wrong with it.

use std::path::Path;

use tidewatch_env::Disk;
use tidewatch_metrics::Lsn;

use crate::archive::check_apart;
use crate::archive_dir::ArchiveDir;
use crate::block::Block;
use crate::error::WalError;
use crate::gap::Gap;
use crate::limits::KIND_GAP;
use crate::log_dir::LogDir;
use crate::part::Part;
use crate::segment_reader::{FileEnd, SegmentReader};

/// What a check of the log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Records that are intact, the log's own included.
    pub records: u64,
    /// The last intact record; zero if there is none.
    pub last_lsn: Lsn,
    /// Bytes of unfinished writes at the end: no damage, the next start cuts them.
    pub torn_bytes: u64,
    /// Records that a salvage left out, in the order of the files: the log says so itself, so that
    /// this is no damage.
    pub gaps: Vec<StatedGap>,
    /// All that is damaged, in the order of the files.
    pub problems: Vec<VerifyProblem>,
}

/// Missing records, as a frame of the log states them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatedGap {
    /// Which records.
    pub gap: Gap,
    /// The file's name in the log's directory, or in the archive's.
    pub file: String,
    /// Where in the file, or in what it unpacks to.
    pub offset: u64,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Damage at a place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyProblem {
    /// The file's name in the log's directory, or in the archive's.
    pub file: String,
    /// Where in the file.
    pub offset: u64,
    /// What is wrong, for people.
    pub message: String,
}

/// Reads the whole log, changing nothing; behind damage it goes on with the next file. The log may be
/// in use: a file that is released meanwhile is no problem.
///
/// # Errors
/// `Io` if a file cannot be read; damage is no error but a problem in the report.
pub fn verify(disk: &dyn Disk, dir: &Path) -> Result<VerifyReport, WalError> {
    verify_found(disk, dir, &LogDir::scan(disk, dir)?)
}

fn verify_found(disk: &dyn Disk, dir: &Path, found: &LogDir) -> Result<VerifyReport, WalError> {
    let segments = &found.segments;
    let mut report = VerifyReport::default();
    let ends = segments.iter().skip(1).map(|next| FileEnd::Before(next.first_lsn));
    for (segment, end) in segments.iter().zip(ends.chain([FileEnd::Last])) {
        let opened = SegmentReader::open(disk, dir, segment, end, Block::default());
        let checked = opened.and_then(|reader| read_all(reader, &mut report));
        if let Err(error) = checked
            && !is_gone(disk, &dir.join(&*segment.name), &error)?
        {
            report.problems.push(problem(error, &segment.name)?);
        }
    }
    Ok(report)
}

/// Reads the whole archive in `archive_dir`, changing nothing, and checks that the log in `dir` goes
/// on where it ends; behind damage it goes on with the next file.
///
/// # Errors
/// `Io` if a file cannot be read; damage is no error but a problem in the report.
pub fn verify_archive(
    disk: &dyn Disk,
    archive_dir: &Path,
    dir: &Path,
) -> Result<VerifyReport, WalError> {
    // ORDER: the log first, as in `WalReader::open_with_archive`.
    let log = LogDir::scan(disk, dir)?;
    let archived = ArchiveDir::scan(disk, archive_dir)?.segments;
    let mut report = VerifyReport::default();
    let log_begins = log.segments.first().map(|oldest| oldest.first_lsn);
    let nexts = archived.iter().skip(1).map(|next| Some(next.first_lsn)).chain([log_begins]);
    for ((at, segment), next) in archived.iter().enumerate().zip(nexts) {
        let opened = SegmentReader::open_archived(disk, archive_dir, segment, Block::default());
        let checked = opened.and_then(|reader| read_all(reader, &mut report));
        let missing = Part::Archived(segment.clone()).check_next(next);
        let apart = archived.get(at + 1).map_or(Ok(()), |newer| check_apart(segment, newer));
        for error in [checked, missing, apart].into_iter().filter_map(Result::err) {
            if is_gone(disk, &archive_dir.join(&*segment.file), &error)? {
                continue;
            }
            report.problems.push(problem(error, &segment.file)?);
        }
    }
    Ok(report)
}

/// Whether the file at fault was released or expired since it was listed.
fn is_gone(disk: &dyn Disk, path: &Path, error: &WalError) -> Result<bool, WalError> {
    let there = disk.exists(path).map_err(WalError::io("look for", path))?;
    Ok(!there && error.is_about_content())
}

fn read_all(mut reader: SegmentReader, report: &mut VerifyReport) -> Result<(), WalError> {
    while let Some(frame) = reader.advance()? {
        report.last_lsn = frame.last;
        if frame.header.kind == KIND_GAP {
            let (file, offset) = (reader.name().to_string(), frame.offset);
            let gap = Gap { from: frame.header.lsn, to: frame.last };
            report.gaps.push(StatedGap { gap, file, offset });
        } else {
            report.records += 1;
        }
    }
    report.torn_bytes += reader.torn_bytes();
    Ok(())
}

fn problem(error: WalError, file: &str) -> Result<VerifyProblem, WalError> {
    let file = file.to_owned();
    match error {
        WalError::Corrupt { offset, damage, .. } => {
            Ok(VerifyProblem { file, offset, message: damage.to_string() })
        }
        error @ WalError::Version { .. } => {
            Ok(VerifyProblem { file, offset: 0, message: error.to_string() })
        }
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DIR, KIND, new_log, overwrite};

    #[test]
    fn a_file_that_is_released_while_the_log_is_checked_is_no_problem() {
        let (disk, mut wal) = new_log();
        for _ in 0..7 {
            wal.append(KIND, &[&[1; 500_000]], None).unwrap();
        }
        wal.sync().unwrap();
        let found = LogDir::scan(&disk, Path::new(DIR)).unwrap();
        overwrite(&disk, &found.segments[1].name, 100, &[0xff]);
        assert_eq!(verify_found(&disk, Path::new(DIR), &found).unwrap().problems.len(), 1);
        wal.release(Lsn::new(4)).unwrap();
        let report = verify_found(&disk, Path::new(DIR), &found).unwrap();
        assert_eq!((report.problems, report.records), (Vec::new(), 3));
    }
}
