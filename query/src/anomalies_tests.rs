//! Anomalies of random worlds, held against the definition: runs over the whole history.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use proptest::prelude::*;

use crate::Format;
use crate::fixtures::{Arrival, Asked, SECOND, World, kind_at, request};

const NEW_YEAR: i64 = 1_704_067_200;
const METRICS: [&str; 3] = ["m0", "m1", "m2"];

/// The scored samples of each metric in their order: seconds and severities.
type Scored = BTreeMap<usize, Vec<(i64, f32)>>;

/// What happens to a world.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A sample of a metric, so many seconds after the last one (before it: late), with a severity.
    Sample {
        metric: usize,
        step: i64,
        severity: f32,
        is_number: bool,
    },
    Flush,
    Freeze,
    Compact,
}

fn event() -> impl Strategy<Value = Event> {
    let severity =
        prop_oneof![3 => Just(0.0_f32), 2 => Just(3.9_f32), 3 => Just(4.0_f32), 2 => Just(9.5_f32)];
    let step = prop_oneof![
        6 => 1..30_i64, 2 => 600..9_000_i64, 1 => 40_000..90_000_i64, 1 => -2_000..1_i64,
        // The last one again.
        1 => Just(0_i64),
    ];
    let sample = (0..METRICS.len(), step, severity, prop::bool::weighted(0.95));
    prop_oneof![
        20 => sample.prop_map(|(metric, step, severity, is_number)| Event::Sample {
            metric, step, severity, is_number
        }),
        1 => Just(Event::Flush),
        1 => Just(Event::Freeze),
        1 => Just(Event::Compact),
    ]
}

/// The world, and what was scored in it.
fn play(events: &[Event]) -> (Arc<World>, Scored) {
    let world = World::new(2);
    let mut last = [NEW_YEAR; METRICS.len()];
    let mut scored = Scored::new();
    for event in events {
        match *event {
            Event::Sample { metric, step, severity, is_number } => {
                let time = last[metric] + step;
                let series = world.series("default", METRICS[metric], &[]);
                let value = if is_number { 1.0 } else { f64::NAN };
                let severity = if is_number { severity } else { 0.0 };
                let late = world.write(&[Arrival { series, time: time * SECOND, value, severity }]);
                last[metric] = last[metric].max(time);
                if is_number && !late[0] {
                    scored.entry(metric).or_default().push((time, severity));
                }
            }
            Event::Flush => [0, 1].into_iter().for_each(|shard| world.flush(shard)),
            Event::Freeze => world.freeze(0),
            Event::Compact => {
                world.compact();
            }
        }
    }
    (world, scored)
}

/// The seconds of a run.
#[derive(Clone, Copy, Debug)]
struct Times {
    started: i64,
    ended: Option<i64>,
    peak: i64,
}

type IsAsked<'a> = &'a dyn Fn(Times) -> bool;

/// The definition: maximal runs of the whole history, those that are asked for.
fn naive(scored: &BTreeMap<usize, Vec<(i64, f32)>>, is_asked: impl Fn(Times) -> bool) -> String {
    let mut out = "metric,started,ended,peak_time,peak_severity,kind\n".to_owned();
    for (metric, samples) in scored {
        let is_high = |sample: &(i64, f32)| sample.1 >= 4.0;
        for run in samples.chunk_by(|one, other| is_high(one) == is_high(other)) {
            let last = run[run.len() - 1].0;
            let ended = samples.iter().find(|sample| sample.0 > last).map(|sample| sample.0);
            let peak = run.iter().fold(run[0], |peak, s| if s.1 > peak.1 { *s } else { peak });
            let times = Times { started: run[0].0, ended, peak: peak.0 };
            if !is_high(&run[0]) || !is_asked(times) {
                continue;
            }
            let ended = ended.map_or(String::new(), |ended| (ended * SECOND).to_string());
            let (started, peak_time) = (times.started * SECOND, times.peak * SECOND);
            let metric = METRICS[*metric];
            let kinds = run.iter().rev().map(|sample| kind_at(sample.0 * SECOND).name());
            let kind = kinds.flatten().next().unwrap_or_default();
            writeln!(out, "{metric},{started},{ended},{peak_time},{:?},{kind}", peak.1).unwrap();
        }
    }
    out
}

