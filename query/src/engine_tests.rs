use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use futures::future::{join_all, select};

use crate::fixtures::{Arrival, Asked, SECOND, World, request};
use crate::{Format, QueryErrorKind, QueryLimits};

fn row(world: &World, host: &str, second: i64, value: f64) -> Arrival {
    let series = world.series("default", "cpu", &[("host", host)]);
    Arrival { series, time: second * SECOND, value, severity: 0.0 }
}

/// Takes minutes and little memory.
const ENDLESS: &str = "SELECT count(*) FROM range(0, 1000000000000)";

#[test]
fn an_answer_says_what_it_took_and_skips_what_it_need_not_read() {
    let world = World::new(1);
    for hour in 0..3 {
        world.write(&[row(&world, "a", hour * 3_600, 1.0), row(&world, "b", hour * 3_600, 2.0)]);
        world.flush(0);
    }
    world.write(&[row(&world, "a", 10_800, 4.0)]);
    let asked = Asked::new(&world);
    let sql =
        "SELECT value FROM cpu WHERE host = 'a' AND time >= '1970-01-01T02:00:00Z' ORDER BY time";
    let answer = asked.ask(request(sql, Format::Json)).unwrap();
    assert_eq!(answer.body, r#"[{"value":1.0},{"value":4.0}]"#);
    assert_eq!(answer.content_type, "application/json");
    let stats = answer.stats;
    assert_eq!((stats.rows, stats.rows_scanned), (2, 3), "{stats:?}");
    assert_eq!((stats.segments, stats.segments_pruned), (3, 2), "{stats:?}");
    assert_eq!(stats.lsn.get(), 4);
    assert!(stats.bytes_scanned > 0 && stats.ms > 0.0);
    let json: serde_json::Value = serde_json::from_str(&stats.to_json()).unwrap();
    assert_eq!(json["segments_pruned"], 2);
}

#[test]
fn a_limit_stops_the_scan_early() {
    let world = World::new(1);
    let rows: Vec<Arrival> = (0..200_000).map(|i| row(&world, "a", i, 1.0)).collect();
    world.write(&rows);
    world.flush(0);
    let asked = Asked::with_limits(&world, QueryLimits { threads: 1, ..QueryLimits::default() });
    let answer = asked.ask(request("SELECT value FROM cpu LIMIT 5", Format::Json)).unwrap();
    assert_eq!(answer.stats.rows, 5);
    assert!(answer.stats.rows_scanned < 150_000, "one row group of two: {:?}", answer.stats);
}

#[test]
fn one_series_of_many_needs_the_row_groups_that_have_it() {
    let world = World::new(1);
    for host in 0..10 {
        let of_host = |second| row(&world, &host.to_string(), second, f64::from(host));
        world.write(&(0..30_000).map(of_host).collect::<Vec<_>>());
    }
    world.flush(0);
    let asked = Asked::new(&world);
    for (host, scanned) in [("0", 131_072), ("4", 262_144), ("9", 300_000 - 262_144)] {
        let sql =
            format!("SELECT count(*) AS rows, sum(value) AS sum FROM cpu WHERE host = '{host}'");
        let answer = asked.ask(request(&sql, Format::Csv)).unwrap();
        let sum = 30_000.0 * host.parse::<f64>().unwrap();
        assert_eq!(answer.body, format!("rows,sum\n30000,{sum:?}\n"), "{host}");
        assert_eq!(answer.stats.rows_scanned, scanned, "{host}");
    }
}

#[test]
fn a_plan_is_shown_and_measured() {
    let world = World::new(1);
    world.write(&[row(&world, "a", 1, 1.0), row(&world, "b", 1, 1.0)]);
    let asked = Asked::new(&world);
    let join = "SELECT a.host FROM cpu a JOIN cpu b ON a.time = b.time AND a.value + b.value > 1";
    let plan = asked.csv(&format!("EXPLAIN {join}")).unwrap();
    assert!(plan.contains("HashJoin") && plan.contains("StreamingTableExec"), "{plan}");
    let measured = asked.csv(&format!("EXPLAIN ANALYZE {join}")).unwrap();
    assert!(measured.contains("output_rows=4"), "{measured}");
    let tables = asked.csv("SHOW TABLES").unwrap();
    assert!(tables.contains("tidewatch,default,cpu,BASE TABLE"), "{tables}");
}

#[test]
fn all_formats_answer_the_same_rows() {
    let world = World::new(1);
    world.write(&[row(&world, "a", 1, 0.5)]);
    let asked = Asked::new(&world);
    let body = |format| asked.ask(request("SELECT host, value FROM cpu", format)).unwrap().body;
    assert_eq!(body(Format::Json), r#"[{"host":"a","value":0.5}]"#);
    assert_eq!(body(Format::JsonLines), "{\"host\":\"a\",\"value\":0.5}\n");
    assert_eq!(body(Format::Csv), "host,value\na,0.5\n");
    assert!(body(Format::Pretty).starts_with(b"+------+-------+\n| host | value |"));
}

#[test]
fn a_query_sees_every_row_that_was_acknowledged_before_it() {
    let world = World::new(3);
    let asked = Asked::new(&world);
    for i in 0..60 {
        world.write(&[row(&world, &format!("h{}", i % 5), i, 1.0)]);
        if i % 7 == 0 {
            world.freeze(usize::try_from(i % 3).unwrap());
        }
        if i % 11 == 0 {
            world.flush(usize::try_from(i % 3).unwrap());
        }
        let answer = asked.csv("SELECT count(*) AS n FROM cpu").unwrap();
        assert_eq!(answer, format!("n\n{}\n", i + 1));
    }
}

#[test]
fn rows_that_cannot_be_shown_yet_are_no_wrong_answer() {
    let world = World::new(1);
    world.set_ready(false);
    let error = Asked::new(&world).csv("SELECT 1").unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Unavailable);
}

#[test]
fn a_damaged_segment_is_told_and_not_skipped() {
    let world = World::new(1);
    world.write(&[row(&world, "a", 1, 1.0)]);
    world.flush(0);
    let files = std::fs::read_dir(world.dir()).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "parquet");
    let damaged: Vec<_> = files.filter(is_segment).collect();
    assert!(!damaged.is_empty(), "no segment in {:?}", world.dir());
    for path in damaged {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[10] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let error = Asked::new(&world).csv("SELECT value FROM cpu").unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Internal);
    assert_eq!(error.to_string(), "stored rows could not be read");
}

