use super::*;
use proptest::prelude::*;
use tidewatch_segments::{LetterEnd, LetterId};

fn transition(value: f64) -> Transition {
    Transition {
        key: AlertKey(7),
        rule: "checkout slow".to_owned(),
        rule_version: "0123456789abcdef".to_owned(),
        priority: "page".to_owned(),
        subject: Subject::Series(SeriesId::new(9)),
        db: "default".to_owned(),
        metric: "latency_ms".to_owned(),
        labels: vec![("host".to_owned(), "a".to_owned())],
        kind: TransitionKind::Firing,
        revision: 0,
        reason: "severity 7.2 > 6".to_owned(),
        historical: true,
        onset: EventTime::new(-5),
        event: EventTime::new(6),
        severity: Severity::from_steps(461),
        value,
        expected: f64::NAN,
        lower: -0.0,
        upper: f64::INFINITY,
        channel: Channel::Deviation,
        anomaly: AnomalyKind::None,
        received: UnixNanos::new(11),
        sparkline: "▁█".to_owned(),
    }
}

#[test]
fn a_transition_comes_back_bit_for_bit() {
    let times = TransitionTimes {
        durable: UnixNanos::new(1),
        scored: UnixNanos::new(2),
        fired: UnixNanos::new(3),
    };
    let record = TransitionRecord { cause: Lsn::new(4), times, transition: transition(f64::NAN) };
    let bytes = record.encode();
    let Some(LogRecord::Transition(back)) = decode(KIND_TRANSITION, &bytes) else {
        panic!("a transition is decoded as one")
    };
    assert_eq!(back.encode(), bytes);
    assert_eq!((back.cause, back.times), (record.cause, record.times));
}

#[test]
fn a_record_that_is_cut_or_too_long_is_no_record() {
    let times = TransitionTimes::default();
    let record = TransitionRecord { cause: Lsn::new(4), times, transition: transition(1.0) };
    let mut bytes = record.encode();
    for cut in 0..bytes.len() {
        assert!(decode(KIND_TRANSITION, &bytes[..cut]).is_none(), "cut at {cut}");
    }
    bytes.push(0);
    assert!(decode(KIND_TRANSITION, &bytes).is_none());
    assert!(decode(99, &[]).is_none());
}

#[test]
fn an_amendment_of_a_group_comes_back_and_a_mark_that_nobody_knows_is_refused() {
    let transition = Transition {
        kind: TransitionKind::Amended,
        subject: Subject::Group(GroupId(9)),
        historical: true,
        revision: 7,
        expected: 2.0,
        ..transition(1.0)
    };
    let times = TransitionTimes::default();
    let record = TransitionRecord { cause: Lsn::new(4), times, transition };
    let mut bytes = record.encode();
    let Some(LogRecord::Transition(back)) = decode(KIND_TRANSITION, &bytes) else {
        panic!("a transition is decoded as one")
    };
    assert_eq!(*back, record);
    // Behind cause, times, key and kind.
    assert_eq!(bytes[8 + 24 + 16 + 1], 3);
    // The upper half is the kind of the anomaly.
    for marks in [4, 9 << 4] {
        bytes[8 + 24 + 16 + 1] = marks;
        assert!(decode(KIND_TRANSITION, &bytes).is_none(), "{marks}");
    }
    for code in 0..=8 {
        bytes[8 + 24 + 16 + 1] = 3 | code << 4;
        let Some(LogRecord::Transition(back)) = decode(KIND_TRANSITION, &bytes) else {
            panic!("kind {code}")
        };
        assert_eq!(back.transition.anomaly.code(), code);
        assert_eq!(back.encode(), bytes);
    }
}

#[test]
fn starts_ticks_deliveries_and_hashes_come_back() {
    let start = StartRecord {
        version: "0.1.0".to_owned(),
        operators: 1,
        time: UnixNanos::new(5),
        alerts_max_age_nanos: 6,
        rules: "rules".to_owned(),
        sinks: vec!["a".to_owned(), "b".to_owned()],
    };
    let Some(LogRecord::Start(back)) = decode(KIND_START, &start.encode()) else { panic!() };
    assert_eq!(back, start);
    let tick = TickRecord { time: UnixNanos::new(8), rows: 9, hashed: true };
    let Some(LogRecord::Tick(back)) = decode(KIND_TICK, &tick.encode()) else { panic!() };
    assert_eq!(back, tick);
    let row = DeliveryRow {
        key: AlertKey(3),
        transition: TransitionKind::Resolved,
        sink: "oncall".to_owned(),
        attempt: 2,
        outcome: "retry".to_owned(),
        status: Some(500),
        started: UnixNanos::new(1),
        finished: UnixNanos::new(2),
        error: "answered 500".to_owned(),
    };
    let encoded = encode_delivery(&row);
    let Some(LogRecord::Delivery(back)) = decode(KIND_DELIVERY, &encoded) else { panic!() };
    assert_eq!(back, row);
    let hash = OutputHash { samples: 1, severities: 2, alerts: 3 };
    let record = OutputHashRecord { at: Lsn::new(4), hash };
    let Some(LogRecord::OutputHash(back)) = decode(KIND_OUTPUT_HASH, &record.encode()) else {
        panic!()
    };
    assert_eq!(back, record);
}

