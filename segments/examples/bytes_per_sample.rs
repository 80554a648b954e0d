//! Measures what a sample of a fleet takes on disk, column by column, as flushed and as merged.
//!
//! `cargo run --release -p tidewatch-segments --example bytes_per_sample [SERIES ROWS FILES [DIR]]`
//!
//! Half of the hosts send every 10 s exactly, the others up to 3 ms off; each has 16 series.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use tidewatch_env::{Disk, RealDisk, Rng};
use tidewatch_metrics::{
    EventTime, Flags, Lsn, SeriesCatalog, SeriesKey, SeriesRef, Severity, UnixNanos,
};
use tidewatch_segments::{
    Erase, Events, FileKind, Flush, Head, Manifest, Merge, Merged, RowColumns, Segment, SlotSet,
    flush, merge,
};

type Failure = Box<dyn Error>;

/// The series of a host: metric and what its values look like.
const METRICS: [(&str, Values); 16] = [
    ("cpu_user", Values::Level { mean: 3_000, step: 150, scale: 100.0 }),
    ("cpu_system", Values::Level { mean: 1_200, step: 80, scale: 100.0 }),
    ("cpu_iowait", Values::Level { mean: 40, step: 6, scale: 10.0 }),
    ("load", Values::Level { mean: 250, step: 15, scale: 100.0 }),
    ("net_received_bytes", Values::Counter { step: 1_500_000 }),
    ("net_received_packets", Values::Counter { step: 1_200 }),
    ("http_requests", Values::Counter { step: 40 }),
    ("http_errors", Values::Sometimes { one_in: 200, scale: 1.0 }),
    ("mem_used_bytes", Values::Level { mean: 2_000_000, step: 400, scale: 1.0 / 4096.0 }),
    ("mem_cached_bytes", Values::Level { mean: 900_000, step: 60, scale: 1.0 / 4096.0 }),
    ("disk_used_bytes", Values::Sometimes { one_in: 6, scale: 1.0 / 4096.0 }),
    ("http_latency_ms", Values::Level { mean: 12_000, step: 2_000, scale: 1_000.0 }),
    ("db_latency_ms", Values::Level { mean: 2_500, step: 300, scale: 1_000.0 }),
    ("up", Values::Stays),
    ("cpu_count", Values::Stays),
    ("hit_ratio", Values::Noise),
];

