//! Whole messages by schemas as registries have them, against what other libraries write and read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MapKey, MessageDescriptor, Value as Proto};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use tidewatch_env::Rng;
use tidewatch_metrics::EventTime;

use crate::decode::json::{JsonMap, LabelPlace, MapSpec, MetricPlace, ValuePlace};
use crate::decode::mutation::{inputs, mutate};
use crate::decode::record::{
    FetchedSchema, RecordSchema, SchemaRefusal, SchemaSource, SchemaTrouble, Schemas,
};
use crate::decode::{
    Incoming, MessageBatch, MessageForm, MessageFormat, Messages, SeriesBatch, SeriesOptions,
    decode_series_messages,
};
use crate::registry::{avro, protobuf};

/// Schemas by their ids.
#[derive(Debug)]
struct Kept(BTreeMap<u32, RecordSchema>);

impl SchemaSource for Kept {
    fn fetch(&self, id: u32) -> Result<Result<FetchedSchema, SchemaRefusal>, SchemaTrouble> {
        let schema = self.0.get(&id).cloned();
        let fetched = schema.map(|schema| FetchedSchema { schema, bytes: 1 });
        Ok(fetched.ok_or(SchemaRefusal::Unknown))
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, path)| (text(name), text(path))).collect()
}

fn map(value: ValuePlace, labels: Option<LabelPlace>) -> JsonMap {
    let metric = Some(MetricPlace::Path(text("sensor.name")));
    let spec =
        MapSpec { time: Some(text("at")), time_unit: None, metric, value: Some(value), labels };
    JsonMap::new(&spec).unwrap()
}

fn format(form: MessageForm, map: Option<JsonMap>, schema: RecordSchema) -> MessageFormat {
    let schemas = Schemas::new(Box::new(Kept(BTreeMap::from([(7, schema)]))));
    MessageFormat::recorded(form, map, Arc::new(schemas))
}

/// What messages of schema 7 come to: rows as text, and refusals.
fn decoded(format: &MessageFormat, payloads: &[Vec<u8>]) -> (Vec<String>, Vec<String>) {
    let mut batch = MessageBatch::new(format.clone());
    for (offset, payload) in (0..).zip(payloads) {
        let time = Some(EventTime::new(5));
        let head = if format.form() == MessageForm::Avro { &[0, 0, 0, 0, 7][..] } else { &[] };
        let payload = [head, payload].concat();
        batch.push(offset, Incoming { payload: &payload, time, ..Incoming::default() });
    }
    let ready = batch.ready_of(batch.len(), &|| Duration::ZERO).unwrap();
    assert_eq!(ready, batch.len());
    let mut out = SeriesBatch::new();
    let messages = Messages { batch: &batch, count: ready };
    let taken = decode_series_messages(messages, &SeriesOptions::default(), &mut out);
    assert_eq!(taken.messages, batch.len());
    let refused = out.errors().first().iter();
    let refused = refused.map(|error| format!("{}: {}", error.item, out.explain(error)));
    let (mut rows, mut refused) = (Vec::new(), refused.collect::<Vec<_>>());
    for item in 0..out.items() {
        let names = match out.names(batch.bytes(), item) {
            Ok(names) => names,
            Err(reason) => {
                refused.push(format!("{}: {reason}", out.numbers()[item]));
                continue;
            }
        };
        let labels: Vec<_> =
            names.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        for row in out.rows_of(item) {
            let (time, value) = (out.times()[row].nanos(), out.values()[row]);
            rows.push(format!("{}{{{}}} {value} @{time}", names.metric, labels.join(",")));
        }
    }
    (rows, refused)
}

const SENSORS: &str = r#"{"type": "record", "name": "Reading", "namespace": "plant", "fields": [
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "history", "type": {"type": "array", "items": ["null", "long", "string"]}},
    {"name": "sensor", "type": {"type": "record", "name": "Sensor", "fields": [
        {"name": "name", "type": "string"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["FLOW", "HEAT"]}},
        {"name": "before", "type": ["null", "Kind"]}]}},
    {"name": "raw", "type": {"type": "fixed", "name": "Raw", "size": 3}},
    {"name": "v", "type": ["null", "double", "int"]},
    {"name": "exact", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}]},
    {"name": "f", "type": "float"},
    {"name": "tags", "type": {"type": "map", "values": ["string", "boolean", "long"]}}]}"#;