#[test]
fn a_keyed_record_is_its_key_and_then_what_the_samples_are_without_one() {
    let report = crate::LineReport { lines_accepted: 2, ..crate::LineReport::default() };
    let key = RequestKey {
        db: "d".into(),
        key: "order:7".into(),
        request: 1 << 100 | 5,
        answer: StoredAnswer::encode(&report, crate::Durability::Synced).into(),
    };
    let mut part = SampleBatch::default();
    part.push(SeriesRef(1), EventTime::new(2), 0.5);
    let encode = |head: SamplesHead<'_>| encode_samples(head, UnixNanos::new(9), &[], &[&part]);
    let bytes = encode(SamplesHead::Key(&key));
    assert!(bytes.ends_with(&encode(SamplesHead::Plain)));
    let Some(LogRecord::Samples(back)) = decode(KIND_KEYED_SAMPLES, &bytes) else { panic!() };
    assert_eq!(back.key.as_deref(), Some(&key));
    assert_eq!((back.received, back.parts[0].values()), (UnixNanos::new(9), &[0.5][..]));
    for cut in 0..bytes.len() {
        assert!(decode(KIND_KEYED_SAMPLES, &bytes[..cut]).is_none(), "cut at {cut}");
    }
    let keys = ["", "a b"].map(|text| RequestKey { key: text.into(), ..key.clone() });
    let answer = RequestKey { answer: [7].into(), ..key };
    for bad in keys.iter().chain([&answer]) {
        assert!(decode(KIND_KEYED_SAMPLES, &encode(SamplesHead::Key(bad))).is_none(), "{bad:?}");
    }
}

#[test]
fn a_sourced_record_is_its_offsets_and_then_what_the_samples_are_without_them() {
    let partition = crate::SourcePartition::new("k", "metrics", 258).unwrap();
    let source = SourceOffsets::new(partition, 1 << 100 | 5, (7, 9)).unwrap();
    let mut part = SampleBatch::default();
    part.push(SeriesRef(1), EventTime::new(2), 0.5);
    let encode = |head: SamplesHead<'_>| encode_samples(head, UnixNanos::new(9), &[], &[&part]);
    let bytes = encode(SamplesHead::Source(&source, &[]));
    let plain = encode(SamplesHead::Plain);
    // Records outlive a release.
    let head = b"\x01\0\0\0k\x07\0\0\0metrics\x02\x01\0\0\
        \x05\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0";
    assert_eq!(bytes, [&head[..], &plain].concat());
    let Some(LogRecord::Samples(back)) = decode(KIND_SOURCED_SAMPLES, &bytes) else { panic!() };
    assert_eq!(back.source.as_ref(), Some(&source));
    assert_eq!((back.received, back.parts[0].values()), (UnixNanos::new(9), &[0.5][..]));
    for cut in 0..bytes.len() {
        assert!(decode(KIND_SOURCED_SAMPLES, &bytes[..cut]).is_none(), "cut at {cut}");
    }
    // Its last offset is before the first one.
    let mut bad = bytes;
    bad[head.len() - 8] = 6;
    assert!(decode(KIND_SOURCED_SAMPLES, &bad).is_none());
}