fn asked(asked: &Asked, condition: &str) -> String {
    let sql = format!(
        "SELECT metric, CAST(started AS BIGINT) AS started, CAST(ended AS BIGINT) AS ended, \
         CAST(peak_time AS BIGINT) AS peak_time, peak_severity, kind FROM tidewatch.anomalies \
         {condition} ORDER BY metric, started"
    );
    asked.csv(&sql).unwrap()
}

fn at(second: i64) -> String {
    format!("arrow_cast({}, 'Timestamp(Nanosecond, Some(\"UTC\"))')", second * SECOND)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn anomalies_are_the_runs_of_the_whole_history_whatever_range_is_asked_for(
        events in prop::collection::vec(event(), 1..90),
        from in 0..200_000_i64,
        span in prop_oneof![0..100_i64, 1..100_000_i64],
    ) {
        let (world, scored) = play(&events);
        let engine = Asked::new(&world);
        let all = naive(&scored, |_| true);
        prop_assert_eq!(asked(&engine, ""), all, "all of {:?}", scored);
        let (from, to) = (NEW_YEAR + from, NEW_YEAR + from + span);
        let (first, last) = (at(from), at(to));
        let conditions: [(String, IsAsked<'_>); 6] = [
            (format!("started >= {first} AND started < {last}"), &|run| {
                (from..to).contains(&run.started)
            }),
            (format!("started >= {first}"), &|run| run.started >= from),
            (format!("{first} > started"), &|run| run.started < from),
            (format!("peak_time >= {first}"), &|run| run.peak >= from),
            (format!("ended < {last}"), &|run| run.ended.is_some_and(|ended| ended < to)),
            (format!("ended BETWEEN {first} AND {last}"), &|run| {
                run.ended.is_some_and(|ended| (from..=to).contains(&ended))
            }),
        ];
        for (condition, is_asked) in conditions {
            let expected = naive(&scored, is_asked);
            let answer = asked(&engine, &format!("WHERE {condition}"));
            prop_assert_eq!(answer, expected, "{} of {:?}", condition, scored);
        }
    }
}

/// A world with a sample every minute for a day, a segment per hour, and a run of two at each noon.
fn day() -> Arc<World> {
    let world = World::new(1);
    let series = world.series("default", "cpu", &[]);
    for hour in 0..24 {
        let rows = (0..60).map(|minute| {
            let severity = if hour == 12 && minute < 2 { 6.0 } else { 0.0 };
            let time = (NEW_YEAR + hour * 3_600 + minute * 60) * SECOND;
            Arrival { series, time, value: 1.0, severity }
        });
        world.write(&rows.collect::<Vec<_>>());
        world.flush(0);
    }
    world
}

#[test]
fn a_range_reads_little_beyond_it() {
    let world = day();
    let engine = Asked::new(&world);
    let ask = |condition: &str| {
        let sql = format!("SELECT started, ended FROM tidewatch.anomalies {condition}");
        engine.ask(request(&sql, Format::Csv)).unwrap()
    };
    let all = ask("");
    let line = "2024-01-01T12:00:00Z,2024-01-01T12:02:00Z\n";
    assert_eq!(all.body, format!("started,ended\n{line}"));
    assert_eq!(all.stats.rows_scanned, 2 * 1_440);
    let one = ask("WHERE started >= '2024-01-01T12:00:00Z' AND started < '2024-01-01T12:01:00Z'");
    assert_eq!(one.body, all.body);
    // Twice its own hour, once the hour before, twice those after the end.
    assert!(one.stats.rows_scanned <= 7 * 60, "{:?}", one.stats);
    let none = ask("WHERE started >= '2024-01-01T12:01:00Z' AND started < '2024-01-01T13:00:00Z'");
    assert_eq!(none.body, "started,ended\n", "it began before");
    let other = ask("WHERE metric = 'mem'");
    assert_eq!((other.body.as_ref(), other.stats.rows_scanned), (&b"started,ended\n"[..], 0));
}
