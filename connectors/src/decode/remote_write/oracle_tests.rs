//! Remote write against messages derived with the crate `prost`, on good bodies and damaged ones.

use prost::Message;
use tidewatch_env::Rng;

use crate::decode::mutation::{below, inputs, mutate, pick};
use crate::decode::oracle::remote_write::{
    Request, Sample, TimeSeries, TimeSeries2, WriteRequest, check,
};
use crate::decode::{
    ItemReason, SeriesBatch, SeriesError, SeriesForm, SeriesOptions, decode_series,
};

/// A label of bytes that need not be texts.
#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

const VALUES: [u64; 8] = [
    0,
    0x8000_0000_0000_0000,
    0x7ff0_0000_0000_0002,
    0x7ff8_0000_0000_0001,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x3ff8_0000_0000_0000,
    1,
];

fn samples(rng: &mut Rng) -> Vec<Sample> {
    let sample = |rng: &mut Rng| Sample {
        value: f64::from_bits(VALUES[below(rng, VALUES.len())]),
        timestamp: match rng.below(12) {
            0 => rng.next_u64().cast_signed(),
            1 => -5,
            2 => 0,
            _ => 1_700_000_000_000 + rng.below(1_000_000).cast_signed(),
        },
    };
    (0..rng.below(4)).map(|_| sample(rng)).collect()
}

fn word(rng: &mut Rng) -> Vec<u8> {
    let words: [&[u8]; 9] = [
        b"__name__",
        b"up",
        b"job",
        b"api",
        b"",
        b"instance",
        b"10.0.0.1:9090",
        b"\xc3\xa9",
        b"\xff",
    ];
    pick(rng, &words).to_vec()
}

fn labels(rng: &mut Rng) -> Vec<Vec<u8>> {
    let name = Label { name: b"__name__".to_vec(), value: b"up".to_vec() };
    let mut labels = vec![name.encode_to_vec()];
    for _ in 0..rng.below(4) {
        labels.push(Label { name: word(rng), value: word(rng) }.encode_to_vec());
    }
    if rng.below(10) == 0 {
        labels.remove(0);
    }
    labels
}

fn some_bytes(rng: &mut Rng) -> Vec<Vec<u8>> {
    (0..rng.below(8).saturating_sub(6)).map(|_| word(rng)).collect()
}

fn body(rng: &mut Rng, form: SeriesForm) -> Vec<u8> {
    let count = rng.below(4);
    if form == SeriesForm::RemoteWrite1 {
        let series = |rng: &mut Rng| TimeSeries {
            labels: labels(rng),
            samples: samples(rng),
            exemplars: some_bytes(rng),
            histograms: some_bytes(rng),
        };
        let timeseries = (0..count).map(|_| series(rng)).collect();
        return WriteRequest { timeseries, metadata: some_bytes(rng) }.encode_to_vec();
    }
    let mut symbols: Vec<Vec<u8>> = ["", "__name__", "up", "job", "api"].map(Vec::from).into();
    symbols.extend((0..rng.below(4)).map(|_| word(rng)));
    let bound = u64::try_from(symbols.len()).unwrap() + u64::from(rng.below(8) == 0);
    let series = |rng: &mut Rng| {
        let mut labels_refs = vec![1, 2];
        for _ in 0..2 * rng.below(4) {
            labels_refs.push(u32::try_from(rng.below(bound)).unwrap());
        }
        if rng.below(20) == 0 {
            labels_refs.pop();
        }
        TimeSeries2 {
            labels_refs,
            samples: samples(rng),
            histograms: some_bytes(rng),
            exemplars: some_bytes(rng),
            metadata: some_bytes(rng).pop(),
            created_timestamp: rng.below(2).cast_signed(),
        }
    };
    let timeseries = (0..count).map(|_| series(rng)).collect();
    Request { symbols, timeseries }.encode_to_vec()
}

#[test]
fn good_and_damaged_bodies_are_read_as_prost_reads_them() {
    for seed in 0..inputs() {
        let mut rng = Rng::from_seed(seed);
        let form = [SeriesForm::RemoteWrite1, SeriesForm::RemoteWrite2][below(&mut rng, 2)];
        let mut bytes = body(&mut rng, form);
        if seed % 4 == 0 {
            check(form, &bytes);
        }
        mutate(&mut rng, &mut bytes, b"\x08\x09\x0a\x10\x12\x18\x1a\x22\x2a\x30\x80\xff\x00\x0b");
        check(form, &bytes);
    }
}

