//! Samples per second through order, detector, rules and output hash, on one core.

use std::hint::black_box;
use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};
use tidewatch_metrics::{EventTime, Lsn, SeriesCatalog, SeriesKey, UnixNanos};
use tidewatch_operators::{Emitted, Pipeline, PipelineConfig, Rows, RuleConfig, RuleSet, Run};

const STEP_NANOS: i64 = 10_000_000_000;
/// Rows of one measured call.
const ROWS: usize = 1_000_000;
/// Scrapes before the measurement: past the burn-in.
const WARM: usize = 60;

/// A stream of rows that goes on for ever.
struct Stream {
    series: Vec<u32>,
    times: Vec<EventTime>,
    values: Vec<f64>,
    noise: Vec<f64>,
    count: usize,
    calls: usize,
}

impl Stream {
    /// Scrapes of `count` series, in the order of the series or shuffled.
    fn new(count: usize, shuffled: bool) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).expect("31 bits")
        };
        let mut order: Vec<u32> = (0..u32::try_from(count).expect("few series")).collect();
        if shuffled {
            (1..count).rev().for_each(|i| order.swap(i, random() % (i + 1)));
        }
        // Sums of eight dice: near enough to normal noise.
        let noise = (0..ROWS + 4_099)
            .map(|_| (0..8).map(|_| (random() % 1_000) as f64 / 1_000.0).sum::<f64>() + 50.0)
            .collect();
        let series = order.iter().copied().cycle().take(ROWS.max(count)).collect();
        let rows = ROWS.max(count);
        Self {
            series,
            times: vec![EventTime::MIN; rows],
            values: vec![0.0; rows],
            noise,
            count,
            calls: 0,
        }
    }

    /// Moves all rows on by as many scrapes as one call holds.
    fn advance(&mut self) {
        let scrapes = self.series.len() / self.count;
        let first = i64::try_from(self.calls * scrapes).expect("few calls");
        for (scrape, times) in (first..).zip(self.times.chunks_mut(self.count)) {
            times.fill(EventTime::new(1_700_000_000_000_000_000 + scrape * STEP_NANOS));
        }
        let from = self.calls * 17 % 4_099;
        self.values.copy_from_slice(&self.noise[from..from + self.series.len()]);
        self.calls += 1;
    }

    fn apply(&self, pipeline: &mut Pipeline, out: &mut Emitted) {
        out.clear();
        let end = self.series.len();
        let runs = [Run { end, lsn: Lsn::new(1), received: UnixNanos::new(0) }];
        let rows =
            Rows { series: &self.series, times: &self.times, values: &self.values, runs: &runs };
        pipeline.apply(&rows, out);
    }
}

/// A pipeline of `count` series under rules, each a condition and maybe a budget.
fn pipeline(count: usize, rules: &[(&str, Option<f64>)]) -> Pipeline {
    let rule = |(index, (when, budget)): (usize, &(&str, Option<f64>))| RuleConfig {
        name: index.to_string(),
        when: (*when).to_owned(),
        budget: *budget,
        ..RuleConfig::default()
    };
    let rules = RuleSet::new(rules.iter().enumerate().map(rule).collect()).expect("good rules");
    let catalog = SeriesCatalog::new(count);
    let mut pipeline = Pipeline::new(PipelineConfig::default());
    pipeline.set_rules(Arc::new(rules), UnixNanos::new(0), &mut Emitted::default());
    for index in 0..count {
        let key = SeriesKey::new("db", "cpu", "value", vec![("i".into(), index.to_string())]);
        let (series, entry) = catalog.register(&key.expect("valid")).expect("within the limit");
        pipeline.add_series(series, entry);
    }
    pipeline
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut pipeline: Pipeline,
    (count, shuffled): (usize, bool),
) {
    let mut stream = Stream::new(count, shuffled);
    let mut out = Emitted::default();
    for _ in 0..WARM * count / ROWS + 1 {
        stream.advance();
        stream.apply(&mut pipeline, &mut out);
    }
    let stream = std::cell::RefCell::new(stream);
    group.bench_function(name, |b| {
        b.iter_batched(
            || stream.borrow_mut().advance(),
            |()| {
                stream.borrow().apply(&mut pipeline, &mut out);
                black_box(&out);
            },
            BatchSize::PerIteration,
        );
    });
    let rows = u64::try_from(stream.borrow().calls * ROWS).expect("few rows");
    assert_eq!(pipeline.output_hash().samples, rows, "every row went through");
}

fn light(c: &mut Criterion) {
    let mut group = c.benchmark_group("light");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
    for (count, shuffled) in
        [1_000, 100_000, ROWS].into_iter().flat_map(|n| [(n, false), (n, true)])
    {
        let order = if shuffled { "random" } else { "scrape" };
        let name = format!("{count} series, {order}");
        measure(&mut group, &name, pipeline(count, &[]), (count, shuffled));
    }
    group.finish();
}

/// What rules cost, on series that are healthy: of which many samples have a severity of 0.5 and more, and none of 6.
fn rules(c: &mut Criterion) {
    let mut group = c.benchmark_group("rules");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
    for (name, when, budget) in [
        ("severity > 6", "severity > 6", None),
        ("severity > 6, with a budget", "severity > 6", Some(2.0)),
        ("severity >= 0.5", "severity >= 0.5", None),
        ("severity >= 0.5, with a budget", "severity >= 0.5", Some(2.0)),
    ] {
        let pipeline = pipeline(10_000, &[(when, budget)]);
        measure(&mut group, name, pipeline, (10_000, false));
    }
    group.finish();
}

criterion_group!(benches, light, rules);
criterion_main!(benches);
