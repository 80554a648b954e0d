//! Holds the alerts against what was injected.

use std::time::Duration;

use serde_json::{Value, json};
use tidewatch_metrics::EventTime;
use tidewatch_metrics::time::NANOS_PER_SECOND;

use crate::cli::demo::feed::Alert;
use crate::cli::demo::script::Script;
use crate::cli::generate::{Anomaly, rfc3339};

/// For so long after an anomaly its series may be reported for its return to normal, which is a
/// change like the one before.
const RETURN_NANOS: i64 = 300 * NANOS_PER_SECOND;

/// What an alert turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The first alert of an injected anomaly, by its index.
    Detected(usize),
    /// Another alert of an injected anomaly or of its end, by its index.
    Repeated(usize),
    /// Nobody injected anything there.
    False,
}

/// An injected anomaly and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    /// What was injected.
    pub(crate) anomaly: Anomaly,
    /// Into which series.
    pub(crate) series_id: String,
    /// Event time from the onset to the sample that made the alert fire.
    pub(crate) detected: Option<Duration>,
}

/// Counts what was detected, missed, and called wrongly.
#[derive(Debug)]
pub(crate) struct Judge {
    truths: Vec<Truth>,
    first_alert: Option<Duration>,
    false_alerts: usize,
}

impl Judge {
    /// A judge who knows what `script` injects.
    pub(crate) fn new(script: &Script) -> Self {
        let truths = script.anomalies().iter().map(|anomaly| Truth {
            anomaly: *anomaly,
            series_id: script.generator().series()[anomaly.series].key("default").id().to_string(),
            detected: None,
        });
        Self { truths: truths.collect(), first_alert: None, false_alerts: 0 }
    }

    /// Takes a firing alert of a generated series, delivered at `elapsed` since the demo's start.
    pub(crate) fn judge(&mut self, alert: &Alert, elapsed: Duration) -> Verdict {
        self.first_alert.get_or_insert(elapsed);
        let found = self.truths.iter_mut().enumerate().find(|(_, truth)| {
            let until = truth.anomaly.end.nanos().saturating_add(RETURN_NANOS);
            truth.series_id == alert.series_id
                && truth.anomaly.onset <= alert.onset
                && alert.onset.nanos() < until
        });
        let Some((index, truth)) = found else {
            self.false_alerts += 1;
            return Verdict::False;
        };
        // The return to normal is no detection of the anomaly.
        if truth.detected.is_some() || alert.onset >= truth.anomaly.end {
            return Verdict::Repeated(index);
        }
        let nanos = alert.event.nanos() - truth.anomaly.onset.nanos();
        truth.detected = Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)));
        Verdict::Detected(index)
    }

    /// All that is injected, in the order of the onsets.
    pub(crate) fn truths(&self) -> &[Truth] {
        &self.truths
    }

    /// What was injected up to `moment`.
    pub(crate) fn begun(&self, moment: EventTime) -> &[Truth] {
        let count = self.truths.partition_point(|truth| truth.anomaly.onset <= moment);
        &self.truths[..count]
    }

    /// Whether every anomaly was detected.
    pub(crate) fn is_complete(&self) -> bool {
        self.truths.iter().all(|truth| truth.detected.is_some())
    }

    /// Alerts where nothing was injected.
    pub(crate) fn false_alerts(&self) -> usize {
        self.false_alerts
    }

    /// Time from the demo's start to the first alert.
    pub(crate) fn first_alert(&self) -> Option<Duration> {
        self.first_alert
    }

    /// The result as one document; anomalies that begin after `moment` were not injected.
    pub(crate) fn document(&self, url: &str, moment: EventTime) -> Value {
        let begun = self.begun(moment).iter();
        let injected: Vec<Value> = begun
            .map(|truth| {
                json!({
                    "kind": truth.anomaly.kind.name(), "series_id": truth.series_id,
                    "onset": rfc3339(truth.anomaly.onset), "detected_s": seconds(truth.detected),
                })
            })
            .collect();
        json!({
            "url": url, "first_alert_s": seconds(self.first_alert), "injected": injected,
            "false_alerts": self.false_alerts,
        })
    }
}

