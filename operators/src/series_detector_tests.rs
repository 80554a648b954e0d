use std::sync::Arc;

use tidewatch_metrics::{SeriesRef, UnixNanos};

use super::*;
use crate::detect::Direction;
use crate::numeric::larger;
use crate::series_kind::SeriesKind;
use crate::testing::{Rng, Table, entry, season, seconds};
use crate::{Emitted, Pipeline, PipelineConfig, RuleConfig, RuleSet};

/// Two weeks of noise, seasons, a step, pauses, repeats, late rows and rows without a number.
fn rows(seed: u64) -> Table {
    let mut rng = Rng::new(seed);
    let mut table = Table::default();
    for index in 0..20_160 {
        let mut time = seconds(index * 60);
        let step = if index > 15_000 { 30.0 } else { 0.0 };
        let mut value = season(time) + step + rng.normal();
        match rng.below(300) {
            0 => value = f64::NAN,
            1 => value = f64::INFINITY,
            2 => value += 40.0,
            3 => time = seconds(index * 60 - 5_000),
            4 => time = seconds(index * 60 - 60),
            5 => continue,
            _ if index % 5_000 > 4_900 => continue,
            _ => {}
        }
        table.push(0, time, value);
    }
    table
}

/// What a pipeline with a rule that often fires puts out on the rows.
fn live(table: &Table) -> Emitted {
    let rule = RuleConfig {
        name: "high".to_owned(),
        matchers: vec![("metric".to_owned(), "cpu".to_owned())],
        when: "value > 50".to_owned(),
        priority: "page".to_owned(),
        ..RuleConfig::default()
    };
    let mut pipeline = Pipeline::new(PipelineConfig::default());
    let (rules, mut out) = (RuleSet::new(vec![rule]).unwrap(), Emitted::default());
    pipeline.set_rules(Arc::new(rules), UnixNanos::default(), &mut out);
    pipeline.add_series(SeriesRef(0), entry("a"));
    table.apply(&mut pipeline, 0..table.len(), UnixNanos::default(), &mut out);
    out
}

/// What the detector says of the rows from `first` on.
fn judged(table: &Table, first: usize) -> Vec<Option<Judgement>> {
    let mut detector = SeriesDetector::default();
    let rows = table.times.iter().zip(&table.values).skip(first);
    rows.map(|(time, value)| detector.observe(*time, *value)).collect()
}

#[test]
fn severities_and_bands_are_those_that_were_put_out_when_the_rows_came() {
    for seed in [1, 2] {
        let table = rows(seed);
        let (out, judged) = (live(&table), judged(&table, 0));
        let mut onsets = 0;
        for (row, judged) in judged.iter().enumerate() {
            let severity = judged.map_or(Severity::ZERO, |judged| judged.severity);
            assert_eq!(severity, out.severities[row], "seed {seed}, row {row}");
            let late = if out.flags[row].is_late() { Flags::LATE } else { Flags::NONE };
            let flags = judged.map_or(Flags::NONE, |judged| judged.flags).with(late);
            assert_eq!(flags, out.flags[row], "seed {seed}, row {row}");
            onsets += u32::from(flags.is_onset());
            let is_scored = !out.flags[row].is_late() && table.values[row].is_finite();
            assert_eq!(judged.is_some(), is_scored, "seed {seed}, row {row}");
        }
        assert!(onsets > 50, "{onsets} onsets");
        // A time comes in order once only.
        let of_time = |time| {
            let rows = table.times.iter().zip(&judged).filter(|(at, _)| **at == time);
            rows.filter_map(|(_, judged)| *judged).next().expect("alerts are about scored rows")
        };
        assert!(out.transitions.len() > 500, "{} transitions", out.transitions.len());
        let mut known = 0;
        for transition in &out.transitions {
            let judged = of_time(transition.event);
            let bits = |expected: f64, lower: f64, upper: f64| {
                [expected.to_bits(), lower.to_bits(), upper.to_bits()]
            };
            let told = bits(transition.expected, transition.lower, transition.upper);
            assert_eq!(bits(judged.expected, judged.lower, judged.upper), told, "{transition:?}");
            known += u32::from(!judged.expected.is_nan());
        }
        assert!(known > 500, "the burn-in is short");
    }
}

