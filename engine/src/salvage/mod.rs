//! Starts on a damaged data directory without what is damaged, and says exactly what that is.
//!
//! [`Salvage::run`] looks at everything first: log, manifest, segments, checkpoints. Then it copies
//! what it will replace or remove to `salvage/<number>/`, writes the report there, and only then
//! changes anything. It may be interrupted anywhere: what is left to do, the next one does.

mod choice;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::{Clock, Disk, replace_file};
use tidewatch_metrics::{Lsn, SeriesCatalog};
use tidewatch_segments::{Keep, SegmentsSalvage};
use tidewatch_wal::{SalvageScope, WalError, WalReader, last_archived};

use crate::EngineError;
use crate::checkpoint::{CheckpointIndex, CheckpointStore};
use crate::config::EngineConfig;
use crate::left_out::LeftOut;
use crate::opened::{Opened, durable_lsn};
use crate::record::{KIND_KEYED_SAMPLES, KIND_SAMPLES, KIND_SOURCED_SAMPLES, LogRecord, decode};
use crate::replayer::register;
use crate::salvage::choice::Choice;

pub(crate) use self::report::lost_segments;
pub use self::report::{
    CutLog, DamagedCheckpoint, DamagedDelta, DamagedLogFile, LeftOutRecord, LostRows, LostSegment,
    MissingRecords, SalvageReport,
};

const REPORT: &str = "report.json";

/// A salvage that was done, and the report on it.
#[derive(Debug)]
pub(crate) struct Salvage {
    report: SalvageReport,
    /// The directory of all salvages.
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// The first record of the log.
    oldest: Lsn,
    choice: Choice,
}

/// Everything that was found, before anything is changed.
struct Found {
    store: CheckpointStore,
    /// Whole checkpoints from which the log may be replayed, newest first.
    whole: Vec<CheckpointIndex>,
    damaged: Vec<u64>,
    segments: SegmentsSalvage,
    log: tidewatch_wal::Salvage,
}

impl Salvage {
    /// Makes the data directory one that can be opened; an undamaged one is left alone.
    ///
    /// # Errors
    /// Files of later releases, and what the disk reports.
    pub(crate) fn run(
        config: &EngineConfig,
        disk: &Arc<dyn Disk>,
        clock: &dyn Clock,
    ) -> Result<Self, EngineError> {
        let found = Found::look(config, disk)?;
        let whole: Vec<_> = found.whole.iter().collect();
        let oldest = found.log.oldest_lsn().unwrap_or(Lsn::new(1));
        let choice = Choice::new(&found.segments, &whole, oldest);
        let mut report = SalvageReport::of(&found.log, &found.segments, &choice);
        report.take_lost_rows(&choice);
        report.checkpoints = found.set_aside(&choice);
        report.time_nanos = clock.now().nanos();
        report.version.clone_from(&config.version);
        let mut salvage = Self {
            report,
            dir: config.data_dir.join("salvage"),
            disk: Arc::clone(disk),
            oldest,
            choice,
        };
        if !salvage.report.is_empty() {
            let aside = salvage.begin()?;
            found.log.set_aside(&**disk, &aside.join("wal"))?;
            let dropped = &salvage.choice.dropped;
            found.segments.set_aside(&**disk, &aside.join("segments"), dropped)?;
            found.store.set_aside(&salvage.discarded(), &aside.join("checkpoints"))?;
            salvage.write()?;
            salvage.apply(config, &found)?;
            salvage.write()?;
        }
        Ok(salvage)
    }

    fn apply(&mut self, config: &EngineConfig, found: &Found) -> Result<(), EngineError> {
        found.log.apply(&*self.disk)?;
        // ORDER: a checkpoint goes before the files that it relies on.
        found.store.discard(&self.discarded())?;
        if !found.segments.is_whole() {
            let names = match found.segments.lost_names() {
                true => names_in_log(config, &self.disk)?,
                false => SeriesCatalog::new(0),
            };
            let Choice { dropped, flushed, .. } = &self.choice;
            let keep = Keep { dropped, flushed: flushed.clone(), names: &names };
            let salvaged = found.segments.apply(&*self.disk, keep)?;
            self.report.series_found = salvaged.series_found;
            self.report.series_missing = salvaged.series_missing;
        }
        Ok(())
    }

    /// Sees to it that the engine starts also where no checkpoint can be taken.
    pub(crate) fn pass(&mut self, opened: &mut Opened) {
        let oldest = self.oldest;
        if opened.is_first() && oldest > opened.base.replay_from {
            tracing::error!(from = %oldest, "no checkpoint can be taken: the operators begin anew");
            opened.begin_at(oldest);
            self.report.state_lost_before = Some(oldest.get());
            self.choice.lose_state(oldest);
            self.report.take_lost_rows(&self.choice);
        }
    }

    /// The report, complete and durable; `None` if nothing was damaged.
    ///
    /// # Errors
    /// What the disk reports.
    pub(crate) fn finish(
        mut self,
        left_out: &LeftOut,
    ) -> Result<Option<SalvageReport>, EngineError> {
        if self.report.is_empty() {
            return Ok(None);
        }
        self.report.take_left_out(left_out);
        if self.report.number == 0 {
            self.begin()?;
        }
        self.write()?;
        Ok(Some(self.report))
    }

