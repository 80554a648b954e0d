//! Aggregates from rollups, against the same statements on all rows.

use std::cell::Cell;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tidewatch_metrics::SeriesRef;

use crate::fixtures::{Arrival, Asked, SECOND, World, request};
use crate::{Format, QueryLimits, QueryStats};

pub(crate) const HOUR: i64 = 3_600;

/// What happens to a world.
#[derive(Clone, Debug)]
enum Step {
    /// So many rows of each series from a second on, so many seconds apart.
    Write {
        from: i64,
        rows: i64,
        every: i64,
        seed: u8,
    },
    /// One row of a series, which is late if the series has been there.
    Late {
        series: usize,
        second: i64,
    },
    /// The first second and the last.
    Delete(i64, i64),
    Flush(usize),
    /// Flushes everything and merges what is due.
    Merge,
}

/// Asks with rollups and without.
#[derive(Debug)]
pub(crate) struct Both {
    pub(crate) with: Asked,
    without: Asked,
}

impl Both {
    pub(crate) fn new(world: &Arc<World>, threads: usize) -> Self {
        let limits = |rollups| QueryLimits { rollups, threads, ..QueryLimits::default() };
        let (with, without) =
            (Asked::with_limits(world, limits(true)), Asked::with_limits(world, limits(false)));
        Self { with, without }
    }

    /// Compares the answers: floats to 1e-12 of what they are sums of; what both took.
    pub(crate) fn compare(&self, sql: &str) -> (QueryStats, QueryStats) {
        let ask = |asked: &Asked| {
            let answer = asked.ask(request(sql, Format::Csv));
            let answer = answer.unwrap_or_else(|error| panic!("{error}: {sql}"));
            (String::from_utf8(answer.body.to_vec()).unwrap(), answer.stats)
        };
        let ((with, stats), (without, stats_without)) = (ask(&self.with), ask(&self.without));
        assert_eq!(stats_without.rollup_rows, 0);
        let same = with.lines().count() == without.lines().count()
            && with.lines().zip(without.lines()).all(|(one, other)| {
                let cells = one.split(',').zip(other.split(','));
                one.split(',').count() == other.split(',').count()
                    && cells.into_iter().all(|(one, other)| is_same(one, other))
            });
        assert!(same, "{sql}\nwith rollups\n{with}\nwithout\n{without}");
        (stats, stats_without)
    }
}