/// What values look like.
#[derive(Clone, Copy, Debug)]
enum Values {
    /// A walk of about `step` that is drawn back to `mean`, divided by `scale`.
    Level { mean: i64, step: i64, scale: f64 },
    /// Grows by up to `step`.
    Counter { step: i64 },
    /// Grows by one once in so many times, divided by `scale`.
    Sometimes { one_in: u64, scale: f64 },
    /// Never changes.
    Stays,
    /// All bits of the mantissa.
    Noise,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Case {
    series: u32,
    rows_per_series: u32,
    files: u32,
}

/// Nothing is left out.
#[derive(Debug)]
struct Nothing;

impl Erase for Nothing {
    fn times(&self, _: usize, _: SeriesRef) -> Vec<std::ops::RangeInclusive<EventTime>> {
        Vec::new()
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut cases = vec![
        Case { series: 1_000, rows_per_series: 20_000, files: 12 },
        Case { series: 1_000_000, rows_per_series: 20, files: 5 },
    ];
    if let [series, rows, files, ..] = &arguments[..] {
        let (series, rows_per_series) = (series.parse()?, rows.parse()?);
        cases = vec![Case { series, rows_per_series, files: files.parse()? }];
    }
    let root = arguments.get(3).map_or_else(std::env::temp_dir, PathBuf::from);
    cases.into_iter().try_for_each(|case| measure(&root, case))
}

fn measure(root: &Path, case: Case) -> Result<(), Failure> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let dir = root.join(format!("tidewatch-bytes-per-sample-{}", std::process::id()));
    let catalog = catalog(case.series)?;
    let manifest = flush_all(&disk, &dir, &catalog, case)?;
    let metas = || manifest.files_of(FileKind::Samples);
    let paths: Vec<PathBuf> = metas().map(|meta| dir.join(&meta.file)).collect();
    let inputs: Vec<_> = metas()
        .map(|meta| Arc::new(Segment::open(Arc::clone(&disk), &dir, Arc::clone(meta))))
        .collect();
    let start = cpu_seconds()?;
    let pace = &mut |_rows| true;
    let input = Merge { inputs: &inputs, catalog: &catalog, erase: &Nothing, pace };
    let Merged::Segment { sealed, meta, .. } = merge(&*disk, &dir, input)? else {
        return Err("rows are left".into());
    };
    let seconds = cpu_seconds()? - start;
    sealed.rename(&*disk, &dir, "merged.parquet")?;
    let rows = meta.rows as f64;
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{case:?}: merged {:.1} M rows per CPU second", rows / seconds / 1e6)?;
    let flushed = Columns::of(&paths)?;
    let merged = Columns::of(&[dir.join("merged.parquet")])?;
    writeln!(
        out,
        "{:<12}{:>10}{:>10}  encodings of the merged row groups",
        "", "flushed", "merged"
    )?;
    for (name, column) in &merged.columns {
        let before = flushed.columns.get(name).map_or(0, |column| column.bytes) as f64;
        let after = column.bytes as f64;
        let encodings = &column.encodings;
        writeln!(out, "{name:<12}{:>10.3}{:>10.3}  {encodings:?}", before / rows, after / rows)?;
    }
    let total = |columns: &Columns| columns.file_bytes as f64 / rows;
    writeln!(out, "{:<12}{:>10.3}{:>10.3}", "rest", flushed.rest() / rows, merged.rest() / rows)?;
    let (rollup, share) = (merged.rollup_bytes as f64, merged.file_bytes as f64 / 100.0);
    writeln!(
        out,
        "{:<12}{:>20.3}  {} rows, {:.2} % of the file; part of the rest",
        "rollup",
        rollup / rows,
        meta.rollup_rows,
        rollup / share
    )?;
    writeln!(out, "{:<12}{:>10.3}{:>10.3}", "file", total(&flushed), total(&merged))?;
    let (before, after) = (flushed.severity(), merged.severity());
    let before = total(&flushed) - before / rows;
    writeln!(out, "{:<12}{before:>10.3}{:>10.3}", "no severity", total(&merged) - after / rows)?;
    match std::env::var_os("KEEP") {
        Some(_) => writeln!(out, "kept in {}", dir.display())?,
        None => std::fs::remove_dir_all(&dir)?,
    }
    Ok(())
}

/// Time that this thread had a core, so that others on the machine do not count. Linux only.
fn cpu_seconds() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split_whitespace().next().ok_or("the kernel counts run time")?;
    Ok(nanos.parse::<f64>()? / 1e9)
}

/// What the columns of some files take.
#[derive(Debug, Default)]
struct Columns {
    columns: BTreeMap<String, Column>,
    file_bytes: u64,
    rollup_bytes: u64,
}

#[derive(Debug, Default)]
struct Column {
    bytes: u64,
    /// Row groups by their data pages' encoding.
    encodings: BTreeMap<String, u32>,
}

impl Columns {
    fn of(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut all = Self::default();
        for path in paths {
            all.file_bytes += std::fs::metadata(path)?.len();
            let reader = SerializedFileReader::new(std::fs::File::open(path)?)?;
            let pairs = reader.metadata().file_metadata().key_value_metadata();
            let rollup = pairs.into_iter().flatten().find(|pair| pair.key == "tidewatch.rollup");
            if let Some(text) = rollup.and_then(|pair| pair.value.as_deref()) {
                let rollup: serde_json::Value = serde_json::from_str(text)?;
                all.rollup_bytes += rollup["bytes"].as_u64().ok_or("a rollup has a length")?;
            }
            for column in reader.metadata().row_groups().iter().flat_map(|group| group.columns()) {
                let entry = all.columns.entry(column.column_path().string()).or_default();
                entry.bytes += u64::try_from(column.compressed_size())?;
                let encodings: Vec<_> = column.encodings().map(|e| e.to_string()).collect();
                *entry.encodings.entry(encodings.join("+")).or_default() += 1;
            }
        }
        Ok(all)
    }

    /// Bytes of footers and indexes.
    fn rest(&self) -> f64 {
        (self.file_bytes - self.columns.values().map(|column| column.bytes).sum::<u64>()) as f64
    }

    fn severity(&self) -> f64 {
        let of = |name| self.columns.get(name).map_or(0, |column| column.bytes);
        (of("severity") + of("flags")) as f64
    }
}

fn catalog(series: u32) -> Result<SeriesCatalog, Failure> {
    let catalog = SeriesCatalog::new(1 << 21);
    for number in 0..series {
        let (metric, _) = kind(number);
        let host = vec![("host".to_owned(), format!("host-{}", number / 16))];
        catalog.register(&SeriesKey::new("default", metric, "value", host)?)?;
    }
    Ok(catalog)
}

