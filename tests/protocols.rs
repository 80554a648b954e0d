//! JSON, remote write and version 3 of Influx's writes at the door: each status, its body and its headers.

use serde_json::{Value, json};

use crate::server::{Answer, Home, REFUSED_MIB_MAX, Server, Start};

const WRITE: &str = "/api/v1/write";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const LINES: (&str, &str) = ("Content-Type", "application/x-ndjson");
const REMOTE_1: (&str, &str) = ("Content-Type", "application/x-protobuf");
const REMOTE_2: (&str, &str) =
    ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request");
const SNAPPY: (&str, &str) = ("Content-Encoding", "snappy");
type Headers<'a> = &'a [(&'a str, &'a str)];

/// The bits of Prometheus's stale marker.
const STALE: u64 = 0x7ff0_0000_0000_0002;

fn good(name: &str, second: u64) -> Value {
    json!({"name": name, "timestamp": second, "value": 1.5, "dimensions": {"host": "a"}})
}

fn batch(metrics: &[Value]) -> String {
    json!({ "metrics": metrics }).to_string()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 3).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let level = flate2::Compression::fast();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

/// The code of a refusal in the product's envelope.
fn code(answer: &Answer) -> String {
    let error = &answer.json()["error"];
    assert!(error["message"].is_string() && error["details"].is_object(), "{answer:?}");
    error["code"].as_str().unwrap().to_owned()
}

