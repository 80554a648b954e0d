//! Bodies of requests in each protocol, with the places where their times stand.
//!
//! A body is built once and sent again with later times, so a time must keep its length, and stand in the body
//! as it is. For remote write that takes a Snappy encoder of our own: a line's bytes are copied from the line
//! before it, but for its host, its values, and a time that differs. What there is to unpack is what Snappy makes
//! of such bodies: short literals and many copies.

use std::io::Write;

use clap::ValueEnum;
use tidewatch_env::Rng;
use tidewatch_metrics::time::NANOS_PER_SECOND;

use crate::cli::bench::case::Case;

/// The time of the first line: in the past, so that however long a run is, no time lies in the future.
const START_SECONDS: i64 = 1_700_000_000;
/// Seconds between two samples of a series.
pub(crate) const STEP_SECONDS: i64 = 10;
/// The longest copy and the longest literal that one element of Snappy holds here.
const COPY_BYTES_MAX: usize = 64;
const LITERAL_BYTES_MAX: usize = 60;

/// The protocol of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BodyFormat {
    /// Line protocol
    Lp,
    /// Prometheus remote write 1.0
    RemoteWrite,
    /// Batches as Luminate has them
    Json,
}

/// A body whose times can be changed.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) times: Vec<TimePlace>,
    /// The sum of its values, times 100.
    pub(crate) hundredths: i64,
}

/// Where the time of a line stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimePlace {
    /// The line, counted from a connection's first one.
    pub(crate) line: u64,
    pub(crate) at: usize,
}

/// The hosts of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hosts {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl BodyFormat {
    /// The head of a request, up to the value of its last header, which is the length.
    pub(crate) const fn head(self) -> &'static str {
        match self {
            Self::Lp => {
                "POST /write?db=bench HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\n\
                 Content-Length: "
            }
            Self::RemoteWrite => {
                "POST /api/v1/write?db=bench HTTP/1.1\r\nHost: bench\r\n\
                 Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                 Content-Length: "
            }
            Self::Json => {
                "POST /api/v1/write?db=bench HTTP/1.1\r\nHost: bench\r\n\
                 Content-Type: application/json\r\nContent-Length: "
            }
        }
    }

    /// Samples that a request may have.
    pub(crate) const fn samples_max(self) -> u64 {
        match self {
            Self::Lp | Self::RemoteWrite => 1_000_000,
            Self::Json => 10_000,
        }
    }

    /// A body of the case's lines from `first_line` on.
    pub(crate) fn body(self, case: &Case, hosts: Hosts, first_line: u64, rng: &mut Rng) -> Body {
        let lines = first_line..first_line + case.batch_lines;
        let mut body = Body { bytes: Vec::new(), times: Vec::new(), hundredths: 0 };
        match self {
            Self::Lp => {
                for line in lines {
                    body.push_line(case, &Line::new(hosts, line, case, rng));
                }
            }
            Self::Json => {
                body.bytes.extend_from_slice(b"{\"metrics\":[");
                for line in lines {
                    body.push_objects(case, &Line::new(hosts, line, case, rng));
                }
                body.bytes.pop();
                body.bytes.extend_from_slice(b"]}");
            }
            Self::RemoteWrite => {
                let lines = lines.map(|line| Line::new(hosts, line, case, rng));
                body.push_message(case, hosts, lines.collect());
            }
        }
        body
    }

    /// The time of a step, always in as many bytes.
    pub(crate) fn time(self, step: u64) -> Vec<u8> {
        let step = i64::try_from(step).expect("no run sends so much");
        let seconds = START_SECONDS + step * STEP_SECONDS;
        match self {
            Self::Lp => (seconds * NANOS_PER_SECOND).to_string().into_bytes(),
            Self::Json => (seconds * 1_000).to_string().into_bytes(),
            Self::RemoteWrite => varint(u64::try_from(seconds * 1_000).expect("after 1970")),
        }
    }
}

/// A line: a host with the values of its fields, times 100.
#[derive(Debug)]
struct Line {
    number: u64,
    host: u64,
    values: Vec<u64>,
}

impl Line {
    fn new(hosts: Hosts, number: u64, case: &Case, rng: &mut Rng) -> Self {
        let host = hosts.first + number % hosts.count;
        let values = (0..case.line_samples()).map(|position| {
            // A level of its own per series, and noise of a few percent.
            let level = 1_000 + (host * 7_919 + position * 104_729) % 8_000;
            level + rng.below(400)
        });
        Self { number, host, values: values.collect() }
    }

    fn fields<'a>(&'a self, case: &'a Case) -> impl Iterator<Item = (&'static str, u64)> + 'a {
        case.fields.iter().copied().zip(self.values.iter().copied())
    }
}

impl Body {
    fn count(&mut self, value: u64) {
        self.hundredths += i64::try_from(value).expect("at most 9,400");
    }

    fn push_time(&mut self, line: u64, format: BodyFormat) {
        self.times.push(TimePlace { line, at: self.bytes.len() });
        self.bytes.extend_from_slice(&format.time(0));
    }

    fn push_line(&mut self, case: &Case, line: &Line) {
        put(&mut self.bytes, format_args!("{},host=host-{:06}", case.measurement, line.host));
        for (key, value) in case.labels {
            put(&mut self.bytes, format_args!(",{key}={value}"));
        }
        for (position, (field, value)) in line.fields(case).enumerate() {
            self.count(value);
            let before = if position == 0 { ' ' } else { ',' };
            let (whole, rest) = (value / 100, value % 100);
            put(&mut self.bytes, format_args!("{before}{field}={whole}.{rest:02}"));
        }
        self.bytes.push(b' ');
        self.push_time(line.number, BodyFormat::Lp);
        self.bytes.push(b'\n');
    }

