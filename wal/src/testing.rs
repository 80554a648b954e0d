//! What the tests of this crate share: a small log on a simulated disk, and a model of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_env::{Disk, OpenMode, Rng, SimClock, SimDisk};
use tidewatch_metrics::{Lsn, UnixNanos};

use crate::limits::KIND_MARK;
use crate::{
    Archive, ArchiveInstruments, Preallocator, Record, RecoverySummary, Wal, WalConfig, WalError,
    WalHome, WalInstruments, WalReader,
};

pub(crate) const DIR: &str = "/data/wal";
pub(crate) const ARCHIVE_DIR: &str = "/data/archive";
pub(crate) const KIND: u8 = 17;
pub(crate) const CONFIG: WalConfig =
    WalConfig { segment_bytes_max: 1 << 20, frame_bytes_max: 600 << 10 };

/// A record as it was given to the log or found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) lsn: Lsn,
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
}

impl From<&Record<'_>> for Given {
    fn from(record: &Record<'_>) -> Self {
        Self { lsn: record.lsn, kind: record.kind, payload: record.payload.to_vec() }
    }
}

#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) wal: Wal,
    pub(crate) summary: RecoverySummary,
    pub(crate) records: Vec<Given>,
}

pub(crate) fn home(disk: &SimDisk) -> WalHome {
    WalHome {
        disk: Arc::new(disk.clone()),
        dir: DIR.into(),
        clock: Arc::new(SimClock::new(UnixNanos::new(0))),
        epoch_seed: 7,
    }
}

pub(crate) fn recover(disk: &SimDisk) -> Result<Recovered, WalError> {
    recover_from(disk, Lsn::ZERO)
}

pub(crate) fn recover_from(disk: &SimDisk, from: Lsn) -> Result<Recovered, WalError> {
    let mut records = Vec::new();
    let visit = |record: Record<'_>| {
        records.push(Given::from(&record));
        Ok::<_, WalError>(())
    };
    let (wal, summary) =
        Wal::recover_from(home(disk), CONFIG, WalInstruments::default(), from, visit)?;
    Ok(Recovered { wal, summary, records })
}

pub(crate) fn new_log() -> (SimDisk, Wal) {
    let disk = SimDisk::new(0);
    let wal = recover(&disk).unwrap().wal;
    (disk, wal)
}

/// Everything in the log from `from` on, the log's own records too.
pub(crate) fn read_all(disk: &SimDisk, from: Lsn) -> Result<Vec<Given>, WalError> {
    rest_of(WalReader::open(Arc::new(disk.clone()), Path::new(DIR), from)?)
}

pub(crate) fn try_open_archive(disk: &SimDisk) -> Result<Archive, WalError> {
    let instruments = ArchiveInstruments::default();
    Archive::open(Arc::new(disk.clone()), Path::new(ARCHIVE_DIR), instruments)
}

pub(crate) fn open_archive(disk: &SimDisk) -> Archive {
    try_open_archive(disk).unwrap()
}

/// As [`read_all`], with the archive.
pub(crate) fn read_with_archive(disk: &SimDisk, from: Lsn) -> Result<Vec<Given>, WalError> {
    let (dir, archive_dir) = (Path::new(DIR), Path::new(ARCHIVE_DIR));
    rest_of(WalReader::open_with_archive(Arc::new(disk.clone()), dir, archive_dir, from)?)
}

fn rest_of(mut reader: WalReader) -> Result<Vec<Given>, WalError> {
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        records.push(Given::from(&record));
    }
    Ok(records)
}

pub(crate) fn file_path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// Changes bytes of a file behind the log's back.
pub(crate) fn overwrite(disk: &SimDisk, name: &str, offset: u64, bytes: &[u8]) {
    let file = disk.open(&file_path(name), OpenMode::ReadWrite).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    file.sync_data().unwrap();
}

pub(crate) fn bytes_at(disk: &SimDisk, name: &str, offset: u64, count: usize) -> Vec<u8> {
    let file = disk.open(&file_path(name), OpenMode::Read).unwrap();
    let mut bytes = vec![0; count];
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// What was asked of a log, and what it promised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// Record `i` has LSN `i + 1`; the last one may be an append that failed.
    pub(crate) given: Vec<Given>,
    pub(crate) written: Lsn,
    pub(crate) durable: Lsn,
    pub(crate) released: Lsn,
    /// Nothing is released.
    pub(crate) keep_all: bool,
}

impl Model {
    /// Does one random thing to the log.
    pub(crate) fn step(
        &mut self,
        wal: &mut Wal,
        preallocator: &mut Preallocator,
        rng: &mut Rng,
    ) -> Result<(), WalError> {
        let done = match rng.below(16) {
            0..6 => self.append(wal, rng),
            6..8 => wal.write().map(drop),
            8..11 => wal.sync().map(drop),
            11 => {
                self.give(wal, KIND_MARK, Vec::new());
                wal.mark().map(drop)
            }
            12 if !self.keep_all => {
                let upto = Lsn::new(rng.below(wal.durable_lsn().get() + 1));
                self.released = self.released.max(upto);
                wal.release(upto)
            }
            _ => preallocator.run_once().map(drop),
        };
        self.written = wal.written_lsn();
        self.durable = wal.durable_lsn();
        done
    }

    fn append(&mut self, wal: &mut Wal, rng: &mut Rng) -> Result<(), WalError> {
        let bytes = match rng.below(4) {
            0 => rng.below(3),
            1 | 2 => rng.below(3000),
            _ => rng.below(500_000),
        };
        let first = rng.next_u64();
        let payload: Vec<u8> =
            (0..bytes).map(|i| (first ^ i.wrapping_mul(0x9e37)).to_le_bytes()[0]).collect();
        let (head, tail) = payload.split_at(payload.len() / 9);
        let lsn = self.give(wal, KIND, payload.clone());
        assert_eq!(wal.append(KIND, &[head, tail], None)?, lsn);
        Ok(())
    }

    fn give(&mut self, wal: &Wal, kind: u8, payload: Vec<u8>) -> Lsn {
        let lsn = wal.last_lsn().next();
        self.given.truncate(usize::try_from(lsn.get()).unwrap() - 1);
        self.given.push(Given { lsn, kind, payload });
        lsn
    }

    /// Compares what was recovered with what was given and promised, then goes on from there.
    pub(crate) fn check(&mut self, found: &Recovered, promised: Lsn) -> Result<(), String> {
        let summary = &found.summary;
        if summary.last_lsn < promised {
            return Err(format!("{} was promised, {} recovered", promised, summary.last_lsn));
        }
        if summary.last_lsn.get() > self.given.len() as u64 {
            return Err(format!("{} was invented", summary.last_lsn));
        }
        if summary.first_lsn > self.released.next() {
            return Err(format!("{} is missing, unreleased", self.released.next()));
        }
        let expected = self.given.iter().filter(|given| {
            given.kind == KIND && (summary.first_lsn..=summary.last_lsn).contains(&given.lsn)
        });
        if !expected.eq(&found.records) {
            return Err("the records are not those that were given".to_owned());
        }
        self.given.truncate(usize::try_from(summary.last_lsn.get()).unwrap());
        self.durable = summary.last_lsn;
        self.written = summary.last_lsn;
        Ok(())
    }
}
