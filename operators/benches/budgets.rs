//! How many alerts rules with budgets raise over a fleet of healthy series, by the whole pipeline.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use tidewatch_metrics::{
    EventTime, Lsn, SeriesCatalog, SeriesKey, Slot, TransitionKind, UnixNanos,
};
use tidewatch_operators::{
    DetectConfig, DetectRule, Emitted, Model, Pipeline, PipelineConfig, Rows, RuleConfig, RuleSet,
    Run,
};

use crate::life::{Case, Event, Life};

/// False alerts a week that are accepted; none is a rule without a budget.
const BUDGETS: [Option<f64>; 4] = [None, Some(10.0), Some(2.0), Some(1.0)];
const INTERVAL: i64 = 300;
const DAYS: i64 = 112;
const WEEKS: usize = 16;
const WEEK_NANOS: i64 = 7 * 86_400 * 1_000_000_000;

/// Alerts by rule and kind of series, in each week.
type Alerts = BTreeMap<(String, String), [u64; WEEKS]>;

/// A rule at the fleets' level for each budget, on series of which all are scored by a model.
fn rules(model: Model) -> Arc<RuleSet> {
    let rule = |budget: Option<f64>| RuleConfig {
        name: name(budget),
        when: "severity > 6".to_owned(),
        budget,
        ..RuleConfig::default()
    };
    let detect = DetectConfig { model, ..DetectConfig::default() };
    let detects = vec![DetectRule::new(&detect).expect("no knob is set")];
    let rules = RuleSet::new(BUDGETS.map(rule).to_vec()).expect("good rules");
    Arc::new(rules.with_detection(detects).expect("one entry"))
}

fn name(budget: Option<f64>) -> String {
    budget.map_or("none".to_owned(), |budget| format!("budget {budget}"))
}

/// The cases of `count` series of each life, by the slots of their names.
fn cases(count: u64) -> Vec<(Slot, Vec<(SeriesKey, Case)>)> {
    let mut slots: BTreeMap<Slot, Vec<(SeriesKey, Case)>> = BTreeMap::new();
    for (life, seed) in Life::ALL.into_iter().flat_map(|life| (1..=count).map(move |s| (life, s))) {
        let labels = vec![("host".to_owned(), format!("{life:?}-{seed}"))];
        let key = SeriesKey::new("default", "cpu", "value", labels).expect("a short name");
        let (interval, days) = (INTERVAL, DAYS);
        let case = Case { life, event: Event::Nothing, interval, day: days, days, seed };
        slots.entry(key.id().slot()).or_default().push((key, case));
    }
    slots.into_iter().collect()
}

/// What is told of the series of one slot.
fn weeks(rules: &Arc<RuleSet>, series: &[(SeriesKey, Case)]) -> Alerts {
    let mut pipeline = Pipeline::new(PipelineConfig::default());
    let mut out = Emitted::default();
    pipeline.set_rules(Arc::clone(rules), UnixNanos::new(0), &mut out);
    let catalog = SeriesCatalog::new(series.len());
    let mut lives = Vec::new();
    for (key, case) in series {
        let (reference, entry) = catalog.register(key).expect("there is room");
        lives.push((pipeline.add_series(reference, entry), case.samples().peekable()));
    }
    let (mut alerts, mut begin) = (Alerts::new(), None);
    let (mut locals, mut times, mut values) = (Vec::new(), Vec::<EventTime>::new(), Vec::new());
    while let Some(now) = lives.iter_mut().filter_map(|(_, life)| Some(life.peek()?.time)).min() {
        for (local, life) in &mut lives {
            if let Some(sample) = life.next_if(|sample| sample.time == now) {
                locals.push(*local);
                times.push(now);
                values.push(sample.value);
            }
        }
        let received = UnixNanos::new(now.nanos());
        let since = received.nanos() - begin.get_or_insert(received).nanos();
        let week = usize::try_from(since / WEEK_NANOS).expect("time goes on");
        let run = Run { end: locals.len(), lsn: Lsn::new(1), received };
        let rows = Rows { series: &locals, times: &times, values: &values, runs: &[run] };
        pipeline.apply(&rows, &mut out);
        for told in out.transitions.iter().filter(|told| told.kind == TransitionKind::Firing) {
            let life = told.labels[0].1.split('-').next().unwrap_or_default();
            alerts.entry((told.rule.clone(), life.to_owned())).or_default()[week] += 1;
        }
        out.clear();
        locals.clear();
        times.clear();
        values.clear();
    }
    alerts
}

/// Prints what each rule tells of a healthy fleet in each week, on all cores.
pub(crate) fn print(model: Model, count: u64) {
    let (rules, slots) = (rules(model), cases(count));
    let next = AtomicUsize::new(0);
    let all: Mutex<Alerts> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((_, series)) = slots.get(next.fetch_add(1, Relaxed)) {
                    let of_slot = weeks(&rules, series);
                    let mut all = all.lock().expect("nobody panics");
                    of_slot.into_iter().for_each(|(of, alerts)| {
                        let sums = all.entry(of).or_default();
                        sums.iter_mut().zip(alerts).for_each(|(sum, alerts)| *sum += alerts);
                    });
                }
            });
        }
    });
    let all = all.into_inner().expect("nobody panics");
    let series = slots.iter().map(|(_, series)| series.len()).sum::<usize>();
    println!("{model}, {series} series, severity > 6: alerts in each of {WEEKS} weeks");
    for rule in BUDGETS.map(name) {
        let of_rule = || all.iter().filter(|((of, _), _)| *of == rule);
        let sums: [u64; WEEKS] =
            std::array::from_fn(|week| of_rule().map(|(_, alerts)| alerts[week]).sum::<u64>());
        println!("{rule:<10} {sums:?}");
        of_rule().for_each(|((_, life), alerts)| println!("    {life:<13} {alerts:?}"));
    }
}
