//! Segments after their flush: merged, gone through for deletes and retention, dropped, removed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arrow::temporal_conversions::timestamp_ns_to_datetime;
use tidewatch_env::{Clock, Disk};
use tidewatch_metrics::{EventTime, Lsn, SeriesCatalog};
use tidewatch_segments::{
    Compaction, CompactionInstruments, FileKind, FileMeta, LetterLimits, Manifest, Prepared,
    Published, Retention, SegmentsError, Task, Why, merging_bytes, quarantine,
};
use tracing::{error, info, warn};

use crate::EngineError;
use crate::budget::{Budget, bytes_below};
use crate::config::EngineConfig;
use crate::deletes::Deletes;
use crate::letters::Letters;
use crate::progress::Progress;
use crate::retention::{RetentionInForce, RetentionRules};
use crate::shard::ShardShared;

/// Looks after segments. Not a thread: each call is one step.
#[derive(Debug)]
pub(crate) struct Compactor {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The directories that count against the budget, beside the archive.
    dirs: Vec<PathBuf>,
    archive: PathBuf,
    published: Arc<Published>,
    catalog: Arc<SeriesCatalog>,
    progress: Arc<Progress>,
    deletes: Arc<Deletes>,
    letters: Arc<Letters>,
    /// How much of letters is kept.
    letter_limits: LetterLimits,
    suspects: Arc<Suspects>,
    /// Held by whoever makes the next version of the manifest.
    commits: Arc<Mutex<()>>,
    retention: Arc<RetentionInForce>,
    budget: Arc<Budget>,
    /// Whether it was told that the budget is too small.
    is_short: AtomicBool,
    clock: Arc<dyn Clock>,
    instruments: CompactionInstruments,
}

/// What the compactor shares with others.
#[derive(Clone, Debug, Default)]
pub(crate) struct CompactorShares {
    pub(crate) budget: Arc<Budget>,
    /// Held by whoever makes the next version of the manifest.
    pub(crate) commits: Arc<Mutex<()>>,
    pub(crate) suspects: Arc<Suspects>,
}

/// Segments that somebody found damaged.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    files: Mutex<BTreeSet<String>>,
}

impl Suspects {
    /// Somebody could not read this file.
    pub(crate) fn add(&self, path: &Path) {
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            self.lock().insert(name.to_owned());
        }
    }

    fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.files.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There was nothing to do.
    Idle,
    /// Something was done; there may be more.
    Done,
    /// Something else came first, such as a delete: it may be tried again later.
    Overtaken,
    /// `pace` wanted no more.
    GivenUp,
}

impl Compactor {
    /// Looks after the segments of an engine's data directory.
    pub(crate) fn new(
        config: &EngineConfig,
        shared: &ShardShared,
        (disk, clock): (Arc<dyn Disk>, Arc<dyn Clock>),
        CompactorShares { budget, commits, suspects }: CompactorShares,
        instruments: CompactionInstruments,
    ) -> Self {
        let segments = config.segments_dir();
        let (archive, manifest) = (config.archive_dir(), segments.join("manifest"));
        let (wal, checkpoints) = (config.wal_dir(), config.checkpoints_dir());
        Self {
            disk,
            dirs: vec![segments.clone(), manifest, wal, checkpoints],
            dir: segments,
            archive,
            published: Arc::clone(&shared.published),
            catalog: Arc::clone(&shared.catalog),
            progress: Arc::clone(&shared.progress),
            deletes: Arc::clone(&shared.deletes),
            letters: Arc::clone(&shared.letters),
            letter_limits: config.letters,
            suspects,
            commits,
            retention: Arc::clone(&config.retention),
            budget,
            is_short: AtomicBool::new(false),
            clock,
            instruments,
        }
    }

    /// Whether the log's time has to go on for what waits here, although no samples come.
    pub(crate) fn waits_for_time(&self) -> bool {
        let has_letters = !self.published.letters().is_empty();
        self.retention.get().is_limited() || has_letters
    }

