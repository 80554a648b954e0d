//! OpenTelemetry's metrics beside messages derived with the crate `prost`.

use prost::encoding::{WireType, decode_key, decode_varint};
use prost::{Message, Oneof};
use tidewatch_metrics::limits::SERIES_LABELS_MAX;

use crate::decode::{
    Incoming, ItemReason, MessageBatch, MessageForm, Messages, SeriesBatch, SeriesOptions,
    decode_series_messages,
};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(message, repeated, tag = "1")]
    pub(crate) resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    pub(crate) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resource {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) attributes: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScopeMetrics {
    #[prost(message, repeated, tag = "2")]
    pub(crate) metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metric {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) name: Vec<u8>,
    #[prost(oneof = "Data", tags = "5, 7, 9, 10, 11")]
    pub(crate) data: Option<Data>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Data {
    #[prost(message, tag = "5")]
    Gauge(Numbers),
    #[prost(message, tag = "7")]
    Sum(Numbers),
    #[prost(message, tag = "9")]
    Histogram(Histogram),
    #[prost(message, tag = "10")]
    Exponential(Exponential),
    #[prost(message, tag = "11")]
    Summary(Summary),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Numbers {
    #[prost(message, repeated, tag = "1")]
    pub(crate) points: Vec<NumberPoint>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Histogram {
    #[prost(message, repeated, tag = "1")]
    pub(crate) points: Vec<HistogramPoint>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exponential {
    #[prost(message, repeated, tag = "1")]
    pub(crate) points: Vec<ExponentialPoint>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub(crate) points: Vec<SummaryPoint>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NumberPoint {
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub(crate) attributes: Vec<Vec<u8>>,
    #[prost(fixed64, tag = "3")]
    pub(crate) time: u64,
    #[prost(oneof = "Number", tags = "4, 6")]
    pub(crate) value: Option<Number>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub(crate) exemplars: Vec<Vec<u8>>,
    #[prost(uint32, tag = "8")]
    pub(crate) flags: u32,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(crate) enum Number {
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(sfixed64, tag = "6")]
    Int(i64),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HistogramPoint {
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub(crate) attributes: Vec<Vec<u8>>,
    #[prost(fixed64, tag = "3")]
    pub(crate) time: u64,
    #[prost(fixed64, tag = "4")]
    pub(crate) count: u64,
    #[prost(double, optional, tag = "5")]
    pub(crate) sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    pub(crate) counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    pub(crate) bounds: Vec<f64>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub(crate) exemplars: Vec<Vec<u8>>,
    #[prost(uint32, tag = "10")]
    pub(crate) flags: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExponentialPoint {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) attributes: Vec<Vec<u8>>,
    #[prost(fixed64, tag = "3")]
    pub(crate) time: u64,
    #[prost(fixed64, tag = "4")]
    pub(crate) count: u64,
    #[prost(double, optional, tag = "5")]
    pub(crate) sum: Option<f64>,
    #[prost(sint32, tag = "6")]
    pub(crate) scale: i32,
    #[prost(fixed64, tag = "7")]
    pub(crate) zeros: u64,
    #[prost(message, optional, tag = "8")]
    pub(crate) positive: Option<Buckets>,
    #[prost(message, optional, tag = "9")]
    pub(crate) negative: Option<Buckets>,
    #[prost(uint32, tag = "10")]
    pub(crate) flags: u32,
    #[prost(bytes = "vec", repeated, tag = "11")]
    pub(crate) exemplars: Vec<Vec<u8>>,
    #[prost(double, tag = "14")]
    pub(crate) zero_bound: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Buckets {
    #[prost(sint32, tag = "1")]
    pub(crate) offset: i32,
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) counts: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SummaryPoint {
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub(crate) attributes: Vec<Vec<u8>>,
    #[prost(fixed64, tag = "3")]
    pub(crate) time: u64,
    #[prost(fixed64, tag = "4")]
    pub(crate) count: u64,
    #[prost(double, tag = "5")]
    pub(crate) sum: f64,
    #[prost(message, repeated, tag = "6")]
    pub(crate) quantiles: Vec<AtQuantile>,
    #[prost(uint32, tag = "8")]
    pub(crate) flags: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AtQuantile {
    #[prost(double, tag = "1")]
    pub(crate) quantile: f64,
    #[prost(double, tag = "2")]
    pub(crate) value: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) value: Option<AnyValue>,
}

/// The key alone, whatever the value is.
#[derive(Clone, PartialEq, Message)]
struct Key {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(crate) any: Option<Any>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(bytes = "vec", tag = "5")]
    Array(Vec<u8>),
    #[prost(bytes = "vec", tag = "6")]
    List(Vec<u8>),
    #[prost(bytes = "vec", tag = "7")]
    Bytes(Vec<u8>),
}

const STALE: u64 = 0x7ff0_0000_0000_0002;
/// When all messages were sent, in nanoseconds.
const SENT: u64 = 77;
/// Attributes of a resource that become labels, as docs/kafka.md lists them: said apart from the decoder, which may not
/// lose one.
const RESOURCE_LABELS: [&str; 9] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment.name",
    "host.name",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
];
const BUCKETS_MAX: usize = 4_096;

/// Labels without the metric's name, or with it as `__name__`.
type Labels = Vec<(String, String)>;

/// What both say: labels, nanoseconds and bits of the taken rows, how many samples are refused, and exemplars.
#[derive(Debug, Default)]
struct Told {
    rows: Vec<(Labels, u64, u64)>,
    refused: u64,
    exemplars: u64,
}

/// `None` for a message that is refused as a whole.
fn by_us(body: &[u8]) -> Option<Told> {
    let mut batch = MessageBatch::new(MessageForm::Otlp);
    let time = Some(tidewatch_metrics::EventTime::new(77));
    batch.push(0, Incoming { payload: body, time, ..Incoming::default() });
    let mut out = SeriesBatch::new();
    let messages = Messages { batch: &batch, count: 1 };
    decode_series_messages(messages, &SeriesOptions::default(), &mut out);
    let whole = [ItemReason::BadMessage, ItemReason::TooManySamples, ItemReason::NamesTooLong];
    if out.errors().first().iter().any(|error| whole.contains(&error.reason)) {
        assert_eq!((out.items(), out.rows()), (0, 0));
        return None;
    }
    let exemplars = out.extras().exemplars;
    let mut told = Told { rows: Vec::new(), refused: out.errors().total(), exemplars };
    for item in 0..out.items() {
        let rows = out.rows_of(item);
        assert_eq!(rows.len(), 1);
        let Ok(names) = out.names(batch.bytes(), item) else {
            told.refused += 1;
            continue;
        };
        let mut labels = names.labels;
        labels.push(("__name__".to_owned(), names.metric));
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort_unstable();
        let nanos = u64::try_from(out.times()[rows.start].nanos()).unwrap();
        told.rows.push((labels, nanos, out.values()[rows.start].to_bits()));
    }
    Some(told)
}

/// What a data point has beside its values.
struct Point<'a> {
    name: &'a [u8],
    attributes: &'a [Vec<u8>],
    resource: &'a [Vec<u8>],
    time: u64,
    flags: u32,
}

impl Told {
    /// Whether the point is taken at all.
    fn takes(&mut self, point: &Point<'_>) -> bool {
        let takes = !point.name.is_empty() && i64::try_from(point.time).is_ok();
        self.refused += u64::from(!takes);
        takes
    }

    fn add(&mut self, point: &Point<'_>, suffix: &str, own: Option<(&str, f64)>, value: f64) {
        let time = if point.time == 0 { SENT } else { point.time };
        let bits = if point.flags & 1 == 1 { STALE } else { value.to_bits() };
        match labels(point, suffix, own) {
            Some(labels) => self.rows.push((labels, time, bits)),
            None => self.refused += 1,
        }
    }

    /// Buckets of growing bounds, each with its own count.
    fn add_buckets(&mut self, point: &Point<'_>, buckets: &[(f64, u64)], count: u64) {
        let (mut below, mut last) = (0_u64, f64::NEG_INFINITY);
        for (bound, count) in buckets {
            below = below.saturating_add(*count);
            if *bound > last && bound.is_finite() {
                last = *bound;
                self.add(point, "_bucket", Some(("le", *bound + 0.0)), below as f64);
            }
        }
        self.add(point, "_bucket", Some(("le", f64::INFINITY)), count as f64);
    }
}

fn labels(point: &Point<'_>, suffix: &str, own: Option<(&str, f64)>) -> Option<Labels> {
    let name = String::from_utf8([point.name, suffix.as_bytes()].concat()).ok()?;
    let mut labels: Labels = Vec::new();
    if let Some((key, number)) = own {
        let is_usual = number == 0.0 || (1e-6..1e21).contains(&number.abs());
        let text = match number {
            f64::INFINITY => "+Inf".to_owned(),
            f64::NEG_INFINITY => "-Inf".to_owned(),
            number if is_usual || number.is_nan() => number.to_string(),
            number => format!("{number:e}"),
        };
        labels.push((key.to_owned(), text));
    }
    let mut count = labels.len();
    for attributes in [point.attributes, point.resource] {
        let stronger = labels.clone();
        for attribute in attributes {
            if has_group(attribute, &KEY_VALUE) {
                return None;
            }
            let KeyValue { key, value } = KeyValue::decode(&**attribute).ok()?;
            let value = match value.and_then(|value| value.any) {
                None => String::new(),
                Some(Any::Text(text)) => text,
                Some(Any::Bool(is_so)) => is_so.to_string(),
                Some(Any::Int(number)) => number.to_string(),
                Some(Any::Double(number)) => number.to_string(),
                Some(Any::Array(_) | Any::List(_) | Any::Bytes(_)) => return None,
            };
            if !stronger.iter().any(|(own, value)| *own == key && !value.is_empty()) {
                labels.push((key, value));
                count += 1;
            }
        }
    }
    let control = |text: &str| text.chars().any(char::is_control);
    if control(&name) || labels.iter().any(|(key, _)| control(key)) || count > 2 * SERIES_LABELS_MAX
    {
        return None;
    }
    labels.push(("__name__".to_owned(), name));
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort_unstable();
    Some(labels)
}

fn by_prost(body: &[u8]) -> Result<Told, prost::DecodeError> {
    let request = Request::decode(body)?;
    let mut told = Told::default();
    for metrics in &request.resource_metrics {
        let mut resource = Vec::new();
        for attribute in metrics.resource.iter().flat_map(|resource| &resource.attributes) {
            let key = Key::decode(&**attribute)?.key;
            if RESOURCE_LABELS.iter().any(|label| label.as_bytes() == key) {
                resource.push(attribute.clone());
            }
        }
        for metric in metrics.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            of_metric(metric, &resource, &mut told);
        }
    }
    Ok(told)
}

fn of_metric(metric: &Metric, resource: &[Vec<u8>], told: &mut Told) {
    let name = &*metric.name;
    match &metric.data {
        None => {}
        Some(Data::Gauge(numbers) | Data::Sum(numbers)) => {
            for of in &numbers.points {
                let NumberPoint { attributes, time, value, exemplars, flags } = of;
                let point = Point { name, attributes, resource, time: *time, flags: *flags };
                told.exemplars += exemplars.len() as u64;
                if !told.takes(&point) {
                    continue;
                }
                match value {
                    Some(Number::Double(value)) => told.add(&point, "", None, *value),
                    Some(Number::Int(value)) => told.add(&point, "", None, *value as f64),
                    None if flags & 1 == 1 => told.add(&point, "", None, 0.0),
                    None => told.refused += 1,
                }
            }
        }
        Some(Data::Histogram(histogram)) => {
            histogram.points.iter().for_each(|point| of_histogram(point, name, resource, told));
        }
        Some(Data::Exponential(histogram)) => {
            histogram.points.iter().for_each(|point| of_exponential(point, name, resource, told));
        }
        Some(Data::Summary(summary)) => {
            for of in &summary.points {
                let SummaryPoint { attributes, time, count, sum, quantiles, flags } = of;
                let point = Point { name, attributes, resource, time: *time, flags: *flags };
                if told.takes(&point) {
                    told.add(&point, "_sum", None, *sum);
                    told.add(&point, "_count", None, *count as f64);
                    for AtQuantile { quantile, value } in quantiles {
                        told.add(&point, "", Some(("quantile", *quantile)), *value);
                    }
                }
            }
        }
    }
}

fn of_histogram(of: &HistogramPoint, name: &[u8], resource: &[Vec<u8>], told: &mut Told) {
    let HistogramPoint { attributes, time, flags, .. } = of;
    let point = Point { name, attributes, resource, time: *time, flags: *flags };
    told.exemplars += of.exemplars.len() as u64;
    if !told.takes(&point) {
        return;
    }
    if of.counts.len() > BUCKETS_MAX || of.bounds.len() > BUCKETS_MAX {
        told.refused += 1;
        return;
    }
    if let Some(sum) = of.sum {
        told.add(&point, "_sum", None, sum);
    }
    told.add(&point, "_count", None, of.count as f64);
    let buckets: Vec<_> = of.bounds.iter().copied().zip(of.counts.iter().copied()).collect();
    told.add_buckets(&point, &buckets, of.count);
}

fn of_exponential(of: &ExponentialPoint, name: &[u8], resource: &[Vec<u8>], told: &mut Told) {
    let ExponentialPoint { attributes, time, flags, .. } = of;
    let point = Point { name, attributes, resource, time: *time, flags: *flags };
    told.exemplars += of.exemplars.len() as u64;
    if !told.takes(&point) {
        return;
    }
    let (positive, negative) =
        (of.positive.clone().unwrap_or_default(), of.negative.clone().unwrap_or_default());
    let is_long = positive.counts.len().max(negative.counts.len()) > BUCKETS_MAX;
    if is_long || !(-10..=20).contains(&of.scale) || of.zero_bound < 0.0 || of.zero_bound.is_nan() {
        told.refused += 1;
        return;
    }
    if let Some(sum) = of.sum {
        told.add(&point, "_sum", None, sum);
    }
    told.add(&point, "_count", None, of.count as f64);
    let power = |index: i64| (index as f64 * f64::from(-of.scale).exp2()).exp2();
    let negative = (i64::from(negative.offset)..).zip(negative.counts);
    let mut buckets: Vec<_> = negative.map(|(index, count)| (-power(index), count)).collect();
    buckets.reverse();
    buckets.push((of.zero_bound, of.zeros));
    let positive = (i64::from(positive.offset)..).zip(positive.counts);
    buckets.extend(positive.map(|(index, count)| (power(index + 1), count)));
    told.add_buckets(&point, &buckets, of.count);
}

/// Bounds of exponential histograms are as near as powers are computed.
fn is_same(ours: &Labels, theirs: &Labels) -> bool {
    let is_near = |one: &str, other: &str| match (one.parse::<f64>(), other.parse::<f64>()) {
        (Ok(one), Ok(other)) => (one - other).abs() <= 1e-9 * other.abs(),
        _ => false,
    };
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|((key, value), (other, same))| {
            key == other && (value == same || (key == "le" && is_near(value, same)))
        })
}

/// Which fields of a message are messages that are read.
struct Schema {
    messages: &'static [(u32, &'static Schema)],
    /// Whether only one of them may be there.
    is_one: bool,
}