fn reading(v: Avro, exact: Avro) -> Avro {
    let kind = |index: u32| Avro::Enum(index, text(["FLOW", "HEAT"][index as usize]));
    let tag = |at, value| Avro::Union(at, Box::new(value));
    let tags =
        [("host.name", tag(0, Avro::String(text("a b")))), ("up", tag(1, Avro::Boolean(true)))];
    Avro::Record(vec![
        (text("at"), Avro::TimestampMicros(1_700_000_000_000_001)),
        (
            text("history"),
            Avro::Array(vec![
                tag(0, Avro::Null),
                tag(1, Avro::Long(-9)),
                tag(2, Avro::String(text("x"))),
            ]),
        ),
        (
            text("sensor"),
            Avro::Record(vec![
                (text("name"), Avro::String(text("t"))),
                (text("kind"), kind(1)),
                (text("before"), tag(1, kind(0))),
            ]),
        ),
        (text("raw"), Avro::Fixed(3, vec![1, 2, 3])),
        (text("v"), v),
        (text("exact"), exact),
        (text("f"), Avro::Float(0.5)),
        (text("tags"), Avro::Map(tags.into_iter().map(|(key, tag)| (text(key), tag)).collect())),
    ])
}

fn avro_format(map: Option<JsonMap>, schema: &str) -> MessageFormat {
    format(MessageForm::Avro, map, RecordSchema::Avro(avro::compile(schema, &[]).unwrap()))
}

fn avro_bytes(schema: &str, value: Avro) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    writer.write_value_to_vec(value).unwrap()
}

#[test]
fn a_record_of_avro_has_what_its_map_says_wherever_it_is() {
    let value = ValuePlace::Named(named(&[("v", "v"), ("exact", "exact"), ("f", "f")]));
    let labels = LabelPlace::Paths(named(&[
        ("kind", "sensor.kind"),
        ("before", "sensor.before"),
        ("host", "tags.\"host.name\""),
        ("up", "tags.up"),
        ("none", "tags.none"),
    ]));
    let format = avro_format(Some(map(value, Some(labels))), SENSORS);
    let double = Avro::Union(1, Box::new(Avro::Double(1.25)));
    let decimal = Avro::Union(1, Box::new(Avro::Decimal(vec![0xff, 0x38].into())));
    let null = || Avro::Union(0, Box::new(Avro::Null));
    let int = Avro::Union(2, Box::new(Avro::Int(-3)));
    let payloads = [reading(double, decimal), reading(int, null()), reading(null(), null())];
    let payloads = payloads.map(|value| avro_bytes(SENSORS, value));
    let (rows, refused) = decoded(&format, &payloads);
    let labels = "{kind=HEAT,before=FLOW,host=a b,up=true}";
    let time = "@1700000000000001000";
    let expected =
        [("v", "1.25"), ("exact", "-2"), ("f", "0.5"), ("v", "-3"), ("f", "0.5"), ("f", "0.5")];
    let expected = expected.map(|(suffix, value)| format!("t_{suffix}{labels} {value} {time}"));
    assert_eq!(rows, expected);
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn all_members_of_a_record_or_a_map_become_labels() {
    for (path, labels) in
        [("tags", ["host.name=a b", "up=true"]), ("sensor", ["name=t", "kind=HEAT"])]
    {
        let value = ValuePlace::Path(text("f"));
        let format = avro_format(Some(map(value, Some(LabelPlace::Object(text(path))))), SENSORS);
        let null = || Avro::Union(0, Box::new(Avro::Null));
        let (rows, refused) = decoded(&format, &[avro_bytes(SENSORS, reading(null(), null()))]);
        assert!(refused.is_empty(), "{refused:?}");
        assert!(labels.iter().all(|label| rows[0].contains(label)), "{rows:?}");
    }
}

#[test]
fn without_a_map_a_record_is_as_a_sample_of_json_and_an_array_is_several() {
    let schema = r#"{"type": "array", "items": ["string", {"type": "record", "name": "Sample", "fields": [
        {"name": "metric", "type": "string"}, {"name": "value", "type": "double"},
        {"name": "labels", "type": ["null", {"type": "map", "values": "string"}]}]}]}"#;
    let sample = |value: f64, host: Option<&str>| {
        let labels = host.map_or(Avro::Union(0, Box::new(Avro::Null)), |host| {
            let labels = [(text("host"), Avro::String(text(host)))];
            Avro::Union(1, Box::new(Avro::Map(labels.into())))
        });
        let fields = vec![
            (text("metric"), Avro::String(text("cpu"))),
            (text("value"), Avro::Double(value)),
            (text("labels"), labels),
        ];
        Avro::Union(1, Box::new(Avro::Record(fields)))
    };
    let other = Avro::Union(0, Box::new(Avro::String(text("cpu"))));
    let samples = vec![sample(1.0, Some("a")), sample(f64::NAN, None), other, sample(2.0, None)];
    let format = avro_format(None, schema);
    let (rows, refused) = decoded(&format, &[avro_bytes(schema, Avro::Array(samples))]);
    assert_eq!(rows, ["cpu{host=a} 1 @5", "cpu{} 2 @5"]);
    assert_eq!(
        refused,
        [
            "0: value is not a finite number at value",
            "0: message is neither a record nor an array of records"
        ]
    );
}

