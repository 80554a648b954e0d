//! OpenTelemetry's metrics against messages derived with the crate `prost`, on good messages and damaged ones.

use prost::Message;
use tidewatch_env::Rng;
use tidewatch_metrics::EventTime;

use crate::decode::mutation::{below, inputs, mutate, pick};
use crate::decode::oracle::otlp::{
    Any, AnyValue, AtQuantile, Buckets, Data, Exponential, ExponentialPoint, Histogram,
    HistogramPoint, KeyValue, Metric, Number, NumberPoint, Numbers, Request, Resource,
    ResourceMetrics, ScopeMetrics, Summary, SummaryPoint, check,
};
use crate::decode::{
    Incoming, ItemReason, MessageBatch, MessageForm, Messages, SeriesBatch, SeriesOptions, Taken,
    decode_series_messages,
};

const TIME: u64 = 1_700_000_000_000_000_000;

fn attribute(key: &str, any: Any) -> Vec<u8> {
    let value = Some(AnyValue { any: Some(any) });
    KeyValue { key: key.to_owned(), value }.encode_to_vec()
}

fn text(key: &str, value: &str) -> Vec<u8> {
    attribute(key, Any::Text(value.to_owned()))
}

fn request(resource: &[Vec<u8>], name: &str, data: Data) -> Request {
    let metric = Metric { name: name.as_bytes().to_vec(), data: Some(data) };
    let resource = Some(Resource { attributes: resource.to_vec() });
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric] }];
    Request { resource_metrics: vec![ResourceMetrics { resource, scope_metrics }] }
}

fn decoded(messages: &[&[u8]], options: &SeriesOptions) -> (SeriesBatch, Taken) {
    let mut batch = MessageBatch::new(MessageForm::Otlp);
    for (offset, payload) in (0..).zip(messages) {
        let time = Some(EventTime::new(77));
        batch.push(offset, Incoming { payload, time, ..Incoming::default() });
    }
    let mut out = SeriesBatch::new();
    let messages = Messages { batch: &batch, count: usize::MAX };
    let taken = decode_series_messages(messages, options, &mut out);
    (out, taken)
}

/// Each row as `name{labels} value@time`, or why it has no good names.
fn rows(request: &Request) -> Vec<String> {
    let bytes = request.encode_to_vec();
    check(&bytes);
    let (out, _) = decoded(&[&bytes], &SeriesOptions::default());
    let row = |item: usize| {
        let names = match out.names(&[], item) {
            Ok(names) => names,
            Err(reason) => return reason.name().to_owned(),
        };
        let labels = names.labels.iter().map(|(key, value)| format!("{key}={value},"));
        let (metric, labels) = (names.metric, labels.collect::<String>());
        format!("{metric}{{{labels}}} {}@{}", out.values()[item], out.times()[item].nanos())
    };
    (0..out.items()).map(row).collect()
}

#[test]
fn numbers_have_their_attributes_and_what_tells_their_resource_from_others() {
    let attributes = vec![
        text("http.method", "GET"),
        attribute("code", Any::Int(-5)),
        attribute("ok", Any::Bool(true)),
        attribute("share", Any::Double(0.25)),
        text("host.name", "own"),
        KeyValue { key: "none".to_owned(), value: None }.encode_to_vec(),
    ];
    let resource = [text("service.name", "shop"), text("host.name", "h"), text("process.pid", "9")];
    let point = NumberPoint {
        attributes,
        time: TIME,
        value: Some(Number::Int(3)),
        exemplars: vec![Vec::new(); 2],
        flags: 0,
    };
    let other = NumberPoint {
        attributes: vec![],
        time: 0,
        value: Some(Number::Double(0.5)),
        ..point.clone()
    };
    let bad = NumberPoint { value: None, ..other.clone() };
    let list =
        NumberPoint { attributes: vec![attribute("a", Any::Array(vec![]))], ..other.clone() };
    let numbers = Numbers { points: vec![point, other, bad, list] };
    for data in [Data::Gauge(numbers.clone()), Data::Sum(numbers)] {
        let request = request(&resource, "http.requests", data);
        let labels =
            "http.method=GET,code=-5,ok=true,share=0.25,host.name=own,none=,service.name=shop,";
        let first = format!("http.requests{{{labels}}} 3@{TIME}");
        let second = "http.requests{service.name=shop,host.name=h,} 0.5@77".to_owned();
        assert_eq!(rows(&request), [first, second, "label_not_scalar".to_owned()]);
        let (out, taken) = decoded(&[&request.encode_to_vec()], &SeriesOptions::default());
        assert_eq!((out.extras().exemplars, taken.bad), (8, vec![0]));
        assert_eq!(out.errors().first()[0].reason, ItemReason::MissingValue);
    }
}

