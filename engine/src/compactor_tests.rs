use std::fmt::Write;

use tidewatch_env::{OpenMode, Rng, SimClock, SimDisk};
use tidewatch_metrics::{SampleBatch, SeriesKey, SeriesRef, UnixNanos};
use tidewatch_segments::{Letter, LetterEnd, LetterId, SegmentsInstruments};
use tracing::field::{Field, Visit};
use tracing::span;

use super::*;
use crate::flusher::{FrozenShard, SegmentWriter};
use crate::instruments::{OutboxInstruments, ShardInstruments};
use crate::letters::KeptLetters;
use crate::opened::Opened;
use crate::shard::{Shard, ShardRows};
use crate::sources::{SourceOffsets, SourcePartition};

/// A merge asks whether to go on several times, and has written row groups by then.
const ROWS: u64 = 60_000;

/// An engine without a log: what it takes to have segments, and to look after them.
struct Directory {
    disk: SimDisk,
    config: EngineConfig,
    shared: ShardShared,
    shard: Shard,
    writer: SegmentWriter,
    lsn: Lsn,
}

impl Directory {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let mut config = EngineConfig::new("/data".into());
        config.shards = 1;
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(UnixNanos::default()));
        let instruments = (ShardInstruments::default(), OutboxInstruments::default());
        let mut opened = Opened::new(&config, &shared, &clock, instruments).unwrap();
        let key = SeriesKey::new("default", "cpu", "value", Vec::new()).unwrap();
        opened.shared.catalog.restore(SeriesRef(0), &key).unwrap();
        let writer = SegmentWriter::new(
            &config,
            &shared,
            (&opened.shared, &opened.keys),
            &Arc::default(),
            SegmentsInstruments::default(),
        );
        let shard = opened.shards.remove(0);
        Self { disk, config, shared: opened.shared, shard, writer, lsn: Lsn::ZERO }
    }

    /// A segment of samples from the second `from` on, whose values cannot be packed.
    fn flush(&mut self, from: i64) {
        self.lsn = self.lsn.next();
        let mut rng = Rng::from_seed(self.lsn.get());
        let mut batch = SampleBatch::default();
        for row in 0..i64::try_from(ROWS).unwrap() {
            let value = f64::from_bits(rng.next_u64() >> 2);
            batch.push(SeriesRef(0), EventTime::new(from * 1_000_000_000 + row), value);
        }
        let received = UnixNanos::default();
        self.shard.step(&ShardRows { lsn: self.lsn, received, batch, permit: None });
        self.shared.progress.set_durable(self.lsn, received);
        self.shard.advance(self.lsn);
        let head = self.shard.freeze().unwrap();
        assert!(self.writer.write(&FrozenShard { shard: 0, head }, Duration::ZERO).unwrap());
    }

    /// Segments whose order in the log is not that of their samples.
    fn with_segments(froms: &[i64]) -> Self {
        let mut directory = Self::new();
        froms.iter().for_each(|from| directory.flush(*from));
        directory
    }

    fn put(&self, path: &str, bytes: usize) {
        let file = self.disk.open(Path::new(path), OpenMode::CreateNew).unwrap();
        file.write_all_at(&vec![7; bytes], 0).unwrap();
    }

    fn compactor(&self, bytes_max: u64) -> Compactor {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(UnixNanos::default()));
        let shares = CompactorShares {
            budget: Arc::new(Budget::new(bytes_max)),
            ..CompactorShares::default()
        };
        let instruments = CompactionInstruments::default();
        Compactor::new(&self.config, &self.shared, (disk, clock), shares, instruments)
    }

    fn segments(&self) -> Vec<Arc<FileMeta>> {
        self.shared.published.manifest().files_of(FileKind::Samples).cloned().collect()
    }

    /// Bytes of all files of the data directory.
    fn used(&self) -> u64 {
        let dirs = ["segments", "segments/manifest", "wal", "checkpoints", "archive"];
        let dirs = dirs.map(|dir| Path::new("/data").join(dir));
        let names = |dir: &PathBuf| -> Vec<_> {
            let names = self.disk.list(dir).unwrap_or_default();
            names.iter().map(|name| dir.join(name)).collect()
        };
        dirs.iter().flat_map(names).map(|path| self.disk.len(&path).unwrap_or_default()).sum()
    }
}

