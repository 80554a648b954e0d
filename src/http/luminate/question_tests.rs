use super::*;

const HOUR: i64 = 3_600_000_000_000;
/// 2026-11-20T12:00:00Z
const NOW: i64 = 1_795_176_000_000_000_000;

fn asked(body: &Value) -> Result<Question, ApiError> {
    Question::of(serde_json::from_value(body.clone()).unwrap(), NOW)
}

/// A good question with one member changed.
fn with(key: &str, value: Value) -> Result<Question, ApiError> {
    let mut body = json!({
        "queryType": "aggregate", "metricName": "api_latency", "timeRange": {"relative": "1h"},
        "aggregation": "avg", "interval": "1m",
    });
    body[key] = value;
    asked(&body)
}

#[test]
fn what_is_not_said_has_luminates_defaults() {
    let question = asked(&json!({
        "queryType": "range", "metricName": "api_latency", "timeRange": {"relative": "1h30m"},
        "filters": null, "groupBy": null, "aggregation": "", "interval": "", "timeout": "", "limit": 0,
    }));
    let question = question.unwrap();
    assert_eq!(question.kind, Kind::Range);
    assert_eq!(question.times, NOW - HOUR * 3 / 2..=NOW);
    assert_eq!((question.limit, question.timeout), (1_000, Duration::from_secs(10)));
    assert!(question.filters.is_empty() && question.group_by.is_empty());
    assert_eq!(with("queryType", json!("rate")).unwrap().limit, 10_000);
    let times = json!({"start": "2026-11-20T10:00:00+00:00"});
    assert_eq!(with("timeRange", times).unwrap().times, NOW - 2 * HOUR..=NOW);
}

#[test]
fn what_is_wrong_is_told_in_luminates_words() {
    let times = |start: &str, end: &str| json!({"start": start, "end": end});
    let (noon, eleven) = ("2026-11-20T12:00:00Z", "2026-11-20T11:00:00Z");
    for (key, value, message) in [
        ("queryType", Value::Null, "queryType is required"),
        ("queryType", json!(""), "queryType is required"),
        ("queryType", json!("sum"), "invalid queryType"),
        ("metricName", Value::Null, "metricName is required"),
        ("aggregation", Value::Null, "aggregation is required"),
        ("aggregation", json!("median"), "invalid aggregation type"),
        ("aggregation", json!("AVG"), "invalid aggregation type"),
        ("interval", json!("fast"), "invalid interval format"),
        ("interval", json!("0s"), "invalid interval format"),
        ("timeout", json!("10"), "invalid timeout format"),
        ("timeRange", Value::Null, "timeRange is required"),
        ("timeRange", times(noon, eleven), "end time must be after start time"),
        ("timeRange", times(noon, noon), "end time must be after start time"),
        ("timeRange", times("yesterday", noon), "invalid timeRange.start"),
        ("timeRange", times("", noon), "timeRange.start is required"),
        ("timeRange", json!({"relative": "1h", "end": noon}), "relative beside start or end"),
        ("timeRange", json!({"relative": "-1h"}), "invalid timeRange.relative"),
        ("timeRange", json!({"relative": "1x"}), "invalid timeRange.relative"),
        ("groupBy", json!(["a", "b", "a"]), "\"a\" twice"),
    ] {
        let refused = with(key, value.clone()).expect_err(key);
        assert_eq!(
            (refused.status.as_u16(), refused.code),
            (400, "INVALID_QUERY"),
            "{key} {value}"
        );
        assert!(refused.message.contains(message), "{key} {value}: {}", refused.message);
    }
    let rate = json!({
        "queryType": "rate", "metricName": "m", "timeRange": {"relative": "1h"},
    });
    assert!(asked(&rate).unwrap_err().message.starts_with("interval is required for rate queries"));
    for name in ["a\nb".to_owned(), "x".repeat(METRIC_BYTES_MAX + 1)] {
        assert_eq!(with("metricName", json!(name)).unwrap_err().code, "INVALID_METRIC_NAME");
    }
}

#[test]
fn what_is_too_much_is_told_with_its_limit() {
    let many: Vec<String> = (0..=DIMENSIONS_MAX).map(|key| format!("d{key}")).collect();
    let filters: BTreeMap<&String, &str> = many.iter().map(|key| (key, "x")).collect();
    for (key, value, detail) in [
        ("timeout", json!("31s"), json!({"max_query_timeout": "30s"})),
        ("timeRange", json!({"relative": "91d"}), json!({"max_query_time_range": "2160h"})),
        ("limit", json!(1_001), json!({"max_group_by_cardinality": 1_000})),
        ("groupBy", json!(many), json!({"max_dimensions": 20})),
        ("filters", json!(filters), json!({"max_dimensions": 20})),
    ] {
        let refused = with(key, value).expect_err(key);
        assert_eq!((refused.code, refused.details.as_deref()), ("INVALID_QUERY", Some(&detail)));
    }
    for good in ["90d", "2160h", "12w6d"] {
        assert!(with("timeRange", json!({"relative": good})).is_ok(), "{good}");
    }
    let points = |kind: &str, interval: &str, limit: u64| {
        asked(&json!({
            "queryType": kind, "metricName": "m", "timeRange": {"relative": "10000s"},
            "interval": interval, "limit": limit,
        }))
    };
    assert!(points("range", "", 10_000).is_ok());
    let max = json!({"max_result_points": 10_000});
    for (kind, interval, limit) in
        [("range", "", 10_001), ("rate", "1m", 10_001), ("rate", "1s", 0)]
    {
        let refused = points(kind, interval, limit).expect_err(kind);
        assert_eq!(refused.details.as_deref(), Some(&max), "{kind} {interval} {limit}");
    }
    assert!(points("rate", "1001ms", 0).is_ok());
}
