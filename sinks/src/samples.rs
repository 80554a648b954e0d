//! Messages for the tests of this crate.

use tidewatch_metrics::{
    AlertKey, AnomalyKind, Channel, EventTime, SeriesId, Severity, Subject, Transition,
    TransitionKind, TransitionTimes, UnixNanos,
};

use crate::Message;

/// A firing alert with this key on this series.
pub(crate) fn message(series: u128, key: u128) -> Message {
    Message {
        transition: Transition {
            key: AlertKey(key),
            rule: "checkout slow".to_owned(),
            rule_version: "0123456789abcdef".to_owned(),
            priority: "page".to_owned(),
            subject: Subject::Series(SeriesId::new(series)),
            db: "default".to_owned(),
            metric: "latency_ms".to_owned(),
            labels: vec![
                ("region".to_owned(), "eu-1".to_owned()),
                ("service".to_owned(), "checkout".to_owned()),
            ],
            kind: TransitionKind::Firing,
            revision: 0,
            reason: "severity 7.2 > 6".to_owned(),
            historical: false,
            onset: EventTime::new(1_396_342_800_000_000_000),
            event: EventTime::new(1_396_343_100_250_000_000),
            severity: Severity::from_f32(7.2),
            value: 93.1,
            expected: 41.0,
            lower: f64::NAN,
            upper: f64::NAN,
            channel: Channel::Deviation,
            anomaly: AnomalyKind::None,
            received: UnixNanos::new(1_396_343_101_000_000_000),
            sparkline: "▁▂█".to_owned(),
        },
        times: TransitionTimes {
            durable: UnixNanos::new(1_396_343_101_001_000_000),
            scored: UnixNanos::new(1_396_343_101_002_000_000),
            fired: UnixNanos::new(1_396_343_101_003_000_000),
        },
    }
}
