//! Statements that would take the process down, or memory and time without end.
//!
//! Each was tried on DataFusion alone: the first three overflow its stack, the next ones take
//! gigabytes past its memory pool. Here each must end with a refusal within its limits.

use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use tidewatch_env::{Clock, RealClock};

use crate::fixtures::{Arrival, Asked, SECOND, World, request};
use crate::limits::{OPERATORS_MAX, SET_OPERATIONS_MAX};
use crate::{Format, QueryErrorKind, QueryLimits};

use QueryErrorKind::{Forbidden, Invalid, LimitExceeded, Timeout};

/// A world with some rows, which every query of these tests must leave unharmed.
fn asked() -> Asked {
    let world = World::new(1);
    let rows: Vec<Arrival> = (0..20_000)
        .map(|i| Arrival {
            series: world.series("default", "cpu", &[("host", &format!("h{}", i % 10))]),
            time: i64::from(i) * SECOND,
            value: f64::from(i),
            severity: 0.0,
        })
        .collect();
    world.write(&rows);
    world.flush(0);
    Asked::new(&world)
}

/// Resident memory of this process in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_024
}

/// Runs `measured` in a process that does nothing else, as this one's other tests take memory too.
fn in_its_own_process(test: &str, measured: impl FnOnce()) {
    const ALONE: &str = "TIDEWATCH_TEST_IS_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return measured();
    }
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let alone = alone.env(ALONE, "1").args(["--exact", test, "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&alone.stdout);
    let is_run = said.contains("1 passed");
    assert!(is_run, "{said}\n{}", String::from_utf8_lossy(&alone.stderr));
}

fn refused(asked: &Asked, sql: &str, kinds: &[QueryErrorKind]) {
    let clock = RealClock::new();
    let shown: String = sql.chars().take(100).collect();
    let error = asked.csv(sql).expect_err(&shown);
    assert!(kinds.contains(&error.kind()), "{shown}: {:?}: {error}", error.kind());
    assert!(!error.to_string().is_empty(), "{shown}");
    assert!(clock.monotonic() < Duration::from_secs(40), "{shown} took too long");
    let alive = asked.csv("SELECT count(*) AS n FROM cpu").unwrap();
    assert_eq!(alive, "n\n20000\n", "after {shown}");
}

#[test]
fn chains_that_overflow_the_stack_of_datafusion_are_refused() {
    let asked = asked();
    let sum = format!("SELECT {}", vec!["1"; 20_000].join("+"));
    refused(&asked, &sum, &[LimitExceeded]);
    let and = vec!["value > 1"; 5_000].join(" AND ");
    refused(&asked, &format!("SELECT 1 FROM cpu WHERE {and}"), &[LimitExceeded]);
    let union = vec!["SELECT 1"; 3_000].join(" UNION ALL ");
    refused(&asked, &union, &[LimitExceeded]);
    let nested = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    refused(&asked, &nested, &[LimitExceeded]);
    let minus = format!("SELECT {}1", "- ".repeat(900));
    refused(&asked, &minus, &[LimitExceeded]);
    let nots = format!("SELECT {} true", "NOT ".repeat(900));
    refused(&asked, &nots, &[LimitExceeded, Invalid]);
    refused(&asked, &format!("SELECT '{}'", "x".repeat(70_000)), &[LimitExceeded]);
    refused(&asked, &format!("SELECT {}", vec!["1"; 17_000].join(",")), &[LimitExceeded]);
}

#[test]
fn the_longest_chains_that_are_taken_are_answered() {
    let asked = asked();
    let sum = vec!["1"; OPERATORS_MAX + 1].join("+");
    assert_eq!(
        asked.csv(&format!("SELECT {sum} AS s")).unwrap(),
        format!("s\n{}\n", OPERATORS_MAX + 1)
    );
    let and: Vec<String> = (0..OPERATORS_MAX / 2).map(|i| format!("value > {i}")).collect();
    let and = format!("SELECT count(*) AS n FROM cpu WHERE {}", and.join(" AND "));
    assert_eq!(asked.csv(&and).unwrap(), format!("n\n{}\n", 20_000 - OPERATORS_MAX / 2));
    let or: Vec<String> = (0..120).map(|i| format!("value = {i} AND host != 'x'")).collect();
    let or = format!("SELECT count(*) AS n FROM cpu WHERE {}", or.join(" OR "));
    assert_eq!(asked.csv(&or).unwrap(), "n\n120\n");
    let arms = vec!["SELECT count(*) AS n FROM cpu"; SET_OPERATIONS_MAX + 1].join(" UNION ALL ");
    let arms = asked.csv(&format!("SELECT sum(n) AS n FROM ({arms})")).unwrap();
    assert_eq!(arms, format!("n\n{}\n", 20_000 * (SET_OPERATIONS_MAX + 1)));
    let mut list = String::new();
    (0..5_000).for_each(|i| write!(list, "{i},").unwrap());
    let list = format!("SELECT count(*) AS n FROM cpu WHERE value IN ({list}0)");
    assert_eq!(asked.csv(&list).unwrap(), "n\n5000\n");
}

#[test]
fn functions_that_build_without_bound_are_refused() {
    let test = "bounds_tests::functions_that_build_without_bound_are_refused";
    in_its_own_process(test, refuse_what_builds_without_bound);
}

fn refuse_what_builds_without_bound() {
    let asked = asked();
    let before = resident_mib();
    for sql in [
        "SELECT repeat('x', 2000000000)",
        "SELECT length(repeat(host, 1000000)) FROM cpu",
        "SELECT range(1, 2000000000)",
        "SELECT generate_series(1, 2000000000)",
        "SELECT generate_series(TIMESTAMP '1700-01-01', TIMESTAMP '2200-01-01', INTERVAL '1 second')",
        "SELECT array_length(array_repeat(host, 100000)) FROM cpu",
        "SELECT array_resize([1], 1000000000, 0)",
        "SELECT lpad('x', 2000000000, 'y')",
        "SELECT rpad('x', 2000000000, 'y')",
        "SELECT replace(repeat('a', 50000), 'a', repeat('b', 50000))",
        "SELECT regexp_replace(repeat('a', 50000), 'a', repeat('b', 50000), 'g')",
        "SELECT array_to_string(range(0, 60000), repeat('b', 60000))",
        "SELECT levenshtein(repeat('a', 60000), repeat('b', 60000))",
        "SELECT length(concat(s, s, s, s)) FROM (SELECT repeat('x', 30000000) AS s)",
        "SELECT length(s || s || s || s) FROM (SELECT repeat('x', 30000000) AS s)",
        "SELECT unnest(range(0, 6000000)), repeat('x', 60000)",
        "SELECT a.s FROM (SELECT repeat('x', 1000000) AS s) a CROSS JOIN cpu",
        "SELECT a.s FROM (SELECT string_agg(host, ',') AS s FROM cpu) a CROSS JOIN cpu",
        "SELECT sum(length(s)) OVER () FROM (SELECT repeat('x', 100000) AS s)",
        "SELECT max(s) FROM (SELECT sum(value) OVER () AS s FROM range(0, 200000000))",
        "SELECT * FROM range(1, 2000000000)",
        "SELECT array_agg(a.value) FROM cpu a CROSS JOIN cpu b",
        "SELECT DISTINCT a.value, b.value FROM cpu a CROSS JOIN cpu b",
        "SELECT * FROM cpu a CROSS JOIN cpu b ORDER BY a.value + b.value",
        "SELECT increase(a.value + b.value, a.time) FROM cpu a CROSS JOIN cpu b",
        "SELECT a.value, rate(b.value, b.time) FROM cpu a CROSS JOIN cpu b GROUP BY a.value",
        "SELECT a.value, median(b.value) FROM cpu a CROSS JOIN cpu b GROUP BY a.value",
        "SELECT a.value, array_agg(b.value) FROM cpu a CROSS JOIN cpu b GROUP BY CUBE(a.value, a.host)",
        "SELECT * FROM time_buckets('1 nanosecond', TIMESTAMP '1700-01-01', TIMESTAMP '2200-01-01')",
        "SELECT a.bucket FROM time_buckets('1 minute', now() - INTERVAL '600 days', now()) a \
         CROSS JOIN time_buckets('1 minute', now() - INTERVAL '600 days', now()) b ORDER BY 1",
    ] {
        refused(&asked, sql, &[LimitExceeded, Timeout]);
    }
    let grown = resident_mib() - before;
    assert!(grown < 1_200, "{grown} MiB more at the highest");
}

#[test]
fn what_would_change_something_or_leave_the_process_is_refused() {
    let asked = asked();
    for sql in [
        "COPY (SELECT 1) TO '/tmp/tidewatch-probe.csv'",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "SET datafusion.execution.batch_size = 1",
        "INSERT INTO cpu SELECT * FROM cpu",
        "PREPARE p AS SELECT 1",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/tidewatch-probe.csv'",
        "DROP TABLE cpu",
        "DELETE FROM cpu",
        "UPDATE cpu SET value = 0",
        "TRUNCATE TABLE cpu",
        "CREATE TABLE t AS SELECT * FROM cpu",
        "CREATE VIEW v AS SELECT * FROM cpu",
        "CREATE SCHEMA s",
        "CREATE FUNCTION f(BIGINT) RETURNS BIGINT RETURN $1 + 1",
        "BEGIN",
        "EXECUTE p",
        "DEALLOCATE p",
        "EXPLAIN COPY (SELECT 1) TO '/tmp/tidewatch-probe.csv'",
    ] {
        refused(&asked, sql, &[Forbidden]);
    }
    for sql in [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'http://127.0.0.1/x.parquet'",
        "SELECT * FROM \"/etc/passwd.csv\"",
        "SELECT 1; SELECT 2",
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT * FROM t",
        "SELECT regexp_like(host, host) FROM cpu",
        "SELECT * FROM 's3://bucket/x.parquet'",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM parquet_metadata('/etc/passwd')",
        "SELECT rate(value, time) OVER (ORDER BY time) FROM cpu",
    ] {
        refused(&asked, sql, &[Invalid]);
    }
    assert!(!std::path::Path::new("/tmp/tidewatch-probe.csv").exists());
}

#[test]
fn a_cross_join_of_minutes_ends_at_its_deadline() {
    let asked = asked();
    let clock = RealClock::new();
    for sql in [
        "SELECT count(*) FROM range(0, 200000) a, range(0, 200000) b WHERE a.value + b.value < 0",
        "SELECT sum(a.value * b.value) FROM range(0, 200000) a CROSS JOIN range(0, 200000) b",
        "SELECT count(*) FROM range(0, 1000000000000) a",
    ] {
        let before = clock.monotonic();
        let mut request = request(sql, Format::Json);
        request.timeout = Some(Duration::from_secs(2));
        let error = asked.ask(request).expect_err(sql);
        assert_eq!(error.kind(), Timeout, "{sql}: {error}");
        let took = clock.monotonic() - before;
        assert!(took >= Duration::from_secs(2), "{sql} ended after {took:?}");
        assert!(took < Duration::from_secs(6), "{sql} was held up until {took:?}");
    }
    // What was abandoned has really ended, or these could not be answered one after the other.
    for _ in 0..20 {
        assert_eq!(asked.csv("SELECT count(*) AS n FROM cpu").unwrap(), "n\n20000\n");
    }
}

#[test]
fn rows_bytes_and_what_is_read_are_limited() {
    let world = World::new(1);
    let series = world.series("default", "cpu", &[]);
    let row = |i: i64| Arrival { series, time: i * SECOND, value: 1.0, severity: 0.0 };
    world.write(&(0..5_000).map(row).collect::<Vec<_>>());
    let limits = |rows_max, answer_bytes_max, scan_bytes_max| QueryLimits {
        rows_max,
        answer_bytes_max,
        scan_bytes_max,
        ..QueryLimits::default()
    };
    for limits in [
        limits(4_999, 1 << 20, 1 << 30),
        limits(5_000, 1_000, 1 << 30),
        limits(5_000, 1 << 20, 1_000),
    ] {
        let asked = Asked::with_limits(&world, limits.clone());
        let error = asked.csv("SELECT * FROM cpu").expect_err("beyond a limit");
        assert_eq!(error.kind(), LimitExceeded, "{limits:?}: {error}");
    }
    let asked = Asked::with_limits(&world, limits(5_000, 1 << 20, 1 << 30));
    assert_eq!(asked.csv("SELECT * FROM cpu").unwrap().lines().count(), 5_001);
}
