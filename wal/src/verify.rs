//! Checks a whole log and tells all that is wrong with it.

use std::path::Path;

use tidewatch_env::Disk;
use tidewatch_metrics::Lsn;

use crate::block::Block;
use crate::error::WalError;
use crate::log_dir::{LogDir, SegmentFile};
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
    /// All that is damaged, in the order of the files.
    pub problems: Vec<VerifyProblem>,
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
    /// The file's name in the log's directory.
    pub file: String,
    /// Where in the file.
    pub offset: u64,
    /// What is wrong, for people.
    pub message: String,
}

/// Reads the whole log, changing nothing; behind damage it goes on with the next file.
///
/// # Errors
/// `Io` if a file cannot be read; damage is no error but a problem in the report.
pub fn verify(disk: &dyn Disk, dir: &Path) -> Result<VerifyReport, WalError> {
    let segments = LogDir::scan(disk, dir)?.segments;
    let mut report = VerifyReport::default();
    let ends = segments.iter().skip(1).map(|next| FileEnd::Before(next.first_lsn));
    for (segment, end) in segments.iter().zip(ends.chain([FileEnd::Last])) {
        if let Err(error) = verify_segment(disk, dir, segment, end, &mut report) {
            report.problems.push(problem(error, segment)?);
        }
    }
    Ok(report)
}

fn verify_segment(
    disk: &dyn Disk,
    dir: &Path,
    segment: &SegmentFile,
    end: FileEnd,
    report: &mut VerifyReport,
) -> Result<(), WalError> {
    let mut reader = SegmentReader::open(disk, dir, segment, end, Block::default())?;
    while let Some(frame) = reader.advance()? {
        report.records += 1;
        report.last_lsn = frame.header.lsn;
    }
    report.torn_bytes += reader.torn_bytes();
    Ok(())
}

fn problem(error: WalError, segment: &SegmentFile) -> Result<VerifyProblem, WalError> {
    let file = segment.name.to_string();
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