fn is_same(one: &str, other: &str) -> bool {
    match (one.parse::<f64>(), other.parse::<f64>()) {
        (Ok(one), Ok(other)) if one.is_finite() && other.is_finite() => {
            // Values are below 1e3, and there are fewer than 1e5 of them.
            (one - other).abs() <= 1e-12 * one.abs().max(1e5)
        }
        _ => one == other,
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let second = || 0..10 * HOUR;
    let step = prop_oneof![
        5 => (second(), 60_i64..300, 20_i64..90, any::<u8>())
            .prop_map(|(from, rows, every, seed)| Step::Write { from, rows, every, seed }),
        1 => (0..4_usize, second()).prop_map(|(series, second)| Step::Late { series, second }),
        1 => (second(), 0..2 * HOUR).prop_map(|(from, length)| Step::Delete(from, from + length)),
        3 => (0..2_usize).prop_map(Step::Flush),
        2 => Just(Step::Merge),
    ];
    proptest::collection::vec(step, 1..12)
}

/// A value of every kind that is stored.
fn value(seed: u8, row: i64) -> f64 {
    match (row * 31 + i64::from(seed)) % 97 {
        0 => f64::NAN,
        1 => f64::from_bits(0x7ff0_0000_0000_0002),
        2 => -0.0,
        3 => 0.0,
        4 if seed == 7 => f64::INFINITY,
        5 if seed == 7 => f64::NEG_INFINITY,
        other => (other - 50) as f64 * 7.1,
    }
}

/// Series of the metric `cpu`, each with a host of its own, and one of another metric.
fn series(world: &World) -> Vec<SeriesRef> {
    let cpu = |host, region| world.series("default", "cpu", &[("host", host), ("region", region)]);
    let mut all = vec![cpu("a", "eu"), cpu("b", "eu"), cpu("c", "us")];
    all.push(world.series("default", "mem", &[("host", "a")]));
    all
}

pub(crate) fn write(
    world: &World,
    series: &[SeriesRef],
    (from, rows, every, seed): (i64, i64, i64, u8),
) {
    for row in 0..rows {
        let row = |(at, series): (i64, &SeriesRef)| Arrival {
            series: *series,
            time: (from + row * every) * SECOND + at * i64::from(seed),
            value: value(seed, row + at),
            severity: 0.0,
        };
        let rows: Vec<_> = (0..).zip(series).map(row).collect();
        world.write(&rows);
    }
}

fn merge(world: &World) {
    (0..2).for_each(|shard| world.flush(shard));
    while world.compact() {}
}

fn world_after(steps: &[Step]) -> Arc<World> {
    let world = World::new(2);
    let series = series(&world);
    write(&world, &series, (0, 420, 30, 1));
    merge(&world);
    let mut end = 420 * 30;
    for step in steps {
        match *step {
            Step::Write { from, rows, every, seed } => {
                // Blocks follow each other, with a gap now and then, or they would all be late.
                let from = end + from % 3 * from % (2 * HOUR);
                write(&world, &series, (from, rows, every, seed));
                end = from + rows * every;
            }
            Step::Late { series: at, second } => {
                let time = second % (end + 1) * SECOND;
                world.write(&[Arrival { series: series[at], time, value: 3.5, severity: 0.0 }]);
            }
            Step::Delete(from, to) => world.delete("cpu", from * SECOND..=to * SECOND),
            Step::Flush(shard) => world.flush(shard),
            Step::Merge => merge(&world),
        }
    }
    world
}

const AGGREGATES: &str = "count(*) AS n, count(value) AS v, sum(value) AS s, avg(value) AS a, \
    min(value) AS lo, max(value) AS hi, min(time) AS t0, max(time) AS t1, count(time) AS t";

/// Statements on `cpu`, where `CONDITION` is one.
fn statements(condition: &str) -> Vec<String> {
    let all = [
        "SELECT AGGREGATES FROM cpu WHERE CONDITION".to_owned(),
        "SELECT host, date_bin(INTERVAL '1 hour', time) AS h, AGGREGATES FROM cpu WHERE CONDITION \
         GROUP BY host, h ORDER BY host, h".to_owned(),
        "SELECT date_trunc('day', time) AS d, upper(region) AS r, AGGREGATES FROM cpu AS c \
         WHERE CONDITION AND c.host <> 'b' GROUP BY d, r ORDER BY d, r".to_owned(),
        "SELECT host, last_value(value ORDER BY time) AS l, first_value(value ORDER BY time) AS f, \
         first_value(value ORDER BY time DESC) AS l2, last_value(time ORDER BY time) AS t \
         FROM cpu WHERE CONDITION GROUP BY host ORDER BY host".to_owned(),
        "SELECT host, max(time) AS t, last_value(value ORDER BY time) AS v, \
         last_value(region ORDER BY time) AS r FROM cpu WHERE CONDITION GROUP BY host ORDER BY host"
            .to_owned(),
        "SELECT DISTINCT ON (host) host, region, time, value FROM cpu WHERE CONDITION \
         ORDER BY host, time DESC".to_owned(),
        "SELECT upper(region) AS r, max(time) AS t FROM cpu WHERE CONDITION AND host <> 'a' \
         GROUP BY r ORDER BY r".to_owned(),
        "SELECT max(n) AS m, sum(n) AS s, sum(a) AS a FROM (SELECT host, count(*) AS n, \
         avg(value) AS a FROM cpu WHERE CONDITION GROUP BY host HAVING count(value) > 3)".to_owned(),
        "SELECT DISTINCT region FROM cpu WHERE CONDITION ORDER BY region".to_owned(),
        "SELECT date_bin(INTERVAL '2 hours', time, TIMESTAMP '1970-01-01T01:00:00Z') AS h, \
         count(*) AS n FROM cpu WHERE CONDITION AND region = 'eu' GROUP BY h ORDER BY h".to_owned(),
        // What is below divides hours, or asks for rows: it must be left alone.
        "SELECT date_bin(INTERVAL '20 minutes', time) AS h, AGGREGATES FROM cpu WHERE CONDITION \
         GROUP BY h ORDER BY h".to_owned(),
        "SELECT count(*) FILTER (WHERE value > 100) AS n, count(DISTINCT value) AS d, \
         max(severity) AS s, sum(value * 2) AS t FROM cpu WHERE CONDITION".to_owned(),
        "SELECT AGGREGATES FROM cpu WHERE CONDITION AND value > 7".to_owned(),
    ];
    all.iter()
        .map(|sql| sql.replace("AGGREGATES", AGGREGATES).replace("CONDITION", condition))
        .collect()
}

fn condition() -> impl Strategy<Value = String> {
    let at = |second: i64, nanos: i64| {
        format!(
            "TIMESTAMP '1970-01-01T00:00:00Z' + INTERVAL '{second} seconds {nanos} nanoseconds'"
        )
    };
    let from = (0..8_i64, prop_oneof![Just(0), -1_i64..2, 0..HOUR * SECOND]);
    prop_oneof![
        1 => Just("true".to_owned()),
        2 => (from.clone(), 1..9_i64, -1_i64..2).prop_map(move |((hour, off), hours, end)| {
            let to = at((hour + hours) * HOUR, end);
            format!("time >= {} AND time < {to}", at(hour * HOUR, off))
        }),
        1 => (from.clone(), 1..9_i64).prop_map(move |((hour, off), hours)| {
            let to = at((hour + hours) * HOUR - 1, 999_999_999);
            format!("time BETWEEN {} AND {to}", at(hour * HOUR, off))
        }),
        1 => from.prop_map(move |(hour, off)| format!("time > {}", at(hour * HOUR, off))),
    ]
}

#[test]
fn answers_are_those_of_all_rows() {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(40));
    let (asked, rolled) = (Cell::new(0_u32), Cell::new(0_u32));
    let tested = runner.run(&(steps(), [condition(), condition()]), |(steps, conditions)| {
        let both = Both::new(&world_after(&steps), 2);
        for sql in conditions.iter().flat_map(|condition| statements(condition)) {
            let (with, _) = both.compare(&sql);
            asked.set(asked.get() + 1);
            rolled.set(rolled.get() + u32::from(with.rollup_rows > 0));
        }
        Ok(())
    });
    tested.unwrap();
    let (asked, rolled) = (asked.get(), rolled.get());
    assert!(rolled > asked / 5, "rollups answered {rolled} of {asked} statements only");
}

