//! Measures aggregates of 20 M rows with rollups and without.
//!
//! `cargo run --release -p tidewatch-query --example rollup_speed [SERIES ROWS]`
//!
//! Each series sends a walk with two decimals every 10 s. The rows are flushed in 8 files and merged.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_env::{Clock, Disk, RealClock, RealDisk, Rng};
use tidewatch_metrics::catalog::SeriesEntry;
use tidewatch_metrics::{
    EventTime, Flags, Lsn, SeriesCatalog, SeriesKey, SeriesRef, Severity, UnixNanos,
};
use tidewatch_operators::RuleSet;
use tidewatch_query::{
    Format, OffsetRow, QueryEngine, QueryError, QueryInstruments, QueryLimits, QueryRequest,
    Source, SourceRow, WalSegmentRow,
};
use tidewatch_segments::{
    AlertRow, Compaction, DeliveryRow, Events, FileKind, Flush, Head, LetterLimits,
    LettersInMemory, Manifest, Published, Retention, RowColumns, SlotSet, Snapshot, WindowRow,
    flush,
};

type Failure = Box<dyn Error>;

const FILES: i64 = 8;
const RUNS: usize = 9;
const START: i64 = 1_700_000_000;

const STATEMENTS: [(&str, &str); 5] = [
    ("all", "SELECT count(*) AS n, avg(value) AS a, max(value) AS m FROM load"),
    ("top 10", "SELECT host, avg(value) AS a FROM load GROUP BY host ORDER BY a DESC LIMIT 10"),
    ("last", "SELECT host, last_value(value ORDER BY time) AS v FROM load GROUP BY host"),
    (
        "per hour",
        "SELECT date_bin(INTERVAL '1 hour', time) AS h, avg(value) AS a FROM load GROUP BY h",
    ),
    (
        "off the hour",
        "SELECT count(*) AS n, avg(value) AS a FROM load WHERE time >= '2023-11-15T03:10:00Z'",
    ),
];

/// Everything is kept for ever.
#[derive(Debug)]
struct KeepAll;

impl Retention for KeepAll {
    fn keep_nanos(&self, _series: &SeriesEntry) -> Option<i64> {
        None
    }

    fn keeps(&self) -> &[Option<i64>] {
        &[None]
    }

    fn rules(&self) -> u64 {
        0
    }
}

/// Segments alone.
#[derive(Debug)]
struct Segments(Published);

impl Source for Segments {
    fn snapshot(&self, _timeout: Duration) -> Result<Snapshot, QueryError> {
        self.0.snapshot(Lsn::new(1)).ok_or(QueryError::NotReady)
    }

    fn report_damage(&self, _path: &Path) {}

    fn wal_segments(&self) -> Vec<WalSegmentRow> {
        Vec::new()
    }

    fn sources(&self) -> Vec<SourceRow> {
        Vec::new()
    }

    fn offsets(&self) -> Vec<OffsetRow> {
        Vec::new()
    }

    fn alerts(&self) -> Vec<AlertRow> {
        Vec::new()
    }

    fn deliveries(&self) -> Vec<DeliveryRow> {
        Vec::new()
    }

    fn letters(&self, _after: Lsn, _upto: Lsn) -> Option<LettersInMemory> {
        Some(LettersInMemory::default())
    }

    fn rules(&self) -> Arc<RuleSet> {
        Arc::default()
    }

