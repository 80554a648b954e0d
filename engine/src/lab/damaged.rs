//! A small data directory with files of every kind, and what becomes of it when one is damaged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arrow::array::AsArray;
use tidewatch_env::{Clock, Disk, OpenMode, SimClock, SimDisk, read_file};
use tidewatch_metrics::{Lsn, UnixNanos};
use tidewatch_segments::{EventFile, FileKind, FileMeta, Manifest};
use tidewatch_wal::{WalHome, WalInstruments, WalReader};

use crate::EngineError;
use crate::hashes::Hashes;
use crate::inline::InlineDispatch;
use crate::instruments::{OutboxInstruments, ShardInstruments};
use crate::lab::process::{DATA_DIR, Machine, Process, config};
use crate::lab::replayed::Replayed;
use crate::lab::script::{Life, Script, Step};
use crate::lab::stored::{ReadFiles, StoredRow, rows_of};
use crate::lab::world::{SharedWorld, World};
use crate::opened::Opened;
use crate::recovery::{OpenLog, RecoveryState, Replay};
use crate::salvage::{Salvage, SalvageReport};

/// Operations that change the disk, in one start; beyond that it does not come to an end.
const OPS_MAX: u64 = 2_000;
const SHARDS: usize = 2;
/// No file of the directory has more bytes.
const FILE_BYTES_MAX: u64 = 1 << 24;

/// An undamaged directory, and what is in it.
pub(super) struct Directory {
    pub(super) disk: SimDisk,
    /// By record, from log and archive.
    pub(super) rows: Vec<(Lsn, StoredRow)>,
    pub(super) manifest: Manifest,
    pub(super) shown: Shown,
}

/// All that can be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) rows: Vec<StoredRow>,
    pub(super) alerts: Vec<String>,
}

/// A start that came to its end.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) shown: Result<Shown, String>,
    pub(super) report: Option<SalvageReport>,
}

impl Directory {
    /// Three lives: two segments of the log and an archived one, checkpoints, flushes, alerts.
    pub(super) fn new() -> Self {
        let disk = SimDisk::new(7);
        let script = Script::small();
        let machine = Machine {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(SimClock::new(UnixNanos::new(1_700_000_000_000_000_000))),
            world: SharedWorld::new(World::default()),
            seed: 7,
            acks_early: false,
            alerts_early: false,
            forgets_lsn: false,
            forgets_keys: false,
            forgets_offsets: false,
            offsets_first: false,
        };
        let mut process: Option<Process> = None;
        for step in &script.steps {
            let requests = |numbers: &[usize]| -> Vec<_> {
                numbers.iter().map(|number| (*number, &script.requests[*number])).collect()
            };
            if let Step::Start(life) = step {
                drop(process.take());
                process = Some(Process::start(&machine, *life, false).unwrap());
                continue;
            }
            let process = process.as_mut().expect("a script begins with a start");
            match step {
                Step::Write(numbers) => process.write(&requests(numbers)).unwrap(),
                Step::Flush => process.flush().unwrap(),
                Step::Checkpoint(numbers) => process.checkpoint(&requests(numbers)).unwrap(),
                Step::Outbox => process.outbox().unwrap(),
                Step::Idle => process.idle().unwrap(),
                Step::Hash => process.hash().unwrap(),
                Step::Pass(time) => machine.clock.advance(*time),
                Step::Preallocate => process.preallocate(),
                Step::Read(count) => process.read(*count).unwrap(),
                Step::Mend => process.mend().unwrap(),
                Step::Jump(nanos) => machine.jump(*nanos),
                Step::Compact => process.compact().unwrap(),
                Step::Delete(number) => process.delete(&script.deletes[*number]).unwrap(),
                Step::Start(_) => {}
            }
        }
        drop(process);
        assert_eq!(machine.world.lock().broken, None);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let replayed = Replayed::of(&shared, Path::new(DATA_DIR), 1).unwrap();
        let manifest = Manifest::open_read_only(&disk, &segments()).unwrap();
        let shown = start(&disk.reboot_keeping_all(), false).unwrap().shown.unwrap();
        let mut rows: Vec<_> = replayed.rows.iter().map(|(_, row)| *row).collect();
        rows.sort_unstable();
        assert_eq!(rows, shown.rows, "segments and log hold what arrived");
        Self { disk, rows: replayed.rows, manifest, shown }
    }

