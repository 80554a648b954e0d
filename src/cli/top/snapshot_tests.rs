use serde_json::json;

use super::*;
use crate::cli::top::instruments::Instruments;

fn reading(seconds: u64, decoded: u64, of_messages: u64, lsn: u64) -> Reading {
    let text = format!(
        "tidewatch_connectors_samples_decoded_total {decoded}\n\
         tidewatch_connectors_kafka_samples_total{{source=\"main\"}} {of_messages}\n\
         tidewatch_connectors_kafka_messages_total{{source=\"main\"}} {of_messages}\n\
         tidewatch_engine_checkpoint_replay_from_lsn 101\ntidewatch_engine_series 7\n"
    );
    let health = json!({
        "status": "degraded", "caught_up": false, "version": "0.1.0", "uptime_seconds": 61,
        "components": [
            {"name": "log", "status": "healthy", "message": "", "details": {"durable_lsn": lsn}},
            {"name": "query", "status": "healthy", "message": "",
             "details": {"in_hand": 1, "running_max": 8, "waiting_max": 64}},
            {"name": "storage", "status": "healthy", "message": "", "details": {"data_bytes_max": 0}},
            {"name": "sinks", "status": "degraded", "message": "oncall: no answer", "details": {}},
            {"name": "sources", "status": "healthy", "message": "", "details": {"main": {
                "state": "catching_up", "lag_messages": 30, "lag_seconds": 2.5, "catch_up_seconds": null, "rebalances": 2,
            }}},
        ],
    });
    let row = json!({
        "source": "main", "topic": "t\u{1b}", "partition": 3, "state": "stopped", "lag_messages": 30,
        "lag_seconds": 2.5, "trouble": null,
    });
    Reading {
        at: Duration::from_secs(seconds),
        health,
        instruments: Instruments::read(&text),
        partitions: Ok(vec![row]),
        alerts: Err("queries wait".to_owned()),
    }
}

#[test]
fn rates_are_of_two_readings_and_what_messages_brought_is_not_of_http() {
    let (before, now) = (reading(10, 1_000, 400, 100), reading(14, 3_000, 1_600, 140));
    let told = Snapshot::of("url", Some(&before), &now);
    assert_eq!(told.samples_per_second, Some(500.0));
    let rates: Vec<_> =
        told.sources.iter().map(|one| (&*one.name, one.samples_per_second)).collect();
    assert_eq!(rates, [("HTTP", Some(200.0)), ("main", Some(300.0))]);
    assert_eq!(told.machine.records_per_second, Some(10.0));
    assert_eq!(told.machine.records_to_replay, Some(40.0));
    assert_eq!((told.machine.queries_max, told.machine.data_bytes_max), (Some(72.0), None));
    assert_eq!(
        (told.sources[1].lag_messages, told.sources[1].catch_up_seconds),
        (Some(30.0), None)
    );
    assert_eq!(told.sources[1].rebalances, Some(2.0));
    assert_eq!((&*told.partitions[0].topic, &*told.partitions[0].partition), ("t ", "3"));
    assert_eq!(told.alerts_missing.as_deref(), Some("queries wait"));
    let troubles: Vec<_> = told.troubles.iter().map(|one| &*one.part).collect();
    assert_eq!(troubles, ["sinks"]);
}

#[test]
fn one_reading_has_no_rates_and_neither_has_a_server_that_began_anew() {
    let (before, now) = (reading(10, 9_000, 900, 900), reading(14, 3_000, 100, 140));
    for told in [Snapshot::of("url", None, &now), Snapshot::of("url", Some(&before), &now)] {
        assert_eq!(told.samples_per_second, None);
        assert!(told.sources.iter().all(|source| source.samples_per_second.is_none()));
        assert_eq!(told.machine.records_per_second, None);
        assert_eq!(told.machine.durable_lsn, Some(140.0));
    }
}
