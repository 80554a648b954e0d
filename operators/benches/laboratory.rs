//! What each model says of healthy and of sick generated series. Prints figures and never fails.
//!
//! `cargo bench -p tidewatch-operators --bench laboratory -- 20 auto sick` runs 20 series of each kind and that model, without
//! the sick ones (`healthy` leaves out the others); without these words 4 series, all models, healthy and sick ones.
//! `-- offices 4 light` runs series that follow Berlin's clocks instead, by the hours of UTC and by Berlin's.
//! `-- fleet 6250 auto` runs a fleet instead: so many healthy series of each kind at five minutes, for a week;
//! with the word `budget` the alerts of rules with budgets over all of them, for sixteen weeks.

#![expect(clippy::print_stdout, reason = "figures are what this program is for")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tidewatch_operators::Model;

#[path = "budgets.rs"]
mod budgets;
#[path = "../tests/laboratory/life.rs"]
mod life;
#[path = "../tests/laboratory/trial.rs"]
mod trial;

use life::{Case, Event, Life};
use trial::{Outcome, run, run_office};

/// Seconds between samples.
const INTERVALS: [i64; 3] = [1, 60, 300];
const DAYS: i64 = 30;
/// The event's day: three weeks are known.
const DAY: i64 = 21;

fn outcomes(model: Model, case: Case, count: u64) -> Vec<Outcome> {
    (1..=count).map(|seed| run(model, Case { seed, ..case })).collect()
}

/// A second is a long way to go: a tenth of the series, at least one.
fn count_of(interval: i64, count: u64) -> u64 {
    if interval < 60 { (count / 10).max(1) } else { count }
}

fn print_healthy(model: Model, life: Life, interval: i64, count: u64) {
    let case = Case { life, event: Event::Nothing, interval, day: DAYS, days: DAYS, seed: 0 };
    let all = outcomes(model, case, count_of(interval, count));
    let series = all.len() as f64;
    let early: u32 = all.iter().map(|outcome| outcome.early).sum();
    let late: u32 = all.iter().map(|outcome| outcome.healthy).sum();
    let (weeks, name) = (series * 16.0 / 7.0, format!("{life:?}"));
    println!(
        "{model:<10} {name:<13} {interval:>4} s  {:>8.3} {:>8.3}",
        f64::from(early) / series / 2.0,
        f64::from(late) / weeks
    );
}

/// A fleet's first week, on all cores.
fn print_fleet(model: Model, count: u64) {
    let of_life = |life| {
        let case = Case { life, event: Event::Nothing, interval: 300, day: 7, days: 7, seed: 0 };
        outcomes(model, case, count).iter().map(|outcome| outcome.early).sum::<u32>()
    };
    let next = AtomicUsize::new(0);
    let told = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(life) = Life::ALL.get(next.fetch_add(1, Relaxed)) {
                    let onsets = of_life(*life);
                    told.lock().expect("nobody panics").insert(format!("{life:?}"), onsets);
                }
            });
        }
    });
    let told = told.into_inner().expect("nobody panics");
    for (life, onsets) in &told {
        println!("{model:<10} {life:<13} {:>9.5}", f64::from(*onsets) / count as f64);
    }
    let all = told.values().map(|onsets| u64::from(*onsets)).sum::<u64>();
    let series = count * told.len() as u64;
    println!("{model:<10} {series} series: {:.5}", all as f64 / series as f64);
}

fn print_sick(model: Model, (life, event): (Life, Event), interval: i64, count: u64) {
    let case = Case { life, event, interval, day: DAY, days: DAYS, seed: 0 };
    let all = outcomes(model, case, count_of(interval, count));
    let mean = |of: &dyn Fn(&Outcome) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
    let name = format!("{life:?} {event:?}");
    let found: Vec<f64> = all.iter().filter_map(|o| o.found.map(|s| s as f64)).collect();
    println!(
        "{model:<10} {name:<18} {interval:>4} s  {:>5.2} {:>8.0} {:>6.2} {:>7.1} {:>7.1} {:>6.2} {:>5.1}",
        found.len() as f64 / all.len() as f64,
        found.iter().sum::<f64>() / found.len() as f64,
        mean(&|o| f64::from(o.above) / f64::from(o.on)),
        mean(&|o| o.alerts.into()),
        mean(&|o| o.last.map_or(0.0, |last| last as f64 / 3_600.0)),
        mean(&|o| o.after.into()),
        mean(&|o| o.greatest.to_f32().into()),
    );
}

/// What is said of offices since their clocks were set.
fn print_office(model: Model, (life, zone): (Life, &str), interval: i64, count: u64) {
    let case = Case { life, event: Event::Nothing, interval, day: 23, days: 23, seed: 0 };
    for seed in 1..=count {
        let told = run_office(model, zone, Case { seed, ..case });
        println!(
            "{model:<12} {life:<12?} {interval:>4} s {zone:<13} {:>3} {:>5.1} {:>6.2}",
            told.onsets,
            told.greatest.to_f32(),
            told.off
        );
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = words.iter().find_map(|word| word.parse().ok()).unwrap_or(4);
    let named: Vec<Model> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let models = if named.is_empty() { Model::ALL.to_vec() } else { named };
    if words.iter().any(|word| word == "fleet") {
        if words.iter().any(|word| word == "budget") {
            models.iter().for_each(|model| budgets::print(*model, count));
            return;
        }
        println!("onsets of at least 6 per series, in a week");
        models.iter().for_each(|model| print_fleet(*model, count));
        return;
    }
    if words.iter().any(|word| word == "offices") {
        println!(
            "onsets of at least 6 in the two days since clocks were set, greatest, expected is off by"
        );
        let offices = each(&[Life::OfficeSpring, Life::OfficeAutumn], &["UTC", "Europe/Berlin"]);
        for (model, office) in each(&models, &offices) {
            [60, 300].into_iter().for_each(|interval| print_office(model, office, interval, count));
        }
        return;
    }
    let is_left_out = |part: &str| words.iter().any(|word| word == part);
    if !is_left_out("sick") {
        println!("onsets of at least 6, per series and week: first fortnight, then");
        for (model, life) in each(&models, &Life::ALL) {
            INTERVALS.into_iter().for_each(|interval| print_healthy(model, life, interval, count));
        }
    }
    if !is_left_out("healthy") {
        println!(
            "found, after seconds, share above 6, alerts, last after hours, onsets later than a day, greatest"
        );
        for (model, life) in each(&models, &[Life::Normal, Life::Weekly, Life::CounterReset]) {
            let is_counter = life == Life::CounterReset;
            let events = if is_counter { &Event::COUNTED[..] } else { &Event::SICK };
            for (event, interval) in each(events, &INTERVALS) {
                print_sick(model, (life, event), interval, count);
            }
        }
    }
}

/// All pairs.
fn each<A: Copy, B: Copy>(first: &[A], second: &[B]) -> Vec<(A, B)> {
    first.iter().flat_map(|a| second.iter().map(|b| (*a, *b))).collect()
}
