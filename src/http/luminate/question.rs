//! A question as typed, then as meant.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::http::StatusCode;
use chrono::DateTime;
use serde::Deserialize;
use serde_json::{Value, json};
use tidewatch_metrics::limits::METRIC_BYTES_MAX;

use super::limits::{
    DIMENSIONS_MAX, GROUPS_MAX, POINTS_DEFAULT, POINTS_MAX, RANGE_MAX, TIMEOUT_DEFAULT, TIMEOUT_MAX,
};
use crate::config::units::{parse_duration, show_duration};
use crate::http::ApiError;

/// A question as typed. What is empty counts as absent, since clients in Go send it so.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Asked {
    query_type: Option<String>,
    metric_name: Option<String>,
    time_range: Option<AskedTimes>,
    filters: Option<BTreeMap<String, String>>,
    aggregation: Option<String>,
    group_by: Option<Vec<String>>,
    interval: Option<String>,
    limit: Option<u64>,
    timeout: Option<String>,
}

/// A range of times as typed: `relative`, or `start` with or without `end`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AskedTimes {
    relative: Option<String>,
    start: Option<String>,
    end: Option<String>,
}

/// A question as meant.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// What is to be made of the samples.
    pub(super) kind: Kind,
    /// The metric.
    pub(super) metric: String,
    /// Event times in nanoseconds, both ends included.
    pub(super) times: RangeInclusive<i64>,
    /// Dimensions and the values that series must have; an empty value means that they have none.
    pub(super) filters: BTreeMap<String, String>,
    /// Dimensions by whose values series are put together, each once.
    pub(super) group_by: Vec<String>,
    /// Rows of the answer at most.
    pub(super) limit: u64,
    /// Time for the answer.
    pub(super) timeout: Duration,
}

/// What is to be made of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: they are shown one by one.
    Range,
    /// One number per group.
    Aggregate(Aggregation),
    /// How fast counters grow, per bucket.
    Rate {
        /// Length of a bucket in nanoseconds, at least 1.
        interval: i64,
    },
}

/// How the samples of a group become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregation {
    /// Their mean.
    Avg,
    /// Their sum.
    Sum,
    /// How many there are.
    Count,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The value below or at which so many per cent of them are: exact, by nearest rank.
    Percentile(u8),
    /// The area below the lines between the samples of each series, in value times seconds.
    Integral,
}

impl Kind {
    /// Its name in questions and answers.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Aggregate(_) => "aggregate",
            Self::Rate { .. } => "rate",
        }
    }
}

impl Aggregation {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "avg" => Self::Avg,
            "sum" => Self::Sum,
            "count" => Self::Count,
            "min" => Self::Min,
            "max" => Self::Max,
            "p50" => Self::Percentile(50),
            "p95" => Self::Percentile(95),
            "p99" => Self::Percentile(99),
            "integral" => Self::Integral,
            _ => return None,
        })
    }
}

impl Question {
    /// What `asked` means at the moment `now`, in nanoseconds since 1970.
    ///
    /// # Errors
    /// 400 with what is missing, wrong or too much.
    pub(super) fn of(asked: Asked, now: i64) -> Result<Self, ApiError> {
        let interval = interval(asked.interval)?;
        let aggregation = aggregation(asked.aggregation)?;
        let kind = kind(asked.query_type, aggregation, interval)?;
        let metric = metric(asked.metric_name)?;
        let times = times(asked.time_range.unwrap_or_default(), now)?;
        if let Kind::Rate { interval } = kind {
            check_buckets(&times, interval)?;
        }
        let filters = asked.filters.unwrap_or_default();
        let group_by = asked.group_by.unwrap_or_default();
        check_dimensions(&filters, &group_by)?;
        let limit = limit(kind, asked.limit)?;
        let timeout = timeout(asked.timeout)?;
        Ok(Self { kind, metric, times, filters, group_by, limit, timeout })
    }
}

/// 400 with Luminate's code for questions.
pub(super) fn refused(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "INVALID_QUERY", message)
}

fn beyond(message: impl Into<String>, details: Value) -> ApiError {
    refused(message).with_details(details)
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn kind(
    name: Option<String>,
    aggregation: Option<Aggregation>,
    interval: Option<i64>,
) -> Result<Kind, ApiError> {
    let name = given(name).ok_or_else(|| refused("queryType is required"))?;
    match &*name {
        "range" => Ok(Kind::Range),
        "aggregate" => aggregation.map(Kind::Aggregate).ok_or_else(|| {
            refused(
                "aggregation is required for aggregate queries: \
                 avg, sum, count, min, max, p50, p95, p99 or integral",
            )
        }),
        "rate" => interval
            .map(|interval| Kind::Rate { interval })
            .ok_or_else(|| refused("interval is required for rate queries, such as \"1m\"")),
        other => Err(refused(format!(
            "invalid queryType {other:?}: range, aggregate and rate are known"
        ))),
    }
}

fn aggregation(name: Option<String>) -> Result<Option<Aggregation>, ApiError> {
    let Some(name) = given(name) else { return Ok(None) };
    let known = "avg, sum, count, min, max, p50, p95, p99 and integral are known";
    let aggregation = Aggregation::from_name(&name);
    aggregation
        .map(Some)
        .ok_or_else(|| refused(format!("invalid aggregation type {name:?}: {known}")))
}

fn metric(name: Option<String>) -> Result<String, ApiError> {
    let name = given(name).ok_or_else(|| refused("metricName is required"))?;
    if name.len() > METRIC_BYTES_MAX || name.chars().any(char::is_control) {
        let message = format!(
            "metricName must have 1 to {METRIC_BYTES_MAX} bytes without control characters"
        );
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "INVALID_METRIC_NAME", message));
    }
    Ok(name)
}

