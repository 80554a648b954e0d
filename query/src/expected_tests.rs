//! What the detector expected, told by SQL, against what the pipeline put out when the rows came.

use std::sync::Arc;

use tidewatch_metrics::{
    EventTime, Lsn, SeriesCatalog, SeriesKey, SeriesRef, Transition, TransitionTimes, UnixNanos,
};
use tidewatch_operators::{
    DetectConfig, DetectRule, Direction, Emitted, Model, Pipeline, PipelineConfig, Rows,
    RuleConfig, RuleSet, Run,
};
use tidewatch_segments::AlertRow;

use crate::QueryLimits;
use crate::fixtures::{Arrival, Asked, SECOND, World};

/// Mid-hour, so that the first hour is a partial one.
const START: i64 = 1_700_000_000;
const ROWS: i64 = 12_000;
const HOSTS: [&str; 2] = ["a", "b"];

/// A row as it is sent: the host, the second, the value.
type Sent = (usize, i64, f64);

/// A saw of the hour, noise, a step, peaks, pauses, repeats, late rows and rows without a number.
fn sent() -> Vec<Sent> {
    let mut rows = Vec::new();
    let mut noise = 1_u32;
    for row in 0..ROWS {
        for host in 0..HOSTS.len() {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let is_event = |one: i64| (row + 7 * one + i64::from(noise >> 28)) % 211 == one;
            let step = if row > ROWS / 2 { 30.0 } else { 0.0 };
            let base = (row % 60) as f64 / 10.0 + f64::from(noise >> 16) / 65_536.0 + step;
            let second = START + row * 60;
            rows.push(match row {
                _ if is_event(1) => (host, second, f64::NAN),
                _ if is_event(2) => (host, second, base + 25.0),
                _ if is_event(3) => (host, second - 5_000, base),
                _ if is_event(4) => (host, second - 60, base),
                _ if row % 3_000 > 2_950 => continue,
                _ => (host, second, base),
            });
        }
    }
    rows
}

fn key(host: &str) -> SeriesKey {
    let labels = vec![("host".to_owned(), host.to_owned())];
    SeriesKey::new("default", "cpu", "value", labels).unwrap()
}

/// A detection of one host, or of all.
fn detect(host: &str, config: &DetectConfig) -> DetectRule {
    let matchers = vec![("host".to_owned(), host.to_owned())];
    DetectRule::new(&DetectConfig { matchers, ..config.clone() }).unwrap()
}

fn by(model: Model) -> DetectConfig {
    DetectConfig { model, ..DetectConfig::default() }
}

/// A rule that often fires, and the detection.
fn rules(detects: Vec<DetectRule>) -> RuleSet {
    let rule = RuleConfig {
        name: "high".to_owned(),
        matchers: vec![("metric".to_owned(), "cpu".to_owned())],
        when: "value > 36".to_owned(),
        priority: "page".to_owned(),
        ..RuleConfig::default()
    };
    RuleSet::new(vec![rule]).unwrap().with_detection(detects).unwrap()
}

/// What a pipeline puts out.
fn live(sent: &[Sent], rules: &RuleSet) -> Emitted {
    let (mut pipeline, mut out) = (Pipeline::new(PipelineConfig::default()), Emitted::default());
    pipeline.set_rules(Arc::new(rules.clone()), UnixNanos::default(), &mut out);
    let catalog = SeriesCatalog::new(10);
    for (host, series) in HOSTS.iter().zip(0..) {
        pipeline.add_series(SeriesRef(series), catalog.register(&key(host)).unwrap().1);
    }
    let series: Vec<u32> = sent.iter().map(|row| u32::try_from(row.0).unwrap()).collect();
    let times: Vec<EventTime> = sent.iter().map(|row| EventTime::new(row.1 * SECOND)).collect();
    let values: Vec<f64> = sent.iter().map(|row| row.2).collect();
    let runs = [Run { end: sent.len(), lsn: Lsn::new(1), received: UnixNanos::default() }];
    let rows = Rows { series: &series, times: &times, values: &values, runs: &runs };
    pipeline.apply(&rows, &mut out);
    out
}

/// A world that holds the rows as they were sent, with their severities and alerts.
fn world(rules: RuleSet) -> (Arc<World>, Vec<Transition>) {
    let (world, sent) = (World::new(2), sent());
    let out = live(&sent, &rules);
    world.set_rules(rules);
    let series = HOSTS.map(|host| world.series("default", "cpu", &[("host", host)]));
    for (part, rows) in sent.chunks(5_000).enumerate() {
        let arrivals: Vec<Arrival> = (part * 5_000..)
            .zip(rows)
            .map(|(row, (host, second, value))| Arrival {
                series: series[*host],
                time: second * SECOND,
                value: *value,
                severity: out.severities[row].to_f32(),
            })
            .collect();
        let late = world.write(&arrivals);
        for (row, late) in (part * 5_000..).zip(late) {
            assert_eq!(late, out.flags[row].is_late(), "row {row}");
        }
        world.flush(part % 2);
    }
    let at = UnixNanos::default();
    let times = TransitionTimes { durable: at, scored: at, fired: at };
    for transition in &out.transitions {
        let transition = transition.clone();
        world.add_alert(AlertRow { transition, times, lsn: Lsn::new(1) });
    }
    (world, out.transitions)
}