#[test]
fn what_does_not_match_the_map_is_refused_with_the_place() {
    let null = || Avro::Union(0, Box::new(Avro::Null));
    let payload = [avro_bytes(SENSORS, reading(null(), null()))];
    for (value, labels, told) in [
        ("sensor.name", None, "0: value is not a number at sensor.name"),
        ("v", None, "0: value is missing at v"),
        ("no.such", None, "0: value is missing at no.such"),
        ("f", Some(LabelPlace::Object(text("at"))), "0: labels are not an object at at"),
        (
            "f",
            Some(LabelPlace::Paths(named(&[("h", "history")]))),
            "0: value of a label is neither a text nor a number nor a boolean at history",
        ),
    ] {
        let format = avro_format(Some(map(ValuePlace::Path(text(value)), labels)), SENSORS);
        let (rows, refused) = decoded(&format, &payload);
        assert_eq!((rows.len(), &refused[..]), (0, &[text(told)][..]), "{value}");
    }
}

#[test]
fn schemas_that_refer_to_others_are_read_with_them() {
    let sensor = r#"{"type": "record", "name": "Sensor", "namespace": "plant", "fields": [{"name": "name", "type": "string"}]}"#;
    let schema = r#"{"type": "record", "name": "Reading", "namespace": "plant", "fields": [
        {"name": "sensor", "type": "Sensor"}, {"name": "next", "type": ["null", "plant.Reading"]}, {"name": "f", "type": "double"}]}"#;
    assert!(avro::compile(schema, &[]).is_err());
    let compiled = avro::compile(schema, &[text(sensor)]).unwrap();
    let map = map(ValuePlace::Path(text("next.next.f")), None);
    let format = format(MessageForm::Avro, Some(map), RecordSchema::Avro(compiled));
    // Names have two bytes, and a record is followed by that which it contains.
    let f = |value: f64| value.to_le_bytes().to_vec();
    let open = [vec![2, b'a', 2], vec![2, b'b', 2], vec![2, b'c', 0], f(3.0), f(2.0), f(1.0)];
    // The same a hundred times deep: good, and more than is followed.
    let deep = [[2, b'a', 2].repeat(99), vec![2, b'a', 0], f(0.0).repeat(100)];
    let (rows, refused) = decoded(&format, &[open.concat(), deep.concat()]);
    assert_eq!(rows, ["a{} 3 @5"]);
    assert_eq!(refused, ["1: bytes do not fit the message's schema (id 7)"]);
}

#[test]
fn lists_without_end_and_lengths_without_bytes_are_refused_at_once() {
    let schema = r#"{"type": "record", "name": "R", "fields": [
        {"name": "n", "type": {"type": "array", "items": "null"}}, {"name": "s", "type": "string"}]}"#;
    let format = avro_format(None, schema);
    let huge = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let payloads = [
        huge.to_vec(),
        [&[0][..], &huge].concat(),
        // Blocks that say a negative length, or one of all there can be.
        [&[1][..], &huge, &huge].concat(),
        [&[1][..], &[1], &huge].concat(),
        vec![0x80; 11],
        Vec::new(),
        vec![2, 0, 0, 9],
    ];
    let (rows, refused) = decoded(&format, &payloads);
    assert!(rows.is_empty());
    let misfit = |at: usize| format!("{at}: bytes do not fit the message's schema (id 7)");
    assert_eq!(refused, (0..payloads.len()).map(misfit).collect::<Vec<_>>());
}

