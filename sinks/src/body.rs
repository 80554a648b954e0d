//! The one body that every sink delivers.

use serde::{Serialize, Serializer};
use tidewatch_metrics::Transition;

use crate::rfc3339::rfc3339;

/// The JSON of a transition: the columns of `tidewatch.alerts` but durable, scored and fired, then
/// `sparkline` and, where there is a `public_url`, `url`.
///
/// Depends on its arguments alone, so that every repeat of a delivery has the same bytes.
/// NaN and infinities are `null`.
///
/// # Panics
/// Never: every key is a string, and writing to memory cannot fail.
#[must_use]
pub fn body(transition: &Transition, public_url: Option<&str>) -> Vec<u8> {
    let body = Body {
        key: transition.key.to_string(),
        rule: &transition.rule,
        rule_version: &transition.rule_version,
        priority: &transition.priority,
        series_id: transition.subject.series().map(|series| series.to_string()),
        metric: &transition.metric,
        labels: Labels(&transition.labels),
        transition: transition.kind.name(),
        reason: &transition.reason,
        historical: transition.historical,
        onset: rfc3339(transition.onset.nanos()),
        severity: transition.severity.to_f32(),
        value: transition.value,
        expected: transition.expected,
        lower: transition.lower,
        upper: transition.upper,
        channel: transition.channel.name(),
        kind: transition.anomaly.name(),
        event: rfc3339(transition.event.nanos()),
        received: rfc3339(transition.received.nanos()),
        sparkline: &transition.sparkline,
        url: public_url.map(|base| link(base, transition)),
    };
    serde_json::to_vec(&body).expect("a body has string keys only")
}

/// A body with one member more at its end: `dedupe_key`, for receivers that do not see headers.
#[cfg(any(feature = "kafka", test))]
pub(crate) fn with_dedupe_key(body: &[u8], transition: &Transition) -> Vec<u8> {
    let members = body.strip_suffix(b"}").expect("a body is an object with members");
    // Digits, a colon and a word: nothing of a dedupe key needs to be escaped.
    let member = format!(",\"dedupe_key\":\"{}\"}}", transition.dedupe_key());
    [members, member.as_bytes()].concat()
}

/// Where a browser finds the alert: the table of its transitions, as the server shows it.
fn link(base: &str, transition: &Transition) -> String {
    format!(
        "{}/api/v3/query_sql?format=pretty\
         &q=SELECT%20*%20FROM%20tidewatch.alerts%20WHERE%20key%3D%27{}%27",
        base.trim_end_matches('/'),
        transition.key
    )
}

/// The order of the fields is the order in the body.
#[derive(Serialize)]
struct Body<'a> {
    key: String,
    rule: &'a str,
    rule_version: &'a str,
    priority: &'a str,
    /// None of a group.
    series_id: Option<String>,
    metric: &'a str,
    labels: Labels<'a>,
    transition: &'static str,
    reason: &'a str,
    historical: bool,
    onset: String,
    severity: f32,
    value: f64,
    expected: f64,
    lower: f64,
    upper: f64,
    channel: &'static str,
    /// None of what no detector has to do with.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    event: String,
    received: String,
    sparkline: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// Labels as one JSON object, in the order in which the series has them.
pub(crate) struct Labels<'a>(pub(crate) &'a [(String, String)]);

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_metrics::{AnomalyKind, TransitionTimes};

    use super::*;
    use crate::samples;

    #[test]
    fn the_bytes_are_pinned_for_ever() {
        let mut transition = samples::message(7, 1).transition;
        transition.reason = "severity 7.2 > 6, value \"93.1\"".to_owned();
        let expected = concat!(
            r#"{"key":"00000000000000000000000000000001","rule":"checkout slow","#,
            r#""rule_version":"0123456789abcdef","priority":"page","#,
            r#""series_id":"00000000000000000000000000000007","metric":"latency_ms","#,
            r#""labels":{"region":"eu-1","service":"checkout"},"transition":"firing","#,
            r#""reason":"severity 7.2 > 6, value \"93.1\"","historical":false,"#,
            r#""onset":"2014-04-01T09:00:00Z","severity":7.203125,"value":93.1,"expected":41.0,"#,
            r#""lower":null,"upper":null,"channel":"deviation","#,
            r#""event":"2014-04-01T09:05:00.250Z","received":"2014-04-01T09:05:01Z","sparkline":"▁▂█"}"#,
        );
        assert_eq!(String::from_utf8(body(&transition, None)).unwrap(), expected);
        transition.anomaly = AnomalyKind::LevelShift;
        let expected = expected.replace(r#","event":"#, r#","kind":"level_shift","event":"#);
        assert_eq!(String::from_utf8(body(&transition, None)).unwrap(), expected);
    }

    #[test]
    fn the_dedupe_key_is_the_last_member_behind_the_same_bytes() {
        let transition = samples::message(7, 1).transition;
        for url in [None, Some("https://tide.example")] {
            let body = body(&transition, url);
            let with_key = with_dedupe_key(&body, &transition);
            let (members, end) = with_key.split_at(body.len() - 1);
            assert_eq!(members, &body[..body.len() - 1]);
            let expected = r#","dedupe_key":"00000000000000000000000000000001:firing"}"#;
            assert_eq!(std::str::from_utf8(end).unwrap(), expected);
            let json: serde_json::Value = serde_json::from_slice(&with_key).unwrap();
            assert_eq!(json["dedupe_key"], transition.dedupe_key());
        }
    }

    #[test]
    fn the_link_is_there_only_with_a_public_url_and_asks_for_this_alert() {
        let transition = samples::message(7, 0xabc).transition;
        let json: serde_json::Value =
            serde_json::from_slice(&body(&transition, Some("https://tide.example/"))).unwrap();
        let link = json["url"].as_str().unwrap();
        assert!(link.starts_with("https://tide.example/api/v3/query_sql?"), "{link}");
        assert!(link.ends_with("%2700000000000000000000000000000abc%27"), "{link}");
        let without: serde_json::Value = serde_json::from_slice(&body(&transition, None)).unwrap();
        assert!(without.get("url").is_none());
    }

    #[test]
    fn a_repeat_at_another_time_has_the_same_bytes() {
        let first = samples::message(7, 1);
        let mut repeat = first.clone();
        repeat.times = TransitionTimes::default();
        assert_ne!(first.times, repeat.times);
        let bytes = |message: &crate::Message| body(&message.transition, Some("http://h"));
        assert_eq!(bytes(&first), bytes(&repeat));
    }

    #[test]
    fn no_number_breaks_the_json() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut transition = samples::message(7, 1).transition;
            transition.value = value;
            let json: serde_json::Value = serde_json::from_slice(&body(&transition, None)).unwrap();
            assert!(json["value"].is_null(), "{value}");
        }
    }
}