fn interval(text: Option<String>) -> Result<Option<i64>, ApiError> {
    let Some(text) = given(text) else { return Ok(None) };
    let nanos = parse_duration(&text).and_then(|time| i64::try_from(time.as_nanos()).ok());
    let nanos = nanos.filter(|nanos| (1..=i64::MAX / 4).contains(nanos));
    nanos.map(Some).ok_or_else(|| {
        refused(format!("invalid interval format {text:?}: a time with its unit, such as \"1m\""))
    })
}

fn timeout(text: Option<String>) -> Result<Duration, ApiError> {
    let Some(text) = given(text) else { return Ok(TIMEOUT_DEFAULT) };
    let timeout = parse_duration(&text).filter(|time| !time.is_zero()).ok_or_else(|| {
        refused(format!("invalid timeout format {text:?}: a time with its unit, such as \"10s\""))
    })?;
    if timeout > TIMEOUT_MAX {
        let max = show_duration(TIMEOUT_MAX);
        let details = json!({ "max_query_timeout": max });
        return Err(beyond(format!("timeout is {text:?}, but at most {max}"), details));
    }
    Ok(timeout)
}

fn limit(kind: Kind, asked: Option<u64>) -> Result<u64, ApiError> {
    let (name, max, default) = match kind {
        Kind::Range => ("max_result_points", POINTS_MAX, POINTS_DEFAULT),
        Kind::Rate { .. } => ("max_result_points", POINTS_MAX, POINTS_MAX),
        Kind::Aggregate(_) => ("max_group_by_cardinality", GROUPS_MAX, POINTS_DEFAULT),
    };
    let limit = asked.filter(|limit| *limit > 0).unwrap_or(default);
    if limit > max {
        return Err(beyond(format!("limit is {limit}, but at most {max}"), json!({ name: max })));
    }
    Ok(limit)
}

fn check_dimensions(
    filters: &BTreeMap<String, String>,
    group_by: &[String],
) -> Result<(), ApiError> {
    for (name, count) in [("filters", filters.len()), ("groupBy", group_by.len())] {
        if count > DIMENSIONS_MAX {
            let details = json!({ "max_dimensions": DIMENSIONS_MAX });
            let message = format!("{name} names {count} dimensions, but at most {DIMENSIONS_MAX}");
            return Err(beyond(message, details));
        }
    }
    let mut seen = BTreeSet::new();
    match group_by.iter().find(|key| !seen.insert(*key)) {
        None => Ok(()),
        Some(twice) => Err(refused(format!("groupBy names {twice:?} twice"))),
    }
}

fn times(asked: AskedTimes, now: i64) -> Result<RangeInclusive<i64>, ApiError> {
    let (start, end) = match (given(asked.relative), given(asked.start), given(asked.end)) {
        (None, None, None) => {
            return Err(refused(
                "timeRange is required: {\"relative\":\"1h\"} or {\"start\":…,\"end\":…}",
            ));
        }
        (Some(relative), None, None) => (now.saturating_sub(span(&relative)?), now),
        (Some(_), _, _) => {
            return Err(refused("timeRange has relative beside start or end: name one of both"));
        }
        (None, None, Some(_)) => return Err(refused("timeRange.start is required")),
        (None, Some(start), end) => {
            let end = end.map_or(Ok(now), |end| moment("end", &end))?;
            (moment("start", &start)?, end)
        }
    };
    if end <= start {
        return Err(refused("end time must be after start time"));
    }
    let is_long =
        i128::from(end) - i128::from(start) > i128::try_from(RANGE_MAX.as_nanos()).unwrap_or(0);
    if is_long {
        let hours = format!("{}h", RANGE_MAX.as_secs() / 3_600);
        let details = json!({ "max_query_time_range": hours });
        return Err(beyond("timeRange is longer than 90 days", details));
    }
    Ok(start..=end)
}

fn span(text: &str) -> Result<i64, ApiError> {
    let nanos = parse_duration(text).and_then(|time| i64::try_from(time.as_nanos()).ok());
    nanos.filter(|nanos| *nanos > 0).ok_or_else(|| {
        refused(format!(
            "invalid timeRange.relative {text:?}: numbers with s, m, h, d or w, such as \"24h\" or \"1h30m\""
        ))
    })
}

fn moment(key: &str, text: &str) -> Result<i64, ApiError> {
    let time = DateTime::parse_from_rfc3339(text).ok();
    time.and_then(|time| time.timestamp_nanos_opt()).ok_or_else(|| {
        let form = "a time such as 2026-01-31T00:00:00Z, from 1677 to 2262";
        refused(format!("invalid timeRange.{key} {text:?}: {form}"))
    })
}

/// Refuses more buckets than an answer may have.
fn check_buckets(times: &RangeInclusive<i64>, interval: i64) -> Result<(), ApiError> {
    let first = i128::from(times.start().div_euclid(interval));
    let buckets = i128::from(times.end().div_euclid(interval)) - first + 1;
    if buckets <= i128::from(POINTS_MAX) {
        return Ok(());
    }
    let message =
        format!("the range has {buckets} buckets of this interval, but at most {POINTS_MAX}");
    Err(beyond(message, json!({ "max_result_points": POINTS_MAX })))
}

#[cfg(test)]
#[path = "question_tests.rs"]
mod tests;
