//! The requests of one connection: built before any clock runs, sent in turn, only their times patched.

use std::io::Write;

use tidewatch_env::Rng;
use tidewatch_metrics::time::NANOS_PER_SECOND;

use crate::cli::bench::case::Case;

/// Bytes of all connections' requests together; what is sent repeats after them, with later times.
const REQUEST_BYTES_MAX: usize = 256 << 20;
/// The time of the first line: in the past, so that however long a run is, no time lies in the future.
const START_SECONDS: i64 = 1_700_000_000;
/// Seconds between two samples of a series.
const STEP_SECONDS: i64 = 10;
/// Digits of a time in nanoseconds, from 2001 until 2286.
const TIME_DIGITS: usize = 19;

/// The requests of one connection, which repeat for ever with times that only grow.
#[derive(Debug)]
pub(crate) struct Requests {
    requests: Vec<Request>,
    hosts: u64,
    /// Samples of each series from the first request to the last.
    steps: u64,
    samples: u64,
}

/// One request as it goes over the wire, head and body.
#[derive(Debug)]
struct Request {
    bytes: Vec<u8>,
    /// Where each line's time stands.
    times_at: Vec<usize>,
    first_line: u64,
    hundredths: i64,
}

/// A request that is ready to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready<'a> {
    /// Head and body.
    pub(crate) bytes: &'a [u8],
    /// Samples in it.
    pub(crate) samples: u64,
    /// The sum of its values, times 100.
    pub(crate) hundredths: i64,
}

impl Requests {
    /// The requests of connection `index` of a case.
    pub(crate) fn build(case: &Case, index: u64) -> Self {
        Self::bounded(case, index, REQUEST_BYTES_MAX)
    }

    fn bounded(case: &Case, index: u64, bytes_max: usize) -> Self {
        let hosts = case.hosts / case.connections;
        let first_host = index * hosts;
        // After so many requests all hosts have equally many lines.
        let period = hosts / greatest_common_divisor(hosts, case.batch_lines);
        let bytes_max = bytes_max / usize::try_from(case.connections).expect("few connections");
        let mut rng = Rng::from_seed(index + 1);
        let mut requests: Vec<Request> = Vec::new();
        let (mut bytes, mut count) = (0, 0);
        while count == 0 || count % period != 0 || bytes < bytes_max {
            let hosts = Hosts { first: first_host, count: hosts };
            let request = Request::build(case, hosts, count * case.batch_lines, &mut rng);
            bytes += request.bytes.len();
            count += 1;
            requests.push(request);
        }
        let samples = case.batch_lines * case.line_samples();
        Self { requests, hosts, steps: count * case.batch_lines / hosts, samples }
    }

    /// How many requests bring at least one sample of every series.
    pub(crate) fn one_step(&self) -> u64 {
        let lines = self.requests.first().map_or(1, |request| request.times_at.len());
        self.hosts.div_ceil(u64::try_from(lines).expect("lines of one body"))
    }

    /// The request `number`, counted from 0 without end.
    pub(crate) fn ready(&mut self, number: u64) -> Ready<'_> {
        let count = u64::try_from(self.requests.len()).expect("requests in memory");
        let (pass, at) = (number / count, number % count);
        let at = usize::try_from(at).expect("less than a length");
        let request = self.requests.get_mut(at).expect("less than the length");
        request.stamp(self.hosts, pass * self.steps);
        Ready { bytes: &request.bytes, samples: self.samples, hundredths: request.hundredths }
    }
}

/// The hosts of one connection.
#[derive(Clone, Copy, Debug)]
struct Hosts {
    first: u64,
    count: u64,
}