const fn schema(messages: &'static [(u32, &'static Schema)]) -> Schema {
    Schema { messages, is_one: false }
}

const LEAF: Schema = schema(&[]);
const POINTS: Schema = schema(&[(1, &LEAF)]);
const EXPONENTIAL: Schema = schema(&[(1, &schema(&[(8, &LEAF), (9, &LEAF)]))]);
const SUMMARY: Schema = schema(&[(1, &schema(&[(6, &LEAF)]))]);
const METRIC: Schema = Schema {
    messages: &[(5, &POINTS), (7, &POINTS), (9, &POINTS), (10, &EXPONENTIAL), (11, &SUMMARY)],
    is_one: true,
};
/// Of resources' attributes, the keys are read.
const REQUEST: Schema = schema(&[(1, &schema(&[(1, &POINTS), (2, &schema(&[(2, &METRIC)]))]))]);
const KEY_VALUE: Schema = schema(&[(2, &LEAF)]);

/// Whether a group, which only the crate passes over, is in a message that is read; or two kinds of data, of which
/// it takes the last one.
fn has_group(mut bytes: &[u8], schema: &Schema) -> bool {
    let mut one = None;
    while let Ok((number, wire)) = decode_key(&mut bytes) {
        let skipped = match wire {
            WireType::StartGroup | WireType::EndGroup => return true,
            WireType::Varint => decode_varint(&mut bytes).map_or(usize::MAX, |_| 0),
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => {
                let length = decode_varint(&mut bytes).map(usize::try_from);
                length.map_or(usize::MAX, |length| length.unwrap_or(usize::MAX))
            }
        };
        let Some((inner, rest)) = bytes.split_at_checked(skipped) else { return false };
        let message = schema.messages.iter().find(|(known, _)| *known == number);
        if let (Some((_, message)), WireType::LengthDelimited) = (message, wire) {
            let is_other = one.replace(number).is_some_and(|one| one != number);
            if has_group(inner, message) || schema.is_one && is_other {
                return true;
            }
        }
        bytes = rest;
    }
    false
}

/// Both take the same samples, bit for bit, and refuse as many.
pub(crate) fn check(body: &[u8]) {
    let shown = || format!("{body:02x?}");
    match (by_us(body), by_prost(body)) {
        (Some(ours), Ok(theirs)) => {
            let same = |(ours, theirs): (&(Labels, u64, u64), &(Labels, u64, u64))| {
                is_same(&ours.0, &theirs.0) && (ours.1, ours.2) == (theirs.1, theirs.2)
            };
            let are_same = ours.rows.len() == theirs.rows.len()
                && ours.rows.iter().zip(&theirs.rows).all(same);
            assert!(are_same, "{ours:?}\n{theirs:?}\n{}", shown());
            let (one, other) = ((ours.refused, ours.exemplars), (theirs.refused, theirs.exemplars));
            assert_eq!(one, other, "{}", shown());
        }
        (None, Err(_)) => {}
        (None, Ok(_)) => assert!(body.is_empty() || has_group(body, &REQUEST), "{}", shown()),
        (ours, theirs) => panic!("{ours:?} {theirs:?} {}", shown()),
    }
}