/// All that is said while it is in force, a line for each.
#[derive(Clone, Debug, Default)]
struct Said(Arc<Mutex<String>>);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0.lock().unwrap(), "{}={value:?} ", field.name()).unwrap();
    }
}

impl tracing::Subscriber for Said {
    fn enabled(&self, _metadata: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
        self.0.lock().unwrap().push('\n');
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

#[test]
fn a_budget_drops_the_oldest_files_as_many_as_it_takes_and_says_so() {
    for percent in [84, 86, 95, 110, 130, 155] {
        let directory = Directory::with_segments(&[500, 100, 300, 600, 200, 400]);
        let used = directory.used();
        let budget = used * 100 / percent;
        let mut expected = directory.segments();
        expected.sort_by_key(|file| file.time_max);
        let mut over = if percent > 85 { used - budget / 100 * 80 } else { 0 };
        let mut dropped = Vec::new();
        while over > 0 {
            let oldest = expected.remove(0);
            over = over.saturating_sub(oldest.bytes);
            dropped.push(oldest);
        }
        let most = usize::from(percent > 85) * 4;
        assert!(dropped.len() <= most, "{percent} %: {}", dropped.len());
        let (compactor, said) = (directory.compactor(budget), Said::default());
        let keep = || tracing::subscriber::with_default(said.clone(), || compactor.keep_budget());
        keep().unwrap();
        let is_below = directory.used() * 100 <= budget * 81;
        assert_eq!(is_below, !dropped.is_empty(), "{percent} %: their room is free");
        keep().unwrap();
        let mut left = directory.segments();
        left.sort_by_key(|file| file.time_max);
        assert_eq!(left, expected, "{percent} %");
        let said = said.0.lock().unwrap();
        let lines: Vec<_> = said.lines().filter(|line| line.contains("samples dropped")).collect();
        assert_eq!(lines.len(), dropped.len(), "{said}");
        for (line, file) in lines.into_iter().zip(&dropped) {
            let second = file.time_min.nanos() / 1_000_000_000;
            let from = format!("1970-01-01T00:{:02}:{:02}Z", second / 60, second % 60);
            for part in [&file.file, "why=\"disk\"", &format!("rows={ROWS}"), &from] {
                assert!(line.contains(part), "{part} is not in: {line}");
            }
        }
        let why = [("why", "disk")];
        let counted = compactor.instruments.rows_erased.get_or_create(&why).get();
        assert_eq!(counted, ROWS * dropped.len() as u64);
    }
}

#[test]
fn what_was_done_with_letters_is_forgotten_with_their_file() {
    let mut directory = Directory::new();
    directory.config.letters.letters_max = 1;
    let letters = Arc::clone(&directory.shared.letters);
    let partition = SourcePartition::new("main", "metrics", 3).unwrap();
    for offset in [4, 5] {
        let letter = Letter {
            offset,
            time: None,
            reason: "not valid JSON".into(),
            payload: (*b"{").into(),
            key: None,
            bytes: 1,
        };
        let lsn = directory.lsn.next();
        let offsets = SourceOffsets::new(partition.clone(), 7, (offset, offset)).unwrap();
        let (letters, received) = (Arc::clone(&letters), UnixNanos::default());
        KeptLetters { letters: Arc::clone(&letters), received, kept: vec![letter] }
            .hold(lsn, &offsets);
        letters.claim(&[LetterId { lsn, offset }], LetterEnd::Dropped).0.hold(lsn);
        directory.flush(0);
    }
    let ends = || letters.tail(Lsn::new(1), Lsn::new(9)).unwrap().ends.len();
    let files = || {
        let manifest = directory.shared.published.manifest();
        manifest.files_of(FileKind::DeadLetters).count()
    };
    assert_eq!((files(), ends()), (2, 2));
    let compactor = directory.compactor(u64::MAX);
    while compactor.step(false, &mut |_| true).unwrap() == Step::Done {}
    assert_eq!((files(), ends()), (1, 1));
}

#[test]
fn nothing_is_dropped_for_what_queries_hold_or_a_running_merge_writes() {
    let directory = Directory::with_segments(&[100, 200, 300, 400]);
    let rows = |files: &[Arc<FileMeta>]| files.iter().map(|file| file.rows).sum::<u64>();
    // What is there alone is 75 % of it, and with a second copy 150 %.
    let compactor = directory.compactor(directory.used() * 100 / 75);
    let query = directory.shared.published.snapshot(directory.lsn).unwrap();
    let mut merging = 0;
    let pace = &mut |_rows| {
        merging = merging_bytes(&directory.disk, &compactor.dir).max(merging);
        compactor.keep_budget().unwrap();
        true
    };
    assert_eq!(compactor.step(true, pace).unwrap(), Step::Done);
    let bytes: u64 = query.segments.iter().map(|segment| segment.meta().bytes).sum();
    assert!(merging > bytes / 2, "{merging} bytes of {bytes} while the merge ran");
    assert_eq!((directory.segments().len(), rows(&directory.segments())), (1, 4 * ROWS));
    compactor.keep_budget().unwrap();
    assert!(compactor.budget.used() > bytes * 3 / 2, "the old files are held");
    assert_eq!(rows(&directory.segments()), 4 * ROWS);
    drop(query);
    compactor.keep_budget().unwrap();
    assert!(compactor.budget.used() < bytes * 5 / 4, "nobody holds them");
    assert_eq!(rows(&directory.segments()), 4 * ROWS);
}

#[test]
fn the_archive_goes_before_data() {
    let directory = Directory::with_segments(&[100, 200, 300]);
    let used = directory.used();
    let compactor = directory.compactor(used);
    directory.disk.create_dir_all(Path::new("/data/archive")).unwrap();
    directory.put("/data/archive/a", 1);
    compactor.keep_budget().unwrap();
    assert_eq!(directory.segments().len(), 3, "there is an archive");
    assert!(compactor.budget.is_pressed(), "which whoever keeps it must give up");
    directory.disk.remove(Path::new("/data/archive/a")).unwrap();
    compactor.keep_budget().unwrap();
    assert_eq!(directory.segments().len(), 2);
    compactor.keep_budget().unwrap();
    assert_eq!((compactor.budget.is_pressed(), directory.segments().len()), (false, 2));
}

#[test]
fn samples_are_not_dropped_for_the_sake_of_what_is_beside_them() {
    let directory = Directory::with_segments(&[100, 200, 300, 400]);
    let samples: u64 = directory.segments().iter().map(|file| file.bytes).sum();
    directory.disk.create_dir_all(Path::new("/data/wal")).unwrap();
    directory.put("/data/wal/wal-1", usize::try_from(samples).unwrap());
    let budget = samples * 5 / 4;
    let (compactor, said) = (directory.compactor(budget), Said::default());
    tracing::subscriber::with_default(said.clone(), || {
        compactor.keep_budget().unwrap();
        compactor.keep_budget().unwrap();
    });
    // The log alone is 80 % of it, so nothing would be enough; half of it is left to samples.
    let left: u64 = directory.segments().iter().map(|file| file.bytes).sum();
    let largest = directory.segments().iter().map(|file| file.bytes).max().unwrap();
    assert!(left <= budget / 2 && left + largest > budget / 2, "{left} bytes of {budget}");
    let said = said.0.lock().unwrap();
    assert_eq!(said.matches("is too small").count(), 1, "it is told once: {said}");
}
