//! The last value of each series, against the same statements on all rows.

use crate::fixtures::{Arrival, SECOND};
use crate::rollup_tests::{Both, HOUR, nine_hours, write};

const LAST: &str = "SELECT host, region, max(time) AS time, last_value(value ORDER BY time) AS value \
                    FROM cpu GROUP BY host, region ORDER BY host, region";
const NEWEST: &str =
    "SELECT DISTINCT ON (host) host, time, value FROM cpu ORDER BY host, time DESC";

fn compare(both: &Both) {
    for sql in [LAST, NEWEST] {
        both.compare(sql);
    }
}

#[test]
fn what_is_older_than_the_last_rows_is_not_read() {
    let (world, _) = nine_hours();
    let both = Both::new(&world, 1);
    for sql in [LAST, NEWEST] {
        let (with, without) = both.compare(sql);
        assert_eq!(without.rows_scanned, 9 * 4 * 180);
        // The hour that is in memory has a row of every series.
        assert_eq!((with.rows_scanned, with.rollup_rows), (4 * 180, 0), "{sql}");
        let plan = both.with.csv(&format!("EXPLAIN {sql}")).unwrap();
        assert!(plan.contains("LatestExec: rollup_rows=24, sample_rows=2160"), "{plan}");
    }
}

#[test]
fn a_series_that_ended_long_ago_is_found_in_the_file_that_has_it() {
    let (world, mut series) = nine_hours();
    // Late for nobody: it begins and ends within the first hours, before everything is merged again.
    let old = world.series("default", "cpu", &[("host", "old"), ("region", "us")]);
    let row = |minute: i64| Arrival {
        series: old,
        time: minute * 60 * SECOND,
        value: minute as f64,
        severity: 0.0,
    };
    world.write(&(0..100).map(row).collect::<Vec<_>>());
    (0..2).for_each(|shard| world.flush(shard));
    write(&world, &series, (9 * HOUR, 180, 20, 1));
    (0..2).for_each(|shard| world.flush(shard));
    series.truncate(2);
    write(&world, &series, (10 * HOUR, 180, 20, 1));
    let both = Both::new(&world, 1);
    for sql in [LAST, NEWEST] {
        let (with, without) = both.compare(sql);
        assert!(with.rows_scanned < without.rows_scanned / 2, "{with:?} {without:?}");
        let answer = both.with.csv(sql).unwrap();
        assert!(answer.lines().any(|line| line.starts_with("old,") && line.ends_with(",99.0")));
    }
    while world.compact() {}
    [LAST, NEWEST].iter().for_each(|sql| assert!(both.compare(sql).0.rows_scanned > 0));
}

#[test]
fn a_last_row_that_is_late_deleted_or_beyond_the_range_is_not_the_last_one() {
    let (world, series) = nine_hours();
    let both = Both::new(&world, 2);
    let last = 9 * HOUR - 20;
    let row =
        |second, value| Arrival { series: series[0], time: second * SECOND, value, severity: 0.0 };
    // It takes the place of the last row, and is read from another file than that.
    (0..2).for_each(|shard| world.flush(shard));
    world.write(&[row(last, 4711.0)]);
    let answer = both.with.csv(LAST).unwrap();
    assert!(
        answer.starts_with("host,region,time,value\na,eu,1970-01-01T08:59:40Z,4711.0\n"),
        "{answer}"
    );
    compare(&both);
    world.write(&[row(last + 20, f64::NAN)]);
    compare(&both);
    world.delete("cpu", last * SECOND..=(last + 90) * SECOND);
    compare(&both);
    let answer = both.with.csv(LAST).unwrap();
    assert!(answer.contains("a,eu,1970-01-01T08:59:20Z,"), "{answer}");
    for until in ["08:30:00Z", "06:00:00Z", "05:59:59.999999999Z", "00:00:20Z"] {
        let until = format!("cpu WHERE time < '1970-01-01T{until}'");
        both.compare(&LAST.replace("cpu", &until));
        both.compare(&NEWEST.replace("cpu", &until));
    }
}

#[test]
fn what_asks_for_more_than_the_latest_rows_reads_them_all() {
    let (world, _) = nine_hours();
    let both = Both::new(&world, 1);
    let statements = [
        "SELECT host, max(time) AS t, count(*) AS n FROM cpu GROUP BY host ORDER BY host",
        "SELECT host, last_value(value ORDER BY time) AS l, min(time) AS t FROM cpu GROUP BY host \
         ORDER BY host",
        "SELECT date_bin(INTERVAL '1 hour', time) AS h, max(time) AS t FROM cpu GROUP BY h ORDER BY h",
        "SELECT date_trunc('day', time) AS h, host, last_value(value ORDER BY time) AS v FROM cpu \
         GROUP BY h, host ORDER BY h, host",
        "SELECT host, first_value(value ORDER BY time) AS f FROM cpu GROUP BY host ORDER BY host",
        "SELECT host, last_value(value ORDER BY time DESC) AS f FROM cpu GROUP BY host ORDER BY host",
        "SELECT host, last_value(value ORDER BY value, time) AS f FROM cpu GROUP BY host ORDER BY host",
        "SELECT host, last_value(severity ORDER BY time) AS f FROM cpu GROUP BY host ORDER BY host",
        "SELECT host, last_value(value ORDER BY time) FILTER (WHERE value > 3) AS f FROM cpu \
         GROUP BY host ORDER BY host",
        "SELECT host, last_value(value ORDER BY time) IGNORE NULLS AS f FROM cpu GROUP BY host \
         ORDER BY host",
        "SELECT DISTINCT ON (host) host, time, value FROM cpu ORDER BY host, time",
    ];
    for sql in statements {
        both.compare(sql);
        let plan = both.with.csv(&format!("EXPLAIN {sql}")).unwrap();
        assert!(!plan.contains("LatestExec"), "{plan}");
    }
}
