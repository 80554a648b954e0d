//! How often what became of which operation on which kind of file.

use std::collections::BTreeMap;
use std::fmt;

use tidewatch_env::DiskOp;

use crate::lab::outcome::Outcome;

/// A kind of file, and what is done to it.
pub type FileOp = (&'static str, DiskOp);

/// What a laboratory has tried so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Crashes that were recovered from and checked.
    pub points: u64,
    /// Scripts that were played.
    pub scripts: u64,
    /// Jumps of the clock in those scripts.
    pub jumps: u64,
    /// Requests that were refused for want of space.
    pub refused: u64,
    /// Messages of a partition that those scripts stored.
    pub messages: u64,
    /// Requests of those scripts that were answered as when they had been stored.
    pub keys_replayed: u64,
    /// Requests of those scripts whose key stood for another one.
    pub keys_refused: u64,
    /// Requests of those scripts whose key had run out.
    pub keys_run_out: u64,
    /// Operations that the engine performs, and the first point where: seed and number.
    pub(super) performed: BTreeMap<FileOp, (u64, u64)>,
    pub(super) tried: BTreeMap<(FileOp, Outcome), u64>,
    /// What the engine was doing at crashes before and after operations.
    pub(super) phases: BTreeMap<(&'static str, FileOp), u64>,
}

impl Tally {
    /// Counts what became of an operation.
    pub(super) fn count(&mut self, file_op: FileOp, outcome: Outcome) {
        *self.tried.entry((file_op, outcome)).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: Self) {
        self.points += other.points;
        self.scripts += other.scripts;
        self.jumps += other.jumps;
        self.refused += other.refused;
        self.messages += other.messages;
        self.keys_replayed += other.keys_replayed;
        self.keys_refused += other.keys_refused;
        self.keys_run_out += other.keys_run_out;
        for (file_op, place) in other.performed {
            let known = self.performed.entry(file_op).or_insert(place);
            *known = place.min(*known);
        }
        for (place, count) in other.tried {
            *self.tried.entry(place).or_default() += count;
        }
        for (place, count) in other.phases {
            *self.phases.entry(place).or_default() += count;
        }
    }

    /// What the engine performs and no point has brought about, with the first place for it.
    pub(super) fn gaps(&self) -> Vec<(FileOp, Outcome, (u64, u64))> {
        let mut gaps = Vec::new();
        for (file_op, place) in &self.performed {
            let due = Outcome::ALL.into_iter().filter(|outcome| outcome.fits(file_op.1));
            let missing = due.filter(|outcome| !self.tried.contains_key(&(*file_op, *outcome)));
            gaps.extend(missing.map(|outcome| (*file_op, outcome, *place)));
        }
        gaps
    }

    /// How often this became of such an operation.
    #[must_use]
    pub fn tried(&self, file_op: FileOp, outcome: Outcome) -> u64 {
        self.tried.get(&(file_op, outcome)).copied().unwrap_or(0)
    }

    /// The kinds of files and operations that the engine performs.
    pub fn performed(&self) -> impl Iterator<Item = FileOp> {
        self.performed.keys().copied()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<22} {:<9}", "file", "operation")?;
        Outcome::ALL.iter().try_for_each(|outcome| write!(f, " {:>8}", outcome.name()))?;
        for file_op in self.performed() {
            write!(f, "\n{:<22} {:<9}", file_op.0, format!("{:?}", file_op.1))?;
            for outcome in Outcome::ALL {
                match self.tried(file_op, outcome) {
                    0 => write!(f, " {:>8}", "-")?,
                    count => write!(f, " {count:>8}")?,
                }
            }
        }
        let Self { points, scripts, jumps, refused, .. } = self;
        write!(f, "\n{points} points, {scripts} scripts, {jumps} jumps of the clock")?;
        writeln!(f, ", {refused} requests refused for want of space")?;
        let Self { messages, keys_replayed, keys_refused, keys_run_out, .. } = self;
        write!(f, "{messages} messages read; ")?;
        write!(f, "requests under a key sent again: {keys_replayed} answered as before")?;
        writeln!(f, ", {keys_refused} refused, {keys_run_out} whose key had run out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_performed_and_never_faulted_is_a_gap() {
        let (sync, remove) = (("log file", DiskOp::Sync), ("log file", DiskOp::Remove));
        let mut tally = Tally::default();
        tally.performed.extend([(sync, (3, 7)), (remove, (1, 9))]);
        for outcome in [Outcome::Before, Outcome::After, Outcome::Eio, Outcome::EioOn] {
            tally.count(sync, outcome);
            tally.count(remove, outcome);
        }
        assert_eq!(tally.gaps(), [(sync, Outcome::Enospc, (3, 7))]);
        tally.count(sync, Outcome::Enospc);
        assert_eq!(tally.gaps(), []);
    }
}
