use super::*;
use crate::decode::{LineReason, decode_series, mutation};

fn incoming(payload: &[u8]) -> Incoming<'_> {
    Incoming { payload, time: Some(EventTime::new(77)), ..Incoming::default() }
}

fn batch(form: MessageForm, messages: &[&[u8]]) -> MessageBatch {
    let mut batch = MessageBatch::new(form);
    for (offset, message) in (10..).zip(messages) {
        batch.push(offset, incoming(message));
    }
    batch
}

fn series(batch: &MessageBatch) -> (SeriesBatch, Taken) {
    let mut out = SeriesBatch::new();
    let messages = Messages { batch, count: usize::MAX };
    let taken = decode_series_messages(messages, &SeriesOptions::default(), &mut out);
    (out, taken)
}

fn lines(batch: &MessageBatch, options: &LineOptions) -> (LineBatch, Taken) {
    let mut out = LineBatch::new();
    let taken = decode_line_messages(Messages { batch, count: usize::MAX }, options, &mut out);
    (out, taken)
}

/// Metric, labels, time and value of each row, and the number of its message.
fn rows(batch: &MessageBatch, out: &SeriesBatch) -> Vec<(String, String, i64, f64, u32)> {
    let mut rows = Vec::new();
    for item in 0..out.items() {
        let names = out.names(batch.bytes(), item).unwrap();
        for row in out.rows_of(item) {
            let labels = names.labels.iter().map(|(key, value)| format!("{key}={value} "));
            let (time, value) = (out.times()[row].nanos(), out.values()[row]);
            rows.push((names.metric.clone(), labels.collect(), time, value, out.numbers()[item]));
        }
    }
    rows
}

fn row(
    metric: &str,
    labels: &str,
    time: i64,
    value: f64,
    message: u32,
) -> (String, String, i64, f64, u32) {
    (metric.to_owned(), labels.to_owned(), time, value, message)
}

#[test]
fn a_json_message_is_a_sample_an_array_or_a_batch_of_luminate() {
    let second = 1_000_000_000;
    let batch = batch(
        MessageForm::Json,
        &[
            b" {\"metric\":\"cpu\",\"time\":1700000000,\"value\":1.5,\"labels\":{\"host\":\"a\"}} ",
            b"[{\"metric\":\"cpu\",\"time\":1700000001,\"value\":2},\n {\"metric\":\"mem\",\"time\":1700000002,\"value\":3}]",
            b"{\"metrics\":[{\"name\":\"disk\",\"timestamp\":1700000003,\"value\":4,\"dimensions\":{\"d\":\"sda\"}}]}",
            b"{\"tenant\":7,\"metrics\":[{\"name\":\"net\",\"timestamp\":1700000004,\"value\":5}]}",
            b"[]",
        ],
    );
    let (out, taken) = series(&batch);
    assert_eq!(taken, Taken { messages: 5, bad: vec![] });
    let expected = [
        row("cpu", "host=a ", 1_700_000_000 * second, 1.5, 0),
        row("cpu", "", 1_700_000_001 * second, 2.0, 1),
        row("mem", "", 1_700_000_002 * second, 3.0, 1),
        row("disk", "d=sda ", 1_700_000_003 * second, 4.0, 2),
        row("net", "", 1_700_000_004 * second, 5.0, 3),
    ];
    assert_eq!(rows(&batch, &out), expected);
}

#[test]
fn a_series_has_the_same_key_in_a_message_as_in_a_body_of_lines() {
    let sample =
        b"{\"metric\":\"cpu\",\"time\":1700000000,\"value\":1,\"labels\":{\"host\":\"a\"}}";
    let (out, _) = series(&batch(MessageForm::Json, &[b"[]", sample]));
    let mut alone = SeriesBatch::new();
    let options = SeriesOptions::default();
    decode_series(SeriesForm::JsonLines, sample, &options, &mut alone).unwrap();
    assert_eq!(out.key_hashes(), alone.key_hashes());
}