    /// The directory with `mask` over one byte.
    pub(super) fn flipped(&self, path: &Path, offset: u64, mask: u8) -> SimDisk {
        let disk = self.disk.reboot_keeping_all();
        let file = disk.open(path, OpenMode::ReadWrite).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ mask], offset).unwrap();
        file.sync_data().unwrap();
        disk
    }

    /// The directory with a file that ends at `length`.
    pub(super) fn cut(&self, path: &Path, length: u64) -> SimDisk {
        let disk = self.disk.reboot_keeping_all();
        let file = disk.open(path, OpenMode::ReadWrite).unwrap();
        file.set_len(length).unwrap();
        file.sync_data().unwrap();
        disk
    }

    /// The directory without a file.
    pub(super) fn without(&self, path: &Path) -> SimDisk {
        let disk = self.disk.reboot_keeping_all();
        disk.remove(path).unwrap();
        disk.sync_dir(path.parent().unwrap()).unwrap();
        disk
    }

    /// The log's files, and where the records of each end.
    pub(super) fn log_files(&self) -> Vec<(PathBuf, u64)> {
        let dir = Path::new(DATA_DIR).join("wal");
        let shared = Arc::new(self.disk.clone());
        let mut reader = WalReader::open(shared, &dir, Lsn::ZERO).unwrap();
        let mut files: Vec<(PathBuf, u64)> = Vec::new();
        while let Some(record) = reader.next_record().unwrap() {
            let path = dir.join(record.file);
            let end = (record.offset + 40 + record.payload.len() as u64).next_multiple_of(8);
            match files.last_mut() {
                Some((last, ends)) if *last == path => *ends = end,
                _ => files.push((path, end)),
            }
        }
        files
    }

    /// The files in a directory whose names begin so.
    pub(super) fn files(&self, dir: &str, start: &str) -> Vec<PathBuf> {
        let dir = Path::new(DATA_DIR).join(dir);
        let names = self.disk.list(&dir).unwrap();
        names.iter().filter(|name| name.starts_with(start)).map(|name| dir.join(name)).collect()
    }

    pub(super) fn bytes(&self, path: &Path) -> u64 {
        self.disk.len(path).unwrap()
    }

    /// The last file of a kind.
    pub(super) fn last_of(&self, kind: FileKind) -> (PathBuf, FileMeta) {
        let meta = self.manifest.files_of(kind).last().unwrap();
        (segments().join(&meta.file), FileMeta::clone(meta))
    }

    /// The rows that are not there any more, as a report tells it.
    pub(super) fn lost(&self, report: &SalvageReport) -> Vec<StoredRow> {
        let is_in = |slots: &tidewatch_segments::SlotSet, row: &StoredRow| {
            slots.contains(row.sent.series.slot())
        };
        let is_lost = |lsn: u64, row: &StoredRow| {
            let flushed = self.manifest.flushed_lsn(row.sent.series.slot()).get();
            let missing =
                report.missing.iter().any(|gap| (gap.from_lsn..=gap.to_lsn).contains(&lsn));
            let is_stored_before_cut = report.log_cut.is_none() || lsn <= flushed;
            let segments = report.segments.iter().filter(|file| !file.from_log);
            let mut segments = segments.filter(|file| file.kind == FileKind::Samples);
            missing && lsn > flushed
                || !is_stored_before_cut && lsn > self.readable_end(report)
                || segments.any(|file| {
                    is_in(&file.slots, row) && (file.first_lsn..=file.last_lsn).contains(&lsn)
                })
                || report.manifest_rows.iter().any(|rows| {
                    is_in(&rows.slots, row) && lsn > rows.after_lsn && lsn <= rows.to_lsn
                })
        };
        let lost = self.rows.iter().filter(|(lsn, row)| is_lost(lsn.get(), row));
        lost.map(|(_, row)| *row).collect()
    }

    /// The last record of a log that lost an unknown part of its end: the last one before the cut.
    fn readable_end(&self, report: &SalvageReport) -> u64 {
        let Some(cut) = &report.log_cut else { return u64::MAX };
        let dir = Path::new(DATA_DIR).join("wal");
        let mut reader = WalReader::open(Arc::new(self.disk.clone()), &dir, Lsn::ZERO).unwrap();
        let mut end = 0;
        while let Some(record) = reader.next_record().unwrap() {
            let frame_end = record.offset + 40 + record.payload.len() as u64;
            if record.file < &*cut.file
                || record.file == cut.file && frame_end.next_multiple_of(8) <= cut.offset
            {
                end = record.lsn.get();
            }
        }
        end
    }
}

