use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, TimestampNanosecondType, UInt16Type};
use tidewatch_metrics::{AnomalyKind, Channel, SeriesId, Severity, Subject};

use super::*;
use crate::fixtures::{Directory, rows_of};

pub(crate) fn alert(number: u8) -> AlertRow {
    let transition = Transition {
        key: AlertKey(u128::from(number)),
        rule: "high".to_owned(),
        rule_version: "0123456789abcdef".to_owned(),
        priority: "page".to_owned(),
        subject: Subject::Series(SeriesId::new(7)),
        db: "default".to_owned(),
        metric: "cpu".to_owned(),
        labels: vec![("host".to_owned(), "a".to_owned())],
        kind: TransitionKind::Firing,
        revision: 0,
        reason: "severity 7 > 6".to_owned(),
        historical: false,
        onset: EventTime::new(1),
        event: EventTime::new(2 + i64::from(number)),
        severity: Severity::from_f32(7.0),
        value: 3.5,
        expected: 1.0,
        lower: f64::NAN,
        upper: f64::NAN,
        channel: Channel::Deviation,
        anomaly: AnomalyKind::LevelShift,
        received: UnixNanos::new(3),
        sparkline: String::new(),
    };
    let times = TransitionTimes {
        durable: UnixNanos::new(4),
        scored: UnixNanos::new(5),
        fired: UnixNanos::new(6),
    };
    AlertRow { transition, times, lsn: Lsn::new(40 + u64::from(number)) }
}

pub(crate) fn delivery(attempt: u32) -> DeliveryRow {
    DeliveryRow {
        key: AlertKey(1),
        transition: TransitionKind::Resolved,
        sink: "hook".to_owned(),
        attempt,
        outcome: "retry".to_owned(),
        status: (attempt > 1).then_some(503),
        started: UnixNanos::new(10 + i64::from(attempt)),
        finished: UnixNanos::new(20),
        error: "connection refused".to_owned(),
    }
}

#[test]
fn the_columns_are_those_of_the_interface() {
    let names = |schema: SchemaRef| -> String {
        schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        names(alerts_schema()),
        "key, rule, rule_version, priority, series_id, metric, labels, transition, reason, \
         historical, onset, severity, value, expected, lower, upper, channel, kind, event, \
         received, durable, scored, fired"
    );
    assert_eq!(
        names(deliveries_schema()),
        "key, transition, sink, attempt, outcome, status, started, finished, error"
    );
}

#[test]
fn events_come_back_from_their_files() {
    let mut directory = Directory::new(1);
    let alerts: Vec<_> = (0..3).map(alert).collect();
    let deliveries: Vec<_> = (1..3).map(delivery).collect();
    directory.try_flush(&rows_of(0..1, 0..1), &alerts, &deliveries).unwrap();
    let read = |kind| {
        let meta = Arc::clone(directory.manifest.files_of(kind).next().unwrap());
        let file = EventFile::open(directory.shared_disk(), directory.dir(), meta);
        (file.read().unwrap().remove(0), file.meta().clone())
    };
    let (batch, meta) = read(FileKind::Alerts);
    assert_eq!(batch, alerts_batch(&alerts));
    assert_eq!((meta.first_lsn, meta.last_lsn, meta.rows), (Lsn::new(40), Lsn::new(42), 3));
    assert_eq!((meta.time_min, meta.time_max), (EventTime::new(2), EventTime::new(4)));
    let (batch, meta) = read(FileKind::Deliveries);
    assert_eq!(batch, deliveries_batch(&deliveries));
    assert_eq!((meta.time_min, meta.time_max), (EventTime::new(11), EventTime::new(12)));
    assert_eq!(directory.manifest.events_lsn(), Lsn::new(42));
}

#[test]
fn rows_keep_their_meaning_in_a_batch() {
    let batch = alerts_batch(&[alert(9)]);
    let text =
        |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
    assert_eq!(text("key"), format!("{:032x}", 9));
    assert_eq!(text("series_id"), format!("{:032x}", 7));
    assert_eq!(text("labels"), "{\"host\":\"a\"}");
    assert_eq!(text("transition"), "firing");
    assert_eq!((text("channel"), text("kind")), ("deviation".to_owned(), "level_shift".to_owned()));
    let number =
        |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().clone();
    assert!(number("lower").is_null(0) && number("expected").is_valid(0));
    let event = batch.column_by_name("event").unwrap().as_primitive::<TimestampNanosecondType>();
    assert_eq!(event.value(0), 11);
    let batch = deliveries_batch(&[delivery(1), delivery(2)]);
    let status = batch.column_by_name("status").unwrap().as_primitive::<UInt16Type>();
    assert_eq!(status.iter().collect::<Vec<_>>(), [None, Some(503)]);
}
