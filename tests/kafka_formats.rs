//! What messages of Kafka hold, with a real broker: what only it has are keys, times and headers.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord};
use serde_json::json;

use crate::broker::{Broker, client, flush, send};
use crate::kafka::{counter, source, wait_for};
use crate::server::{Home, Start};

/// When all messages are sent, in milliseconds.
const SENT: i64 = 1_700_000_000_000;

#[test]
fn keys_times_and_headers_of_messages_are_read_where_the_format_says() {
    let home = Home::new();
    let Some(broker) = Broker::up(&home.file("broker")) else { return };
    broker.create("numbers", 1, &[]);
    broker.create("sensors", 1, &[]);
    let address = broker.address();
    let keys = format!(
        "topics = [\"numbers\"]\nformat = \"number\"\nlabels_from_headers = {{ x-site = \"site\" }}\n\
         [[source.kafka]]\nname = \"sensors\"\nbrokers = \"{address}\"\ntopics = [\"sensors\"]\n\
         labels_from_headers = [\"site\"]\n[source.kafka.map]\nmetric = \"meta.sensor\"\n\
         value = {{ t = \"data.t\", h = \"data.h\" }}\ntime = \"at\"\ntime_unit = \"s\"\n\
         labels = {{ rack = \"meta.rack\", site = \"meta.site\" }}\n"
    );
    let config = source(&home, &address, &keys);
    let server = Start::on(&home.data()).config(&config).up();
    let producer = broker.producer();
    let send = |topic: &str, key: Option<&str>, payload: &str, headers: &[(&str, &[u8])]| {
        let all = headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header { key, value: Some(*value) })
        });
        let record = BaseRecord::<str, str>::to(topic).partition(0).payload(payload);
        let mut record = record.timestamp(SENT).headers(all);
        if let Some(key) = key {
            record = record.key(key);
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    };
    send("numbers", Some("load"), " 1.5\n", &[]);
    send("numbers", Some("load"), "2", &[("x-site", b"old"), ("x-site", b"a"), ("x-other", b"b")]);
    send("numbers", Some("plain"), "3", &[("x-site", b"")]);
    send("numbers", None, "4", &[]);
    send("numbers", Some("load"), "five", &[]);
    send("numbers", Some("load"), "6", &[("x-site", b"\xff")]);
    let both = r#"{"meta":{"sensor":"s","rack":7},"data":{"t":20,"h":0.5},"at":1700000001}"#;
    let one = r#"[{"meta":{"sensor":"s","site":"own"},"data":{"h":0.75}},{"meta":{}}]"#;
    send("sensors", None, both, &[("site", b"z")]);
    send("sensors", None, one, &[("site", b"z")]);
    flush(&producer);
    wait_for(&server, 6);
    let columns = "cast(time AS bigint) / 1000000 AS ms, value";
    let rows = server.sql(&format!("SELECT {columns}, site FROM load ORDER BY value"));
    let row =
        |ms: i64, value: f64, site: Option<&str>| json!({"ms": ms, "value": value, "site": site});
    assert_eq!(rows, [row(SENT, 1.5, None), row(SENT, 2.0, Some("a"))]);
    assert_eq!(server.sql("SELECT value FROM plain"), [json!({"value": 3.0})]);
    let rows = server.sql(&format!("SELECT {columns}, site FROM s_h ORDER BY value"));
    assert_eq!(rows, [row(SENT + 1_000, 0.5, Some("z")), row(SENT, 0.75, Some("own"))]);
    let rows = server.sql("SELECT value, rack FROM s_t");
    assert_eq!(rows, [json!({"value": 20.0, "rack": "7"})]);
    assert_eq!(counter(&server, "bad_messages_total"), 3);
    let labels = "tidewatch_connectors_kafka_bad_messages_total{source=\"sensors\"}";
    assert_eq!(server.counter(labels), 1);
    assert_eq!(server.stop(), 0);
}

#[test]
fn topics_are_read_however_they_are_packed() {
    let home = Home::new();
    let Some(broker) = Broker::up(&home.file("broker")) else { return };
    let address = broker.address();
    let config = source(&home, &address, "topics = [\"^packed-.*\"]");
    let codecs = ["gzip", "snappy", "lz4", "zstd"];
    for codec in codecs {
        let topic = format!("packed-{codec}");
        broker.create(&topic, 1, &[("compression.type", codec)]);
        let mut producer = client(&address);
        producer.set("compression.codec", codec).set("linger.ms", "50");
        let producer: BaseProducer = producer.create().unwrap();
        for value in 0..500 {
            let sample = json!({"metric": codec, "time": SENT + value, "value": value});
            send(&producer, &topic, 0, Some(sample.to_string().as_bytes()));
        }
        flush(&producer);
    }
    let server = Start::on(&home.data()).config(&config).up();
    wait_for(&server, 2_000);
    for codec in codecs {
        let rows = server.sql(&format!("SELECT count(*) AS n, sum(value) AS s FROM {codec}"));
        assert_eq!(rows, [json!({"n": 500, "s": 124_750.0})], "{codec}");
    }
    assert_eq!(counter(&server, "bad_messages_total"), 0);
    assert_eq!(server.stop(), 0);
}
