use crate::QueryLimits;
use crate::fixtures::{Arrival, Asked, SECOND, World};

/// Two shards, half of the rows in segments; questions with one partition and with three.
fn asked() -> [Asked; 2] {
    let world = World::new(2);
    let rows: Vec<Arrival> = (0..6_000_u32)
        .map(|i| {
            let labels = [("host", &*format!("h{}", i % 7)), ("rack", &*format!("r{}", i % 2))];
            Arrival {
                series: world.series("default", "cpu", &labels),
                time: i64::from(i) * SECOND,
                value: f64::from(i * 37 % 101),
                severity: 0.0,
            }
        })
        .collect();
    world.write(&rows[..3_000]);
    world.flush(0);
    world.flush(1);
    world.write(&rows[3_000..]);
    [1, 3].map(|threads| {
        Asked::with_limits(&world, QueryLimits { threads, ..QueryLimits::default() })
    })
}

#[test]
fn what_holds_its_rows_has_one_phase_and_everything_else_has_two() {
    let [_, three] = asked();
    for aggregate in
        ["rate(value, time)", "array_agg(value)", "median(value)", "string_agg(host, ',')"]
    {
        for (groups, mode) in [
            ("", "mode=Single,"),
            ("GROUP BY host", "mode=SinglePartitioned,"),
            ("GROUP BY ROLLUP (rack, host)", "mode=Single,"),
        ] {
            let sql = format!("EXPLAIN SELECT max(value), {aggregate} FROM cpu {groups}");
            let plan = three.csv(&sql).unwrap();
            assert!(plan.contains(mode), "{sql}: {plan}");
            assert!(!plan.contains("mode=Partial"), "{sql}: {plan}");
        }
    }
    for aggregate in ["max(value)", "avg(value)", "approx_percentile_cont(value, 0.5)"] {
        let sql = format!("EXPLAIN SELECT {aggregate} FROM cpu WHERE value > 1 GROUP BY host");
        let plan = three.csv(&sql).unwrap();
        assert!(plan.contains("mode=Partial") && plan.contains("mode=Final"), "{sql}: {plan}");
    }
}

#[test]
fn one_phase_of_three_partitions_answers_what_one_partition_answers() {
    let [one, three] = asked();
    for sql in [
        "SELECT rate(value, time) AS r FROM cpu",
        "SELECT host, rate(value, time) AS r, count(*) AS n FROM cpu GROUP BY host ORDER BY host",
        "SELECT rack, host, integral(value, time) AS i, median(value) AS m FROM cpu \
         GROUP BY ROLLUP (rack, host) ORDER BY rack, host",
        "SELECT host, median(value) FILTER (WHERE value > 50) AS m FROM cpu GROUP BY host \
         HAVING rate(value, time) > 0 ORDER BY host LIMIT 5",
        "SELECT host, count(DISTINCT value) AS d, array_length(array_agg(value)) AS n FROM cpu \
         GROUP BY host ORDER BY host",
        "SELECT rack, max(r) AS r FROM (SELECT rack, host, rate(value, time) AS r FROM cpu \
         GROUP BY rack, host) GROUP BY rack ORDER BY rack",
        "SELECT rate(value, time) AS r, median(value) AS m FROM cpu WHERE value > 1000",
    ] {
        let answer = one.csv(sql).unwrap();
        assert_eq!(three.csv(sql).unwrap(), answer, "{sql}");
        assert!(answer.lines().count() > 1, "{sql}: {answer}");
    }
}
