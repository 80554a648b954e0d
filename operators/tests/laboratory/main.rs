//! The detectors in a laboratory: generated series that are healthy or sick, on which it is known what has to be said.
//!
//! What many series say is printed by `cargo bench -p tidewatch-operators --bench laboratory`.

mod life;
mod trial;

use life::{Case, Event, Life, Rng};
use tidewatch_metrics::{AnomalyKind, EventTime};
use tidewatch_operators::{Model, SeriesDetector};
use trial::{AfterClocks, Outcome, run, run_office};

const FULL: [Model; 3] = [Model::Novelty, Model::Deviation, Model::Auto];

fn healthy(life: Life, interval: i64, days: i64, seed: u64) -> Case {
    Case { life, event: Event::Nothing, interval, day: days, days, seed }
}

/// Three weeks of health, and what then begins at 09:00 of day 21.
fn sick(life: Life, event: Event, interval: i64, seed: u64) -> Case {
    Case { life, event, interval, day: 21, days: 23, seed }
}

fn onsets(outcome: &Outcome) -> u32 {
    outcome.early + outcome.healthy
}

/// What is no health for a model: forecasts lag behind what rises by ten deviations a day.
fn is_beyond(model: Model, life: Life) -> bool {
    model == Model::Deviation && life == Life::Trend
}

#[test]
fn thirty_healthy_days_at_five_minutes_are_silent_at_the_fleets_level() {
    for model in FULL {
        let lives = Life::ALL.into_iter().filter(|life| !is_beyond(model, *life));
        let told = lives.map(|life| (life, onsets(&run(model, healthy(life, 300, 30, 1)))));
        let told: Vec<_> = told.filter(|(_, onsets)| *onsets > 0).collect();
        // At .01 a week 65 weeks of health are worth half an onset.
        let most = if model == Model::Auto { 0 } else { 1 };
        assert!(told.iter().map(|(_, onsets)| onsets).sum::<u32>() <= most, "{model}: {told:?}");
    }
}

/// What the first weeks have brought is forgotten by then, and hardly anything is news any more.
#[test]
fn four_healthy_months_at_five_minutes_are_as_silent() {
    let lives =
        [Life::Daily, Life::Weekly, Life::Trend, Life::Gap, Life::Restart, Life::CounterReset];
    for (life, seed) in lives.into_iter().flat_map(|life| (1..=3).map(move |seed| (life, seed))) {
        let onsets = onsets(&run(Model::Auto, healthy(life, 300, 120, seed)));
        assert_eq!(onsets, 0, "{life:?}, SEED={seed}");
    }
}

/// Days that rise and fall by the six-fold within two hours, and weekends that have a third of it: three weeks know it.
#[test]
fn an_outage_in_a_steep_season_is_told_to_its_end() {
    const DAY: i64 = 86_400;
    let season = |time: i64| {
        let hour = (time % DAY) as f64 / 3_600.0;
        let step = |at: f64, steep: f64| 1.0 / (1.0 + libm::exp(-(hour - at) * steep));
        let weekend = if time.div_euclid(DAY) % 7 >= 5 { 0.35 } else { 1.0 };
        20.0 + 100.0 * step(8.0, 1.5) * (1.0 - step(18.0, 1.2)) * weekend
    };
    // Of days 22 and 29, both the second of a week.
    for (day, noise, seed) in
        [(22, 0.01, 1), (22, 0.03, 2), (29, 0.01, 3), (29, 0.03, 4), (29, 0.05, 5)]
    {
        let (mut rng, mut detector) = (Rng(seed), SeriesDetector::new(Model::Auto));
        let outage = day * DAY + 11 * 3_600..day * DAY + 17 * 3_600;
        for time in (0..(day + 1) * DAY).step_by(300) {
            let healthy = season(time) * (1.0 + noise * rng.normal());
            let value = if outage.contains(&time) { 0.0 } else { healthy };
            let judged = detector.observe(EventTime::new(time * 1_000_000_000), value).unwrap();
            let severity = judged.severity.to_f32();
            let is_out = outage.contains(&time);
            assert!(!is_out || severity > 6.0, "day {day}, noise {noise}: {severity} at {time}");
            let is_late = time >= 15 * DAY && !is_out;
            assert!(!is_late || severity < 6.0, "day {day}, noise {noise}: {severity} at {time}");
        }
    }
}