pub(super) fn segments() -> PathBuf {
    Path::new(DATA_DIR).join("segments")
}

/// Starts on the disk and reads everything; an error is told with its causes.
pub(super) fn start(disk: &SimDisk, salvage: bool) -> Result<Started, String> {
    let ops = disk.ops();
    let started = try_start(disk, salvage).map_err(|error| crate::chain(&error));
    assert!(disk.ops() - ops < OPS_MAX, "a start comes to its end");
    started
}

fn try_start(disk: &SimDisk, salvage: bool) -> Result<Started, EngineError> {
    let mut config = config(Life { shards: SHARDS, rules: 0, windows: false });
    config.salvage = salvage;
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(UnixNanos::new(1_700_000_100_000_000_000)));
    let mut salvage = match salvage {
        true => Some(Salvage::run(&config, &shared, &*clock)?),
        false => None,
    };
    let instruments = (ShardInstruments::default(), OutboxInstruments::default());
    let mut opened = Opened::new(&config, &shared, &clock, instruments)?;
    if let Some(salvage) = &mut salvage {
        salvage.pass(&mut opened);
    }
    let home = WalHome { disk: Arc::clone(&shared), dir: config.wal_dir(), clock, epoch_seed: 11 };
    let log = OpenLog::open(&config, &opened, home, WalInstruments::default())?;
    let report = match salvage {
        Some(salvage) => salvage.finish(&log.left_out)?,
        None => None,
    };
    let hashes = Arc::new(Hashes::new(config.shards));
    let shards = std::mem::take(&mut opened.shards);
    let mut dispatch = InlineDispatch { shards, hashes: Arc::clone(&hashes), frozen: Vec::new() };
    let state = Arc::new(RecoveryState::default());
    let mut replay = Replay::new(&config, &shared, &opened, &log, (&hashes, &state))?;
    let (end, _) = log.start;
    replay.run(end, &mut dispatch)?;
    drop(replay.finish(end));
    let shown = show(&opened, end, disk).map_err(|error| crate::chain(&error));
    Ok(Started { shown, report })
}

/// What queries would see.
fn show(opened: &Opened, end: Lsn, disk: &SimDisk) -> Result<Shown, EngineError> {
    let shared = &opened.shared;
    assert!(shared.progress.wait_visible(end, Duration::ZERO), "all is applied");
    let snapshot = shared.published.snapshot(end).expect("all is applied");
    let mut alerts = Vec::new();
    for file in &snapshot.alerts {
        alerts.extend(alerts_in(file, disk)?);
    }
    let tail = shared.outbox.tail(snapshot.manifest.events_lsn());
    alerts.extend(tail.alerts.iter().map(|alert| alert.transition.dedupe_key()));
    static READ: OnceLock<ReadFiles> = OnceLock::new();
    Ok(Shown { rows: rows_of(&snapshot, disk, READ.get_or_init(ReadFiles::default))?, alerts })
}

/// The transitions of a file; one with the same bytes was read before.
fn alerts_in(file: &EventFile, disk: &SimDisk) -> Result<Vec<String>, EngineError> {
    static READ: Mutex<BTreeMap<Vec<u8>, Vec<String>>> = Mutex::new(BTreeMap::new());
    let bytes = read_file(disk, &segments().join(&file.meta().file), FILE_BYTES_MAX);
    let bytes = bytes.unwrap_or_default();
    if let Some(known) = READ.lock().unwrap().get(&bytes) {
        return Ok(known.clone());
    }
    let mut alerts = Vec::new();
    for batch in file.read()? {
        let text = |name| batch.column_by_name(name).expect("a column").as_string::<i32>();
        let (keys, kinds) = (text("key"), text("transition"));
        let row = |row| format!("{}:{}", keys.value(row), kinds.value(row));
        alerts.extend((0..batch.num_rows()).map(row));
    }
    READ.lock().unwrap().insert(bytes, alerts.clone());
    Ok(alerts)
}

/// All files below the data directory but those of salvages, with their bytes.
pub(super) fn content(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for dir in ["wal", "archive", "checkpoints", "segments", "segments/manifest"] {
        let dir = Path::new(DATA_DIR).join(dir);
        for path in disk.list(&dir).unwrap().iter().map(|name| dir.join(name)) {
            if let Ok(bytes) = read_file(disk, &path, FILE_BYTES_MAX) {
                files.push((path, bytes));
            }
        }
    }
    files
}
