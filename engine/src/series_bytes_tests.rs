//! The count of a series' bytes against what an allocator is really asked for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use tidewatch_metrics::{EventTime, SeriesCatalog, SeriesKey, SeriesLimits, SeriesRef, UnixNanos};
use tidewatch_operators::{
    DetectConfig, DetectRule, Emitted, Model, Pipeline, PipelineConfig, Rows, RuleConfig, Run,
};

use super::*;
use crate::locals::Locals;

/// Counts the bytes that each thread has asked for and not given back.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: usize, sign: i64) {
    // A thread that ends has no cell any more.
    BYTES.try_with(|cell| cell.set(cell.get() + sign * i64::try_from(bytes).unwrap_or(0))).ok();
}

#[expect(unsafe_code, reason = "an allocator is unsafe to write; this one asks the system's")]
// SAFETY: all of it is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Shards of a small machine; all of them live in this thread.
const SHARDS: usize = 2;
const MINUTE: i64 = 60_000_000_000;

/// What an engine keeps of `series` series of ten metrics.
struct Kept {
    catalog: Arc<SeriesCatalog>,
    _shards: Vec<(Locals, Pipeline)>,
}

fn keep((series, rows): (usize, i64), rules: &Arc<RuleSet>) -> Kept {
    let costs = series_costs(SHARDS, rules);
    let catalog = Arc::new(SeriesCatalog::with(SeriesLimits::NONE, costs));
    let refs: Vec<_> = (0..series).map(|id| register(&catalog, id)).collect();
    let mut shards: Vec<_> = (0..SHARDS)
        .map(|_| {
            let mut pipeline = Pipeline::new(PipelineConfig::default());
            pipeline.set_rules(Arc::clone(rules), UnixNanos::new(0), &mut Emitted::default());
            (Locals::new(Arc::clone(&catalog)), pipeline)
        })
        .collect();
    for (place, (locals, pipeline)) in shards.iter_mut().enumerate() {
        let own: Vec<_> = refs.iter().copied().skip(place).step_by(SHARDS).collect();
        // Whole hours give a series its profile; the last row, which is late, an entry of its order.
        for minutes in (1..=rows).chain([1_030, 1_061, 1_121, 1_181, 1_100]) {
            apply(locals, pipeline, &own, minutes);
        }
    }
    // Queries ask for views.
    for metric in catalog.metrics("default") {
        assert!(catalog.metric("default", &metric).is_some());
    }
    Kept { catalog, _shards: shards }
}

fn register(catalog: &SeriesCatalog, id: usize) -> SeriesRef {
    let label = |key: &str, value: String| (key.to_owned(), value);
    let labels = vec![
        label("host", format!("host-{:05}.example.com", id / 10)),
        label("region", format!("eu-west-{}", id % 3)),
        label("service", format!("checkout-{}", id % 17)),
        label("request", format!("{id:016x}")),
    ];
    let metric = format!("http_requests_{}", id % 10);
    let key = SeriesKey::new("default", &metric, "value", labels).unwrap();
    catalog.register(&key).unwrap().0
}

fn apply(locals: &mut Locals, pipeline: &mut Pipeline, series: &[SeriesRef], minutes: i64) {
    let mut indices = Vec::new();
    locals.resolve(series, pipeline, &mut indices);
    let times = vec![EventTime::new(minutes * MINUTE); indices.len()];
    // As different as the rows are, so that full detectors come to keep all that they can.
    let value = f64::from(u32::try_from(minutes * 7_919 % 1_009).unwrap());
    let values = vec![value; indices.len()];
    let run = Run {
        end: indices.len(),
        lsn: tidewatch_metrics::Lsn::new(1),
        received: UnixNanos::new(0),
    };
    let rows = Rows { series: &indices, times: &times, values: &values, runs: &[run] };
    pipeline.apply(&rows, &mut Emitted::default());
}

#[test]
fn the_count_is_not_below_what_series_take_and_not_far_above() {
    let rule = |name: &str, when: &str| RuleConfig {
        name: name.to_owned(),
        when: when.to_owned(),
        ..RuleConfig::default()
    };
    let five = ["a", "b", "c", "d", "e"].map(|name| rule(name, "value > 100"));
    let remembering = [rule("a", "rate > 1"), rule("b", "absent > 60"), rule("c", "absent")];
    // Every sample is hot, and each slot has fleets.
    let frugal = RuleConfig { budget: Some(2.0), ..rule("a", "severity >= 0") };
    let sets = [vec![], five.to_vec(), remembering.to_vec(), vec![frugal]];
    let all = sets.map(|rules| RuleSet::new(rules).unwrap());
    let knobs = DetectConfig { min_deviation: 1.0, ..DetectConfig::default() };
    let tuned = all[0].clone().with_detection(vec![DetectRule::new(&knobs).unwrap()]).unwrap();
    let all = all.into_iter().chain([tuned]);
    let all: Vec<RuleSet> = all.collect();
    // Just before lists and tables double, just after, and in between.
    for (rules, series) in
        all.iter().flat_map(|rules| [(rules, 28_000), (rules, 33_000), (rules, 45_000)])
    {
        let rules = Arc::new(rules.clone());
        let before = BYTES.get();
        let kept = keep((series, 1), &rules);
        let measured = u64::try_from(BYTES.get() - before).unwrap();
        let counted = kept.catalog.bytes();
        assert!(
            measured > 500 * series as u64,
            "{measured} bytes cannot be all of {series} series"
        );
        assert!(counted >= measured, "{series} series: {counted} counted, {measured} measured");
        assert!(counted <= 2 * measured, "{series} series: {counted} counted, {measured} measured");
    }
}

#[test]
fn full_detectors_are_counted_with_all_that_they_come_to_keep() {
    for model in Model::ALL.into_iter().filter(|model| *model != Model::Light) {
        let detect = DetectConfig { model, ..DetectConfig::default() };
        let detects = vec![DetectRule::new(&detect).unwrap()];
        let rules = Arc::new(RuleSet::default().with_detection(detects).unwrap());
        for (series, rows) in [(1_100, 160), (2_100, 3)] {
            let before = BYTES.get();
            let kept = keep((series, rows), &rules);
            let measured = u64::try_from(BYTES.get() - before).unwrap();
            let counted = kept.catalog.bytes();
            assert!(counted >= measured, "{model}: {counted} counted, {measured} measured");
            assert!(counted <= 3 * measured, "{model}: {counted} counted, {measured} measured");
        }
    }
}