#[test]
fn healthy_days_at_a_second_are_as_silent() {
    for life in [Life::Normal, Life::Daily, Life::NanBursts, Life::Restart, Life::TwoValued] {
        let onsets = onsets(&run(Model::Auto, healthy(life, 1, 3, 1)));
        assert_eq!(onsets, 0, "{life:?}");
    }
}

#[test]
fn a_counter_and_its_resets_are_silent() {
    for (interval, seeds) in [(60, 1..=3), (300, 1..=10)] {
        for (model, seed) in FULL.into_iter().flat_map(|m| seeds.clone().map(move |s| (m, s))) {
            let told = run(model, healthy(Life::CounterReset, interval, 30, seed));
            assert_eq!(onsets(&told), 0, "{model}, {interval} s, SEED={seed}");
        }
    }
}

#[test]
fn a_counter_at_a_second_is_silent_in_its_first_days() {
    for seed in 1..=4 {
        let told = run(Model::Auto, healthy(Life::CounterReset, 1, 3, seed));
        assert_eq!(onsets(&told), 0, "SEED={seed}");
    }
}

#[test]
fn a_counter_that_slows_down_or_stops_is_found() {
    for (event, interval) in Event::COUNTED.into_iter().flat_map(|e| [(e, 60), (e, 300)]) {
        for model in FULL {
            // Novelty alone is less sure of a season that it has few samples of.
            if model == Model::Novelty && interval == 300 {
                continue;
            }
            let told = run(model, sick(Life::CounterReset, event, interval, 2));
            let what = format!("{model}, {event:?}, {interval} s: {told:?}");
            assert!(told.found.is_some_and(|found| found <= 2 * interval), "{what}");
            assert!(told.above * 20 >= told.on * 19, "{what}");
            assert_eq!((told.alerts, told.after), (1, 0), "{what}");
        }
    }
    // While auto is young, the light detector finds it, by the rate as well.
    let young = Case { day: 2, days: 4, ..sick(Life::CounterReset, Event::Stop, 60, 2) };
    let told = run(Model::Auto, young);
    assert!(told.early == 0 && told.found.is_some_and(|found| found <= 120), "{told:?}");
}

#[test]
fn false_alarms_of_many_healthy_weeks_are_as_rare_as_is_said() {
    // 40 series, 4 weeks each: at .01 a week 1.6 are due.
    for life in [Life::Normal, Life::Daily] {
        let all = (1..=40).map(|seed| onsets(&run(Model::Auto, healthy(life, 300, 28, seed))));
        assert!(all.sum::<u32>() <= 4, "{life:?}");
    }
}

#[test]
fn an_outage_is_scored_to_its_end_and_the_day_after_is_as_before() {
    for (life, interval) in [(Life::Weekly, 300), (Life::Weekly, 60), (Life::Normal, 300)] {
        for model in FULL {
            // Novelty alone is less sure of an outage among the slopes of a season that it has few samples of.
            if model == Model::Novelty && (life, interval) == (Life::Weekly, 300) {
                continue;
            }
            let told = run(model, sick(life, Event::Outage, interval, 2));
            let what = format!("{model}, {life:?}, {interval} s: {told:?}");
            assert!(told.found.is_some_and(|found| found <= 2 * interval), "{what}");
            assert!(told.above * 20 >= told.on * 19, "{what}");
            assert_eq!(told.alerts, 1, "{what}");
            assert!(told.last.is_some_and(|last| last < 6 * 3_600 + 9 * interval), "{what}");
            assert_eq!(told.after, 0, "{what}");
        }
    }
}

#[test]
fn an_outage_that_comes_back_is_told_again() {
    for interval in [60, 300] {
        let case = Case { days: 25, ..sick(Life::Weekly, Event::Outages, interval, 5) };
        let told = run(Model::Auto, case);
        assert_eq!((told.found, told.above), (Some(0), told.on), "{told:?}");
        // The hour behind one of them may be news as well.
        assert!((3..=4).contains(&told.alerts), "{told:?}");
    }
}

#[test]
fn a_new_level_is_one_alert_and_normal_after_eight_hours() {
    for interval in [60, 300] {
        for model in FULL {
            let told = run(model, sick(Life::Normal, Event::Shift, interval, 3));
            let what = format!("{model}, {interval} s: {told:?}");
            assert_eq!((told.found, told.alerts, told.after), (Some(0), 1, 0), "{what}");
            let last = told.last.unwrap_or_default();
            assert!((7 * 3_600..=8 * 3_600 + interval).contains(&last), "{what}");
        }
    }
}

