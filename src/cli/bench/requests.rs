//! The requests of one connection: built before any clock runs, sent in turn, only their times patched.

use tidewatch_env::Rng;

use crate::cli::bench::bodies::{BodyFormat, Hosts, TimePlace};
use crate::cli::bench::case::Case;

/// Bytes of all connections' requests together; what is sent repeats after them, with later times.
const REQUEST_BYTES_MAX: usize = 256 << 20;

/// The requests of one connection, which repeat for ever with times that only grow.
#[derive(Debug)]
pub(crate) struct Requests {
    requests: Vec<Request>,
    format: BodyFormat,
    hosts: u64,
    lines: u64,
    /// Samples of each series from the first request to the last.
    steps: u64,
    samples: u64,
}

/// One request as it goes over the wire, head and body.
#[derive(Debug)]
struct Request {
    bytes: Vec<u8>,
    times: Vec<TimePlace>,
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
        let steps = count * case.batch_lines / hosts;
        Self { requests, format: case.format, hosts, lines: case.batch_lines, steps, samples }
    }

    /// How many requests bring at least one sample of every series.
    pub(crate) fn one_step(&self) -> u64 {
        self.hosts.div_ceil(self.lines)
    }

    /// The request `number`, counted from 0 without end.
    pub(crate) fn ready(&mut self, number: u64) -> Ready<'_> {
        let count = u64::try_from(self.requests.len()).expect("requests in memory");
        let (pass, at) = (number / count, number % count);
        let at = usize::try_from(at).expect("less than a length");
        let request = self.requests.get_mut(at).expect("less than the length");
        request.stamp(self.format, self.hosts, pass * self.steps);
        Ready { bytes: &request.bytes, samples: self.samples, hundredths: request.hundredths }
    }
}

impl Request {
    fn build(case: &Case, hosts: Hosts, first_line: u64, rng: &mut Rng) -> Self {
        let mut body = case.format.body(case, hosts, first_line, rng);
        let head = format!("{}{}\r\n\r\n", case.format.head(), body.bytes.len());
        let mut bytes = head.into_bytes();
        for time in &mut body.times {
            time.at += bytes.len();
        }
        bytes.append(&mut body.bytes);
        bytes.shrink_to_fit();
        Self { bytes, times: body.times, hundredths: body.hundredths }
    }

    /// Writes the times of a pass into the lines.
    fn stamp(&mut self, format: BodyFormat, hosts: u64, steps_before: u64) {
        let mut known = None;
        let mut text = Vec::new();
        for time in &self.times {
            let step = steps_before + time.line / hosts;
            if known != Some(step) {
                text = format.time(step);
                known = Some(step);
            }
            let place = self.bytes.get_mut(time.at..time.at + text.len());
            place.expect("every line was built with a time").copy_from_slice(&text);
        }
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidewatch_connectors::decode::remote_write::unpack;
    use tidewatch_connectors::decode::{
        LineBatch, LineOptions, Precision, SeriesBatch, SeriesForm, SeriesOptions, decode,
        decode_series,
    };
    use tidewatch_metrics::EventTime;
    use tidewatch_metrics::time::NANOS_PER_SECOND;

    use super::*;
    use crate::cli::bench::bodies::STEP_SECONDS;
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

    /// Metric, labels and time of each sample, and the sum of all values.
    fn samples(format: BodyFormat, body: &[u8]) -> (Vec<(String, i64)>, f64) {
        let form = match format {
            BodyFormat::RemoteWrite => SeriesForm::RemoteWrite1,
            BodyFormat::Json | BodyFormat::Lp => SeriesForm::Luminate,
        };
        let unpacked =
            if format == BodyFormat::RemoteWrite { unpack(body).unwrap() } else { body.to_vec() };
        let mut batch = SeriesBatch::new();
        decode_series(form, &unpacked, &SeriesOptions::default(), &mut batch).unwrap();
        assert_eq!(batch.errors().total(), 0);
        let samples = (0..batch.items()).map(|item| {
            let names = batch.names(&unpacked, item).unwrap();
            (format!("{names:?}"), batch.times()[batch.rows_of(item)][0].nanos())
        });
        (samples.collect(), batch.values().iter().sum())
    }

    #[test]
    fn other_protocols_bring_the_same_series_with_times_that_grow() {
        for name in [CaseName::P1, CaseName::P4] {
            let mut told: Vec<Vec<String>> = Vec::new();
            for format in [BodyFormat::RemoteWrite, BodyFormat::Json] {
                let case = Case { connections: 4, hosts: 4 * 50, batch_lines: 20, ..name.case() };
                let case = case.in_format(format);
                let mut requests = Requests::bounded(&case, 1, 4_000);
                let count = u64::try_from(requests.requests.len()).unwrap();
                let mut last: BTreeMap<String, i64> = BTreeMap::new();
                for number in 0..3 * count {
                    let ready = requests.ready(number);
                    let (samples, sum) = samples(format, body(ready.bytes));
                    assert_eq!(u64::try_from(samples.len()).unwrap(), ready.samples);
                    assert!((sum - ready.hundredths as f64 / 100.0).abs() < 1e-4, "{sum}");
                    for (series, time) in samples {
                        if let Some(before) = last.insert(series, time) {
                            assert_eq!(time - before, STEP_SECONDS * NANOS_PER_SECOND);
                        }
                    }
                }
                assert_eq!(u64::try_from(last.len()).unwrap(), 50 * case.line_samples());
                told.push(last.into_keys().collect());
            }
            assert_eq!(told[0], told[1], "the same series in both");
        }
    }
}
