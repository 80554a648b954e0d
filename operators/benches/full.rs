//! Samples per second through novelty, deviation and both, on one core, with state that is full.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidewatch_metrics::EventTime;
use tidewatch_operators::{FullDetector, Model};

const STEP_NANOS: i64 = 60_000_000_000;
/// Samples of one measured call.
const SAMPLES: usize = 1_000_000;
/// Samples that a detector has seen: the sets of a second generation are being filled.
const WARM: i64 = 9_000;
/// Detectors that were warmed one by one; the others are copies.
const DISTINCT: usize = 32;

/// xorshift64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Sums of eight dice: near enough to normal noise.
    fn noise(&mut self) -> f64 {
        (0..8).map(|_| (self.next() >> 40) as f64 / (1 << 24) as f64).sum()
    }
}

fn time(scrape: i64) -> EventTime {
    EventTime::new(1_700_000_000_000_000_000 + scrape * STEP_NANOS)
}

/// A triangle of the day.
fn season(scrape: i64) -> f64 {
    let minute = scrape.rem_euclid(1_440);
    (minute - 720).abs() as f64 / 72.0
}

fn warmed(model: Model, count: usize, rng: &mut Rng) -> Vec<FullDetector> {
    let warm = |_| {
        let mut detector = FullDetector::new(model).expect("not the light one");
        for scrape in 0..WARM {
            detector.judge(time(scrape), season(scrape) + rng.noise());
        }
        detector
    };
    let distinct: Vec<FullDetector> = (0..DISTINCT).map(warm).collect();
    distinct.iter().cycle().take(count).cloned().collect()
}

fn full(c: &mut Criterion) {
    for model in [Model::Novelty, Model::Deviation, Model::Auto] {
        let mut group = c.benchmark_group(model.name());
        group.throughput(Throughput::Elements(SAMPLES as u64)).sample_size(20);
        for count in [1_000, 100_000, SAMPLES] {
            let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
            let mut detectors = warmed(model, count, &mut rng);
            let noise: Vec<f64> = (0..SAMPLES + 4_099).map(|_| rng.noise()).collect();
            let mut order: Vec<usize> = (0..count).collect();
            let mut scrape = WARM;
            for name in ["scrape", "random"] {
                if name == "random" {
                    for i in (1..count).rev() {
                        let other = usize::try_from(rng.next() >> 33).expect("31 bits") % (i + 1);
                        order.swap(i, other);
                    }
                }
                let id = BenchmarkId::new(format!("{count} series"), name);
                group.bench_function(id, |b| {
                    b.iter(|| {
                        let shift = usize::try_from(scrape).expect("few scrapes") * 17 % 4_099;
                        let mut noise = noise[shift..].iter();
                        for _ in 0..SAMPLES / count {
                            let (time, season) = (time(scrape), season(scrape));
                            for (series, noise) in order.iter().zip(&mut noise) {
                                black_box(detectors[*series].judge(time, season + noise));
                            }
                            scrape += 1;
                        }
                    });
                });
            }
            let largest = detectors.iter().map(FullDetector::bytes).max().expect("many");
            assert!(largest <= 4_500, "{largest} bytes");
        }
        group.finish();
    }
}

criterion_group!(benches, full);
criterion_main!(benches);
