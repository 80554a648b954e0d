//! What one durable append costs, with real syncs in a temporary directory.
//!
//! `cargo bench -p tidewatch-wal`; `TMPDIR` chooses the file system. Each figure stands beside that
//! of a bare write and `fdatasync` of the same size, in place, in the same run.

#![expect(clippy::unwrap_used, reason = "a bench fails loudly")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidewatch_env::{Clock, Disk, OpenMode, RealClock, RealDisk};
use tidewatch_wal::{KIND_CALLER_MIN, Wal, WalConfig, WalError, WalHome, WalInstruments};

const SIZES: [usize; 2] = [512, 1 << 20];
/// Frames of one group: what 256 waiting writers make of one sync.
const GROUP: u64 = 256;

fn open(dir: PathBuf) -> Wal {
    let home = WalHome {
        disk: Arc::new(RealDisk),
        dir,
        clock: Arc::new(RealClock::new()),
        epoch_seed: std::process::id().into(),
    };
    let (wal, _) = Wal::recover(home, WalConfig::default(), WalInstruments::default(), |_| {
        Ok::<_, WalError>(())
    })
    .unwrap();
    wal
}

/// Appends and syncs groups; files come from the stock and go back to it, beside the measurement.
fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append_and_sync");
    for (size, frames) in [(SIZES[0], 1), (SIZES[0], GROUP), (SIZES[1], 1)] {
        let dir = tempfile::tempdir().unwrap();
        let mut wal = open(dir.path().join("wal"));
        let mut preallocator = wal.take_preallocator().unwrap();
        while preallocator.run_once().unwrap() {}
        let payload = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64 * frames));
        let id = BenchmarkId::from_parameter(format!("{frames}x{size}"));
        let clock = RealClock::new();
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut took = Duration::ZERO;
                for _ in 0..iterations {
                    // Not measured: what the engine leaves to a thread of its own.
                    if wal.segments().len() > 1 {
                        wal.release(wal.durable_lsn()).unwrap();
                        while preallocator.run_once().unwrap() {}
                    }
                    let start = clock.monotonic();
                    for _ in 0..frames {
                        wal.append(KIND_CALLER_MIN, &[&payload], None).unwrap();
                    }
                    wal.sync().unwrap();
                    took += clock.monotonic().saturating_sub(start);
                }
                took
            });
        });
    }
    group.finish();
}

/// The floor: the same bytes into a file of zeros.
fn bare(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bare_write_and_fdatasync");
    for size in SIZES {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("file"), OpenMode::CreateNew).unwrap();
        file.write_all_at(&vec![0; 64 << 20], 0).unwrap();
        file.sync_all().unwrap();
        let payload = vec![7; size];
        let mut offset = 0;
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                file.write_all_at(&payload, offset).unwrap();
                file.sync_data().unwrap();
                offset = (offset + size as u64) % (64 << 20);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, append, bare);
criterion_main!(benches);