#[test]
fn every_sickness_of_a_series_at_a_minute_is_told_at_the_fleets_level_by_some_model() {
    for life in [Life::Normal, Life::Weekly] {
        for event in Event::SICK {
            // White noise has no season that could break.
            if (life, event) == (Life::Normal, Event::Break) {
                continue;
            }
            let finds = |model: &Model| run(*model, sick(life, event, 60, 4)).found.is_some();
            assert!(Model::ALL.iter().any(finds), "{life:?}, {event:?}");
        }
    }
}

#[test]
fn noisier_noise_and_what_stands_still_are_found_by_auto() {
    for seed in 1..=3 {
        let told = run(Model::Auto, sick(Life::Normal, Event::Variance, 60, seed));
        assert!(told.found.is_some_and(|found| found < 3_600), "SEED={seed}: {told:?}");
        for (life, interval) in [(Life::Normal, 60), (Life::Weekly, 60), (Life::Weekly, 300)] {
            let told = run(Model::Auto, sick(life, Event::Flatline, interval, seed));
            assert!(told.found.is_some_and(|found| found < 7_200), "SEED={seed}: {told:?}");
        }
    }
}

#[test]
fn auto_says_what_an_anomaly_looks_like() {
    for (event, kind) in [
        (Event::Spike, AnomalyKind::Spike),
        (Event::Outage, AnomalyKind::LevelShift),
        (Event::Shift, AnomalyKind::LevelShift),
        (Event::Variance, AnomalyKind::VarianceChange),
        (Event::Flatline, AnomalyKind::Flatline),
        (Event::Break, AnomalyKind::SeasonalBreak),
    ] {
        for (life, interval) in
            [(Life::Normal, 10), (Life::Normal, 60), (Life::Normal, 300), (Life::Weekly, 60)]
        {
            // White noise has no season, and a steep season or few samples hide what noise there is.
            let is_shown = match event {
                Event::Break => life == Life::Weekly,
                Event::Variance => life == Life::Normal && interval < 300,
                Event::Shift => life == Life::Normal,
                _ => true,
            };
            let case = Case { day: 16, days: 18, ..sick(life, event, interval, 3) };
            let told = run(Model::Auto, case);
            let what = format!("{event:?} of {life:?} at {interval} s: {told:?}");
            assert!(!is_shown || told.kind == kind, "{what}");
            // The first ones cannot know how it goes on.
            let others = told.above - told.kinds[usize::from(kind.code())];
            assert!(!is_shown || others <= 12, "{what}");
        }
    }
}

/// What is said of an office in Berlin after the clocks were set, by the hours of UTC and by Berlin's.
fn after_clocks(model: Model, life: Life, interval: i64, seed: u64) -> [AfterClocks; 2] {
    let case = healthy(life, interval, 23, seed);
    ["UTC", "Europe/Berlin"].map(|zone| run_office(model, zone, case))
}

#[test]
fn when_clocks_are_set_an_office_is_healthy_by_its_own_time_zone() {
    let offices = [Life::OfficeSpring, Life::OfficeAutumn];
    for (life, seed) in offices.into_iter().flat_map(|life| (1..=3).map(move |seed| (life, seed))) {
        for interval in [60, 300] {
            let [utc, berlin] = after_clocks(Model::Light, life, interval, seed);
            let what = format!("{life:?}, {interval} s, SEED={seed}: {utc:?}, {berlin:?}");
            assert_eq!(berlin.onsets, 0, "{what}");
            assert!(utc.onsets > 5 && utc.greatest.to_f32() > 10.0, "{what}");
        }
        for model in [Model::Novelty, Model::Deviation, Model::Auto, Model::HoltWinters] {
            let [utc, berlin] = after_clocks(model, life, 300, seed);
            let what = format!("{model}, {life:?}, SEED={seed}: {utc:?}, {berlin:?}");
            assert_eq!(berlin.onsets, 0, "{what}");
            assert!(utc.off > 1.3 * berlin.off && berlin.off < 2.5, "{what}");
        }
        let [_, berlin] = after_clocks(Model::Auto, life, 60, seed);
        assert_eq!(berlin.onsets, 0, "{life:?}, SEED={seed}");
    }
}