    /// Makes the directory of this salvage.
    fn begin(&mut self) -> Result<PathBuf, EngineError> {
        let failed = |action: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| EngineError::Io { action, path, source: Arc::new(source) }
        };
        self.disk.create_dir_all(&self.dir).map_err(failed("create", &self.dir))?;
        let names = self.disk.list(&self.dir).map_err(failed("list", &self.dir))?;
        let last = names.iter().filter_map(|name| name.parse::<u64>().ok()).max();
        self.report.number = last.unwrap_or(0) + 1;
        let aside = self.dir.join(self.report.number.to_string());
        self.disk.create_dir_all(&aside).map_err(failed("create", &aside))?;
        self.report.directory = aside.display().to_string();
        Ok(aside)
    }

    fn write(&self) -> Result<(), EngineError> {
        let path = self.dir.join(self.report.number.to_string()).join(REPORT);
        let written = replace_file(&*self.disk, &path, self.report.to_json().as_bytes());
        written.map_err(|source| EngineError::Io {
            action: "write",
            path,
            source: Arc::new(source),
        })
    }

    fn discarded(&self) -> Vec<u64> {
        self.report.checkpoints.iter().map(|checkpoint| checkpoint.number).collect()
    }
}

impl Found {
    fn look(config: &EngineConfig, disk: &Arc<dyn Disk>) -> Result<Self, EngineError> {
        let store = CheckpointStore::new(Arc::clone(disk), config.checkpoints_dir());
        let mut damaged = store.numbers()?;
        let mut whole = Vec::new();
        for index in store.indexes()? {
            if let Some(checkpoint) = store.open(index)? {
                damaged.retain(|number| *number != checkpoint.index.number);
                whole.push(checkpoint.index);
            }
        }
        let least = whole.iter().map(|index| index.manifest).max().unwrap_or_default();
        let segments = SegmentsSalvage::inspect(&**disk, &config.segments_dir(), least)?;
        let archived = last_archived(&**disk, &config.archive_dir())?;
        let durable = durable_lsn(segments.manifest(), &whole).max(archived.unwrap_or_default());
        // Anchors, whose records are in the archive, are for `replay` alone.
        let is_usable = |index: &&CheckpointIndex| Some(index.replay_from) > archived;
        let newest = whole.iter().find(is_usable);
        let begin = match newest {
            Some(newest) => newest.replay_from,
            // The log was never truncated, so it begins with its first record.
            None if damaged.is_empty() && archived.is_none() => Lsn::new(1),
            None => Lsn::ZERO,
        };
        let scope = SalvageScope { begin, durable };
        let log = tidewatch_wal::Salvage::plan(&**disk, &config.wal_dir(), scope)?;
        let oldest = log.oldest_lsn();
        whole.retain(|index| oldest.is_none_or(|oldest| index.replay_from >= oldest));
        Ok(Self { store, whole, damaged, segments, log })
    }

    /// The checkpoints that go: damaged ones, and those that rely on rows that are to be replayed.
    fn set_aside(&self, choice: &Choice) -> Vec<DamagedCheckpoint> {
        let damaged = self.damaged.iter().map(|number| DamagedCheckpoint {
            number: *number,
            problem: "it is damaged".to_owned(),
        });
        let newer = self.whole.iter().take(choice.passed_over).map(|index| DamagedCheckpoint {
            number: index.number,
            problem: "it relies on segments whose rows are replayed".to_owned(),
        });
        damaged.chain(newer).collect()
    }
}

/// The series that records in the log and its archive register.
fn names_in_log(config: &EngineConfig, disk: &Arc<dyn Disk>) -> Result<SeriesCatalog, EngineError> {
    let (wal, archive) = (config.wal_dir(), config.archive_dir());
    let names = SeriesCatalog::new(usize::MAX);
    let with_archive = WalReader::open_with_archive(Arc::clone(disk), &wal, &archive, Lsn::ZERO);
    match with_archive.map_err(EngineError::from).and_then(|log| take_names(log, &names)) {
        // Nobody needs the archive but for looking back, so it is not repaired.
        Err(EngineError::Wal(error)) if matches!(*error, WalError::Corrupt { .. }) => {
            let log = WalReader::open(Arc::clone(disk), &wal, Lsn::ZERO)?;
            take_names(log, &names)?;
        }
        taken => taken?,
    }
    Ok(names)
}

fn take_names(mut log: WalReader, names: &SeriesCatalog) -> Result<(), EngineError> {
    while let Some(record) = log.next_record()? {
        if matches!(record.kind, KIND_SAMPLES | KIND_KEYED_SAMPLES | KIND_SOURCED_SAMPLES)
            && let Some(LogRecord::Samples(samples)) = decode(record.kind, record.payload)
        {
            register(names, record.lsn, &samples)?;
        }
    }
    Ok(())
}