#[test]
fn an_onset_has_its_severity_and_what_only_goes_on_has_none() {
    let judged = judged(&rows(1), 0);
    let (mut onsets, mut others) = (0, 0);
    for judged in judged.iter().flatten().filter(|judged| judged.severity > Severity::ZERO) {
        assert_eq!(judged.channel(), Channel::Deviation);
        let onset = judged.onset_severity();
        if judged.flags.is_onset() {
            assert_eq!(onset, judged.severity);
            onsets += 1;
        } else {
            assert_eq!(onset, Severity::ZERO);
            others += 1;
        }
    }
    assert!(onsets > 50 && others > 50, "{onsets} onsets, {others} others");
}

#[test]
fn the_state_grows_by_the_profile_once_there_is_one() {
    let mut detector = SeriesDetector::default();
    assert_eq!(detector.state_bytes(), 128);
    for minute in 0..180 {
        detector.observe(seconds(minute * 60), 1.0);
    }
    assert_eq!(detector.state_bytes(), 128 + 120);
}

#[test]
fn a_detector_that_began_two_days_ago_expects_about_the_same() {
    let table = rows(3);
    let (whole, late) = (judged(&table, 0), judged(&table, 7_000));
    let mut apart = 0.0_f64;
    for (whole, late) in whole[9_880..14_000].iter().zip(&late[2_880..]) {
        if let (Some(whole), Some(late)) = (whole, late) {
            let distance = (whole.expected - late.expected).abs();
            apart = if distance > apart { distance } else { apart };
        }
    }
    assert!(apart > 0.0 && apart < 8.0, "{apart}");
}

#[test]
fn rows_that_are_late_or_have_no_number_change_nothing_for_any_model() {
    let table = rows(4);
    for model in Model::ALL {
        let mut all = SeriesDetector::new(model);
        let mut scored = SeriesDetector::new(model);
        let (mut greatest, mut count) = (EventTime::MIN, 0);
        for (time, value) in table.times.iter().zip(&table.values) {
            let judged = all.observe(*time, *value);
            // The light detector takes a row without a number for a sign of life, so that it gets all of them, also
            // where auto hears it.
            let is_sample = value.is_finite() && *time > greatest;
            assert_eq!(judged.is_some(), is_sample, "{model}");
            if *time > greatest {
                greatest = *time;
            }
            let hears = matches!(model, Model::Light | Model::Auto);
            if is_sample || (hears && *time == greatest) {
                let again = scored.observe(*time, *value);
                assert_eq!(format!("{judged:?}"), format!("{again:?}"), "{model}");
                count += 1;
            }
        }
        assert!(count > 15_000 && count < table.len(), "{model}: {count}");
        let most = if Model::ALL[..4].contains(&model) { 3_100 } else { 20_000 };
        assert!(all.state_bytes() >= 128 && all.state_bytes() <= most, "{model}");
    }
}

