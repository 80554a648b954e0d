//! Which files of a log are to be repaired.

use std::path::{Path, PathBuf};

use tidewatch_env::{Disk, copy_file};
use tidewatch_metrics::Lsn;

use crate::error::WalError;
use crate::gap::Gap;
use crate::log_dir::LogDir;
use crate::salvage::repair::FileRepair;
use crate::salvage::scan::scan;
use crate::segment::before;

/// What is known of the log beside its own files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SalvageScope {
    /// The record from which on the log is needed; zero where it is whichever is the oldest.
    pub begin: Lsn,
    /// A record that was durable, as other files tell; zero where none does. What the log lacks up
    /// to it is missing, and no other record may get its number.
    pub durable: Lsn,
}

/// What is to be done to a damaged log; empty if it is not damaged.
#[derive(Clone, Debug)]
pub struct Salvage {
    dir: PathBuf,
    repairs: Vec<FileRepair>,
    oldest: Option<Lsn>,
}

impl Salvage {
    /// Reads all files of the log in `dir`, and changes nothing.
    ///
    /// A torn tail is no damage: the next start cuts it.
    ///
    /// # Errors
    /// `Version` if a file is of a later release, and `Io`.
    pub fn plan(disk: &dyn Disk, dir: &Path, scope: SalvageScope) -> Result<Self, WalError> {
        let mut repairs = Vec::new();
        let there = disk.exists(dir).map_err(WalError::io("look for", dir))?;
        let found = if there { LogDir::scan(disk, dir)? } else { LogDir::default() };
        match found.segments.first() {
            Some(oldest) if scope.begin > Lsn::ZERO && scope.begin < oldest.first_lsn => {
                let gap = Gap { from: scope.begin, to: before(oldest.first_lsn) };
                repairs.push(FileRepair::missing(gap.from, Some(gap)));
            }
            None if scope.durable > Lsn::ZERO => {
                let first = scope.begin.max(Lsn::new(1)).min(scope.durable.next());
                let gap = Gap { from: first, to: scope.durable };
                repairs.push(FileRepair::missing(first, Some(gap).filter(|_| first <= gap.to)));
            }
            Some(_) | None => {}
        }
        let nexts = found.segments.iter().skip(1).map(|next| Some(next.first_lsn)).chain([None]);
        for (segment, next) in found.segments.iter().zip(nexts) {
            repairs.extend(scan(disk, dir, segment, next, scope.durable)?);
        }
        let made = repairs.first().map(|repair| repair.first_lsn);
        let oldest =
            made.into_iter().chain(found.segments.first().map(|file| file.first_lsn)).min();
        Ok(Self { dir: dir.to_owned(), repairs, oldest })
    }

    /// The first record, or gap, of the log as it will be; `None` if it will have no file.
    #[must_use]
    pub fn oldest_lsn(&self) -> Option<Lsn> {
        self.oldest
    }

    /// The damaged and missing files, by LSN.
    #[must_use]
    pub fn repairs(&self) -> &[FileRepair] {
        &self.repairs
    }

    /// Copies the damaged files, as they are, to the directory `aside`, which is made; durable when it
    /// returns.
    ///
    /// # Errors
    /// `Io`; the log is as it was in any case.
    pub fn set_aside(&self, disk: &dyn Disk, aside: &Path) -> Result<(), WalError> {
        disk.create_dir_all(aside).map_err(WalError::io("create", aside))?;
        for repair in self.repairs.iter().filter(|repair| !repair.is_new) {
            let copy = aside.join(&repair.file);
            let copied = copy_file(disk, &self.dir.join(&repair.file), &copy);
            copied.map_err(WalError::io("copy a damaged file to", &copy))?;
        }
        Ok(())
    }

    /// Puts the repaired files in the places of the damaged ones, durably.
    ///
    /// May be interrupted: each file is either the damaged or the repaired one, and another salvage
    /// goes on with the others.
    ///
    /// # Errors
    /// `Io`.
    pub fn apply(&self, disk: &dyn Disk) -> Result<(), WalError> {
        if self.repairs.is_empty() {
            return Ok(());
        }
        disk.create_dir_all(&self.dir).map_err(WalError::io("create", &self.dir))?;
        for repair in &self.repairs {
            repair.put_in_place(disk, &self.dir)?;
        }
        disk.sync_dir(&self.dir).map_err(WalError::io("sync", &self.dir))
    }
}