impl Request {
    fn build(case: &Case, hosts: Hosts, first_line: u64, rng: &mut Rng) -> Self {
        let mut body = Vec::new();
        let mut times_at = Vec::new();
        let mut hundredths = 0;
        for line in first_line..first_line + case.batch_lines {
            let host = hosts.first + line % hosts.count;
            put(&mut body, format_args!("{},host=host-{host:06} ", case.measurement));
            for (position, field) in (0_u64..).zip(case.fields) {
                // A level of its own per series, and noise of a few percent.
                let level = 1_000 + (host * 7_919 + position * 104_729) % 8_000;
                let value = level + rng.below(400);
                hundredths += i64::try_from(value).expect("at most 9,400");
                let comma = if position == 0 { "" } else { "," };
                let (whole, rest) = (value / 100, value % 100);
                put(&mut body, format_args!("{comma}{field}={whole}.{rest:02}"));
            }
            body.push(b' ');
            times_at.push(body.len());
            body.extend_from_slice(&time_digits(0));
            body.push(b'\n');
        }
        let mut bytes = Vec::new();
        put(
            &mut bytes,
            format_args!(
                "POST /write?db=bench HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            ),
        );
        for at in &mut times_at {
            *at += bytes.len();
        }
        bytes.append(&mut body);
        bytes.shrink_to_fit();
        Self { bytes, times_at, first_line, hundredths }
    }

    /// Writes the times of a pass into the lines.
    fn stamp(&mut self, hosts: u64, steps_before: u64) {
        let mut known = None;
        let mut digits = [0; TIME_DIGITS];
        for (line, at) in (self.first_line..).zip(&self.times_at) {
            let step = steps_before + line / hosts;
            if known != Some(step) {
                digits = time_digits(step);
                known = Some(step);
            }
            let time = self.bytes.get_mut(*at..*at + TIME_DIGITS);
            time.expect("every line was built with a time").copy_from_slice(&digits);
        }
    }
}

/// The time of a step, in nanoseconds.
fn time_digits(step: u64) -> [u8; TIME_DIGITS] {
    let step = i64::try_from(step).expect("no run sends so much");
    let nanos = (START_SECONDS + step * STEP_SECONDS) * NANOS_PER_SECOND;
    nanos.to_string().into_bytes().try_into().expect("19 digits until 2286")
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes all that is written");
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidewatch_connectors::decode::{LineBatch, LineOptions, Precision, decode};
    use tidewatch_metrics::EventTime;

    use super::*;
    use crate::cli::bench::case::CaseName;

    fn body(bytes: &[u8]) -> &[u8] {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let (_, length) = head.rsplit_once("Content-Length: ").unwrap();
        let body = &bytes[end + 4..];
        assert_eq!(length.parse::<usize>().unwrap(), body.len());
        body
    }

    fn decoded(body: &[u8]) -> LineBatch {
        let options = LineOptions {
            precision: Precision::Nanoseconds,
            default_time: EventTime::new(0),
            time_max: None,
            key_seed: 1,
            samples_max: 1_000_000,
            line_bytes_max: 1 << 20,
        };
        let mut lines = LineBatch::new();
        decode(body, &options, &mut lines).unwrap();
        assert_eq!(lines.errors().total(), 0);
        lines
    }

    #[test]
    fn a_request_holds_as_many_samples_and_the_sum_that_it_tells() {
        for name in [CaseName::P1, CaseName::P2, CaseName::Small] {
            let case = Case { connections: 40, hosts: 40 * 60, ..name.case() };
            let mut requests = Requests::bounded(&case, 3, 1 << 20);
            for number in [0, 1, 17] {
                let ready = requests.ready(number);
                let lines = decoded(body(ready.bytes));
                assert_eq!(u64::try_from(lines.samples()).unwrap(), ready.samples);
                let sum: f64 = lines.values().iter().sum();
                assert!((sum - ready.hundredths as f64 / 100.0).abs() < 1e-4, "{sum}");
            }
        }
    }

    #[test]
    fn times_of_each_host_grow_by_one_step_also_when_the_requests_repeat() {
        let case = Case { connections: 4, hosts: 4 * 25, batch_lines: 10, ..CaseName::P2.case() };
        let mut requests = Requests::bounded(&case, 0, 4_000);
        let mut last: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        let count = u64::try_from(requests.requests.len()).unwrap();
        for number in 0..3 * count {
            let body = body(requests.ready(number).bytes).to_vec();
            let lines = decoded(&body);
            for (key, time) in lines.keys().iter().zip(lines.times()) {
                let key = key.of(&body).to_vec();
                if let Some(before) = last.insert(key, time.nanos()) {
                    assert_eq!(time.nanos() - before, STEP_SECONDS * NANOS_PER_SECOND);
                }
            }
        }
        assert_eq!(last.len(), 25);
    }
}