/// The rows that were in order, as they came, with what is said of them.
fn told(arguments: &str) -> String {
    format!(
        "(SELECT *, expected({arguments}) OVER (PARTITION BY series_id ORDER BY time) AS e \
         FROM tidewatch.arrivals WHERE metric = 'cpu' AND NOT late)"
    )
}

#[test]
fn bands_are_bit_by_bit_those_of_the_alerts_and_severities_those_that_are_stored() {
    bands_and_severities_are_those_that_were_put_out(Vec::new(), "time, value");
}

#[test]
fn what_every_model_said_is_told_again_for_all_series_at_once() {
    for model in [Model::Novelty, Model::Auto] {
        let detects = vec![detect("~ .*", &by(model))];
        bands_and_severities_are_those_that_were_put_out(detects, "time, value");
    }
}

#[test]
fn what_different_models_and_knobs_said_is_told_again_where_the_series_is_named() {
    let knobs = DetectConfig {
        direction: Direction::Above,
        min_deviation: 2.0,
        range: Some([-5.0, 60.0]),
        min_samples: 500,
        time_zone: "Asia/Kolkata".parse().unwrap(),
        ..by(Model::Auto)
    };
    let there = DetectConfig { time_zone: knobs.time_zone.clone(), ..by(Model::Light) };
    let detects =
        vec![detect("a", &knobs), detect("b", &by(Model::Deviation)), detect("c", &there)];
    bands_and_severities_are_those_that_were_put_out(detects, "time, value, series_id");
}

#[test]
fn series_that_are_scored_differently_have_to_be_named() {
    let world = World::new(1);
    world.set_rules(rules(vec![detect("a", &by(Model::Auto)), detect("b", &by(Model::Novelty))]));
    for host in ["a", "b", "c"] {
        let series = world.series("default", "cpu", &[("host", host)]);
        world.write(&[Arrival { series, time: 0, value: 1.0, severity: 0.0 }]);
    }
    let asked = Asked::new(&world);
    let window = "OVER (PARTITION BY host ORDER BY time) AS e FROM cpu";
    let refused = asked.csv(&format!("SELECT expected(time, value) {window}")).unwrap_err();
    assert!(refused.to_string().contains("expected(time, value, series_id)"), "{refused}");
    for host in ["a", "b", "c"] {
        asked.csv(&format!("SELECT expected(time, value) {window} WHERE host = '{host}'")).unwrap();
    }
    let of = |arguments: &str, window: &str| {
        let sql = format!("SELECT expected({arguments}) OVER ({window}) FROM tidewatch.samples");
        asked.csv(&sql)
    };
    let each = "PARTITION BY series_id ORDER BY time";
    of("time, value, series_id", each).unwrap();
    for (arguments, window, reason) in [
        ("time, value, series_id", "ORDER BY time", "PARTITION BY series_id"),
        ("time, value, 'no such series'", each, "series_id as its third argument"),
        ("time, value, 5", each, "takes a time and a number"),
    ] {
        let refused = of(arguments, window).expect_err(arguments).to_string();
        assert!(refused.contains(reason), "{refused}");
    }
    let tiers = "SELECT db, metric, labels, tier FROM tidewatch.series ORDER BY labels";
    let tiers = asked.csv(tiers).unwrap();
    let tiers: Vec<&str> = tiers.lines().map(|line| line.rsplit(',').next().unwrap()).collect();
    assert_eq!(tiers, ["tier", "auto", "novelty", "light"]);
}

fn bands_and_severities_are_those_that_were_put_out(detects: Vec<DetectRule>, arguments: &str) {
    let (world, transitions) = world(rules(detects));
    let asked = Asked::new(&world);
    let told = told(arguments);
    let counts = asked.csv(&format!(
        "SELECT count(*) AS n, count(e['severity']) AS scored, count(value) AS numbers, \
         count(*) FILTER (WHERE e['severity'] <> severity) AS wrong, \
         count(*) FILTER (WHERE severity > 0) > 100 AS many FROM {told}"
    ));
    let counts = counts.unwrap();
    let counts: Vec<&str> = counts.lines().nth(1).unwrap().split(',').collect();
    assert!(counts[0].parse::<usize>().unwrap() > 23_000, "{counts:?}");
    assert_eq!(counts[1], counts[2], "every number in order is scored");
    assert_eq!(counts[3..], ["0", "true"]);
    let told = asked.csv(&format!(
        "SELECT a.event, t.e['expected'], t.e['lower'], t.e['upper'] FROM tidewatch.alerts a \
         JOIN {told} t ON a.series_id = t.series_id AND a.event = t.time \
         ORDER BY a.event, a.series_id"
    ));
    let mut told: Vec<String> = told.unwrap().lines().skip(1).map(str::to_owned).collect();
    assert_eq!(told.len(), transitions.len());
    let bits = |numbers: [f64; 3]| {
        let known =
            numbers.map(|number| if number.is_nan() { None } else { Some(number.to_bits()) });
        format!("{known:?}")
    };
    let number = |cell: &str| if cell.is_empty() { f64::NAN } else { cell.parse().unwrap() };
    let mut told: Vec<String> = told
        .drain(..)
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            bits([number(cells[1]), number(cells[2]), number(cells[3])])
        })
        .collect();
    let expected = transitions.iter();
    let mut expected: Vec<String> =
        expected.map(|t| bits([t.expected, t.lower, t.upper])).collect();
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    assert!(transitions.iter().filter(|t| !t.expected.is_nan()).count() > 100);
}

