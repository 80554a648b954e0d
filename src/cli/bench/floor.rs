//! What the disk itself takes for a durable write: nothing can be acknowledged faster.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tidewatch_env::{Clock, Disk, DiskFile, OpenMode, RealClock, RealDisk};

use crate::cli::bench::report::median;
use crate::cli::error::CliError;

/// Times the measurement is repeated; the medians are told.
const ROUNDS: usize = 5;
/// Bytes of the small write.
const SMALL_BYTES: usize = 4 << 10;
/// Bytes of the large write.
const LARGE_BYTES: usize = 1 << 20;
/// Bytes of the file, which is filled with zeros beforehand, as the log's files are.
const FILE_BYTES: usize = 64 << 20;
/// Small writes of a round.
const SMALL_WRITES: usize = 600;
/// Large writes of a round.
const LARGE_WRITES: usize = 100;

/// `pwrite` and `fdatasync`, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Floor {
    /// 4 KiB.
    pub(crate) small: Latency,
    /// 1 MiB.
    pub(crate) large: Latency,
}

/// A distribution of latencies.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// The median, in microseconds.
    pub(crate) p50_us: f64,
    /// The 99th percentile, in microseconds.
    pub(crate) p99_us: f64,
}

impl Latency {
    /// Of a histogram of nanoseconds.
    pub(crate) fn of(nanos: &Histogram<u64>) -> Self {
        let micros =
            |quantile| Duration::from_nanos(nanos.value_at_quantile(quantile)).as_secs_f64() * 1e6;
        Self { p50_us: micros(0.5), p99_us: micros(0.99) }
    }
}

/// An empty histogram of nanoseconds, up to a minute.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("the bounds are in order")
}

/// Measures in `dir`, and leaves nothing there.
///
/// # Errors
/// What the disk reports.
pub(crate) fn measure(dir: &Path) -> Result<Floor, CliError> {
    let path = dir.join("floor");
    let failed = |source: std::io::Error| CliError::File {
        action: "measure the disk with",
        path: path.clone(),
        source: source.into(),
    };
    let file = RealDisk.open(&path, OpenMode::CreateNew).map_err(failed)?;
    let measured = rounds(&file).map_err(failed);
    drop(file);
    RealDisk.remove(&path).map_err(failed)?;
    measured
}

fn rounds(file: &Arc<dyn DiskFile>) -> std::io::Result<Floor> {
    let zeros = vec![0; LARGE_BYTES];
    for at in (0..FILE_BYTES).step_by(LARGE_BYTES) {
        file.write_all_at(&zeros, offset(at))?;
    }
    file.sync_all()?;
    let mut small = Vec::new();
    let mut large = Vec::new();
    for _ in 0..ROUNDS {
        small.push(writes(file, SMALL_BYTES, SMALL_WRITES)?);
        large.push(writes(file, LARGE_BYTES, LARGE_WRITES)?);
    }
    Ok(Floor { small: middle(&small), large: middle(&large) })
}

fn writes(file: &Arc<dyn DiskFile>, bytes: usize, count: usize) -> std::io::Result<Latency> {
    let clock = RealClock::new();
    let data = vec![7; bytes];
    let mut nanos = latencies();
    for write in 0..count {
        let started = clock.monotonic();
        file.write_all_at(&data, offset(write * bytes % FILE_BYTES))?;
        file.sync_data()?;
        let took = clock.monotonic().saturating_sub(started);
        nanos.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(Latency::of(&nanos))
}

fn middle(rounds: &[Latency]) -> Latency {
    Latency {
        p50_us: median(rounds.iter().map(|round| round.p50_us)),
        p99_us: median(rounds.iter().map(|round| round.p99_us)),
    }
}

fn offset(at: usize) -> u64 {
    u64::try_from(at).expect("within the file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_measured_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let floor = measure(dir.path()).unwrap();
        for latency in [floor.small, floor.large] {
            assert!(latency.p50_us > 0.0 && latency.p50_us <= latency.p99_us, "{latency:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
