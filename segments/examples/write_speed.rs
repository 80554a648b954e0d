//! Measures what a flush costs: rows per second and bytes per sample, for four kinds of series.
//!
//! `cargo run --release -p tidewatch-segments --example write_speed [DIR]`

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tidewatch_env::{Clock, Disk, RealClock, RealDisk, Rng};
use tidewatch_metrics::{EventTime, Flags, Lsn, SeriesCatalog, SeriesKey, SeriesRef, Severity};
use tidewatch_segments::{
    Events, FileKind, Flush, Head, Manifest, Projection, RowColumns, Segment, SegmentColumns,
    SlotSet, flush,
};

/// What the values look like.
#[derive(Clone, Copy, Debug)]
enum Values {
    /// Random walks with two decimals.
    Decimal,
    /// Random bits of mantissa.
    Random,
}

/// One case to measure.
#[derive(Clone, Copy, Debug)]
struct Case {
    series: u32,
    rows_per_series: u32,
    values: Values,
}

fn main() -> Result<(), Box<dyn Error>> {
    let root: PathBuf = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    for values in [Values::Decimal, Values::Random] {
        for (series, rows_per_series) in [(100_000, 40), (1_000, 4_000)] {
            measure(&root, Case { series, rows_per_series, values })?;
        }
    }
    Ok(())
}

fn measure(root: &std::path::Path, case: Case) -> Result<(), Box<dyn Error>> {
    let clock = RealClock::default();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let dir = root.join(format!("tidewatch-write-speed-{}", std::process::id()));
    let mut out = std::io::stdout().lock();
    let catalog = catalog(case.series)?;
    let (mut head, _) = Head::new();
    let start = clock.monotonic();
    fill(&mut head, case);
    let filled = clock.monotonic() - start;
    let rows = head.rows();
    let frozen = [head.freeze().ok_or("the head has rows")?];
    let mut seconds = Vec::new();
    let mut bytes_per_row = 0.0;
    let mut manifest = Manifest::open(&*disk, &dir)?;
    for _ in 0..5 {
        let input = Flush {
            frozen: &frozen,
            slots: SlotSet::ALL,
            catalog: &catalog,
            events: Events::default(),
            now: tidewatch_metrics::UnixNanos::default(),
        };
        let start = clock.monotonic();
        manifest = flush(&disk, &dir, &manifest, &input)?.manifest;
        seconds.push((clock.monotonic() - start).as_secs_f64());
        let samples = manifest.files_of(FileKind::Samples).last().ok_or("a segment was written")?;
        bytes_per_row = samples.bytes as f64 / samples.rows as f64;
    }
    seconds.sort_by(f64::total_cmp);
    let start = clock.monotonic();
    read(&disk, &dir, &manifest)?;
    let read = (clock.monotonic() - start).as_secs_f64();
    writeln!(
        out,
        "{case:?}: append {:.0} M rows/s; flush {:.2} s, {:.1} M rows/s, {bytes_per_row:.3} B per \
         sample; read {:.1} M rows/s",
        rows as f64 / filled.as_secs_f64() / 1e6,
        seconds[2],
        rows as f64 / seconds[2] / 1e6,
        rows as f64 / read / 1e6,
    )?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Ten series to a metric.
fn catalog(series: u32) -> Result<SeriesCatalog, Box<dyn Error>> {
    let catalog = SeriesCatalog::new(1 << 20);
    for number in 0..series {
        let labels = vec![("host".to_owned(), format!("host-{}", number / 10))];
        let key = SeriesKey::new("default", "cpu", &format!("field_{}", number % 10), labels)?;
        catalog.register(&key)?;
    }
    Ok(catalog)
}

/// In scrape order: at each time a row of every series, 10 s apart.
fn fill(head: &mut Head, case: Case) {
    let mut rng = Rng::from_seed(1);
    let mut walk: Vec<i32> = vec![5_000; case.series as usize];
    let series: Vec<_> = (0..case.series).map(SeriesRef).collect();
    let severities = vec![Severity::ZERO; series.len()];
    let flags = vec![Flags::NONE; series.len()];
    for row in 0..case.rows_per_series {
        let time = EventTime::new(1_700_000_000_000_000_000 + i64::from(row) * 10_000_000_000);
        let times = vec![time; series.len()];
        let next = |position: &mut i32| match case.values {
            Values::Decimal => {
                *position += i32::try_from(rng.below(101)).map_or(0, |step| step - 50);
                f64::from(*position) / 100.0
            }
            Values::Random => rng.next_u64() as f64 / 1e19,
        };
        let values: Vec<f64> = walk.iter_mut().map(next).collect();
        head.append(&RowColumns {
            series: &series,
            times: &times,
            values: &values,
            severities: &severities,
            flags: &flags,
        });
        head.publish(Lsn::new(u64::from(row) + 1));
    }
}

/// Reads the last segment.
fn read(
    disk: &Arc<dyn Disk>,
    dir: &std::path::Path,
    manifest: &Manifest,
) -> Result<(), Box<dyn Error>> {
    let meta = manifest.files_of(FileKind::Samples).last().ok_or("a segment was written")?;
    let reader = Segment::open(Arc::clone(disk), dir, Arc::clone(meta)).reader()?;
    let mut columns = SegmentColumns::default();
    for group in 0..reader.groups().len() {
        reader.read(group, Projection::ALL, &mut columns)?;
    }
    Ok(())
}