#[test]
fn letters_stand_behind_the_samples_of_their_messages_and_come_back_whole() {
    let partition = crate::SourcePartition::new("k", "m", 3).unwrap();
    let source = SourceOffsets::new(partition, 5, (7, 9)).unwrap();
    let letter = |offset, time, key: Option<&[u8]>| Letter {
        offset,
        time,
        reason: "bad".into(),
        payload: [0xff, 0].into(),
        key: key.map(Into::into),
        bytes: 5,
    };
    let letters = [letter(7, None, Some(b"k")), letter(9, Some(EventTime::new(-2)), None)];
    let encode = |letters: &[Letter]| {
        encode_samples(SamplesHead::Source(&source, letters), UnixNanos::new(9), &[], &[])
    };
    let (bytes, without) = (encode(&letters), encode(&[]));
    // Records outlive a release.
    let behind = b"\x02\0\0\0\
        \x07\0\0\0\0\0\0\0\x02\x03\0\0\0bad\x05\0\0\0\0\0\0\0\x02\0\0\0\xff\0\x01\0\0\0k\
        \x09\0\0\0\0\0\0\0\x01\xfe\xff\xff\xff\xff\xff\xff\xff\x03\0\0\0bad\x05\0\0\0\0\0\0\0\x02\0\0\0\xff\0";
    assert_eq!(bytes, [&without, &behind[..]].concat());
    let Some(LogRecord::Samples(back)) = decode(KIND_SOURCED_SAMPLES, &bytes) else { panic!() };
    assert_eq!((back.source.as_ref(), &*back.letters), (Some(&source), &letters[..]));
    for cut in 0..bytes.len() {
        let is_record = decode(KIND_SOURCED_SAMPLES, &bytes[..cut]).is_some();
        assert_eq!(is_record, cut == without.len(), "cut at {cut}");
    }
    let (none, twice) = ([&without, &[0; 4][..]].concat(), [7, 7].map(|at| letter(at, None, None)));
    assert!(decode(KIND_SOURCED_SAMPLES, &none).is_none(), "a list without letters");
    for bad in [&twice[..], &[letter(6, None, None)], &[letter(10, None, None)]] {
        assert!(decode(KIND_SOURCED_SAMPLES, &encode(bad)).is_none(), "{bad:?}");
    }
}

#[test]
fn what_becomes_of_letters_stands_before_their_samples() {
    let mark = |lsn, offset, end| {
        let id = LetterId { lsn: Lsn::new(lsn), offset };
        LetterMark { id, end }
    };
    let marks = [mark(3, 258, LetterEnd::Replayed), mark(4, 0, LetterEnd::Dropped)];
    let encode = |head: SamplesHead<'_>| encode_samples(head, UnixNanos::new(9), &[], &[]);
    let bytes = encode(SamplesHead::Letters(&marks));
    let head = b"\x02\0\0\0\x03\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0\x01\
        \x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02";
    assert_eq!(bytes, [&head[..], &encode(SamplesHead::Plain)].concat());
    let Some(LogRecord::Samples(back)) = decode(KIND_ENDED_LETTERS, &bytes) else { panic!() };
    assert_eq!((&*back.marks, back.received), (&marks[..], UnixNanos::new(9)));
    for cut in 0..bytes.len() {
        assert!(decode(KIND_ENDED_LETTERS, &bytes[..cut]).is_none(), "cut at {cut}");
    }
    let mut bad = bytes;
    bad[head.len() - 1] = 3;
    assert!(decode(KIND_ENDED_LETTERS, &bad).is_none(), "an end that nobody knows");
}

proptest! {
    #[test]
    fn samples_come_back(
        rows in proptest::collection::vec((0_u32..50, -3_i64..4, any::<f64>()), 0..200),
        received in any::<i64>(),
    ) {
        let mut part = SampleBatch::default();
        for (series, time, value) in &rows {
            part.push(SeriesRef(*series), EventTime::new(*time), *value);
        }
        let key = SeriesKey::new("d", "m", "f", vec![]).unwrap();
        let canonical = key.canonical();
        let fresh = [(SeriesRef(3), key.measurement_bytes(), &*canonical)];
        let bytes = encode_samples(
            SamplesHead::Plain,
            UnixNanos::new(received),
            &fresh,
            &[&part, &part],
        );
        let Some(LogRecord::Samples(back)) = decode(KIND_SAMPLES, &bytes) else {
            return Err(TestCaseError::fail("samples are decoded as such"));
        };
        prop_assert_eq!(back.received.nanos(), received);
        prop_assert_eq!(&back.registrations, &[(SeriesRef(3), key)]);
        prop_assert_eq!(back.parts.len(), 2);
        for back in &back.parts {
            prop_assert_eq!(back.series(), part.series());
            prop_assert_eq!(back.times(), part.times());
            let bits = |batch: &SampleBatch| -> Vec<u64> {
                batch.values().iter().map(|value| value.to_bits()).collect()
            };
            prop_assert_eq!(bits(back), bits(&part));
        }
    }

    #[test]
    fn foreign_payloads_never_panic(kind in 15_u8..28, payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(decode(kind, &payload));
    }
}