#[test]
fn histograms_and_summaries_are_what_prometheus_makes_of_them() {
    let point = HistogramPoint {
        attributes: vec![text("le", "theirs"), text("a", "b")],
        time: TIME,
        count: 9,
        sum: Some(12.5),
        counts: vec![1, 2, 0, 6],
        bounds: vec![0.005, 1.0, 10.0],
        ..HistogramPoint::default()
    };
    let shown = |data| rows(&request(&[], "h", data));
    let expected = ["h_sum{le=theirs,a=b,} 12.5", "h_count{le=theirs,a=b,} 9"].into_iter();
    let buckets = ["h_bucket{le=0.005,a=b,} 1", "h_bucket{le=1,a=b,} 3", "h_bucket{le=10,a=b,} 3"];
    let expected = expected.chain(buckets).chain(["h_bucket{le=+Inf,a=b,} 9"]);
    let expected: Vec<_> = expected.map(|row| format!("{row}@{TIME}")).collect();
    let points = vec![point.clone()];
    assert_eq!(shown(Data::Histogram(Histogram { points })), expected);
    let stale = HistogramPoint { sum: None, bounds: vec![], counts: vec![], flags: 1, ..point };
    let request_of_stale = request(&[], "h", Data::Histogram(Histogram { points: vec![stale] }));
    let (out, _) = decoded(&[&request_of_stale.encode_to_vec()], &SeriesOptions::default());
    assert!(out.values().iter().all(|value| value.to_bits() == 0x7ff0_0000_0000_0002));
    assert_eq!(out.rows(), 2);
    let point = ExponentialPoint {
        time: TIME,
        count: 12,
        sum: None,
        scale: 1,
        zeros: 2,
        positive: Some(Buckets { offset: -1, counts: vec![1, 0, 3] }),
        negative: Some(Buckets { offset: 1, counts: vec![4, 2] }),
        zero_bound: 0.25,
        ..ExponentialPoint::default()
    };
    let points = vec![point];
    let expected = [
        "h_count{} 12",
        "h_bucket{le=-2,} 2",
        "h_bucket{le=-1.41421356237,} 6",
        "h_bucket{le=0.25,} 8",
        "h_bucket{le=1,} 9",
        "h_bucket{le=1.41421356237,} 9",
        "h_bucket{le=2,} 12",
        "h_bucket{le=+Inf,} 12",
    ];
    let expected = expected.map(|row| format!("{row}@{TIME}"));
    assert_eq!(shown(Data::Exponential(Exponential { points })), expected);
    let quantiles =
        vec![AtQuantile { quantile: 0.5, value: 7.0 }, AtQuantile { quantile: 1.0, value: 8.0 }];
    let point =
        SummaryPoint { time: TIME, count: 3, sum: 20.0, quantiles, ..SummaryPoint::default() };
    let points = vec![point];
    let expected = ["h_sum{} 20", "h_count{} 3", "h{quantile=0.5,} 7", "h{quantile=1,} 8"];
    let expected = expected.map(|row| format!("{row}@{TIME}"));
    assert_eq!(shown(Data::Summary(Summary { points })), expected);
}