#[test]
fn damaged_records_of_avro_fit_for_us_where_they_do_for_others() {
    apache_avro::util::max_allocation_bytes(1 << 20);
    let value = ValuePlace::Named(named(&[("v", "v"), ("exact", "exact")]));
    let format = avro_format(Some(map(value, Some(LabelPlace::Object(text("tags"))))), SENSORS);
    let schema = Schema::parse_str(SENSORS).unwrap();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let double = Avro::Union(1, Box::new(Avro::Double(1.25)));
    let decimal = Avro::Union(1, Box::new(Avro::Decimal(vec![0xff, 0x38].into())));
    let whole = avro_bytes(SENSORS, reading(double, decimal));
    let mut rng = Rng::from_seed(22);
    let (mut fitting, mut differing) = (0, 0);
    for input in 0..inputs() / 10 {
        let mut bytes = whole.clone();
        mutate(&mut rng, &mut bytes, &[0, 1, 2, 3, 4, 0x7f, 0x80, 0xff]);
        let mut rest = &bytes[..];
        let theirs = reader.read_value(&mut rest);
        let (rows, refused) = decoded(&format, std::slice::from_ref(&bytes));
        let fits = !refused.iter().any(|why| why.contains("do not fit"));
        match &theirs {
            Ok(_) if rest.is_empty() => {
                // A block of a list may say its length, which they do not look at.
                differing += u64::from(!fits);
                fitting += 1;
            }
            Ok(_) => {
                assert!(
                    !fits,
                    "input {input}: {bytes:02x?} has bytes behind its end, and {rows:?}"
                );
            }
            Err(error) => {
                let is_text = error.to_string().to_lowercase().contains("utf");
                assert!(!fits || is_text, "input {input}: {bytes:02x?} fits, but {error}");
            }
        }
    }
    assert!(
        fitting > 500 && differing * 50 < fitting,
        "{fitting} fit, {differing} of them not for us"
    );
}

const PLANT: &str = r#"syntax = "proto3";
package plant;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "plant/kinds.proto";
message First { double value = 1; }
message Plant {
  message Reading {
    message Sensor { string name = 1; Kind kind = 2; }
    google.protobuf.Timestamp at = 1;
    Sensor sensor = 2;
    oneof measured { double v = 3; sint32 low = 4; fixed64 high = 5; }
    float f = 6;
    google.protobuf.Int64Value exact = 7;
    map<string, string> tags = 8;
    map<int32, Sensor> sensors = 9;
    repeated float history = 10;
    optional uint64 maybe = 11;
    int32 big = 200;
  }
}"#;

const KINDS: &str = "syntax = \"proto3\"; package plant; enum Kind { FLOW = 0; HEAT = 4; }";

struct Files;

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "plant.proto" => File::from_source(name, PLANT),
            "plant/kinds.proto" => File::from_source(name, KINDS),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn compiler() -> Compiler {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Files);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.open_file("plant.proto").unwrap();
    compiler
}

fn reading_message() -> MessageDescriptor {
    compiler().descriptor_pool().get_message_by_name("plant.Plant.Reading").unwrap()
}

fn plant() -> RecordSchema {
    let imports = [(text("plant/kinds.proto"), text(KINDS))];
    RecordSchema::Protobuf(protobuf::compile(PLANT, &imports).unwrap())
}

/// Behind the id 7 and the place of the reading: the first message within the second one.
fn proto_bytes(message: &DynamicMessage) -> Vec<u8> {
    [&[0, 0, 0, 0, 7, 4, 2, 0][..], &message.encode_to_vec()].concat()
}

fn sensor(of: &MessageDescriptor, name: &str, kind: i32) -> Proto {
    let sensor = of.get_field_by_name("sensor").unwrap().kind();
    let mut sensor = DynamicMessage::new(sensor.as_message().unwrap().clone());
    sensor.set_field_by_name("name", Proto::String(text(name)));
    sensor.set_field_by_name("kind", Proto::EnumNumber(kind));
    Proto::Message(sensor)
}

/// A message of a well-known type with two fields.
fn well_known(of: &MessageDescriptor, field: &str, parts: &[(&str, Proto)]) -> Proto {
    let kind = of.get_field_by_name(field).unwrap().kind();
    let mut message = DynamicMessage::new(kind.as_message().unwrap().clone());
    for (name, value) in parts {
        message.set_field_by_name(name, value.clone());
    }
    Proto::Message(message)
}