#[test]
fn rows_that_are_not_in_order_and_values_without_a_number_are_null_and_teach_nothing() {
    let world = World::new(1);
    let a = world.series("default", "cpu", &[("host", "a")]);
    let row =
        |second: i64, value| Arrival { series: a, time: second * SECOND, value, severity: 0.0 };
    world.write(&(0..50).map(|second| row(second, second as f64)).collect::<Vec<_>>());
    world.write(&[row(20, 9e9), row(50, f64::NAN), row(60, 60.0)]);
    let asked = Asked::new(&world);
    let window = "OVER (PARTITION BY host ORDER BY time)";
    let sql = format!(
        "SELECT time, value, e['expected'] IS NULL AS unknown, e['severity'] IS NULL AS unscored \
         FROM (SELECT time, value, expected(time, value) {window} AS e FROM cpu) \
         WHERE time >= '1970-01-01T00:00:38Z' AND time <= '1970-01-01T00:00:42Z' \
         OR time >= '1970-01-01T00:00:50Z' ORDER BY time"
    );
    // The burn-in is 40 samples.
    let answer = "time,value,unknown,unscored\n\
         1970-01-01T00:00:38Z,38.0,true,false\n1970-01-01T00:00:39Z,39.0,true,false\n\
         1970-01-01T00:00:40Z,40.0,false,false\n1970-01-01T00:00:41Z,41.0,false,false\n\
         1970-01-01T00:00:42Z,42.0,false,false\n\
         1970-01-01T00:00:50Z,,true,true\n1970-01-01T00:01:00Z,60.0,false,false\n";
    assert_eq!(asked.csv(&sql).unwrap(), answer);
    // Twice the same rows: the second ones of a time are refused, and change nothing.
    let both = "(SELECT time, value FROM cpu UNION ALL SELECT time, value FROM cpu)";
    let told = |rows: &str| {
        format!(
            "SELECT time, e['expected'] AS expected, e['severity'] AS severity FROM \
             (SELECT time, expected(time, value) OVER (ORDER BY time) AS e FROM {rows}) \
             WHERE e IS NOT NULL ORDER BY time"
        )
    };
    assert_eq!(asked.csv(&told(both)).unwrap(), asked.csv(&told("cpu")).unwrap());
}

#[test]
fn rows_in_another_order_are_an_error() {
    let world = World::new(1);
    let series = world.series("default", "cpu", &[("host", "a")]);
    world.write(&[Arrival { series, time: 0, value: 1.0, severity: 0.0 }]);
    let asked = Asked::new(&world);
    for window in ["", "ORDER BY time DESC", "ORDER BY value", "PARTITION BY host"] {
        let sql = format!("SELECT expected(time, value) OVER ({window}) FROM cpu");
        let error = asked.csv(&sql).expect_err(&sql).to_string();
        assert!(error.contains("in the order of time"), "{error}");
    }
    let error = asked.csv("SELECT expected(value, time) OVER (ORDER BY value) FROM cpu");
    assert!(error.unwrap_err().to_string().contains("takes a time and a number"));
}

#[test]
fn what_is_told_counts_as_memory_of_the_query() {
    let world = World::new(1);
    let series = world.series("default", "cpu", &[("host", "a")]);
    let rows = (0..100_000).map(|second| Arrival {
        series,
        time: second * SECOND,
        value: 1.0,
        severity: 0.0,
    });
    world.write(&rows.collect::<Vec<_>>());
    let limits = |query_memory_bytes_max| QueryLimits {
        query_memory_bytes_max,
        threads: 1,
        ..QueryLimits::default()
    };
    let sql = "SELECT count(e['severity']) AS n FROM \
               (SELECT expected(time, value) OVER (ORDER BY time) AS e FROM cpu)";
    let enough = Asked::with_limits(&world, limits(24 << 20)).csv(sql).unwrap();
    assert_eq!(enough, "n\n100000\n");
    let sorted = "SELECT count(*) AS n FROM (SELECT time, value, row_number() OVER (ORDER BY time) \
                  AS r FROM cpu)";
    let few = Asked::with_limits(&world, limits(4 << 20));
    few.csv(sorted).unwrap();
    // Times and values take 1.6 MB, what is said of them 2.8 MB.
    few.csv(sql).expect_err("there is not so much memory");
}
