//! Rows of tables as records: what they are found by and what they say.
//!
//! Each depends on its row alone, so that every repeat has the same bytes.

use std::borrow::Cow;

use serde::Serialize;
use tidewatch_metrics::{EventTime, Flags, SeriesKey, Severity};

use crate::FeedRecord;
use crate::body::Labels;
use crate::rfc3339::rfc3339;

const CONTENT_TYPE: (Cow<'static, str>, &str) = (Cow::Borrowed("content-type"), "application/json");
/// What a row that comes twice is told by.
const DEDUPE: Cow<'static, str> = Cow::Borrowed("idempotency-key");

/// A sample with its severity, as in `tidewatch.samples`.
#[derive(Clone, Copy, Debug)]
pub struct ScoredSample<'a> {
    /// Its series.
    pub key: &'a SeriesKey,
    /// When it was.
    pub time: EventTime,
    /// Its value; finite.
    pub value: f64,
    /// How unlikely it was.
    pub severity: Severity,
    /// What else is known of it.
    pub flags: Flags,
}

/// A window, as in `tidewatch.percentiles`.
#[derive(Clone, Copy, Debug)]
pub struct ClosedPercentiles<'a> {
    /// The database of its series.
    pub db: &'a str,
    /// Of which percentiles it is.
    pub name: &'a str,
    /// The labels of its group.
    pub labels: &'a [(String, String)],
    /// Where it begins; included.
    pub start: EventTime,
    /// Where it ends; excluded.
    pub end: EventTime,
    /// 1 when it closed first.
    pub revision: u32,
    /// Quantiles, from 0 to 1, with their values; a window without numbers has none.
    pub quantiles: &'a [(f64, Option<f64>)],
    /// How many numbers it has.
    pub count: u64,
}

/// A message that could not be read, as in `tidewatch.dlq`.
#[derive(Clone, Copy, Debug)]
pub struct DeadMessage<'a> {
    /// The configured name of its source.
    pub source: &'a str,
    /// Its topic.
    pub topic: &'a str,
    /// The topic's id; 0 where it has none.
    pub topic_id: u128,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// When it was sent, if it says so.
    pub time: Option<EventTime>,
    /// Why it was refused.
    pub reason: &'a str,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The message, or its first bytes.
    pub payload: &'a [u8],
    /// Bytes that it had.
    pub bytes: u64,
}

#[derive(Serialize)]
struct SampleBody<'a> {
    time: String,
    series_id: &'a str,
    db: &'a str,
    metric: &'a str,
    labels: Labels<'a>,
    value: f64,
    severity: f32,
    onset_severity: f32,
    score: f32,
    channel: &'static str,
    dedupe_key: &'a str,
}

#[derive(Serialize)]
struct WindowBody<'a> {
    name: &'a str,
    db: &'a str,
    labels: Labels<'a>,
    window_start: String,
    window_end: String,
    revision: u32,
    count: u64,
    quantiles: Vec<QuantileBody>,
    dedupe_key: &'a str,
}

#[derive(Serialize)]
struct QuantileBody {
    quantile: f64,
    value: Option<f64>,
}

impl ScoredSample<'_> {
    /// Its record: the key is the series' id, the value an object with the columns of `tidewatch.samples`.
    ///
    /// # Panics
    /// Never: writing to memory cannot fail.
    #[must_use]
    pub fn record(&self) -> FeedRecord {
        let series_id = self.key.id().to_string();
        let dedupe_key = format!("{series_id}:{}", self.time.nanos());
        let severity = self.severity.to_f32();
        let body = SampleBody {
            time: rfc3339(self.time.nanos()),
            series_id: &series_id,
            db: self.key.db(),
            metric: self.key.metric(),
            labels: Labels(self.key.labels()),
            value: self.value,
            severity,
            onset_severity: if self.flags.is_onset() { severity } else { 0.0 },
            score: self.severity.score(),
            channel: self.flags.channel().name(),
            dedupe_key: &dedupe_key,
        };
        let value = serde_json::to_vec(&body).expect("a body has string keys only");
        json_record(series_id.into_bytes(), value, dedupe_key)
    }
}

impl ClosedPercentiles<'_> {
    /// Its record: the key names the percentiles and the group, the value is an object with the columns of `tidewatch.percentiles`
    /// but its sketch; quantiles are a list.
    ///
    /// # Panics
    /// Never: writing to memory cannot fail.
    #[must_use]
    pub fn record(&self) -> FeedRecord {
        let labels = serde_json::to_string(&Labels(self.labels)).expect("labels are texts");
        let key = format!("{}/{}/{labels}", self.db, self.name);
        let dedupe_key = format!("{key}:{}:{}", self.start.nanos(), self.revision);
        let quantiles = self.quantiles.iter();
        let body = WindowBody {
            name: self.name,
            db: self.db,
            labels: Labels(self.labels),
            window_start: rfc3339(self.start.nanos()),
            window_end: rfc3339(self.end.nanos()),
            revision: self.revision,
            count: self.count,
            quantiles: quantiles
                .map(|(quantile, value)| QuantileBody { quantile: *quantile, value: *value })
                .collect(),
            dedupe_key: &dedupe_key,
        };
        let value = serde_json::to_vec(&body).expect("a body has string keys only");
        json_record(key.into_bytes(), value, dedupe_key)
    }
}