#[test]
fn a_bad_json_message_touches_no_other_and_gives_its_reason() {
    let good = b"{\"metric\":\"cpu\",\"time\":1700000000,\"value\":1}";
    let bad: [(&[u8], ItemReason); 9] = [
        (b"", ItemReason::BadMessage),
        (b"{\"metric\":\"cpu\",\"time\":1700000000", ItemReason::BadJson),
        (b"[{\"metric\":\"cpu\",\"time\":1700000000,\"value\":1},{]", ItemReason::BadJson),
        (
            b"{\"metrics\":[{\"name\":\"a\",\"timestamp\":1700000000,\"value\":1}],\"metrics\":[]}",
            ItemReason::BadJson,
        ),
        (b"{\"metric\":\"cpu\",\"time\":1700000000,\"value\":1} x", ItemReason::BadJson),
        (b"\"text\"", ItemReason::NotAnObject),
        (b"{\"time\":1700000000,\"value\":1}", ItemReason::MissingName),
        (b"{\"metric\":\"c\xc3\",\"time\":1700000000,\"value\":1}", ItemReason::NotUtf8),
        (b"{\"metric\":\"cpu\",\"time\":1700000000,\"value\":NaN}", ItemReason::BadJson),
    ];
    for (message, reason) in bad {
        let batch = batch(MessageForm::Json, &[good, message, good]);
        let (out, taken) = series(&batch);
        let shown = String::from_utf8_lossy(message);
        assert_eq!(taken, Taken { messages: 3, bad: vec![1] }, "{shown}");
        assert_eq!((out.rows(), out.numbers()), (2, &[0, 2][..]), "{shown}");
        let errors: Vec<_> = out.errors().first().iter().map(|e| (e.item, e.reason)).collect();
        assert_eq!(errors, [(1, reason)], "{shown}");
    }
    // Of a message that can be read, good samples are taken beside bad ones.
    let mixed =
        b"[{\"metric\":\"a\",\"time\":1700000000,\"value\":1},{\"metric\":\"b\",\"value\":1}]";
    let (out, taken) = series(&batch(MessageForm::Json, &[mixed]));
    assert_eq!((out.rows(), taken.bad), (1, vec![0]));
}

#[test]
fn an_open_string_of_a_line_ends_with_its_message() {
    let batch = batch(
        MessageForm::LineProtocol,
        &[b"m text=\"abc", b"m,host=a v=1 5\nm,host=a v=2", b"m v=3 7\nrubbish\n", b""],
    );
    let (out, taken) = lines(&batch, &LineOptions::default());
    assert_eq!(taken, Taken { messages: 4, bad: vec![0, 2, 3] });
    assert_eq!(out.values(), [1.0, 2.0, 3.0]);
    let times: Vec<_> = out.times().iter().map(|time| time.nanos()).collect();
    assert_eq!(times, [5, 77, 7], "a line without a time has its message's");
    assert_eq!(out.line_numbers(), [2, 2, 3]);
    let errors: Vec<_> = out.errors().first().iter().map(|e| (e.line_number, e.reason)).collect();
    let expected = [
        (1, LineReason::UnclosedString),
        (3, LineReason::MissingFields),
        (4, LineReason::MissingFields),
    ];
    assert_eq!(errors, expected);
}

#[test]
fn a_message_with_too_many_samples_is_refused_as_a_whole() {
    let options = LineOptions { samples_max: 2, ..LineOptions::default() };
    let batch = batch(
        MessageForm::LineProtocol,
        &[b"m a=1 1\nm a=2 2", b"m a=3 3\nm b=4,c=5 4", b"m a=6 6"],
    );
    let (out, taken) = lines(&batch, &options);
    assert_eq!((out.values(), taken.bad), (&[1.0, 2.0, 6.0][..], vec![1]));
    assert_eq!(out.lines_accepted(), 3);
    assert_eq!(out.errors().first()[0].reason, LineReason::TooManySamples);
    let sample = b"{\"metric\":\"a\",\"time\":1700000000,\"value\":1}";
    let pair = [&b"["[..], sample, b",", sample, b"]"].concat();
    let batch = self::batch(MessageForm::Json, &[&pair, sample]);
    let options = SeriesOptions { samples_max: 1, ..SeriesOptions::default() };
    let mut out = SeriesBatch::new();
    let taken = decode_series_messages(Messages { batch: &batch, count: 2 }, &options, &mut out);
    assert_eq!((out.numbers(), taken.bad), (&[1][..], vec![0]));
}