fn full_message(of: &MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    let at = [("seconds", Proto::I64(1_700_000_000)), ("nanos", Proto::I32(7))];
    message.set_field_by_name("at", well_known(of, "at", &at));
    message.set_field_by_name("sensor", sensor(of, "t", 4));
    message.set_field_by_name("v", Proto::F64(1.25));
    message.set_field_by_name("f", Proto::F32(0.5));
    message.set_field_by_name("exact", well_known(of, "exact", &[("value", Proto::I64(-3))]));
    let tags = [("host", "a b"), ("site", "x")];
    let tags = tags.map(|(key, value)| (MapKey::String(text(key)), Proto::String(text(value))));
    message.set_field_by_name("tags", Proto::Map(tags.into_iter().collect()));
    let sensors = [(MapKey::I32(-1), sensor(of, "far", 0))];
    message.set_field_by_name("sensors", Proto::Map(sensors.into_iter().collect()));
    message.set_field_by_name("history", Proto::List(vec![Proto::F32(1.0), Proto::F32(2.0)]));
    message.set_field_by_name("big", Proto::I32(i32::MIN));
    message
}

fn proto_map() -> JsonMap {
    let value = ValuePlace::Named(named(&[
        ("v", "v"),
        ("low", "low"),
        ("high", "high"),
        ("f", "f"),
        ("exact", "exact"),
        ("maybe", "maybe"),
        ("big", "big"),
    ]));
    let labels = LabelPlace::Paths(named(&[
        ("kind", "sensor.kind"),
        ("host", "tags.host"),
        ("far", "sensors.-1.name"),
    ]));
    map(value, Some(labels))
}