#[test]
fn auto_hears_the_light_detector_in_its_first_days() {
    let mut rng = Rng::new(9);
    let (mut auto, mut light) = (SeriesDetector::new(Model::Auto), SeriesDetector::default());
    let mut alone = FullDetector::new(Model::Auto).unwrap();
    let mut greatest = [0.0_f32; 2];
    for index in 0..800_u16 {
        let spike = if index == 700 { 60.0 } else { 0.0 };
        let (time, value) = (seconds(i64::from(index) * 10), 50.0 + rng.normal() + spike);
        let both = auto.observe(time, value).unwrap();
        let of_light = light.observe(time, value).unwrap();
        if index == 700 {
            let told =
                [&both, &of_light].map(|judged| (judged.expected, judged.lower, judged.upper));
            assert_eq!(told[0], told[1], "of an anomaly that the light detector tells");
        }
        let [light, alone] =
            [of_light, alone.judge(time, value)].map(|judged| judged.severity.to_f32());
        let limit = 3.0 + libm::log10f(larger(f32::from(index) / 30.0, 1.0));
        let further = limit * (1.0 + 0.4 * libm::logf(light / limit));
        let expected = larger(alone, if light > limit { further } else { light });
        let told = both.severity.to_f32();
        // Severities have steps of 1/64; from 6 on an episode is on, in which nothing is learnt.
        assert!(
            index > 700 || (told - expected).abs() <= 1.0 / 32.0,
            "{index}: {told}, {expected}"
        );
        greatest = [larger(greatest[0], told), larger(greatest[1], alone)];
    }
    assert!(greatest[0] > 6.0, "a spike after two hours is an anomaly: {greatest:?}");
    assert!(greatest[1] < 4.5, "and auto by itself does not know it yet: {greatest:?}");
}

/// A counter at a minute that has grown for long; it begins again from 0 before the given rows.
fn counted(detection: &Detection, rows: u16, resets: &[u16], spike: Option<u16>) -> Vec<Judgement> {
    let mut rng = Rng::new(12);
    let mut detector = SeriesDetector::tuned(detection);
    let mut sum = 1e9;
    let mut judge = |row: u16| {
        sum = if resets.contains(&row) { 0.0 } else { sum };
        let share = if spike == Some(row) { 40.0 } else { 1.0 };
        sum += (share * (100.0 + 5.0 * rng.normal())).floor();
        detector.observe(seconds(i64::from(row) * 60), sum).unwrap()
    };
    (0..rows).map(&mut judge).collect()
}

fn greatest(judged: &[Judgement]) -> f32 {
    judged.iter().map(|judged| judged.severity.to_f32()).fold(0.0, larger)
}

#[test]
fn resets_of_a_counter_are_no_anomaly_while_the_light_detector_is_heard() {
    for resets in [&[50][..], &[45, 60], &[70], &[130], &[300, 500], &[41, 301]] {
        let judged = counted(&Detection::by(Model::Auto), 900, resets, None);
        assert!(greatest(&judged) < 5.0, "{resets:?}: {}", greatest(&judged));
        let light = counted(&Detection::by(Model::Light), 900, resets, None);
        assert!(greatest(&light) > 6.0, "{resets:?}: by its value it is one");
    }
    let judged = counted(&Detection::by(Model::Auto), 900, &[], Some(700));
    assert!(greatest(&judged[..700]) < 5.0 && greatest(&judged[700..701]) > 6.0);
}

#[test]
fn knobs_of_a_counter_are_about_what_it_grew() {
    let by = |knobs| Detection { model: Model::Auto, knobs };
    let plain = counted(&Detection::by(Model::Auto), 800, &[300], Some(700));
    let spike = plain[700];
    assert!(spike.expected > 4e4 && spike.upper < spike.expected + 100.0, "{spike:?}");
    for (knobs, is_told) in [
        (Knobs { direction: Direction::Above, ..Knobs::NONE }, true),
        (Knobs { direction: Direction::Below, ..Knobs::NONE }, false),
        (Knobs { min_deviation: 3_500.0, ..Knobs::NONE }, true),
        (Knobs { min_deviation: 4_500.0, ..Knobs::NONE }, false),
        (Knobs { kind: SeriesKind::Counter, ..Knobs::NONE }, true),
    ] {
        let told = counted(&by(knobs.clone()), 800, &[300], Some(700));
        assert_eq!(told[700].severity.to_f32() > 6.0, is_told, "{knobs:?}");
    }
    // By its value, as a gauge, the reset is what is unusual.
    let gauge = Knobs { kind: SeriesKind::Gauge, ..Knobs::NONE };
    let told = counted(&by(gauge), 800, &[300], Some(700));
    assert!(told[300].severity.to_f32() > 6.0 && greatest(&plain[300..310]) < 5.0);
}