    /// Takes segments out of the manifest that somebody found damaged, if they are.
    ///
    /// # Errors
    /// What the disk reports.
    pub(crate) fn quarantine(&self) -> Result<(), EngineError> {
        for file in self.suspects.take() {
            let committing = self.commits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let place = (&self.disk, self.dir.as_path());
            if let Some(next) = quarantine(place, &self.published.manifest(), &file)? {
                let rows = next.quarantined().last().map_or(0, |file| file.rows);
                self.published.commit_files(next);
                self.instruments.quarantined.inc();
                error!(file, rows, "a segment is damaged: queries go on without its samples");
            }
            drop(committing);
        }
        Ok(())
    }

    /// Removes the files that no query reads any more, measures what the data directory takes, and
    /// drops the oldest segments where that is more than the budget.
    ///
    /// # Errors
    /// What the disk reports.
    pub(crate) fn keep_budget(&self) -> Result<(), EngineError> {
        self.remove_unread();
        let measured = |dirs: &[PathBuf]| {
            bytes_below(&*self.disk, dirs).map_err(|source| EngineError::Io {
                action: "measure the files in",
                path: self.dir.clone(),
                source: Arc::new(source),
            })
        };
        let archived = measured(std::slice::from_ref(&self.archive))?;
        let used = measured(&self.dirs)? + archived;
        self.instruments.disk_bytes.set(i64::try_from(used).unwrap_or(i64::MAX));
        let passing = self.published.unread_bytes() + merging_bytes(&*self.disk, &self.dir);
        let mut over = self.budget.measure(used, passing);
        // The archive goes before data; until it has gone, nothing else does.
        if over == 0 || archived > 0 {
            return Ok(());
        }
        while over > 0 {
            let manifest = self.published.manifest();
            let samples = || manifest.files_of(FileKind::Samples);
            let oldest = samples().min_by_key(|file| file.time_max).cloned();
            let bytes: u64 = samples().map(|file| file.bytes).sum();
            let Some(oldest) = oldest.filter(|_| bytes > self.budget.least_for_samples()) else {
                if !self.is_short.swap(true, Ordering::Relaxed) {
                    warn!(
                        used,
                        samples = bytes,
                        "the budget of the disk is too small for what is \
                        in hand beside samples; they are not dropped for its sake"
                    );
                }
                return Ok(());
            };
            self.is_short.store(false, Ordering::Relaxed);
            over = over.saturating_sub(oldest.bytes);
            let task = Task { inputs: vec![oldest], why: Why::Disk };
            self.carry_out(&manifest, task, false, &mut |_| true)?;
        }
        self.remove_unread();
        Ok(())
    }

