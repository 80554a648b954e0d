//! JSON and remote write: these decoders beside `serde_json` and `prost`, samples per second on one core.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use serde::Deserialize;
use tidewatch_connectors::decode::remote_write::unpack;
use tidewatch_connectors::decode::{SeriesBatch, SeriesForm, SeriesOptions, decode_series};

/// Series of a body, one sample each.
const SERIES: usize = 2_000;
const LABELS: [(&str, &str); 7] = [
    ("__name__", "node_cpu_seconds_total"),
    ("cluster", "eu-production-1"),
    ("environment", "production"),
    ("job", "node-exporter"),
    ("namespace", "monitoring"),
    ("region", "eu-west-1"),
    ("service", "node"),
];

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeries2>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

fn sample(host: usize) -> Sample {
    let value = (host * 7_919 % 10_000) as f64 / 100.0;
    Sample { value, timestamp: 1_700_000_000_000 }
}

fn request_1() -> WriteRequest {
    let series = |host: usize| {
        let labels = LABELS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let host_label = ("host".to_owned(), format!("host-{host:06}"));
        let labels = labels.chain([host_label]).map(|(name, value)| Label { name, value });
        TimeSeries { labels: labels.collect(), samples: vec![sample(host)] }
    };
    WriteRequest { timeseries: (0..SERIES).map(series).collect() }
}

fn request_2() -> Request {
    let mut symbols = vec![String::new()];
    symbols.extend(LABELS.iter().flat_map(|(name, value)| [*name, *value]).map(str::to_owned));
    symbols.push("host".to_owned());
    let shared: Vec<u32> = (1..).take(2 * LABELS.len() + 1).collect();
    let timeseries = (0..SERIES).map(|host| {
        let mut labels_refs = shared.clone();
        labels_refs.push(u32::try_from(symbols.len()).expect("few symbols"));
        symbols.push(format!("host-{host:06}"));
        TimeSeries2 { labels_refs, samples: vec![sample(host)] }
    });
    let timeseries = timeseries.collect();
    Request { symbols, timeseries }
}

fn json(head: &str, between: &str, tail: &str, names: [&str; 3]) -> String {
    let [name, time, labels] = names;
    let one = |host: usize| {
        let Sample { value, timestamp } = sample(host);
        format!(
            "{{\"{name}\":\"cpu.usage_user\",\"{time}\":{timestamp},\"value\":{value},\"{labels}\":\
             {{\"cluster\":\"eu-production-1\",\"host\":\"host-{host:06}\",\"region\":\"eu-west-1\",\
             \"service\":\"node\"}}}}"
        )
    };
    format!("{head}{}{tail}", (0..SERIES).map(one).collect::<Vec<_>>().join(between))
}

/// A batch of ten metrics by turns, of which each has labels of its own: one to ten of them.
fn mixed_json() -> String {
    let one = |host: usize| {
        let labels = (0..=host % 10).map(|label| format!("\"label_{label}\":\"value-{host:05}\""));
        let labels = labels.collect::<Vec<_>>().join(",");
        let Sample { value, timestamp } = sample(host);
        format!(
            "{{\"name\":\"metric_{}\",\"timestamp\":{timestamp},\"value\":{value},\
             \"dimensions\":{{{labels}}}}}",
            host % 10
        )
    };
    format!("{{\"metrics\":[{}]}}", (0..SERIES).map(one).collect::<Vec<_>>().join(","))
}

/// What a program would let `serde_json` fill.
#[derive(Debug, Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    metrics: Vec<BatchSample<'a>>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is filled is what counts")]
struct BatchSample<'a> {
    name: &'a str,
    timestamp: i64,
    value: f64,
    #[serde(borrow)]
    dimensions: BTreeMap<&'a str, &'a str>,
}

fn bench(criterion: &mut Criterion) {
    let luminate = json("{\"metrics\":[", ",", "]}", ["name", "timestamp", "dimensions"]);
    let mixed = mixed_json().into_bytes();
    let lines = json("", "\n", "\n", ["metric", "time", "labels"]);
    let bodies = [
        (SeriesForm::Luminate, luminate.clone().into_bytes()),
        (SeriesForm::JsonLines, lines.into_bytes()),
        (SeriesForm::RemoteWrite1, request_1().encode_to_vec()),
        (SeriesForm::RemoteWrite2, request_2().encode_to_vec()),
    ];
    let mut batch = SeriesBatch::new();
    let options = SeriesOptions::default();
    for (form, body) in &bodies {
        decode_series(*form, body, &options, &mut batch).expect("within the limits");
        assert_eq!(batch.rows(), SERIES, "every sample is decoded");
        let mut group = criterion.benchmark_group(form.name());
        group.throughput(Throughput::Elements(SERIES as u64));
        group.bench_function("tidewatch", |bencher| {
            bencher.iter(|| decode_series(*form, black_box(body), &options, &mut batch));
        });
        match form {
            SeriesForm::Luminate => {
                group.bench_function("tidewatch, mixed", |bencher| {
                    bencher.iter(|| decode_series(*form, black_box(&mixed), &options, &mut batch));
                });
                let whole: Batch<'_> = serde_json::from_str(&luminate).expect("a batch");
                assert_eq!(whole.metrics.len(), SERIES);
                group.bench_function("serde_json", |bencher| {
                    bencher.iter(|| serde_json::from_str::<Batch<'_>>(black_box(&luminate)));
                })
            }
            SeriesForm::RemoteWrite1 => {
                let packed = snap::raw::Encoder::new().compress_vec(body).expect("memory");
                group.bench_function("unpack", |bencher| {
                    bencher.iter(|| unpack(black_box(&packed)));
                });
                group.bench_function("prost", |bencher| {
                    bencher.iter(|| WriteRequest::decode(black_box(&**body)));
                })
            }
            SeriesForm::RemoteWrite2 => group.bench_function("prost", |bencher| {
                bencher.iter(|| Request::decode(black_box(&**body)));
            }),
            _ => &mut group,
        };
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