fn kind(series: u32) -> (&'static str, Values) {
    METRICS[series as usize % METRICS.len()]
}

fn flush_all(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    catalog: &SeriesCatalog,
    case: Case,
) -> Result<Manifest, Failure> {
    let mut fleet = Fleet::new(case.series);
    let (mut head, _) = Head::new();
    let mut manifest = Manifest::open(&**disk, dir)?;
    let mut row = 0;
    for file in 1..=case.files {
        let end = u64::from(case.rows_per_series) * u64::from(file) / u64::from(case.files);
        while row < end {
            fleet.append(&mut head, row)?;
            row += 1;
        }
        let frozen: Vec<_> = head.freeze().into_iter().collect();
        let (slots, events) = (SlotSet::ALL, Events::default());
        let input = Flush { frozen: &frozen, slots, catalog, events, now: UnixNanos::default() };
        manifest = flush(disk, dir, &manifest, &input)?.manifest;
    }
    Ok(manifest)
}

/// The hosts as they are at one time.
#[derive(Debug)]
struct Fleet {
    rng: Rng,
    series: Vec<SeriesRef>,
    positions: Vec<i64>,
    /// When in the interval each host sends, in milliseconds.
    offsets: Vec<i64>,
}

impl Fleet {
    fn new(series: u32) -> Self {
        let mut rng = Rng::from_seed(1);
        let place = |number| match kind(number).1 {
            Values::Level { mean, .. } => mean * 3 / 4 + below(&mut rng, mean / 2),
            Values::Counter { step } => below(&mut rng, step * 100_000),
            Values::Sometimes { .. } => below(&mut rng, 10_000_000),
            Values::Stays | Values::Noise => below(&mut rng, 64),
        };
        let positions = (0..series).map(place).collect();
        let offsets = (0..series.div_ceil(16)).map(|_| below(&mut rng, 10_000)).collect();
        Self { rng, series: (0..series).map(SeriesRef).collect(), positions, offsets }
    }

    /// One row of every series, in the order in which hosts come.
    fn append(&mut self, head: &mut Head, row: u64) -> Result<(), Failure> {
        let start = 1_700_000_000_000 + i64::try_from(row)? * 10_000;
        let mut times = Vec::with_capacity(self.series.len());
        for (host, offset) in self.offsets.iter().enumerate() {
            let jitter = if host % 2 == 0 { 0 } else { below(&mut self.rng, 7) - 3 };
            let time = EventTime::new((start + offset + jitter) * 1_000_000);
            times.extend(std::iter::repeat_n(time, 16));
        }
        times.truncate(self.series.len());
        let mut values = Vec::with_capacity(times.len());
        for (series, position) in self.series.iter().zip(&mut self.positions) {
            values.push(next_value(&mut self.rng, kind(series.0).1, position));
        }
        // One row in 50 deviates a little, as the detectors say.
        let severity = |_| match self.rng.below(50) {
            0 => Severity::from_steps(32 + u16::try_from(self.rng.below(160)).unwrap_or(0)),
            _ => Severity::ZERO,
        };
        let severities: Vec<_> = times.iter().map(severity).collect();
        head.append(&RowColumns {
            series: &self.series,
            times: &times,
            values: &values,
            severities: &severities,
            flags: &vec![Flags::NONE; times.len()],
        });
        head.publish(Lsn::new(row + 1));
        Ok(())
    }
}

fn next_value(rng: &mut Rng, values: Values, position: &mut i64) -> f64 {
    match values {
        Values::Level { mean, step, scale } => {
            // The sum of three is nearly normal.
            let noise: i64 = (0..3).map(|_| below(rng, step) - step / 2).sum();
            *position = (*position + noise + (mean - *position) / 20).max(0);
            *position as f64 / scale
        }
        Values::Counter { step } => {
            *position += below(rng, step);
            *position as f64
        }
        Values::Sometimes { one_in, scale } => {
            *position += i64::from(rng.below(one_in) == 0);
            *position as f64 / scale
        }
        Values::Stays => *position as f64,
        Values::Noise => rng.unit_f64(),
    }
}

fn below(rng: &mut Rng, bound: i64) -> i64 {
    let bound = u64::try_from(bound).unwrap_or(1).max(1);
    i64::try_from(rng.below(bound)).unwrap_or(0)
}
