//! What was said of metrics: the file in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidewatch_env::{Clock, Disk};
use tidewatch_metrics::UnixNanos;
use tidewatch_segments::MetricName;

use crate::retention::error::RetentionError;
use crate::retention::file::{FILE_NAME, KIND, decode, encode};
use crate::retention::limits::METRICS_MAX;
use crate::sealed_file::replace;

const DAY: Duration = Duration::from_secs(86_400);

/// What was said of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Days for which its samples are kept: 1 to [`DAYS_MAX`](crate::retention::DAYS_MAX).
    pub(crate) days: u16,
    /// When it was said.
    pub(crate) applied: UnixNanos,
}

/// What was said of metrics. Who opens one to change it has the directory's lock.
#[derive(Debug)]
pub(crate) struct RetentionBook {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    metrics: Mutex<BTreeMap<MetricName, Kept>>,
}

impl RetentionBook {
    /// Reads the file of a data directory; without one nothing was said.
    ///
    /// # Errors
    /// If the file is damaged, of a later release, or cannot be read.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        data_dir: &Path,
    ) -> Result<Self, RetentionError> {
        let path = data_dir.join(FILE_NAME);
        let metrics = KIND.read(&*disk, &path, decode)?;
        Ok(Self { disk, clock, path, metrics: Mutex::new(metrics) })
    }

    /// All that was said, in byte order of database and metric.
    pub(crate) fn all(&self) -> BTreeMap<MetricName, Kept> {
        self.lock().clone()
    }

    /// The same as times.
    pub(crate) fn times(&self) -> BTreeMap<MetricName, Duration> {
        times(&self.lock())
    }

    /// Says for how many days samples are kept. It is durable when this returns; `apply` has then
    /// been told of all that is said.
    ///
    /// # Errors
    /// If too much is said already, or the file cannot be replaced: then all is as before.
    pub(crate) fn say(
        &self,
        name: MetricName,
        days: u16,
        apply: impl FnOnce(&BTreeMap<MetricName, Duration>),
    ) -> Result<Kept, RetentionError> {
        let mut metrics = self.lock();
        if metrics.len() >= METRICS_MAX && !metrics.contains_key(&name) {
            return Err(RetentionError::TooMany);
        }
        let kept = Kept { days, applied: self.clock.now() };
        let mut next = metrics.clone();
        next.insert(name, kept);
        self.replace(&mut metrics, next, apply)?;
        Ok(kept)
    }

    /// Takes back what was said of a metric; `None` where nothing was.
    ///
    /// # Errors
    /// If the file cannot be replaced: then all is as before.
    pub(crate) fn take_back(
        &self,
        name: &MetricName,
        apply: impl FnOnce(&BTreeMap<MetricName, Duration>),
    ) -> Result<Option<Kept>, RetentionError> {
        let mut metrics = self.lock();
        let mut next = metrics.clone();
        let Some(kept) = next.remove(name) else { return Ok(None) };
        self.replace(&mut metrics, next, apply)?;
        Ok(Some(kept))
    }

    /// ORDER: the file first, or a crash could forget what was in force. Both under the lock, so that what is in
    /// force is what was said last.
    fn replace(
        &self,
        metrics: &mut BTreeMap<MetricName, Kept>,
        next: BTreeMap<MetricName, Kept>,
        apply: impl FnOnce(&BTreeMap<MetricName, Duration>),
    ) -> Result<(), RetentionError> {
        replace(&*self.disk, &self.path, &encode(&next))?;
        *metrics = next;
        apply(&times(metrics));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MetricName, Kept>> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn times(metrics: &BTreeMap<MetricName, Kept>) -> BTreeMap<MetricName, Duration> {
    metrics.iter().map(|(name, kept)| (name.clone(), DAY * u32::from(kept.days))).collect()
}

#[cfg(test)]
mod tests {
    use tidewatch_env::{SimClock, SimDisk};

    use super::*;
    use crate::sealed_file::FileError;

    fn name(metric: &str) -> MetricName {
        MetricName { db: "default".to_owned(), metric: metric.to_owned() }
    }

    fn open(disk: &SimDisk) -> RetentionBook {
        let clock = Arc::new(SimClock::new(UnixNanos::new(5)));
        RetentionBook::open(Arc::new(disk.clone()), clock, Path::new("/data")).unwrap()
    }

    #[test]
    fn what_was_said_survives_a_crash_and_is_told_to_whom_it_concerns() {
        let disk = SimDisk::new(7);
        disk.create_dir_all(Path::new("/data")).unwrap();
        let book = open(&disk);
        let mut applied = None;
        book.say(name("cpu"), 3, |times| applied = Some(times.clone())).unwrap();
        assert_eq!(applied, Some(BTreeMap::from([(name("cpu"), DAY * 3)])));
        book.say(name("disk"), 4, |_| {}).unwrap();
        let back = book.take_back(&name("cpu"), |times| applied = Some(times.clone())).unwrap();
        assert_eq!((back.map(|kept| kept.days), applied), (Some(3), Some(book.times())));
        assert_eq!(book.take_back(&name("cpu"), |_| panic!("nothing changes")).unwrap(), None);
        let kept = Kept { days: 4, applied: UnixNanos::new(5) };
        assert_eq!(open(&disk.reboot(3)).all(), BTreeMap::from([(name("disk"), kept)]));
    }

    #[test]
    fn what_cannot_be_stored_was_not_said() {
        let disk = SimDisk::new(7);
        disk.create_dir_all(Path::new("/data")).unwrap();
        let book = open(&disk);
        book.say(name("cpu"), 3, |_| {}).unwrap();
        let before = book.all();
        disk.set_capacity(Some(disk.used_bytes()));
        let full = book.say(name("disk"), 4, |_| panic!("nothing changes"));
        assert!(matches!(full, Err(RetentionError::File(FileError::Io { .. }))), "{full:?}");
        assert_eq!(book.all(), before);
        assert_eq!(open(&disk.reboot(3)).all(), before);
    }
}