    fn push_objects(&mut self, case: &Case, line: &Line) {
        for (field, value) in line.fields(case) {
            self.count(value);
            put(&mut self.bytes, format_args!("{{\"name\":\"{}", case.metric(field)));
            self.bytes.extend_from_slice(b"\",\"timestamp\":");
            self.push_time(line.number, BodyFormat::Json);
            let (whole, rest, host) = (value / 100, value % 100, line.host);
            put(
                &mut self.bytes,
                format_args!(
                    ",\"value\":{whole}.{rest:02},\"dimensions\":{{\"host\":\"host-{host:06}\""
                ),
            );
            for (key, value) in case.labels {
                put(&mut self.bytes, format_args!(",\"{key}\":\"{value}\""));
            }
            self.bytes.extend_from_slice(b"}},");
        }
    }

    fn push_message(&mut self, case: &Case, hosts: Hosts, lines: Vec<Line>) {
        let first = lines.first().map(|line| message_line(case, line, 0));
        let line_bytes = first.map_or(0, |line| line.bytes.len());
        self.bytes = varint(u64::try_from(line_bytes * lines.len()).expect("bytes of one body"));
        let mut before: Option<(MessageLine, u64)> = None;
        for line in lines {
            line.values.iter().for_each(|value| self.count(*value));
            let step = line.number / hosts.count;
            let message = message_line(case, &line, step);
            assert_eq!(message.bytes.len(), line_bytes, "all lines of a case have one length");
            // Which bytes are a time, to be written whole wherever it is not that of the line before.
            let same_time = before.as_ref().is_some_and(|(_, other)| *other == step);
            let is_literal = |at: usize| match &before {
                None => true,
                Some((other, _)) => {
                    let is_time = message.is_time(at);
                    is_time && !same_time
                        || !is_time && other.bytes.get(at) != message.bytes.get(at)
                }
            };
            self.push_elements(&message, line.number, is_literal);
            before = Some((message, step));
        }
    }

    /// The bytes of a line as elements of Snappy: literals, and copies from the line before.
    fn push_elements(
        &mut self,
        message: &MessageLine,
        line: u64,
        is_literal: impl Fn(usize) -> bool,
    ) {
        let length = message.bytes.len();
        let offset = u16::try_from(length).expect("a line is shorter than Snappy's window");
        let mut at = 0;
        while at < length {
            let kind = is_literal(at);
            let longest = if kind { LITERAL_BYTES_MAX } else { COPY_BYTES_MAX };
            let same = (at..length).take_while(|at| is_literal(*at) == kind);
            let run = message.uncut(at, same.take(longest).count());
            let tag = u8::try_from((run - 1) << 2).expect("a run of at most 64");
            if kind {
                self.bytes.push(tag);
                let literal = message.bytes.get(at..at + run).expect("within the line");
                let start = self.bytes.len();
                let times = message.times.iter().filter(|time| (at..at + run).contains(time));
                for time in times {
                    self.times.push(TimePlace { line, at: start + time - at });
                }
                self.bytes.extend_from_slice(literal);
            } else {
                self.bytes.push(tag | 2);
                self.bytes.extend_from_slice(&offset.to_le_bytes());
            }
            at += run;
        }
    }
}

/// The time series of a line in remote write.
#[derive(Debug, Default)]
struct MessageLine {
    bytes: Vec<u8>,
    /// Where times stand.
    times: Vec<usize>,
    time_bytes: usize,
    /// Which bytes are of a time.
    is_time: Vec<bool>,
}

impl MessageLine {
    fn is_time(&self, at: usize) -> bool {
        self.is_time.get(at).copied().unwrap_or(false)
    }

    /// So much of a run that it does not end within a time.
    fn uncut(&self, at: usize, run: usize) -> usize {
        let cut = self
            .times
            .iter()
            .find(|time| **time > at && **time < at + run && at + run < **time + self.time_bytes);
        cut.map_or(run, |time| time - at)
    }
}

fn message_line(case: &Case, line: &Line, step: u64) -> MessageLine {
    let time = BodyFormat::RemoteWrite.time(step);
    let mut message = MessageLine { time_bytes: time.len(), ..MessageLine::default() };
    for (field, value) in line.fields(case) {
        let mut series = Vec::new();
        let host = format!("host-{:06}", line.host);
        let name = ("__name__", case.metric(field));
        let labels = case.labels.iter().map(|(key, value)| (*key, (*value).to_owned()));
        for (key, value) in std::iter::once(name).chain([("host", host)]).chain(labels) {
            let label = [field_of(1, key.as_bytes()), field_of(2, value.as_bytes())].concat();
            series.extend(field_of(1, &label));
        }
        let value = f64::from(u32::try_from(value).expect("at most 9,400")) / 100.0;
        let sample = [&[0x09][..], &value.to_le_bytes(), &[0x10], &time].concat();
        series.extend(field_of(2, &sample));
        message.bytes.extend(field_of(1, &series));
        message.times.push(message.bytes.len() - time.len());
        message.is_time.resize(message.bytes.len() - time.len(), false);
        message.is_time.resize(message.bytes.len(), true);
    }
    message
}

/// A field of protobuf that holds bytes.
fn field_of(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = varint(u64::try_from(bytes.len()).expect("a short message"));
    [&[number << 3 | 2][..], &length, bytes].concat()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).expect("seven bits"));
    bytes
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes all that is written");
}