/// Six hours of a row every 20 s in merged segments, two flushed, and one in memory.
pub(crate) fn nine_hours() -> (Arc<World>, Vec<SeriesRef>) {
    let world = World::new(2);
    let series = series(&world);
    for hours in [0..3, 3..6] {
        for hour in hours {
            write(&world, &series, (hour * HOUR, 180, 20, 1));
            (0..2).for_each(|shard| world.flush(shard));
        }
        while world.compact() {}
    }
    for hour in [6, 7] {
        write(&world, &series, (hour * HOUR, 180, 20, 1));
        (0..2).for_each(|shard| world.flush(shard));
    }
    write(&world, &series, (8 * HOUR, 180, 20, 1));
    (world, series)
}

const SUM: &str = "SELECT count(*) AS n, sum(value) AS s FROM cpu";

#[test]
fn only_rows_that_no_rollup_answers_are_read() {
    let (world, _) = nine_hours();
    let both = Both::new(&world, 2);
    let (with, without) = both.compare(SUM);
    assert_eq!(without.rows_scanned, 9 * 4 * 180);
    // A row of a rollup for each series and hour, and the rows of the last three hours.
    assert_eq!(with.rollup_rows, 6 * 4);
    assert_eq!(with.rows_scanned, 6 * 4 + 3 * 4 * 180);
    let (with, _) = both.compare(&format!("{SUM} WHERE time < '1970-01-01T06:00:00Z'"));
    assert_eq!((with.rollup_rows, with.rows_scanned), (24, 24));
    let plan = format!("EXPLAIN {SUM} WHERE host = 'a'");
    let plan = both.with.csv(&plan).unwrap();
    // Two hours of the shard that has the host, and an hour that is in memory still, of both.
    let rows = format!("sample_rows={}", 2 * 2 * 180 + 4 * 180);
    assert!(plan.contains(&format!("RollupExec: rollup_rows=24, {rows}")), "{plan}");
    let of_buckets = "SELECT time_bucket(INTERVAL '2 hours', time) AS t, sum(value) AS v \
                      FROM cpu GROUP BY t ORDER BY t";
    let (with, _) = both.compare(of_buckets);
    assert_eq!(with.rollup_rows, 24, "time_bucket is date_bin");
    let within = "time >= '1970-01-01T00:10:00Z' AND time < '1970-01-01T01:50:00Z'";
    let plan = both.with.csv(&format!("EXPLAIN {SUM} WHERE {within}")).unwrap();
    assert!(!plan.contains("RollupExec"), "no hour is whole: {plan}");
}

