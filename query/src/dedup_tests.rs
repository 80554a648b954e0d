//! What queries see of late rows, against a naive model that goes through all arrivals.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidewatch_metrics::SeriesRef;

use crate::fixtures::{Arrival, Asked, SECOND, World};

/// What happens to a world.
#[derive(Clone, Debug)]
enum Step {
    /// A record of (series, quarter of an hour, value) rows.
    Write(Vec<(usize, i64, i32)>),
    Freeze(usize),
    Flush(usize),
    /// A metric, the first quarter and the last.
    Delete(usize, i64, i64),
    Compact,
}

const METRICS: [&str; 2] = ["cpu", "mem"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (0..5_usize, 0..24_i64, -9..9_i32);
    let step = prop_oneof![
        4 => proptest::collection::vec(row, 1..30).prop_map(Step::Write),
        1 => (0..2_usize).prop_map(Step::Freeze),
        2 => (0..2_usize).prop_map(Step::Flush),
        1 => (0..2_usize, 0..24_i64, 0..9_i64).prop_map(|(m, from, n)| Step::Delete(m, from, from + n)),
        1 => Just(Step::Compact),
    ];
    proptest::collection::vec(step, 1..20)
}

/// The row that stands: value and `late` of the last arrival, severity of the scored one.
#[derive(Clone, Debug)]
struct Standing {
    value: f64,
    severity: f32,
    late: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn the_last_arrival_stands_as_in_a_naive_model(steps in steps(), from in 0..24_i64) {
        let world = World::new(2);
        let hosts = ["a", "b", "c", "d", "e"];
        // Two metrics, so that metrics share segments and hours.
        let series: Vec<_> = hosts
            .iter()
            .enumerate()
            .map(|(i, host)| world.series("default", METRICS[i % 2], &[("host", host)]))
            .collect();
        let mut model: BTreeMap<(&str, i64), Standing> = BTreeMap::new();
        let mut arrivals: Vec<(usize, i64)> = Vec::new();
        for step in steps {
            match step {
                Step::Freeze(shard) => world.freeze(shard),
                Step::Flush(shard) => world.flush(shard),
                Step::Compact => {
                    world.compact();
                }
                Step::Delete(metric, from, to) => {
                    world.delete(METRICS[metric], from * 900 * SECOND..=to * 900 * SECOND);
                    let goes = |at: usize, quarter: i64| {
                        at % 2 == metric && (from..=to).contains(&quarter)
                    };
                    arrivals.retain(|(at, quarter)| !goes(*at, *quarter));
                    let at = |host: &str| hosts.iter().position(|h| *h == host).unwrap();
                    model.retain(|(host, quarter), _| !goes(at(host), *quarter));
                }
                Step::Write(rows) => {
                    let record: Vec<Arrival> = rows.iter().map(|(at, quarter, value)| Arrival {
                        series: series[*at],
                        time: quarter * 900 * SECOND,
                        value: f64::from(*value),
                        severity: value.abs() as f32,
                    }).collect();
                    let late = world.write(&record);
                    arrivals.extend(rows.iter().map(|(at, quarter, _)| (*at, *quarter)));
                    for ((row, late), arrival) in rows.iter().zip(late).zip(&record) {
                        let scored = if late { 0.0 } else { arrival.severity };
                        model
                            .entry((hosts[row.0], row.1))
                            .and_modify(|s| {
                                s.value = arrival.value;
                                s.late = late;
                                if !late {
                                    s.severity = scored;
                                }
                            })
                            .or_insert(Standing { value: arrival.value, severity: scored, late });
                    }
                }
            }
        }
        let asked = Asked::new(&world);
        let since = format!("1970-01-01T{:02}:{:02}:00Z", from * 15 / 60, from * 15 % 60);
        for metric in METRICS {
            let of_metric = |host: &str| {
                hosts.iter().position(|h| *h == host).map(|i| i % 2) == Some(usize::from(metric == "mem"))
            };
            let expected: String = model
                .iter()
                .filter(|((host, quarter), _)| of_metric(host) && *quarter >= from)
                .map(|((host, quarter), s)| {
                    format!("{host},{},{:?},{:?}\n", quarter * 900, s.value, s.severity)
                })
                .collect();
            let known = asked.csv(&format!("SELECT host FROM {metric} LIMIT 1"));
            prop_assert!(known.is_ok(), "{known:?}");
            let sql = format!(
                "SELECT host, CAST(extract(epoch FROM time) AS BIGINT) AS t, value, severity \
                 FROM {metric} WHERE time >= '{since}' ORDER BY host, t"
            );
            prop_assert_eq!(asked.csv(&sql).unwrap(), format!("host,t,value,severity\n{expected}"));
        }
        let counts = asked
            .csv("SELECT count(*) AS n, count(*) FILTER (WHERE late) AS l FROM tidewatch.samples")
            .unwrap();
        let late = model.values().filter(|s| s.late).count();
        prop_assert_eq!(counts, format!("n,l\n{},{late}\n", model.len()));
        let all = asked.csv("SELECT count(*) AS n FROM tidewatch.arrivals").unwrap();
        prop_assert_eq!(all, format!("n\n{}\n", arrivals.len()));
        let extent = asked.csv("SELECT sum(rows) AS n FROM tidewatch.series WHERE rows > 0").unwrap();
        let rows = if model.is_empty() { String::new() } else { model.len().to_string() };
        prop_assert_eq!(extent, format!("n\n{rows}\n"));
        // Once heads are flushed and segments gone through, deletes are done, and it is all the same.
        (0..2).for_each(|shard| world.flush(shard));
        while world.compact() {}
        prop_assert_eq!(world.deletes(), 0);
        let counts = Asked::new(&world)
            .csv("SELECT count(*) AS n, count(*) FILTER (WHERE late) AS l FROM tidewatch.samples")
            .unwrap();
        prop_assert_eq!(counts, format!("n,l\n{},{late}\n", model.len()));
    }
}