#[test]
fn labels_in_pieces_name_the_same_series_as_labels_in_one() {
    let label = |name: &str, value: &str| {
        let label = Label { name: name.into(), value: value.into() }.encode_to_vec();
        [&[0x0a, u8::try_from(label.len()).unwrap()][..], &label].concat()
    };
    let sample = Sample { value: 1.0, timestamp: 1 }.encode_to_vec();
    let sample = [&[0x12, u8::try_from(sample.len()).unwrap()][..], &sample].concat();
    let (name, job, other) = (label("__name__", "up"), label("job", "a"), label("job", "b"));
    let series = |pieces: &[&[u8]]| {
        let message = pieces.concat();
        [&[0x0a, u8::try_from(message.len()).unwrap()][..], &message].concat()
    };
    let body = [
        series(&[&name, &job, &sample]),
        series(&[&name, &sample, &job]),
        series(&[&name, &sample, &other]),
        series(&[&sample, &name, &job, &sample]),
    ]
    .concat();
    let mut batch = SeriesBatch::new();
    decode_series(SeriesForm::RemoteWrite1, &body, &SeriesOptions::default(), &mut batch).unwrap();
    let hashes = batch.key_hashes();
    assert_eq!((hashes[0], hashes[0]), (hashes[1], hashes[3]));
    assert_ne!(hashes[0], hashes[2]);
    assert_eq!(batch.names(&body, 1), batch.names(&body, 0));
    assert_eq!(batch.rows_of(3).len(), 2);
}

#[test]
fn the_same_series_is_known_whatever_table_of_symbols_it_comes_with() {
    let series = |labels_refs: &[u32]| TimeSeries2 {
        labels_refs: labels_refs.to_vec(),
        samples: vec![Sample { value: 1.0, timestamp: 1 }],
        ..TimeSeries2::default()
    };
    let request = |symbols: &[&str], series: Vec<TimeSeries2>| {
        let symbols = symbols.iter().map(|symbol| symbol.as_bytes().to_vec()).collect();
        Request { symbols, timeseries: series }.encode_to_vec()
    };
    let one = request(&["", "__name__", "up", "job", "a"], vec![series(&[1, 2, 3, 4])]);
    let two = request(
        &["", "a", "job", "up", "__name__"],
        vec![series(&[4, 3, 2, 1]), series(&[4, 3, 2, 3]), series(&[4, 3])],
    );
    let hashes = |body: &[u8]| {
        let mut batch = SeriesBatch::new();
        let options = SeriesOptions::default();
        decode_series(SeriesForm::RemoteWrite2, body, &options, &mut batch).unwrap();
        batch.key_hashes().to_vec()
    };
    let (one, two) = (hashes(&one), hashes(&two));
    assert_eq!(one[0], two[0]);
    assert!(one[0] != two[1] && one[0] != two[2]);
}

#[test]
fn what_is_not_stored_is_counted_and_limits_hold() {
    let series = TimeSeries {
        labels: vec![Label { name: b"__name__".to_vec(), value: b"up".to_vec() }.encode_to_vec()],
        samples: vec![Sample { value: 2.0, timestamp: 5 }; 3],
        exemplars: vec![Vec::new(); 2],
        histograms: vec![Vec::new(); 4],
    };
    let request = WriteRequest { timeseries: vec![series; 2], metadata: vec![Vec::new(); 5] };
    let body = request.encode_to_vec();
    let mut batch = SeriesBatch::new();
    let mut options = SeriesOptions { samples_max: 6, ..SeriesOptions::default() };
    decode_series(SeriesForm::RemoteWrite1, &body, &options, &mut batch).unwrap();
    let extras = batch.extras();
    assert_eq!((extras.metadata, extras.exemplars, extras.histograms), (5, 4, 8));
    assert_eq!((batch.rows(), batch.errors().total()), (6, 8));
    assert_eq!(batch.errors().first()[1].reason, ItemReason::Histogram);
    options.samples_max = 5;
    let result = decode_series(SeriesForm::RemoteWrite1, &body, &options, &mut batch);
    assert_eq!(result, Err(SeriesError::TooManySamples { samples_max: 5, received: 6 }));
    // A message that is made of nothing but the shortest symbols.
    let symbols = [0x22, 0x00].repeat(1_000_001);
    let result = decode_series(SeriesForm::RemoteWrite2, &symbols, &options, &mut batch);
    assert_eq!(result, Err(SeriesError::TooManySymbols { symbols_max: 1_000_000 }));
    let refs = TimeSeries2 {
        labels_refs: vec![0; 300],
        samples: vec![Sample::default()],
        ..TimeSeries2::default()
    };
    let body = Request { symbols: vec![Vec::new()], timeseries: vec![refs] }.encode_to_vec();
    decode_series(SeriesForm::RemoteWrite2, &body, &options, &mut batch).unwrap();
    assert_eq!(batch.errors().first()[0].reason, ItemReason::TooManyLabels);
}
