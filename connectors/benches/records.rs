//! Messages of Avro and Protobuf beside the same ones as JSON, all through a map: messages per second on one core.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use tidewatch_connectors::decode::json::{JsonMap, LabelPlace, MapSpec, MetricPlace, ValuePlace};
use tidewatch_connectors::decode::record::{
    AvroField, AvroSchema, AvroType, FetchedSchema, FieldKind, FieldShape, MessageKind,
    ProtobufField, ProtobufMessage, ProtobufSchema, RecordSchema, SchemaRefusal, SchemaSource,
    SchemaTrouble, Schemas,
};
use tidewatch_connectors::decode::{
    Incoming, MessageBatch, MessageForm, MessageFormat, Messages, Precision, SeriesBatch,
    SeriesOptions, decode_series_messages,
};

/// Messages of a batch.
const MESSAGES: usize = 10_000;
const START_MS: i64 = 1_700_000_000_000;
/// Of the messages of Avro and Protobuf, with the place of the first message.
const HEAD: [u8; 5] = [0, 0, 0, 0, 1];

#[derive(Debug)]
struct Only(RecordSchema);

impl SchemaSource for Only {
    fn fetch(&self, _id: u32) -> Result<Result<FetchedSchema, SchemaRefusal>, SchemaTrouble> {
        Ok(Ok(FetchedSchema { schema: self.0.clone(), bytes: 1 }))
    }
}

#[derive(Clone, PartialEq, Message)]
struct Reading {
    #[prost(int64, tag = "1")]
    at: i64,
    #[prost(message, optional, tag = "2")]
    sensor: Option<Sensor>,
    #[prost(double, tag = "3")]
    value: f64,
    #[prost(string, tag = "4")]
    note: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    host: String,
    #[prost(string, tag = "3")]
    site: String,
}

fn reading(number: usize) -> Reading {
    let sensor = Sensor {
        name: "temperature".to_owned(),
        host: format!("host-{:04}", number % 1_000),
        site: "eu-west-1".to_owned(),
    };
    let (at, value) = (START_MS + signed(number), (number * 7_919 % 10_000) as f64 / 100.0);
    Reading { at, sensor: Some(sensor), value, note: "nothing to report".to_owned() }
}

fn json(reading: &Reading) -> Vec<u8> {
    let Sensor { name, host, site } = reading.sensor.clone().unwrap_or_default();
    let (at, value, note) = (reading.at, reading.value, &reading.note);
    format!(
        "{{\"at\":{at},\"sensor\":{{\"name\":\"{name}\",\"host\":\"{host}\",\"site\":\"{site}\"}},\
         \"value\":{value},\"note\":\"{note}\"}}"
    )
    .into_bytes()
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).expect("numbers of a bench are small")
}

fn long(number: i64, bytes: &mut Vec<u8>) {
    let mut bits = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while bits >= 0x80 {
        bytes.push(bits.to_le_bytes()[0] | 0x80);
        bits >>= 7;
    }
    bytes.push(bits.to_le_bytes()[0]);
}

fn avro(reading: &Reading) -> Vec<u8> {
    let mut bytes = HEAD.to_vec();
    let text = |text: &str, bytes: &mut Vec<u8>| {
        long(signed(text.len()), bytes);
        bytes.extend_from_slice(text.as_bytes());
    };
    let sensor = reading.sensor.clone().unwrap_or_default();
    long(reading.at, &mut bytes);
    for one in [&sensor.name, &sensor.host, &sensor.site] {
        text(one, &mut bytes);
    }
    // The value is a union with null.
    bytes.push(2);
    bytes.extend_from_slice(&reading.value.to_le_bytes());
    text(&reading.note, &mut bytes);
    bytes
}

fn avro_schema() -> RecordSchema {
    let field = |name: &str, kind: u32| AvroField { name: name.to_owned(), kind };
    let types = vec![
        AvroType::Record(vec![
            field("at", 1),
            field("sensor", 2),
            field("value", 4),
            field("note", 3),
        ]),
        AvroType::Time(Precision::Milliseconds),
        AvroType::Record(vec![field("name", 3), field("host", 3), field("site", 3)]),
        AvroType::Text,
        AvroType::Union(vec![5, 6]),
        AvroType::Null,
        AvroType::Double,
    ];
    RecordSchema::Avro(AvroSchema { types, root: 0 })
}

fn protobuf(reading: &Reading) -> Vec<u8> {
    [&HEAD[..], &[0], &reading.encode_to_vec()].concat()
}

fn protobuf_schema() -> RecordSchema {
    let field = |number: u32, name: &str, kind: FieldKind| {
        let shape = match kind {
            FieldKind::Message(_) => FieldShape::Optional,
            _ => FieldShape::Implicit,
        };
        ProtobufField { number, name: name.to_owned(), kind, shape }
    };
    let message = |fields| ProtobufMessage { kind: MessageKind::Plain, fields };
    let reading = message(vec![
        field(1, "at", FieldKind::Int64),
        field(2, "sensor", FieldKind::Message(1)),
        field(3, "value", FieldKind::Double),
        field(4, "note", FieldKind::Text),
    ]);
    let texts = ["name", "host", "site"];
    let texts = (1..).zip(texts).map(|(number, name)| field(number, name, FieldKind::Text));
    let messages = vec![reading, message(texts.collect())];
    let places = vec![(vec![0], 0)];
    RecordSchema::Protobuf(ProtobufSchema { messages, enums: Vec::new(), places })
}

fn map() -> JsonMap {
    let text = str::to_owned;
    let labels = [("host", "sensor.host"), ("site", "sensor.site")];
    let spec = MapSpec {
        time: Some(text("at")),
        time_unit: Some(Precision::Milliseconds),
        metric: Some(MetricPlace::Path(text("sensor.name"))),
        value: Some(ValuePlace::Path(text("value"))),
        labels: Some(LabelPlace::Paths(labels.map(|(key, path)| (text(key), text(path))).to_vec())),
    };
    JsonMap::new(&spec).expect("these are paths")
}

fn records(criterion: &mut Criterion) {
    let of_schema = |form, schema| {
        let schemas = Arc::new(Schemas::new(Box::new(Only(schema))));
        MessageFormat::recorded(form, Some(map()), schemas)
    };
    type Encode = fn(&Reading) -> Vec<u8>;
    let forms: [(&str, MessageFormat, Encode); 3] = [
        ("json", MessageFormat::mapped(map()), json),
        ("avro", of_schema(MessageForm::Avro, avro_schema()), avro),
        ("protobuf", of_schema(MessageForm::Protobuf, protobuf_schema()), protobuf),
    ];
    let mut group = criterion.benchmark_group("messages");
    group.throughput(Throughput::Elements(MESSAGES as u64)).sample_size(30);
    for (name, format, encode) in forms {
        let mut batch = MessageBatch::new(format);
        for number in 0..MESSAGES {
            let payload = encode(&reading(number));
            batch.push(number as u64, Incoming { payload: &payload, ..Incoming::default() });
        }
        let mut out = SeriesBatch::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let count = batch.ready_of(MESSAGES, &|| Duration::ZERO).expect("a schema");
                let messages = Messages { batch: &batch, count };
                black_box(decode_series_messages(messages, &SeriesOptions::default(), &mut out));
                assert_eq!((count, out.rows()), (MESSAGES, MESSAGES));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, records);
criterion_main!(benches);
