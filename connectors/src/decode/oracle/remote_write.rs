//! Remote write beside messages derived with the crate `prost`.

use prost::Message;
use tidewatch_metrics::limits::SERIES_LABELS_MAX;

use crate::decode::{Extras, SeriesBatch, SeriesError, SeriesForm, SeriesOptions, decode_series};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) timeseries: Vec<TimeSeries>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(crate) metadata: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimeSeries {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) labels: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Sample>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(crate) exemplars: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(crate) histograms: Vec<Vec<u8>>,
}

/// A label whose texts must be texts, every one of them where some repeat.
#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sample {
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
    #[prost(int64, tag = "2")]
    pub(crate) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(crate) symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) timeseries: Vec<TimeSeries2>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimeSeries2 {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Sample>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(crate) histograms: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(crate) exemplars: Vec<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(crate) metadata: Option<Vec<u8>>,
    #[prost(int64, tag = "6")]
    pub(crate) created_timestamp: i64,
}

/// References of one series in 2.0, and labels of one in 1.0: those of use, as many empty ones, and the name.
const REFERENCES_MAX: usize = 4 * SERIES_LABELS_MAX + 2;
const LABELS_MAX: usize = 2 * SERIES_LABELS_MAX;

/// What both say: names and bits of the taken rows, how many samples are refused, and what else there was.
#[derive(Debug, Default, PartialEq)]
struct Told {
    rows: Vec<Row>,
    refused: u64,
    exemplars: u64,
    histograms: u64,
}

/// A row: its series' number and labels, milliseconds, and the bits of its value.
type Row = (u32, Vec<(String, String)>, i64, u64);

fn by_us(form: SeriesForm, body: &[u8]) -> Result<Told, SeriesError> {
    let mut batch = SeriesBatch::new();
    decode_series(form, body, &SeriesOptions::default(), &mut batch)?;
    let Extras { exemplars, histograms, .. } = *batch.extras();
    let refused = batch.errors().total();
    let mut told = Told { rows: Vec::new(), refused, exemplars, histograms };
    for item in 0..batch.items() {
        let rows = batch.rows_of(item);
        let Ok(names) = batch.names(body, item) else {
            told.refused += u64::try_from(rows.len()).unwrap();
            continue;
        };
        let mut labels = names.labels;
        labels.push(("__name__".to_owned(), names.metric));
        labels.sort_unstable();
        for row in rows {
            let millis = batch.times()[row].nanos() / 1_000_000;
            let bits = batch.values()[row].to_bits();
            told.rows.push((batch.numbers()[item], labels.clone(), millis, bits));
        }
    }
    Ok(told)
}

/// Labels as they must be to name a series.
fn named(labels: Option<Vec<(String, String)>>) -> Option<Vec<(String, String)>> {
    let mut labels = labels?;
    labels.sort_unstable();
    let is_name = |label: &&(String, String)| label.0 == "__name__";
    let control = |text: &str| text.chars().any(char::is_control);
    let mut names = labels.iter().filter(is_name);
    let good = matches!((names.next(), names.next()),
        (Some((_, name)), None) if !name.is_empty() && !control(name));
    (good && !labels.iter().any(|(key, _)| control(key))).then_some(labels)
}

impl Told {
    fn add(&mut self, number: usize, labels: Option<&Vec<(String, String)>>, samples: &[Sample]) {
        for sample in samples {
            let in_range = sample.timestamp.checked_mul(1_000_000).is_some_and(|n| n > i64::MIN);
            match labels.filter(|_| in_range) {
                Some(labels) => {
                    let number = u32::try_from(number).unwrap();
                    let bits = sample.value.to_bits();
                    self.rows.push((number, labels.clone(), sample.timestamp, bits));
                }
                None => self.refused += 1,
            }
        }
    }

    fn add_others(&mut self, histograms: &[Vec<u8>], exemplars: &[Vec<u8>]) {
        let histograms = u64::try_from(histograms.len()).unwrap();
        self.refused += histograms;
        self.histograms += histograms;
        self.exemplars += u64::try_from(exemplars.len()).unwrap();
    }
}

fn by_prost(form: SeriesForm, body: &[u8]) -> Result<Told, prost::DecodeError> {
    let mut told = Told::default();
    if form == SeriesForm::RemoteWrite1 {
        for (number, series) in WriteRequest::decode(body)?.timeseries.iter().enumerate() {
            let labels = series.labels.iter().map(|label| {
                let label = Label::decode(&**label).ok()?;
                Some((label.name, label.value))
            });
            let labels = named(labels.collect()).filter(|_| series.labels.len() <= LABELS_MAX);
            told.add(number, labels.as_ref(), &series.samples);
            told.add_others(&series.histograms, &series.exemplars);
        }
        return Ok(told);
    }
    let request = Request::decode(body)?;
    for (number, series) in request.timeseries.iter().enumerate() {
        let text = |reference: &u32| {
            let symbol = request.symbols.get(usize::try_from(*reference).unwrap())?;
            String::from_utf8(symbol.clone()).ok()
        };
        let texts: Option<Vec<_>> = series.labels_refs.iter().map(text).collect();
        let labels = texts
            .filter(|texts| texts.len().is_multiple_of(2) && texts.len() <= REFERENCES_MAX)
            .map(|texts| texts.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect());
        told.add(number, named(labels).as_ref(), &series.samples);
        told.add_others(&series.histograms, &series.exemplars);
    }
    Ok(told)
}

/// Both take the same samples, bit for bit, and refuse as many.
pub(crate) fn check(form: SeriesForm, body: &[u8]) {
    let shown = || format!("{form:?} {body:02x?}");
    match (by_us(form, body), by_prost(form, body)) {
        (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{}", shown()),
        (Err(_), Err(_)) => {}
        (Err(SeriesError::FirstSymbol), Ok(_)) => {
            let request = Request::decode(body).unwrap();
            assert!(!request.symbols[0].is_empty(), "{}", shown());
        }
        // Groups, which only the crate passes over.
        (Err(SeriesError::Message { at }), Ok(_)) => {
            assert!(matches!(body[at] & 7, 3 | 4), "at {at} {}", shown());
        }
        (ours, theirs) => panic!("{ours:?} {theirs:?} {}", shown()),
    }
}
