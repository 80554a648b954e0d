//! What Luminate's users ask, in the shapes of its documents: questions, discovery, and their refusals.

use std::time::Duration;

use serde_json::{Value, json};

use crate::server::{Answer, Home, Server, Start};

/// Between two looks for what happens in the background, and how many there are.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS_MAX: u32 = 600;
const QUERY: &str = "/api/v1/query";
/// 2026-11-20T10:00:00Z, a whole number of hours.
const TEN: u64 = 1_795_168_800;

/// The code of a refusal in the envelope.
fn refused(answer: &Answer, status: u16) -> String {
    let error = &answer.json()["error"];
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(error["message"].is_string() && error["details"].is_object(), "{answer:?}");
    error["code"].as_str().unwrap().to_owned()
}

/// Writes samples of `name`: seconds after ten, value, dimensions.
fn write(server: &Server, name: &str, samples: &[(u64, f64, Value)]) {
    let metrics: Vec<Value> = samples
        .iter()
        .map(|(second, value, dimensions)| {
            json!({"name": name, "timestamp": TEN + second, "value": value, "dimensions": dimensions})
        })
        .collect();
    let headers = [("Content-Type", "application/json")];
    let answer =
        server.post_with("/api/v1/write", &headers, json!({ "metrics": metrics }).to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A question on the hour from ten.
fn question(kind: &str, metric: &str, more: &Value) -> Value {
    let mut body = json!({
        "queryType": kind, "metricName": metric,
        "timeRange": {"start": "2026-11-20T10:00:00Z", "end": "2026-11-20T11:00:00Z"},
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn ask(server: &Server, body: &Value) -> Answer {
    server.post_with(QUERY, &[("Content-Type", "application/json")], body.to_string())
}

/// The results of a question that must be answered.
fn results(server: &Server, kind: &str, metric: &str, more: &Value) -> Value {
    let answer = ask(server, &question(kind, metric, more));
    assert_eq!(answer.status, 200, "{kind} {metric} {more}: {answer:?}");
    let body = answer.json();
    assert_eq!(body["queryType"], kind);
    assert!(body["executionTimeMs"].is_u64() && body["pointsScanned"].is_u64(), "{body}");
    assert_eq!(body.as_object().unwrap().len(), 4, "{body}");
    body["results"].clone()
}

#[test]
fn a_range_shows_samples_in_the_order_of_their_times() {
    let home = Home::new();
    let server = home.serve();
    let (a, b) = (json!({"host": "a", "dc": "x"}), json!({"host": "b"}));
    write(
        &server,
        "api_latency",
        &[
            (20, 0.75, b.clone()),
            (0, 1.0, a.clone()),
            (10, 2.0, a.clone()),
            (3_600, 4.0, a.clone()),
            (3_601, 5.0, a.clone()),
        ],
    );
    let shown = |more: &Value| results(&server, "range", "api_latency", more);
    let sample = |time: &str, value: f64, dimensions: &Value| json!({"timestamp": format!("2026-11-20T{time}Z"), "value": value, "dimensions": dimensions});
    let all = [
        sample("10:00:00", 1.0, &a),
        sample("10:00:10", 2.0, &a),
        sample("10:00:20", 0.75, &b),
        sample("11:00:00", 4.0, &a),
    ];
    assert_eq!(shown(&json!({})), json!(all), "both ends are within");
    assert_eq!(shown(&json!({"limit": 2})), json!(all[..2]));
    assert_eq!(shown(&json!({"filters": {"host": "b"}})), json!(all[2..3]));
    assert_eq!(shown(&json!({"filters": {"dc": ""}})), json!(all[2..3]), "those without it");
    assert_eq!(shown(&json!({"filters": {"host": "a", "dc": "y"}})), json!([]));
    assert_eq!(shown(&json!({"filters": {"rack": "1"}})), json!([]), "no series has it");
    assert_eq!(shown(&json!({"filters": {"rack": ""}})), json!(all), "no series has it");
    assert_eq!(results(&server, "range", "unheard_of", &json!({})), json!([]));

    // As text: reading JSON may lose the last bit.
    write(&server, "exact", &[(0, 0.1 + 0.2, json!({}))]);
    let exact = ask(&server, &question("range", "exact", &json!({}))).body;
    assert!(exact.contains("\"value\":0.30000000000000004,"), "{exact}");

    // A relative range ends now, and so holds nothing of another year.
    let recent = json!({"queryType": "range", "metricName": "api_latency",
                        "timeRange": {"relative": "1h30m"}});
    assert_eq!(ask(&server, &recent).status, 200);
    let other = server.post_with(&format!("{QUERY}?db=lab"), &[], recent.to_string());
    assert_eq!(other.json()["results"], json!([]), "{other:?}");
}

#[test]
fn aggregates_are_those_of_the_samples_greatest_first() {
    let home = Home::new();
    let server = home.serve();
    let customer = |id: &str, host: u64| json!({"customer_id": id, "host": format!("h{host}")});
    let mut samples = Vec::new();
    // Of each customer the values 1 to 20, in an order of their own, on two hosts; c has one value.
    for row in 0..20 {
        let value = ((row * 7) % 20 + 1) as f64;
        samples.push((row, value, customer("a", row % 2)));
        samples.push((row, value * 10.0, customer("b", row % 2)));
    }
    samples.push((5, 3.5, customer("c", 0)));
    samples.push((6, 1_000.0, json!({"host": "h0"})));
    write(&server, "api_latency", &samples);
    let shown = |aggregation: &str, more: &Value| {
        let mut body = json!({"aggregation": aggregation, "groupBy": ["customer_id"]});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        results(&server, "aggregate", "api_latency", &body)
    };
    let group = |id: &str, value: f64, count: u64| json!({"groupKey": {"customer_id": id}, "value": value, "count": count});
    for (aggregation, [a, b, c, none]) in [
        ("avg", [10.5, 105.0, 3.5, 1_000.0]),
        ("sum", [210.0, 2_100.0, 3.5, 1_000.0]),
        ("min", [1.0, 10.0, 3.5, 1_000.0]),
        ("max", [20.0, 200.0, 3.5, 1_000.0]),
        // Ranks ceil(0.5 * 20) = 10, ceil(0.95 * 20) = 19, ceil(0.99 * 20) = 20.
        ("p50", [10.0, 100.0, 3.5, 1_000.0]),
        ("p95", [19.0, 190.0, 3.5, 1_000.0]),
        ("p99", [20.0, 200.0, 3.5, 1_000.0]),
    ] {
        let mut groups =
            vec![group("a", a, 20), group("b", b, 20), group("c", c, 1), group("", none, 1)];
        groups
            .sort_by(|x, y| y["value"].as_f64().unwrap().total_cmp(&x["value"].as_f64().unwrap()));
        assert_eq!(shown(aggregation, &json!({})), json!(groups), "{aggregation}");
    }
    let counted = [group("a", 20.0, 20), group("b", 20.0, 20)];
    assert_eq!(shown("count", &json!({"limit": 2})), json!(counted), "ties in the groups' order");
    let whole = json!({"groupBy": [], "filters": {"customer_id": "a", "host": "h1"}});
    let odd = json!([{"groupKey": {}, "value": 10.0, "count": 10}]);
    assert_eq!(shown("p50", &whole), odd, "even values are on the second host");
    let two = json!({"groupBy": ["rack", "host"], "filters": {"customer_id": "c"}});
    let key = json!([{"groupKey": {"rack": "", "host": "h0"}, "value": 3.5, "count": 1}]);
    assert_eq!(shown("max", &two), key);
    let none = json!({"groupBy": [], "filters": {"customer_id": "d"}});
    assert_eq!(shown("sum", &none), json!([]));
}

#[test]
fn an_integral_is_of_each_series_and_a_rate_survives_resets() {
    let home = Home::new();
    let server = home.serve();
    let (a, b) = (json!({"host": "a"}), json!({"host": "b"}));
    write(
        &server,
        "requests_total",
        &[
            (0, 100.0, a.clone()),
            (30, 160.0, a.clone()),
            (60, 220.0, a.clone()),
            // Begun again: 30 since then.
            (90, 30.0, a.clone()),
            (120, 90.0, a),
            (10, 1_000_000.0, b.clone()),
            (70, 1_000_060.0, b),
        ],
    );
    let shown = |kind: &str, more: &Value| results(&server, kind, "requests_total", more);
    // a: 30 s * (130 + 190 + 125 + 60); b: 60 s * 1,000,030. Between series there is no area.
    let integral = json!({"aggregation": "integral", "groupBy": ["host"]});
    let groups = json!([
        {"groupKey": {"host": "b"}, "value": 60_001_800.0, "count": 2},
        {"groupKey": {"host": "a"}, "value": 15_150.0, "count": 5},
    ]);
    assert_eq!(shown("aggregate", &integral), groups);
    let all = json!([{"groupKey": {}, "value": 60_016_950.0, "count": 7}]);
    assert_eq!(shown("aggregate", &json!({"aggregation": "integral"})), all);

    let bucket = |minute: u64, rate: f64| json!({"timestamp": format!("2026-11-20T10:0{minute}:00Z"), "rate": rate});
    // a: 60 in 30 s; then 60 + 30 in 60 s; then 60 in 30 s. b: nothing before; then 60 in 60 s.
    let by_a = [bucket(0, 2.0), bucket(1, 1.5), bucket(2, 2.0)];
    let only_a = json!({"interval": "1m", "filters": {"host": "a"}});
    assert_eq!(shown("rate", &only_a), json!(by_a));
    let both = [bucket(0, 2.0), bucket(1, 2.5), bucket(2, 2.0)];
    assert_eq!(
        shown("rate", &json!({"interval": "1m"})),
        json!(both),
        "the series' rates, summed up"
    );
    let grouped = shown("rate", &json!({"interval": "1h", "groupBy": ["host"]}));
    let keyed = |host: &str, rate: f64| json!({"timestamp": "2026-11-20T10:00:00Z", "rate": rate, "groupKey": {"host": host}});
    assert_eq!(grouped, json!([keyed("a", 210.0 / 120.0), keyed("b", 1.0)]));
    let first = json!({"interval": "1s", "filters": {"host": "b"}, "limit": 1});
    let alone = json!([{"timestamp": "2026-11-20T10:00:10Z", "rate": 0.0}]);
    assert_eq!(shown("rate", &first), alone, "a sample alone has no rate");
}

#[test]
fn hostile_names_are_names() {
    let home = Home::new();
    let server = home.serve();
    let names = [
        "m\"; DROP TABLE x; --",
        "it's",
        "a.b.c",
        "time",
        "value",
        "l0",
        "s0",
        "rank",
        "SELECT",
        "back\\slash\\'",
        "/* c */",
        "$1",
        "\u{1f600}\u{202e}",
        "{x}",
        "Ä'\"`;",
    ];
    for name in names {
        let dimensions = json!({name: name, "other": "x' OR '1'='1"});
        write(&server, name, &[(0, 1.0, dimensions.clone()), (60, 61.0, dimensions.clone())]);
        write(&server, name, &[(0, 5.0, json!({"other": "y"})), (60, 5.0, json!({"other": "y"}))]);
        let exact = json!({name: name, "other": "x' OR '1'='1"});
        let shown = results(&server, "range", name, &json!({ "filters": exact }));
        assert_eq!(shown.as_array().unwrap().len(), 2, "{name}: {shown}");
        assert_eq!(shown[1]["dimensions"], dimensions, "{name}");
        let injected = json!({"other": "y' OR '1'='1"});
        let shown = results(&server, "range", name, &json!({ "filters": injected }));
        assert_eq!(shown, json!([]), "{name}");
        for (aggregation, value) in [("avg", 31.0), ("p50", 1.0), ("integral", 1_860.0)] {
            let more = json!({"aggregation": aggregation, "groupBy": [name], "filters": exact});
            let groups = results(&server, "aggregate", name, &more);
            let expected = json!([{"groupKey": {name: name}, "value": value, "count": 2}]);
            assert_eq!(groups, expected, "{name} {aggregation}");
        }
        let more = json!({"interval": "1m", "groupBy": [name], "filters": exact});
        let rates = results(&server, "rate", name, &more);
        let rate =
            json!({"timestamp": "2026-11-20T10:01:00Z", "rate": 1.0, "groupKey": {name: name}});
        assert_eq!(rates[1], rate, "{name}: {rates}");
    }
    // A database is a name like others.
    let db = "o'\"; --";
    let path = format!("{QUERY}?db=o%27%22%3B%20--");
    let line = "{\"metric\":\"m\",\"time\":1795168800,\"value\":1}";
    let headers = [("Content-Type", "application/x-ndjson")];
    let wrote = server.post_with("/api/v1/write?db=o%27%22%3B%20--", &headers, line);
    assert_eq!(wrote.status, 200, "{db}: {wrote:?}");
    let answer = server.post_with(&path, &[], question("range", "m", &json!({})).to_string());
    assert_eq!(answer.json()["results"].as_array().unwrap().len(), 1, "{answer:?}");
}

#[test]
fn what_may_not_be_asked_is_refused_in_luminates_codes() {
    let home = Home::new();
    let server = home.serve();
    let hosts: Vec<_> =
        (0..1_001).map(|host| (host, 1.0, json!({"host": host.to_string()}))).collect();
    write(&server, "wide", &hosts);
    let by_host = |more: Value| {
        let mut body =
            question("aggregate", "wide", &json!({"aggregation": "sum", "groupBy": ["host"]}));
        body["filters"] = more;
        ask(&server, &body)
    };
    let wide = by_host(json!({}));
    assert_eq!(refused(&wide, 400), "INVALID_QUERY");
    let details = json!({"max_group_by_cardinality": 1_000, "groups": 1_001});
    assert_eq!(wide.json()["error"]["details"], details);
    assert_eq!(by_host(json!({"host": "7"})).json()["results"].as_array().unwrap().len(), 1);

    for (body, code) in [
        (question("median", "wide", &json!({})), "INVALID_QUERY"),
        (question("range", "", &json!({})), "INVALID_QUERY"),
        (question("range", "a\nb", &json!({})), "INVALID_METRIC_NAME"),
        (question("range", "wide", &json!({"limit": 10_001})), "INVALID_QUERY"),
        (question("range", "wide", &json!({"limit": -1})), "INVALID_REQUEST"),
        (question("range", "wide", &json!({"fliters": {"host": "7"}})), "INVALID_REQUEST"),
        (question("range", "wide", &json!({"filters": {"host": 7}})), "INVALID_REQUEST"),
        (json!([]), "INVALID_REQUEST"),
    ] {
        assert_eq!(refused(&ask(&server, &body), 400), code, "{body}");
    }
    assert_eq!(refused(&server.post(QUERY, "{"), 400), "INVALID_REQUEST");
    assert_eq!(refused(&server.post(QUERY, " ".repeat(70_000)), 413), "REQUEST_TOO_LARGE");
    let body = question("range", "wide", &json!({})).to_string();
    for path in ["?db=tidewatch", "?limit=3"] {
        let answer = server.post(&format!("{QUERY}{path}"), &body);
        assert_eq!(refused(&answer, 400), "INVALID_REQUEST", "{path}");
    }
    assert_eq!(refused(&server.get(QUERY), 405), "METHOD_NOT_ALLOWED");
    let slow = question("aggregate", "wide", &json!({"aggregation": "p99", "timeout": "1ns"}));
    let slow = ask(&server, &slow);
    assert_eq!(refused(&slow, 504), "QUERY_TIMEOUT");
    assert_eq!(slow.json()["error"]["details"]["max_query_timeout"], "30s");
}

#[test]
fn metrics_dimensions_and_their_values_are_found_without_a_scan() {
    let home = Home::new();
    let server = home.serve();
    write(&server, "cpu", &[(0, 1.0, json!({"host": "z", "dc": "x"}))]);
    write(&server, "cpu", &[(0, 1.0, json!({"host": "a", "dc": "x"}))]);
    write(&server, "cpu", &[(0, 1.0, json!({"host": "a", "dc": "y"}))]);
    write(
        &server,
        "cpu",
        &[(0, 1.0, json!({"host": "m", "dc": "x"})), (1, 1.0, json!({"host": "m", "dc": "x"}))],
    );
    write(&server, "a/b c", &[(0, 1.0, json!({}))]);
    let found = |path: &str| {
        let answer = server.get(&format!("/api/v1/metrics{path}"));
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    };
    assert_eq!(found(""), r#"{"metrics":["a/b c","cpu"],"count":2}"#);
    assert_eq!(found("?db=nothing"), r#"{"metrics":[],"count":0}"#);
    assert_eq!(
        found("/cpu/dimensions"),
        r#"{"metricName":"cpu","dimensions":["dc","host"],"count":2}"#
    );
    let none = r#"{"metricName":"a/b c","dimensions":[],"count":0}"#;
    assert_eq!(found("/a%2Fb%20c/dimensions"), none);
    // By the number of series, not of samples.
    assert_eq!(
        found("/cpu/dimensions/host/values"),
        r#"{"metricName":"cpu","dimensionKey":"host","values":["a","m","z"],"count":3,"limit":100}"#
    );
    assert_eq!(
        found("/cpu/dimensions/dc/values?limit=1"),
        r#"{"metricName":"cpu","dimensionKey":"dc","values":["x"],"count":1,"limit":1}"#
    );
    for (path, status, code) in [
        ("/disk/dimensions", 404, "METRIC_NOT_FOUND"),
        ("/disk/dimensions/host/values", 404, "METRIC_NOT_FOUND"),
        ("/cpu/dimensions?db=nothing", 404, "METRIC_NOT_FOUND"),
        ("/cpu/dimensions/rack/values", 404, "DIMENSION_NOT_FOUND"),
        ("/cpu/dimensions/host/values?limit=1001", 400, "INVALID_REQUEST"),
        ("/cpu/dimensions/host/values?limit=0", 400, "INVALID_REQUEST"),
        ("/cpu/dimensions/host/values?limit=many", 400, "INVALID_REQUEST"),
        ("/%ff/dimensions", 400, "INVALID_REQUEST"),
        ("?page=2", 400, "INVALID_REQUEST"),
        ("?db=tidewatch", 400, "INVALID_REQUEST"),
    ] {
        let answer = server.get(&format!("/api/v1/metrics{path}"));
        assert_eq!(refused(&answer, status), code, "{path}");
    }
}

#[test]
fn health_tells_of_every_part() {
    let home = Home::new();
    let server = home.serve();
    write(&server, "cpu", &[(0, 1.0, json!({}))]);
    // Writes are taken a moment before the start is over.
    for _ in 0..LOOKS_MAX {
        if server.get("/readyz").status == 200 {
            break;
        }
        std::thread::park_timeout(LOOK);
    }
    let answer = server.get("/api/v1/health");
    let body = answer.json();
    let parts = body["components"].as_array().unwrap();
    let mut names: Vec<&str> = parts.iter().map(|part| part["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let expected = ["log", "memory", "query", "replay", "segments", "shards", "sinks", "storage"];
    assert_eq!(names, expected);
    let order = ["healthy", "degraded", "unhealthy"];
    let rank = |part: &Value| {
        order
            .iter()
            .position(|status| part["status"] == *status)
            .unwrap_or_else(|| panic!("{part}"))
    };
    assert_eq!(rank(&body), parts.iter().map(rank).max().unwrap(), "the worst one counts: {body}");
    assert_eq!(answer.status, if rank(&body) == 2 { 503 } else { 200 }, "{body}");
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    assert!(body["uptime_seconds"].is_u64() && body["timestamp"].is_string(), "{body}");
    for part in parts {
        assert!(part["message"].is_string() && part["details"].is_object(), "{part}");
        assert!(part["timestamp"].is_string() && part["duration_ms"].is_f64(), "{part}");
        // The disk that tests run on may be full.
        assert!(part["name"] == "storage" || part["status"] == "healthy", "{part}");
    }
    let of =
        |name: &str| parts.iter().find(|part| part["name"] == name).unwrap()["details"].clone();
    assert!(of("log")["durable_lsn"].as_u64().unwrap() > 0);
    assert!(of("memory")["series_bytes"].as_u64().unwrap() > 0);
    assert!(of("storage")["disk_used_bytes"].as_u64().unwrap() > 0);
}

const RETENTION: &str = "/api/v1/admin/retention";

fn say(server: &Server, body: &Value) -> Answer {
    server.post(RETENTION, body.to_string())
}

/// What is said, as metrics and days.
fn said(server: &Server) -> Vec<(String, u64)> {
    let body = server.get(RETENTION).json();
    let said = body["retention"].as_array().unwrap().iter();
    let said = said.map(|kept| {
        let metric = kept["metricName"].as_str().unwrap().to_owned();
        (metric, kept["retentionDays"].as_u64().unwrap())
    });
    said.collect()
}

#[test]
fn what_is_said_of_a_metric_is_listed_and_taken_back() {
    let home = Home::new();
    let server = home.serve();
    assert_eq!(server.get(RETENTION).json(), json!({"retention": [], "count": 0}));
    let answer = say(&server, &json!({"metricName": "short", "retentionDays": 1}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["metricName"], &body["retentionDays"]), (&json!("short"), &json!(1)));
    assert!(body["appliedAt"].as_str().unwrap().ends_with('Z'), "{body}");
    let other = json!({"metric_name": "goes", "retention_days": 365});
    assert_eq!(say(&server, &other).status, 200);
    assert_eq!(said(&server), [("goes".to_owned(), 365), ("short".to_owned(), 1)]);
    for (body, code) in [
        (json!({"metricName": "short", "retentionDays": 0}), "INVALID_REQUEST"),
        (json!({"metricName": "short", "retentionDays": 366}), "INVALID_REQUEST"),
        (json!({"metricName": "short"}), "INVALID_REQUEST"),
        (json!(["short", 7]), "INVALID_REQUEST"),
        (json!({"metricName": "", "retentionDays": 7}), "INVALID_METRIC_NAME"),
    ] {
        assert_eq!(refused(&say(&server, &body), 400), code, "{body}");
    }
    let take_back =
        |path: &str| server.try_send("DELETE", &format!("{RETENTION}{path}"), &[], b"").unwrap();
    assert_eq!(refused(&take_back("/goes?db=lab"), 404), "RETENTION_NOT_FOUND");
    let gone = take_back("/goes");
    assert_eq!((gone.status, &gone.json()["retentionDays"]), (200, &json!(365)));
    assert_eq!(refused(&take_back("/goes"), 404), "RETENTION_NOT_FOUND");
    assert_eq!(said(&server), [("short".to_owned(), 1)]);
}

fn rows(server: &Server, name: &str) -> u64 {
    server.number(&format!("SELECT count(*) FROM {name}"))
}

/// Samples of 2023, which have expired where anything is said of their metric.
fn old(name: &str, rows: u64) -> String {
    let line = |row| format!("{name},host=h{} value={row} {}\n", row % 50, 1_700_000_000 + row);
    (0..rows).map(line).collect()
}

/// Waits until a metric has no samples.
fn expires(server: &Server, name: &str) {
    let filler = old("fill", 4_000);
    for _ in 0..LOOKS_MAX {
        if rows(server, name) == 0 {
            return;
        }
        // Heads are flushed when they are full; where flushes are behind, nothing is taken.
        server.try_send("POST", "/write?precision=s", &[], filler.as_bytes()).ok();
        std::thread::park_timeout(LOOK);
    }
    panic!("{name} still has {} rows", rows(server, name));
}

#[test]
fn a_metrics_retention_is_in_force_at_once_and_after_a_kill() {
    let home = Home::new();
    let start = Start::on(&home.data()).set("flush.rows_max=1000");
    let server = start.up();
    assert_eq!(say(&server, &json!({"metricName": "short", "retentionDays": 1})).status, 200);
    let lines = [old("short", 100), old("later", 100), old("stays", 100)].concat();
    assert_eq!(server.post("/write?precision=s", lines).status, 204);
    expires(&server, "short");
    assert_eq!(rows(&server, "later"), 100);
    // What was gone through already is gone through again.
    assert_eq!(say(&server, &json!({"metricName": "later", "retentionDays": 2})).status, 200);
    expires(&server, "later");
    assert_eq!(rows(&server, "stays"), 100);
    server.kill9();

    let server = start.up();
    assert_eq!(said(&server), [("later".to_owned(), 2), ("short".to_owned(), 1)]);
    assert_eq!(server.post("/write?precision=s", old("short", 100)).status, 204);
    expires(&server, "short");
    assert_eq!(rows(&server, "stays"), 100);
}
