use tidewatch_engine::kafka::SourceTrouble;

use super::*;

const BOUNDS: Bounds = Bounds {
    data_dir: std::path::PathBuf::new(),
    disk_bytes_max: 0,
    requests_bytes_max: 1_000,
    series_bytes_max: 1_000,
};

fn told(finding: &Finding) -> (Status, &str) {
    (finding.status, &finding.message)
}

#[test]
fn each_part_tells_what_is_wrong_with_it_and_nothing_else() {
    let good = EngineHealth { is_recovered: true, ..EngineHealth::default() };
    for finding in
        [log(&good), shards(&good), segments(&good), sinks(&good, &[]), memory(&good, &BOUNDS)]
    {
        assert_eq!(finding.status, Status::Healthy, "{finding:?}");
    }
    let full = EngineHealth { is_full: true, ..good };
    assert!(told(&log(&full)).1.contains("507") && log(&full).status == Status::Degraded);
    let closed = EngineHealth { is_closed: true, ..full };
    assert_eq!(log(&closed).status, Status::Unhealthy);
    let behind = EngineHealth { is_behind: true, ..good };
    assert_eq!(told(&segments(&behind)), (Status::Degraded, "flushes are behind"));
    let damaged = segments(&EngineHealth { quarantined: 2, ..behind });
    assert!(damaged.message.starts_with("2 damaged") && damaged.message.contains("behind"));
    assert_eq!(damaged.status, Status::Degraded);
    let dead = EngineHealth { dead_letters: 1, ..good };
    assert_eq!(sinks(&dead, &[]).status, Status::Degraded);
    let waiting = EngineHealth { undelivered: BACKLOG_MAX + 1, ..good };
    assert_eq!(sinks(&waiting, &[]).status, Status::Degraded);
    let trouble = SinkTrouble { sink: "oncall".to_owned(), text: "no answer".to_owned() };
    let failing = sinks(&good, &[trouble]);
    assert_eq!(told(&failing), (Status::Degraded, "oncall: no answer; 0 messages wait"));
    let series = EngineHealth { series_bytes: 951, ..good };
    assert!(told(&memory(&series, &BOUNDS)).1.starts_with("series"));
    let requests = EngineHealth { requests_bytes: 951, series_bytes: 950, ..good };
    assert!(told(&memory(&requests, &BOUNDS)).1.starts_with("requests"));
}

#[test]
fn a_disk_that_is_nearly_full_is_unhealthy() {
    let usage = |used, available| DiskUsage { used, available };
    assert_eq!(disk(usage(95, 5), 7, 0).status, Status::Healthy);
    assert_eq!(disk(usage(96, 4), 7, 0).status, Status::Unhealthy);
    assert_eq!(disk(usage(50, 50), 7, 7).status, Status::Healthy);
    assert_eq!(disk(usage(50, 50), 8, 7).status, Status::Degraded);
}

#[test]
fn queries_are_degraded_where_no_more_are_taken() {
    let load = |in_hand| query(QueryLoad { in_hand, running_max: 2, waiting_max: 3 }).status;
    assert_eq!((load(4), load(5)), (Status::Healthy, Status::Degraded));
}

#[test]
fn a_replay_is_unhealthy_until_writes_are_taken_and_degraded_until_it_is_over() {
    let recovery = |is_over| Recovery { done: 3, target: 9, is_over };
    assert_eq!(replay(recovery(false), false).status, Status::Unhealthy);
    let behind = replay(recovery(false), true);
    assert!(behind.message.starts_with("record 3 of 9"), "{behind:?}");
    assert_eq!(behind.status, Status::Degraded);
    assert_eq!(replay(recovery(true), true).status, Status::Healthy);
    assert!(Status::Healthy < Status::Degraded && Status::Degraded < Status::Unhealthy);
}

#[test]
fn sources_are_degraded_while_one_of_them_cannot_read_and_say_which_and_why() {
    let good = SourceHealth {
        name: "one".to_owned(),
        partitions: 8,
        has_begun: true,
        has_caught_up: true,
        ..SourceHealth::default()
    };
    let well = sources([good.clone()].into_iter());
    assert_eq!(told(&well), (Status::Healthy, "8 partitions are read"));
    let trouble = Some(SourceTrouble::Brokers("nobody answers".to_owned()));
    let bad = SourceHealth {
        name: "two".to_owned(),
        trouble,
        lag_messages: 5,
        ..SourceHealth::default()
    };
    let ill = sources([good, bad].into_iter());
    assert_eq!(told(&ill), (Status::Degraded, "two: nobody answers"));
    assert_eq!(ill.details["two"]["lag_messages"], 5);
    let told = |name: &str, key: &str| ill.details[name][key].clone();
    assert_eq!(
        (told("two", "state"), told("two", "caught_up")),
        ("unreachable".into(), false.into())
    );
    assert_eq!((told("one", "state"), told("one", "caught_up")), ("reading".into(), true.into()));
    assert_eq!(told("one", "catch_up_seconds"), 0.0);
    assert!(told("two", "catch_up_seconds").is_null(), "nobody knows when brokers answer again");
}

#[test]
fn sources_that_catch_up_are_healthy_and_say_how_long_it_takes() {
    let behind = |time_left| SourceHealth {
        name: "main".to_owned(),
        partitions: 2,
        lag_messages: 1_000,
        lag: Duration::from_millis(90_500),
        messages_per_second: 50,
        time_left,
        rebalances: 4,
        has_begun: true,
        ..SourceHealth::default()
    };
    let catching = sources([behind(Some(Duration::from_secs(25)))].into_iter());
    let expected = "main is catching up for about 25 s: 1000 messages are not stored yet";
    assert_eq!(told(&catching), (Status::Healthy, expected));
    let details = &catching.details["main"];
    assert_eq!((&details["state"], &details["caught_up"]), (&"catching_up".into(), &false.into()));
    assert_eq!(
        (&details["lag_seconds"], &details["catch_up_seconds"]),
        (&json!(90.5), &json!(25.0))
    );
    assert_eq!((&details["messages_per_second"], &details["rebalances"]), (&50.into(), &4.into()));
    let unknown = sources([behind(None)].into_iter());
    assert!(unknown.message.contains("nobody can tell"), "{unknown:?}");
    assert!(unknown.details["main"]["catch_up_seconds"].is_null());
    let starting = SourceHealth { has_begun: false, ..behind(None) };
    assert!(told(&sources([starting].into_iter())).1.contains("which partitions"));
}