#[test]
fn luminates_batches_are_answered_as_its_contract_says() {
    let home = Home::new();
    let server = home.serve();
    let post = |body: &str| server.post_with(WRITE, &[JSON], body);
    let all = post(&batch(&[good("cpu.usage", 1_700_000_000), good("cpu.usage", 1_700_000_010)]));
    assert_eq!(
        (all.status, all.body.as_str()),
        (200, r#"{"accepted":2,"rejected":0,"errors":[]}"#)
    );
    assert!(all.header("tidewatch-lsn").parse::<u64>().is_ok(), "{all:?}");
    let headers = ["tidewatch-accepted", "tidewatch-rejected", "tidewatch-durability"];
    assert_eq!(headers.map(|name| all.header(name)), ["2", "0", "synced"]);

    let some = post(&batch(&[
        json!({"name": "cpu.usage", "timestamp": "2023-11-14T22:13:40Z", "value": 2}),
        json!({"name": "bad", "value": 1}),
        json!({"name": "bad", "timestamp": 4_102_444_800_u64, "value": 1}),
    ]));
    let errors = json!([
        {"index": 1, "metric": "bad", "error": "timestamp is missing"},
        {"index": 2, "metric": "bad", "error": "timestamp too far in the future"},
    ]);
    assert_eq!(some.status, 207);
    assert_eq!(some.json(), json!({"accepted": 1, "rejected": 2, "errors": errors}));
    let none = post(&batch(&[json!({"value": 1})]));
    let errors = json!([{"index": 0, "metric": "", "error": "metric name is missing"}]);
    assert_eq!(none.status, 400);
    assert_eq!(none.json(), json!({"accepted": 0, "rejected": 1, "errors": errors}));

    for body in ["{\"metrics\":[]}", "{\"metrics\":", "[]", "", "\u{1f600}"] {
        let refused = post(body);
        assert_eq!((refused.status, code(&refused).as_str()), (400, "INVALID_REQUEST"), "{body}");
    }
    let many = post(&batch(&vec![good("many", 1_700_000_000); 10_001]));
    assert_eq!((many.status, code(&many).as_str()), (400, "BATCH_SIZE_EXCEEDED"));
    let details = &many.json()["error"]["details"];
    assert_eq!(details, &json!({"max_batch_size": 10_000, "received": 10_001}));
    assert_eq!(post(&batch(&vec![good("full", 1_700_000_000); 10_000])).status, 200);
    let values = server.sql("SELECT value, host FROM \"cpu.usage\" ORDER BY time");
    let expected = [
        json!({"value": 1.5, "host": "a"}),
        json!({"value": 1.5, "host": "a"}),
        json!({"value": 2.0, "host": null}),
    ];
    assert_eq!(values, expected);
    let tables =
        server.number("SELECT count(*) FROM tidewatch.series WHERE metric IN ('many','bad')");
    assert_eq!(tables, 0, "nothing of what was refused");
}

#[test]
fn ten_thousand_bad_samples_are_all_named() {
    let home = Home::new();
    let server = home.serve();
    let line = "{\"metric\":\"m\",\"time\":\"?\",\"value\":1}\n";
    let answer = server.post_with(WRITE, &[LINES], line.repeat(10_000));
    assert_eq!((answer.status, answer.header("tidewatch-rejected")), (400, "10000"));
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    assert_eq!(errors.len(), 10_000);
    let last = json!({"index": 9_999, "metric": "m", "error": "invalid timestamp"});
    assert_eq!(errors[9_999], last);
    let series: Vec<_> = (0..200)
        .map(|name| json!({"name": "x".repeat(2_000), "timestamp": name, "value": 1}))
        .collect();
    let long = server.post_with(WRITE, &[JSON], batch(&series));
    let error = &long.json()["errors"][199];
    assert_eq!(error["metric"].as_str().unwrap().len(), 256, "a long name is cut");
    assert!(error["error"].as_str().unwrap().contains("2000 bytes"), "{error}");
}

#[test]
fn bodies_may_be_packed_and_what_is_too_large_is_refused_however_it_is_packed() {
    let home = Home::new();
    let server = home.serve();
    let line = |row: usize| format!("{{\"metric\":\"m\",\"time\":{row},\"value\":{row}}}\n");
    let text: String = (1..=3).map(line).collect();
    for (coding, body) in [("gzip", gzip(text.as_bytes())), ("zstd", zstd(text.as_bytes()))] {
        let answer = server.post_with(WRITE, &[LINES, ("Content-Encoding", coding)], &body);
        assert_eq!((answer.status, answer.header("tidewatch-accepted")), (200, "3"), "{coding}");
        let cut = &body[..body.len() - 3];
        let answer = server.post_with(WRITE, &[LINES, ("Content-Encoding", coding)], cut);
        assert_eq!((answer.status, code(&answer).as_str()), (400, "INVALID_REQUEST"), "{coding}");
    }
    // Frames one after the other are one body, and line protocol may come in them as well.
    let frames = [zstd(b"lp value=1 1\n"), zstd(b"lp value=2 2\n")].concat();
    let packed = [("Content-Encoding", "zstd")];
    for path in ["/write", "/api/v2/write?bucket=default", "/api/v3/write_lp?precision=ns"] {
        assert_eq!(server.post_with(path, &packed, &frames).status, 204, "{path}");
    }
    assert_eq!(server.number("SELECT count(*) FROM lp"), 2);
    assert_eq!(server.number("SELECT count(*) FROM m"), 3);

    let blank = vec![b' '; (10 << 20) + 1];
    let details = |answer: &Answer| answer.json()["error"]["details"]["max_size_bytes"].clone();
    let plain = server.post_with(WRITE, &[JSON], &blank);
    assert_eq!((plain.status, details(&plain)), (413, json!(10 << 20)));
    let before = server.peak_rss_mib();
    let zeros = vec![0_u8; 1 << 30];
    for (coding, bytes) in [("gzip", gzip(&zeros)), ("zstd", zstd(&zeros))] {
        let json = server.post_with(WRITE, &[JSON, ("Content-Encoding", coding)], &bytes);
        assert_eq!((json.status, details(&json)), (413, json!(10 << 20)), "{coding}");
        let lines = server.post_with("/write", &[("Content-Encoding", coding)], &bytes);
        assert_eq!(lines.status, 413, "{coding}");
    }
    // Nothing but the length that it declares.
    let declared = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(server.post_with(WRITE, &[REMOTE_1, SNAPPY], declared).status, 413);
    let after = server.peak_rss_mib();
    assert!(after < before + REFUSED_MIB_MAX, "{before} MiB before, {after} MiB after");
    for (kind, coding) in [(JSON, "snappy"), (JSON, "br"), (REMOTE_1, "br"), (REMOTE_2, "gzip")] {
        let answer = server.post_with(WRITE, &[kind, ("Content-Encoding", coding)], "x");
        assert_eq!(answer.status, 415, "{kind:?} {coding}");
    }
    for kind in ["text/plain", "application/x-protobuf;proto=io.prometheus.write.v3.Request"] {
        let answer = server.post_with(WRITE, &[("Content-Type", kind)], "x");
        assert_eq!((answer.status, code(&answer).as_str()), (415, "UNSUPPORTED_MEDIA_TYPE"));
    }
}

#[test]
fn keys_levels_and_databases_hold_for_every_protocol() {
    let home = Home::new();
    let server = home.serve();
    let partial = batch(&[good("m", 1_700_000_000), json!({"name": "bad"})]);
    let lines = "{\"metric\":\"m\",\"time\":1,\"value\":1}\nbad\n".to_owned();
    let remote = snappy(&request_1(&[Series::new("m").at(1_000, 1.0), Series::new("")]));
    let cases: [(&str, Headers<'_>, &[u8], u16); 4] = [
        (WRITE, &[JSON], partial.as_bytes(), 207),
        (WRITE, &[LINES], lines.as_bytes(), 207),
        (WRITE, &[REMOTE_1, SNAPPY], &remote, 204),
        ("/api/v3/write_lp", &[], b"m value=1\nbad\n", 400),
    ];
    for (number, (path, headers, body, status)) in cases.into_iter().enumerate() {
        let key = format!("key-{number}");
        let path = format!("{path}?db=lab{number}");
        let headers = [headers, &[("Idempotency-Key", &key)]].concat();
        let first = server.post_with(&path, &headers, body);
        assert_eq!(first.status, status, "{first:?}");
        let again = server.post_with(&path, &headers, body);
        assert_eq!((again.status, &again.body), (first.status, &first.body));
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(again.header("tidewatch-lsn"), first.header("tidewatch-lsn"));
        let other = server.post_with(&path, &headers, [body, b" "].concat());
        assert!([400, 422].contains(&other.status), "{other:?}");
        let rows = server
            .number(&format!("SELECT count(*) FROM tidewatch.samples WHERE db = 'lab{number}'"));
        assert_eq!(rows, 1, "case {number}");
    }
    let accepted = [JSON, ("Tidewatch-Durability", "accepted")];
    let answer = server.post_with(WRITE, &accepted, batch(&[good("n", 1_700_000_000)]));
    assert_eq!((answer.status, answer.header("tidewatch-durability")), (202, "accepted"));
    for db in ["tidewatch", "information_schema", ""] {
        let path = format!("{WRITE}?db={db}");
        let refused = server.post_with(&path, &[JSON], batch(&[good("m", 1_700_000_000)]));
        assert_eq!((refused.status, code(&refused).as_str()), (400, "INVALID_REQUEST"), "{db}");
    }
}

#[test]
fn luminates_narrower_limits_hold_where_they_are_configured() {
    let home = Home::new();
    let server = Start::on(&home.data()).set("compat.luminate_strict=true").up();
    let now = server.sql("SELECT extract(epoch FROM now()) AS now")[0]["now"].as_f64().unwrap();
    let at = |name: &str, ago: f64| json!({"name": name, "timestamp": now - ago, "value": 1});
    let day = 86_400.0;
    let answer = server.post_with(
        WRITE,
        &[JSON],
        batch(&[at("good", 6.9 * day), at("cpu.usage", 0.0), at("old", 7.1 * day)]),
    );
    let errors = json!([
        {"index": 1, "metric": "cpu.usage",
         "error": "metric name must match [a-zA-Z_][a-zA-Z0-9_]* in 1 to 256 bytes"},
        {"index": 2, "metric": "old", "error": "timestamp too old"},
    ]);
    assert_eq!((answer.status, &answer.json()["errors"]), (207, &errors));
    let line = "{\"metric\":\"cpu.usage\",\"time\":1,\"value\":1}";
    assert_eq!(server.post_with(WRITE, &[LINES], line).status, 200, "only Luminate's form");
}

#[test]
fn version_3_names_the_bad_lines_and_stores_all_or_nothing_where_it_is_asked_to() {
    let home = Home::new();
    let server = home.serve();
    let body = format!(
        "a value=1 1700000000\nbad\r\nb,{} value=2\nc value=3 1700000000000",
        "x".repeat(2_000)
    );
    let part = server.post("/api/v3/write_lp?db=d", &body);
    let answer = part.json();
    assert_eq!(
        (part.status, &answer["error"]),
        (400, &json!("partial write of line protocol occurred"))
    );
    let data = answer["data"].as_array().unwrap();
    let first = json!({"original_line": "bad", "line_number": 2, "error_message": "missing fields at byte 4"});
    assert_eq!((data.len(), &data[0]), (2, &first));
    assert_eq!(data[1]["original_line"].as_str().unwrap().len(), 1_024, "a long line is cut");
    let whole = server.post("/api/v3/write_lp?db=e&accept_partial=false", &body);
    assert_eq!((whole.status, &whole.json()["data"]), (400, &answer["data"]));
    let told = ["tidewatch-accepted", "tidewatch-rejected", "tidewatch-lsn"];
    assert_eq!(told.map(|name| whole.header(name)), ["0", "4", ""]);
    let good = server.post("/api/v3/write_lp?db=e&accept_partial=false", "a value=1 1700000000");
    assert_eq!(good.status, 204);
    let rows = |db: &str| {
        let rows = server.sql(&format!(
            "SELECT metric, time FROM tidewatch.samples WHERE db = '{db}' ORDER BY metric"
        ));
        rows.iter().map(|row| row["metric"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (rows("d"), rows("e")),
        (vec!["a".to_owned(), "c".to_owned()], vec!["a".to_owned()])
    );
    // Without a precision each time tells its own unit.
    let times = server.number("SELECT count(DISTINCT time) FROM tidewatch.samples");
    assert_eq!(times, 1);
    for (query, message) in [
        ("precision=fortnight", "precision \"fortnight\" is not known"),
        ("accept_partial=perhaps", "neither true nor false"),
        ("db=tidewatch", "is refused"),
    ] {
        let refused = server.post(&format!("/api/v3/write_lp?{query}"), "a value=1");
        let said = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(refused.status == 400 && said.contains(message), "{refused:?}");
    }
}

/// A time series of remote write.
#[derive(Clone, Debug)]
struct Series {
    labels: Vec<(String, String)>,
    samples: Vec<(i64, u64)>,
    histograms: usize,
}

impl Series {
    /// Of this metric; without one where it is empty.
    fn new(metric: &str) -> Self {
        let labels = [("__name__", metric), ("job", "j")].into_iter();
        let labels = labels.filter(|(_, value)| !value.is_empty());
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { labels, samples: Vec::new(), histograms: 0 }
    }

    fn at(self, millis: i64, value: f64) -> Self {
        self.bits(millis, value.to_bits())
    }

    fn bits(mut self, millis: i64, bits: u64) -> Self {
        self.samples.push((millis, bits));
        self
    }

    fn histogram(mut self) -> Self {
        self.histograms += 1;
        self
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(bytes.len() as u64), bytes].concat()
}

fn samples(series: &Series) -> Vec<u8> {
    let sample = |&(millis, bits): &(i64, u64)| {
        let time = varint(millis.cast_unsigned());
        field(2, &[&[0x09][..], &bits.to_le_bytes(), &[0x10], &time].concat())
    };
    series.samples.iter().flat_map(sample).collect()
}

/// `prometheus.WriteRequest`, with an exemplar and metadata.
fn request_1(series: &[Series]) -> Vec<u8> {
    let one = |series: &Series| {
        let labels = series.labels.iter().flat_map(|(key, value)| {
            field(1, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
        });
        let histograms = field(4, b"").repeat(series.histograms);
        let labels: Vec<u8> = labels.collect();
        field(1, &[labels, samples(series), field(3, b""), histograms].concat())
    };
    let series: Vec<u8> = series.iter().flat_map(one).collect();
    [series, field(3, b"")].concat()
}

/// `io.prometheus.write.v2.Request`, with an exemplar and metadata.
fn request_2(series: &[Series]) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut of = |text: &str| {
        let found = symbols.iter().position(|symbol| symbol == text);
        let place = found.unwrap_or_else(|| {
            symbols.push(text.to_owned());
            symbols.len() - 1
        });
        varint(place as u64)
    };
    let mut messages = Vec::new();
    for series in series {
        let mut references = Vec::new();
        for (key, value) in &series.labels {
            references.extend(of(key));
            references.extend(of(value));
        }
        let histograms = field(3, b"").repeat(series.histograms);
        let parts =
            [field(1, &references), samples(series), histograms, field(4, b""), field(5, b"")];
        messages.extend(field(5, &parts.concat()));
    }
    let symbols: Vec<u8> = symbols.iter().flat_map(|symbol| field(4, symbol.as_bytes())).collect();
    [symbols, messages].concat()
}

fn post_remote(server: &Server, kind: (&str, &str), message: &[u8]) -> Answer {
    server.post_with(WRITE, &[kind, SNAPPY], snappy(message))
}

#[test]
fn remote_write_stores_every_value_as_it_is_and_says_how_many() {
    let home = Home::new();
    let server = home.serve();
    for (version, kind) in [(1, REMOTE_1), (2, REMOTE_2)] {
        let metric = format!("up{version}");
        let series = [
            Series::new(&metric)
                .at(1_700_000_000_000, 1.0)
                .bits(1_700_000_010_000, STALE)
                .at(1_700_000_020_000, f64::NAN)
                .at(1_700_000_030_000, f64::INFINITY)
                .at(1_700_000_040_000, -0.0),
            Series::new(&format!("{metric}:rate")).at(1_700_000_000_000, 2.0),
        ];
        let message = if version == 1 { request_1(&series) } else { request_2(&series) };
        for round in 0..2 {
            let answer = post_remote(&server, kind, &message);
            assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{round}: {answer:?}");
            let written = |what: &str| {
                answer.header(&format!("x-prometheus-remote-write-{what}-written")).to_owned()
            };
            let told = if version == 1 { ["", "", ""] } else { ["6", "0", "2"] };
            assert_eq!(["samples", "histograms", "exemplars"].map(written), told);
            assert_eq!(answer.header("tidewatch-accepted"), "6");
        }
        let rows = server.sql(&format!("SELECT value, job FROM {metric} ORDER BY time"));
        let values: Vec<_> = rows.iter().map(|row| row["value"].clone()).collect();
        // NaN, the stale marker among them, is NULL in SQL, and infinities have no form in JSON.
        assert_eq!(values, [json!(1.0), json!(null), json!(null), json!(null), json!(-0.0)]);
        let nulls = format!("SELECT count(*) FROM {metric} WHERE value IS NULL");
        assert_eq!(server.number(&nulls), 2);
        assert_eq!(server.number(&format!("SELECT count(*) FROM \"{metric}:rate\"")), 1);
    }
    assert_eq!(server.counter("tidewatch_connectors_exemplars_total"), 8);
    assert_eq!(server.counter("tidewatch_connectors_metadata_total"), 6);
    assert_eq!(server.stop(), 0);
    home.replay(&[]);
}

#[test]
fn what_remote_write_cannot_store_is_told_in_words_and_the_rest_is_stored() {
    let home = Home::new();
    let server = home.serve();
    for (version, kind) in [(1, REMOTE_1), (2, REMOTE_2)] {
        let metric = format!("m{version}");
        let series = [
            Series::new("").at(1_700_000_000_000, 1.0),
            Series::new(&metric).at(1_700_000_000_000, 1.0).histogram().histogram(),
            Series::new(&metric).at(4_102_444_800_000, 1.0).at(1_700_000_010_000, 2.0),
            Series::new(&metric).at(i64::MAX, 1.0),
        ];
        let message = if version == 1 { request_1(&series) } else { request_2(&series) };
        let answer = post_remote(&server, kind, &message);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(
            answer.body,
            "partial write: 5 samples refused, 2 stored; series 1: metric name is missing; \
             series 2: native histograms are not stored; series 3: timestamp too far in the future; \
             series 4: timestamp beyond the range of nanoseconds"
        );
        assert!(answer.header("content-type").starts_with("text/plain"), "{answer:?}");
        let told = if version == 1 { "" } else { "2" };
        assert_eq!(answer.header("x-prometheus-remote-write-samples-written"), told);
        assert_eq!(server.number(&format!("SELECT count(*) FROM {metric}")), 2);
        let broken = post_remote(&server, kind, &message[..message.len() - 1]);
        assert!(broken.status == 400 && broken.body.contains("not a valid message"), "{broken:?}");
        let unpacked = server.post_with(WRITE, &[kind, SNAPPY], &message);
        assert!(unpacked.status == 400 && unpacked.body.contains("snappy"), "{unpacked:?}");
        assert_eq!(post_remote(&server, kind, b"").status, 204, "nothing is nothing");
    }
    let name = "tidewatch_connectors_samples_rejected_total";
    let counter = |labels: &str| server.counter(&format!("{name}{{{labels}}}"));
    assert_eq!(counter("protocol=\"remote_write\",reason=\"histogram\""), 2);
    assert_eq!(counter("protocol=\"remote_write_2\",reason=\"series_refused\""), 1);
}

#[test]
fn series_beyond_the_limit_are_refused_by_every_protocol_and_known_ones_go_on() {
    let home = Home::new();
    let server = Start::on(&home.data()).set("limits.series_max=2").up();
    let first = batch(&[good("a", 1_700_000_000), good("b", 1_700_000_000)]);
    assert_eq!(server.post_with(WRITE, &[JSON], &first).status, 200);
    let more = batch(&[good("a", 1_700_000_010), good("c", 1_700_000_000)]);
    let answer = server.post_with(WRITE, &[JSON], &more);
    let said = answer.json()["errors"][0]["error"].as_str().unwrap().to_owned();
    assert!(answer.status == 207 && said.contains("limits.series_max = 2"), "{answer:?}");
    let series = [Series::new("d").at(1_700_000_000_000, 1.0)];
    let remote = post_remote(&server, REMOTE_1, &request_1(&series));
    assert!(remote.status == 400 && remote.body.contains("limits.series_max"), "{remote:?}");
    assert_eq!(server.number("SELECT count(*) FROM a"), 2);
}
