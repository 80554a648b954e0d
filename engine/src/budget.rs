//! The disk's budget: how much the data directory may take, and how much it does.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tidewatch_env::{Disk, DiskFile, LockGuard, OpenMode};

/// Above this share of the budget, in hundredths, the oldest goes: what is written until that is
/// done, and the files that merges write before they remove others, need the rest.
const HIGH_PERCENT: u64 = 85;
/// Down to which share.
const LOW_PERCENT: u64 = 80;

/// A budget and what is known of its use. Its use is measured by whoever keeps it.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// 0: as much as there is room.
    bytes_max: u64,
    used: AtomicU64,
    is_pressed: AtomicBool,
}

impl Budget {
    /// A budget of `bytes_max` bytes; 0 is as much as there is room.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// The bytes in use, as they were measured last.
    pub(crate) fn used(&self) -> u64 {
        // ATOMICS: numbers on their own guard no other memory, hence relaxed.
        self.used.load(Ordering::Relaxed)
    }

    /// Whether the archive is to be given up.
    pub(crate) fn is_pressed(&self) -> bool {
        self.is_pressed.load(Ordering::Relaxed)
    }

    /// Notes that `used` bytes are in use, `passing` of which go by themselves: a merge's file, whose
    /// inputs go for it, and segments that only queries still read. Gives how many others have to go.
    pub(crate) fn measure(&self, used: u64, passing: u64) -> u64 {
        self.used.store(used, Ordering::Relaxed);
        if self.bytes_max == 0 {
            return 0;
        }
        let used = used.saturating_sub(passing);
        let low = self.bytes_max / 100 * LOW_PERCENT;
        let is_pressed =
            if self.is_pressed() { used > low } else { used > self.bytes_max / 100 * HIGH_PERCENT };
        self.is_pressed.store(is_pressed, Ordering::Relaxed);
        if is_pressed { used.saturating_sub(low) } else { 0 }
    }

    /// Samples are not dropped below this: what else there is must keep to the other half.
    pub(crate) fn least_for_samples(&self) -> u64 {
        self.bytes_max / 2
    }

    fn left(&self) -> u64 {
        if self.bytes_max == 0 { u64::MAX } else { self.bytes_max.saturating_sub(self.used()) }
    }
}

/// Bytes of all files below `dir`; what goes meanwhile does not count.
///
/// # Errors
/// What the disk reports.
pub(crate) fn bytes_below(disk: &dyn Disk, dirs: &[PathBuf]) -> io::Result<u64> {
    let mut bytes = 0;
    for dir in dirs {
        match disk.list(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(names) => {
                bytes +=
                    names.iter().filter_map(|name| disk.len(&dir.join(name)).ok()).sum::<u64>();
            }
        }
    }
    Ok(bytes)
}

/// A disk with no more room than the budget leaves, so that all who look for room before they write
/// keep to it.
#[derive(Debug)]
pub(crate) struct BudgetDisk {
    disk: Arc<dyn Disk>,
    budget: Arc<Budget>,
}

impl BudgetDisk {
    pub(crate) fn new(disk: Arc<dyn Disk>, budget: Arc<Budget>) -> Self {
        Self { disk, budget }
    }
}

impl Disk for BudgetDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.disk.len(path)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(self.disk.available_bytes(path)?.min(self.budget.left()))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        self.disk.lock(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_begins_above_the_high_mark_and_ends_below_the_low_one() {
        let budget = Budget::new(1_000);
        assert_eq!(budget.measure(840, 0), 0);
        assert_eq!((budget.measure(900, 0), budget.is_pressed()), (100, true));
        assert_eq!((budget.measure(820, 0), budget.is_pressed()), (20, true), "to the low mark");
        assert_eq!((budget.measure(800, 0), budget.is_pressed()), (0, false));
        assert_eq!(budget.measure(850, 0), 0);
        assert_eq!((budget.measure(940, 100), budget.is_pressed()), (0, false), "it passes");
        assert_eq!(budget.left(), 60, "but takes its room meanwhile");
        let unlimited = Budget::new(0);
        assert_eq!((unlimited.measure(u64::MAX, 0), unlimited.left()), (0, u64::MAX));
    }
}