    /// Carries out the next task, if there is one. `pace` is told how many rows were read since its
    /// last call, and ends the step with `false`.
    ///
    /// # Errors
    /// Damage, and what the disk reports. The task stays due then.
    pub(crate) fn step(
        &self,
        force: bool,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Step, EngineError> {
        self.remove_unread();
        let manifest = self.published.manifest();
        let rules = self.retention.get();
        let task = self.compaction(&rules, force).next_task(&manifest);
        let Some(task) = task else { return Ok(Step::Idle) };
        if !task.why.is_drop() && !self.has_room(&task.inputs)? {
            return Ok(Step::Idle);
        }
        let done = self.carry_out(&manifest, task, force, pace);
        if let Err(EngineError::Segments(error)) = &done
            && let SegmentsError::Corrupt { path, .. } = error.as_ref()
        {
            self.suspects.add(path);
        }
        done
    }

    fn compaction<'a>(&'a self, rules: &'a RetentionRules, force: bool) -> Compaction<'a> {
        let retention: &dyn Retention = rules;
        Compaction {
            retention,
            now: self.progress.log_time(),
            force,
            catalog: &self.catalog,
            letters: self.letter_limits,
        }
    }

    fn carry_out(
        &self,
        manifest: &Manifest,
        task: Task,
        force: bool,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Step, EngineError> {
        let started = self.clock.monotonic();
        let place = (&self.disk, self.dir.as_path());
        let rules = self.retention.get();
        let compaction = self.compaction(&rules, force);
        let Some(prepared) = compaction.prepare(place, manifest, task, pace)? else {
            return Ok(Step::GivenUp);
        };
        let took = self.clock.monotonic().saturating_sub(started);
        let task = prepared.task().clone();
        let (erased, bytes) = (prepared.rows_erased, prepared.bytes);
        if !self.commit(prepared)? {
            return Ok(Step::Overtaken);
        }
        if task.why == Why::Letters {
            self.expire_letters(&task);
        }
        self.instruments.count(&task, (erased, bytes), took.as_secs_f64());
        tell(&task, (erased, bytes), took);
        Ok(Step::Done)
    }

    /// Files of letters, or of marks of letters that are gone, are no longer in the manifest.
    fn expire_letters(&self, task: &Task) {
        for file in task.inputs.iter().filter(|file| file.kind == FileKind::DeadLetters) {
            self.letters.expire(file.last_lsn, file.rows);
        }
    }

    /// `false` where the task had been overtaken.
    fn commit(&self, prepared: Prepared) -> Result<bool, EngineError> {
        let committing = self.commits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let pending: Vec<Lsn> = self.deletes.pending().iter().map(|delete| delete.lsn).collect();
        let place = (&self.disk, self.dir.as_path());
        let next = prepared.commit(place, &self.published.manifest(), &pending)?;
        let is_done = next.is_some();
        if let Some(next) = next {
            self.published.commit_files(next);
        }
        drop(committing);
        Ok(is_done)
    }

    /// Whether the disk has room for what the inputs become, beside them, and some more.
    fn has_room(&self, inputs: &[Arc<FileMeta>]) -> Result<bool, EngineError> {
        let needed: u64 = inputs.iter().map(|file| file.bytes).sum();
        let available = self.disk.available_bytes(&self.dir).map_err(|source| EngineError::Io {
            action: "measure the space of",
            path: self.dir.clone(),
            source: Arc::new(source),
        })?;
        Ok(available > needed + needed / 4)
    }

    /// What cannot be removed now, the next start removes.
    fn remove_unread(&self) {
        let unread = self.published.take_unread();
        for path in &unread {
            if let Err(error) = self.disk.remove(path) {
                warn!(%error, file = %path.display(), "a segment could not be removed");
            }
        }
        if !unread.is_empty()
            && let Err(error) = self.disk.sync_dir(&self.dir)
        {
            warn!(%error, "the directory of segments could not be synced");
        }
    }
}

fn tell(task: &Task, (rows_erased, bytes): (u64, u64), took: Duration) {
    let names: Vec<_> = task.inputs.iter().map(|file| file.file.as_str()).collect();
    let first = task.inputs.iter().map(|file| file.time_min).min().unwrap_or_default();
    let last = task.inputs.iter().map(|file| file.time_max).max().unwrap_or_default();
    let (why, files) = (task.why.name(), names.len());
    if task.why == Why::Keys {
        info!(file = names.join(" "), "idempotency keys expired");
    } else if task.why == Why::Letters {
        let letters: u64 = task.inputs.iter().map(|file| file.rows).sum();
        info!(file = names.join(" "), letters, from = %day(first), to = %day(last),
            "dead letters expired: too old, or too many");
    } else if task.why.is_drop() {
        info!(why, file = names.join(" "), rows = rows_erased, from = %day(first), to = %day(last),
            "samples dropped");
    } else {
        info!(why, files, rows_erased, bytes, seconds = took.as_secs_f64(), "segments compacted");
    }
}

/// The time as people read it.
fn day(time: EventTime) -> String {
    let text = timestamp_ns_to_datetime(time.nanos()).map(|time| format!("{time:?}Z"));
    text.unwrap_or_else(|| time.nanos().to_string())
}

#[cfg(test)]
#[path = "compactor_tests.rs"]
mod tests;