#[test]
fn a_late_row_in_another_place_makes_its_hour_read_row_by_row() {
    let (world, series) = nine_hours();
    let late =
        |second| Arrival { series: series[0], time: second * SECOND, value: 9e3, severity: 0.0 };
    let both = Both::new(&world, 2);
    let before = both.compare(SUM).0.rows_scanned;
    // It takes the place of a row of a merged segment.
    assert_eq!(world.write(&[late(HOUR + 40)]), [true]);
    let (with, _) = both.compare(SUM);
    assert!(with.rows_scanned > before, "{with:?}");
    (0..2).for_each(|shard| world.flush(shard));
    both.compare(SUM);
    while world.compact() {}
    both.compare(SUM);
}

#[test]
fn a_delete_is_seen_before_it_is_carried_out_and_afterwards() {
    let (world, _) = nine_hours();
    let both = Both::new(&world, 2);
    let n = || both.with.csv("SELECT count(*) AS n FROM cpu").unwrap();
    assert_eq!(n(), format!("n\n{}\n", 9 * 3 * 180));
    world.delete("cpu", 2 * HOUR * SECOND..=(2 * HOUR + 30) * SECOND);
    assert_eq!(n(), format!("n\n{}\n", 9 * 3 * 180 - 6));
    both.compare(SUM);
    merge(&world);
    assert_eq!(world.deletes(), 0);
    assert_eq!(n(), format!("n\n{}\n", 9 * 3 * 180 - 6));
    assert!(both.compare(SUM).0.rollup_rows > 0);
}

#[test]
fn aggregates_of_nothing_are_those_of_no_row() {
    let (world, _) = nine_hours();
    let both = Both::new(&world, 2);
    for condition in ["host = 'nobody'", "time < '1960-01-01T00:00:00Z'", "host IS NULL"] {
        for sql in statements(condition) {
            both.compare(&sql);
        }
    }
    let sql = "SELECT count(*) AS n, sum(value) AS s, avg(value) AS a FROM cpu WHERE host = 'x'";
    assert_eq!(both.with.csv(sql).unwrap(), "n,s,a\n0,,\n");
}

#[test]
fn plans_above_an_aggregate_take_it_as_it_was() {
    let (world, _) = nine_hours();
    let both = Both::new(&world, 2);
    let statements = [
        "SELECT a.host, a.n, b.hi FROM (SELECT host, count(*) AS n FROM cpu GROUP BY host) a \
         JOIN (SELECT host, max(value) AS hi FROM mem GROUP BY host) b ON a.host = b.host",
        "SELECT count(*) AS n FROM cpu UNION ALL SELECT count(value) AS n FROM mem ORDER BY n",
        "SELECT host, n, rank() OVER (ORDER BY n, host) AS r FROM \
         (SELECT host, count(value) AS n FROM cpu GROUP BY host) ORDER BY host",
        "SELECT host, avg(value) AS a FROM cpu WHERE host IN \
         (SELECT host FROM mem GROUP BY host) GROUP BY host",
        "SELECT host FROM cpu GROUP BY host HAVING avg(value) > \
         (SELECT avg(value) - 1 FROM cpu) ORDER BY host",
        "SELECT host, region, count(*) AS n FROM cpu GROUP BY ROLLUP (host, region) \
         ORDER BY host, region",
        "SELECT host, avg(value) AS a FROM cpu GROUP BY host ORDER BY a DESC, host LIMIT 2",
        "SELECT extract(hour FROM time) AS h, CAST(time AS DATE) AS d, count(*) AS n \
         FROM cpu GROUP BY h, d ORDER BY d, h",
    ];
    for sql in statements {
        both.compare(sql);
    }
}

#[test]
fn a_damaged_rollup_costs_time_and_no_answer() {
    let (world, _) = nine_hours();
    let merged = world.files("samples").into_iter().find(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(16).any(|window| window == b"tidewatch.rollup")
    });
    let path = merged.expect("a segment has a rollup");
    let bytes = std::fs::read(&path).unwrap();
    // The rollup begins with its own magic number, behind that of the segment.
    let starts = bytes.windows(4).enumerate().filter(|(_, window)| window == b"PAR1");
    let start = starts.map(|(at, _)| at).nth(1).unwrap();
    let mut damaged = bytes.clone();
    damaged[start + 40] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let both = Both::new(&world, 2);
    let (with, without) = both.compare(SUM);
    assert_eq!(with.segments, without.segments);
    assert_eq!(both.with.instruments.rollups_damaged.get(), 1);
    both.compare(SUM);
    assert_eq!(both.with.instruments.rollups_damaged.get(), 1, "it is not tried again");
    assert!(world.damaged().is_empty(), "its rows are whole");
}