    fn windows(&self, _after: Lsn, _upto: Lsn) -> Option<Vec<Arc<WindowRow>>> {
        Some(Vec::new())
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (series, rows) = match &arguments[..] {
        [series, rows] => (series.parse()?, rows.parse()?),
        _ => (1_000, 20_000),
    };
    let dir = tempfile::tempdir()?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let catalog = Arc::new(SeriesCatalog::new(1 << 21));
    let manifest = merged(&disk, dir.path(), &catalog, (series, rows))?;
    let mut out = std::io::stdout().lock();
    for meta in manifest.files_of(FileKind::Samples) {
        let (rows, rolled, bytes) = (meta.rows, meta.rollup_rows, meta.bytes);
        writeln!(out, "{}: {rows} rows, {rolled} of the rollup, {bytes} bytes", meta.file)?;
    }
    let published = Published::new(disk, dir.path(), catalog, manifest, vec![Head::new().1]);
    let source: Arc<dyn Source> = Arc::new(Segments(published));
    let engine = |rollups| {
        let limits = QueryLimits { rollups, ..QueryLimits::default() };
        QueryEngine::new(Arc::clone(&source), limits, QueryInstruments::default())
    };
    let (with, without) = (engine(true)?, engine(false)?);
    writeln!(out, "{:<14}{:>12}{:>12}{:>9}", "median, ms", "rows", "rollups", "times")?;
    for (name, sql) in STATEMENTS {
        let (rows, rollups) = (median(&without, sql)?, median(&with, sql)?);
        writeln!(out, "{name:<14}{rows:>12.2}{rollups:>12.2}{:>9.1}", rows / rollups)?;
    }
    Ok(())
}

/// Milliseconds, median of several runs.
fn median(engine: &QueryEngine, sql: &str) -> Result<f64, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let clock = RealClock::new();
    let mut all = Vec::new();
    for _ in 0..RUNS {
        let (sql, db, timeout) = (sql.to_owned(), "default".to_owned(), None);
        let request = QueryRequest { sql, db, format: Format::Csv, timeout };
        let start = clock.monotonic();
        runtime.block_on(engine.execute(request))?;
        all.push((clock.monotonic() - start).as_secs_f64() * 1e3);
    }
    all.sort_by(f64::total_cmp);
    Ok(all[RUNS / 2])
}

fn merged(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    catalog: &SeriesCatalog,
    (series, rows): (i64, i64),
) -> Result<Manifest, Failure> {
    let mut all = Vec::new();
    for number in 0..series {
        let host = vec![("host".to_owned(), format!("host-{number}"))];
        all.push(catalog.register(&SeriesKey::new("default", "load", "value", host)?)?.0);
    }
    let (mut rng, mut head) = (Rng::from_seed(1), Head::new().0);
    let mut positions = vec![5_000_i32; all.len()];
    let mut manifest = Manifest::open(&**disk, dir)?;
    for file in 0..FILES {
        for row in rows * file / FILES..rows * (file + 1) / FILES {
            append(&mut head, &all, (START + row * 10) * 1_000_000_000, |at| {
                let by = i32::try_from(rng.below(21)).unwrap_or(0) - 10;
                positions[at] = (positions[at] + by).max(0);
                f64::from(positions[at]) / 100.0
            });
        }
        head.publish(Lsn::new(1));
        let frozen: Vec<_> = head.freeze().into_iter().collect();
        let (slots, events) = (SlotSet::ALL, Events::default());
        let input = Flush { frozen: &frozen, slots, catalog, events, now: UnixNanos::default() };
        manifest = flush(disk, dir, &manifest, &input)?.manifest;
    }
    let compaction = Compaction {
        retention: &KeepAll,
        now: UnixNanos::default(),
        force: true,
        catalog,
        letters: LetterLimits::default(),
    };
    while let Some(task) = compaction.next_task(&manifest) {
        let prepared = compaction.prepare((disk, dir), &manifest, task, &mut |_rows| true)?;
        let prepared = prepared.ok_or("nobody gives up")?;
        manifest = prepared.commit((disk, dir), &manifest, &[])?.ok_or("nobody overtakes")?;
    }
    Ok(manifest)
}

fn append(head: &mut Head, all: &[SeriesRef], time: i64, mut value: impl FnMut(usize) -> f64) {
    let values: Vec<f64> = (0..all.len()).map(&mut value).collect();
    head.append(&RowColumns {
        series: all,
        times: &vec![EventTime::new(time); all.len()],
        values: &values,
        severities: &vec![Severity::ZERO; all.len()],
        flags: &vec![Flags::NONE; all.len()],
    });
}