impl DeadMessage<'_> {
    /// Its record: key and value as the message had them, and in headers where it came from and why it was refused.
    #[must_use]
    pub fn record(&self) -> FeedRecord {
        let place = format!("{}/{}/{:032x}", self.source, self.topic, self.topic_id);
        let mut headers: Vec<(Cow<'static, str>, String)> = vec![
            ("tidewatch-source".into(), self.source.to_owned()),
            ("tidewatch-topic".into(), self.topic.to_owned()),
            ("tidewatch-partition".into(), self.partition.to_string()),
            ("tidewatch-offset".into(), self.offset.to_string()),
            ("tidewatch-reason".into(), self.reason.to_owned()),
            (DEDUPE, format!("{place}/{}:{}", self.partition, self.offset)),
        ];
        if let Some(time) = self.time {
            headers.push(("tidewatch-time".into(), rfc3339(time.nanos())));
        }
        if self.bytes > self.payload.len() as u64 {
            headers.push(("tidewatch-bytes".into(), self.bytes.to_string()));
        }
        FeedRecord { key: self.key.map(Into::into), value: self.payload.into(), headers }
    }
}

fn json_record(key: Vec<u8>, value: Vec<u8>, dedupe_key: String) -> FeedRecord {
    let (name, text) = CONTENT_TYPE;
    let headers = vec![(name, text.to_owned()), (DEDUPE, dedupe_key)];
    FeedRecord { key: Some(key.into()), value: value.into(), headers }
}

#[cfg(test)]
mod tests {
    use tidewatch_metrics::Channel;

    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_bytes_of_a_sample_are_pinned() {
        let labels = vec![("host".to_owned(), "a\"b".to_owned())];
        let key = SeriesKey::new("default", "cpu", "value", labels).unwrap();
        let flags = Flags::ONSET.with_channel(Channel::Deviation);
        let (time, severity) =
            (EventTime::new(1_700_000_000_500_000_000), Severity::from_f32(6.25));
        let sample = ScoredSample { key: &key, time, value: 93.5, severity, flags };
        let record = sample.record();
        let id = key.id().to_string();
        assert_eq!(text(record.key.as_ref().unwrap()), id);
        let expected = format!(
            "{{\"time\":\"2023-11-14T22:13:20.500Z\",\"series_id\":\"{id}\",\"db\":\"default\",\
             \"metric\":\"cpu\",\"labels\":{{\"host\":\"a\\\"b\"}},\"value\":93.5,\"severity\":6.25,\
             \"onset_severity\":6.25,\"score\":0.6097561,\"channel\":\"deviation\",\
             \"dedupe_key\":\"{id}:1700000000500000000\"}}"
        );
        assert_eq!(text(&record.value), expected);
        let dedupe_key = format!("{id}:1700000000500000000");
        assert_eq!(record.headers[1], ("idempotency-key".into(), dedupe_key));
        let later = ScoredSample { flags: Flags::NONE, ..sample }.record();
        assert!(text(&later.value).contains("\"onset_severity\":0.0,"), "{}", text(&later.value));
    }

    #[test]
    fn the_bytes_of_a_window_are_pinned() {
        let window = ClosedPercentiles {
            db: "default",
            name: "latency",
            labels: &[("service".to_owned(), "checkout".to_owned())],
            start: EventTime::new(1_700_000_040_000_000_000),
            end: EventTime::new(1_700_000_100_000_000_000),
            revision: 2,
            quantiles: &[(0.5, Some(12.5)), (0.99, None)],
            count: 7,
        };
        let record = window.record();
        let key = "default/latency/{\"service\":\"checkout\"}";
        assert_eq!(text(record.key.as_ref().unwrap()), key);
        let expected = concat!(
            r#"{"name":"latency","db":"default","labels":{"service":"checkout"},"#,
            r#""window_start":"2023-11-14T22:14:00Z","window_end":"2023-11-14T22:15:00Z","#,
            r#""revision":2,"count":7,"quantiles":[{"quantile":0.5,"value":12.5},{"quantile":0.99,"value":null}],"#,
            r#""dedupe_key":"default/latency/{\"service\":\"checkout\"}:1700000040000000000:2"}"#,
        );
        assert_eq!(text(&record.value), expected);
    }

    #[test]
    fn a_dead_message_is_as_it_came_with_its_story_in_headers() {
        let message = DeadMessage {
            source: "main",
            topic: "metrics",
            topic_id: 7,
            partition: 3,
            offset: 41,
            time: Some(EventTime::new(0)),
            reason: "is no JSON",
            key: None,
            payload: b"\xff{",
            bytes: 2,
        };
        let record = message.record();
        assert_eq!((record.key.as_deref(), &*record.value), (None, &b"\xff{"[..]));
        let header = |name: &str| {
            let mut named = record.headers.iter().filter(|(header, _)| header == name);
            named.next().map(|(_, text)| text.as_str())
        };
        assert_eq!(header("tidewatch-offset"), Some("41"));
        assert_eq!(header("tidewatch-reason"), Some("is no JSON"));
        assert_eq!(header("tidewatch-time"), Some("1970-01-01T00:00:00Z"));
        assert_eq!(header("tidewatch-bytes"), None);
        let cut = DeadMessage { bytes: 3, key: Some(b"k"), ..message }.record();
        assert_eq!(
            (cut.headers.last().unwrap().1.as_str(), cut.key.as_deref()),
            ("3", Some(&b"k"[..]))
        );
    }
}