#[test]
fn the_last_arrival_stands_where_its_shard_is_behind_a_merge() {
    let world = World::new(2);
    let hosts = ["a", "b"].map(|host| world.series("default", "cpu", &[("host", host)]));
    let write = |series: SeriesRef, value: f64| {
        world.write(&[Arrival { series, time: 0, value, severity: 1.0 }]);
    };
    let [shard, other] = hosts.map(|series| series.index() % 2);
    write(hosts[0], 1.0);
    world.flush(shard);
    write(hosts[0], 2.0);
    world.freeze(shard);
    // Rows of a later record are merged before those of the frozen head are in any file.
    write(hosts[1], 3.0);
    world.flush(other);
    let sql = "SELECT sum(value) AS v, count(*) AS n FROM cpu";
    for step in 0..3 {
        match step {
            0 => assert!(world.compact(), "both files are one now"),
            1 => world.flush(shard),
            _ => assert!(world.compact()),
        }
        assert_eq!(Asked::new(&world).csv(sql).unwrap(), "v,n\n5.0,2\n", "step {step}");
    }
}

#[test]
fn more_late_hours_than_are_listed_are_de_duplicated_too() {
    let world = World::new(2);
    let series = world.series("default", "cpu", &[("host", "a")]);
    let row = |hour: i64, value: f64| Arrival {
        series,
        time: hour * 3_600 * SECOND,
        value,
        severity: 1.0,
    };
    let hours = 300;
    world.write(&(0..hours).map(|hour| row(hour, 1.0)).collect::<Vec<_>>());
    world.flush(0);
    world.write(&(0..hours).map(|hour| row(hour, 2.0)).collect::<Vec<_>>());
    world.flush(0);
    world.write(&[row(7, 3.0)]);
    let sql = "SELECT count(*) AS n, sum(value) AS v, sum(severity) AS s FROM cpu";
    assert_eq!(Asked::new(&world).csv(sql).unwrap(), "n,v,s\n300,601.0,300.0\n");
}

#[test]
fn many_segments_with_late_rows_in_few_hours_are_merged_in_slabs() {
    let world = World::new(1);
    let series = world.series("default", "cpu", &[("host", "a")]);
    let mut expected = 0;
    for hour in 0..150_i64 {
        let time = hour * 3_600 * SECOND;
        let row = |time, value| Arrival { series, time, value, severity: 0.0 };
        let mut rows = vec![row(time, 1.0), row(time + SECOND, 1.0)];
        if hour % 2 == 0 {
            rows.push(row(time, 5.0));
            expected += 4;
        }
        world.write(&rows);
        world.flush(0);
        expected += 2;
    }
    let sql = "SELECT count(*) AS n, CAST(sum(value) AS BIGINT) AS v FROM cpu";
    assert_eq!(Asked::new(&world).csv(sql).unwrap(), format!("n,v\n300,{expected}\n"));
}