#[test]
fn the_resource_and_the_name_may_stand_behind_what_they_are_of() {
    let field =
        |tag: u8, bytes: &[u8]| [&[tag, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let point = NumberPoint { time: TIME, value: Some(Number::Int(1)), ..NumberPoint::default() };
    let gauge = field(42, &Numbers { points: vec![point] }.encode_to_vec());
    let metric = [gauge.clone(), field(10, b"old"), gauge.clone(), field(10, b"m")].concat();
    let resource = Resource { attributes: vec![text("service.name", "s")] }.encode_to_vec();
    let metrics = [field(18, &field(18, &metric)), field(10, &resource)].concat();
    let bytes = field(10, &metrics);
    check(&bytes);
    let (out, _) = decoded(&[&bytes], &SeriesOptions::default());
    assert_eq!(out.rows(), 2, "pieces of the same kind are one");
    let names = out.names(&[], 1).unwrap();
    assert_eq!((&*names.metric, &*names.labels[0].1), ("m", "s"));
    // Two kinds are none.
    let sum = [58_u8, gauge[1]];
    let metric = [&gauge[..], &sum, &gauge[2..], &field(10, b"m")].concat();
    let bytes = field(10, &field(18, &field(18, &metric)));
    check(&bytes);
    let (out, taken) = decoded(&[&bytes], &SeriesOptions::default());
    assert_eq!((out.rows(), taken.bad), (0, vec![0]));
}

#[test]
fn limits_refuse_a_message_or_a_point_and_touch_no_other() {
    let point = |bounds: usize| HistogramPoint {
        time: TIME,
        counts: vec![1; bounds],
        bounds: (0..bounds).map(|bound| bound as f64).collect(),
        ..HistogramPoint::default()
    };
    let message = |points| request(&[], "h", Data::Histogram(Histogram { points })).encode_to_vec();
    let (few, many, none) = (message(vec![point(1)]), message(vec![point(2)]), message(vec![]));
    let options = SeriesOptions { samples_max: 3, ..SeriesOptions::default() };
    let (out, taken) = decoded(&[&few, &many, &none, &few], &options);
    assert_eq!((taken.bad, out.numbers()), (vec![1], &[0, 0, 0, 3, 3, 3][..]));
    assert_eq!(out.errors().first()[0].reason, ItemReason::TooManySamples);
    let (out, _) = decoded(&[&message(vec![point(5_000), point(1)])], &SeriesOptions::default());
    assert_eq!((out.rows(), out.errors().first()[0].reason), (3, ItemReason::BadHistogram));
    // A point of two bytes would take a kibibyte of names each time.
    let points =
        vec![NumberPoint { value: Some(Number::Int(1)), ..NumberPoint::default() }; 70_000];
    let long = [text("service.name", &"s".repeat(1_000))];
    let long = request(&long, "m", Data::Gauge(Numbers { points })).encode_to_vec();
    let (out, taken) = decoded(&[&few, &long, &few], &SeriesOptions::default());
    assert_eq!((taken.bad, out.rows()), (vec![1], 6));
    assert_eq!(out.errors().first()[0].reason, ItemReason::NamesTooLong);
}

fn word(rng: &mut Rng) -> String {
    let words = ["a", "service.name", "host.name", "le", "quantile", "", "\u{e9}", "x\ny", "GET"];
    pick(rng, &words).to_owned()
}

fn attributes(rng: &mut Rng) -> Vec<Vec<u8>> {
    let one = |rng: &mut Rng| {
        let any = match rng.below(8) {
            0 => Any::Int(rng.next_u64().cast_signed()),
            1 => Any::Bool(rng.below(2) == 0),
            2 => Any::Double(0.1),
            3 if rng.below(4) == 0 => Any::Bytes(vec![1]),
            4 if rng.below(4) == 0 => return vec![0xff, 0x01],
            _ => Any::Text(word(rng)),
        };
        attribute(&word(rng), any)
    };
    (0..rng.below(4)).map(|_| one(rng)).collect()
}

fn number(rng: &mut Rng) -> f64 {
    let bits = [0.0, 1.5, -2.0, f64::INFINITY, f64::NAN, 1e300, 3.0, 4.0];
    bits[below(rng, bits.len())]
}

fn counts(rng: &mut Rng) -> Vec<u64> {
    (0..rng.below(5)).map(|_| rng.below(9)).collect()
}

fn buckets(rng: &mut Rng) -> Option<Buckets> {
    let offset = i32::try_from(rng.below(40)).unwrap() - 20;
    (rng.below(4) > 0).then(|| Buckets { offset, counts: counts(rng) })
}

fn data(rng: &mut Rng) -> Data {
    let count = rng.below(3);
    let time = |rng: &mut Rng| [TIME, TIME, TIME, 0, u64::MAX][below(rng, 5)];
    let flags = |rng: &mut Rng| u32::from(rng.below(6) == 0);
    let sum = |rng: &mut Rng| (rng.below(3) > 0).then(|| number(rng));
    let exemplars = |rng: &mut Rng| vec![Vec::new(); below(rng, 2)];
    let kind = rng.below(5);
    let numbers = |rng: &mut Rng| NumberPoint {
        attributes: attributes(rng),
        time: time(rng),
        value: match rng.below(5) {
            0 => None,
            1 | 2 => Some(Number::Int(rng.next_u64().cast_signed())),
            _ => Some(Number::Double(number(rng))),
        },
        exemplars: exemplars(rng),
        flags: flags(rng),
    };
    let histogram = |rng: &mut Rng| HistogramPoint {
        attributes: attributes(rng),
        time: time(rng),
        count: rng.below(20),
        sum: sum(rng),
        counts: counts(rng),
        bounds: (0..rng.below(5)).map(|_| number(rng)).collect(),
        exemplars: exemplars(rng),
        flags: flags(rng),
    };
    let exponential = |rng: &mut Rng| ExponentialPoint {
        attributes: attributes(rng),
        time: time(rng),
        count: rng.below(20),
        sum: sum(rng),
        scale: i32::try_from(rng.below(26)).unwrap() - 3,
        zeros: rng.below(3),
        positive: buckets(rng),
        negative: buckets(rng),
        flags: flags(rng),
        exemplars: exemplars(rng),
        zero_bound: [0.0, 0.0, 0.5, -1.0, f64::NAN][below(rng, 5)],
    };
    let summary = |rng: &mut Rng| SummaryPoint {
        attributes: attributes(rng),
        time: time(rng),
        count: rng.below(20),
        sum: number(rng),
        quantiles: (0..rng.below(3))
            .map(|_| AtQuantile { quantile: number(rng), value: number(rng) })
            .collect(),
        flags: flags(rng),
    };
    match kind {
        0 => Data::Gauge(Numbers { points: (0..count).map(|_| numbers(rng)).collect() }),
        1 => Data::Sum(Numbers { points: (0..count).map(|_| numbers(rng)).collect() }),
        2 => Data::Histogram(Histogram { points: (0..count).map(|_| histogram(rng)).collect() }),
        3 => Data::Exponential(Exponential {
            points: (0..count).map(|_| exponential(rng)).collect(),
        }),
        _ => Data::Summary(Summary { points: (0..count).map(|_| summary(rng)).collect() }),
    }
}

fn body(rng: &mut Rng) -> Vec<u8> {
    let metric = |rng: &mut Rng| Metric {
        name: if rng.below(9) == 0 { b"\xff".to_vec() } else { word(rng).into_bytes() },
        data: (rng.below(9) > 0).then(|| data(rng)),
    };
    let metrics = |rng: &mut Rng| ResourceMetrics {
        resource: (rng.below(4) > 0).then(|| Resource { attributes: attributes(rng) }),
        scope_metrics: vec![ScopeMetrics {
            metrics: (0..rng.below(3)).map(|_| metric(rng)).collect(),
        }],
    };
    let resource_metrics = (0..=rng.below(2)).map(|_| metrics(rng)).collect();
    Request { resource_metrics }.encode_to_vec()
}

#[test]
fn good_and_damaged_messages_are_read_as_prost_reads_them() {
    for seed in 0..inputs() {
        let mut rng = Rng::from_seed(seed);
        let mut bytes = body(&mut rng);
        check(&bytes);
        mutate(
            &mut rng,
            &mut bytes,
            b"\x08\x09\x0a\x10\x12\x19\x21\x29\x32\x3a\x42\x4a\x52\x80\xff\x00",
        );
        check(&bytes);
    }
}
