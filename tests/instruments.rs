//! Every instrument that the process shows stands in docs/instruments.md, and nothing else does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::server::{Home, Start};

/// Kinds by name, counters with their `_total`, of an OpenMetrics text.
fn shown(metrics: &str) -> BTreeMap<String, String> {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let named = types.map(|line| {
        let (name, kind) = line.split_once(' ').unwrap();
        let ending = if kind == "counter" { "_total" } else { "" };
        (format!("{name}{ending}"), kind.to_owned())
    });
    named.collect()
}

/// Kinds by name of the tables of the document.
fn listed() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/instruments.md");
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `tidewatch_"));
    let named = rows.map(|row| {
        let mut cells = row.split(" | ");
        let name = cells.next().unwrap().trim_end_matches('`');
        (format!("tidewatch_{name}"), cells.next().unwrap().to_owned())
    });
    named.collect()
}

#[test]
fn the_instruments_are_those_of_the_document() {
    let home = Home::new();
    let config = home.file("tidewatch.toml");
    let alerts = home.file("alerts.jsonl");
    // Instruments per sink show where there is one.
    let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
    cluster.create_topic("load", 1, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let text = format!(
        "[[sink.file]]\nname = \"log\"\npath = {alerts:?}\n[[source.kafka]]\nname = \"main\"\n\
         brokers = {brokers:?}\ntopics = [\"load\"]\n\
         [[sink.kafka]]\nname = \"lost\"\nbrokers = {brokers:?}\ntopic = \"lost\"\ncontent = \"dead_letters\"\n"
    );
    fs::write(&config, text).unwrap();
    let server = Start::on(&home.data()).config(&config).up();
    // Rejections show by their reasons, once there is one.
    assert_eq!(server.post("/write", "cpu value=1\nrubbish").status, 400);
    let json = [("Content-Type", "application/json")];
    assert_eq!(server.post_with("/api/v1/write", &json, "{\"metrics\":[1]}").status, 400);
    // Instruments of a partition show once it is read.
    while !server.get("/metrics").body.contains("_kafka_lag_messages{") {
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    let metrics = server.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert_eq!(
        metrics.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(metrics.body.ends_with("# EOF\n"), "{}", metrics.body);
    let shown = shown(&metrics.body);
    assert!(shown.len() > 30, "{shown:?}");
    assert_eq!(shown, listed());
    assert_eq!(server.counter("tidewatch_connectors_lines_accepted_total"), 1);
    assert_eq!(server.stop(), 0);
}
