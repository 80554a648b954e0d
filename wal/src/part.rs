//! The files that make one log, of its own directory and of the archive.

use tidewatch_metrics::Lsn;

use crate::archive_dir::ArchivedSegment;
use crate::error::{Damage, WalError};
use crate::log_dir::{LogDir, SegmentFile};
use crate::segment::before;

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A file in the log's directory, and the first LSN of the one behind it, if there is one.
    Live(SegmentFile, Option<Lsn>),
    /// A packed copy.
    Archived(ArchivedSegment),
}

impl Part {
    pub(crate) fn first_lsn(&self) -> Lsn {
        match self {
            Self::Live(segment, _) => segment.first_lsn,
            Self::Archived(segment) => segment.first_lsn,
        }
    }

    /// The LSN that the next part begins with; `None` if nothing follows.
    fn next(&self) -> Option<Lsn> {
        match self {
            Self::Live(_, next) => *next,
            Self::Archived(segment) => Some(segment.last_lsn.next()),
        }
    }

    /// Refuses a hole between this part and what begins with `following`.
    pub(crate) fn check_next(&self, following: Option<Lsn>) -> Result<(), WalError> {
        match (self.next(), following) {
            (Some(next), Some(following)) if next < following => {
                Err(self.missing_behind(next, before(following)))
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Damage behind the part.
    fn missing_behind(&self, from: Lsn, to: Lsn) -> WalError {
        let (file, offset) = match self {
            Self::Live(segment, _) => (&segment.name, 0),
            Self::Archived(segment) => (&segment.file, segment.raw_bytes),
        };
        WalError::corrupt(file, offset, Damage::Missing { from, to })
    }
}

/// The files of a log's directory, from the one that holds `from` on.
pub(crate) fn live_parts(found: &LogDir, from: Lsn) -> Vec<Part> {
    let next = found.segments.iter().skip(1).map(|next| Some(next.first_lsn)).chain([None]);
    let parts = found.segments.iter().cloned().zip(next);
    parts
        .skip(found.segments_below(from))
        .map(|(segment, next)| Part::Live(segment, next))
        .collect()
}

/// The files that hold all records from `from` on, archived ones where there are such; they may
/// have records in common.
///
/// Zero stands for the oldest record of both.
///
/// # Errors
/// `Missing` if there are records, but not from `from` on; `Corrupt` if there is a hole.
pub(crate) fn parts_from(
    found: &LogDir,
    archived: &[ArchivedSegment],
    from: Lsn,
) -> Result<Vec<Part>, WalError> {
    let live = live_parts(found, Lsn::ZERO);
    let firsts = live.iter().map(Part::first_lsn).chain(archived.iter().map(|s| s.first_lsn));
    let Some(oldest) = firsts.clone().min() else {
        found.check_begin(from)?;
        return Ok(Vec::new());
    };
    let mut parts: Vec<Part> = Vec::new();
    let mut need = if from == Lsn::ZERO { oldest } else { from };
    loop {
        let copy = archived.iter().find(|s| (s.first_lsn..=s.last_lsn).contains(&need));
        let holds =
            |part: &&Part| part.first_lsn() <= need && part.next().is_none_or(|next| next > need);
        let copy = copy.map(|copy| Part::Archived(copy.clone()));
        let Some(part) = copy.or_else(|| live.iter().find(holds).cloned()) else {
            return match firsts.filter(|&first| first > need).min() {
                None => end_of_archive(archived, parts, need),
                Some(later) => Err(match parts.last() {
                    Some(last) => last.missing_behind(need, before(later)),
                    None => WalError::Missing { from, first: later },
                }),
            };
        };
        let next = part.next();
        parts.push(part);
        match next {
            Some(next) => need = next,
            None => break,
        }
    }
    Ok(parts)
}

/// The parts of a log that has nothing at `need` or behind it: it ends with the archive.
fn end_of_archive(
    archived: &[ArchivedSegment],
    mut parts: Vec<Part>,
    need: Lsn,
) -> Result<Vec<Part>, WalError> {
    let Some(last) = archived.last() else { return Ok(parts) };
    let next = last.last_lsn.next();
    if need > next {
        return Err(WalError::Missing { from: need, first: next });
    }
    if parts.is_empty() {
        // What is asked for is yet to come, so the file before it tells where.
        parts.push(Part::Archived(last.clone()));
    }
    Ok(parts)
}