#[test]
fn a_message_of_protobuf_has_what_its_map_says_and_its_defaults() {
    let of = reading_message();
    let mut low = DynamicMessage::new(of.clone());
    low.set_field_by_name("sensor", sensor(&of, "u", 99));
    low.set_field_by_name("low", Proto::I32(-2));
    low.set_field_by_name("maybe", Proto::U64(u64::MAX));
    let mut high = DynamicMessage::new(of.clone());
    high.set_field_by_name("sensor", sensor(&of, "w", 0));
    high.set_field_by_name("high", Proto::U64(1 << 40));
    high.set_field_by_name("exact", well_known(&of, "exact", &[]));
    let format = format(MessageForm::Protobuf, Some(proto_map()), plant());
    let payloads = [full_message(&of), low, high].map(|message| proto_bytes(&message));
    let (rows, refused) = decoded(&format, &payloads);
    assert!(refused.is_empty(), "{refused:?}");
    let labels = "{kind=HEAT,host=a b,far=far}";
    let time = "@1700000000000000007";
    let expected = [
        format!("t_v{labels} 1.25 {time}"),
        format!("t_f{labels} 0.5 {time}"),
        format!("t_exact{labels} -3 {time}"),
        format!("t_big{labels} -2147483648 {time}"),
        text("u_low{kind=99} -2 @5"),
        text("u_f{kind=99} 0 @5"),
        text("u_maybe{kind=99} 18446744073709552000 @5"),
        text("u_big{kind=99} 0 @5"),
        text("w_high{kind=FLOW} 1099511627776 @5"),
        text("w_f{kind=FLOW} 0 @5"),
        text("w_exact{kind=FLOW} 0 @5"),
        text("w_big{kind=FLOW} 0 @5"),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn maps_and_messages_of_protobuf_are_labels_as_a_whole() {
    let of = reading_message();
    let payload = [proto_bytes(&full_message(&of))];
    let value = || ValuePlace::Path(text("v"));
    for (path, labels) in [("tags", ["host=a b", "site=x"]), ("sensor", ["name=t", "kind=HEAT"])] {
        let map = map(value(), Some(LabelPlace::Object(text(path))));
        let (rows, refused) = decoded(&format(MessageForm::Protobuf, Some(map), plant()), &payload);
        assert!(refused.is_empty(), "{refused:?}");
        assert!(labels.iter().all(|label| rows[0].contains(label)), "{rows:?}");
    }
    let map = map(value(), Some(LabelPlace::Object(text("sensors"))));
    let (_, refused) = decoded(&format(MessageForm::Protobuf, Some(map), plant()), &payload);
    let told = "0: value of a label is neither a text nor a number nor a boolean at sensors";
    assert_eq!(refused, [told]);
}

#[test]
fn a_message_says_which_of_its_file_it_is_and_a_file_may_be_kept_as_its_description() {
    let first = [0, 0, 0, 0, 7, 0, 9, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f].to_vec();
    let spelt = [&[0, 0, 0, 0, 7, 2, 0][..], &first[6..]].concat();
    let wrong = [&[0, 0, 0, 0, 7, 2, 8][..], &first[6..]].concat();
    let deep = [&[0, 0, 0, 0, 7, 0x40][..], &[0; 64]].concat();
    let cut = [0, 0, 0, 0, 7, 2].to_vec();
    let misfit = [0, 0, 0, 0, 7, 0, 8, 1].to_vec();
    let magic = [1, 0, 0, 0, 7, 0].to_vec();
    let unknown = [0, 0, 0, 1, 7, 0].to_vec();
    let short = [0, 0, 0, 7].to_vec();
    let payloads = [first, spelt, wrong, deep, cut, misfit, magic, unknown, short];
    let spec = MapSpec {
        metric: Some(MetricPlace::Constant(text("m"))),
        value: Some(ValuePlace::Path(text("value"))),
        ..MapSpec::default()
    };
    let description = compiler().descriptor_pool().get_file_by_name("plant.proto").unwrap();
    let description = STANDARD.encode(description.encode_to_vec());
    let imports = [(text("plant/kinds.proto"), text(KINDS))];
    let described = RecordSchema::Protobuf(protobuf::compile(&description, &imports).unwrap());
    for schema in [plant(), described] {
        let map = Some(JsonMap::new(&spec).unwrap());
        let (rows, refused) = decoded(&format(MessageForm::Protobuf, map, schema), &payloads);
        assert_eq!(rows, ["m{} 1.5 @5", "m{} 1.5 @5"]);
        let place = "message is at a place of its schema where no message is (id 7)";
        let head = "message does not begin with the byte 0 and the id of a schema";
        let misfit = "bytes do not fit the message's schema (id 7)";
        let expected = [
            place,
            place,
            place,
            misfit,
            head,
            "schema registry does not know the message's schema (id 263)",
            head,
        ];
        let expected: Vec<_> =
            (2..).zip(expected).map(|(at, why)| format!("{at}: {why}")).collect();
        assert_eq!(refused, expected);
    }
}

#[test]
fn files_that_cannot_be_read_say_why() {
    for (file, told) in [
        ("syntax = \"proto3\"; import \"not/there.proto\";", "not/there.proto"),
        ("syntax = \"proto3\"; message M { string }", "expected"),
        ("AAAA", ""),
    ] {
        let why = protobuf::compile(file, &[]).unwrap_err();
        assert!(why.contains(told), "{why}");
    }
    let deep =
        format!("syntax = \"proto3\"; {}{}", "message A { ".repeat(50_000), "}".repeat(50_000));
    assert!(protobuf::compile(&deep, &[]).unwrap_err().contains("braces"));
}

#[test]
fn damaged_messages_of_protobuf_fit_for_us_where_they_do_for_others() {
    let of = reading_message();
    let format = format(MessageForm::Protobuf, Some(proto_map()), plant());
    let whole = proto_bytes(&full_message(&of));
    let mut rng = Rng::from_seed(23);
    let mut fitting = 0;
    for input in 0..inputs() / 10 {
        let mut bytes = whole[8..].to_vec();
        mutate(&mut rng, &mut bytes, &[0, 1, 8, 9, 0x0a, 0x12, 0x42, 0x7f, 0x80, 0xff]);
        let theirs = DynamicMessage::decode(of.clone(), &bytes[..]);
        let (_, refused) = decoded(&format, &[[&whole[..8], &bytes].concat()]);
        let fits = !refused.iter().any(|why| why.contains("do not fit"));
        // What nobody asks for is not looked into, so more may fit here; groups fit nothing.
        if theirs.is_ok() && !fits {
            let has_group = bytes.iter().any(|byte| matches!(byte & 7, 3 | 4));
            assert!(has_group, "input {input}: {bytes:02x?} does not fit");
        }
        fitting += u64::from(theirs.is_ok() && fits);
    }
    assert!(fitting > 500, "{fitting} fit");
}