/// Seconds to the millisecond, or null.
fn seconds(time: Option<Duration>) -> Value {
    time.map_or(Value::Null, |time| json!((time.as_secs_f64() * 1_000.0).round() / 1_000.0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NOW: EventTime = EventTime::new(1_760_000_000_000_000_000);
    const STEP: i64 = 10 * NANOS_PER_SECOND;

    fn judge() -> Judge {
        Judge::new(&Script::new(NOW, 1))
    }

    fn alert(series_id: &str, onset: i64, event: i64) -> Alert {
        Alert {
            series_id: series_id.to_owned(),
            metric: "m".to_owned(),
            labels: BTreeMap::new(),
            transition: "firing".to_owned(),
            reason: String::new(),
            onset: EventTime::new(onset),
            event: EventTime::new(event),
            sparkline: String::new(),
        }
    }

    #[test]
    fn an_alert_within_the_window_detects_once() {
        let mut judge = judge();
        let Truth { anomaly, series_id, .. } = judge.truths()[2].clone();
        let onset = anomaly.onset.nanos();
        let first = alert(&series_id, onset, onset + STEP);
        assert_eq!(judge.judge(&first, Duration::from_secs(9)), Verdict::Detected(2));
        assert_eq!(judge.judge(&first, Duration::from_secs(11)), Verdict::Repeated(2));
        assert_eq!(judge.truths()[2].detected, Some(Duration::from_secs(10)));
        assert_eq!(judge.first_alert(), Some(Duration::from_secs(9)));
        assert_eq!((judge.false_alerts(), judge.is_complete()), (0, false));
    }

    #[test]
    fn the_return_to_normal_is_neither_a_detection_nor_false() {
        let mut judge = judge();
        let Truth { anomaly, series_id, .. } = judge.truths()[3].clone();
        let end = anomaly.end.nanos();
        let returned = alert(&series_id, end, end + STEP);
        assert_eq!(judge.judge(&returned, Duration::ZERO), Verdict::Repeated(3));
        assert_eq!(judge.truths()[3].detected, None);
        let late = alert(&series_id, end + RETURN_NANOS, end + RETURN_NANOS);
        assert_eq!(judge.judge(&late, Duration::ZERO), Verdict::False);
    }

    #[test]
    fn an_alert_before_the_onset_or_on_another_series_is_false() {
        let mut judge = judge();
        let Truth { anomaly, series_id, .. } = judge.truths()[0].clone();
        let onset = anomaly.onset.nanos();
        let early = alert(&series_id, onset - 1, onset + STEP);
        assert_eq!(judge.judge(&early, Duration::ZERO), Verdict::False);
        let elsewhere = alert("00", onset, onset + STEP);
        assert_eq!(judge.judge(&elsewhere, Duration::ZERO), Verdict::False);
        assert_eq!(judge.false_alerts(), 2);
        assert!(judge.truths().iter().all(|truth| truth.detected.is_none()));
    }

    #[test]
    fn the_document_says_null_for_a_miss_and_nothing_of_what_is_to_come() {
        let mut judge = judge();
        let [first, second] = [judge.truths()[0].clone(), judge.truths()[1].clone()];
        let onset = second.anomaly.onset.nanos();
        judge.judge(
            &alert(&second.series_id, onset, onset + 2 * STEP),
            Duration::from_millis(8_250),
        );
        let document = judge.document("http://h:1", second.anomaly.onset);
        assert_eq!(
            document,
            json!({
                "url": "http://h:1", "first_alert_s": 8.25, "false_alerts": 0,
                "injected": [
                    { "kind": "spike", "series_id": first.series_id,
                      "onset": rfc3339(first.anomaly.onset), "detected_s": null },
                    { "kind": "drop", "series_id": second.series_id,
                      "onset": rfc3339(second.anomaly.onset), "detected_s": 20.0 },
                ],
            })
        );
    }
}