/// A `WriteRequest` with one series of one sample.
fn request(name: &str, value: f64, millis: u8) -> Vec<u8> {
    let field =
        |tag: u8, bytes: &[u8]| [&[tag, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let label = [field(10, b"__name__"), field(18, name.as_bytes())].concat();
    let sample = [&[9][..], &value.to_le_bytes(), &[16, millis]].concat();
    field(10, &[field(10, &label), field(18, &sample)].concat())
}

#[test]
fn remote_write_is_read_packed_and_unpacked() {
    let packed = snap::raw::Encoder::new().compress_vec(&request("up", 1.0, 9)).unwrap();
    let cut = &packed[..packed.len() - 3];
    // It declares four gigabytes.
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let batch = batch(MessageForm::RemoteWrite, &[&packed, cut, &bomb, &request("down", 2.0, 8)]);
    let (out, taken) = series(&batch);
    assert_eq!(taken, Taken { messages: 4, bad: vec![1, 2] });
    let expected = [row("up", "", 9_000_000, 1.0, 0), row("down", "", 8_000_000, 2.0, 3)];
    assert_eq!(rows(&batch, &out), expected);
    assert!(out.errors().first().iter().all(|error| error.reason == ItemReason::BadMessage));
}

#[test]
fn the_first_messages_are_dropped_with_their_offsets_and_the_others_stay_as_they_are() {
    let sample = |value: u32| format!("{{\"metric\":\"a\",\"time\":1700000000,\"value\":{value}}}");
    let mut batch = MessageBatch::new(MessageForm::Json);
    for offset in [3, 5, 9] {
        batch.push(offset, incoming(sample(u32::try_from(offset).unwrap()).as_bytes()));
    }
    batch.push(9, incoming(b"once more"));
    assert!(batch.pass(12) && !batch.pass(12));
    assert_eq!(batch.offsets_of(1), Some((3, 3)));
    assert_eq!(batch.offsets_of(2), Some((3, 5)));
    assert_eq!(batch.offsets_of(3), Some((3, 12)));
    assert_eq!(batch.offsets_of(0), None, "no message, and others behind");
    batch.drop_first(2);
    assert_eq!((batch.len(), batch.offsets_of(1)), (1, Some((6, 12))));
    let expected = row("a", "", 1_700_000_000_000_000_000, 9.0, 0);
    assert_eq!(rows(&batch, &series(&batch).0), [expected]);
    batch.drop_first(1);
    assert!(batch.is_empty() && batch.bytes().is_empty());
    batch.pass(20);
    assert_eq!(batch.offsets_of(0), Some((20, 20)), "tombstones alone count as read");
}

/// A key with a quote, a line end and half a letter, for whatever reads on behind it.
const AWKWARD_KEY: &[u8] = b"\"k\n\xc3";

#[test]
fn keys_are_kept_where_they_are_wanted_and_touch_no_payload() {
    let sample = b"{\"metric\":\"a\",\"time\":1700000000,\"value\":1}";
    let line = b"a value=1 5";
    let request = request("a", 1.0, 9);
    let cases: [(MessageForm, &[u8]); 3] = [
        (MessageForm::Json, sample),
        (MessageForm::LineProtocol, line),
        (MessageForm::RemoteWrite, &request),
    ];
    for (form, payload) in cases {
        let keys = [Some(AWKWARD_KEY), None, Some(b"".as_slice()), Some(b"k2")];
        let mut with = MessageBatch::with_keys(form);
        let mut without = MessageBatch::new(form);
        for (offset, key) in (0..).zip(keys) {
            with.push(offset, Incoming { key, ..incoming(payload) });
            without.push(offset, Incoming { key, ..incoming(payload) });
        }
        for batch in [&with, &without] {
            let values = if form == MessageForm::LineProtocol {
                lines(batch, &LineOptions::default()).0.values().to_vec()
            } else {
                series(batch).0.values().to_vec()
            };
            assert_eq!(values, [1.0; 4], "{form:?}");
        }
        assert!((0..4).all(|message| without.key_of(message).is_none()));
        let bytes = u64::try_from(3 * payload.len()).unwrap();
        assert_eq!((with.payload_bytes_of(3), without.payload_bytes_of(3)), (bytes, bytes));
        for dropped in 0..4 {
            for (message, key) in keys.iter().skip(dropped).enumerate() {
                assert_eq!(with.key_of(message), *key, "{form:?} {dropped}");
                assert_eq!(with.payload_of(message), Some(payload), "{form:?} {dropped}");
                assert_eq!(with.time_of(message), Some(EventTime::new(77)));
            }
            with.drop_first(1);
        }
        assert!(with.is_empty() && with.bytes().is_empty() && with.key_of(0).is_none());
    }
}

#[test]
fn of_a_message_that_is_too_long_with_its_key_the_key_is_not_kept() {
    let key = vec![b'k'; MESSAGE_BYTES_MAX];
    let mut batch = MessageBatch::with_keys(MessageForm::Json);
    for payload in [b"[]".as_slice(), b""] {
        batch.push(0, Incoming { key: Some(&key), ..incoming(payload) });
        let kept = (batch.key_of(0), batch.payload_of(0), batch.bytes());
        assert_eq!(kept, (None, Some(payload), &*[payload, b"\n"].concat()));
        assert_eq!(series(&batch).0.errors().first()[0].reason, ItemReason::MessageTooLong);
        batch.clear();
    }
}

#[test]
fn the_first_messages_within_some_bytes_are_at_least_one() {
    let batch = batch(MessageForm::Json, &[b"[]", b"[ ]", b"[  ]"]);
    let expected = [(0, 1), (2, 1), (5, 1), (6, 2), (11, 3), (usize::MAX, 3)];
    for (bytes, first) in expected {
        assert_eq!(batch.first_within(bytes), first, "{bytes}");
    }
    let bytes = [0, 1, 2, 3, 4].map(|first| batch.bytes_of(first));
    assert_eq!(bytes, [0, 2, 6, 11, 0]);
    let empty = self::batch(MessageForm::Json, &[]);
    assert_eq!((empty.first_within(5), empty.bytes_of(0)), (0, 0));
}

#[test]
fn half_a_letter_at_the_end_of_a_message_does_not_join_the_other_half() {
    let halves: [&[u8]; 2] = [b"m,host=\xc3", b"\xa9 v=1 1"];
    let (out, taken) = lines(&batch(MessageForm::LineProtocol, &halves), &LineOptions::default());
    assert_eq!((out.lines(), taken.bad), (0, vec![0, 1]));
    assert!(out.errors().first().iter().any(|error| error.reason == LineReason::NotUtf8));
    let text: [&[u8]; 2] = [b"[{\"metric\":\"\xc3", b"\xa9"];
    let (out, taken) = series(&batch(MessageForm::Json, &text));
    assert_eq!((out.rows(), taken.bad), (0, vec![0, 1]));
    assert!(out.errors().first().iter().all(|error| error.reason == ItemReason::NotUtf8));
}

#[test]
fn a_batch_is_cut_where_it_is_enough_for_a_record() {
    let sample = "{\"metric\":\"a\",\"time\":1700000000,\"value\":1},".repeat(SAMPLES_ENOUGH / 2);
    let half = format!("[{}]", sample.trim_end_matches(','));
    let half = half.as_bytes();
    let batch = batch(MessageForm::Json, &[half, half, half]);
    let (out, taken) = series(&batch);
    assert_eq!((taken.messages, out.rows()), (2, SAMPLES_ENOUGH));
}

#[test]
fn no_damage_to_a_message_panics_or_touches_the_others() {
    let text =
        b"[{\"metric\":\"a\",\"time\":1700000000,\"value\":1,\"labels\":{\"k\":\"\\u00e9\"}},\
        {\"metric\":\"b\",\"time\":\"2026-01-01T00:00:00Z\",\"value\":2}]";
    let line = b"m,host=a\\ b text=\"x\\\"y\",v=1i,w=2.5 1700000000000000000\nn v=t";
    let request = request("up", 1.0, 9);
    let cases: [(MessageForm, &[u8]); 3] = [
        (MessageForm::Json, text),
        (MessageForm::LineProtocol, line),
        (MessageForm::RemoteWrite, &request),
    ];
    let mut rng = tidewatch_env::Rng::from_seed(5);
    for (form, message) in cases {
        for _ in 0..mutation::inputs() / 10 {
            let mut damaged = message.to_vec();
            mutation::mutate(&mut rng, &mut damaged, b"\"\\{}[],: \n=\x0a\x12\xff");
            let batch = batch(form, &[message, &damaged, message]);
            let (numbers, bad) = if form == MessageForm::LineProtocol {
                let (out, taken) = lines(&batch, &LineOptions::default());
                (out.line_numbers().iter().map(|number| number - 1).collect(), taken.bad)
            } else {
                let (out, taken) = series(&batch);
                (out.numbers().to_vec(), taken.bad)
            };
            let numbers: Vec<u32> = numbers;
            assert!(bad.iter().all(|bad| *bad == 1), "{damaged:?}");
            let of = |message| numbers.iter().filter(|number| **number == message).count();
            let expected = if form == MessageForm::RemoteWrite { 1 } else { 2 };
            assert_eq!((of(0), of(2)), (expected, expected), "{damaged:?}");
        }
    }
}

#[test]
fn a_json_message_is_read_in_company_as_it_is_alone() {
    let [sample, other, array, luminate]: [&[u8]; 4] = [
        b"{\"metric\":\"a\",\"time\":1700000000,\"value\":1,\"labels\":{\"k\":\"v\"}}",
        b"{\"value\":2.5,\"labels\":{\"k\":\"w\",\"l\":\"\"},\"metric\":\"b\",\"time\":1700000001}",
        b"[{\"metric\":\"c\",\"time\":1700000002,\"value\":3,\"labels\":{\"k\":\"v\"}}]",
        b"{\"metrics\":[{\"name\":\"d\",\"timestamp\":1700000003,\"value\":4,\"dimensions\":{\"k\":\"v\"}}]}",
    ];
    // A batch whose samples have the members of lines has none.
    let wrong = [b"{\"metrics\":[", sample, b"]}"].concat();
    let choices = [sample, sample, sample, other, array, luminate, &wrong];
    let mut rng = tidewatch_env::Rng::from_seed(6);
    let mut bad_messages = 0;
    for _ in 0..mutation::inputs() / 100 {
        let messages: Vec<Vec<u8>> = (0..12)
            .map(|_| {
                let mut message = mutation::pick(&mut rng, &choices).to_vec();
                if rng.below(4) == 0 {
                    mutation::mutate(&mut rng, &mut message, b"\"\\{}[],: \xff");
                }
                message
            })
            .collect();
        let all: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let company = batch(MessageForm::Json, &all);
        let (out, taken) = series(&company);
        let (mut rows_alone, mut bad_alone) = (Vec::new(), Vec::new());
        for (number, message) in (0..).zip(&all) {
            let alone = batch(MessageForm::Json, &[message]);
            let (out, taken) = series(&alone);
            let of_message = rows(&alone, &out).into_iter();
            rows_alone.extend(
                of_message
                    .map(|(metric, labels, time, value, _)| (metric, labels, time, value, number)),
            );
            bad_alone.extend(taken.bad.iter().map(|_| number));
        }
        assert_eq!(rows(&company, &out), rows_alone, "{messages:?}");
        assert_eq!(taken.bad, bad_alone, "{messages:?}");
        bad_messages += taken.bad.len();
    }
    assert_ne!(bad_messages, 0);
}

/// The samples of a message with labels of its own, or why there is none.
fn labelled(
    form: MessageForm,
    payload: &[u8],
    labels: &[(&str, &[u8])],
) -> Result<Vec<(String, u128)>, ItemReason> {
    let mut of_message = MessageLabels::default();
    labels.iter().for_each(|(key, value)| of_message.push(key, value));
    let mut batch = MessageBatch::new(form);
    let message = Incoming { key: Some(b"m"), ..incoming(payload) };
    batch.push(0, message);
    batch.push(1, Incoming { labels: Some(&of_message), ..message });
    batch.push(2, message);
    batch.drop_first(1);
    let (out, taken) = series(&batch);
    assert_eq!(out.numbers().last(), Some(&1), "the other message is taken");
    if taken.bad == [0] {
        return Err(out.errors().first()[0].reason);
    }
    let items = (0..out.items()).filter(|item| out.numbers()[*item] == 0);
    let names = |item: usize| {
        let names = out.names(batch.bytes(), item)?;
        let labels = names.labels.iter().map(|(key, value)| format!("{key}={value} "));
        Ok((labels.collect(), out.key_hashes()[item]))
    };
    items.map(names).collect()
}

#[test]
fn labels_of_a_message_are_those_of_all_its_samples_unless_they_have_them() {
    let json = br#"[{"metric":"a","time":1700000000,"value":1,"labels":{"dc":"x"}},
        {"metric":"b","time":1700000000,"value":2},
        {"metric":"b","time":1700000000,"value":2,"labels":{"dc":""}}]"#;
    let labels: [(&str, &[u8]); 3] = [("dc", b"y:1"), ("none", b""), ("t\u{e9}", b"5")];
    let read = |labels: &[(&str, &[u8])]| labelled(MessageForm::Json, json, labels).unwrap();
    let found: Vec<_> = read(&labels).into_iter().map(|(labels, _)| labels).collect();
    assert_eq!(found, ["dc=x t\u{e9}=5 ", "dc=y:1 t\u{e9}=5 ", "dc= dc=y:1 t\u{e9}=5 "]);
    let hashes = |labels: &[(&str, &[u8])]| -> Vec<u128> {
        read(labels).into_iter().map(|(_, hash)| hash).collect()
    };
    assert_eq!(hashes(&labels), hashes(&labels));
    assert_eq!(hashes(&[]), hashes(&[("none", b"")]));
    let other = hashes(&[("dc", b"y:2")]);
    assert!(hashes(&labels).iter().chain(&hashes(&[])).all(|hash| !other.contains(hash)));
    for (form, payload) in
        [(MessageForm::Number, b"5".to_vec()), (MessageForm::RemoteWrite, request("up", 1.0, 9))]
    {
        let found = labelled(form, &payload, &labels).unwrap();
        assert_eq!(found[0].0, "dc=y:1 t\u{e9}=5 ", "{form:?}");
    }
}

#[test]
fn labels_of_a_message_that_are_no_text_make_it_bad() {
    let read = |key: &str, value: &[u8]| labelled(MessageForm::Number, b"5", &[(key, value)]);
    assert_eq!(read("dc", b"\xff"), Err(ItemReason::HeaderNotUtf8));
    assert_eq!(read("d\nc", b"x"), Err(ItemReason::ControlByte));
}

#[test]
fn of_every_bad_message_that_is_taken_a_reason_is_kept_and_the_others_are_left_to_the_next_batch() {
    let array = format!("[{}]", vec!["{\"metric\":\"m\",\"time\":7}"; 300].join(","));
    let arrays = vec![array.as_bytes(); 40];
    let (out, taken) = series(&batch(MessageForm::Json, &arrays));
    assert_eq!((taken.messages, taken.bad.len()), (34, 34), "300 refusals each, of 10,000");
    let has_reason = |message: &u32| out.errors().first().iter().any(|one| one.item == *message);
    assert!(taken.bad.iter().all(has_reason));
    let lines_of = |count: usize| b"m no\n".repeat(count);
    let three = [lines_of(700), lines_of(700), lines_of(700)];
    let three: Vec<&[u8]> = three.iter().map(Vec::as_slice).collect();
    let (out, taken) = lines(&batch(MessageForm::LineProtocol, &three), &LineOptions::default());
    assert_eq!((taken.messages, taken.bad), (2, vec![0, 1]));
    assert!([1, 2].iter().all(|n| out.errors().first().iter().any(|one| one.line_number == *n)));
}

#[test]
fn of_a_message_that_is_too_long_the_beginning_is_kept_and_not_decoded() {
    let good = b"m v=1 1\n";
    let long = good.repeat(MESSAGE_BYTES_MAX / good.len() + 1);
    let batch = batch(MessageForm::LineProtocol, &[good, &long, good]);
    assert_eq!(batch.payload_of(1).map(<[u8]>::len), Some(MESSAGE_HEAD_BYTES));
    assert_eq!([0, 1, 3].map(|message| batch.whole_bytes_of(message)), [8, long.len() as u64, 0]);
    let (out, taken) = lines(&batch, &LineOptions::default());
    assert_eq!((out.lines(), taken.bad), (2, vec![1]));
    assert_eq!(out.errors().first()[0].reason, LineReason::LineTooLong);
}