#[test]
fn beyond_the_room_queries_are_turned_away_and_dropped_ones_make_room() {
    let world = World::new(1);
    let limits = QueryLimits { running_max: 1, waiting_max: 1, ..QueryLimits::default() };
    let asked = Asked::with_limits(&world, limits);
    let long = || Box::pin(asked.engine.execute(request(ENDLESS, Format::Json)));
    block_on(async {
        let (mut one, mut two) = (long(), long());
        // A future that was polled once has its place.
        assert!(futures::poll!(&mut one).is_pending());
        assert!(futures::poll!(&mut two).is_pending());
        let turned_away = asked.engine.execute(request("SELECT 1", Format::Json)).await;
        assert_eq!(turned_away.unwrap_err().kind(), QueryErrorKind::Unavailable);
        drop((one, two));
        // Both were cancelled: else this would wait for minutes, or be turned away for ever.
        loop {
            match asked.engine.execute(request("SELECT 1 AS x", Format::Csv)).await {
                Ok(answer) => {
                    assert_eq!(answer.body, "x\n1\n");
                    break;
                }
                Err(error) => assert_eq!(error.kind(), QueryErrorKind::Unavailable, "{error}"),
            }
        }
    });
}

/// Holds memory of all rows, and ends in minutes at the earliest.
const GREEDY: &str = "SELECT max(s) FROM (SELECT sum(a.value) OVER () AS s FROM \
                      range(0, 400000) a CROSS JOIN range(0, 1000) b)";

#[test]
fn two_hundred_queries_of_which_half_are_dropped_leave_nothing_behind() {
    let world = World::new(2);
    let rows: Vec<Arrival> = (0..5_000).map(|i| row(&world, "a", i, 1.0)).collect();
    world.write(&rows);
    world.flush(0);
    let limits =
        QueryLimits { running_max: 4, waiting_max: 196, threads: 2, ..QueryLimits::default() };
    let asked = Asked::with_limits(&world, limits);
    let clock = tidewatch_env::RealClock::new();
    let now = || tidewatch_env::Clock::monotonic(&clock);
    let sql = |at: usize| match at % 4 {
        0 => GREEDY,
        2 => ENDLESS,
        _ => "SELECT host, count(*) AS n, increase(value, time) AS up FROM cpu GROUP BY host",
    };
    let queries = (0..200).map(|at| asked.engine.execute(request(sql(at), Format::Csv)));
    let mut queries: Vec<_> = queries.map(Box::pin).collect();
    block_on(async {
        for query in &mut queries {
            assert!(futures::poll!(query).is_pending());
        }
    });
    // Some of those that are dropped are at work by then, and most wait.
    while asked.engine.held().1 < 4 {
        assert!(now() < Duration::from_secs(60), "nothing runs");
        std::thread::yield_now();
    }
    let kept: Vec<_> =
        queries.into_iter().enumerate().filter(|(at, _)| at % 2 == 1).map(|(_, q)| q).collect();
    for answer in block_on(join_all(kept)) {
        assert_eq!(answer.unwrap().body, "host,n,up\na,5000,0.0\n");
    }
    while asked.engine.held() != (0, 0, 0) || asked.instruments.running.get() != 0 {
        let held = asked.engine.held();
        assert!(now() < Duration::from_secs(120), "bytes, running and room: {held:?}");
        std::thread::yield_now();
    }
}

#[test]
fn deadlines_hold_while_all_threads_are_busy() {
    let world = World::new(1);
    let limits = QueryLimits { threads: 1, running_max: 4, ..QueryLimits::default() };
    let asked = Asked::with_limits(&world, limits);
    let clock = tidewatch_env::RealClock::new();
    let queries = (0..4).map(|_| {
        let mut request = request(ENDLESS, Format::Json);
        request.timeout = Some(Duration::from_millis(500));
        asked.engine.execute(request)
    });
    let answers = block_on(join_all(queries));
    for answer in answers {
        assert_eq!(answer.unwrap_err().kind(), QueryErrorKind::Timeout);
    }
    let took = tidewatch_env::Clock::monotonic(&clock);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn an_engine_that_is_dropped_answers_nobody_and_hangs_nobody() {
    let world = World::new(1);
    let asked = Asked::new(&world);
    let Asked { engine, runtime, .. } = asked;
    let engine = Arc::new(engine);
    let of_task = Arc::clone(&engine);
    runtime.block_on(async move {
        let query = Box::pin(async move {
            let answer = of_task.execute(request(ENDLESS, Format::Json)).await;
            drop(of_task);
            answer
        });
        let ready = Box::pin(async { engine.execute(request("SELECT 1", Format::Json)).await });
        let first = select(query, ready).await;
        assert!(matches!(first, futures::future::Either::Right((Ok(_), _))));
    });
}

#[test]
fn instruments_count_what_happened() {
    let world = World::new(1);
    world.write(&[row(&world, "a", 1, 1.0), row(&world, "a", 2, 1.0)]);
    let instruments = crate::QueryInstruments::default();
    let source: Arc<dyn crate::Source> = Arc::<World>::clone(&world);
    let engine =
        crate::QueryEngine::new(source, QueryLimits::default(), instruments.clone()).unwrap();
    let ask = |sql: &str| block_on(engine.execute(request(sql, Format::Json)));
    ask("SELECT value FROM cpu").unwrap();
    ask("SELECT nonsense").unwrap_err();
    ask("DROP TABLE cpu").unwrap_err();
    assert_eq!((instruments.answered.get(), instruments.refused.get()), (1, 2));
    assert_eq!((instruments.rows.get(), instruments.rows_scanned.get()), (2, 2));
    assert!(instruments.bytes_scanned.get() > 0);
    let mut registry = prometheus_client::registry::Registry::default();
    instruments.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("tidewatch_query_answered_total 1"), "{text}");
    assert!(text.contains("tidewatch_query_seconds_count 3"), "{text}");
}

#[test]
fn a_damaged_segment_is_told_and_queries_go_on_without_it() {
    let world = World::new(1);
    let series = world.series("default", "cpu", &[("host", "a")]);
    for (second, value) in [(1, 1.0), (2, 2.0)] {
        world.write(&[Arrival { series, time: second * SECOND, value, severity: 0.0 }]);
        world.flush(0);
    }
    let damaged = world.dir().join("samples-00000000000000000001.parquet");
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[7] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let sql = "SELECT count(*) AS n, sum(value) AS v FROM cpu";
    let asked = Asked::new(&world);
    let refused = asked.csv(sql).unwrap_err();
    assert_eq!(refused.kind(), QueryErrorKind::Internal, "{refused}");
    assert_eq!(world.damaged(), std::slice::from_ref(&damaged));
    world.quarantine(&damaged);
    assert_eq!(asked.csv(sql).unwrap(), "n,v\n1,2.0\n");
    let stats = asked.ask(request(sql, Format::Csv)).unwrap().stats;
    assert!(stats.to_json().contains("\"segments_quarantined\":1"), "{}", stats.to_json());
    let state = "SELECT state, rows FROM tidewatch.segments WHERE kind = 'samples' ORDER BY state";
    assert_eq!(asked.csv(state).unwrap(), "state,rows\nactive,1\nquarantined,1\n");
    assert!(damaged.exists(), "for whoever can mend it");
}
